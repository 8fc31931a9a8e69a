//! RFC 8555 over the CA of the simulation: real requests in, real answers out. Signatures are not looked at, which Pebble
//! does; everything else a request says is read, and what must be on the client's disk by then is looked for there.

mod deeds;

use std::collections::{HashMap, HashSet};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine as _};
use bytes::Bytes;
use http::{Method, Request, Response};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::acme::{
    model::{CaTime, ChallengeType, DirectoryUrl, Identifier, OrderStatus, Problem},
    sim::ca::{Answer, Ca, Weather, problem},
    store::Store,
};

/// One CA.
pub struct Server {
    pub ca: Ca,
    pub url: DirectoryUrl,
    pub style: Style,
    /// The public keys, in the order of their coming; a number is an account's name.
    accounts: Vec<Value>,
    /// Accounts before this one are not known any more.
    pub forgotten: usize,
    nonces: HashSet<String>,
    next_nonce: u64,
    /// Whose an order is, and what it replaces as it was asked for.
    orders: HashMap<String, (usize, Option<String>)>,
    /// The challenge that was answered, by authorization.
    challenges: HashMap<usize, ChallengeType>,
    requests: HashMap<String, Vec<u8>>,
    chains: HashMap<String, String>,
    issuer: Issuer<'static, KeyPair>,
    issuer_pem: String,
    /// The client's count of orders when it asked for one last.
    orders_written: CaTime,
    /// What the client did and should not have.
    pub broken: Option<String>,
}

/// How CAs differ.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// Validates inside the POST of the challenge, and answers with what came of it.
    pub at_once: bool,
    /// Takes `replaces` and says nothing of it in the order (RFC 9773 §5 wants it said).
    pub silent_about_replaces: bool,
    /// Says when to come back as a date.
    pub dates: bool,
    /// Has no clock to tell.
    pub no_date: bool,
    /// Seconds between two looks at renewal information.
    pub ari_poll: u64,
}

/// How the world stands when a request arrives.
pub struct Mood {
    pub weather: Weather,
    pub bad_nonce: bool,
    /// newOrder is refused with 429, and this Retry-After.
    pub limited: Option<Option<u64>>,
    /// What this front end's clock is off by.
    pub jitter: i64,
}

/// A validation that begins.
#[derive(Debug, Clone)]
pub struct Look {
    pub index: usize,
    pub identifier: Identifier,
    pub challenge: ChallengeType,
    pub token: String,
    pub key_authorization: String,
    pub takes: u64,
}

/// A request whose wrapping is off.
struct Signed {
    /// With a key id.
    account: Option<usize>,
    /// With a key.
    jwk: Option<Value>,
    /// `Null` for POST-as-GET.
    payload: Value,
}

struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Reply {
    fn json(value: &Value) -> Reply {
        Reply { status: 200, headers: Vec::new(), body: value.to_string().into_bytes() }
    }

    fn with(mut self, name: &'static str, value: String) -> Reply {
        self.headers.push((name, value));
        self
    }
}

impl Server {
    pub fn new(url: &DirectoryUrl, ca: Ca, style: Style) -> Server {
        let key = KeyPair::generate().expect("randomness");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer_pem = params.self_signed(&key).expect("a root").pem();
        Server {
            ca,
            url: url.clone(),
            style,
            accounts: Vec::new(),
            forgotten: 0,
            nonces: HashSet::new(),
            next_nonce: 0,
            orders: HashMap::new(),
            challenges: HashMap::new(),
            requests: HashMap::new(),
            chains: HashMap::new(),
            issuer: Issuer::new(params, key),
            issuer_pem,
            orders_written: CaTime(0),
            broken: None,
        }
    }

    /// Accounts that it knows.
    pub fn accounts(&self) -> usize {
        self.accounts.len() - self.forgotten
    }

    /// Its database is gone.
    pub fn forget_accounts(&mut self) {
        self.forgotten = self.accounts.len();
        self.ca.forget_account();
        self.ca.abandon();
    }

    fn base(&self) -> &str {
        self.url.0.strip_suffix("/directory").expect("a directory of the simulation")
    }

    /// Answers, and says what it is going to look at. `disk` is the client's.
    pub fn serve(
        &mut self,
        now: u64,
        request: &Request<Bytes>,
        mood: &Mood,
        disk: &dyn Store,
        judge: &dyn Fn(&Look) -> Option<Problem>,
    ) -> (Response<Bytes>, Option<Look>) {
        let mut look = None;
        let reply = self.reply(now, request, mood, disk, &mut look);
        if let Some(begun) = look.as_ref().filter(|_| self.style.at_once) {
            self.ca.validated(begun.index, now, judge(begun));
            look = None;
        }
        let reply = match reply {
            // The challenge as it is by now.
            Ok(_) if self.style.at_once && request.uri().path().starts_with("/challenge/") => {
                self.ca.settle_all(now);
                self.challenge(request.uri().path())
            }
            reply => reply,
        };
        let Reply { status, headers, body } = reply.unwrap_or_else(|answer| match answer {
            Answer::Problem(problem, retry_after) => {
                let mut reply = Reply::json(&document(&problem));
                reply.status = problem.status;
                match retry_after {
                    Some(wait) if self.style.dates => reply.with("Retry-After", date(now + wait.as_secs())),
                    Some(wait) => reply.with("Retry-After", wait.as_secs().to_string()),
                    None => reply,
                }
            }
            Answer::Nothing(_) => unreachable!("silence is the network's"),
        });
        let mut response = Response::builder().status(status);
        if !self.style.no_date {
            response = response.header("Date", date(now.saturating_add_signed(mood.jitter)));
        }
        if request.method() != Method::GET {
            self.next_nonce += 1;
            let nonce = format!("nonce-{}", self.next_nonce);
            response = response.header("Replay-Nonce", &nonce);
            self.nonces.insert(nonce);
        }
        for (name, value) in headers {
            response = response.header(name, value);
        }
        (response.body(Bytes::from(body)).expect("a response"), look)
    }

    fn reply(
        &mut self,
        now: u64,
        request: &Request<Bytes>,
        mood: &Mood,
        disk: &dyn Store,
        look: &mut Option<Look>,
    ) -> Result<Reply, Answer> {
        let path: Vec<&str> = request.uri().path().split('/').skip(1).collect();
        match (request.method(), &*path) {
            (&Method::GET, ["directory"]) => Ok(Reply::json(&self.directory())),
            (&Method::HEAD, ["nonce"]) => Ok(Reply { status: 200, headers: Vec::new(), body: Vec::new() }),
            (&Method::GET, ["ari", id]) => self.renewal_info(id),
            (&Method::POST, _) => {
                let signed = self.open(request, mood)?;
                let jwk = signed.jwk.clone();
                match (&*path, signed.account) {
                    (["account"], _) => self.register(now, &jwk.ok_or_else(|| malformed("no key"))?, disk),
                    (_, Some(account)) => self.work(now, &path, account, &signed.payload, mood, disk, look),
                    _ => Err(malformed("no account")),
                }
            }
            _ => Err(Answer::Problem(problem("malformed", "no such resource", 404), None)),
        }
    }

    fn directory(&self) -> Value {
        let at = |path: &str| format!("{}/{path}", self.base());
        json!({
            "newNonce": at("nonce"), "newAccount": at("account"), "newOrder": at("order"), "revokeCert": at("revoke"),
            "renewalInfo": at("ari"),
            "meta": { "profiles": { "classic": "", "tlsserver": "", "shortlived": "addresses too" } },
        })
    }

    /// Takes the wrapping off (RFC 8555 §6.2 to §6.5).
    fn open(&mut self, request: &Request<Bytes>, mood: &Mood) -> Result<Signed, Answer> {
        let part = |jose: &Value, name: &str| {
            let text = jose[name].as_str().and_then(|text| BASE64.decode(text).ok());
            text.ok_or_else(|| malformed("no JWS"))
        };
        let jose: Value = serde_json::from_slice(request.body()).map_err(|_| malformed("no JSON"))?;
        let header: Value = serde_json::from_slice(&part(&jose, "protected")?).map_err(|_| malformed("no header"))?;
        let payload = part(&jose, "payload")?;
        let payload = match payload.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&payload).map_err(|_| malformed("no payload"))?,
        };
        if part(&jose, "signature")?.len() != 64 || header["alg"] != "ES256" {
            return Err(malformed("no ES256"));
        }
        if header["url"] != request.uri().to_string() {
            return Err(malformed("signed for another URL"));
        }
        let fresh = header["nonce"].as_str().is_some_and(|nonce| self.nonces.remove(nonce));
        if !fresh || mood.bad_nonce {
            return Err(Answer::Problem(problem("badNonce", "JWS has an invalid anti-replay nonce", 400), None));
        }
        let jwk = header.get("jwk").map(|jwk| json!({ "crv": "P-256", "kty": "EC", "x": jwk["x"], "y": jwk["y"] }));
        let number = |id: &str| id.rsplit_once("/account/").and_then(|(_, number)| number.parse::<usize>().ok());
        let account = header["kid"].as_str().and_then(number);
        if account.is_some_and(|account| account < self.forgotten || account >= self.accounts.len()) {
            return Err(Answer::Problem(problem("accountDoesNotExist", "no such account", 400), None));
        }
        Ok(Signed { account, jwk, payload })
    }

    #[allow(clippy::too_many_arguments)]
    fn work(
        &mut self,
        now: u64,
        path: &[&str],
        account: usize,
        payload: &Value,
        mood: &Mood,
        disk: &dyn Store,
        look: &mut Option<Look>,
    ) -> Result<Reply, Answer> {
        if let [_, number] = path
            && matches!(path[0], "order" | "finalize" | "certificate")
            && self.orders.get(*number).is_none_or(|(owner, _)| *owner != account)
        {
            return Err(Answer::Problem(problem("malformed", "no such order of this account", 404), None));
        }
        match path {
            ["order"] => self.new_order(now, account, payload, mood, disk),
            ["order", number] => self.order(now, number),
            ["authorization", number] => self.authorization(now, number, payload),
            ["challenge", number, kind] => {
                *look = self.challenged(now, account, number, kind, mood, disk)?;
                self.challenge(&format!("/challenge/{number}/{kind}"))
            }
            ["finalize", number] => self.finalize(now, number, payload, mood, disk),
            ["certificate", number] => self.certificate(now, number),
            ["revoke"] => self.revoke(now, payload),
            _ => Err(Answer::Problem(problem("malformed", "no such resource", 404), None)),
        }
    }

    fn order(&mut self, now: u64, number: &str) -> Result<Reply, Answer> {
        let view = self.ca.look(now, number)?;
        let (authorizations, _) = self.ca.parts(number)?;
        let base = self.base();
        let authorizations: Vec<String> =
            authorizations.iter().map(|index| format!("{base}/authorization/{index}")).collect();
        let mut order = json!({
            "status": match view.status {
                OrderStatus::Pending => "pending",
                OrderStatus::Ready => "ready",
                OrderStatus::Processing => "processing",
                OrderStatus::Valid => "valid",
                OrderStatus::Invalid => "invalid",
            },
            "authorizations": authorizations,
            "finalize": format!("{base}/finalize/{number}"),
        });
        if view.status == OrderStatus::Valid {
            order["certificate"] = format!("{base}/certificate/{number}").into();
        }
        if let Some(problem) = &view.problem {
            order["error"] = document(problem);
        }
        if let Some((_, Some(replaces))) = self.orders.get(number).filter(|_| !self.style.silent_about_replaces) {
            order["replaces"] = replaces.as_str().into();
        }
        let reply = Reply::json(&order);
        Ok(match view.retry_after {
            Some(wait) => reply.with("Retry-After", wait.as_secs().to_string()),
            None => reply,
        })
    }

    fn renewal_info(&self, id: &str) -> Result<Reply, Answer> {
        let gone = || Answer::Problem(problem("malformed", "no such certificate", 404), None);
        let order = ari_order(id).ok_or_else(gone)?;
        let (start, end) = self.ca.renewal_info(&format!("ari-{order}")).ok_or_else(gone)?;
        let window = json!({ "start": rfc3339(start), "end": rfc3339(end) });
        Ok(Reply::json(&json!({ "suggestedWindow": window })).with("Retry-After", self.style.ari_poll.to_string()))
    }
}

fn malformed(what: &str) -> Answer {
    Answer::Problem(problem("malformed", what, 400), None)
}

/// A problem as it goes over the wire (RFC 9457).
fn document(problem: &Problem) -> Value {
    let kind = format!("urn:ietf:params:acme:error:{}", problem.kind);
    json!({ "type": kind, "detail": problem.detail, "status": problem.status })
}

/// A certificate's serial number is its order's number, and one.
fn ari_order(id: &str) -> Option<u64> {
    let serial = BASE64.decode(id.split_once('.')?.1).ok()?;
    serial.iter().try_fold(0u64, |sum, byte| sum.checked_mul(256)?.checked_add(u64::from(*byte)))?.checked_sub(1)
}

fn date(at: u64) -> String {
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(at))
}

fn rfc3339(at: CaTime) -> String {
    let at = time::OffsetDateTime::from_unix_timestamp(at.0 as i64).expect("a time of this age");
    at.format(&time::format_description::well_known::Rfc3339).expect("a date")
}
