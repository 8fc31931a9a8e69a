//! Private keys of any form that is in use -> PKCS#8, which is what is kept here.

use base64::prelude::{BASE64_STANDARD as BASE64, Engine as _};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};

/// RFC 5480 §2.1.1: id-ecPublicKey, and the curves P-256 and P-384.
const EC: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
/// RFC 8017 appendix A.1: rsaEncryption, with its NULL.
const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// The first private key of a PEM text as PKCS#8 in PEM; `None` where there is none that can be used.
pub(super) fn pkcs8(pem: &str) -> Option<String> {
    let der = match PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok()? {
        PrivateKeyDer::Pkcs8(key) => key.secret_pkcs8_der().to_vec(),
        PrivateKeyDer::Sec1(key) => wrap(&[EC, curve(key.secret_sec1_der())?].concat(), key.secret_sec1_der()),
        PrivateKeyDer::Pkcs1(key) => wrap(RSA, key.secret_pkcs1_der()),
        _ => return None,
    };
    Some(to_pem(&der))
}

/// RFC 5915 §3: `SEQUENCE { INTEGER 1, OCTET STRING key, ... }`; the key is as long as the curve's order.
fn curve(sec1: &[u8]) -> Option<&'static [u8]> {
    let at = sec1.windows(4).position(|bytes| bytes[..3] == [0x02, 0x01, 0x01] && bytes[3] == 0x04)?;
    match sec1.get(at + 4)? {
        32 => Some(P256),
        48 => Some(P384),
        _ => None,
    }
}

/// RFC 5958 §2: `SEQUENCE { INTEGER 0, SEQUENCE algorithm, OCTET STRING key }`.
fn wrap(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    let inner = [&[0x02, 0x01, 0x00][..], &tlv(0x30, algorithm), &tlv(0x04, key)].concat();
    tlv(0x30, &inner)
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    match content.len() {
        0..128 => out.push(content.len() as u8),
        // X.690 §8.1.3.5: the number of length bytes, then these.
        _ => {
            out.push(0x80 | significant.len() as u8);
            out.extend(significant);
        }
    }
    out.extend(content);
    out
}

/// RFC 7468 §3: lines of 64 characters.
fn to_pem(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::account::AccountKey;

    /// RFC 5915 §3, the way Go writes it for Caddy: with the curve's name in it.
    fn sec1(pkcs8: &[u8]) -> Vec<u8> {
        // 26 bytes of RFC 5958's wrapping and 2 of the octet string: what is inside a P-256 key of ours.
        let at = pkcs8.windows(3).rposition(|bytes| bytes == [0x02, 0x01, 0x01]).unwrap();
        let inner = &pkcs8[at..];
        // INTEGER 1 and the key have 37 bytes; the parameters come before the public key.
        let (key, public) = inner.split_at(37);
        tlv(0x30, &[key, &tlv(0xa0, P256), public].concat())
    }

    #[test]
    fn caddys_form_of_a_key_works_as_an_account_key() {
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = format!(
            "-----BEGIN EC PRIVATE KEY-----\n{}\n-----END EC PRIVATE KEY-----\n",
            BASE64.encode(sec1(&key.serialize_der()))
        );
        let wrapped = pkcs8(&pem).expect("a key");
        let PrivateKeyDer::Pkcs8(der) = PrivateKeyDer::from_pem_slice(wrapped.as_bytes()).unwrap() else {
            panic!("no PKCS#8");
        };
        assert!(AccountKey::from_pkcs8(der.secret_pkcs8_der()).is_ok());
        let again = rcgen::KeyPair::from_pem(&wrapped).unwrap();
        assert_eq!(again.public_key_raw(), key.public_key_raw(), "it is the same key");
    }

    #[test]
    fn what_is_no_key_is_none() {
        for text in [
            "",
            "-----BEGIN PRIVATE KEY-----\n",
            "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n",
        ] {
            assert_eq!(pkcs8(text), None);
        }
    }

    #[test]
    fn long_content_has_a_long_length() {
        assert_eq!(tlv(4, &[0; 127])[..2], [4, 127]);
        assert_eq!(tlv(4, &[0; 128])[..3], [4, 0x81, 128]);
        assert_eq!(tlv(4, &[0; 300])[..4], [4, 0x82, 1, 44]);
    }
}
