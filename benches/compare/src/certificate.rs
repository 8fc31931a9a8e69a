//! The certificate that every contender serves: P-256 under an intermediate, as long as a real chain.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::CertificateDer;

pub struct Served {
    pub root: CertificateDer<'static>,
    pub leaf: CertificateDer<'static>,
    /// Leaf and intermediate.
    pub chain_pem: String,
    pub key_pem: String,
}

impl Served {
    pub fn generate(host: &str) -> Result<Served> {
        let made = || -> Result<Served, rcgen::Error> {
            let key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
            let (root_key, middle_key, leaf_key) = (key()?, key()?, key()?);
            let root_params = authority("Comparison Root");
            let root = root_params.self_signed(&root_key)?;
            let root_issuer = Issuer::new(root_params, root_key);
            let middle_params = authority("Comparison Intermediate");
            let middle = middle_params.signed_by(&middle_key, &root_issuer)?;
            let middle_issuer = Issuer::new(middle_params, middle_key);
            let mut leaf_params = CertificateParams::new([host.to_owned()])?;
            leaf_params.distinguished_name = name(host);
            leaf_params.use_authority_key_identifier_extension = true;
            leaf_params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            let leaf = leaf_params.signed_by(&leaf_key, &middle_issuer)?;
            Ok(Served {
                root: root.der().clone(),
                leaf: leaf.der().clone(),
                chain_pem: leaf.pem() + &middle.pem(),
                key_pem: leaf_key.serialize_pem(),
            })
        };
        made().context("cannot make a certificate")
    }

    /// Writes `chain.pem`, `key.pem`, and both in `both.pem` (HAProxy wants one file).
    pub fn write(&self, dir: &Path) -> Result<()> {
        let both = format!("{}{}", self.chain_pem, self.key_pem);
        for (file, text) in [("chain.pem", &self.chain_pem), ("key.pem", &self.key_pem), ("both.pem", &both)] {
            let path = dir.join(file);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            if file != "chain.pem" {
                let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
                fs::set_permissions(&path, owner_only).with_context(|| format!("cannot protect {}", path.display()))?;
            }
        }
        Ok(())
    }
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn authority(common: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(common);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}
