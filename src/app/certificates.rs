//! One row for each certificate of a configuration, wherever it comes from.

use std::{path::Path, sync::Arc};

use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use crate::{
    acme::{
        certificate::ca_time,
        model::CaTime,
        show::{Installed, Next, Row, Source},
    },
    config::{
        Config,
        model::{Certificate, Hostname, Site},
    },
    tls::{Names, certs::Leaf, internal_ca},
};

/// The rows of public CAs, completed by what is really `shown`, and those of all others, in the order of the sites.
pub(crate) fn rows(config: &Config, mut public: Vec<Row>, shown: Option<&Names>, now: CaTime) -> Vec<Row> {
    let mut rows = Vec::new();
    for site in &config.sites {
        let (wanted, others): (Vec<_>, Vec<_>) = site.hosts.iter().partition(|host| site.wants_acme(host));
        for host in wanted {
            if let Some(at) = public.iter().position(|row| row.names.iter().any(|name| name == host.as_str())) {
                rows.push(as_shown(public.remove(at), host, shown, now));
            }
        }
        if let Some(host) = others.first() {
            let names = others.iter().map(|host| host.as_str().to_owned()).collect();
            rows.push(other(site, names, shown.and_then(|shown| shown.of(host)), now));
        }
    }
    // Those of a configuration from a moment ago: their driver has not heard of the new one yet.
    rows.extend(public);
    rows
}

/// While the state cannot be used no step is taken, whatever the plan has.
pub(crate) fn hinder(public: &mut [Row]) {
    let why = "not before the state directory can be used";
    public.iter_mut().for_each(|row| row.next = Next { action: "look again".into(), at: None, why: why.into() });
}

/// What is kept need not be what is shown: the files may have been damaged since.
fn as_shown(row: Row, host: &Hostname, shown: Option<&Names>, now: CaTime) -> Row {
    let Some((shown, key)) = shown.and_then(|shown| Some((shown, shown.of(host)?))) else { return row };
    match shown.is_provisional(key) {
        true => Row { certificate: None, provisional: true, ..row },
        false => Row { certificate: key.cert.first().and_then(|leaf| Installed::of(leaf, now)), ..row },
    }
}

fn other(site: &Site, names: Vec<String>, shown: Option<&Arc<CertifiedKey>>, now: CaTime) -> Row {
    let shown = shown.and_then(|key| key.cert.first().cloned());
    let (source, path, leaf) = match &site.certificate {
        Certificate::Files { chain, .. } => (Source::Files, Some(chain), shown.or_else(|| read(chain))),
        Certificate::Internal | Certificate::Acme => (Source::Internal, None, shown),
    };
    let due = leaf.as_ref().and_then(Leaf::parse).map(|leaf| ca_time(internal_ca::due_at(&leaf)).0);
    let say = |action: &str, at: Option<u64>, why: &str| Next { action: action.into(), at, why: why.into() };
    let next = match (source, due) {
        (Source::Files, _) => say("reload", None, "whoever writes the files renews it; a change is in use within 5 s"),
        (_, Some(at)) => say("renew", (at > now.0).then_some(at), "at two thirds of its life"),
        (_, None) => say("make", None, "it is made at every start"),
    };
    Row {
        names,
        source,
        path: path.map(|path| path.display().to_string()),
        certificate: leaf.and_then(|leaf| Installed::of(&leaf, now)),
        provisional: false,
        window: None,
        next,
        buckets: Vec::new(),
        problem: None,
        warnings: Vec::new(),
    }
}

fn read(chain: &Path) -> Option<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(chain).ok()?.next()?.ok()
}
