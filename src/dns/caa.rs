//! May this CA issue for this name (RFC 8659), to this account and by this method (RFC 8657)? Pure.

use std::fmt;

use hickory_proto::rr::RData;

/// One CAA record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Who does not understand the tag must not issue.
    pub critical: bool,
    pub tag: String,
    pub value: String,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CAA {} {} {:?}", if self.critical { 128 } else { 0 }, self.tag, self.value)
    }
}

/// The records that count for a name, and the name they are at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InForce {
    /// `None`: there are none, and every CA may issue.
    pub at: Option<String>,
    /// The name that is an alias (CNAME) for `at`: it can have no records of its own beside that (RFC 1034 §3.6.2).
    pub alias: Option<String>,
    pub records: Vec<Record>,
}

/// Who asks for what.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// The names the CA answers to: `caaIdentities` of its directory. Where it says none, only records that forbid every
    /// CA are understood.
    pub identities: &'a [String],
    /// The account's URL, once there is one.
    pub account: Option<&'a str>,
    /// `http-01`, `tls-alpn-01` or `dns-01`.
    pub method: &'a str,
    /// A wildcard is asked for.
    pub wildcard: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// With the record that says so, and what would have to be there.
    Forbidden(String),
    /// The CA does not say which names it answers to.
    Unknown,
}

/// Tags whose meaning is known, so that `critical` on them is no obstacle (IANA's registry of CAA properties).
const KNOWN: [&str; 7] = ["issue", "issuewild", "iodef", "contactemail", "contactphone", "issuemail", "issuevmc"];

pub(super) fn read(data: &RData) -> Option<Record> {
    let RData::CAA(caa) = data else { return None };
    Some(Record {
        critical: caa.issuer_critical,
        tag: caa.tag.to_ascii_lowercase(),
        value: String::from_utf8_lossy(&caa.value).into_owned(),
    })
}

/// Whether the CA may issue.
pub fn judge(records: &[Record], asking: &Asking<'_>) -> Verdict {
    // RFC 8659 §4.5.
    if let Some(strange) = records.iter().find(|r| r.critical && !KNOWN.contains(&r.tag.as_str())) {
        return Verdict::Forbidden(format!("the record `{strange}` is critical and no CA knows its tag: take it away"));
    }
    let of = |tag: &str| records.iter().filter(|r| r.tag == tag).collect::<Vec<_>>();
    // RFC 8659 §4.3: issuewild goes before issue, for wildcards alone.
    let wild = if asking.wildcard { of("issuewild") } else { Vec::new() };
    let deciding = if wild.is_empty() { of("issue") } else { wild };
    let Some(first) = deciding.first() else { return Verdict::Allowed };
    let tag = &first.tag;
    let issuers: Vec<Option<Issuer>> = deciding.iter().map(|record| Issuer::parse(&record.value)).collect();
    if asking.identities.is_empty() {
        let all_closed = issuers.iter().all(|issuer| issuer.as_ref().is_none_or(|issuer| issuer.domain.is_none()));
        return if all_closed {
            Verdict::Forbidden(format!("the record `{first}` forbids every CA: take it away or name the CA in it"))
        } else {
            Verdict::Unknown
        };
    }
    let ours = |issuer: &Issuer| {
        let named = |domain: &String| asking.identities.iter().any(|identity| identity.eq_ignore_ascii_case(domain));
        issuer.domain.as_ref().is_some_and(named)
    };
    let mut why = None;
    for (record, issuer) in deciding.iter().zip(&issuers) {
        let Some(issuer) = issuer.as_ref().filter(|issuer| ours(issuer)) else { continue };
        match issuer.obstacle(asking, tag) {
            None => return Verdict::Allowed,
            Some(obstacle) => why = why.or(Some(format!("the record `{record}` {obstacle}"))),
        }
    }
    Verdict::Forbidden(why.unwrap_or_else(|| {
        let identity = &asking.identities[0];
        let list = deciding.iter().map(|record| format!("`{record}`")).collect::<Vec<_>>().join(" and ");
        let verb = if deciding.len() == 1 { "does" } else { "do" };
        format!("{list} {verb} not name this CA: add `CAA 0 {tag} \"{identity}\"`")
    }))
}

/// The value of an `issue` or `issuewild` record (RFC 8659 §4.2).
#[derive(Debug, PartialEq, Eq)]
struct Issuer {
    domain: Option<String>,
    parameters: Vec<(String, String)>,
}

impl Issuer {
    /// `None` where it does not follow the grammar, which counts as naming nobody.
    fn parse(value: &str) -> Option<Issuer> {
        let blank = |c: char| c == ' ' || c == '\t';
        let mut parts = value.split(';').map(|part| part.trim_matches(blank));
        let domain = parts.next().unwrap_or_default();
        let label = |l: &str| {
            let ends = l.starts_with(|c: char| c.is_ascii_alphanumeric()) && !l.ends_with('-');
            ends && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if !domain.is_empty() && !domain.split('.').all(label) {
            return None;
        }
        let mut parameters = Vec::new();
        // A `;` at the end is an empty last parameter to `split`, and allowed.
        for part in parts.filter(|part| !part.is_empty()) {
            let (tag, value) = part.split_once('=')?;
            let (tag, value) = (tag.trim_end_matches(blank), value.trim_start_matches(blank));
            if !label(tag) || !value.bytes().all(|b| (0x21..=0x7e).contains(&b)) {
                return None;
            }
            parameters.push((tag.to_ascii_lowercase(), value.to_owned()));
        }
        Some(Issuer { domain: (!domain.is_empty()).then(|| domain.to_owned()), parameters })
    }

    /// What in the record's parameters stands against this request; unknown ones are the CA's own and stand against nothing.
    /// Each with its way out: another record beside this one is enough (RFC 8659 §4.2), and takes nothing from others.
    fn obstacle(&self, asking: &Asking<'_>, tag: &str) -> Option<String> {
        let of = |tag: &str| self.parameters.iter().filter(|(t, _)| t == tag).map(|(_, v)| v).collect::<Vec<_>>();
        // RFC 8657 §3, §4: given twice, they can be satisfied by nobody.
        match of("accounturi").as_slice() {
            [] => {}
            [account] if asking.account == Some(account.as_str()) => {}
            [account] => {
                let ours = match asking.account {
                    None => "this machine has none yet: take accounturi out of it until there is one".to_owned(),
                    Some(url) => format!("ours is {url}: add `{}`", self.with(tag, "accounturi", url)),
                };
                return Some(format!("allows the account {account} only, and {ours}"));
            }
            _ => return Some("has accounturi twice, which no account can satisfy: take one of them out".to_owned()),
        }
        match of("validationmethods").as_slice() {
            [] => None,
            [methods] if methods.split(',').any(|method| method == asking.method) => None,
            [methods] => {
                let wanted = self.with(tag, "validationmethods", asking.method);
                Some(format!("allows validation by {methods} only, not by {}: add `{wanted}`", asking.method))
            }
            _ => Some("has validationmethods twice, which no method can satisfy: take one of them out".to_owned()),
        }
    }

    /// The record with another value of one parameter.
    fn with(&self, tag: &str, parameter: &str, value: &str) -> String {
        let parameters = self.parameters.iter().map(|(name, was)| {
            let value = if name == parameter { value } else { was };
            format!("; {name}={value}")
        });
        let parameters: String = parameters.collect();
        format!("CAA 0 {tag} \"{}{parameters}\"", self.domain.as_deref().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
