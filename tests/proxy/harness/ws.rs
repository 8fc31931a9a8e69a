//! WebSocket frames by hand (RFC 6455 §5.2): for streams that tungstenite would tidy up.

use tokio::io::{AsyncRead, AsyncReadExt};

use super::within;

pub const TEXT: u8 = 1;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn header(opcode: u8, length: usize, masked: bool) -> Vec<u8> {
    let mask = u8::from(masked) << 7;
    let mut frame = vec![0x80 | opcode];
    match length {
        0..126 => frame.push(mask | length as u8),
        126..0x10000 => {
            frame.push(mask | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        _ => {
            frame.push(mask | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame
}

/// As a client sends it.
pub fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(opcode, payload.len(), true);
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(b, m)| b ^ m));
    frame
}

/// As a server sends it.
pub fn plain(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(opcode, payload.len(), false);
    frame.extend(payload);
    frame
}

pub fn text(payload: &str) -> Vec<u8> {
    masked(TEXT, payload.as_bytes())
}

pub fn close(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    pub masked: bool,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn text(&self) -> &str {
        assert_eq!(self.opcode, TEXT, "{self:?}");
        std::str::from_utf8(&self.payload).unwrap()
    }

    /// Code and reason of a close frame.
    pub fn close(&self) -> (u16, &str) {
        assert_eq!(self.opcode, CLOSE, "{self:?}");
        let code = u16::from_be_bytes(self.payload[..2].try_into().unwrap());
        (code, std::str::from_utf8(&self.payload[2..]).unwrap())
    }
}

/// The next frame; `None` at the end of the stream.
pub async fn next(stream: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    within("a frame", async {
        let mut head = [0; 2];
        stream.read_exact(&mut head).await.ok()?;
        let length = match head[1] & 0x7f {
            126 => u64::from(stream.read_u16().await.ok()?),
            127 => stream.read_u64().await.ok()?,
            short => u64::from(short),
        };
        let masked = head[1] & 0x80 != 0;
        let mut mask = [0; 4];
        if masked {
            stream.read_exact(&mut mask).await.ok()?;
        }
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.ok()?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(b, m)| *b ^= m);
        Some(Frame { opcode: head[0] & 0x0f, masked, payload })
    })
    .await
}
