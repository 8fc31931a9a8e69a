//! Interim answers (1xx) before the final one. hyper's client reads over them, so they are taken off its bytes here.
//!
//! Only the first bytes that come for a request are looked at: an answer's body can never be taken for a head.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tokio::io::ReadBuf;

/// For one request. A gateway that has more to say before it answers is not listened to.
const MOST: usize = 16;
/// Of one head.
const MOST_BYTES: usize = 16 * 1024;

/// Who gets interim answers: whole heads, as they came.
pub trait Interim: Send + Sync {
    fn interim(&self, head: &[u8]);
}

/// Between the exchange, which knows when an answer is due, and the stream, which reads it.
#[derive(Default)]
pub struct Awaited {
    due: AtomicBool,
    by: Mutex<Option<Arc<dyn Interim>>>,
}

impl Awaited {
    /// The next bytes on this connection are the beginning of an answer.
    pub fn is_due(&self, by: Arc<dyn Interim>) {
        *self.by.lock().unwrap_or_else(PoisonError::into_inner) = Some(by);
        self.due.store(true, Ordering::Relaxed);
    }

    /// To be called with what was read into `buf` from `start` on. What is left there is hyper's; nothing may be left.
    #[inline]
    pub fn read(&self, buf: &mut ReadBuf<'_>, start: usize) {
        if self.due.load(Ordering::Relaxed) {
            self.take_off(buf, start);
        }
    }

    fn take_off(&self, buf: &mut ReadBuf<'_>, start: usize) {
        let mut by = self.by.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = &mut buf.filled_mut()[start..];
        let (mut at, mut heads) = (0, 0);
        while let Some(length) = interim_head(&bytes[at..]) {
            heads += 1;
            if heads > MOST {
                break;
            }
            // A 100 is between the gateway and us: the client has had ours (RFC 9110 §10.1.1).
            if let Some(by) = by.as_ref().filter(|_| !bytes[at..].starts_with(b"HTTP/1.1 100")) {
                by.interim(&bytes[at..at + length]);
            }
            at += length;
        }
        bytes.copy_within(at.., 0);
        let left = bytes.len() - at;
        buf.set_filled(start + left);
        // A final answer, the end, or what hyper shall judge: a head that is cut, another version, no HTTP at all.
        if left > 0 || heads == 0 || heads > MOST {
            self.due.store(false, Ordering::Relaxed);
            *by = None;
        }
    }
}

/// The length of the interim head that these bytes begin with, if it is whole.
fn interim_head(bytes: &[u8]) -> Option<usize> {
    let rest = bytes.strip_prefix(b"HTTP/1.1 1")?;
    let [a @ b'0'..=b'9', b @ b'0'..=b'9', b' ' | b'\r', ..] = rest else { return None };
    if (a, b) == (&b'0', &b'1') {
        return None;
    }
    let end = bytes[..bytes.len().min(MOST_BYTES)].windows(4).position(|w| w == b"\r\n\r\n")?;
    Some(end + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Interim for Heard {
        fn interim(&self, head: &[u8]) {
            self.0.lock().unwrap().push(String::from_utf8(head.to_vec()).unwrap());
        }
    }

    /// What hyper and the client get of these reads.
    fn after(reads: &[&str]) -> (String, Vec<String>) {
        let (awaited, heard) = (Awaited::default(), Arc::new(Heard::default()));
        awaited.is_due(heard.clone());
        let mut left = String::new();
        for read in reads {
            let mut space = [0; 4096];
            let mut buf = ReadBuf::new(&mut space);
            buf.put_slice(b"before");
            buf.put_slice(read.as_bytes());
            awaited.read(&mut buf, 6);
            left.push_str(std::str::from_utf8(&buf.filled()[6..]).unwrap());
        }
        (left, std::mem::take(&mut *heard.0.lock().unwrap()))
    }

    const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
    const OK: &str = "HTTP/1.1 200 OK\r\n\r\n";

    #[test]
    fn interim_heads_are_taken_off_and_the_final_one_is_left() {
        assert_eq!(after(&[OK]), (OK.into(), vec![]));
        assert_eq!(after(&[HINTS, OK]), (OK.into(), vec![HINTS.into()]));
        let together = [HINTS, "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 102\r\n\r\n", OK].concat();
        assert_eq!(after(&[&together]), (OK.into(), vec![HINTS.into(), "HTTP/1.1 102\r\n\r\n".into()]));
    }

    #[test]
    fn what_looks_like_one_in_an_answer_is_part_of_it() {
        assert_eq!(after(&[OK, HINTS]), ([OK, HINTS].concat(), vec![]));
        let switching = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
        assert_eq!(after(&[switching, HINTS]), ([switching, HINTS].concat(), vec![]));
    }

    #[test]
    fn what_is_cut_or_without_end_is_left_to_hyper() {
        for read in
            ["HTTP/1.1 103 Early Hints\r\nli", "HTTP/1.1 1", "HTTP/1.0 103 x\r\n\r\n", "HTTP/1.1 1x3 y\r\n\r\n", "x"]
        {
            assert_eq!(after(&[read, HINTS]), ([read, HINTS].concat(), vec![]));
        }
        let many = HINTS.repeat(MOST + 5);
        assert_eq!(after(&[&many]), (HINTS.repeat(5), vec![HINTS.to_owned(); MOST]));
    }
}
