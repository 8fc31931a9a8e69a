//! What a client can do at a CA, and what it must have written down before it does.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine as _};
use rcgen::{CertificateSigningRequestParams, KeyPair, PublicKeyData as _, SanType, SerialNumber};
use serde_json::{Value, json};

use super::{Look, Mood, Reply, Server, ari_order, document, malformed};
use crate::acme::{
    account::AccountKey,
    model::{AuthorizationStatus, CaTime, ChallengeType, Identifier, OrderStatus, Outcome},
    sim::ca::{Answer, problem},
    store::Store,
};

impl Server {
    fn breaks(&mut self, promise: impl Into<String>) {
        self.broken.get_or_insert(promise.into());
    }

    /// RFC 8555 §7.3. The key is on the disk before it is shown.
    pub(super) fn register(&mut self, now: u64, jwk: &Value, disk: &dyn Store) -> Result<Reply, Answer> {
        let records = disk.load().expect("a readable store");
        let key = records.directories.get(&self.url).and_then(|d| d.account.key.clone());
        let kept = key.and_then(|key| disk.key(&key).ok()).and_then(|pem| AccountKey::from_pem(&pem).ok());
        if kept.is_none_or(|kept| kept.jwk() != *jwk) {
            self.breaks("newAccount with a key that is not on the disk");
        }
        let known = self.accounts.iter().skip(self.forgotten).position(|known| known == jwk);
        let number = match known {
            Some(at) => self.forgotten + at,
            None => {
                // The CA below knows of one account; a second one is a promise broken, and noticed elsewhere.
                self.ca.register(now)?;
                self.accounts.push(jwk.clone());
                self.accounts.len() - 1
            }
        };
        let location = format!("{}/account/{number}", self.base());
        let reply = Reply::json(&json!({ "status": "valid" })).with("Location", location);
        Ok(Reply { status: if known.is_some() { 200 } else { 201 }, ..reply })
    }

    /// RFC 8555 §7.4, RFC 9773 §5. The order is counted on the disk before it is asked for.
    pub(super) fn new_order(
        &mut self,
        now: u64,
        account: usize,
        payload: &Value,
        mood: &Mood,
        disk: &dyn Store,
    ) -> Result<Reply, Answer> {
        let records = disk.load().expect("a readable store");
        let written = records.directories.get(&self.url).map_or(CaTime(0), |d| d.orders.tat);
        if written == self.orders_written {
            self.breaks("newOrder that was not written ahead");
        }
        self.orders_written = written;
        if let Some(wait) = mood.limited {
            let text = "too many certificates already issued for \"test\", see https://ca.test/limits";
            let wait = wait.map(std::time::Duration::from_secs);
            return Err(Answer::Problem(problem("rateLimited", text, 429), wait));
        }
        let named = payload["identifiers"].as_array().ok_or_else(|| malformed("no identifiers"))?;
        let names: Vec<Identifier> =
            named.iter().filter_map(|name| name["value"].as_str()).map(Identifier::from).collect();
        let offered = ["classic", "tlsserver", "shortlived"];
        if payload["profile"].as_str().is_some_and(|profile| !offered.contains(&profile)) {
            return Err(Answer::Problem(problem("invalidProfile", "no such profile", 400), None));
        }
        let replaces = payload["replaces"].as_str();
        let replaced = replaces.map(|id| {
            let order = ari_order(id)
                .map(|order| order.to_string())
                .filter(|order| self.orders.get(order).is_some_and(|(owner, _)| *owner == account));
            let foreign = || Answer::Problem(problem("unauthorized", "another account's certificate", 403), None);
            order.map(|order| format!("ari-{order}")).ok_or_else(foreign)
        });
        let number = self.ca.new_order(now, &names, replaced.transpose()?.as_deref())?;
        let replaces = replaces.map(str::to_owned);
        self.orders.entry(number.clone()).or_insert((account, replaces));
        let location = format!("{}/order/{number}", self.base());
        Ok(Reply { status: 201, ..self.order(now, &number)?.with("Location", location) })
    }

    /// RFC 8555 §7.5.
    pub(super) fn authorization(&mut self, now: u64, number: &str, payload: &Value) -> Result<Reply, Answer> {
        self.ca.settle_all(now);
        let gone = || Answer::Problem(problem("malformed", "no such authorization", 404), None);
        let index: usize = number.parse().map_err(|_| gone())?;
        let deactivated = payload["status"] == "deactivated";
        if deactivated {
            self.ca.deactivate_one(index);
        }
        let shown = self.ca.authorization(index).ok_or_else(gone)?;
        let challenges: Vec<Value> =
            shown.offered.iter().map(|kind| self.challenge_document(index, &kind.to_string())).collect();
        let name = shown.identifier.0.strip_prefix("*.").unwrap_or(&shown.identifier.0);
        let kind = if shown.identifier.is_address() { "ip" } else { "dns" };
        let status = match shown.status {
            _ if deactivated => "deactivated",
            AuthorizationStatus::Pending => "pending",
            AuthorizationStatus::Valid => "valid",
            AuthorizationStatus::Invalid => "invalid",
        };
        Ok(Reply::json(&json!({
            "status": status, "identifier": { "type": kind, "value": name }, "challenges": challenges,
            "wildcard": shown.identifier.is_wildcard(),
        })))
    }

    fn challenge_document(&self, index: usize, kind: &str) -> Value {
        let shown = self.ca.authorization(index).expect("it was found before");
        let tried = self.tried(index).is_some_and(|tried| tried == kind);
        let status = match shown.status {
            AuthorizationStatus::Valid if tried => "valid",
            AuthorizationStatus::Invalid if tried => "invalid",
            AuthorizationStatus::Pending if tried => "processing",
            _ => "pending",
        };
        let mut challenge = json!({
            "type": kind, "status": status, "token": format!("token-{index}-{kind}"),
            "url": format!("{}/challenge/{index}/{kind}", self.base()),
        });
        if let Some(problem) = shown.problem.as_ref().filter(|_| tried) {
            challenge["error"] = document(problem);
        }
        challenge
    }

    fn tried(&self, index: usize) -> Option<String> {
        self.challenges.get(&index).map(ToString::to_string)
    }

    pub(super) fn challenge(&self, path: &str) -> Result<Reply, Answer> {
        let mut parts = path.split('/').skip(2);
        let index = parts.next().and_then(|index| index.parse().ok()).ok_or_else(|| malformed("no number"))?;
        Ok(Reply::json(&self.challenge_document(index, parts.next().unwrap_or_default())))
    }

    /// RFC 8555 §7.5.1. **The spend**: it is on the disk, and open, before.
    pub(super) fn challenged(
        &mut self,
        now: u64,
        account: usize,
        number: &str,
        kind: &str,
        mood: &Mood,
        disk: &dyn Store,
    ) -> Result<Option<Look>, Answer> {
        self.ca.settle_all(now);
        let index: usize = number.parse().map_err(|_| malformed("no number"))?;
        let challenge = match kind {
            "http-01" => ChallengeType::Http01,
            "tls-alpn-01" => ChallengeType::TlsAlpn01,
            _ => ChallengeType::Dns01,
        };
        let shown = self.ca.authorization(index).ok_or_else(|| malformed("no such authorization"))?;
        let records = disk.load().expect("a readable store");
        let record = records.directories.get(&self.url).and_then(|d| d.identifiers.get(&shown.identifier));
        let written = record.into_iter().flat_map(|record| &record.spends).any(|spend| {
            let order = spend.order.rsplit_once("/order/").map_or("", |(_, number)| number);
            spend.outcome == Outcome::Open && self.ca.parts(order).is_ok_and(|(all, _)| all.contains(&index))
        });
        if !written {
            self.breaks(format!("a challenge for {} that was not written ahead", shown.identifier));
        }
        let takes = self.ca.challenged(now, index, mood.weather)?;
        self.challenges.entry(index).or_insert(challenge);
        let token = format!("token-{index}-{kind}");
        let thumbprint =
            aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.accounts[account].to_string().as_bytes());
        let key_authorization = format!("{token}.{}", BASE64.encode(thumbprint));
        Ok(takes.map(|takes| Look { index, identifier: shown.identifier, challenge, token, key_authorization, takes }))
    }

    /// RFC 8555 §7.4. The key is on the disk before.
    pub(super) fn finalize(
        &mut self,
        now: u64,
        number: &str,
        payload: &Value,
        mood: &Mood,
        disk: &dyn Store,
    ) -> Result<Reply, Answer> {
        let bad = |what: &str| Answer::Problem(problem("badCSR", what, 400), None);
        let der = payload["csr"].as_str().and_then(|csr| BASE64.decode(csr).ok()).ok_or_else(|| bad("no base64"))?;
        let request = CertificateSigningRequestParams::from_der(&der.clone().into()).map_err(|_| bad("no CSR"))?;
        let mut asked: Vec<String> = request.params.subject_alt_names.iter().map(name_of).collect();
        asked.sort();
        let view = self.ca.look(now, number)?;
        let mut wanted: Vec<String> = view.authorizations.iter().map(|a| a.identifier.0.clone()).collect();
        wanted.sort();
        if asked != wanted {
            self.breaks(format!("a CSR for {asked:?} in an order for {wanted:?}"));
            return Err(bad("other names"));
        }
        let records = disk.load().expect("a readable store");
        let url = format!("{}/order/{number}", self.base());
        let orders = records.sets.values().flat_map(|set| set.orders.values());
        let key = orders.filter(|order| order.url == url).find_map(|order| order.key.clone());
        let kept = key.and_then(|key| disk.key(&key).ok()).and_then(|pem| KeyPair::from_pem(&pem).ok());
        if kept.is_none_or(|kept| kept.der_bytes() != request.public_key.der_bytes()) {
            self.breaks("finalize with a key that is not on the disk");
        }
        self.ca.finalize(now, number, mood.weather)?;
        self.requests.insert(number.to_owned(), der);
        self.order(now, number)
    }

    /// RFC 8555 §7.4.2.
    pub(super) fn certificate(&mut self, now: u64, number: &str) -> Result<Reply, Answer> {
        if self.ca.look(now, number)?.status != OrderStatus::Valid {
            return Err(malformed("no certificate yet"));
        }
        let made = self.ca.download(now, number)?;
        if !self.chains.contains_key(number) {
            let der = self.requests.get(number).expect("a valid order was finalized");
            let request = CertificateSigningRequestParams::from_der(&der.clone().into());
            let mut request = request.expect("it was read before");
            let time = |at: CaTime| time::OffsetDateTime::from_unix_timestamp(at.0 as i64).expect("a time of this age");
            request.params.not_before = time(made.not_before);
            request.params.not_after = time(made.not_after);
            request.params.use_authority_key_identifier_extension = true;
            let order: u64 = number.parse().expect("orders have numbers");
            request.params.serial_number = Some(SerialNumber::from(order + 1));
            let leaf = request.signed_by(&self.issuer).expect("a certificate").pem();
            self.chains.insert(number.to_owned(), leaf + &self.issuer_pem);
        }
        let body = self.chains[number].clone().into_bytes();
        Ok(Reply { status: 200, headers: vec![("Content-Type", "application/pem-certificate-chain".into())], body })
    }

    /// RFC 8555 §7.6.
    pub(super) fn revoke(&mut self, now: u64, payload: &Value) -> Result<Reply, Answer> {
        let der = payload["certificate"].as_str().and_then(|der| BASE64.decode(der).ok());
        let der = der.ok_or_else(|| malformed("no certificate"))?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).map_err(|_| malformed("no certificate"))?;
        let serial = BASE64.encode(certificate.raw_serial());
        let order = ari_order(&format!(".{serial}")).ok_or_else(|| malformed("not ours"))?;
        self.ca.revoke(now, &order.to_string())?;
        Ok(Reply { status: 200, headers: Vec::new(), body: Vec::new() })
    }
}

fn name_of(name: &SanType) -> String {
    match name {
        SanType::DnsName(name) => name.to_string(),
        SanType::IpAddress(address) => address.to_string(),
        other => format!("{other:?}"),
    }
}
