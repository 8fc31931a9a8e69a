//! A device key, and the `connect` that it signs.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clawgate::{
    config::model::DeviceId,
    gateway::device::{Connect, Device, Payload},
};
use serde_json::{Value, json};

pub struct DeviceKey(Ed25519KeyPair);

/// What the gateway's challenge says.
pub fn challenge(nonce: &str) -> String {
    json!({"type": "event", "event": "connect.challenge", "payload": {"nonce": nonce, "ts": 1}}).to_string()
}

impl DeviceKey {
    pub fn fresh() -> DeviceKey {
        DeviceKey(Ed25519KeyPair::generate().unwrap())
    }

    /// As a device sends it.
    pub fn public(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.public_key().as_ref())
    }

    pub fn id(&self) -> String {
        DeviceId::of(self.0.public_key().as_ref()).to_string()
    }

    /// The line of a site that pins it.
    pub fn pin(&self, more: &str) -> String {
        format!("device_keys = [{{ name = \"platform\", key = \"{}\"{more} }}]", self.public())
    }

    /// A `connect` for this nonce, signed now.
    pub fn connect(&self, nonce: &str) -> String {
        self.connect_as(nonce, "operator", &["operator.read", "operator.admin"])
    }

    pub fn connect_as(&self, nonce: &str, role: &str, scopes: &[&str]) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        let mut params = json!({
            "minProtocol": 3, "maxProtocol": 4, "role": role, "scopes": scopes,
            "client": {"id": "gateway-client", "version": "1", "platform": "linux", "mode": "backend"},
            "auth": {"token": "the-secret-token"},
        });
        let connect: Connect = serde_json::from_value(params.clone()).unwrap();
        let mut device = Device {
            id: self.id(),
            public_key: self.public(),
            signed_at: now as i64,
            nonce: nonce.into(),
            signature: String::new(),
        };
        device.signature = URL_SAFE_NO_PAD.encode(self.0.sign(Payload::V2.line(&connect, &device).as_bytes()));
        params["device"] = json!({
            "id": device.id, "publicKey": device.public_key, "signedAt": device.signed_at,
            "nonce": device.nonce, "signature": device.signature,
        });
        let message: Value = json!({"type": "req", "id": "1", "method": "connect", "params": params});
        message.to_string()
    }
}
