//! After 101: raw bytes both ways, half-close kept, an observer that looks at frame headers only.
//!
//! A tunnel owns no buffer while it is idle: it reads into its core's scratch space and keeps only what the other side
//! would not take at once.

mod goodbye;
mod pump;
mod watching;

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

pub use self::goodbye::Goodbye;
pub use self::watching::{Key, Watching};
use self::{
    pump::{Way, pump},
    watching::Verdict,
};
use super::{
    admitted::Admitted,
    core::{Core, Listening, Stage},
};
use crate::gateway::{
    frames::{self, Close, Side},
    observe::Observer,
    pin::Unverified,
};

/// How long the peers have to answer our close frame, or to reach the end of a frame under way.
pub const CLOSE_GRACE: Duration = Duration::from_secs(5);
/// After one side ended, the other may be silent this long.
const HALF_CLOSED_IDLE: Duration = Duration::from_secs(75);
/// How long a client has to show its device key. The gateway's own patience is 3 s (2026.3.13) to 15 s (2026.9.6), and its
/// close comes first where it is shorter.
const SHOW_WITHIN: Duration = Duration::from_secs(15);
/// How long a stranger has to say so, from the gateway's challenge on: its place at the gateway is one that others need.
const SPEAK_WITHIN: Duration = Duration::from_secs(5);
/// Reads of one poll, so that one busy tunnel does not starve its core.
const TURNS: usize = 16;

/// How a tunnel ended, for its record.
#[derive(Debug, Default)]
pub struct Ended {
    pub from_client: u64,
    pub from_upstream: u64,
    pub close: Option<(Side, Close)>,
    pub goodbye: Option<Goodbye>,
    pub error: Option<io::Error>,
}

/// Carries bytes until both sides have ended. `admitted` says whether the rule that let this tunnel in still holds; it
/// is asked again after every reload. With a gate in `watching`, the client's first message waits for its verdict.
///
/// No `async fn`, which would hold its arguments twice, and what had been read of either side for as long as it runs.
pub fn run<C, U>(
    core: Rc<Core>,
    client: (C, Bytes),
    upstream: (U, Bytes),
    mut watching: Box<Watching>,
    admitted: Box<Admitted>,
) -> impl Future<Output = Ended>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let show_within = if watching.stranger { SPEAK_WITHIN } else { SHOW_WITHIN };
    let (client, from_client) = client;
    let (upstream, from_upstream) = upstream;
    let mut tunnel = Tunnel {
        client,
        upstream,
        up: Way::default(),
        down: Way::default(),
        observer: match (&watching.gate, &watching.gateway) {
            // The gate reads the first message itself.
            (None, Some(_)) => Observer::of_gateway(),
            _ => Observer::new(),
        },
        ended: Ended::default(),
        generation: core.generation(),
        stopping: None,
        holding: watching.gate.is_some(),
        timer: watching.gate.is_some().then(|| Box::pin(tokio::time::sleep(show_within))),
        silent: None,
        stuck: None,
    };
    tunnel.seed(&core, &from_client, &from_upstream, &mut watching);
    let listening = core.listen();
    poll_fn(move |cx| {
        tunnel.poll(cx, &core, &listening, &mut watching, &admitted).map(|()| std::mem::take(&mut tunnel.ended))
    })
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
    /// The client's first message is awaited, and the timer is its deadline.
    holding: bool,
    timer: Option<Pin<Box<Sleep>>>,
    /// Until when a stranger has to say who it is.
    silent: Option<Pin<Box<Sleep>>>,
    /// Something waits for a client that took so much of it when the timer was set.
    stuck: Option<(Pin<Box<Sleep>>, u64)>,
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
        if !from_client.is_empty()
            && watching::client_sent(core, &mut self.observer, from_client, watching, &mut self.ended)
        {
            self.up.pending.extend_from_slice(from_client);
        }
        if !from_upstream.is_empty() {
            watching::gateway_sent(core, &mut self.observer, from_upstream, watching, &mut self.ended);
            self.down.pending.extend_from_slice(from_upstream);
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        core: &Rc<Core>,
        listening: &Listening,
        watching: &mut Watching,
        admitted: &Admitted,
    ) -> Poll<()> {
        listening.register(cx);
        if self.stopping.is_none() {
            if core.stage() == Stage::Closing {
                self.stop(Goodbye::Draining);
            } else if core.generation() != self.generation {
                self.generation = core.generation();
                if !admitted.still_holds(core, &core.snapshot(), watching) {
                    self.stop(Goodbye::PolicyChanged);
                }
            }
        }
        let mut turns = TURNS;
        loop {
            // Before anything more is read: what was held goes first.
            let verdict = watching.verdict.take();
            let mut moved = verdict.is_some();
            if let Some(verdict) = verdict {
                self.obey(verdict, watching, core);
            }
            {
                let mut scratch = core.scratch.borrow_mut();
                for side in [Side::Client, Side::Gateway] {
                    let Tunnel { client, upstream, up, down, observer, ended, .. } = self;
                    // Seen before it is passed on: who acts on an answer at once finds it counted.
                    let result = match side {
                        Side::Client => pump(cx, client, upstream, up, &mut scratch, &mut |bytes| {
                            watching::client_sent(core, observer, bytes, watching, ended)
                        }),
                        Side::Gateway => pump(cx, upstream, client, down, &mut scratch, &mut |bytes| {
                            watching::gateway_sent(core, observer, bytes, watching, ended);
                            true
                        }),
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
            if self.holding && self.up.read_ended {
                // Nothing is to come that could be verified, and a place at the gateway is kept for nobody.
                watching.verdict.get_or_insert(Verdict::Refuse(Unverified::Closed));
                moved = true;
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
        if self.poll_silent(cx, core, watching).is_ready() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.poll_stuck(cx, core).is_ready() {
            self.ended.error = Some(io::Error::new(io::ErrorKind::TimedOut, "the client takes no bytes"));
            return Poll::Ready(());
        }
        if (self.up.read_ended || self.down.read_ended) && self.timer.is_none() {
            self.arm_half_closed();
        }
        match &mut self.timer {
            Some(timer) => ready!(timer.as_mut().poll(cx)),
            None => return Poll::Pending,
        }
        if self.holding {
            watching.verdict = Some(Verdict::Refuse(Unverified::Late));
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Ready, once, when a stranger has said nothing for too long.
    fn poll_silent(&mut self, cx: &mut Context<'_>, core: &Core, watching: &Watching) -> Poll<()> {
        if self.stopping.is_some() || !watching.stranger || !self.observer.is_client_awaited() {
            self.silent = None;
            return Poll::Pending;
        }
        let silent = self.silent.get_or_insert_with(|| Box::pin(tokio::time::sleep(SPEAK_WITHIN)));
        ready!(silent.as_mut().poll(cx));
        self.silent = None;
        core.counters.silent.add(1);
        self.stop(Goodbye::Silent);
        Poll::Ready(())
    }

    /// Ready when the client has taken nothing of what waits for it for too long. TCP notices that by itself, but for a
    /// stream of HTTP/2, whose window the client may keep shut while its connection lives.
    ///
    /// The timer stays where it is when the client takes something, and is looked at when it fires: a tunnel under load
    /// waits many times a second.
    fn poll_stuck(&mut self, cx: &mut Context<'_>, core: &Core) -> Poll<()> {
        if self.stuck.is_none() && self.down.is_empty() {
            return Poll::Pending;
        }
        let limit = core.snapshot().config.limits.idle_timeout;
        let taken = self.down.taken();
        let (timer, before) = self.stuck.get_or_insert_with(|| (Box::pin(tokio::time::sleep(limit)), taken));
        while timer.as_mut().poll(cx).is_ready() {
            if self.down.is_empty() {
                self.stuck = None;
                return Poll::Pending;
            }
            if *before == taken {
                return Poll::Ready(());
            }
            *before = taken;
            timer.as_mut().reset(Instant::now() + limit);
        }
        Poll::Pending
    }

    /// What the gate has decided.
    fn obey(&mut self, verdict: Verdict, watching: &mut Watching, core: &Core) {
        match verdict {
            Verdict::Pass(held) => {
                (self.holding, self.timer) = (false, None);
                self.up.pending.extend_from_slice(&held);
            }
            // Nothing of the client's reaches the gateway, and nothing is said there in its name.
            Verdict::Refuse(why) => {
                watching.refused(why, core);
                self.stop(Goodbye::Unverified(why));
                self.up.cut();
                if let Some(stopping) = &mut self.stopping {
                    stopping.told_upstream = true;
                }
            }
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
        self.holding = false;
        self.stopping = Some(Stopping { goodbye, told_client: false, told_upstream: false });
        self.timer = Some(Box::pin(tokio::time::sleep(CLOSE_GRACE)));
    }

    fn arm_half_closed(&mut self) {
        if self.stopping.is_none() && !self.holding {
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
        if stopping.told_client && stopping.told_upstream {
            return false;
        }
        let (code, reason) = (stopping.goodbye.code(), stopping.goodbye.reason());
        if !stopping.told_client && !self.down.read_ended && self.observer.frames(Side::Gateway).at_boundary() {
            stopping.told_client = true;
            self.down.pending.extend_from_slice(&frames::close_frame(code, &reason, None));
            self.down.read_ended = true;
            added = true;
        }
        if !stopping.told_upstream && !self.up.read_ended && self.observer.frames(Side::Client).at_boundary() {
            stopping.told_upstream = true;
            let mask = self.ended.from_client.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
            let mask = [mask[4], mask[5], mask[6], mask[7]];
            self.up.pending.extend_from_slice(&frames::close_frame(code, &reason, Some(mask)));
            self.up.read_ended = true;
            added = true;
        }
        added
    }
}

#[cfg(test)]
mod tests {
    use super::{super::io::ClientIo, *};
    use crate::socket::Tcp;

    fn size_of_future<A, B, C, D, E, F>(_: impl FnOnce(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }

    /// Nothing but this, what TLS keeps and two sockets is what an idle WebSocket costs.
    #[test]
    fn the_future_of_a_tunnel_stays_small() {
        let size = size_of_future(run::<ClientIo, Tcp>);
        assert!(size <= 1024, "{size} bytes");
    }
}
