//! Pinned device keys: the client's first message is held until it has shown one.
//!
//! ```text
//! gateway                        we                            client
//!    | event connect.challenge ->| ---------------------------> |     the nonce is kept
//!    |                           | <------- req connect, signed |     Holding: nothing of it goes on
//!    | <------- the same bytes   |                              |     Shown: control frames go on
//!    | res ok:true ------------->| ---------------------------> |     over: the tunnel forgets the gate
//!    | res ok:false ------------>| ---------------------------> |     still Shown: a second try is none of ours
//! ```
//!
//! The [`Gate`] decides about bytes and knows neither sockets nor clocks. Until the `connect` is approved no second
//! message of the client goes on: the gateway works on it for a while, and would take another one meanwhile, or after
//! its refusal, for a first.

mod message;

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use zeroize::Zeroizing;

use super::{
    device::{self, Connect, DeviceError},
    frames::{Event, Opcode, Scanner, Side, Violation},
    masked::Masked,
};
use crate::config::model::{DeviceId, PinnedKey};

/// The longest message that is held, in bytes; the gateway takes no longer one before its answer.
pub const MOST_HELD: usize = 64 * 1024;
/// What frame headers and control frames may add to it.
pub const MOST_FRAMING: usize = 16 * 1024;

/// Why a connection does not get to the gateway. The text goes to the client in a close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    #[error("no connect in time")]
    Late,
    #[error("closed before connect")]
    Closed,
    #[error("first message too large")]
    TooLarge,
    #[error("{0}")]
    Frames(Violation),
    #[error("frame with extension bits")]
    Extension,
    #[error("first message is not text")]
    NotText,
    #[error("first message is not UTF-8")]
    NotUtf8,
    #[error("first message is not one JSON object")]
    NotJson,
    #[error("first message has a member twice")]
    MemberTwice,
    #[error("first message is not a connect request")]
    NotConnect,
    #[error("connect without a device identity")]
    NoDevice,
    #[error("no challenge to sign")]
    NoChallenge,
    #[error("{0}")]
    Device(DeviceError),
    #[error("device key is not pinned here")]
    NotPinned,
    #[error("device key is not accepted from this address")]
    Address,
    #[error("role is not operator")]
    Role,
    #[error("scopes beyond those of the device key")]
    Scopes,
    #[error("second message before connect was approved")]
    Second,
}

impl Unverified {
    /// Every [`Unverified::name`].
    pub const NAMES: [&str; 18] = [
        "late",
        "closed",
        "too_large",
        "frames",
        "extension",
        "not_text",
        "not_utf8",
        "not_json",
        "member_twice",
        "not_connect",
        "no_device",
        "no_challenge",
        "device",
        "not_pinned",
        "address",
        "role",
        "scopes",
        "second_message",
    ];

    /// A stable name for logs and labels.
    pub fn name(self) -> &'static str {
        match self {
            Unverified::Late => "late",
            Unverified::Closed => "closed",
            Unverified::TooLarge => "too_large",
            Unverified::Frames(_) => "frames",
            Unverified::Extension => "extension",
            Unverified::NotText => "not_text",
            Unverified::NotUtf8 => "not_utf8",
            Unverified::NotJson => "not_json",
            Unverified::MemberTwice => "member_twice",
            Unverified::NotConnect => "not_connect",
            Unverified::NoDevice => "no_device",
            Unverified::NoChallenge => "no_challenge",
            Unverified::Device(_) => "device",
            Unverified::NotPinned => "not_pinned",
            Unverified::Address => "address",
            Unverified::Role => "role",
            Unverified::Scopes => "scopes",
            Unverified::Second => "second_message",
        }
    }
}

/// Where a client comes from, as far as a fence may go by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    pub address: IpAddr,
    /// Two fields of a trusted proxy contradict each other about it.
    pub disputed: bool,
}

impl Origin {
    fn is_inside(&self, networks: &[IpNet]) -> bool {
        let address = self.address.to_canonical();
        networks.is_empty() || !self.disputed && networks.iter().any(|network| network.contains(&address))
    }
}

/// What a client has proven and asked for. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub id: DeviceId,
    /// The raw key, base64url, as a configuration takes it.
    pub key: Box<str>,
    pub client: Box<str>,
    pub mode: Box<str>,
    pub role: Box<str>,
    pub scopes: Vec<Box<str>>,
}

impl Shown {
    /// What a `connect` says of itself; `None` if that is no key. Whether it is the client's own is another question.
    fn of(connect: &Connect) -> Option<Shown> {
        let device = connect.device.as_ref()?;
        Some(Shown {
            id: DeviceId::of(&device.key()?),
            key: device.public_key.trim_end_matches('=').into(),
            client: connect.client.id.as_str().into(),
            mode: connect.client.mode.as_str().into(),
            role: connect.role.as_str().into(),
            scopes: connect.scopes.iter().map(|scope| scope.as_str().into()).collect(),
        })
    }

    /// The same of a client's first message.
    pub fn read(text: &[u8]) -> Option<Shown> {
        message::read(text).ok().as_ref().and_then(Shown::of)
    }
}

/// Which of `keys` admits who has shown this, from there.
pub fn admits<'k>(keys: &'k [PinnedKey], shown: &Shown, origin: Origin) -> Result<&'k PinnedKey, Unverified> {
    let key = keys.iter().find(|key| key.id == shown.id).ok_or(Unverified::NotPinned)?;
    if !origin.is_inside(&key.clients) {
        return Err(Unverified::Address);
    }
    if &*shown.role != "operator" {
        return Err(Unverified::Role);
    }
    let within = |most: &Vec<Box<str>>| shown.scopes.iter().all(|scope| most.contains(scope));
    if !key.scopes.as_ref().is_none_or(within) {
        return Err(Unverified::Scopes);
    }
    Ok(key)
}

/// What shall happen to the client's bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// They are kept.
    Hold,
    /// These go on: all that was kept.
    Pass(Zeroizing<Vec<u8>>),
    /// They go on as they are.
    Along,
    Refuse(Unverified),
}

/// One tunnel's client in front of one list of keys.
#[derive(Debug)]
pub struct Gate {
    keys: Arc<[PinnedKey]>,
    origin: Origin,
    nonce: Option<Box<str>>,
    frames: Scanner,
    state: State,
    /// Known once the signature was good, pinned or not.
    shown: Option<Box<Shown>>,
    /// The name of the key that was found.
    name: Option<Arc<str>>,
}

#[derive(Debug)]
enum State {
    Holding(Held),
    /// Verified and passed on; the gateway has not approved it.
    Passed,
    Refused,
}

/// The client's bytes so far, and the first message in them. A token is among them, so nothing of it stays in memory.
#[derive(Debug, Default)]
struct Held {
    raw: Zeroizing<Vec<u8>>,
    text: Zeroizing<Vec<u8>>,
    masked: Masked,
    complete: bool,
    wrong: Option<Unverified>,
}

impl Gate {
    pub fn new(keys: Arc<[PinnedKey]>, origin: Origin) -> Gate {
        let frames = Scanner::new(Side::Client);
        Gate { keys, origin, nonce: None, frames, state: State::Holding(Held::default()), shown: None, name: None }
    }

    /// The gateway's challenge went by. Only the first counts.
    pub fn challenged(&mut self, nonce: &str) {
        self.nonce.get_or_insert_with(|| nonce.into());
    }

    /// Whether the client's first message is still awaited.
    pub fn is_holding(&self) -> bool {
        matches!(self.state, State::Holding(_))
    }

    /// Whether it guards by the same keys.
    pub fn has_keys(&self, keys: &[PinnedKey]) -> bool {
        *self.keys == *keys
    }

    /// What the client has proven, also when that was not enough.
    pub fn shown(&self) -> Option<&Shown> {
        self.shown.as_deref()
    }

    /// The name of the pinned key that it was.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The next bytes of the client.
    pub fn client_sent(&mut self, bytes: &[u8], now_ms: i64) -> Step {
        let Gate { frames, state, .. } = self;
        match state {
            State::Refused => return Step::Hold,
            State::Passed => {
                let mut wrong = None;
                frames.feed(bytes, |event| wrong = wrong.or(beyond_the_first(&event)));
                return wrong.map_or(Step::Along, |why| self.refuse(why));
            }
            State::Holding(held) => {
                make_room(&mut held.raw, bytes.len());
                held.raw.extend_from_slice(bytes);
                frames.feed(bytes, |event| held.see(&event));
                if held.raw.len() > MOST_HELD + MOST_FRAMING {
                    held.wrong = held.wrong.or(Some(Unverified::TooLarge));
                }
                if let Some(why) = held.wrong {
                    return self.refuse(why);
                }
                if !held.complete {
                    return Step::Hold;
                }
            }
        }
        let State::Holding(held) = std::mem::replace(&mut self.state, State::Passed) else { return Step::Hold };
        match self.verify(&held.text, now_ms) {
            Ok(()) => Step::Pass(held.raw),
            Err(why) => self.refuse(why),
        }
    }

    fn refuse(&mut self, why: Unverified) -> Step {
        self.state = State::Refused;
        Step::Refuse(why)
    }

    fn verify(&mut self, text: &[u8], now_ms: i64) -> Result<(), Unverified> {
        let connect = message::read(text)?;
        let device = connect.device.as_ref().ok_or(Unverified::NoDevice)?;
        let nonce = self.nonce.as_deref().ok_or(Unverified::NoChallenge)?;
        device::verify(&connect, device, nonce, now_ms).map_err(Unverified::Device)?;
        let shown = Shown::of(&connect).ok_or(Unverified::Device(DeviceError::Id))?;
        let shown = self.shown.insert(Box::new(shown));
        self.name = self.keys.iter().find(|key| key.id == shown.id).map(|key| key.name.clone());
        admits(&self.keys, shown, self.origin).map(|_| ())
    }
}

/// What must not follow before the approval. A frame that we cannot follow may be one for the gateway all the same.
fn beyond_the_first(event: &Event<'_>) -> Option<Unverified> {
    match event {
        Event::Frame(head) if matches!(head.opcode, Opcode::Text | Opcode::Binary | Opcode::Continuation) => {
            Some(Unverified::Second)
        }
        Event::Violation(violation) => Some(Unverified::Frames(*violation)),
        Event::Frame(_) | Event::Payload(_) | Event::MessageEnd | Event::Close(_) => None,
    }
}

/// As `Vec::reserve`, which would leave behind what it has moved.
fn make_room(kept: &mut Zeroizing<Vec<u8>>, more: usize) {
    let needed = kept.len() + more;
    if needed > kept.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(512).next_power_of_two()));
        larger.extend_from_slice(kept);
        *kept = larger;
    }
}

impl Held {
    fn see(&mut self, event: &Event<'_>) {
        if self.complete {
            self.wrong = self.wrong.or(beyond_the_first(event));
            return;
        }
        let wrong = match event {
            Event::Frame(head) if head.rsv != 0 => Some(Unverified::Extension),
            Event::Frame(head) if head.opcode == Opcode::Binary => Some(Unverified::NotText),
            Event::Frame(head) if head.length > MOST_HELD as u64 => Some(Unverified::TooLarge),
            Event::Frame(head) if matches!(head.opcode, Opcode::Text | Opcode::Continuation) => {
                self.masked.begin(head);
                None
            }
            Event::Frame(_) => None,
            Event::Payload(piece) if self.text.len() + piece.len() > MOST_HELD => Some(Unverified::TooLarge),
            Event::Payload(piece) => {
                make_room(&mut self.text, piece.len());
                self.masked.read(piece, &mut self.text);
                None
            }
            Event::MessageEnd => {
                self.complete = true;
                None
            }
            Event::Close(_) => Some(Unverified::Closed),
            Event::Violation(violation) => Some(Unverified::Frames(*violation)),
        };
        self.wrong = self.wrong.or(wrong);
    }
}

#[cfg(test)]
mod tests;
