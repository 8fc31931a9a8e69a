//! WebSockets on which the gateway talks: frames come at a fixed rate, and what counts is how late they arrive.
//!
//! The origin is in this process, so both ends read one clock. A frame carries the time at which it was due, not the one
//! at which it was written: who stalls the origin cannot hide it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::{Done, nanos, together, websocket::Echo};

/// As long as a chat token's event.
const FRAME_BYTES: usize = 160;
/// Before an order that is a WebSocket message.
pub const WORD: &str = "stream ";

/// What one client asks the origin for: `count` frames, the first one at `first`, then one each `gap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// On the kernel's monotonic clock.
    pub first: Duration,
    pub gap: Duration,
    pub count: u32,
}

impl Order {
    pub fn text(self) -> String {
        format!("{}.{}.{}", self.first.as_nanos(), self.gap.as_nanos(), self.count)
    }

    /// `None` for anything else.
    pub fn parse(text: &[u8]) -> Option<Order> {
        let mut numbers = std::str::from_utf8(text).ok()?.split('.').map(str::parse::<u64>);
        let mut number = || numbers.next()?.ok();
        let (first, gap) = (Duration::from_nanos(number()?), Duration::from_nanos(number()?));
        Some(Order { first, gap, count: u32::try_from(number()?).ok()? })
    }

    /// When the first frame is due; now if that is past.
    pub fn begins(self) -> Instant {
        Instant::now() + self.first.saturating_sub(clock())
    }

    /// When frame `nth` is due.
    pub fn due(self, nth: u32) -> Duration {
        self.first + self.gap * nth
    }
}

pub fn clock() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

pub fn frame(due: Duration) -> String {
    format!("{:<FRAME_BYTES$}", due.as_nanos())
}

/// How late a frame is that arrives now.
pub fn late(frame: &[u8]) -> Result<u64> {
    ensure!(frame.len() == FRAME_BYTES, "a frame of {} bytes", frame.len());
    let due = std::str::from_utf8(frame).ok().and_then(|text| text.trim_end().parse().ok());
    let due = Duration::from_nanos(due.context("a frame without its time")?);
    Ok(nanos(clock().saturating_sub(due)))
}

/// Each session's part of `frames` at `rate` a second over all of them, from `start` on.
pub fn share<S>(sessions: Vec<S>, frames: usize, rate: u32, start: Duration) -> impl Iterator<Item = (S, Order)> {
    let (clients, step) = (sessions.len() as u32, Duration::from_secs(1) / rate);
    let count = (frames as u32).div_ceil(clients);
    sessions
        .into_iter()
        .zip(0_u32..)
        .map(move |(session, turn)| (session, Order { first: start + step * turn, gap: step * clients, count }))
}

/// `rate` frames a second over all `sessions`, evenly and in turn, `frames` in all (rounded up to the same number for each).
pub async fn run(sessions: Vec<Echo>, frames: usize, rate: u32) -> Result<Done<Echo>> {
    // The orders go out first, all of them.
    const ORDERING: Duration = Duration::from_millis(200);
    together(share(sessions, frames, rate, clock() + ORDERING).map(|(mut session, order)| async move {
        session.say(&format!("{WORD}{}", order.text())).await?;
        let mut took = Vec::with_capacity(order.count as usize);
        for _ in 0..order.count {
            took.push(late(&session.message().await?)?);
        }
        Ok((session, took))
    }))
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_as_it_was_written_and_nothing_else_is_one() {
        let order = Order { first: Duration::from_secs(5), gap: Duration::from_millis(50), count: 40 };
        assert_eq!(Order::parse(order.text().as_bytes()), Some(order));
        assert_eq!(order.due(2), Duration::from_millis(5_100));
        for other in ["", "1", "1.2", "1.2.-3", "abcdef"] {
            assert_eq!(Order::parse(other.as_bytes()), None);
        }
    }

    #[test]
    fn a_frame_says_how_late_it_is() {
        let late_by = late(frame(clock().saturating_sub(Duration::from_millis(7))).as_bytes()).unwrap();
        assert!((7_000_000..5_000_000_000).contains(&late_by), "{late_by}");
        assert!(late(b"1").is_err());
    }
}
