//! After 101: raw bytes both ways, half-close kept, an observer that looks at frame headers only.
//!
//! A tunnel owns no buffer while it is idle: it reads into its core's scratch space and keeps only what the other side
//! would not take at once.

use std::{
    future::poll_fn,
    io,
    net::IpAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use super::{
    behind::Gateway,
    core::{Core, Listening, Stage},
};
use crate::gateway::{
    answer::Answer,
    frames::{self, Close, Side},
    observe::{Observed, Observer},
    places::Place,
    translate::{Seen, Situation, translate},
};
use crate::headers::identity::Identity;

/// How long the peers have to answer our close frame, or to reach the end of a frame under way.
pub const CLOSE_GRACE: Duration = Duration::from_secs(5);
/// After one side ended, the other may be silent this long.
const HALF_CLOSED_IDLE: Duration = Duration::from_secs(75);
/// Reads of one poll, so that one busy tunnel does not starve its core.
const TURNS: usize = 16;

/// A close frame of ours and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goodbye {
    /// 1001: the proxy is going away.
    Draining,
    /// 1008: the rule that admitted this tunnel is gone.
    PolicyChanged,
}

impl Goodbye {
    pub fn code(self) -> u16 {
        match self {
            Goodbye::Draining => 1001,
            Goodbye::PolicyChanged => 1008,
        }
    }

    pub fn reason(self) -> &'static str {
        match self {
            Goodbye::Draining => "proxy stopping",
            Goodbye::PolicyChanged => "policy changed",
        }
    }
}

/// How a tunnel ended, for its record.
#[derive(Debug, Default)]
pub struct Ended {
    pub from_client: u64,
    pub from_upstream: u64,
    pub close: Option<(Side, Close)>,
    pub goodbye: Option<Goodbye>,
    pub error: Option<io::Error>,
}

/// What the tunnel does for the gateway's sake.
pub struct Watching {
    pub client: IpAddr,
    pub place: Option<Place>,
    pub gateway: Option<std::sync::Arc<Gateway>>,
    /// As whom it went there.
    pub identity: Identity,
    /// Why it did not.
    pub attributed: Option<String>,
    /// The host as the client wrote it.
    pub host: Box<str>,
    /// The operator was told what the gateway did not like.
    pub told: bool,
}

/// Carries bytes until both sides have ended. `admitted` says whether the rule that let this tunnel in still holds; it
/// is asked again after every reload.
pub async fn run<C, U>(
    core: Rc<Core>,
    client: (C, Bytes),
    upstream: (U, Bytes),
    mut watching: Watching,
    admitted: impl Fn() -> bool,
) -> Ended
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let listening = core.listen();
    let mut tunnel = Tunnel {
        client: client.0,
        upstream: upstream.0,
        up: Way::default(),
        down: Way::default(),
        observer: Observer::new(),
        ended: Ended::default(),
        generation: core.generation(),
        stopping: None,
        timer: None,
    };
    tunnel.seed(&core, &client.1, &upstream.1, &mut watching);
    poll_fn(|cx| tunnel.poll(cx, &core, &listening, &mut watching, &admitted)).await;
    tunnel.ended
}

struct Tunnel<C, U> {
    client: C,
    upstream: U,
    up: Way,
    down: Way,
    observer: Observer,
    ended: Ended,
    generation: u64,
    stopping: Option<Stopping>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// One direction.
#[derive(Default)]
struct Way {
    /// Read, not yet taken by the other side.
    pending: Vec<u8>,
    sent: usize,
    read_ended: bool,
    shut: bool,
    /// Bytes were written and not flushed yet.
    dirty: bool,
}

impl Way {
    fn waiting(&self) -> &[u8] {
        &self.pending[self.sent..]
    }

    fn is_empty(&self) -> bool {
        self.sent == self.pending.len()
    }

    fn advance(&mut self, n: usize) {
        self.sent += n;
        if self.is_empty() {
            // An idle tunnel keeps no buffer.
            self.pending = Vec::new();
            self.sent = 0;
        }
    }
}

/// Saying goodbye: first to each side at its next frame boundary, then the grace for their answers.
struct Stopping {
    goodbye: Goodbye,
    told_client: bool,
    told_upstream: bool,
}

impl<C, U> Tunnel<C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    /// What came right behind the two heads (pipelined first bytes) goes first.
    fn seed(&mut self, core: &Core, from_client: &[u8], from_upstream: &[u8], watching: &mut Watching) {
        if !from_client.is_empty() {
            observe(core, &mut self.observer, Side::Client, from_client, watching, &mut self.ended);
            self.up.pending.extend_from_slice(from_client);
        }
        if !from_upstream.is_empty() {
            observe(core, &mut self.observer, Side::Gateway, from_upstream, watching, &mut self.ended);
            self.down.pending.extend_from_slice(from_upstream);
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        core: &Rc<Core>,
        listening: &Listening,
        watching: &mut Watching,
        admitted: &impl Fn() -> bool,
    ) -> Poll<()> {
        listening.register(cx);
        if self.stopping.is_none() {
            if core.stage() == Stage::Closing {
                self.stop(Goodbye::Draining);
            } else if core.generation() != self.generation {
                self.generation = core.generation();
                if !admitted() {
                    self.stop(Goodbye::PolicyChanged);
                }
            }
        }
        let mut turns = TURNS;
        loop {
            let mut moved = false;
            {
                let mut scratch = core.scratch.borrow_mut();
                for side in [Side::Client, Side::Gateway] {
                    let Tunnel { client, upstream, up, down, observer, ended, .. } = self;
                    // Seen before it is passed on: who acts on an answer at once finds it counted.
                    let mut seen = |bytes: &[u8]| observe(core, observer, side, bytes, watching, ended);
                    let result = match side {
                        Side::Client => pump(cx, client, upstream, up, &mut scratch, &mut seen),
                        Side::Gateway => pump(cx, upstream, client, down, &mut scratch, &mut seen),
                    };
                    match result {
                        Ok(read) => moved |= read,
                        Err(error) => {
                            self.ended.error = Some(error);
                            return Poll::Ready(());
                        }
                    }
                }
            }
            let added = self.say_goodbye();
            if self.up.shut && self.down.shut {
                return if self.stopping.is_some() { self.poll_client_gone(cx, core) } else { Poll::Ready(()) };
            }
            if !moved && !added {
                break;
            }
            if moved && (self.up.read_ended || self.down.read_ended) {
                self.arm_half_closed();
            }
            turns -= 1;
            if turns == 0 {
                cx.waker().wake_by_ref();
                break;
            }
        }
        if (self.up.read_ended || self.down.read_ended) && self.timer.is_none() {
            self.arm_half_closed();
        }
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    /// After our goodbye: reads until the client has answered and gone, or its grace is over. Closing on an answer that
    /// nobody has read would reset the connection, and the client might lose the goodbye by it.
    fn poll_client_gone(&mut self, cx: &mut Context<'_>, core: &Core) -> Poll<()> {
        let mut scratch = core.scratch.borrow_mut();
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.client).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(cx),
            None => Poll::Ready(()),
        }
    }

    fn stop(&mut self, goodbye: Goodbye) {
        self.ended.goodbye = Some(goodbye);
        self.stopping = Some(Stopping { goodbye, told_client: false, told_upstream: false });
        self.timer = Some(Box::pin(tokio::time::sleep(CLOSE_GRACE)));
    }

    fn arm_half_closed(&mut self) {
        if self.stopping.is_none() {
            let at = Instant::now() + HALF_CLOSED_IDLE;
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(at),
                None => self.timer = Some(Box::pin(tokio::time::sleep_until(at))),
            }
        }
    }

    /// Puts our close frame behind the last whole frame of each direction, and ends that direction there.
    /// Whether one was added.
    fn say_goodbye(&mut self) -> bool {
        let Some(stopping) = &mut self.stopping else { return false };
        let mut added = false;
        let (code, reason) = (stopping.goodbye.code(), stopping.goodbye.reason());
        if !stopping.told_client && !self.down.read_ended && self.observer.frames(Side::Gateway).at_boundary() {
            stopping.told_client = true;
            self.down.pending.extend_from_slice(&frames::close_frame(code, reason, None));
            self.down.read_ended = true;
            added = true;
        }
        if !stopping.told_upstream && !self.up.read_ended && self.observer.frames(Side::Client).at_boundary() {
            stopping.told_upstream = true;
            let mask = self.ended.from_client.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
            let mask = [mask[4], mask[5], mask[6], mask[7]];
            self.up.pending.extend_from_slice(&frames::close_frame(code, reason, Some(mask)));
            self.up.read_ended = true;
            added = true;
        }
        added
    }
}

/// Moves bytes one way; whether any were read. `seen` gets what was read before it is passed on.
fn pump<R, W>(
    cx: &mut Context<'_>,
    from: &mut R,
    to: &mut W,
    way: &mut Way,
    scratch: &mut [u8],
    seen: &mut impl FnMut(&[u8]),
) -> io::Result<bool>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    while !way.is_empty() {
        match Pin::new(&mut *to).poll_write(cx, way.waiting())? {
            Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(n) => {
                way.advance(n);
                way.dirty = true;
            }
            Poll::Pending => return Ok(false),
        }
    }
    let mut read = false;
    if !way.read_ended {
        let mut buf = ReadBuf::new(scratch);
        match Pin::new(from).poll_read(cx, &mut buf)? {
            Poll::Ready(()) if buf.filled().is_empty() => way.read_ended = true,
            Poll::Ready(()) => {
                let n = buf.filled().len();
                read = true;
                let mut rest = &scratch[..n];
                seen(rest);
                while !rest.is_empty() {
                    match Pin::new(&mut *to).poll_write(cx, rest)? {
                        Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                        Poll::Ready(sent) => {
                            rest = &rest[sent..];
                            way.dirty = true;
                        }
                        Poll::Pending => {
                            way.pending.extend_from_slice(rest);
                            break;
                        }
                    }
                }
            }
            Poll::Pending => {}
        }
    }
    // Flushed when there is no more to read at once: TLS records coalesce under load.
    if way.dirty && !read && Pin::new(&mut *to).poll_flush(cx)?.is_ready() {
        way.dirty = false;
    }
    if way.read_ended && way.is_empty() && !way.shut && Pin::new(to).poll_shutdown(cx)?.is_ready() {
        way.shut = true;
    }
    Ok(read)
}

fn observe(core: &Core, observer: &mut Observer, side: Side, bytes: &[u8], watching: &mut Watching, ended: &mut Ended) {
    let n = bytes.len() as u64;
    match side {
        Side::Client => {
            ended.from_client += n;
            core.counters.tunnel_bytes_up.add(n);
        }
        Side::Gateway => {
            ended.from_upstream += n;
            core.counters.tunnel_bytes_down.add(n);
        }
    }
    let on = |event| match event {
        Observed::Challenged => {}
        // Whatever the gateway says first instead, it is not waiting for a login: no place is held for it.
        Observed::NotChallenged => watching.place = None,
        Observed::Answered(answer) => watching.answered(core, &answer),
        Observed::Closed { by, close } => {
            watching.trouble(core, Seen::Closed { by, close: &close });
            ended.close = Some((by, close));
        }
    };
    match side {
        Side::Client => observer.client_sent(bytes, on),
        Side::Gateway => observer.gateway_sent(bytes, on),
    }
}

impl Watching {
    fn answered(&mut self, core: &Core, answer: &Answer) {
        if let Some(place) = self.place.take() {
            place.answered(matches!(answer, Answer::Approved(_)));
        }
        let Some(gateway) = self.gateway.clone() else { return };
        let loopback = self.identity == Identity::Loopback;
        let answers = &core.counters.connects[self.identity as usize];
        match answer {
            Answer::Approved(approval) => {
                answers[0].add(1);
                gateway.says_version(approval.version.as_deref());
                if loopback {
                    gateway.approved(self.client);
                }
            }
            Answer::Refused(refusal) => {
                answers[1].add(1);
                if loopback && refusal.counts_against_client() && gateway.refused(self.client) {
                    tracing::warn!(
                        client = %self.client,
                        "the gateway refused five connects of this client: it is attributed for the next ten minutes"
                    );
                }
                self.trouble(core, Seen::Refused(refusal));
            }
            Answer::Unknown => answers[2].add(1),
        }
    }

    /// Tells the operator what the gateway means, once for each tunnel: a close frame after a refusal says the same
    /// again.
    fn trouble(&mut self, core: &Core, seen: Seen<'_>) {
        if self.gateway.is_none() || self.told {
            return;
        }
        let at = Situation { host: &self.host, attributed: self.attributed.as_deref() };
        if let Some(cause) = translate(seen, &at) {
            self.told = true;
            core.gateway_says(cause, self.client.to_string());
        }
    }
}
