//! The gateway's messages around `connect`, read from JSON that may be cut short.
//!
//! A hello carries a snapshot of everything the gateway knows and can be larger than what we keep of it. What decides
//! stands in front, `{"type":"res","id":..,"ok":true,...`, so the head of a message is walked key by key and counts even
//! where the text ends early; the rest is read only when all of it is there. What is kept of the gateway's words goes
//! into logs and pages, so it has bounds.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{Deserializer, IgnoredAny, MapAccess, Visitor},
};

/// Longest text kept of anything the gateway says, in bytes; the gateway cuts its own close reasons at 120.
const LONGEST_TEXT: usize = 256;
/// Most scopes kept; the gateway knows about ten.
const MOST_SCOPES: usize = 32;

/// What the gateway answered to the client's `connect`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Approved(Approval),
    Refused(Refusal),
    /// It answered, and the answer could not be read.
    Unknown,
}

/// `ok: true`. Empty where the hello says nothing about it (2026.3.13) or was larger than what is kept: its snapshot
/// stands before its `auth`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Approval {
    pub role: Option<Box<str>>,
    pub scopes: Vec<Box<str>>,
    /// The gateway's own version.
    pub version: Option<Box<str>>,
}

impl Approval {
    /// Whether an operator was let in and may do nothing; a gateway that does not say whom it let in does not say that.
    pub fn grants_nothing(&self) -> bool {
        self.role.as_deref() == Some("operator") && self.scopes.is_empty()
    }
}

/// `ok: false`, in the gateway's words, each at most 256 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refusal {
    /// `error.code`, such as `NOT_PAIRED`, `INVALID_REQUEST` or `UNAVAILABLE`.
    pub code: Box<str>,
    pub message: Box<str>,
    /// `error.details.code`, such as `PAIRING_REQUIRED` or `AUTH_TOKEN_MISMATCH`: finer than `code`.
    pub detail: Option<Box<str>>,
    /// `error.details.reason` or `.authReason`, such as `not-paired` or `token_mismatch`.
    pub reason: Option<Box<str>>,
    /// `error.details.requestId`: what `openclaw devices approve` wants to hear.
    pub request_id: Option<Box<str>>,
    /// `error.details.reloadRequired`: the page in the browser is older than the gateway.
    pub reload: bool,
    /// `error.retryAfterMs`: the gateway is starting or draining, or slows someone down.
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// Whether this says something about the client. A gateway that is starting or draining (`UNAVAILABLE`) refuses
    /// everybody.
    pub fn counts_against_client(&self) -> bool {
        &*self.code != "UNAVAILABLE"
    }
}

/// What one message of the gateway was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The event `connect.challenge`; its nonce is empty where it could not be read.
    Challenge {
        nonce: Box<str>,
    },
    /// Any other event.
    Event,
    Answer(Answer),
    /// Not JSON, or not of this protocol.
    Other,
}

/// Reads one message of the gateway; with `cut` the text is only its beginning.
pub fn read(text: &[u8], cut: bool) -> Message {
    let Some(head) = Head::read(text, cut) else {
        return Message::Other;
    };
    match (head.kind.as_deref(), head.ok) {
        (Some("event"), _) if head.event.as_deref() == Some("connect.challenge") => {
            Message::Challenge { nonce: serde_json::from_slice(text).map(Challenge::nonce).unwrap_or_default() }
        }
        (Some("event"), _) => Message::Event,
        (Some("res"), Some(true)) => {
            Message::Answer(Answer::Approved(serde_json::from_slice(text).map(Hello::approval).unwrap_or_default()))
        }
        (Some("res"), Some(false)) => {
            Message::Answer(Answer::Refused(serde_json::from_slice(text).map(Failure::refusal).unwrap_or_default()))
        }
        (Some("res"), None) => Message::Answer(Answer::Unknown),
        _ => Message::Other,
    }
}

/// The keys every message has, as far as the text goes.
#[derive(Default)]
struct Head<'a> {
    kind: Option<Cow<'a, str>>,
    event: Option<Cow<'a, str>>,
    ok: Option<bool>,
}

impl<'a> Head<'a> {
    /// `None` if this is not a JSON object, or is cut where it should not be.
    fn read(text: &'a [u8], cut: bool) -> Option<Head<'a>> {
        let mut head = Head::default();
        let mut json = serde_json::Deserializer::from_slice(text);
        match json.deserialize_map(Walk(&mut head)).and_then(|()| json.end()) {
            Ok(()) => Some(head),
            Err(error) if cut && error.is_eof() => Some(head),
            Err(_) => None,
        }
    }
}

/// Fills in a [`Head`] on the way, so that an error later does not take away what was read before it.
struct Walk<'h, 'a>(&'h mut Head<'a>);

impl<'a> Visitor<'a> for Walk<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a gateway message")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(Text(key)) = map.next_key()? {
            match &*key {
                "type" => self.0.kind = Some(map.next_value::<Text<'a>>()?.0),
                "event" => self.0.event = Some(map.next_value::<Text<'a>>()?.0),
                "ok" => self.0.ok = Some(map.next_value()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// A string, borrowed where the JSON has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Text<'_> {
    fn keep(self) -> Box<str> {
        self.0[..self.0.floor_char_boundary(LONGEST_TEXT)].into()
    }
}

/// What is read of a `connect.challenge`.
#[derive(Deserialize)]
struct Challenge<'a> {
    #[serde(borrow)]
    payload: Nonce<'a>,
}

#[derive(Deserialize)]
struct Nonce<'a> {
    #[serde(borrow)]
    nonce: Text<'a>,
}

impl Challenge<'_> {
    /// Whole, however long: half a nonce would be another one.
    fn nonce(self) -> Box<str> {
        self.payload.nonce.0.into()
    }
}

/// What is read of an `ok: true`.
#[derive(Deserialize)]
struct Hello<'a> {
    #[serde(borrow)]
    payload: Payload<'a>,
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow, default)]
    auth: Auth<'a>,
    #[serde(borrow, default)]
    server: Server<'a>,
}

#[derive(Deserialize, Default)]
struct Server<'a> {
    #[serde(borrow)]
    version: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
struct Auth<'a> {
    #[serde(borrow)]
    role: Option<Text<'a>>,
    #[serde(borrow, default)]
    scopes: Vec<Text<'a>>,
}

impl Hello<'_> {
    fn approval(self) -> Approval {
        let Payload { auth: Auth { role, scopes }, server } = self.payload;
        let scopes = scopes.into_iter().take(MOST_SCOPES).map(Text::keep).collect();
        Approval { role: role.map(Text::keep), scopes, version: server.version.map(Text::keep) }
    }
}

/// What is read of an `ok: false`.
#[derive(Deserialize)]
struct Failure<'a> {
    #[serde(borrow)]
    error: Problem<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Problem<'a> {
    #[serde(borrow)]
    code: Option<Text<'a>>,
    #[serde(borrow)]
    message: Option<Text<'a>>,
    retry_after_ms: Option<u64>,
    #[serde(borrow)]
    details: Option<Details<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Details<'a> {
    #[serde(borrow)]
    code: Option<Text<'a>>,
    #[serde(borrow)]
    reason: Option<Text<'a>>,
    #[serde(borrow)]
    auth_reason: Option<Text<'a>>,
    #[serde(borrow)]
    request_id: Option<Text<'a>>,
    reload_required: Option<bool>,
}

impl Failure<'_> {
    fn refusal(self) -> Refusal {
        let Problem { code, message, retry_after_ms, details } = self.error;
        let details = details.unwrap_or_default();
        Refusal {
            code: code.map(Text::keep).unwrap_or_default(),
            message: message.map(Text::keep).unwrap_or_default(),
            detail: details.code.map(Text::keep),
            reason: details.reason.or(details.auth_reason).map(Text::keep),
            request_id: details.request_id.map(Text::keep),
            reload: details.reload_required == Some(true),
            retry_after_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> Refusal {
        match read(text.as_bytes(), false) {
            Message::Answer(Answer::Refused(refusal)) => refusal,
            other => panic!("not a refusal: {other:?}"),
        }
    }

    #[test]
    fn each_message_of_the_handshake_is_told_from_the_others() {
        let approved = Answer::Approved(Approval::default());
        let cases = [
            (
                r#"{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}}"#,
                Message::Challenge { nonce: "n".into() },
            ),
            (r#"{"event":"connect.challenge","type":"event"}"#, Message::Challenge { nonce: "".into() }),
            (r#"{"type":"event","event":"tick","payload":[1]}"#, Message::Event),
            (r#"{"type":"res","id":"1","ok":true,"payload":7}"#, Message::Answer(approved)),
            (r#"{"type":"res","id":"1"}"#, Message::Answer(Answer::Unknown)),
            (r#"{"type":"req","id":"1","method":"connect"}"#, Message::Other),
            (r#"{"event":"connect.challenge"}"#, Message::Other),
            (r#"{"type":"res","ok":true,"#, Message::Other),
            (r#"{"type":"res","ok":true} and more"#, Message::Other),
            (r#"["res"]"#, Message::Other),
            ("hello", Message::Other),
            ("", Message::Other),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text.as_bytes(), false), expected, "{text}");
        }
    }

    // As 2026.9.6 sent it, shortened inside the payload.
    #[test]
    fn an_approval_tells_role_and_scopes() {
        let text = r#"{"type":"res","id":"1","ok":true,"payload":{"type":"hello-ok","protocol":4,"server":{"version":"2026.9.6"},
            "snapshot":{"presence":[]},"auth":{"role":"operator","scopes":["operator.read","operator.admin"],"issuedAtMs":1}}}"#;
        let expected = Approval {
            role: Some("operator".into()),
            scopes: vec!["operator.read".into(), "operator.admin".into()],
            version: Some("2026.9.6".into()),
        };
        assert_eq!(read(text.as_bytes(), false), Message::Answer(Answer::Approved(expected)));
    }

    #[test]
    fn a_hello_larger_than_what_is_kept_is_still_an_approval() {
        let text = br#"{"type":"res","id":"1","ok":true,"payload":{"type":"hello-ok","snapshot":{"presence":["a"#;
        assert_eq!(read(text, true), Message::Answer(Answer::Approved(Approval::default())));
        assert_eq!(read(text, false), Message::Other, "a whole message that ends there is not JSON");
        assert_eq!(read(br#"{"type":"res","id":"1","payload":{"a"#, true), Message::Answer(Answer::Unknown));
        assert_eq!(read(br#"{"type":"res","ok":tru! "#, true), Message::Other);
    }

    #[test]
    fn a_refusal_tells_what_the_operator_needs() {
        let pairing = refusal(
            r#"{"type":"res","id":"1","ok":false,"error":{"code":"NOT_PAIRED","message":"pairing required: device is not approved yet",
            "details":{"code":"PAIRING_REQUIRED","reason":"not-paired","requestId":"8b0b-1","requestedScopes":["operator.read"]}}}"#,
        );
        assert_eq!(&*pairing.code, "NOT_PAIRED");
        assert_eq!(pairing.detail.as_deref(), Some("PAIRING_REQUIRED"));
        assert_eq!(pairing.reason.as_deref(), Some("not-paired"));
        assert_eq!(pairing.request_id.as_deref(), Some("8b0b-1"));
        assert!(pairing.counts_against_client());

        let token = refusal(
            r#"{"type":"res","id":"1","ok":false,"error":{"code":"INVALID_REQUEST","message":"unauthorized: gateway token mismatch",
            "details":{"code":"AUTH_TOKEN_MISMATCH","authReason":"token_mismatch","canRetryWithDeviceToken":false}}}"#,
        );
        assert_eq!(token.reason.as_deref(), Some("token_mismatch"));

        let starting = refusal(
            r#"{"type":"res","id":"1","ok":false,"error":{"code":"UNAVAILABLE","message":"gateway starting; retry shortly",
            "retryable":true,"retryAfterMs":500}}"#,
        );
        assert_eq!(starting.retry_after_ms, Some(500));
        assert!(!starting.counts_against_client());
    }

    #[test]
    fn what_is_kept_of_the_gateways_words_is_bounded() {
        let long = "ä".repeat(1000);
        let text = format!(r#"{{"type":"res","ok":false,"error":{{"code":"X","message":"{long}"}}}}"#);
        assert_eq!(refusal(&text).message.len(), LONGEST_TEXT);
        let scopes = vec!["\"s\""; 100].join(",");
        let text = format!(r#"{{"type":"res","ok":true,"payload":{{"auth":{{"scopes":[{scopes}]}}}}}}"#);
        match read(text.as_bytes(), false) {
            Message::Answer(Answer::Approved(approval)) => assert_eq!(approval.scopes.len(), MOST_SCOPES),
            other => panic!("not an approval: {other:?}"),
        }
    }
}
