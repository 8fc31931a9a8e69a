//! A device's key as the operator writes it: whichever of its three forms is at hand.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{
    Engine as _,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use rustls_pki_types::{SubjectPublicKeyInfoDer, pem::PemObject as _};

use super::{
    finding::Code,
    value::{Value, Wrong},
};

/// What OpenClaw calls a device by: the SHA-256 of its raw Ed25519 public key. A key that hashes to it is the key, so
/// this is all that has to be kept of one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId([u8; 32]);

/// RFC 8410 §10.1: what stands before the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo.
const ED25519: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// base64url, padded or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl DeviceId {
    /// Of the raw public key.
    pub fn of(key: &[u8]) -> DeviceId {
        DeviceId(digest(&SHA256, key).as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// 64 digits of hex.
    pub fn from_hex(text: &str) -> Option<DeviceId> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut id = [0; 32];
        for (at, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(DeviceId(id))
    }

    fn from_pem(text: &str) -> Option<DeviceId> {
        let info = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes()).ok()?;
        info.strip_prefix(&ED25519).filter(|key| key.len() == 32).map(DeviceId::of)
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Value for DeviceId {
    const EXPECTED: &'static str = "a device's public key or id";

    fn parse(text: &str) -> Result<DeviceId, Wrong> {
        let wrong = |message, way_out| Wrong::new(Code::ValueDeviceKey, message, way_out);
        let text = text.trim();
        if text.contains("PRIVATE KEY") {
            let way_out = "the public key; whoever has the private one is the device, so take it out of this file";
            return Err(wrong("this is a private key", way_out));
        }
        if text.starts_with("-----BEGIN") {
            let way_out = "-----BEGIN PUBLIC KEY-----, as openssl pkey -pubout prints it";
            return DeviceId::from_pem(text).ok_or_else(|| wrong("not the PEM of an Ed25519 public key", way_out));
        }
        let key = |text: &str| BASE64.decode(text).ok().filter(|key| key.len() == 32);
        if let Some(id) = DeviceId::from_hex(text).or_else(|| key(text).map(|key| DeviceId::of(&key))) {
            return Ok(id);
        }
        let way_out =
            "its publicKey (43 characters of base64url), its id (64 of hex), or PEM; `clawgate pin` lists them";
        let url_safe = text.replace('+', "-").replace('/', "_");
        let instead = (url_safe != text && key(&url_safe).is_some()).then_some(url_safe);
        Err(wrong("not a device's public key or id", way_out).instead(instead))
    }

    fn placeholder(n: usize) -> DeviceId {
        DeviceId::of(&n.to_be_bytes())
    }
}

/// A scope of the gateway's, such as `operator.read`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope(pub Box<str>);

impl Value for Scope {
    const EXPECTED: &'static str = "a scope such as \"operator.read\"";

    fn parse(text: &str) -> Result<Scope, Wrong> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".:_-*".contains(&byte);
        // A comma or a bar would end the scope in the line that the device signs.
        match !text.is_empty() && text.len() <= 64 && text.bytes().all(plain) {
            true => Ok(Scope(text.into())),
            false => {
                let way_out = "one word for each, such as \"operator.read\" or \"operator.admin\"";
                Err(Wrong::new(Code::ValueScope, "not a scope", way_out))
            }
        }
    }

    fn placeholder(n: usize) -> Scope {
        Scope(format!("unknown-here-{n}").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made by openssl genpkey -algorithm ed25519, and what Node says of it.
    const PEM: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA6PacHbfMDon7qdPzfkrrA60DlLhwBPw1KmfX1sweNX4=\n-----END PUBLIC KEY-----\n";
    const RAW: &str = "6PacHbfMDon7qdPzfkrrA60DlLhwBPw1KmfX1sweNX4";
    const ID: &str = "eb7d8f8fa2568946914325ddf26d875c794a6bbc454c7bc8c70c0cbd66e0349e";

    #[test]
    fn the_three_ways_to_write_a_key_are_one_device() {
        for text in
            [PEM, RAW, ID, &format!("{RAW}="), &ID.to_uppercase(), &format!(" {RAW}\n"), &PEM.replace('\n', "\r\n")]
        {
            assert_eq!(DeviceId::parse(text).map(|id| id.to_string()), Ok(ID.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_key_is_said_with_the_way_out() {
        let rsa = PEM.replace("MCowBQYDK2VwAyEA", "MCowBQYDK2VuAyEA");
        for (text, message) in [
            ("", "not a device's public key or id"),
            ("6PacHbfMDon7qdPzfkrrA60DlLhwBPw1KmfX1sweNX", "not a device's public key or id"),
            (&ID[1..], "not a device's public key or id"),
            (&rsa, "not the PEM of an Ed25519 public key"),
            ("-----BEGIN PUBLIC KEY-----", "not the PEM of an Ed25519 public key"),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "this is a private key"),
        ] {
            assert_eq!(DeviceId::parse(text).expect_err("no key").message, message, "{text}");
        }
        let other_alphabet = "//////////////////////////////////////////8";
        let instead = DeviceId::parse(other_alphabet).expect_err("not url-safe").instead;
        assert_eq!(instead, Some(other_alphabet.replace('/', "_")));
    }
}
