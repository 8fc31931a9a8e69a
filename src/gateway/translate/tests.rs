use super::*;

const AT: Situation<'_> = Situation { host: "claw.example.com:8443", attributed: None };

fn refused(code: &str, message: &str, detail: Option<&str>) -> Refusal {
    Refusal { code: code.into(), message: message.into(), detail: detail.map(Into::into), ..Refusal::default() }
}

fn code(seen: Seen<'_>) -> Option<&'static str> {
    translate(seen, &AT).map(|cause| cause.code)
}

#[test]
fn http_answers_of_the_gateway_have_a_cause() {
    // The first two bodies are 2026.9.6's.
    let attribution = br#"{"error":{"message":"Proxy client attribution is required. Configure gateway.trustedProxies narrowly and make the proxy overwrite or safely rebuild forwarded client headers.","type":"proxy_attribution_required"}}"#;
    let cases: [(u16, &[u8], Option<&str>); 8] = [
        (403, attribution, Some("gateway/proxy-attribution-required")),
        (503, b"Too many unauthenticated sockets", Some("gateway/pre-auth-places")),
        (503, b"Gateway websocket admission closed", Some("gateway/restarting")),
        (503, b"Plugin runtime is starting", Some("gateway/restarting")),
        (
            429,
            br#"{"error":{"message":"Too many failed authentication attempts. Please try again later."}}"#,
            Some("gateway/rate-limited"),
        ),
        (403, b"Forbidden", None),
        (200, attribution, None),
        (503, b"", None),
    ];
    for (status, body, expected) in cases {
        assert_eq!(code(Seen::Http { status, body }), expected, "{status}");
    }
}

#[test]
fn refused_connects_have_a_cause() {
    let cases = [
        ("NOT_PAIRED", "pairing required", Some("PAIRING_REQUIRED"), Some("gateway/pairing-required")),
        ("NOT_PAIRED", "pairing required: device is not approved yet", None, Some("gateway/pairing-required")),
        ("NOT_PAIRED", "device identity required", Some("DEVICE_IDENTITY_REQUIRED"), Some("gateway/device-required")),
        (
            "INVALID_REQUEST",
            "origin not allowed (open ...)",
            Some("CONTROL_UI_ORIGIN_NOT_ALLOWED"),
            Some("gateway/origin-not-allowed"),
        ),
        (
            "INVALID_REQUEST",
            "unauthorized: gateway token mismatch",
            Some("AUTH_TOKEN_MISMATCH"),
            Some("gateway/credential-wrong"),
        ),
        (
            "INVALID_REQUEST",
            "unauthorized: gateway token missing",
            Some("AUTH_TOKEN_MISSING"),
            Some("gateway/credential-missing"),
        ),
        (
            "INVALID_REQUEST",
            "device signature expired",
            Some("DEVICE_AUTH_SIGNATURE_EXPIRED"),
            Some("gateway/clock-skew"),
        ),
        (
            "INVALID_REQUEST",
            "device nonce mismatch",
            Some("DEVICE_AUTH_NONCE_MISMATCH"),
            Some("gateway/signature-invalid"),
        ),
        ("INVALID_REQUEST", "protocol mismatch", Some("PROTOCOL_MISMATCH"), Some("gateway/protocol-mismatch")),
        (
            "UNAVAILABLE",
            "protocol mismatch: Control UI updated; reload this page to continue",
            Some("PROTOCOL_MISMATCH"),
            Some("gateway/page-outdated"),
        ),
        ("UNAVAILABLE", "gateway starting; retry shortly", None, Some("gateway/restarting")),
        ("INVALID_REQUEST", "missing scope: operator.read", None, Some("gateway/missing-scope")),
        ("INVALID_REQUEST", "something new", Some("SOMETHING_NEW"), None),
    ];
    for (error, message, detail, expected) in cases {
        assert_eq!(code(Seen::Refused(&refused(error, message, detail))), expected, "{error} {message}");
    }
}

#[test]
fn closes_have_a_cause_by_who_closed() {
    let cases = [
        (Side::Gateway, 1012, "service restart", Some("gateway/restarting")),
        (Side::Gateway, 1013, "gateway starting", Some("gateway/restarting")),
        (Side::Gateway, 4001, "gateway policy changed", Some("gateway/policy-changed")),
        (Side::Gateway, 1008, "slow consumer", Some("gateway/slow-consumer")),
        (
            Side::Gateway,
            1008,
            "pairing required: device is not approved yet (requestId: x)",
            Some("gateway/pairing-required"),
        ),
        (
            Side::Gateway,
            1008,
            "protocol mismatch: Control UI updated; reload this page to continue",
            Some("gateway/page-outdated"),
        ),
        (Side::Gateway, 1002, "protocol mismatch", Some("gateway/protocol-mismatch")),
        (Side::Gateway, 1000, "", None),
        (Side::Gateway, 4008, "connect failed", None),
        (Side::Client, 4008, "connect failed", Some("gateway/ui-connect-failed")),
        (Side::Client, 1012, "service restart", None),
    ];
    for (by, number, reason, expected) in cases {
        let close = Close { code: Some(number), reason: reason.into() };
        assert_eq!(code(Seen::Closed { by, close: &close }), expected, "{by:?} {number} {reason}");
    }
}

#[test]
fn cures_are_commands_to_paste() {
    let cure = |seen| translate(seen, &AT).expect("a known trouble").cure;
    let attribution = Seen::Http { status: 403, body: b"proxy_attribution_required" };
    assert!(cure(attribution).ends_with(r#"`openclaw config set gateway.trustedProxies '["127.0.0.2"]'`"#));
    let origin = refused("INVALID_REQUEST", "", Some("CONTROL_UI_ORIGIN_NOT_ALLOWED"));
    let expected = r#"`openclaw config set gateway.controlUi.allowedOrigins '["https://claw.example.com:8443"]'`"#;
    assert!(cure(Seen::Refused(&origin)).ends_with(expected));
    let mut pairing = refused("NOT_PAIRED", "", Some("PAIRING_REQUIRED"));
    pairing.request_id = Some("59da78d2-5505".into());
    assert!(cure(Seen::Refused(&pairing)).ends_with("`openclaw devices approve 59da78d2-5505`"));
}

#[test]
fn a_pairing_request_of_an_attributed_client_names_why_it_is_attributed() {
    let at = Situation { host: "h", attributed: Some("its address 203.0.113.9 is in none of `clients`") };
    let pairing = refused("NOT_PAIRED", "", Some("PAIRING_REQUIRED"));
    let cure = translate(Seen::Refused(&pairing), &at).expect("known").cure;
    assert!(cure.ends_with("its address 203.0.113.9 is in none of `clients`"), "{cure}");
}

#[test]
fn nothing_from_outside_smuggles_itself_into_a_command() {
    let mut pairing = refused("NOT_PAIRED", "", Some("PAIRING_REQUIRED"));
    for id in ["x; rm -rf /", "$(id)", "-h", "", "a'b"] {
        pairing.request_id = Some(id.into());
        let cure = translate(Seen::Refused(&pairing), &AT).expect("known").cure;
        assert!(cure.ends_with("approve REQUEST-ID`"), "{cure}");
    }
}

#[test]
fn each_trouble_is_known_by_the_words_that_it_is_read_in_elsewhere() {
    // No arm for all others: a new trouble needs its words here.
    let words = |trouble| match trouble {
        Trouble::ProxyAttributionRequired => "proxy_attribution_required",
        Trouble::PairingRequired => "PAIRING_REQUIRED",
        Trouble::OriginNotAllowed => "CONTROL_UI_ORIGIN_NOT_ALLOWED",
        Trouble::PageOutdated => "protocol mismatch: Control UI updated; reload this page to continue",
        Trouble::DeviceRequired => "DEVICE_IDENTITY_REQUIRED",
        Trouble::MissingScope => "missing scope: operator.read",
        Trouble::CredentialMissing => "AUTH_TOKEN_MISSING",
        Trouble::CredentialWrong => "AUTH_TOKEN_MISMATCH",
        Trouble::RateLimited => "AUTH_RATE_LIMITED",
        Trouble::ClockSkew => "device signature expired",
        Trouble::SignatureInvalid => "DEVICE_AUTH_NONCE_MISMATCH",
        Trouble::ProtocolMismatch => "PROTOCOL_MISMATCH",
        Trouble::PreAuthPlaces => "Too many unauthenticated sockets",
        Trouble::Restarting => "UNAVAILABLE",
        Trouble::PolicyChanged => "gateway policy changed",
        Trouble::SlowConsumer => "slow consumer",
        Trouble::TooLarge => "message too big",
        Trouble::UiConnectFailed => "connect failed",
        // For words that nobody knows.
        Trouble::RefusedOtherwise => "",
    };
    for trouble in Trouble::ALL.into_iter().filter(|trouble| *trouble != Trouble::RefusedOtherwise) {
        assert_eq!(Trouble::of_words(words(trouble)), Some(trouble));
    }
    assert_eq!(Trouble::of_words("NOT_PAIRED"), Some(Trouble::PairingRequired));
    assert_eq!(Trouble::of_words("unauthorized: gateway token mismatch"), Some(Trouble::CredentialWrong));
    assert_eq!(Trouble::of_words("SOMETHING_NEW"), None);
    assert_eq!(Trouble::of_words(""), None);
}

#[test]
fn codes_are_unique() {
    let mut codes: Vec<_> = Trouble::ALL.iter().map(|trouble| trouble.code()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), Trouble::ALL.len());
}

#[test]
fn a_refusal_that_nobody_knows_is_told_in_the_gateways_words_which_cannot_pass_for_ours() {
    let told = |code: &str, message: &str, detail| super::refused(&refused(code, message, detail), &AT);
    let new = told("INVALID_REQUEST", "too many moons", Some("MOON_PHASE"));
    assert_eq!(
        (new.code, &*new.cure),
        ("gateway/refused-otherwise", "it said: INVALID_REQUEST: MOON_PHASE: too many moons; its own log has more")
    );
    assert_eq!(told("", "", None).cure, "it said: nothing; its own log has more");
    let hostile = told("X", &format!("\u{1b}[2J\u{202e}\n`rm -rf /`{}", "a".repeat(1000)), None).cure;
    assert!(hostile.starts_with("it said: X: ?[2J???rm -rf /?aaa") && hostile.len() < 200, "{hostile}");
    // What is known stays what it is; a release that has no code for it says the same as its close frame does.
    assert_eq!(told("NOT_PAIRED", "", None).code, "gateway/pairing-required");
    assert_eq!(told("INVALID_REQUEST", "device signature expired", None).code, "gateway/clock-skew");
}
