//! A login before the gateway: basic auth (RFC 7617) with argon2id.
//!
//! A hash takes tens of milliseconds by design, so it is computed off the connection cores, in few places, and what was
//! right is remembered for a while: under a keyed hash of name, password, the configured hash and the client, so that
//! nothing can be read out of it, a changed password is another entry, and who guesses elsewhere is not told by it, at no
//! cost and although locked out, which guess is right. Time is an argument.

mod basic;

use std::{
    collections::HashMap,
    net::IpAddr,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc},
};
use aws_lc_rs::{hmac, rand::SystemRandom};
use http::{HeaderMap, header};
use lru::LruCache;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::{
    config::model::{BasicAuth, User},
    network::Network,
};

/// Hashes that are computed at once: each takes 19 MiB with the parameters of `clawgate hash-password`.
const AT_ONCE: usize = 2;
/// That are waited for, by all clients and by one.
const WAITING: usize = 32;
const WAITING_OF_CLIENT: usize = 2;
/// What was right is not asked again for so long...
const REMEMBERED: Duration = Duration::from_secs(15 * 60);
/// ...and so many are remembered.
const MOST_REMEMBERED: usize = 4096;
/// Nobody types more.
const LONGEST_PASSWORD: usize = 1024;

/// What a request shows.
pub enum Shown {
    /// No name and password, or something else.
    Nothing,
    /// Somebody who was right a short while ago.
    Known(User),
    /// It has to be looked at.
    Question(Box<Question>),
}

/// A name and a password to be looked at.
pub struct Question {
    user: Option<User>,
    /// Somebody else's hash, so that an unknown name takes as long.
    decoy: User,
    password: Zeroizing<Vec<u8>>,
    tag: Tag,
}

/// What it comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Right(User),
    Wrong,
    /// Too many are waiting.
    Busy,
}

type Tag = [u8; 32];

/// The process's.
pub struct Logins {
    key: hmac::Key,
    remembered: Mutex<LruCache<Tag, Instant>>,
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_of: Mutex<HashMap<Network, usize>>,
}

impl std::fmt::Debug for Logins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Logins")
    }
}

impl Logins {
    /// # Panics
    /// Where the system gives no randomness; nothing of TLS would work either.
    pub fn new() -> Logins {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).expect("the system's random numbers");
        Logins {
            key,
            remembered: Mutex::new(LruCache::new(NonZeroUsize::new(MOST_REMEMBERED).expect("not zero"))),
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: AtomicUsize::new(0),
            waiting_of: Mutex::default(),
        }
    }

    /// What these fields of `client` show to this login.
    pub fn look(&self, auth: &BasicAuth, headers: &HeaderMap, client: IpAddr, now: Instant) -> Shown {
        let mut fields = headers.get_all(header::AUTHORIZATION).iter();
        // Two of them are two claims.
        let (Some(field), None) = (fields.next(), fields.next()) else { return Shown::Nothing };
        let Some((name, password)) = basic::parse(field.as_bytes()) else { return Shown::Nothing };
        let user = auth.users.iter().find(|user| *user.name == *name).cloned();
        let Some(decoy) = auth.users.first().cloned() else { return Shown::Nothing };
        let tag = self.tag(user.as_ref().unwrap_or(&decoy), &name, &password, client.into());
        if let Some(user) = &user
            && lock(&self.remembered).get(&tag).is_some_and(|at| now.saturating_duration_since(*at) < REMEMBERED)
        {
            return Shown::Known(user.clone());
        }
        Shown::Question(Box::new(Question { user, decoy, password, tag }))
    }

    /// Computes the hash, elsewhere.
    pub async fn answer(&self, question: Question, client: IpAddr, now: Instant) -> Answer {
        let Some(_place) = self.place(client.into()) else { return Answer::Busy };
        let Ok(permit) = self.slots.clone().acquire_owned().await else { return Answer::Busy };
        let Question { user, decoy, password, tag } = question;
        let computed = tokio::task::spawn_blocking(move || {
            // Whoever asked may be gone; the place is taken until it is done.
            let _permit = permit;
            let hash = user.as_ref().unwrap_or(&decoy).hash.clone();
            let right =
                password.len() <= LONGEST_PASSWORD && Argon2::default().verify_password(&password, hash.phc()).is_ok();
            user.filter(|_| right)
        });
        match computed.await {
            Ok(Some(user)) => {
                lock(&self.remembered).put(tag, now);
                Answer::Right(user)
            }
            Ok(None) => Answer::Wrong,
            Err(_) => Answer::Busy,
        }
    }

    fn tag(&self, user: &User, name: &str, password: &[u8], client: Network) -> Tag {
        let mut tag = hmac::Context::with_key(&self.key);
        for part in [user.hash.text().as_bytes(), name.as_bytes(), password, &client.to_be_bytes()] {
            tag.update(&(part.len() as u64).to_be_bytes());
            tag.update(part);
        }
        tag.sign().as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
    }

    fn place(&self, client: Network) -> Option<Place<'_>> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let mut of_client = lock(&self.waiting_of);
        let waiting = of_client.entry(client).or_default();
        if *waiting >= WAITING_OF_CLIENT {
            drop(of_client);
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        *waiting += 1;
        drop(of_client);
        Some(Place { logins: self, client })
    }
}

impl Default for Logins {
    fn default() -> Logins {
        Logins::new()
    }
}

/// A place among those that wait.
struct Place<'a> {
    logins: &'a Logins,
    client: Network,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut of_client = lock(&self.logins.waiting_of);
        if let Some(waiting) = of_client.get_mut(&self.client) {
            *waiting -= 1;
            if *waiting == 0 {
                of_client.remove(&self.client);
            }
        }
        drop(of_client);
        self.logins.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The line for the configuration, by OWASP's parameters (19 MiB, two passes).
///
/// # Errors
/// Where the system gives no randomness for the salt.
pub fn hash(password: &[u8]) -> Result<String, argon2::password_hash::Error> {
    let hash: phc::PasswordHash = Argon2::default().hash_password(password)?;
    Ok(hash.to_string())
}

/// What these locks guard is valid at every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
