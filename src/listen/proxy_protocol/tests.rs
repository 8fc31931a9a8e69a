use std::time::Duration;

use proptest::prelude::*;
use tokio::{io::AsyncWriteExt, net::TcpListener};

use super::*;

fn done(consumed: usize, source: &str) -> Header {
    Header::Done { consumed, source: Some(source.parse().unwrap()) }
}

#[test]
fn version_1_lines() {
    for (line, source) in [
        ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", "192.0.2.1:56324"),
        ("PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n", "[2001:db8::1]:56324"),
        ("PROXY TCP6 ::ffff:192.0.2.1 ::1 0 65535\r\n", "192.0.2.1:0"),
        ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535"),
    ] {
        assert_eq!(parse(line.as_bytes()), done(line.len(), source), "{line:?}");
    }
    for line in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff::1 what ever 1 2\r\n"] {
        assert_eq!(parse(line.as_bytes()), Header::Done { consumed: line.len(), source: None });
    }
}

#[test]
fn malformed_version_1_lines_are_refused() {
    for line in [
        "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443 \r\n",
        "PROXY TCP4 192.0.2.1  198.51.100.1 56324 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 +56324 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1 \r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.1 1 2\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.1 1 2\r\n",
        "PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n",
        "PROXY tcp4 192.0.2.1 198.51.100.1 1 2\r\n",
        "PROXY TCP4\t192.0.2.1 198.51.100.1 1 2\r\n",
        "PROXY \r\n",
    ] {
        assert_eq!(parse(line.as_bytes()), Header::Invalid(Invalid::Line), "{line:?}");
    }
    let endless = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
    assert_eq!(parse(&endless), Header::Invalid(Invalid::Line));
    assert_eq!(parse(&endless[..V1_LONGEST - 1]), Header::Incomplete);
}

#[test]
fn traffic_that_is_no_header_is_refused_with_its_first_byte() {
    for bytes in [b"G".as_slice(), b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"\r\n\r\n\x01", b"PROXy"] {
        assert_eq!(parse(bytes), Header::Invalid(Invalid::Signature), "{bytes:?}");
    }
    assert_eq!(parse(b""), Header::Incomplete);
}

fn v2(version_command: u8, family_protocol: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [V2_SIGNATURE.as_slice(), &[version_command, family_protocol], &length, body].concat()
}

const V4_BODY: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 0x04, 0x01, 0xbb];

#[test]
fn version_2_headers() {
    let plain = v2(0x21, 0x11, &V4_BODY);
    assert_eq!(parse(&plain), done(28, "192.0.2.1:56324"));
    let with_tlv = v2(0x21, 0x11, &[V4_BODY.as_slice(), &[0x04, 0, 3, 1, 2, 3]].concat());
    assert_eq!(parse(&with_tlv), done(34, "192.0.2.1:56324"));

    let mut v6_body = [0; 36];
    v6_body[..16].copy_from_slice(&"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
    v6_body[32..34].copy_from_slice(&56324u16.to_be_bytes());
    assert_eq!(parse(&v2(0x21, 0x21, &v6_body)), done(52, "[2001:db8::1]:56324"));
}

#[test]
fn a_load_balancers_own_connection_has_no_client() {
    for header in [
        v2(0x20, 0x00, &[]),
        v2(0x20, 0x11, &V4_BODY),
        v2(0x20, 0xff, b"ignored"),
        v2(0x21, 0x00, b"ignored"),
        v2(0x21, 0x31, &[0; 216]),
    ] {
        assert_eq!(parse(&header), Header::Done { consumed: header.len(), source: None });
    }
}

#[test]
fn malformed_version_2_headers_are_refused() {
    assert_eq!(parse(&v2(0x11, 0x11, &V4_BODY)), Header::Invalid(Invalid::VersionOrCommand));
    assert_eq!(parse(&v2(0x22, 0x11, &V4_BODY)), Header::Invalid(Invalid::VersionOrCommand));
    assert_eq!(parse(&v2(0x21, 0x12, &V4_BODY)), Header::Invalid(Invalid::NotTcp), "UDP");
    assert_eq!(parse(&v2(0x21, 0x41, &V4_BODY)), Header::Invalid(Invalid::NotTcp));
    assert_eq!(parse(&v2(0x21, 0x11, &V4_BODY[..11])), Header::Invalid(Invalid::TooShort));
    assert_eq!(parse(&v2(0x21, 0x21, &V4_BODY)), Header::Invalid(Invalid::TooShort));
    let announced = v2(0x21, 0x11, &[0; V2_LONGEST]);
    assert_eq!(parse(&announced[..V2_FIXED]), Header::Invalid(Invalid::TooLong), "before it is read");
}

/// Headers of every kind, most of them well-formed.
fn header() -> impl Strategy<Value = Vec<u8>> {
    let v1 = any::<([u8; 4], u16)>()
        .prop_map(|(ip, port)| format!("PROXY TCP4 {} 198.51.100.1 {port} 443\r\n", Ipv4Addr::from(ip)).into_bytes());
    let v2 = (prop_oneof![Just(0x20u8), Just(0x21)], prop_oneof![Just(0x11u8), Just(0x21), Just(0)], 36..300usize)
        .prop_flat_map(|(command, family, length)| {
            prop::collection::vec(any::<u8>(), length).prop_map(move |body| v2(command, family, &body))
        });
    prop_oneof![v1, v2]
}

proptest! {
    #[test]
    fn no_bytes_panic_and_none_behind_a_header_matter(bytes: Vec<u8>, signed: bool) {
        let bytes = if signed { [V2_SIGNATURE.as_slice(), &bytes].concat() } else { bytes };
        if let Header::Done { consumed, .. } = parse(&bytes) {
            prop_assert!(consumed <= bytes.len());
            prop_assert_eq!(parse(&bytes[..consumed]), parse(&bytes));
        }
    }

    #[test]
    fn a_header_cut_anywhere_is_incomplete_and_whatever_follows_it_is_not_read(header in header(), tail: Vec<u8>) {
        let whole = parse(&header);
        prop_assert!(matches!(whole, Header::Done { consumed, .. } if consumed == header.len()), "{whole:?}");
        prop_assert_eq!(parse(&[header.as_slice(), &tail].concat()), whole);
        for cut in 0..header.len() {
            prop_assert_eq!(parse(&header[..cut]), Header::Incomplete);
        }
    }
}

async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    client.set_nodelay(true).unwrap();
    (client, listener.accept().await.unwrap().0)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

#[tokio::test]
async fn not_one_byte_behind_the_header_is_lost() {
    for header in [b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n".to_vec(), v2(0x21, 0x11, &V4_BODY)] {
        let (mut client, mut served) = connection().await;
        client.write_all(&[header.as_slice(), b"GET / HTTP/1.1\r\n"].concat()).await.unwrap();
        let source = read_header(&mut served, soon()).await.unwrap();
        assert_eq!(source, Some("192.0.2.1:56324".parse().unwrap()));
        let mut rest = [0; 16];
        timeout_at(soon(), served.read_exact(&mut rest)).await.expect("nothing is missing").unwrap();
        assert_eq!(&rest, b"GET / HTTP/1.1\r\n");
    }
}

#[tokio::test]
async fn a_header_may_come_byte_by_byte() {
    let (mut client, mut served) = connection().await;
    let reading = tokio::spawn(async move {
        let source = read_header(&mut served, soon()).await.unwrap();
        (source, served)
    });
    for byte in v2(0x21, 0x11, &V4_BODY) {
        client.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    client.write_all(b"x").await.unwrap();
    let (source, mut served) = reading.await.unwrap();
    assert_eq!(source, Some("192.0.2.1:56324".parse().unwrap()));
    let next = timeout_at(soon(), served.read_u8()).await.expect("nothing is missing");
    assert_eq!(next.unwrap(), b'x');
}

#[tokio::test]
async fn a_listed_peer_that_sends_no_header_is_refused() {
    let (mut client, mut served) = connection().await;
    client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let error = read_header(&mut served, soon()).await.unwrap_err();
    assert!(matches!(error, HeaderError::Invalid(Invalid::Signature)));

    let (mut client, mut served) = connection().await;
    client.write_all(b"PROXY TC").await.unwrap();
    drop(client);
    assert!(matches!(read_header(&mut served, soon()).await, Err(HeaderError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn a_header_that_does_not_come_in_time_ends_the_connection() {
    let (mut client, mut served) = connection().await;
    client.write_all(b"PROXY ").await.unwrap();
    assert!(matches!(read_header(&mut served, soon()).await, Err(HeaderError::Deadline)));
}
