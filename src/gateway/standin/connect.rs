//! The gateway's decision on a `connect`, in its order and its words.

use serde_json::{Value, json};

use super::visit::Visit;
use crate::gateway::device::{self, Connect};

/// The scopes that may be asked for.
const SCOPES: [&str; 5] =
    ["operator.read", "operator.write", "operator.admin", "operator.approvals", "operator.pairing"];

/// What was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) protocol: u32,
    pub(super) role: String,
    pub(super) scopes: Vec<String>,
}

/// A refusal: the error of the `res`, and the close that follows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Problem {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) details: Value,
    pub(super) close: u16,
}

impl Problem {
    pub(super) fn new(code: &'static str, message: impl Into<String>, details: Value) -> Problem {
        Problem { code, message: message.into(), details, close: 1008 }
    }

    pub(super) fn error(&self) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message });
        if !self.details.is_null() {
            error["details"] = self.details.clone();
        }
        error
    }
}

/// What the decision depends on besides the request.
pub(super) struct Situation<'a> {
    pub(super) visit: &'a Visit,
    pub(super) token: Option<&'a str>,
    /// The nonce of this connection's challenge.
    pub(super) nonce: &'a str,
    pub(super) now_ms: i64,
    /// For a pairing that has to be asked for.
    pub(super) request_id: &'a str,
}

/// Judges `params`, the client's JSON as it came.
pub(super) fn decide(params: &Value, at: &Situation<'_>) -> Result<Grant, Problem> {
    let connect: Connect = serde::Deserialize::deserialize(params)
        .map_err(|error| Problem::new("INVALID_REQUEST", format!("invalid connect params: {error}"), Value::Null))?;
    if connect.max_protocol < 3 || connect.min_protocol > 4 {
        let details = json!({ "code": "PROTOCOL_MISMATCH", "expectedProtocol": 4 });
        return Err(Problem { close: 1002, ..Problem::new("INVALID_REQUEST", "protocol mismatch", details) });
    }
    if !matches!(&*connect.role, "operator" | "node") {
        return Err(Problem::new("INVALID_REQUEST", "invalid role", Value::Null));
    }
    let credential = judge_token(&connect, at.token);
    match &connect.device {
        None => {
            let backend = connect.client.id == "gateway-client" && connect.client.mode == "backend";
            if !(at.visit.local && backend && credential.is_ok()) {
                // Who shows a wrong token hears about that; who shows none is asked for a device.
                if connect.auth.token.is_some() {
                    credential?;
                }
                let details = json!({ "code": "DEVICE_IDENTITY_REQUIRED" });
                return Err(Problem::new("NOT_PAIRED", "device identity required", details));
            }
        }
        Some(device) => {
            device::verify(&connect, device, at.nonce, at.now_ms).map_err(|error| {
                let (code, reason) = error.codes();
                Problem::new("INVALID_REQUEST", error.to_string(), json!({ "code": code, "reason": reason }))
            })?;
            credential?;
            if !at.visit.local {
                return Err(pairing_required(&device.id, &connect, at.request_id));
            }
        }
    }
    let Connect { max_protocol, role, mut scopes, .. } = connect;
    scopes.retain(|scope| SCOPES.contains(&scope.as_str()));
    Ok(Grant { protocol: max_protocol.min(4), role, scopes })
}

fn judge_token(connect: &Connect, token: Option<&str>) -> Result<(), Problem> {
    let (code, reason, fault) = match (token, connect.auth.token.as_deref()) {
        (None, _) => return Ok(()),
        (Some(wanted), Some(shown)) if wanted == shown => return Ok(()),
        (Some(_), Some(_)) => ("AUTH_TOKEN_MISMATCH", "token_mismatch", "mismatch"),
        (Some(_), None) => ("AUTH_TOKEN_MISSING", "token_missing", "missing"),
    };
    let message = format!("unauthorized: gateway token {fault} (provide gateway auth token)");
    Err(Problem::new("INVALID_REQUEST", message, json!({ "code": code, "authReason": reason })))
}

fn pairing_required(device_id: &str, connect: &Connect, request_id: &str) -> Problem {
    let details = json!({
        "code": "PAIRING_REQUIRED",
        "reason": "not-paired",
        "requestId": request_id,
        "remediationHint": "Approve this device from the pending pairing requests.",
        "deviceId": device_id,
        "requestedRole": connect.role,
        "requestedScopes": connect.scopes,
    });
    Problem::new("NOT_PAIRED", "pairing required: device is not approved yet", details)
}
