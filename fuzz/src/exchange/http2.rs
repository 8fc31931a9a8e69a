//! HTTP/2 frames, as far as they tell how many requests there were, and whether what came back is frames at all.

/// Preface, SETTINGS, and a window of 16 MiB.
pub const BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x04\x08\0\0\0\0\0\x00\xff\0\0";

const PREFACE: usize = 24;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    length: usize,
}

/// The frames that are there whole, and whether nothing is left.
fn frames(mut bytes: &[u8]) -> (Vec<Frame>, bool) {
    let mut frames = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        if rest.len() < length {
            break;
        }
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        frames.push(Frame { kind: head[3], flags: head[4], stream, length });
        bytes = &rest[length..];
    }
    (frames, bytes.is_empty())
}

/// So many requests a client may have made.
pub fn requests(sent: &[u8]) -> usize {
    let frames = sent.get(PREFACE..).map(|bytes| frames(bytes).0).unwrap_or_default();
    frames.iter().filter(|frame| frame.kind == HEADERS).count()
}

/// What the client got is frames, SETTINGS first, of streams that it has begun, and nothing of a stream behind its end.
pub fn judge(sent: &[u8], got: &[u8]) {
    let (frames, whole) = frames(got);
    assert!(whole, "the last frame is cut: {}", got.escape_ascii());
    assert!(frames.first().is_none_or(|first| (first.kind, first.stream) == (4, 0)), "{}", got.escape_ascii());
    let begun: Vec<u32> = {
        let sent = sent.get(PREFACE..).map(|bytes| self::frames(bytes).0).unwrap_or_default();
        sent.iter().filter(|frame| frame.kind == HEADERS).map(|frame| frame.stream).collect()
    };
    let mut over = Vec::new();
    for Frame { kind, flags, stream, length } in frames {
        assert!(length <= 16_384 && kind <= 9, "frame {kind} of {length}");
        match kind {
            0 | HEADERS | 9 => {
                assert!(begun.contains(&stream), "an answer on stream {stream}, which nobody has begun");
                assert!(!over.contains(&stream), "more on stream {stream}, which is over");
                if kind != 9 && flags & END_STREAM != 0 {
                    over.push(stream);
                }
            }
            3 => assert_ne!(stream, 0),
            4 | 6 | 7 => assert_eq!(stream, 0),
            _ => {}
        }
    }
}
