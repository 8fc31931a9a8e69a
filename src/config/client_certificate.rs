//! Whose certificates are taken: a site's from its clients, and ours from a service over TLS.

use std::{fmt, sync::Arc};

use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use super::{
    finding::Code,
    value::{Value, Wrong},
};

/// Certificates of CAs, as roots.
#[derive(Clone)]
pub struct CaBundle {
    pub roots: Arc<RootCertStore>,
    der: Arc<[CertificateDer<'static>]>,
}

impl CaBundle {
    /// Whether it stands for a file that cannot be seen from here.
    pub fn is_unseen(&self) -> bool {
        self.der.is_empty()
    }
}

impl PartialEq for CaBundle {
    fn eq(&self, other: &CaBundle) -> bool {
        self.der == other.der
    }
}

impl Eq for CaBundle {}

impl fmt::Debug for CaBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaBundle({})", self.der.len())
    }
}

impl Value for CaBundle {
    const EXPECTED: &'static str = "the path of a file with a CA's certificate, or that in PEM";
    const FILE: Option<Code> = Some(Code::ValueCaBundle);

    fn parse(text: &str) -> Result<CaBundle, Wrong> {
        let wrong = |message| {
            let way_out = "ca = \"/etc/clawgate/ca.pem\", a file with BEGIN CERTIFICATE in it";
            Wrong::new(Code::ValueCaBundle, message, way_out)
        };
        let der: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        let der = der.map_err(|_| wrong("not certificates in PEM"))?;
        if der.is_empty() {
            return Err(wrong("there is no certificate in it"));
        }
        let mut roots = RootCertStore::empty();
        for certificate in &der {
            roots.add(certificate.clone()).map_err(|_| wrong("a certificate in it cannot be read"))?;
        }
        Ok(CaBundle { roots: Arc::new(roots), der: der.into() })
    }

    fn placeholder(_: usize) -> CaBundle {
        CaBundle { roots: Arc::new(RootCertStore::empty()), der: Arc::new([]) }
    }
}

/// The SHA-256 of one certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub fn of(certificate: &[u8]) -> Fingerprint {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
        Fingerprint(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Value for Fingerprint {
    const EXPECTED: &'static str = "a certificate's SHA-256";

    fn parse(text: &str) -> Result<Fingerprint, Wrong> {
        let wrong = || {
            let way_out = "sha256: and 64 digits of hex, with or without colons: openssl x509 -in FILE -noout -fingerprint -sha256";
            Wrong::new(Code::ValueFingerprint, "not the SHA-256 of a certificate", way_out)
        };
        let (head, digits) = text.split_once([':', '=']).ok_or_else(wrong)?;
        // As openssl prints it, too.
        if !["sha256", "sha256 fingerprint"].iter().any(|known| head.eq_ignore_ascii_case(known)) {
            return Err(wrong());
        }
        let digits: String = digits.chars().filter(|c| *c != ':').collect();
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Fingerprint(bytes))
    }

    fn placeholder(n: usize) -> Fingerprint {
        Fingerprint::of(&n.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_written_as_openssl_prints_it_or_plainly() {
        let of = Fingerprint::of(b"x");
        let plain = of.to_string();
        let pairs: Vec<String> =
            plain.as_bytes()[7..].chunks(2).map(|two| String::from_utf8_lossy(two).to_uppercase()).collect();
        for text in [&plain, &format!("SHA256 Fingerprint={}", pairs.join(":")), &format!("sha256:{}", pairs.join(":"))]
        {
            assert_eq!(Fingerprint::parse(text), Ok(of), "{text}");
        }
        for text in [
            "",
            "sha256:",
            &plain[7..],
            &plain[..70],
            &format!("{plain}0"),
            &plain.replace("sha256", "sha1"),
            "sha256:é",
        ] {
            assert!(Fingerprint::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_bundle_is_certificates_and_at_least_one() {
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap().self_signed(&key).unwrap().pem();
        assert_eq!(CaBundle::parse(&format!("{pem}{pem}")).unwrap().der.len(), 2);
        for (text, message) in [
            ("", "there is no certificate in it"),
            ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "not certificates in PEM"),
            ("-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n", "a certificate in it cannot be read"),
        ] {
            assert_eq!(CaBundle::parse(text).unwrap_err().message, message, "{text}");
        }
    }
}
