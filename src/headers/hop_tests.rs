use super::*;

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::try_from(*name).expect("a name");
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
    }
    headers
}

fn lines(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut lines: Vec<_> = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    lines.sort();
    lines
}

fn strip(
    version: Version,
    method: &str,
    fields: &[(&str, &str)],
) -> Result<(Hop, Vec<(String, String)>), FramingError> {
    let mut headers = map(fields);
    let hop = strip_request(version, &Method::from_bytes(method.as_bytes()).expect("a method"), &mut headers)?;
    Ok((hop, lines(&headers)))
}

/// What is left of an HTTP/1.1 GET.
fn left(fields: &[(&str, &str)]) -> Vec<String> {
    let (_, lines) = strip(Version::HTTP_11, "GET", fields).expect("good framing");
    lines.into_iter().map(|(name, value)| format!("{name}: {value}")).collect()
}

#[test]
fn every_connection_line_is_worked_off() {
    let fields = [
        ("connection", "close, X-One"),
        ("Connection", " x-two ,,\tX-THREE"),
        ("connection", "keep-alive"),
        ("connection", "\u{e9}, a b"),
        ("x-one", "1"),
        ("x-one", "again"),
        ("x-two", "2"),
        ("x-three", "3"),
        ("x-four", "4"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("proxy_connection", "x"),
        ("proxy-authorization", "Basic x"),
        ("proxy-authenticate", "x"),
        ("proxy-authentication-info", "x"),
        ("te", "gzip"),
        ("upgrade", "h2c"),
        ("http2-settings", "x"),
        ("transfer_encoding", "chunked"),
        ("content_length", "5"),
        ("keep_alive", "x"),
        ("trailer", "digest"),
    ];
    assert_eq!(left(&fields), ["trailer: digest", "x-four: 4"]);
}

#[test]
fn what_a_request_is_judged_by_cannot_be_taken_away() {
    let all = "Host, Content-Length, Content-Type, Content-Encoding, Authorization, Cookie, Origin, Sec-Fetch-Site, Sec-WebSocket-Key, \
               Sec-WebSocket-Protocol, Expect, x-other";
    let mut fields = vec![("connection", all)];
    fields.extend(all.split(", ").map(|name| (name, if name == "Content-Length" { "0" } else { "v" })));
    let left = left(&fields);
    assert_eq!(left.len(), 11, "{left:?}");
    assert!(!left.contains(&"x-other: v".to_owned()));
}

#[test]
fn a_trailer_field_named_by_connection_goes() {
    assert_eq!(left(&[("connection", "trailer"), ("trailer", "x")]), Vec::<String>::new());
}

#[test]
fn a_websocket_is_asked_for_by_a_get_of_http_1_1_with_both_fields() {
    let asks = |version, method: &str, fields: &[(&str, &str)]| {
        strip(version, method, fields).map(|(hop, _)| hop.upgrade_websocket)
    };
    let good = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
    assert_eq!(asks(Version::HTTP_11, "GET", &good), Ok(true));
    assert_eq!(
        asks(Version::HTTP_11, "GET", &[("connection", "x"), ("connection", "upgrade"), ("upgrade", "h2c, websocket")]),
        Ok(true)
    );
    assert_eq!(asks(Version::HTTP_10, "GET", &good), Ok(false));
    assert_eq!(asks(Version::HTTP_11, "POST", &good), Ok(false));
    assert_eq!(asks(Version::HTTP_11, "GET", &[("connection", "upgrade"), ("upgrade", "h2c")]), Ok(false));
    assert_eq!(asks(Version::HTTP_11, "GET", &[("connection", "upgrade"), ("upgrade", "websocket/13")]), Ok(false));
    assert_eq!(asks(Version::HTTP_11, "GET", &[("connection", "close"), ("upgrade", "websocket")]), Ok(false));
    assert_eq!(asks(Version::HTTP_11, "GET", &[("connection", "upgrade")]), Ok(false));
    assert_eq!(asks(Version::HTTP_11, "GET", &[good[0], good[1], ("content-length", "5")]), Ok(false));
    assert_eq!(asks(Version::HTTP_11, "GET", &[good[0], good[1], ("content-length", "0")]), Ok(true));
    assert_eq!(asks(Version::HTTP_11, "GET", &[good[0], good[1], ("transfer-encoding", "chunked")]), Ok(false));
    assert_eq!(left(&good), Vec::<String>::new());
    let mut headers = HeaderMap::new();
    ask_websocket(&mut headers);
    assert_eq!(lines(&headers).len(), 2);
}

#[test]
fn transfer_encoding_is_exactly_one_chunked_or_an_error() {
    let framing = |version, values: &[&str]| {
        let fields: Vec<(&str, &str)> = values.iter().map(|value| ("transfer-encoding", *value)).collect();
        strip(version, "POST", &fields).map(|(hop, left)| (hop.framing, left))
    };
    let chunked = Ok((Framing::Chunked, vec![("transfer-encoding".to_owned(), "chunked".to_owned())]));
    assert_eq!(framing(Version::HTTP_11, &["chunked"]), chunked);
    assert_eq!(framing(Version::HTTP_11, &["Chunked\t"]), chunked);
    assert_eq!(framing(Version::HTTP_10, &["chunked"]), Err(FramingError::TransferEncoding));
    for bad in [
        &["chunked", "chunked"][..],
        &["chunked, chunked"],
        &["chunked,"],
        &["chunked", ""],
        &[""],
        &["gzip"],
        &["chunked, gzip"],
        &["chunked;x=1"],
        &["\"chunked\""],
        &["identity"],
        &["xchunked"],
        &["chunked", "identity"],
        &["\u{b}chunked"],
    ] {
        let mut headers = HeaderMap::new();
        for value in bad {
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                headers.append(TRANSFER_ENCODING, value);
            }
        }
        if !headers.is_empty() {
            let result = strip_request(Version::HTTP_11, &Method::POST, &mut headers);
            assert_eq!(result, Err(FramingError::TransferEncoding), "{bad:?}");
        }
    }
    assert_eq!(framing(Version::HTTP_11, &["gzip, chunked"]), Err(FramingError::UnknownCoding));
    assert_eq!(framing(Version::HTTP_11, &["gzip", "chunked"]), Err(FramingError::UnknownCoding));
    assert_eq!(FramingError::UnknownCoding.status(), 501);
    let both = strip(Version::HTTP_11, "POST", &[("transfer-encoding", "chunked"), ("content-length", "3")]);
    assert_eq!(both, Err(FramingError::Both));
}

#[test]
fn content_length_is_one_number() {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let length = |values: &[&str]| {
            let fields: Vec<(&str, &str)> = values.iter().map(|value| ("content-length", *value)).collect();
            strip(version, "POST", &fields).map(|(hop, left)| (hop.framing, left.len()))
        };
        assert_eq!(length(&["5"]), Ok((Framing::Length(5), 1)));
        assert_eq!(length(&["5", "5", "5"]), Ok((Framing::Length(5), 1)));
        // The largest that no server can take for a negative one.
        assert_eq!(length(&["9223372036854775807"]), Ok((Framing::Length(i64::MAX as u64), 1)));
        for bad in [
            &["5", "6"][..],
            &["5, 5"],
            &[""],
            &["+5"],
            &["-0"],
            &["5 5"],
            &["0x5"],
            &["9223372036854775808"],
            &["18446744073709551616"],
            &["5", ""],
            &["٥"],
        ] {
            assert_eq!(length(bad), Err(FramingError::ContentLength), "{bad:?}");
        }
    }
    assert_eq!(strip(Version::HTTP_11, "POST", &[]).map(|(hop, _)| hop.framing), Ok(Framing::Empty));
    assert_eq!(strip(Version::HTTP_2, "POST", &[]).map(|(hop, _)| hop.framing), Ok(Framing::Streamed));
}

#[test]
fn h2_has_no_connection_specific_fields() {
    for (name, value) in [
        ("connection", "x"),
        ("keep-alive", "x"),
        ("proxy-connection", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
    ] {
        assert_eq!(strip(Version::HTTP_2, "GET", &[(name, value)]), Err(FramingError::ConnectionSpecific), "{name}");
    }
    let (hop, left) = strip(Version::HTTP_2, "GET", &[("te", "trailers")]).expect("allowed");
    assert_eq!((hop.te_trailers, left.len()), (true, 0));
}

#[test]
fn trailers_are_asked_for_only_when_the_client_did() {
    let asked = |te: &str| {
        strip(Version::HTTP_11, "GET", &[("te", te), ("connection", "te")])
            .map(|(hop, left)| (hop.te_trailers, left.len()))
    };
    assert_eq!(asked("gzip;q=0.5, Trailers"), Ok((true, 0)));
    assert_eq!(asked("gzip"), Ok((false, 0)));
    let mut headers = HeaderMap::new();
    ask_trailers(&mut headers);
    assert_eq!(
        (&headers[TE], &headers[CONNECTION]),
        (&HeaderValue::from_static("trailers"), &HeaderValue::from_static("te"))
    );
}

#[test]
fn cookie_crumbs_are_one_line() {
    let (_, left) =
        strip(Version::HTTP_2, "GET", &[("cookie", "a=1"), ("accept", "x"), ("cookie", "b=\u{e9}"), ("cookie", "c=3")])
            .expect("good");
    assert_eq!(left[1], ("cookie".to_owned(), "a=1; b=\u{e9}; c=3".to_owned()));
    assert_eq!(left.len(), 2);
}

#[test]
fn an_http_1_0_expectation_is_ignored() {
    let left = |version| strip(version, "POST", &[("expect", "100-continue")]).expect("good").1.len();
    assert_eq!((left(Version::HTTP_10), left(Version::HTTP_11)), (0, 1));
}

#[test]
fn opaque_bytes_in_values_pass() {
    let mut headers = HeaderMap::new();
    headers.insert("x-opaque", HeaderValue::from_bytes(b"\xff\x80").expect("obs-text"));
    headers.insert(CONNECTION, HeaderValue::from_bytes(b"\xff, x-gone").expect("obs-text"));
    headers.insert("x-gone", HeaderValue::from_static("x"));
    strip_request(Version::HTTP_11, &Method::GET, &mut headers).expect("good framing");
    assert_eq!(headers.len(), 1);
    assert_eq!(headers["x-opaque"].as_bytes(), b"\xff\x80");
}

fn answer(status: u16, fields: &[(&str, &str)]) -> Result<(ResponseHop, Vec<String>), FramingError> {
    let mut headers = map(fields);
    let hop = strip_response(StatusCode::from_u16(status).expect("a status"), &mut headers)?;
    Ok((hop, lines(&headers).into_iter().map(|(name, value)| format!("{name}: {value}")).collect()))
}

#[test]
fn a_response_leaves_its_connection_behind() {
    let (hop, left) = answer(
        200,
        &[
            ("connection", "close"),
            ("connection", "X-Internal, set-cookie"),
            ("x-internal", "1"),
            ("keep-alive", "timeout=5"),
            ("set-cookie", "a"),
            ("set-cookie", "b"),
            ("proxy-authenticate", "Basic"),
            ("upgrade", "h2c"),
            ("te", "x"),
            ("transfer-encoding", "chunked"),
            ("trailer", "digest"),
        ],
    )
    .expect("good");
    assert_eq!(left, ["set-cookie: a", "set-cookie: b", "trailer: digest"]);
    assert_eq!(hop, ResponseHop { websocket: false, close: true });
}

#[test]
fn the_upstreams_consent_to_a_websocket_is_seen() {
    let websocket = |fields: &[(&str, &str)]| answer(101, fields).map(|(hop, left)| (hop.websocket, left.len()));
    assert_eq!(
        websocket(&[("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-accept", "x")]),
        Ok((true, 1))
    );
    assert_eq!(websocket(&[("connection", "Upgrade"), ("upgrade", "h2c")]), Ok((false, 0)));
    assert_eq!(websocket(&[("upgrade", "websocket")]), Ok((false, 0)));
}

#[test]
fn transfer_encoding_overrides_a_responses_content_length() {
    let left = |fields: &[(&str, &str)]| answer(200, fields).map(|(_, left)| left);
    assert_eq!(left(&[("content-length", "5"), ("content-length", "6"), ("transfer-encoding", "chunked")]), Ok(vec![]));
    assert_eq!(left(&[("content-length", "5"), ("content-length", "5")]), Ok(vec!["content-length: 5".to_owned()]));
    assert_eq!(left(&[("content-length", "5, 5")]), Ok(vec!["content-length: 5".to_owned()]));
    assert_eq!(left(&[("content-length", "5"), ("content-length", "6")]), Err(FramingError::ContentLength));
    assert_eq!(left(&[("content-length", "5, 6")]), Err(FramingError::ContentLength));
    assert_eq!(left(&[("transfer-encoding", "gzip, chunked")]), Err(FramingError::UnknownCoding));
    assert_eq!(
        left(&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]),
        Err(FramingError::TransferEncoding)
    );
    assert_eq!(answer(204, &[("content-length", "0")]).map(|(_, left)| left.len()), Ok(0));
}

#[test]
fn trailers_carry_nothing_that_a_head_is_judged_by() {
    let unfit = "content-length transfer-encoding host trailer te connection keep-alive authorization cookie set-cookie origin \
                 x-forwarded-for x_real_ip forwarded content-type content-encoding content-range cache-control expect max-forwards \
                 range if-match age date expires location retry-after vary warning www-authenticate proxy-authorization upgrade \
                 sec-websocket-key sec-fetch-site tailscale-user-login pragma transfer_encoding";
    let mut trailers = HeaderMap::new();
    for name in unfit.split_whitespace().chain(["digest", "server-timing", "grpc-status", "x-checksum", "etag"]) {
        trailers.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
        trailers.append(HeaderName::from_static(name), HeaderValue::from_static("2"));
    }
    strip_trailers(&mut trailers);
    let left: Vec<_> = lines(&trailers).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        left,
        [
            "digest",
            "digest",
            "etag",
            "etag",
            "grpc-status",
            "grpc-status",
            "server-timing",
            "server-timing",
            "x-checksum",
            "x-checksum"
        ]
    );
}

/// hyper's client is what reads our map in the end; a GET with `Chunked` has to keep its field.
#[test]
fn a_chunked_get_keeps_its_body() {
    let (hop, left) = strip(Version::HTTP_11, "GET", &[("transfer-encoding", "chunked")]).expect("good");
    assert_eq!((hop.framing, left.len()), (Framing::Chunked, 1));
    let mut headers = HeaderMap::new();
    frame_streamed(&mut headers);
    assert_eq!(headers[TRANSFER_ENCODING], "chunked");
}
