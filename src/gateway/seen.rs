//! The device keys that connected lately: what `clawgate pin` lists. Keys are public, and nothing else is kept.
//!
//! Only keys whose signature was good get here, and the table is small: a flood of fresh keys pushes out its own kind
//! before one that the gateway has approved.

use std::{net::IpAddr, time::SystemTime};

use super::pin::Shown;

/// Most keys remembered.
pub const MOST_SEEN: usize = 64;

/// Longest word kept of what a client says of itself, in bytes.
const LONGEST_TEXT: usize = 64;
/// Most scopes kept; the gateway knows about ten.
const MOST_SCOPES: usize = 32;

/// What became of a key's last `connect`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Approved,
    /// The gateway wants a person to approve it.
    NotPaired,
    /// Not passed on: the name of the reason.
    Refused(&'static str),
}

/// A key, and its last `connect`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub shown: Shown,
    pub address: IpAddr,
    pub at: SystemTime,
    pub outcome: Outcome,
}

/// The keys, the last one first.
#[derive(Debug, Default)]
pub struct SeenKeys(Vec<Seen>);

impl SeenKeys {
    pub fn note(&mut self, mut seen: Seen) {
        let Shown { key, client, mode, role, scopes, .. } = &mut seen.shown;
        scopes.truncate(MOST_SCOPES);
        for text in [key, client, mode, role].into_iter().chain(scopes) {
            if text.len() > LONGEST_TEXT {
                *text = text[..text.floor_char_boundary(LONGEST_TEXT)].into();
            }
        }
        self.0.retain(|other| other.shown.id != seen.shown.id);
        if self.0.len() >= MOST_SEEN {
            let last = |approved: bool| self.0.iter().rposition(|s| (s.outcome == Outcome::Approved) == approved);
            if let Some(least) = last(false).or_else(|| last(true)) {
                self.0.remove(least);
            }
        }
        self.0.insert(0, seen);
    }

    pub fn all(&self) -> &[Seen] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::DeviceId;

    fn seen(key: u32, outcome: Outcome) -> Seen {
        let shown = Shown {
            id: DeviceId::of(&key.to_be_bytes()),
            key: "key".into(),
            client: "gateway-client".into(),
            mode: "backend".into(),
            role: "operator".into(),
            scopes: Vec::new(),
        };
        Seen { shown, address: [203, 0, 113, 7].into(), at: SystemTime::UNIX_EPOCH, outcome }
    }

    #[test]
    fn a_key_is_listed_once_and_the_last_one_first() {
        let mut keys = SeenKeys::default();
        keys.note(seen(1, Outcome::NotPaired));
        keys.note(seen(2, Outcome::Approved));
        keys.note(seen(1, Outcome::Approved));
        let ids: Vec<_> = keys.all().iter().map(|seen| seen.shown.id).collect();
        assert_eq!(ids, [seen(1, Outcome::Approved), seen(2, Outcome::Approved)].map(|seen| seen.shown.id));
        assert_eq!(keys.all()[0].outcome, Outcome::Approved);
    }

    #[test]
    fn what_a_client_says_of_itself_is_kept_in_bounds() {
        let mut keys = SeenKeys::default();
        let mut large = seen(1, Outcome::Approved);
        large.shown.client = "é".repeat(10_000).into();
        large.shown.scopes = vec!["x".repeat(10_000).into(); 1000];
        keys.note(large);
        let shown = &keys.all()[0].shown;
        assert_eq!((shown.client.len(), shown.scopes.len(), shown.scopes[0].len()), (64, MOST_SCOPES, LONGEST_TEXT));
    }

    #[test]
    fn a_flood_of_fresh_keys_is_bounded_and_forgets_no_approved_one() {
        let mut keys = SeenKeys::default();
        keys.note(seen(0, Outcome::Approved));
        for key in 1..1000 {
            keys.note(seen(key, Outcome::Refused("not_pinned")));
        }
        assert_eq!(keys.all().len(), MOST_SEEN);
        assert!(keys.all().iter().any(|s| s.shown.id == seen(0, Outcome::Approved).shown.id));
        for key in 1000..2000 {
            keys.note(seen(key, Outcome::Approved));
        }
        assert_eq!((keys.all().len(), keys.all()[0].shown.id), (MOST_SEEN, seen(1999, Outcome::Approved).shown.id));
    }
}
