//! The client's first message as a `connect`, read more strictly than the gateway reads it.

use serde::Deserialize;
use serde_json::Value;

use super::Unverified;
use crate::gateway::{
    device::Connect,
    strict::{self, NotStrict},
};

/// The request around the `connect`.
#[derive(Deserialize)]
struct Request {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "id")]
    _id: String,
    method: String,
    params: Value,
}

pub(super) fn read(text: &[u8]) -> Result<Connect, Unverified> {
    let object = strict::object(text).map_err(|wrong| match wrong {
        NotStrict::Utf8 => Unverified::NotUtf8,
        NotStrict::Json => Unverified::NotJson,
        NotStrict::Twice => Unverified::MemberTwice,
    })?;
    let request: Request = serde_json::from_value(Value::Object(object)).map_err(|_| Unverified::NotConnect)?;
    if request.kind != "req" || request.method != "connect" || !request.params.is_object() {
        return Err(Unverified::NotConnect);
    }
    // Said apart, because it is what a client without a device key gets wrong.
    if request.params.get("device").is_none_or(Value::is_null) {
        return Err(Unverified::NoDevice);
    }
    serde_json::from_value(request.params).map_err(|_| Unverified::NotConnect)
}
