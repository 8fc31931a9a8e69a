use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::{
    super::{Close, ClosedBy, Kind},
    *,
};

fn at() -> SystemTime {
    UNIX_EPOCH + Duration::new(1_795_370_400, 123_456_789)
}

fn line(record: &Record<'_>, write: fn(&mut Vec<u8>, &Record<'_>, &mut Stamp)) -> String {
    let mut out = Vec::new();
    write(&mut out, record, &mut Stamp::default());
    String::from_utf8(out).unwrap()
}

fn request() -> Record<'static> {
    let mut record = Record::new(Kind::Request, at(), Ipv4Addr::new(203, 0, 113, 7).into());
    record.peer = Some(Ipv4Addr::new(192, 0, 2, 1).into());
    record.identity = Some("attributed");
    record.method = "GET";
    record.scheme = "https";
    record.version = Some(http::Version::HTTP_2);
    record.host = b"chat.test";
    record.path = Redacted::new("/?token=deadbeef");
    record.status = Some(200);
    record.request_bytes = 12;
    record.response_bytes = 3456;
    record.duration = Duration::from_micros(12_034);
    record.route = Some("/");
    record.upstream = Some("openclaw");
    record.user_agent = Some(b"curl/8 \"x\"");
    record.referer = Some(Redacted::new("https://a:b@chat.test/x?token=deadbeef#y"));
    record
}

#[test]
fn a_request_as_json() {
    assert_eq!(
        line(&request(), json),
        concat!(
            r#"{"timestamp":"2026-11-22T18:00:00.123456Z","level":"INFO","target":"access","kind":"request","#,
            r#""client":"203.0.113.7","peer":"192.0.2.1","identity":"attributed","method":"GET","scheme":"https","#,
            r#""version":"2","host":"chat.test","path":"/?token=***","status":200,"request_bytes":12,"#,
            r#""response_bytes":3456,"duration_us":12034,"route":"/","upstream":"openclaw","#,
            r#""user_agent":"curl/8 \"x\"","referer":"https://chat.test/x?token=***"}"#,
            "\n",
        )
    );
}

#[test]
fn a_request_as_text() {
    assert_eq!(
        line(&request(), text),
        concat!(
            "2026-11-22T18:00:00.123456Z  INFO access: request GET https://chat.test/?token=*** 200 12.034ms ",
            "client=203.0.113.7 peer=192.0.2.1 identity=attributed version=2 request_bytes=12 response_bytes=3456 ",
            r#"route="/" upstream="openclaw" user_agent="curl/8 \"x\"" referer="https://chat.test/x?token=***""#,
            "\n",
        )
    );
}

#[test]
fn a_websocket_says_who_closed_it_and_how() {
    let mut record = Record::new(Kind::WebSocket, at(), Ipv6Addr::LOCALHOST.into());
    record.close = Some(Close { code: Some(1008), by: ClosedBy::Upstream, reason: b"pairing required\n" });
    let shown = line(&record, json);
    assert!(shown.contains(r#""kind":"websocket","client":"::1""#), "{shown}");
    assert!(
        shown.contains(r#""close_code":1008,"closed_by":"upstream","close_reason":"pairing required\u000a""#),
        "{shown}"
    );
    record.close = Some(Close { code: None, by: ClosedBy::Client, reason: b"" });
    let shown = line(&record, text);
    assert!(shown.ends_with("closed_by=client\n"), "{shown}");
}

#[test]
fn what_is_not_known_is_left_out() {
    let mut record = Record::new(Kind::Handshake, at(), Ipv4Addr::LOCALHOST.into());
    record.refusal = Some("tls_protocol_error");
    assert_eq!(
        line(&record, json),
        concat!(
            r#"{"timestamp":"2026-11-22T18:00:00.123456Z","level":"INFO","target":"access","kind":"handshake","#,
            r#""client":"127.0.0.1","request_bytes":0,"response_bytes":0,"duration_us":0,"#,
            r#""refusal":"tls_protocol_error"}"#,
            "\n",
        )
    );
    assert_eq!(
        line(&record, text),
        "2026-11-22T18:00:00.123456Z  INFO access: handshake 0.000ms client=127.0.0.1 request_bytes=0 \
         response_bytes=0 refusal=tls_protocol_error\n"
    );
}

#[test]
fn bytes_from_outside_stay_in_their_field() {
    let table: [(&[u8], &str); 9] = [
        (b"plain", r#""plain""#),
        (b"a \"b\" \\ c", r#""a \"b\" \\ c""#),
        (b"\x00\x1b[31m\x7f\r\n\t", r#""\u0000\u001b[31m\u007f\u000d\u000a\u0009""#),
        ("grün €".as_bytes(), "\"grün €\""),
        ("\u{9b}31m\u{85}".as_bytes(), r#""\u009b31m\u0085""#),
        (b"\xff\xfe", "\"\u{fffd}\u{fffd}\""),
        (b"a\xe2\x82b", "\"a\u{fffd}b\""),
        (b"", r#""""#),
        (b"\xc3\xa9\xff\"", "\"é\u{fffd}\\\"\""),
    ];
    for (bytes, shown) in table {
        let mut out = Vec::new();
        Escape::quoted(&mut out, 100).push(bytes).end();
        assert_eq!(String::from_utf8(out).unwrap(), shown, "{bytes:?}");
    }
}

#[test]
fn a_space_cannot_forge_a_field_of_the_text_line() {
    let mut record = request();
    record.host = b"x 200 client=10.0.0.1";
    record.path = Redacted::new("/a b");
    let shown = line(&record, text);
    assert!(shown.contains(r"GET https://x\u0020200\u0020client=10.0.0.1/a\u0020b 200 12.034ms "), "{shown}");
}

#[test]
fn an_absolute_target_does_not_repeat_the_host() {
    let mut record = request();
    record.path = Redacted::new("https://chat.test/x?y=z");
    assert!(line(&record, text).contains(" GET https://chat.test/x?y=*** 200 "));
}

#[test]
fn a_client_does_not_choose_how_much_is_logged() {
    let long = "é".repeat(100_000);
    let path = format!("/{}?token=x", "a".repeat(100_000));
    let mut record = request();
    record.host = long.as_bytes();
    record.user_agent = Some(long.as_bytes());
    record.referer = Some(Redacted::new(&path));
    record.path = Redacted::new(&path);
    for write in [json, text] {
        let shown = line(&record, write);
        assert!(shown.len() < 5000, "{}", shown.len());
        assert!(shown.contains("é…\""), "a character that was cut in two is left out");
        assert!(!shown.contains('\u{fffd}'));
    }
}

#[test]
fn timestamps_follow_the_calendar() {
    let table = [
        (0, "1970-01-01T00:00:00.000000Z"),
        (951_782_400, "2000-02-29T00:00:00.000000Z"),
        (1_709_251_199, "2024-02-29T23:59:59.000000Z"),
        (4_102_444_800, "2100-01-01T00:00:00.000000Z"),
        (u64::MAX >> 1, "9999-12-31T23:59:59.000000Z"),
    ];
    let mut stamp = Stamp::default();
    for (seconds, expected) in table {
        let Some(at) = UNIX_EPOCH.checked_add(Duration::from_secs(seconds)) else { continue };
        let mut out = Vec::new();
        stamp.write(&mut out, at);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
    let mut out = Vec::new();
    stamp.write(&mut out, UNIX_EPOCH - Duration::from_secs(1));
    assert_eq!(out, b"1970-01-01T00:00:00.000000Z");
}

proptest! {
    #[test]
    fn any_record_is_one_json_object_on_one_line(
        host in prop::collection::vec(any::<u8>(), 0..300),
        path in prop::collection::vec(any::<u8>(), 0..300),
        agent in prop::collection::vec(any::<u8>(), 0..600),
        reason in prop::collection::vec(any::<u8>(), 0..130),
    ) {
        let mut record = request();
        record.host = &host;
        record.path = Redacted::from_bytes(&path);
        record.user_agent = Some(&agent);
        record.close = Some(Close { code: Some(1000), by: ClosedBy::Client, reason: &reason });
        let shown = line(&record, json);
        prop_assert_eq!(shown.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&shown).unwrap();
        prop_assert_eq!(&value["status"], 200);
        let shown = line(&record, text);
        prop_assert_eq!(shown.matches('\n').count(), 1);
        prop_assert!(!shown.trim_end_matches('\n').chars().any(char::is_control));
        prop_assert!(shown.contains(" client=203.0.113.7 "));
    }
}
