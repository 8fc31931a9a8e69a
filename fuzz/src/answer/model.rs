//! An answer read by RFC 9112 from one slice, byte after byte: lines may end in LF alone, and empty ones stand before the
//! first; nothing is folded, and there is no space before a colon.

use super::{Answer, Choice, End, Fields, Head};

/// Why there is no more.
enum Stop {
    Short,
    Wrong,
}

/// Interim answers that we pass on, and that we listen to.
const MOST_INTERIM: usize = 16;
const MOST_IGNORED: usize = 1000;
const MOST_FIELDS: usize = 256;
const MOST_TRAILERS: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilEnd,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

pub fn read(choice: &Choice, bytes: &[u8]) -> Answer {
    let mut answer = Answer {
        interims: Vec::new(),
        head: None,
        data: Vec::new(),
        trailers: Fields::new(),
        end: End::Whole,
        free: false,
    };
    let mut reader = Reader { bytes, at: 0 };
    let short = if choice.closes { End::Broken } else { End::Waiting };
    let mut interims = 0;
    loop {
        let begin = reader.at;
        let (head, one) = match reader.head() {
            Ok(read) => read,
            Err(stop) => {
                answer.end = match stop {
                    // The end of a connection in the middle of a head.
                    Stop::Short if choice.closes && begin < bytes.len() => End::Malformed,
                    Stop::Short => short,
                    Stop::Wrong => End::Malformed,
                };
                return answer;
            }
        };
        if (100..200).contains(&head.status) && head.status != 101 {
            interims += 1;
            if interims > MOST_IGNORED {
                answer.end = End::Malformed;
                return answer;
            }
            if head.status != 100 && interims <= MOST_INTERIM {
                answer.interims.push(bytes[begin..reader.at].to_vec());
            }
            continue;
        }
        let Some((framing, persistent)) = framing(choice, &head, one) else {
            answer.end = End::Malformed;
            return answer;
        };
        let status = head.status;
        answer.head = Some(head);
        if status == 101 {
            answer.end = End::Tunnel(bytes[reader.at..].to_vec());
            return answer;
        }
        let done = reader.body(framing, choice.closes, &mut answer);
        answer.end = match done {
            Ok(()) => End::Whole,
            Err(Stop::Short) => short,
            Err(Stop::Wrong) => End::Malformed,
        };
        answer.free = answer.end == End::Whole && persistent && reader.at == bytes.len() && !choice.closes;
        return answer;
    }
}

impl Reader<'_> {
    fn next(&mut self) -> Result<u8, Stop> {
        let byte = self.bytes.get(self.at).copied().ok_or(Stop::Short)?;
        self.at += 1;
        Ok(byte)
    }

    fn expect(&mut self, text: &[u8]) -> Result<(), Stop> {
        for wanted in text {
            if self.next()? != *wanted {
                return Err(Stop::Wrong);
            }
        }
        Ok(())
    }

    /// The end of a line, of which this is the first byte.
    fn end_of_line(&mut self, byte: u8) -> Result<bool, Stop> {
        match byte {
            b'\r' => self.expect(b"\n").map(|()| true),
            b'\n' => Ok(true),
            _ => Ok(false),
        }
    }

    /// A head, and whether it is one of HTTP/1.1.
    fn head(&mut self) -> Result<(Head, bool), Stop> {
        let mut first = self.next()?;
        while self.end_of_line(first)? {
            first = self.next()?;
        }
        self.at -= 1;
        self.expect(b"HTTP/1.")?;
        let one = match self.next()? {
            b'0' => false,
            b'1' => true,
            _ => return Err(Stop::Wrong),
        };
        self.expect(b" ")?;
        let mut status = 0;
        for _ in 0..3 {
            match self.next()? {
                digit @ b'0'..=b'9' => status = status * 10 + u16::from(digit - b'0'),
                _ => return Err(Stop::Wrong),
            }
        }
        let mut reason = Vec::new();
        let byte = self.next()?;
        if byte == b' ' {
            reason = self.text()?;
        } else if !self.end_of_line(byte)? {
            return Err(Stop::Wrong);
        }
        let fields = self.fields(MOST_FIELDS)?;
        if status < 100 {
            return Err(Stop::Wrong);
        }
        Ok((Head { status, reason, fields }, one))
    }

    /// The rest of a line.
    fn text(&mut self) -> Result<Vec<u8>, Stop> {
        let mut text = Vec::new();
        loop {
            let byte = self.next()?;
            if self.end_of_line(byte)? {
                return Ok(text);
            }
            if byte == 0x7f || (byte < 0x20 && byte != b'\t') {
                return Err(Stop::Wrong);
            }
            text.push(byte);
        }
    }

    /// Lines of a name and a value up to an empty one.
    fn fields(&mut self, most: usize) -> Result<Fields, Stop> {
        let mut fields = Fields::new();
        loop {
            let mut byte = self.next()?;
            if self.end_of_line(byte)? {
                fields.sort_by(|one, other| one.0.cmp(&other.0));
                return Ok(fields);
            }
            let mut name = String::new();
            while byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte) {
                name.push(char::from(byte.to_ascii_lowercase()));
                byte = self.next()?;
            }
            if name.is_empty() || byte != b':' || fields.len() == most {
                return Err(Stop::Wrong);
            }
            let value = self.text()?;
            let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
            let start = value.iter().position(|byte| !is_blank(byte)).unwrap_or(value.len());
            let end = value.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
            fields.push((name, value[start..end].to_vec()));
        }
    }

    fn body(&mut self, framing: Framing, closes: bool, answer: &mut Answer) -> Result<(), Stop> {
        match framing {
            Framing::None => Ok(()),
            Framing::Length(length) => self.take(length, answer),
            Framing::UntilEnd => {
                answer.data = self.bytes[self.at..].to_vec();
                self.at = self.bytes.len();
                if closes { Ok(()) } else { Err(Stop::Short) }
            }
            Framing::Chunked => {
                while let size @ 1.. = self.chunk_size()? {
                    self.take(size, answer)?;
                    self.expect(b"\r\n")?;
                }
                self.trailers(answer)
            }
        }
    }

    fn take(&mut self, length: u64, answer: &mut Answer) -> Result<(), Stop> {
        let left = &self.bytes[self.at..];
        let n = usize::try_from(length).unwrap_or(usize::MAX).min(left.len());
        answer.data.extend_from_slice(&left[..n]);
        self.at += n;
        if n as u64 == length { Ok(()) } else { Err(Stop::Short) }
    }

    fn chunk_size(&mut self) -> Result<u64, Stop> {
        let mut size = 0_u64;
        let mut digits = 0;
        let mut byte = self.next()?;
        while let Some(digit) = char::from(byte).to_digit(16) {
            // Some count in signed numbers.
            size = u64::try_from(i128::from(size) * 16 + i128::from(digit)).map_err(|_| Stop::Wrong)?;
            if i64::try_from(size).is_err() {
                return Err(Stop::Wrong);
            }
            digits += 1;
            byte = self.next()?;
        }
        if digits == 0 {
            return Err(Stop::Wrong);
        }
        while matches!(byte, b' ' | b'\t') {
            byte = self.next()?;
        }
        if byte == b';' {
            while byte != b'\r' {
                byte = self.next()?;
                if byte == b'\n' {
                    return Err(Stop::Wrong);
                }
            }
        }
        if byte != b'\r' {
            return Err(Stop::Wrong);
        }
        self.expect(b"\n").map(|()| size)
    }

    /// They are judged when all are there.
    fn trailers(&mut self, answer: &mut Answer) -> Result<(), Stop> {
        let rest = &self.bytes[self.at..];
        if rest.starts_with(b"\r\n") {
            self.at += 2;
            return Ok(());
        }
        // A line that ends in LF alone is none for some.
        let end = rest.windows(3).position(|three| three == b"\n\r\n");
        let lines = &rest[..end.map_or(rest.len(), |end| end + 3)];
        if (0..lines.len()).any(|at| lines[at] == b'\n' && !lines[..at].ends_with(b"\r")) {
            return Err(Stop::Wrong);
        }
        let end = end.ok_or(Stop::Short)? + 3;
        let mut lines = Reader { bytes: &rest[..end], at: 0 };
        let fields = lines.fields(MOST_TRAILERS).map_err(|_| Stop::Wrong)?;
        if lines.at < end {
            return Err(Stop::Wrong);
        }
        answer.trailers = fields;
        self.at += end;
        Ok(())
    }
}

/// How the body ends, and whether the connection goes on (RFC 9112 §6.3, §9.3); `None` where nobody can say.
fn framing(choice: &Choice, head: &Head, one: bool) -> Option<(Framing, bool)> {
    let all = |name: &str| -> Vec<Vec<u8>> {
        let lines = head.fields.iter().filter(|field| field.0 == name);
        lines
            .flat_map(|field| field.1.split(|byte| *byte == b','))
            .map(|member| member.trim_ascii().to_ascii_lowercase())
            .collect()
    };
    let has = |name: &str| head.fields.iter().any(|field| field.0 == name);
    let framing = if choice.method == "HEAD" || matches!(head.status, 100..200 | 204 | 304) {
        Framing::None
    } else if has("transfer-encoding") {
        if !one {
            return None;
        }
        let codings: Vec<_> = all("transfer-encoding").into_iter().filter(|coding| !coding.is_empty()).collect();
        if codings.last().is_some_and(|last| last == b"chunked") { Framing::Chunked } else { Framing::UntilEnd }
    } else if has("content-length") {
        let lengths = all("content-length");
        let number = |text: &[u8]| {
            let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
            std::str::from_utf8(text).ok().filter(|_| digits)?.parse::<u64>().ok()
        };
        let first = number(lengths.first()?)?;
        if lengths.iter().any(|length| number(length) != Some(first)) {
            return None;
        }
        Framing::Length(first)
    } else {
        Framing::UntilEnd
    };
    let options = all("connection");
    let says = |option: &[u8]| options.iter().any(|one| one == option);
    let persistent = !says(b"close") && (one || says(b"keep-alive")) && framing != Framing::UntilEnd;
    Some((framing, persistent))
}
