//! Bytes from outside, so that they stay in their place.

/// Writes bytes from outside so that they stay inside their field, on this line and out of the terminal's hands:
/// quotes and backslashes as JSON does, control characters (C1 and DEL too) as `\u00XX`, what is not UTF-8 as U+FFFD.
pub(super) struct Escape<'o> {
    out: &'o mut Vec<u8>,
    left: usize,
    cut: bool,
    style: Style,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// Between quotes.
    Quoted,
    /// One word of the text format: a space would begin the next one.
    Word,
}

impl<'o> Escape<'o> {
    pub(super) fn quoted(out: &'o mut Vec<u8>, max: usize) -> Escape<'o> {
        out.push(b'"');
        Escape { out, left: max, cut: false, style: Style::Quoted }
    }

    pub(super) fn word(out: &'o mut Vec<u8>, max: usize) -> Escape<'o> {
        Escape { out, left: max, cut: false, style: Style::Word }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> &mut Self {
        let bytes = match bytes.get(..self.left) {
            Some(head) if head.len() < bytes.len() => {
                self.cut = true;
                head
            }
            _ => bytes,
        };
        self.left -= bytes.len();
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|&b| !PLAIN[usize::from(b)]) {
            self.out.extend_from_slice(&rest[..at]);
            if rest[at] < 0x80 {
                self.special(rest[at]);
                rest = &rest[at + 1..];
            } else {
                let end = rest[at..].iter().position(u8::is_ascii).map_or(rest.len(), |n| at + n);
                self.beyond_ascii(&rest[at..end]);
                rest = &rest[end..];
            }
        }
        self.out.extend_from_slice(rest);
        self
    }

    fn special(&mut self, byte: u8) {
        match byte {
            b' ' if self.style == Style::Quoted => self.out.push(b' '),
            b'"' | b'\\' => self.out.extend_from_slice(&[b'\\', byte]),
            _ => self.escaped(byte),
        }
    }

    fn beyond_ascii(&mut self, bytes: &[u8]) {
        for chunk in bytes.utf8_chunks() {
            for character in chunk.valid().chars() {
                match u8::try_from(character) {
                    // C1 controls: some terminals obey U+009B as they do ESC [.
                    Ok(byte) if byte < 0xa0 => self.escaped(byte),
                    _ => self.out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
                }
            }
            // A character that we cut in two is not the client's mistake.
            let ours = self.cut && self.left == 0;
            if !chunk.invalid().is_empty() && !ours {
                self.out.extend_from_slice("\u{fffd}".as_bytes());
            }
        }
    }

    fn escaped(&mut self, byte: u8) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
        self.out.extend_from_slice(b"\\u00");
        self.out.extend_from_slice(&digits);
    }

    pub(super) fn end(&mut self) {
        if self.cut {
            self.out.extend_from_slice("…".as_bytes());
        }
        if self.style == Style::Quoted {
            self.out.push(b'"');
        }
    }
}

/// The bytes that go out as they are in either style.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        plain[byte] = byte != b'"' as usize && byte != b'\\' as usize;
        byte += 1;
    }
    plain
};
