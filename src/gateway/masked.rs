//! A client's payload without its mask (RFC 6455 §5.3), in whatever pieces it comes.

use super::frames::Head;

/// Where in the mask of the present frame we are.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Masked {
    mask: [u8; 4],
    at: usize,
}

impl Masked {
    /// A frame with a payload to be read begins. Control frames between two fragments have masks of their own.
    pub(super) fn begin(&mut self, head: &Head) {
        *self = Masked { mask: head.mask.unwrap_or_default(), at: 0 };
    }

    /// The next piece of its payload goes to the end of `text`.
    pub(super) fn read(&mut self, piece: &[u8], text: &mut Vec<u8>) {
        let mask = self.mask.iter().cycle().skip(self.at % 4);
        text.extend(piece.iter().zip(mask).map(|(byte, key)| byte ^ key));
        self.at += piece.len();
    }
}
