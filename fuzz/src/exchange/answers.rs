//! What a client of HTTP/1.1 got: whole answers, or the beginning of one and the end of the connection.

use super::http1::{self, Framing, all};

pub struct Answer {
    pub status: u16,
    pub fields: http1::Fields,
    pub body: http1::Body,
}

/// The final answers. `method` is what the one at that place answers; `cut` whether the last one may end too early.
pub fn parse(bytes: &[u8], cut: bool, method: impl Fn(usize) -> Option<String>) -> (Vec<Answer>, bool) {
    let text = || bytes.escape_ascii().to_string();
    let mut answers: Vec<Answer> = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let head = http1::head(rest).unwrap_or_else(|wrong| panic!("{wrong}: {}", text()));
        let Some(head) = head else {
            assert!(cut, "the last head is cut: {}", text());
            break;
        };
        rest = &rest[head.length..];
        let status = head.line.strip_prefix("HTTP/1.1 ").or_else(|| head.line.strip_prefix("HTTP/1.0 "));
        let status = status.and_then(|status| status.get(..3)?.parse::<u16>().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {}", text()));
        let framing = http1::framing(&head.fields).unwrap_or_else(|wrong| panic!("{wrong}: {}", text()));
        if status == 101 {
            assert_eq!(all(&head.fields, "upgrade"), [b"websocket"], "{}", text());
            answers.push(Answer { status, fields: head.fields, body: http1::Body::default() });
            return (answers, true);
        }
        if status < 200 {
            assert_eq!(framing, None, "an interim answer has no body: {}", text());
            continue;
        }
        // What could not be read may have been meant for a HEAD.
        let refused = status >= 400 && rest.is_empty();
        let asked_head = method(answers.len()).map_or(refused, |method| method == "HEAD");
        let bodiless = asked_head || matches!(status, 204 | 304);
        let framing = match framing {
            _ if bodiless => Framing::Length(0),
            Some(framing) => framing,
            None => Framing::UntilEnd,
        };
        let body = http1::body(framing, rest).unwrap_or_else(|wrong| panic!("{wrong}: {}", text()));
        assert!(body.whole || cut, "the last answer is cut: {}", text());
        rest = &rest[body.length..];
        answers.push(Answer { status, fields: head.fields, body });
    }
    (answers, false)
}
