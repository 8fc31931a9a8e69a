//! What the HTTP/2 frame guard lets through to h2, against a reader that has all bytes at once.

use std::task::Poll;

use clawgate::serve::io::frames::{Guard, SHORT_GOAWAY};
use tokio::io::ReadBuf;

const PREFACE: usize = 24;

/// Two bytes choose how the reads are cut and into how much room they go; the rest is what a client sends.
pub fn guard(data: &[u8]) {
    let Some(([cut, room], sent)) = data.split_first_chunk::<2>() else { return };
    if sent.len() > 4096 {
        return;
    }
    let (good, instead) = verdict(sent);
    let mut names = Vec::new();
    for (cut, room) in [(usize::MAX, usize::MAX), (usize::from(*cut), usize::from(*room)), (1, 1), (13, 7)] {
        let (cut, room) = (cut.clamp(1, 8192), room.clamp(1, 8192));
        let mut guard = Guard::default();
        // The client is silent afterwards, or goes.
        let seen = read(&mut guard, sent, cut, room, false);
        assert_eq!(seen, ([&sent[..good], instead].concat(), !instead.is_empty()), "cut {cut}, room {room}");
        let mut leaving = Guard::default();
        let all = read(&mut leaving, sent, cut, room, true);
        let all_good = if instead.is_empty() { sent.len() } else { good };
        assert_eq!(all, ([&sent[..all_good], instead].concat(), true), "cut {cut}, room {room}, and gone");
        names.push(written(&mut guard, room));
    }
    assert!(names.windows(2).all(|two| two[0] == two[1]), "what is said of it depends on how it came: {names:?}");
}

/// What h2 gets, and whether that is all it ever gets.
fn read(guard: &mut Guard, mut sent: &[u8], cut: usize, room: usize, gone: bool) -> (Vec<u8>, bool) {
    let mut got = Vec::new();
    let mut space = vec![0; room];
    loop {
        let mut buf = ReadBuf::new(&mut space);
        let polled = guard.poll_read(&mut buf, |buf| {
            if sent.is_empty() && !gone {
                return Poll::Pending;
            }
            let (part, rest) = sent.split_at(cut.min(sent.len()).min(buf.remaining()));
            buf.put_slice(part);
            sent = rest;
            Poll::Ready(Ok(()))
        });
        match polled {
            Poll::Pending => return (got, false),
            Poll::Ready(Err(error)) => panic!("{error}"),
            Poll::Ready(Ok(())) if buf.filled().is_empty() => return (got, true),
            Poll::Ready(Ok(())) => got.extend_from_slice(buf.filled()),
        }
    }
}

/// How much of it may pass, and what h2 gets in the place of what is wrong.
fn verdict(sent: &[u8]) -> (usize, &'static [u8]) {
    const PROTOCOL: &[u8] = b"\0\0\0\x04\0\0\0\0\x01";
    const SIZE: &[u8] = b"\xff\xff\xff\0\0\0\0\0\0";
    const FLOW: &[u8] = b"\0\0\x04\x08\0\0\0\0\0\x7f\xff\xff\xff\0\0\x04\x08\0\0\0\0\0\x7f\xff\xff\xff";
    let mut at = PREFACE.min(sent.len());
    let mut first = true;
    while let Some((head, rest)) = sent[at..].split_first_chunk::<9>() {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let (kind, flags) = (head[3], head[4]);
        let (ack, padded, priority) = (flags & 1 != 0, flags & 8 != 0, flags & 32 != 0);
        if first && (kind != 4 || ack) {
            return (at, PROTOCOL);
        }
        first = false;
        let least = usize::from(padded) + if priority { 5 } else { 0 };
        let right = match kind {
            0 => length >= usize::from(padded),
            1 => length >= least,
            2 => length == 5,
            3 => length == 4,
            4 if ack => length == 0,
            4 => length % 6 == 0,
            6 => length == 8,
            7 => length >= 8,
            8 => length == 4,
            _ => true,
        };
        if !right {
            return (at, SIZE);
        }
        // These are understood, the pad length of a header block among them, and have to be there for it.
        let understood = match kind {
            1 if padded => 1,
            4 if length <= 96 => length,
            8 => 4,
            _ => 0,
        };
        if rest.len() < understood {
            break;
        }
        let too_large = |setting: &[u8]| setting[..2] == [0, 4] && setting[2] >= 0x80;
        if kind == 4 && length <= 96 && rest[..length].chunks_exact(6).any(too_large) {
            return (at, FLOW);
        }
        at = (at + 9 + length).min(sent.len());
    }
    (at, b"")
}

/// What leaves of resets and a GOAWAY that h2 might write now: other codes perhaps, the rest as it is.
fn written(guard: &mut Guard, most: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for stream in [1u8, 3, 5] {
        all.extend([0, 0, 4, 3, 0, 0, 0, 0, stream, 0, 0, 0, 1]);
    }
    all.extend([0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1]);
    let (mut out, mut left) = (Vec::new(), &all[..]);
    while !left.is_empty() {
        let mut goaway = [0; SHORT_GOAWAY];
        let part = guard.before_write(left, &mut goaway);
        assert!(!part.is_empty() && part.len() <= left.len());
        let part = &part[..part.len().min(most.max(SHORT_GOAWAY))];
        guard.wrote(part);
        out.extend_from_slice(part);
        left = &left[part.len()..];
    }
    let mut plain = out.clone();
    for (at, code) in [(12, 3), (25, 3), (38, 3), (55, 9)] {
        if plain[at] == code {
            plain[at] = 1;
        }
    }
    assert_eq!(plain, all);
    out
}
