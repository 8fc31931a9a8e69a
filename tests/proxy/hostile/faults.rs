//! Single faults over HTTP/2: by which code they are told, and that whoever shares the core does not notice.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::floods::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, frame, get,
};
use crate::harness::{Proxy, client, origin, proxy, within};

const PRI: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;

/// The code of the GOAWAY that these bytes are answered with; `None` if the connection ends without one.
async fn goaway(proxy: &Proxy, bytes: &[u8]) -> Option<u32> {
    let mut tls = proxy.client().tls("chat.test", &["h2"]).await.unwrap();
    tls.write_all(bytes).await.unwrap();
    let mut read = Vec::new();
    within("the end of the connection", tls.read_to_end(&mut read)).await.ok();
    let mut rest = &read[..];
    while let Some((head, more)) = rest.split_at_checked(9) {
        let (payload, more) = more.split_at_checked(u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize)?;
        if head[3] == GOAWAY {
            return Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
        rest = more;
    }
    None
}

#[tokio::test]
async fn the_code_of_a_goaway_is_the_one_that_the_rfc_names() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut beside = proxy.client().h1("chat.test").await;
    let largest = i32::MAX.to_be_bytes();
    let open = frame(HEADERS, END_HEADERS, 1, &block(3, &[]));
    for (name, frames, code) in [
        ("short PING", frame(PING, 0, 0, &[0; 7]), FRAME_SIZE_ERROR),
        ("long PING", frame(PING, 0, 0, &[0; 9]), FRAME_SIZE_ERROR),
        ("short WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), FRAME_SIZE_ERROR),
        ("short RST_STREAM", [open.clone(), frame(RST_STREAM, 0, 1, &[0; 3])].concat(), FRAME_SIZE_ERROR),
        ("SETTINGS of seven bytes", frame(SETTINGS, 0, 0, &[0; 7]), FRAME_SIZE_ERROR),
        ("an ACK with content", frame(SETTINGS, 1, 0, &[0; 6]), FRAME_SIZE_ERROR),
        ("short PRIORITY", frame(PRIORITY, 0, 1, &[0; 4]), FRAME_SIZE_ERROR),
        ("short GOAWAY", frame(GOAWAY, 0, 0, &[0; 7]), FRAME_SIZE_ERROR),
        ("HEADERS without the priority they announce", frame(HEADERS, 0x25, 1, &[0; 4]), FRAME_SIZE_ERROR),
        ("DATA without the padding it announces", [open.clone(), frame(DATA, 8, 1, &[])].concat(), FRAME_SIZE_ERROR),
        ("a frame of 16385 bytes", [open.clone(), frame(DATA, 0, 1, &[0; 16385])].concat(), FRAME_SIZE_ERROR),
        ("index 0", frame(HEADERS, 5, 1, &[0x80]), COMPRESSION_ERROR),
        ("an index beyond the table", frame(HEADERS, 5, 1, &[0xff, 0x7f]), COMPRESSION_ERROR),
        ("half a string", frame(HEADERS, 5, 1, &[0x82, 0, 5, b'x']), COMPRESSION_ERROR),
        ("Huffman padding of a byte", frame(HEADERS, 5, 1, &[0x82, 0, 0x81, 0xff, 0x81, 0xff]), COMPRESSION_ERROR),
        ("a table above the limit", frame(HEADERS, 5, 1, &[0x3f, 0xe2, 0x1f, 0x82]), COMPRESSION_ERROR),
        (
            "index 0 in the second half",
            [frame(HEADERS, END_STREAM, 1, &get()), frame(CONTINUATION, END_HEADERS, 1, &[0x80])].concat(),
            COMPRESSION_ERROR,
        ),
        ("a wider connection than there is", frame(WINDOW_UPDATE, 0, 0, &largest).repeat(2), FLOW_CONTROL_ERROR),
        ("an initial window of 2^31", frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]), FLOW_CONTROL_ERROR),
        ("DATA on no stream", frame(DATA, 0, 0, &[0]), PROTOCOL_ERROR),
        ("PING on a stream", frame(PING, 0, 1, &[0; 8]), PROTOCOL_ERROR),
        ("SETTINGS on a stream", frame(SETTINGS, 0, 1, &[]), PROTOCOL_ERROR),
        ("an even stream", frame(HEADERS, 5, 2, &get()), PROTOCOL_ERROR),
        ("ENABLE_PUSH of two", frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]), PROTOCOL_ERROR),
        ("frames of at most a byte", frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]), PROTOCOL_ERROR),
        ("CONTINUATION of nothing", frame(CONTINUATION, 4, 1, &get()), PROTOCOL_ERROR),
        ("a block that is broken off", [frame(HEADERS, 1, 1, &get()), frame(PING, 0, 0, &[0; 8])].concat(), 1),
    ] {
        assert_eq!(goaway(&proxy, &[PREFACE, &frames].concat()).await, Some(code), "{name}");
        beside.send(client::get("chat.test", "/honest", &[])).await;
        assert_eq!(beside.response().await.status, 200, "beside {name}");
    }
    for first in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 1, 0, &[]), frame(HEADERS, 5, 1, &get())] {
        let frames = [PRI, &first, &frame(SETTINGS, 0, 0, &[])].concat();
        assert_eq!(goaway(&proxy, &frames).await, Some(PROTOCOL_ERROR), "{first:?}");
    }
    assert!(gateway.requests().iter().all(|r| r.target() != "/flood"), "{:?}", gateway.requests());
}

#[tokio::test]
async fn a_stream_with_a_wider_window_than_there_is_is_reset_and_the_others_go_on() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let wide = frame(WINDOW_UPDATE, 0, 1, &i32::MAX.to_be_bytes());
    let open = frame(HEADERS, END_HEADERS, 1, &block(3, &[]));
    let mut wire = crate::harness::Wire::new(proxy.client().tls("chat.test", &["h2"]).await.unwrap());
    wire.send([PREFACE, &open, &wide, &wide, &frame(HEADERS, 5, 3, &get())].concat()).await;
    let (mut reset, mut answered) = (false, false);
    while !(reset && answered) {
        let head = wire.exactly(9).await;
        let payload = wire.exactly(u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize).await;
        match (head[3], head[8]) {
            (RST_STREAM, 1) => {
                assert_eq!(payload, FLOW_CONTROL_ERROR.to_be_bytes());
                reset = true;
            }
            (HEADERS, 3) => answered = true,
            (RST_STREAM | GOAWAY, _) => panic!("{head:?} {payload:?}"),
            _ => {}
        }
    }
}
