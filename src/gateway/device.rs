//! A client's `connect` and the device key that signed it.
//!
//! The device is an Ed25519 key. Its id is the SHA-256 of the raw public key in hex, and on every connect it signs a line
//! that holds everything the gateway grants by, the challenge's nonce included:
//!
//! ```text
//! v2|deviceId|clientId|clientMode|role|scope,scope|signedAtMs|token|nonce
//! v3|... the same ...|platform|deviceFamily            both trimmed, ASCII lower case
//! ```

use std::fmt;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{
    Engine as _,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::Deserialize;
use zeroize::Zeroize as _;

use crate::config::model::DeviceId;

/// How far `signedAt` may be from our clock, in milliseconds: what 2026.9.6 allows.
pub const MOST_SKEW_MS: u64 = 120_000;

/// `params` of a `connect` request, as far as we look at them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connect {
    pub min_protocol: u32,
    pub max_protocol: u32,
    pub client: ClientInfo,
    #[serde(default = "operator")]
    pub role: String,
    #[serde(default)]
    pub scopes: Vec<String>,
    #[serde(default)]
    pub auth: Credentials,
    pub device: Option<Device>,
}

/// The role of a client that names none.
fn operator() -> String {
    "operator".into()
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientInfo {
    pub id: String,
    pub mode: String,
    #[serde(default)]
    pub platform: String,
    #[serde(default)]
    pub device_family: String,
}

#[derive(Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    pub token: Option<String>,
    pub device_token: Option<String>,
    pub bootstrap_token: Option<String>,
    pub password: Option<String>,
}

impl Credentials {
    pub fn of_token(token: Option<&str>) -> Credentials {
        Credentials { token: token.map(str::to_owned), device_token: None, bootstrap_token: None, password: None }
    }
}

/// Which of them there are, and never what they are.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Credentials { token, device_token, bootstrap_token, password } = self;
        let all = [
            ("token", token),
            ("deviceToken", device_token),
            ("bootstrapToken", bootstrap_token),
            ("password", password),
        ];
        f.write_str("Credentials")?;
        f.debug_set().entries(all.iter().filter(|(_, secret)| secret.is_some()).map(|(name, _)| name)).finish()
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        let Credentials { token, device_token, bootstrap_token, password } = self;
        for secret in [token, device_token, bootstrap_token, password] {
            secret.zeroize();
        }
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    pub id: String,
    /// The raw 32 bytes, base64url.
    pub public_key: String,
    /// Milliseconds since 1970.
    pub signed_at: i64,
    #[serde(default)]
    pub nonce: String,
    /// base64url.
    pub signature: String,
}

/// Why a device is not who it says, in the order in which the gateway looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    #[error("device identity mismatch")]
    Id,
    #[error("device signature expired")]
    Stale,
    #[error("device nonce required")]
    NonceMissing,
    #[error("device nonce mismatch")]
    Nonce,
    #[error("device signature invalid")]
    Signature,
}

impl DeviceError {
    /// The gateway's `details.code` and `details.reason`.
    pub fn codes(self) -> (&'static str, &'static str) {
        match self {
            DeviceError::Id => ("DEVICE_AUTH_DEVICE_ID_MISMATCH", "device-id-mismatch"),
            DeviceError::Stale => ("DEVICE_AUTH_SIGNATURE_EXPIRED", "device-signature-stale"),
            DeviceError::NonceMissing => ("DEVICE_AUTH_NONCE_REQUIRED", "device-nonce-missing"),
            DeviceError::Nonce => ("DEVICE_AUTH_NONCE_MISMATCH", "device-nonce-mismatch"),
            DeviceError::Signature => ("DEVICE_AUTH_SIGNATURE_INVALID", "device-signature"),
        }
    }
}

/// base64url, padded or not: Node's decoder minds neither.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Device {
    /// The raw key, if it is one.
    pub fn key(&self) -> Option<[u8; 32]> {
        BASE64.decode(&self.public_key).ok()?.try_into().ok()
    }
}

/// The line a device signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    V2,
    V3,
}

impl Payload {
    pub fn line(self, connect: &Connect, device: &Device) -> String {
        let Connect { client, role, scopes, auth, .. } = connect;
        let token = auth.token.as_ref().or(auth.device_token.as_ref()).or(auth.bootstrap_token.as_ref());
        let version = match self {
            Payload::V2 => "v2",
            Payload::V3 => "v3",
        };
        let mut line = [
            version,
            &device.id,
            &client.id,
            &client.mode,
            role,
            &scopes.join(","),
            &device.signed_at.to_string(),
            token.map_or("", String::as_str),
            device.nonce.trim(),
        ]
        .join("|");
        if self == Payload::V3 {
            for field in [&client.platform, &client.device_family] {
                line.push('|');
                line.push_str(&field.trim().to_ascii_lowercase());
            }
        }
        line
    }
}

/// Whether `device` signed this `connect` for this challenge, now.
pub fn verify(connect: &Connect, device: &Device, nonce: &str, now_ms: i64) -> Result<Payload, DeviceError> {
    let key = device.key().ok_or(DeviceError::Id)?;
    if DeviceId::of(&key).to_string() != device.id {
        return Err(DeviceError::Id);
    }
    if device.signed_at.abs_diff(now_ms) > MOST_SKEW_MS {
        return Err(DeviceError::Stale);
    }
    match device.nonce.trim() {
        "" => return Err(DeviceError::NonceMissing),
        signed if signed != nonce => return Err(DeviceError::Nonce),
        _ => {}
    }
    let signature = BASE64.decode(&device.signature).map_err(|_| DeviceError::Signature)?;
    let key = UnparsedPublicKey::new(&ED25519, key);
    [Payload::V3, Payload::V2]
        .into_iter()
        .find(|payload| key.verify(payload.line(connect, device).as_bytes(), &signature).is_ok())
        .ok_or(DeviceError::Signature)
}

/// A device for tests: a fresh key and what it signs.
#[cfg(test)]
pub(crate) mod sign {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    pub(crate) fn connect(token: Option<&str>) -> Connect {
        Connect {
            min_protocol: 3,
            max_protocol: 4,
            client: ClientInfo {
                id: "gateway-client".into(),
                mode: "backend".into(),
                platform: " Linux ".into(),
                device_family: "VPS".into(),
            },
            role: "operator".into(),
            scopes: vec!["operator.read".into(), "operator.admin".into()],
            auth: Credentials::of_token(token),
            device: None,
        }
    }

    pub(crate) fn device(connect: &Connect, payload: Payload, nonce: &str, signed_at: i64) -> Device {
        device_of(&Ed25519KeyPair::generate().expect("a fresh key"), connect, payload, nonce, signed_at)
    }

    pub(crate) fn device_of(
        pair: &Ed25519KeyPair,
        connect: &Connect,
        payload: Payload,
        nonce: &str,
        signed_at: i64,
    ) -> Device {
        let key = pair.public_key().as_ref();
        let mut device = Device {
            id: DeviceId::of(key).to_string(),
            public_key: URL_SAFE_NO_PAD.encode(key),
            signed_at,
            nonce: nonce.into(),
            signature: String::new(),
        };
        device.signature = URL_SAFE_NO_PAD.encode(pair.sign(payload.line(connect, &device).as_bytes()));
        device
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_371_472_015;

    #[test]
    fn both_payload_versions_verify_for_this_nonce_and_moment_only() {
        let connect = sign::connect(Some("t"));
        for payload in [Payload::V2, Payload::V3] {
            let device = sign::device(&connect, payload, "n-1", NOW);
            assert_eq!(verify(&connect, &device, "n-1", NOW), Ok(payload));
            assert_eq!(verify(&connect, &device, "n-2", NOW), Err(DeviceError::Nonce));
            assert_eq!(verify(&connect, &device, "n-1", NOW + 120_000), Ok(payload));
            assert_eq!(verify(&connect, &device, "n-1", NOW + 120_001), Err(DeviceError::Stale));
            assert_eq!(verify(&connect, &device, "n-1", NOW - 120_001), Err(DeviceError::Stale));
        }
    }

    #[test]
    fn every_signed_field_is_covered_by_the_signature() {
        let connect = sign::connect(Some("t"));
        let device = sign::device(&connect, Payload::V2, "n", NOW);
        let refused = |change: fn(&mut Connect)| {
            let mut changed = connect.clone();
            change(&mut changed);
            assert_eq!(verify(&changed, &device, "n", NOW), Err(DeviceError::Signature));
        };
        refused(|c| c.role = "node".into());
        refused(|c| c.scopes.push("operator.write".into()));
        refused(|c| c.client.id = "cli".into());
        refused(|c| c.client.mode = "ui".into());
        refused(|c| c.auth.token = None);
    }

    #[test]
    fn what_a_client_shows_is_never_printed() {
        let auth = r#"{"token":"s3cret-1","deviceToken":"s3cret-2","bootstrapToken":"s3cret-3","password":"s3cret-4"}"#;
        let connect = Connect { auth: serde_json::from_str(auth).unwrap(), ..sign::connect(None) };
        let printed = format!("{connect:?} {connect:#?}");
        assert!(!printed.contains("s3cret"), "{printed}");
        for name in ["gateway-client", "token", "deviceToken", "bootstrapToken", "password"] {
            assert!(printed.contains(name), "{name}: {printed}");
        }
        assert_eq!(format!("{:?}", Credentials::of_token(None)), "Credentials{}");
    }

    #[test]
    fn an_id_belongs_to_its_key() {
        let connect = sign::connect(None);
        let good = sign::device(&connect, Payload::V2, "n", NOW);
        let other = sign::device(&connect, Payload::V2, "n", NOW);
        let with = |change: &dyn Fn(&mut Device)| {
            let mut device = good.clone();
            change(&mut device);
            verify(&connect, &device, "n", NOW)
        };
        assert_eq!(with(&|d| d.id = other.id.clone()), Err(DeviceError::Id));
        assert_eq!(with(&|d| d.public_key = other.public_key.clone()), Err(DeviceError::Id));
        assert_eq!(with(&|d| d.public_key = "AAAA".into()), Err(DeviceError::Id));
        assert_eq!(with(&|d| d.signature = "!".into()), Err(DeviceError::Signature));
        assert_eq!(with(&|d| d.nonce = " ".into()), Err(DeviceError::NonceMissing));
        assert_eq!(with(&|d| d.public_key.push('=')), Ok(Payload::V2), "padding is no matter");
    }

    // Signed by Node 24's crypto the way a platform backend does it.
    #[test]
    fn a_signature_made_by_node_verifies() {
        const SAMPLE: &str = r#"{"minProtocol":3,"maxProtocol":4,"role":"operator",
            "scopes":["operator.read","operator.write","operator.admin"],"caps":[],
            "client":{"id":"gateway-client","version":"1.0.0","platform":"linux","mode":"backend"},
            "auth":{"token":"0123456789abcdef"},
            "device":{"id":"eb7d8f8fa2568946914325ddf26d875c794a6bbc454c7bc8c70c0cbd66e0349e",
                "publicKey":"6PacHbfMDon7qdPzfkrrA60DlLhwBPw1KmfX1sweNX4",
                "signedAt":1795371472015,"nonce":"6b8b3461-bc43-4269-ae32-e9ad195b6402",
                "signature":"kSuWtW0WlTmDdcu6Cxp7KDk2w8cFXoPzIWYP4Ls5hshq4lsDxOfUOozYKREWZfZEW013mvLByxmkw7xxOKJkAw"}}"#;
        let connect: Connect = serde_json::from_str(SAMPLE).expect("the sample");
        let device = connect.device.clone().expect("the sample's device");
        assert_eq!(verify(&connect, &device, "6b8b3461-bc43-4269-ae32-e9ad195b6402", NOW), Ok(Payload::V2));
    }
}
