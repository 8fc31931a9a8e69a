//! Our own frames as they leave.

use super::{DATA, HEAD};

/// Where in which frame our own bytes are; the default is between two of them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Writes {
    /// Of the payload.
    pub left: u32,
    /// How many bytes of the head have been written, and the length they told.
    pub head: u32,
    length: u32,
    data: bool,
}

/// One of them for each KiB that begins.
const PIECE: u32 = 1024;

impl Writes {
    /// Returns how many pieces of DATA there are in frames whose heads end here: a KiB each, or what is left of one.
    pub fn pass(&mut self, mut bytes: &[u8]) -> u32 {
        let mut data = 0;
        while !bytes.is_empty() {
            if self.left > 0 {
                let part = bytes.len().min(self.left as usize);
                self.left -= part as u32;
                bytes = &bytes[part..];
            } else if let (0, Some((head, rest))) = (self.head, bytes.split_first_chunk::<HEAD>()) {
                self.left = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                if head[3] == DATA {
                    data += self.left.div_ceil(PIECE);
                }
                bytes = rest;
            } else {
                if self.head < 3 {
                    self.length = self.length << 8 | u32::from(bytes[0]);
                } else if self.head == 3 {
                    self.data = bytes[0] == DATA;
                }
                self.head += 1;
                if self.head == HEAD as u32 {
                    if self.data {
                        data += self.length.div_ceil(PIECE);
                    }
                    *self = Writes { left: self.length, ..Writes::default() };
                }
                bytes = &bytes[1..];
            }
        }
        data
    }
}
