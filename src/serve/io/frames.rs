//! HTTP/2 frame heads as they pass, for what the h2 crate does not look at or names wrongly: the size of every frame
//! (RFC 9113 §4.2), SETTINGS before all else (§3.4), windows above 2^31-1 (§6.9.1), header blocks that do not decompress
//! (§4.3), and frames without end that ask for nothing (§10.5).
//!
//! Only the nine bytes of a head are looked at, and payloads that have to be understood here: SETTINGS, WINDOW_UPDATE, and how
//! much padding a header block has.
//! A frame at fault never reaches h2. In its place h2 is given one that it ends the connection for with the right code, so
//! that there is one who closes connections, and its GOAWAY says which streams were served.

mod fault;
mod idle;
mod large;
mod writes;

use std::{
    io,
    task::{Poll, ready},
};

use tokio::{io::ReadBuf, time::Instant};

use self::{
    fault::{Fault, MOST_FOR_H2},
    idle::Idle,
    large::Large,
    writes::Writes,
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const WITH_PRIORITY: u8 = 0x20;

const PROTOCOL_ERROR: [u8; 4] = [0, 0, 0, 1];
const FLOW_CONTROL_ERROR: [u8; 4] = [0, 0, 0, 3];
const COMPRESSION_ERROR: [u8; 4] = [0, 0, 0, 9];

const HEAD: usize = 9;
const PREFACE: u32 = 24;
const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];
/// Of SETTINGS: sixteen of them. Six are defined; what sends more is not looked at.
const MOST_SETTINGS: usize = 16 * 6;
/// GOAWAY as h2 makes it, without a text.
pub const SHORT_GOAWAY: usize = HEAD + 8;

/// Looks at what one connection reads and writes.
pub struct Guard {
    /// Of the preface, or the frame under way.
    left: u32,
    /// The first SETTINGS have come.
    settled: bool,
    /// Nothing more is to be read.
    fault: bool,
    /// Because of [`Fault::Calm`].
    calms: bool,
    idle: Idle,
    /// What has been read of a frame that could not be judged in its place.
    held: [u8; HEAD + MOST_SETTINGS + MOST_FOR_H2],
    held_len: usize,
    /// How much of it h2 may see by now.
    judged: usize,
    highest: u32,
    /// The last frame belongs to the header block of a new stream, and has nothing else that h2 could blame.
    in_block: bool,
    /// A header block has begun, and its end has not come.
    open_block: bool,
    /// Our SETTINGS are acknowledged: h2 blames a second ACK.
    acked: bool,
    /// The last frame may be blamed for something; so may one of those that have come since h2 was done with all others.
    doubtful: bool,
    doubt: bool,
    large: Large,
    /// The stream whose window is too wide: h2 resets it, but may have another reason by then.
    too_wide: Option<u32>,
    written: u64,
    writes: Writes,
}

impl Default for Guard {
    fn default() -> Guard {
        Guard::new(Idle::new(idle::MOST, Instant::now))
    }
}

impl Guard {
    fn new(idle: Idle) -> Guard {
        Guard {
            left: PREFACE,
            settled: false,
            fault: false,
            calms: false,
            idle,
            held: [0; HEAD + MOST_SETTINGS + MOST_FOR_H2],
            held_len: 0,
            judged: 0,
            highest: 0,
            in_block: false,
            open_block: false,
            acked: false,
            doubtful: false,
            doubt: false,
            large: Large::default(),
            too_wide: None,
            written: 0,
            writes: Writes::default(),
        }
    }

    /// Reads what h2 may see, by `read`. Nothing means the end, as ever.
    #[inline]
    pub fn poll_read(
        &mut self,
        buf: &mut ReadBuf<'_>,
        mut read: impl FnMut(&mut ReadBuf<'_>) -> Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        if self.judged == 0 {
            // h2 asks for more when it has found nothing wrong with what it has whole.
            self.doubt = self.left > 0 && self.doubtful;
        }
        loop {
            if self.held_len > 0 || self.fault {
                return self.poll_read_held(buf, read);
            }
            let start = buf.filled().len();
            ready!(read(buf))?;
            let bytes = &buf.filled()[start..];
            let (good, fault) = self.pass(bytes);
            if good < bytes.len() {
                self.hold(&bytes[good..], fault);
                buf.set_filled(start + good);
                if good == 0 {
                    continue;
                }
            }
            return Poll::Ready(Ok(()));
        }
    }

    /// The same while something is held: what comes is gathered behind it until it can be judged. `buf` may have room
    /// for less than that.
    #[cold]
    fn poll_read_held(
        &mut self,
        buf: &mut ReadBuf<'_>,
        mut read: impl FnMut(&mut ReadBuf<'_>) -> Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        while self.judged == 0 && !self.fault {
            let mut more = ReadBuf::new(&mut self.held[self.held_len..HEAD + MOST_SETTINGS]);
            ready!(read(&mut more))?;
            match more.filled().len() {
                // The client has left in the middle of a frame.
                0 => (self.judged, self.fault) = (self.held_len, true),
                n => {
                    self.held_len += n;
                    let held = self.held;
                    let (good, fault) = self.pass(&held[..self.held_len]);
                    self.judged = good;
                    if fault.is_some() {
                        self.held_len = good;
                        self.hold(&[], fault);
                    }
                }
            }
        }
        let part = self.judged.min(buf.remaining());
        buf.put_slice(&self.held[..part]);
        self.held.copy_within(part..self.held_len, 0);
        self.held_len -= part;
        self.judged -= part;
        Poll::Ready(Ok(()))
    }

    /// The connection is to end with ENHANCE_YOUR_CALM once h2 has what came before.
    pub fn calms(&self) -> bool {
        self.calms
    }

    /// Keeps the beginning of a frame; or what h2 gets instead of it, which is the last that it gets.
    #[cold]
    fn hold(&mut self, rest: &[u8], fault: Option<Fault>) {
        let rest = fault.map_or(rest, |fault| fault.for_h2());
        self.held[self.held_len..self.held_len + rest.len()].copy_from_slice(rest);
        self.held_len += rest.len();
        if fault.is_some() {
            self.fault = true;
            self.calms = fault == Some(Fault::Calm);
            self.judged = self.held_len;
        }
    }

    /// How many of these bytes may go on now. The rest are the beginning of a frame that needs more bytes to be judged,
    /// or one at fault.
    #[inline]
    fn pass(&mut self, bytes: &[u8]) -> (usize, Option<Fault>) {
        let mut at = 0;
        loop {
            let whole = (self.left as usize).min(bytes.len() - at);
            at += whole;
            self.left -= whole as u32;
            let rest = &bytes[at..];
            let Some((head, payload)) = rest.split_first_chunk::<HEAD>() else { return (at, None) };
            match self.judge(head, payload) {
                Ok(Some(length)) => self.left = HEAD as u32 + length,
                Ok(None) => return (at, None),
                Err(fault) => return (at, Some(fault)),
            }
        }
    }

    /// The length of the payload; `None` where more of it is needed.
    fn judge(&mut self, head: &[u8; HEAD], payload: &[u8]) -> Result<Option<u32>, Fault> {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        if !self.settled {
            if kind != SETTINGS || flags & ACK != 0 {
                return Err(Fault::Protocol);
            }
            self.settled = true;
        }
        let padding = u32::from(flags & PADDED != 0);
        let (in_block, open_block) = (self.in_block, self.open_block);
        self.in_block = false;
        let mut blameless = false;
        let mut earns = 0;
        let fits = match kind {
            DATA => {
                // So much of it may be padding.
                earns = if length > padding * 256 { idle::CONTENT } else { 0 };
                length >= padding
            }
            HEADERS => {
                let priority = if flags & WITH_PRIORITY != 0 { 5 } else { 0 };
                if length < padding + priority {
                    return Err(Fault::FrameSize);
                }
                let padded = match (padding, payload.first()) {
                    (0, _) => true,
                    (_, Some(pad)) => length > u32::from(*pad) + priority,
                    (_, None) => return Ok(None),
                };
                self.in_block = stream % 2 == 1 && stream > self.highest && padded && !open_block;
                if stream > self.highest {
                    (self.highest, earns) = (stream, idle::STREAM);
                }
                self.open_block = flags & END_HEADERS == 0;
                true
            }
            CONTINUATION => {
                self.in_block = in_block && open_block && stream == self.highest;
                self.open_block &= flags & END_HEADERS == 0;
                true
            }
            PRIORITY => {
                blameless = stream != 0;
                length == 5
            }
            RST_STREAM => length == 4,
            PING => {
                blameless = stream == 0;
                length == 8
            }
            GOAWAY => length >= 8,
            WINDOW_UPDATE if length == 4 => {
                let Some(increment) = payload.first_chunk() else { return Ok(None) };
                let increment = u32::from_be_bytes(*increment) & 0x7fff_ffff;
                if stream != 0 && self.large.widens(stream, increment, self.written) {
                    self.too_wide = Some(stream);
                }
                blameless = stream == 0 && increment > 0;
                true
            }
            WINDOW_UPDATE => false,
            SETTINGS if flags & ACK != 0 => {
                blameless = stream == 0 && !std::mem::replace(&mut self.acked, true);
                length == 0
            }
            SETTINGS if !length.is_multiple_of(6) => false,
            SETTINGS if length as usize <= MOST_SETTINGS => {
                let Some(settings) = payload.get(..length as usize) else { return Ok(None) };
                // RFC 9113 §6.5.2.
                let too_large = |s: &[u8]| s[..2] == INITIAL_WINDOW_SIZE && s[2] & 0x80 != 0;
                if settings.chunks_exact(6).any(too_large) {
                    return Err(Fault::FlowControl);
                }
                blameless = stream == 0 && settings.chunks_exact(6).all(is_taken);
                true
            }
            _ => true,
        };
        // Nothing may come into an open block; one that is ended for what is in it is ended with the right code.
        self.doubtful = !(self.in_block || blameless && !open_block);
        self.doubt |= self.doubtful;
        if !fits {
            return Err(Fault::FrameSize);
        }
        // A header block's frames are counted by h2.
        match earns {
            0 if kind != CONTINUATION && !self.idle.spend() => return Err(Fault::Calm),
            _ => self.idle.earn(earns),
        }
        Ok(Some(length))
    }

    /// What to write of `bytes`, which may be less. A block that did not decompress is the one fault that h2 alone can
    /// see, and it says PROTOCOL_ERROR of it: the code is put right as it leaves, in `goaway`. Where something else that
    /// h2 had not read before could be meant, it is left.
    #[inline]
    pub fn before_write<'a>(&mut self, bytes: &'a [u8], goaway: &'a mut [u8; SHORT_GOAWAY]) -> &'a [u8] {
        if let Some(stream) = self.too_wide {
            return self.before_reset(stream, bytes, goaway);
        }
        let Some((before, last)) = bytes.split_last_chunk::<SHORT_GOAWAY>() else { return bytes };
        if !self.in_block || self.doubt || last[..4] != [0, 0, 8, GOAWAY] || last[13..] != PROTOCOL_ERROR {
            return bytes;
        }
        // It may be a frame's payload that looks like this.
        let mut writes = self.writes;
        writes.pass(before);
        if writes != Writes::default() {
            return bytes;
        }
        if !before.is_empty() {
            return before;
        }
        *goaway = *last;
        goaway[13..].copy_from_slice(&COMPRESSION_ERROR);
        goaway
    }

    /// The same while a stream is to be reset for its window.
    #[cold]
    fn before_reset<'a>(&mut self, stream: u32, bytes: &'a [u8], reset: &'a mut [u8; SHORT_GOAWAY]) -> &'a [u8] {
        if self.writes.head > 0 {
            return bytes;
        }
        let mut at = self.writes.left as usize;
        while let Some((frame, _)) = bytes.get(at..).and_then(|rest| rest.split_first_chunk::<HEAD>()) {
            if frame[3] == RST_STREAM && frame[5..] == stream.to_be_bytes() {
                if at > 0 {
                    return &bytes[..at];
                }
                self.too_wide = None;
                reset[..HEAD].copy_from_slice(frame);
                reset[HEAD..HEAD + 4].copy_from_slice(&FLOW_CONTROL_ERROR);
                return &reset[..bytes.len().min(HEAD + 4)];
            }
            at += HEAD + u32::from_be_bytes([0, frame[0], frame[1], frame[2]]) as usize;
        }
        bytes
    }

    /// These bytes have been taken. Returns how many pieces of DATA they begin.
    #[inline]
    pub fn wrote(&mut self, bytes: &[u8]) -> u32 {
        self.written += bytes.len() as u64;
        let pieces = self.writes.pass(bytes);
        self.idle.sent(pieces);
        pieces
    }
}

/// A setting that h2 finds nothing wrong with (RFC 9113 §6.5.2, RFC 8441 §3).
fn is_taken(setting: &[u8]) -> bool {
    let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
    match setting[..2] {
        [0, 2 | 8] => value <= 1,
        [0, 5] => (1 << 14..1 << 24).contains(&value),
        _ => true,
    }
}

#[cfg(test)]
mod tests;
