//! WebSocket frames (RFC 6455 §5.2) for both ends of the load: unfragmented, short, and only what the gateway speaks.

use bytes::{Buf as _, BytesMut};

pub const TEXT: u8 = 0x1;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;

/// A client's frames are masked, a server's are not (§5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    Client,
    Server,
}

/// An arbitrary key: masking guards caches against browsers, there is neither here.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    pub payload: BytesMut,
}

pub fn encode(from: From, opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    let masked = if from == From::Client { 0x80 } else { 0 };
    match payload.len() {
        short @ 0..=125 => out.push(masked | short as u8),
        middle @ 126..=0xffff => {
            out.push(masked | 126);
            out.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            out.push(masked | 127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    if from == From::Client {
        out.extend_from_slice(&MASK);
        out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    } else {
        out.extend_from_slice(payload);
    }
}

/// Takes the first frame off `buffer`, unmasked; `None` while it is not complete.
pub fn decode(buffer: &mut BytesMut) -> Option<Frame> {
    let (&first, &second) = (buffer.first()?, buffer.get(1)?);
    let (length, mut head) = match second & 0x7f {
        126 => (u64::from(u16::from_be_bytes(buffer.get(2..4)?.try_into().ok()?)), 4),
        127 => (u64::from_be_bytes(buffer.get(2..10)?.try_into().ok()?), 10),
        short => (u64::from(short), 2),
    };
    let mask: Option<[u8; 4]> = match second & 0x80 {
        0 => None,
        _ => Some(buffer.get(head..head + 4)?.try_into().ok()?),
    };
    head += if mask.is_some() { 4 } else { 0 };
    let length = usize::try_from(length).ok()?;
    if buffer.len() - head < length {
        return None;
    }
    buffer.advance(head);
    let mut payload = buffer.split_to(length);
    if let Some(mask) = mask {
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
    }
    Some(Frame { opcode: first & 0xf, payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_form_survives_the_wire_from_either_end_however_it_is_cut() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            for from in [From::Client, From::Server] {
                let payload: Vec<u8> = (0..length).map(|i| i as u8).collect();
                let mut wire = Vec::new();
                encode(from, TEXT, &payload, &mut wire);
                let mut cut = BytesMut::from(&wire[..wire.len() - 1]);
                assert_eq!(decode(&mut cut), None);
                cut.extend_from_slice(&wire[wire.len() - 1..]);
                cut.extend_from_slice(b"next");
                let frame = decode(&mut cut).unwrap();
                assert_eq!((frame.opcode, &frame.payload[..]), (TEXT, &payload[..]));
                assert_eq!(&cut[..], b"next");
            }
        }
    }

    #[test]
    fn the_rfc_example_is_read() {
        // RFC 6455 §5.7: a single-frame masked text message, "Hello".
        let mut wire = BytesMut::from(&[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58][..]);
        assert_eq!(&decode(&mut wire).unwrap().payload[..], b"Hello");
    }
}
