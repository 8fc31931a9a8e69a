//! HTTP/1.1 as strictly as it can be read, for what the proxy sends: CRLF only, no folding, one framing.

pub type Fields = Vec<(String, Vec<u8>)>;

/// A head, and where it ends.
#[derive(Debug)]
pub struct Head {
    pub line: String,
    pub fields: Fields,
    pub length: usize,
}

#[derive(Debug, Default)]
pub struct Body {
    /// What is there of it.
    pub data: Vec<u8>,
    pub trailers: Fields,
    pub length: usize,
    pub whole: bool,
}

#[derive(Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub fields: Fields,
    pub body: Body,
    /// Of head and body, as far as it is there.
    pub length: usize,
}

impl Request {
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        all(&self.fields, name)
    }
}

pub fn all<'a>(fields: &'a Fields, name: &str) -> Vec<&'a [u8]> {
    fields.iter().filter(|field| field.0.eq_ignore_ascii_case(name)).map(|field| &*field.1).collect()
}

/// The head that these bytes begin with; `None` if it is not there whole.
pub fn head(bytes: &[u8]) -> Result<Option<Head>, String> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let mut lines = Vec::new();
    let mut rest = &bytes[..end + 2];
    while let Some(at) = rest.windows(2).position(|two| two == b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    if let Some(line) = lines.iter().find(|line| line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))) {
        return Err(format!("a bare CR, LF or NUL in {:?}", line.escape_ascii().to_string()));
    }
    let (line, fields) = lines.split_first().ok_or("no line")?;
    // A reason phrase may have any bytes beyond ASCII.
    let line = String::from_utf8_lossy(line).into_owned();
    let fields = fields.iter().map(|line| field(line)).collect::<Result<_, _>>()?;
    Ok(Some(Head { line, fields, length: end + 4 }))
}

fn field(line: &[u8]) -> Result<(String, Vec<u8>), String> {
    let wrong = || format!("no field: {:?}", line.escape_ascii().to_string());
    let at = line.iter().position(|byte| *byte == b':').ok_or_else(wrong)?;
    let (name, value) = (&line[..at], line[at + 1..].trim_ascii());
    if !is_token(name) || value.iter().any(|byte| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f) {
        return Err(wrong());
    }
    Ok((String::from_utf8_lossy(name).to_ascii_lowercase(), value.to_vec()))
}

pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// The request that these bytes begin with; `None` if its head is not there whole.
pub fn request(bytes: &[u8]) -> Result<Option<Request>, String> {
    let Some(head) = head(bytes)? else { return Ok(None) };
    let parts: Vec<&str> = head.line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = parts[..] else { return Err(format!("no request line: {:?}", head.line)) };
    if !is_token(method.as_bytes()) || target.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'#') {
        return Err(format!("no request line: {:?}", head.line));
    }
    let is_origins = target.starts_with('/') || (target == "*" && method == "OPTIONS");
    if !is_origins {
        return Err(format!("not the form of an origin's target: {target:?}"));
    }
    let body = match framing(&head.fields)? {
        Some(framing) => body(framing, &bytes[head.length..])?,
        None => Body { whole: true, ..Body::default() },
    };
    let length = head.length + body.length;
    let (method, target) = (method.to_owned(), target.to_owned());
    Ok(Some(Request { method, target, fields: head.fields, body, length }))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Length(usize),
    Chunked,
    UntilEnd,
}

/// What the fields say of the body's length; `None` where they say nothing.
pub fn framing(fields: &Fields) -> Result<Option<Framing>, String> {
    match (&all(fields, "content-length")[..], &all(fields, "transfer-encoding")[..]) {
        ([], []) => Ok(None),
        ([], [coding]) if *coding == b"chunked" => Ok(Some(Framing::Chunked)),
        ([length], []) if length.iter().all(u8::is_ascii_digit) => {
            let length = std::str::from_utf8(length).expect("digits").parse().map_err(|_| "no length")?;
            Ok(Some(Framing::Length(length)))
        }
        (lengths, codings) => Err(format!("no clear framing: {lengths:?} {codings:?}")),
    }
}

pub fn body(framing: Framing, bytes: &[u8]) -> Result<Body, String> {
    match framing {
        Framing::Length(length) => {
            let data = bytes[..length.min(bytes.len())].to_vec();
            Ok(Body { length: data.len(), whole: data.len() == length, data, ..Body::default() })
        }
        Framing::UntilEnd => Ok(Body { data: bytes.to_vec(), length: bytes.len(), whole: true, ..Body::default() }),
        Framing::Chunked => chunked(bytes),
    }
}

fn chunked(bytes: &[u8]) -> Result<Body, String> {
    let mut body = Body::default();
    let mut at = 0;
    loop {
        let Some(end) = bytes[at..].windows(2).position(|two| two == b"\r\n") else {
            return Ok(Body { length: bytes.len(), ..body });
        };
        let line = &bytes[at..at + end];
        let size = std::str::from_utf8(line).ok().filter(|line| line.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.ok_or_else(|| format!("no chunk size: {:?}", line.escape_ascii().to_string()))?;
        at += end + 2;
        if size == 0 {
            break;
        }
        let rest = &bytes[at..];
        body.data.extend_from_slice(&rest[..size.min(rest.len())]);
        match rest.get(size..size + 2) {
            Some(b"\r\n") => at += size + 2,
            Some(other) => return Err(format!("behind a chunk comes {other:?}")),
            None => return Ok(Body { length: bytes.len(), ..body }),
        }
    }
    // As if there was a start line.
    let trailers = [b"\r\n", &bytes[at..]].concat();
    match head(&trailers)? {
        Some(head) => Ok(Body { trailers: head.fields, length: at + head.length - 2, whole: true, ..body }),
        None => Ok(Body { length: bytes.len(), ..body }),
    }
}
