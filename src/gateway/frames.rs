//! Where WebSocket frames begin and end in one direction of a tunnel (RFC 6455 §5), without touching them.
//!
//! A tunnel forwards bytes as they come. The [`Scanner`] reads along: it keeps a header that was cut by a read, skips
//! payloads by arithmetic, and copies only what a close frame carries. It judges nothing on behalf of the ends: on the
//! first violation it says so and goes blind, and the bytes flow on, because an end that breaks the protocol is the
//! other end's business.

/// Who sent the bytes. Clients mask every frame, servers none (RFC 6455 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    Client,
    Gateway,
}

/// The opcodes RFC 6455 §5.2 defines; the others are a [`Violation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Opcode> {
        Some(match bits {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xA => Opcode::Pong,
            _ => return None,
        })
    }

    fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }
}

/// One frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub fin: bool,
    /// RSV1 to RSV3 in the low bits. They belong to extensions and change nothing about where a frame ends.
    pub rsv: u8,
    pub opcode: Opcode,
    pub mask: Option<[u8; 4]>,
    /// Payload bytes that follow the header.
    pub length: u64,
}

/// What a close frame said (RFC 6455 §5.5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// `None` when the frame was empty (what an API calls 1005).
    pub code: Option<u16>,
    /// At most 123 bytes on the wire; what is not UTF-8 was replaced.
    pub reason: Box<str>,
}

/// Why a [`Scanner`] went blind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("frame with a reserved opcode (RFC 6455 §5.2)")]
    ReservedOpcode,
    #[error("frame masked by a server or unmasked by a client (RFC 6455 §5.1)")]
    Masking,
    #[error("payload length not in its shortest form or above 2^63 (RFC 6455 §5.2)")]
    Length,
    #[error("control frame fragmented or longer than 125 bytes (RFC 6455 §5.5)")]
    Control,
    #[error("continuation without a message, or a message inside a message (RFC 6455 §5.4)")]
    Fragmentation,
    #[error("close frame with a payload of one byte (RFC 6455 §5.5.1)")]
    CloseBody,
}

/// What [`Scanner::feed`] reports, in the order of the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// A header is complete.
    Frame(Head),
    /// A piece of a text, binary or continuation frame's payload, as on the wire (a client's is still masked).
    /// Never empty.
    Payload(&'a [u8]),
    /// The last frame of a text or binary message is complete. Control frames between its fragments are no message.
    MessageEnd,
    /// A close frame is complete. Nothing is reported after it: RFC 6455 §5.5.1 lets nothing follow.
    Close(Close),
    /// The scanner is blind from here on.
    Violation(Violation),
}

/// The longest header: 2 bytes, 8 of length, 4 of mask (RFC 6455 §5.2).
const LONGEST_HEADER: usize = 14;
/// The longest payload of a control frame (RFC 6455 §5.5).
const LONGEST_CONTROL: u64 = 125;

/// Follows the frames of one direction.
#[derive(Debug, Clone)]
pub struct Scanner {
    side: Side,
    /// A fragmented text or binary message is open.
    in_message: bool,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    /// Between two frames, or `have` bytes into a header.
    Header { have: u8, bytes: [u8; LONGEST_HEADER] },
    /// `left` bytes of a frame's payload are still to come; more than zero.
    Payload { left: u64, then: End, report: bool },
    /// A close frame's payload: kept unmasked in `body` until it has `length` bytes.
    Close { length: u8, mask: Option<[u8; 4]>, body: Vec<u8> },
    /// A close frame went by.
    Closed,
    /// Lost track.
    Blind,
}

/// What the end of a frame means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Frame,
    Message,
}

const BOUNDARY: State = State::Header { have: 0, bytes: [0; LONGEST_HEADER] };

impl Scanner {
    pub fn new(side: Side) -> Scanner {
        Scanner { side, in_message: false, state: BOUNDARY }
    }

    /// Whether the bytes fed so far end exactly between two frames, before any close frame: a control frame of our own
    /// may be written here (RFC 6455 §5.4 allows it between the fragments of a message too).
    pub fn at_boundary(&self) -> bool {
        matches!(self.state, State::Header { have: 0, .. })
    }

    /// Whether a close frame went by.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Whether a violation ended the observation; no boundary is known from then on.
    pub fn is_blind(&self) -> bool {
        matches!(self.state, State::Blind)
    }

    /// How many of `bytes`, which come next, reach the first frame boundary: 0 when we are at one, `None` when there is
    /// none in `bytes`. Who wants to end a busy tunnel forwards that many and writes its close frame.
    pub fn boundary_within(&self, bytes: &[u8]) -> Option<usize> {
        let mut ahead = self.clone();
        let mut rest = bytes;
        loop {
            if ahead.at_boundary() {
                return Some(bytes.len() - rest.len());
            }
            if rest.is_empty() {
                return None;
            }
            rest = ahead.step(rest, &mut |_| {});
        }
    }

    /// Reads along over the next bytes of this direction. Cutting them differently changes nothing but how
    /// [`Event::Payload`] is cut.
    #[inline]
    pub fn feed(&mut self, mut bytes: &[u8], mut on: impl FnMut(Event<'_>)) {
        while !bytes.is_empty() {
            bytes = self.step(bytes, &mut on);
        }
    }

    /// Consumes at least one byte, and never goes past the end of a header or of a frame.
    #[inline]
    fn step<'a>(&mut self, bytes: &'a [u8], on: &mut impl FnMut(Event<'_>)) -> &'a [u8] {
        match &mut self.state {
            State::Payload { left, then, report } => {
                let take = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                let (payload, rest) = bytes.split_at(take);
                *left -= take as u64;
                let (left, then, report) = (*left, *then, *report);
                if report {
                    on(Event::Payload(payload));
                }
                if left == 0 {
                    self.end(then, on);
                }
                rest
            }
            // The usual case: the whole header lies in this read, and nothing has to be kept.
            State::Header { have: 0, bytes: kept } => match header_length(bytes) {
                Some(length) if length <= bytes.len() => {
                    let (header, rest) = bytes.split_at(length);
                    self.begin(header, on);
                    rest
                }
                _ => {
                    kept[..bytes.len()].copy_from_slice(bytes);
                    self.state = State::Header { have: bytes.len() as u8, bytes: *kept };
                    &[]
                }
            },
            State::Header { have, bytes: kept } => {
                kept[usize::from(*have)] = bytes[0];
                *have += 1;
                let (have, kept) = (usize::from(*have), *kept);
                if header_length(&kept[..have]) == Some(have) {
                    self.begin(&kept[..have], on);
                }
                &bytes[1..]
            }
            State::Close { length, mask, body } => {
                let take = (usize::from(*length) - body.len()).min(bytes.len());
                let (payload, rest) = bytes.split_at(take);
                for byte in payload {
                    let key = mask.map_or(0, |mask| mask[body.len() % 4]);
                    body.push(byte ^ key);
                }
                if body.len() == usize::from(*length) {
                    let body = std::mem::take(body);
                    self.close(&body, on);
                }
                rest
            }
            State::Closed | State::Blind => &[],
        }
    }

    /// A complete header: what it starts.
    #[inline]
    fn begin(&mut self, header: &[u8], on: &mut impl FnMut(Event<'_>)) {
        let head = match self.judge(header) {
            Ok(head) => head,
            Err(violation) => {
                self.state = State::Blind;
                return on(Event::Violation(violation));
            }
        };
        on(Event::Frame(head));
        if head.opcode == Opcode::Close {
            if head.length == 0 {
                return self.close(&[], on);
            }
            let length = head.length as u8;
            let body = Vec::with_capacity(usize::from(length));
            self.state = State::Close { length, mask: head.mask, body };
            return;
        }
        let is_data = !head.opcode.is_control();
        if is_data {
            self.in_message = !head.fin;
        }
        let then = if is_data && head.fin { End::Message } else { End::Frame };
        if head.length == 0 {
            return self.end(then, on);
        }
        self.state = State::Payload { left: head.length, then, report: is_data };
    }

    fn end(&mut self, end: End, on: &mut impl FnMut(Event<'_>)) {
        self.state = BOUNDARY;
        if end == End::Message {
            on(Event::MessageEnd);
        }
    }

    fn close(&mut self, body: &[u8], on: &mut impl FnMut(Event<'_>)) {
        let close = match body {
            [] => Close { code: None, reason: "".into() },
            [_] => {
                self.state = State::Blind;
                return on(Event::Violation(Violation::CloseBody));
            }
            [high, low, reason @ ..] => Close {
                code: Some(u16::from_be_bytes([*high, *low])),
                reason: String::from_utf8_lossy(reason).into_owned().into_boxed_str(),
            },
        };
        self.state = State::Closed;
        on(Event::Close(close));
    }

    /// `header` is exactly one header, as [`header_length`] measured it.
    #[inline]
    fn judge(&self, header: &[u8]) -> Result<Head, Violation> {
        let opcode = Opcode::from_bits(header[0] & 0x0F).ok_or(Violation::ReservedOpcode)?;
        let fin = header[0] & 0x80 != 0;
        let masked = header[1] & 0x80 != 0;
        // RFC 6455 §5.1: an end that sees the wrong kind has to close the connection; what follows is no frame to it.
        if masked != (self.side == Side::Client) {
            return Err(Violation::Masking);
        }
        let (length, rest) = match header[1] & 0x7F {
            126 => (u64::from(u16::from_be_bytes([header[2], header[3]])), &header[4..]),
            127 => {
                let bytes = header[2..10].try_into().expect("a 64-bit length has eight bytes");
                (u64::from_be_bytes(bytes), &header[10..])
            }
            short => (u64::from(short), &header[2..]),
        };
        // RFC 6455 §5.2: "the minimal number of bytes MUST be used", "the most significant bit MUST be 0".
        let shortest = match header[1] & 0x7F {
            126 => length > 125,
            127 => length > u64::from(u16::MAX) && length >> 63 == 0,
            _ => true,
        };
        if !shortest {
            return Err(Violation::Length);
        }
        if opcode.is_control() && (!fin || length > LONGEST_CONTROL) {
            return Err(Violation::Control);
        }
        // RFC 6455 §5.4: fragments of one message are not interleaved with another's.
        if !opcode.is_control() && (opcode == Opcode::Continuation) != self.in_message {
            return Err(Violation::Fragmentation);
        }
        let mask = masked.then(|| rest.try_into().expect("a mask has four bytes"));
        Ok(Head { fin, rsv: header[0] >> 4 & 0b111, opcode, mask, length })
    }
}

/// How long the header that starts with `bytes` is; `None` while its second byte is missing.
#[inline]
fn header_length(bytes: &[u8]) -> Option<usize> {
    let second = *bytes.get(1)?;
    let length = match second & 0x7F {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    Some(2 + length + if second & 0x80 != 0 { 4 } else { 0 })
}

/// A close frame (RFC 6455 §5.5.1): towards a gateway with `mask`, towards a client without. A reason above 123 bytes is
/// cut at a character.
pub fn close_frame(code: u16, reason: &str, mask: Option<[u8; 4]>) -> Vec<u8> {
    let reason = &reason[..reason.floor_char_boundary(LONGEST_CONTROL as usize - 2)];
    let length = 2 + reason.len() as u8;
    let mut frame = Vec::with_capacity(6 + usize::from(length));
    frame.extend([0x88, length | if mask.is_some() { 0x80 } else { 0 }]);
    frame.extend(mask.unwrap_or_default().iter().take(if mask.is_some() { 4 } else { 0 }));
    let body = code.to_be_bytes().into_iter().chain(reason.bytes());
    frame.extend(body.zip(mask.unwrap_or_default().into_iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

#[cfg(test)]
mod tests;
