//! Registering with a CA (RFC 8555 §7.3): the one signed request that is our own.
//!
//! `instant-acme` binds an external account only to a key it makes itself in the same call, and a key that is not on
//! disk before the CA knows it is an account that a crash loses. So the key comes first, and this signs with it.

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine as _};
use http::header;
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{authority::Authority, order::StepError, problem::BAD_NONCE, wire::WireError};

/// How often a request is signed anew because the CA did not like the nonce. Such a request was not looked at, so the
/// number protects only against a CA that will never be content.
pub(super) const NONCES: usize = 40;

/// An account's key: P-256, as PKCS#8. Without `Debug` on purpose.
pub struct AccountKey {
    pkcs8: Zeroizing<Vec<u8>>,
    pair: EcdsaKeyPair,
}

#[derive(Debug, thiserror::Error)]
pub enum AccountKeyError {
    #[error("cannot make a key")]
    Make,
    #[error("this is no P-256 key in PKCS#8")]
    Unusable,
}

/// What a CA that wants to know its customers handed out (RFC 8555 §7.3.4).
#[derive(Clone)]
pub struct ExternalAccount {
    pub key_id: String,
    /// The HMAC key, decoded.
    pub key: Zeroizing<Vec<u8>>,
}

impl AccountKey {
    /// A new key, to be stored before it is used.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate() -> Result<AccountKey, AccountKeyError> {
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        AccountKey::from_pkcs8(made.map_err(|_| AccountKeyError::Make)?.as_ref())
    }

    /// A stored key.
    ///
    /// # Errors
    /// When it is of another kind: ours are all P-256, and so are Caddy's.
    pub fn from_pkcs8(der: &[u8]) -> Result<AccountKey, AccountKeyError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der);
        Ok(AccountKey { pkcs8: Zeroizing::new(der.to_vec()), pair: pair.map_err(|_| AccountKeyError::Unusable)? })
    }

    /// A stored key in PEM: `BEGIN PRIVATE KEY`.
    ///
    /// # Errors
    /// As with [`from_pkcs8`](Self::from_pkcs8).
    pub fn from_pem(pem: &str) -> Result<AccountKey, AccountKeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| AccountKeyError::Unusable)?;
        AccountKey::from_pkcs8(der.secret_pkcs8_der())
    }

    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    pub fn pem(&self) -> Zeroizing<String> {
        // RFC 7468 §2: lines of 64.
        let text = Zeroizing::new(base64::prelude::BASE64_STANDARD.encode(&*self.pkcs8));
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap_or_default()).collect();
        let lines = Zeroizing::new(lines.join("\n"));
        Zeroizing::new(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", &*lines))
    }

    pub(super) fn der(&self) -> PrivatePkcs8KeyDer<'_> {
        PrivatePkcs8KeyDer::from(&self.pkcs8[..])
    }

    /// RFC 7517 §4, with the members that RFC 7638 §3.2 has and no others.
    pub(super) fn jwk(&self) -> Value {
        // An uncompressed point: 0x04, x, y.
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        json!({ "crv": "P-256", "kty": "EC", "x": BASE64.encode(x), "y": BASE64.encode(y) })
    }

    /// A flattened JWS (RFC 7515 §7.2.2) with this key in it (RFC 8555 §6.2).
    fn sign(&self, url: &str, nonce: &str, payload: &Value) -> Result<Vec<u8>, AccountKeyError> {
        let header = json!({ "alg": "ES256", "jwk": self.jwk(), "nonce": nonce, "url": url });
        let sign = |input: &[u8]| self.pair.sign(&SystemRandom::new(), input).map(|s| s.as_ref().to_vec());
        let jws = jws(&header, payload, |input| sign(input).map_err(|_| AccountKeyError::Make))?;
        Ok(jws.to_string().into_bytes())
    }
}

impl ExternalAccount {
    /// The key id and MAC key as CAs show them: the key in base64url, padded or not.
    pub fn try_new(key_id: &str, key: &str) -> Option<ExternalAccount> {
        let key = BASE64.decode(key.trim().trim_end_matches('=').replace('+', "-").replace('/', "_")).ok()?;
        Some(ExternalAccount { key_id: key_id.to_owned(), key: Zeroizing::new(key) })
    }

    fn bind(&self, url: &str, account: &Value) -> Value {
        let header = json!({ "alg": "HS256", "kid": self.key_id, "url": url });
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.key);
        let signed =
            jws(&header, account, |input| Ok::<_, std::convert::Infallible>(hmac::sign(&key, input).as_ref().to_vec()));
        match signed {
            Ok(jws) => jws,
            Err(never) => match never {},
        }
    }
}

fn jws<E>(header: &Value, payload: &Value, sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>) -> Result<Value, E> {
    let protected = BASE64.encode(header.to_string());
    let payload = BASE64.encode(payload.to_string());
    let signature = BASE64.encode(sign(format!("{protected}.{payload}").as_bytes())?);
    Ok(json!({ "protected": protected, "payload": payload, "signature": signature }))
}

impl Authority {
    /// The URL of the account that this key has here, made if there was none (RFC 8555 §7.3, §7.3.1). The operator
    /// agreed to the terms of service by configuring the CA; the documentation says so.
    ///
    /// # Errors
    /// What the CA says, such as `externalAccountRequired`; and failures on the way to it.
    pub async fn register(
        &self,
        key: &AccountKey,
        email: Option<&str>,
        external: Option<&ExternalAccount>,
    ) -> Result<String, StepError> {
        let url = &self.directory.new_account;
        let mut payload = json!({ "termsOfServiceAgreed": true });
        if let Some(email) = email {
            payload["contact"] = json!([format!("mailto:{email}")]);
        }
        if let Some(external) = external {
            payload["externalAccountBinding"] = external.bind(url, &key.jwk());
        }
        let mut left = NONCES;
        loop {
            let nonce = self.wire.head(&self.directory.new_nonce).await?;
            let nonce = nonce.headers.get("replay-nonce").and_then(|nonce| nonce.to_str().ok());
            let nonce = nonce.ok_or(StepError::Incomplete { what: "a nonce without Replay-Nonce" })?;
            let jose = key.sign(url, nonce, &payload).map_err(|_| StepError::Sign)?;
            match self.wire.post(url, jose).await {
                Ok(answer) => {
                    let location = answer.headers.get(header::LOCATION).and_then(|location| location.to_str().ok());
                    let location = location.ok_or(StepError::Incomplete { what: "an account without Location" })?;
                    return Ok(location.to_owned());
                }
                Err(WireError::Refused(refused)) if refused.is(BAD_NONCE) && left > 0 => left -= 1,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_key_is_the_same_account() {
        let key = AccountKey::generate().unwrap();
        let again = AccountKey::from_pkcs8(key.pkcs8()).unwrap();
        assert_eq!(key.jwk(), again.jwk());
        assert_eq!(AccountKey::from_pem(&key.pem()).unwrap().jwk(), key.jwk());
        let library = instant_acme::Key::from_pkcs8_der(key.der());
        assert!(library.is_ok());
    }

    #[test]
    fn other_keys_are_refused() {
        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        assert!(AccountKey::from_pkcs8(other.serialized_der()).is_err());
        assert!(AccountKey::from_pkcs8(b"").is_err());
    }

    #[test]
    fn an_external_key_is_read_padded_or_not() {
        let key = |text| ExternalAccount::try_new("kid-1", text).map(|e| e.key.to_vec());
        assert_eq!(key("_-8"), Some(vec![0xff, 0xef]));
        assert_eq!(key("_-8="), Some(vec![0xff, 0xef]));
        assert_eq!(key("/+8="), Some(vec![0xff, 0xef]));
        assert_eq!(key("not base64"), None);
    }
}
