//! What we say where it is us who end a tunnel.

use std::borrow::Cow;

use crate::gateway::pin::Unverified;

/// A close frame of ours and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goodbye {
    /// 1001: the proxy is going away.
    Draining,
    /// 1008: the rule that admitted this tunnel is gone.
    PolicyChanged,
    /// 1008: a stranger did not say who it is in time.
    Silent,
    /// 1008: no pinned key was shown.
    Unverified(Unverified),
}

impl Goodbye {
    pub fn code(self) -> u16 {
        match self {
            Goodbye::Draining => 1001,
            Goodbye::Unverified(Unverified::Closed) => 1000,
            Goodbye::PolicyChanged | Goodbye::Silent | Goodbye::Unverified(_) => 1008,
        }
    }

    pub fn reason(self) -> Cow<'static, str> {
        match self {
            Goodbye::Draining => "proxy stopping".into(),
            Goodbye::PolicyChanged => "policy changed".into(),
            Goodbye::Silent => Unverified::Late.to_string().into(),
            Goodbye::Unverified(why) => why.to_string().into(),
        }
    }
}
