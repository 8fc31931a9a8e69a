//! What is said of a head that cannot be read.

use std::{io::Write, time::SystemTime};

use super::head::Unreadable;
use crate::serve::{date, refusal::Reason};

impl Unreadable {
    /// As in logs and labels.
    pub fn name(self) -> &'static str {
        match self {
            Unreadable::Malformed | Unreadable::Version => "http_request_error",
            Unreadable::LineTooLong => Reason::RequestLineTooLong.row().name,
            Unreadable::TooLarge => Reason::HeaderTooLarge.row().name,
        }
    }
}

pub fn write(why: Unreadable, head: bool, out: &mut Vec<u8>) {
    let (phrase, message) = match why {
        Unreadable::Malformed => ("Bad Request", "The request line or a header field is malformed."),
        Unreadable::Version => ("HTTP Version Not Supported", "This server speaks HTTP/1.1 and HTTP/2."),
        Unreadable::LineTooLong => ("URI Too Long", Reason::RequestLineTooLong.row().text),
        Unreadable::TooLarge => ("Request Header Fields Too Large", Reason::HeaderTooLarge.row().text),
    };
    let (status, name) = (why.status(), why.name());
    let body = format!("{{\"error\":\"{name}\",\"message\":\"{message}\",\"status\":{status}}}\n");
    let date = date::value(SystemTime::now());
    let date = date.to_str().unwrap_or_default();
    // Writing to memory does not fail.
    let _ = write!(
        out,
        "HTTP/1.1 {status} {phrase}\r\nconnection: close\r\ndate: {date}\r\ncontent-type: application/json\r\n\
         proxy-status: clawgate; error=http_request_error\r\ncontent-length: {}\r\n\r\n{}",
        body.len(),
        if head { "" } else { &body },
    );
}
