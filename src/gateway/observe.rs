//! What a tunnel to a gateway is doing, seen from its bytes without holding one of them back.
//!
//! The shell forwards what it reads and shows it to the [`Observer`] as well. Until the gateway has answered the
//! client's `connect` the observer keeps at most 64 KiB of the gateway's messages; from then on it follows frame headers
//! only, for the moment in which a close frame of ours may be written and for who closed and why.
//!
//! ```text
//! gateway                              client           phase
//!    | event connect.challenge  -------->  |            First -> Challenged (counts as pre-auth)
//!    |  <-------- req connect              |
//!    | event ... (any number)   -------->  |
//!    | res ok:true | ok:false   -------->  |            Challenged -> Settled
//! ```
//!
//! The first `res` after the challenge is the answer: before it, the gateway accepts nothing but one `connect`. Only the
//! gateway's bytes decide anything here; a client cannot pretend to be answered.

use super::{
    answer::{self, Answer, Message},
    frames::{Close, Event, Head, Opcode, Scanner, Side},
    masked::Masked,
    pin::Shown,
};

/// How much of the gateway's messages is kept until its answer, in bytes.
pub const MOST_KEPT: usize = 64 * 1024;
/// How many messages after the challenge are read in search of the answer. The gateway sends a handful at most; who
/// streams instead of answering is not worth reading on.
const MOST_MESSAGES: u8 = 32;

/// What [`Observer::gateway_sent`] and [`Observer::client_sent`] report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    /// The gateway's first message was `connect.challenge`: this tunnel holds one of its pre-auth places until the answer.
    Challenged { nonce: Box<str> },
    /// The gateway's first message was something else: this tunnel was never pre-auth, and no answer will be reported.
    NotChallenged,
    /// The client's first message is a `connect` that names this device key. Whether the key is its own, the answer says.
    /// Only for an [`Observer::of_gateway`].
    Introduced(Box<Shown>),
    /// Reported once, after [`Observed::Challenged`].
    Answered(Answer),
    /// The first close frame on this tunnel, by the side that sent it. The other side's echo is not reported.
    Closed { by: Side, close: Close },
}

/// Both directions of one tunnel.
#[derive(Debug)]
pub struct Observer {
    client: Scanner,
    gateway: Scanner,
    phase: Phase,
    /// The client's first message, until it is complete or there was an answer.
    first: Option<Box<First>>,
    /// A close frame was reported.
    closed: bool,
}

#[derive(Debug)]
enum Phase {
    /// The gateway's first message has not ended yet.
    First { incoming: Incoming },
    /// The challenge went by; `read` messages after it were not the answer.
    Challenged { incoming: Incoming, read: u8 },
    /// Answered, or no gateway.
    Settled,
}

impl Default for Observer {
    fn default() -> Observer {
        Observer {
            client: Scanner::new(Side::Client),
            gateway: Scanner::new(Side::Gateway),
            phase: Phase::First { incoming: Incoming::default() },
            first: None,
            closed: false,
        }
    }
}

impl Observer {
    pub fn new() -> Observer {
        Observer::default()
    }

    /// One that also reads the client's first message.
    pub fn of_gateway() -> Observer {
        Observer { first: Some(Box::default()), ..Observer::default() }
    }

    /// The frames of one direction: where they end, whether a close frame went by.
    pub fn frames(&self, side: Side) -> &Scanner {
        match side {
            Side::Client => &self.client,
            Side::Gateway => &self.gateway,
        }
    }

    /// Whether the gateway challenged and has not answered yet.
    pub fn is_pre_auth(&self) -> bool {
        matches!(self.phase, Phase::Challenged { .. })
    }

    /// Whether the gateway waits for a first message that the client has not sent whole; of one
    /// [`Observer::of_gateway`].
    pub fn is_client_awaited(&self) -> bool {
        self.is_pre_auth() && self.first.is_some()
    }

    /// The next bytes from the gateway.
    #[inline]
    pub fn gateway_sent(&mut self, bytes: &[u8], mut on: impl FnMut(Observed)) {
        let Observer { gateway, phase, first, closed, .. } = self;
        gateway.feed(bytes, |event| match event {
            Event::Close(close) => once(closed, Side::Gateway, close, &mut on),
            event => phase.see(event, &mut on),
        });
        if matches!(phase, Phase::Settled) {
            *first = None;
        }
    }

    /// The next bytes from the client.
    #[inline]
    pub fn client_sent(&mut self, bytes: &[u8], mut on: impl FnMut(Observed)) {
        let Observer { client, first, closed, .. } = self;
        client.feed(bytes, |event| match event {
            Event::Close(close) => once(closed, Side::Client, close, &mut on),
            event => {
                // Over, one way or another: what it said is not kept.
                if let Some(message) = first
                    && !message.see(&event)
                    && let Some(shown) = first.take().and_then(|message| message.read())
                {
                    on(Observed::Introduced(shown));
                }
            }
        });
    }
}

fn once(closed: &mut bool, by: Side, close: Close, on: &mut impl FnMut(Observed)) {
    if !std::mem::replace(closed, true) {
        on(Observed::Closed { by, close });
    }
}

impl Phase {
    /// One event of the gateway's frames. After the answer this is one comparison.
    #[inline]
    fn see(&mut self, event: Event<'_>, on: &mut impl FnMut(Observed)) {
        let incoming = match self {
            Phase::Settled => return,
            Phase::First { incoming } | Phase::Challenged { incoming, .. } => incoming,
        };
        match event {
            Event::Frame(head) => incoming.begin(head),
            Event::Payload(piece) => incoming.keep(piece),
            Event::MessageEnd => {
                let message = incoming.read();
                self.next(message, on);
            }
            // Nothing more will be understood of the gateway: whoever waits for the answer must not wait for ever.
            Event::Violation(_) => self.next(Message::Answer(Answer::Unknown), on),
            Event::Close(_) => {}
        }
    }

    fn next(&mut self, message: Message, on: &mut impl FnMut(Observed)) {
        match (&mut *self, message) {
            (Phase::First { .. }, Message::Challenge { nonce }) => {
                *self = Phase::Challenged { incoming: Incoming::default(), read: 0 };
                on(Observed::Challenged { nonce });
            }
            (Phase::First { .. }, _) => {
                *self = Phase::Settled;
                on(Observed::NotChallenged);
            }
            (Phase::Challenged { .. }, Message::Answer(answer)) => {
                *self = Phase::Settled;
                on(Observed::Answered(answer));
            }
            (Phase::Challenged { read, incoming }, _) if *read < MOST_MESSAGES => {
                *read += 1;
                *incoming = Incoming::default();
            }
            (Phase::Challenged { .. }, _) => {
                *self = Phase::Settled;
                on(Observed::Answered(Answer::Unknown));
            }
            (Phase::Settled, _) => {}
        }
    }
}

/// The gateway's message that is coming in, as much of it as is kept.
#[derive(Debug, Default)]
struct Incoming {
    text: Vec<u8>,
    /// It was longer than what is kept.
    cut: bool,
    /// Its first frame is text, without extension bits: we read no compression.
    readable: bool,
}

impl Incoming {
    fn begin(&mut self, head: Head) {
        match head.opcode {
            Opcode::Text | Opcode::Binary => self.readable = head.opcode == Opcode::Text && head.rsv == 0,
            Opcode::Continuation | Opcode::Close | Opcode::Ping | Opcode::Pong => {}
        }
    }

    fn keep(&mut self, piece: &[u8]) {
        if self.readable {
            let room = MOST_KEPT - self.text.len();
            self.cut |= piece.len() > room;
            self.text.extend_from_slice(&piece[..piece.len().min(room)]);
        }
    }

    fn read(&mut self) -> Message {
        if self.readable { answer::read(&self.text, self.cut) } else { Message::Other }
    }
}

/// The client's first message. It holds the gateway's token, so it is dropped as soon as the key was read from it.
#[derive(Debug, Default)]
struct First {
    text: Vec<u8>,
    masked: Masked,
    complete: bool,
}

impl First {
    /// Whether there is more to come of it.
    fn see(&mut self, event: &Event<'_>) -> bool {
        match event {
            Event::Frame(head) => match head.opcode {
                Opcode::Text | Opcode::Continuation if head.rsv == 0 => self.masked.begin(head),
                Opcode::Text | Opcode::Continuation | Opcode::Binary => return false,
                Opcode::Close | Opcode::Ping | Opcode::Pong => {}
            },
            Event::Payload(piece) if self.text.len() + piece.len() > MOST_KEPT => return false,
            Event::Payload(piece) => self.masked.read(piece, &mut self.text),
            Event::MessageEnd => {
                self.complete = true;
                return false;
            }
            Event::Close(_) | Event::Violation(_) => return false,
        }
        true
    }

    fn read(&self) -> Option<Box<Shown>> {
        if self.complete { Shown::read(&self.text).map(Box::new) } else { None }
    }
}

#[cfg(test)]
mod tests;
