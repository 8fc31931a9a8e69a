//! Everything outside the driver: the time, the weather, the network, the CAs, and the moments at which the process dies.

mod points;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::{Request, Response};
use tokio::{sync::Notify, time::Instant};

pub use points::{Fault, Points};

use super::{
    disk::Disk,
    server::{Look, Mood, Server},
};
use crate::{
    acme::{
        challenge_tls,
        model::{ChallengeType, Problem},
        outside::Outside,
        sim::{
            ca::{Weather, problem},
            random::Random,
            weather::{Episode, Trouble},
        },
        wire::{Roots, RootsError, Transport, WireError},
    },
    challenge::Challenges,
    dns::Resolver,
};

/// Shared by the driver's way out, its disk, and whoever lives the life.
#[derive(Clone)]
pub struct Town(Arc<Mutex<Inner>>);

pub struct Inner {
    pub start: u64,
    began: Instant,
    /// What the machine has slept through: its timers stood still.
    pub slept: u64,
    pub servers: BTreeMap<String, Server>,
    /// Hosts that are somebody's staging.
    pub staging: String,
    pub episodes: Vec<Episode>,
    pub random: Random,
    pub points: Points,
    /// What the process that lives now answers challenges from.
    pub challenges: Arc<Challenges>,
    pub disk: Disk,
    pub requests: u64,
    /// The first promise that was seen broken.
    pub broken: Option<String>,
    pub trace: Option<VecDeque<String>>,
    /// Which process it is.
    life: u64,
}

impl Town {
    pub fn new(start: u64, servers: Vec<Server>, staging: &str, disk: Disk, random: Random) -> Town {
        let host = |server: &Server| server.url.0.split('/').nth(2).unwrap_or_default().to_owned();
        Town(Arc::new(Mutex::new(Inner {
            start,
            began: Instant::now(),
            slept: 0,
            servers: servers.into_iter().map(|server| (host(&server), server)).collect(),
            staging: staging.to_owned(),
            episodes: Vec::new(),
            random,
            points: Points::default(),
            challenges: Arc::default(),
            disk,
            requests: 0,
            broken: None,
            trace: None,
            life: 0,
        })))
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    pub fn now(&self) -> u64 {
        self.lock().now()
    }

    /// When the machine's timers will be there, if it does not sleep before.
    pub fn instant(&self, at: u64) -> Instant {
        let town = self.lock();
        town.began + Duration::from_secs(at.saturating_sub(town.start + town.slept))
    }

    /// A process begins. It ends when the `Notify` says so.
    pub fn born(&self) -> (Arc<Challenges>, Arc<Notify>) {
        let mut town = self.lock();
        town.life += 1;
        town.challenges = Arc::default();
        town.points.dead = false;
        town.points.crash = Arc::default();
        (town.challenges.clone(), town.points.crash.clone())
    }

    /// Nothing answers for it any more.
    pub fn died(&self) {
        let mut town = self.lock();
        town.life += 1;
        town.points.dead = true;
        town.challenges = Arc::default();
    }

    pub fn breaks(&self, promise: &str) {
        self.lock().broken.get_or_insert_with(|| promise.to_owned());
    }

    async fn exchange(self, request: Request<Bytes>) -> Result<Response<Bytes>, WireError> {
        let host = request.uri().host().unwrap_or_default().to_owned();
        let url = request.uri().to_string();
        let place = format!("{} {url}", request.method());
        self.point(&format!("before {place}")).await;
        let there = self.lock().way(&host);
        tokio::time::sleep(Duration::from_millis(there.millis)).await;
        let cannot = |text: &str| io::Error::other(text.to_owned());
        match there.end {
            End::Refused => {
                self.lock().note(|| format!("{place}: nobody there"));
                return Err(WireError::Connect { host, source: cannot("connection refused") });
            }
            // The driver's own patience ends it.
            End::Silence => std::future::pending().await,
            End::Page => {
                let page = Response::builder().status(503).header("Retry-After", "60");
                return Ok(page.body(Bytes::from("<html>be right back</html>")).expect("a response"));
            }
            End::Lost | End::There => {}
        }
        let (response, look) = self.serve(&host, &request);
        if let Some(look) = look {
            let (town, host, life) = (self.clone(), host.clone(), self.lock().life);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(look.takes)).await;
                town.lock().validate(&host, &look, life);
            });
        }
        let chosen = {
            let mut town = self.lock();
            let chosen = town.points.chosen == Some((town.points.passed + 1, Fault::AnswerLost));
            town.points.hit |= chosen;
            chosen
        };
        self.point(&format!("after {place}")).await;
        tokio::time::sleep(Duration::from_millis(there.millis)).await;
        if chosen || matches!(there.end, End::Lost) {
            return Err(WireError::Broken { url, source: Box::new(cannot("connection reset")) });
        }
        Ok(response)
    }

    fn serve(&self, host: &str, request: &Request<Bytes>) -> (Response<Bytes>, Option<Look>) {
        let mut town = self.lock();
        town.requests += 1;
        let mood = town.mood();
        let now = town.now();
        let disk = town.disk.look();
        let life = town.life;
        let Some(mut server) = town.servers.remove(host) else { panic!("{host} is not in town") };
        let judged = |look: &Look| town.judge(look, life);
        let (response, look) = server.serve(now, request, &mood, &*disk, &judged);
        let broken = server.broken.clone();
        town.servers.insert(host.to_owned(), server);
        town.note(|| {
            let body = String::from_utf8_lossy(response.body());
            let body: String = body.chars().take(300).collect();
            format!("{} {}: {} {body}", request.method(), request.uri(), response.status().as_u16())
        });
        if let Some(broken) = broken {
            town.broken.get_or_insert(broken);
        }
        (response, look)
    }
}

/// How a request fares on its way.
struct Way {
    millis: u64,
    end: End,
}

enum End {
    There,
    Refused,
    Silence,
    Page,
    /// The answer gets lost.
    Lost,
}

impl Inner {
    pub fn now(&self) -> u64 {
        self.start + self.slept + self.began.elapsed().as_secs()
    }

    pub fn is(&self, wanted: impl Fn(Trouble) -> bool) -> bool {
        let now = self.now();
        self.episodes.iter().any(|e| e.from <= now && now < e.to && wanted(e.trouble))
    }

    fn find<T>(&self, wanted: impl Fn(Trouble) -> Option<T>) -> Option<T> {
        let now = self.now();
        self.episodes.iter().filter(|e| e.from <= now && now < e.to).find_map(|e| wanted(e.trouble))
    }

    pub fn note(&mut self, line: impl FnOnce() -> String) {
        let at = self.now() - self.start;
        if let Some(trace) = &mut self.trace {
            if trace.len() > 400 {
                trace.pop_front();
            }
            trace.push_back(format!("  {at:>9} {}", line()));
        }
    }

    fn weather(&self) -> Weather {
        Weather {
            http_closed: self.is(|t| matches!(t, Trouble::HttpClosed | Trouble::BothClosed | Trouble::NetDown)),
            tls_closed: self.is(|t| matches!(t, Trouble::TlsClosed | Trouble::BothClosed | Trouble::NetDown)),
            caa: self.is(|t| t == Trouble::Caa),
            slow: self.is(|t| t == Trouble::Slow),
            spoils: self.is(|t| t == Trouble::Spoils),
        }
    }

    fn mood(&mut self) -> Mood {
        let limited = |t| if let Trouble::Limited(wait) = t { Some(wait) } else { None };
        let jitter = |t| if let Trouble::Jitter(by) = t { Some(by) } else { None };
        let by = self.find(jitter).unwrap_or(0);
        Mood {
            weather: self.weather(),
            bad_nonce: self.is(|t| t == Trouble::Nonces) && self.random.permille(500),
            limited: self.find(limited),
            jitter: self.random.below(2 * by + 1) as i64 - by as i64,
        }
    }

    fn way(&mut self, host: &str) -> Way {
        let number = host.strip_prefix("ca").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
        let staging = host == self.staging;
        let down = self.is(|t| match t {
            Trouble::NetDown => true,
            Trouble::CaDown(n) => Some(n) == number,
            Trouble::StagingDown => staging,
            _ => false,
        });
        let flaky = self.is(|t| t == Trouble::Flaky);
        let end = match self.random.below(100) {
            0..4 if down => End::Silence,
            4..40 if down => End::Refused,
            _ if down => End::Page,
            0..17 if flaky => End::Refused,
            17..34 if flaky => End::Lost,
            _ => End::There,
        };
        Way { millis: self.random.between(2, 60), end }
    }

    /// What a CA sees that looks for an answer to its challenge.
    fn judge(&self, look: &Look, life: u64) -> Option<Problem> {
        if let Some(failure) = self.weather().failure(look.challenge) {
            return Some(failure);
        }
        let offered = match look.challenge {
            ChallengeType::Http01 => {
                self.challenges.http(&look.token).is_some_and(|answer| *answer == *look.key_authorization)
            }
            ChallengeType::TlsAlpn01 => {
                let shown = self.challenges.tls(&challenge_tls::sni(&look.identifier));
                shown.is_some_and(|shown| proves(&shown.cert[0], &look.key_authorization))
            }
            ChallengeType::Dns01 => false,
        };
        if offered {
            return None;
        }
        Some(if life == self.life && !self.points.dead {
            problem("unauthorized", "the answer to the challenge was not there", 403)
        } else {
            problem("connection", "connection refused", 400)
        })
    }

    fn validate(&mut self, host: &str, look: &Look, life: u64) {
        let failure = self.judge(look, life);
        self.note(|| format!("{host} looked for {} {}: {failure:?}", look.challenge, look.identifier));
        if failure.as_ref().is_some_and(|failure| failure.kind == "unauthorized") {
            let what = format!("no answer to {} for {} although the process lived on", look.challenge, look.identifier);
            self.broken.get_or_insert(what);
        }
        let now = self.now();
        self.servers.get_mut(host).expect("it looked").ca.validated(look.index, now, failure);
    }
}

/// RFC 8737 §3: the digest is in the extension.
fn proves(certificate: &[u8], key_authorization: &str) -> bool {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return false };
    let digest = digest(&SHA256, key_authorization.as_bytes());
    let mut extensions = parsed.extensions().iter().filter(|e| e.oid.to_id_string() == "1.3.6.1.5.5.7.1.31");
    extensions.any(|e| e.critical && e.value == [[4, 32].as_slice(), digest.as_ref()].concat())
}

impl Transport for Town {
    fn exchange(
        &self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, WireError>> + Send>> {
        Box::pin(Town::exchange(self.clone(), request))
    }
}

impl Outside for Town {
    fn wall(&self) -> SystemTime {
        let town = self.lock();
        let off = town.find(|t| if let Trouble::Skew(off) = t { Some(off) } else { None });
        SystemTime::UNIX_EPOCH + Duration::from_secs(town.now().saturating_add_signed(off.unwrap_or(0)))
    }

    fn since_boot(&self) -> Duration {
        let town = self.lock();
        town.began.elapsed() + Duration::from_secs(town.slept)
    }

    fn random(&self) -> u64 {
        self.lock().random.next()
    }

    /// The names of the simulation are not in the DNS.
    fn resolver(&self) -> Option<Resolver> {
        None
    }

    fn transport(&self, _: &Roots) -> Result<Arc<dyn Transport>, RootsError> {
        Ok(Arc::new(self.clone()))
    }
}
