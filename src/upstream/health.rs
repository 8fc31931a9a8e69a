//! How a gateway does, as the last look at it found.

/// Beyond being there: [`Seen`](super::hold::Seen) says that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It says that it is ready.
    Ready,
    /// It answers, and says that it is not: it starts, stops, or a part of it is out of order.
    NotReady,
    /// It takes connections and says nothing.
    Silent,
    /// What answers there is no OpenClaw gateway.
    Foreign,
}

impl Health {
    pub const ALL: [Health; 4] = [Health::Ready, Health::NotReady, Health::Silent, Health::Foreign];

    /// A stable name for `status` and labels.
    pub fn name(self) -> &'static str {
        match self {
            Health::Ready => "ready",
            Health::NotReady => "not-ready",
            Health::Silent => "silent",
            Health::Foreign => "foreign",
        }
    }
}
