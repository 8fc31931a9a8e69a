//! The unix socket through which a running process is asked things: one JSON line in, one JSON line out.
//!
//! The room reads and answers requests and decides who may ask; what a verb does is decided by the control loop,
//! which receives a [`Call`] and answers it. So a new verb is a variant of [`Verb`] here, its class in
//! [`Verb::access`], an arm there, and a paragraph in `docs/ADMIN.md`.

mod client;
mod listen;

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

pub use client::{CallError, call, call_within, listener};
pub use listen::{BindError, Listener};

/// A request line is at most this long.
pub const MAX_REQUEST: usize = 4096;
/// An answer line is at most this long; longer texts are cut.
pub const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// What can be asked. On the wire `{"verb":"reload"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum Verb {
    /// Read the configuration again and apply it.
    Reload,
    /// How the certificates stand.
    Certs,
    /// How everything stands.
    Status,
    /// The token with which `status` asks the sites themselves, and is counted nowhere.
    Look,
    /// Every number, for a monitoring system.
    Metrics,
    /// What `top` shows of this moment.
    Top,
    /// Ask for a new certificate for this host now, whatever the schedule says; the tries that the CA's limit allows
    /// are kept.
    Renew { name: String },
    /// Revoke this host's certificate and ask for another.
    Revoke { name: String },
    /// Prove each name from outside, by an order at the CA's staging directory.
    Rehearse,
    /// The device keys that connected lately.
    Pin,
    /// Who may ask beyond the networks of the configuration: what names mean, and who is let in for a while.
    AllowList,
    /// Let a network ask for so many seconds, at one site or at all.
    Allow {
        network: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        site: Option<String>,
        seconds: u64,
    },
    /// Take that back.
    AllowRemove { network: String },
}

/// Who may use a verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It changes the process: root and the user the process runs as.
    Change,
    /// It only shows: whoever may open the socket.
    Look,
}

impl Verb {
    pub fn name(&self) -> &'static str {
        match self {
            Verb::Reload => "reload",
            Verb::Certs => "certs",
            Verb::Status => "status",
            Verb::Look => "look",
            Verb::Metrics => "metrics",
            Verb::Top => "top",
            Verb::Renew { .. } => "renew",
            Verb::Revoke { .. } => "revoke",
            Verb::Rehearse => "rehearse",
            Verb::Pin => "pin",
            Verb::AllowList => "allow-list",
            Verb::Allow { .. } => "allow",
            Verb::AllowRemove { .. } => "allow-remove",
        }
    }

    pub fn access(&self) -> Access {
        match self {
            Verb::Reload
            | Verb::Renew { .. }
            | Verb::Revoke { .. }
            | Verb::Rehearse
            | Verb::Allow { .. }
            | Verb::AllowRemove { .. } => Access::Change,
            Verb::Certs | Verb::Status | Verb::Look | Verb::Metrics | Verb::Top | Verb::Pin | Verb::AllowList => {
                Access::Look
            }
        }
    }
}

/// The kernel's word for who is at the other end (`SO_PEERCRED`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    pub uid: u32,
    /// `None` where the caller is in a process namespace we cannot see into.
    pub pid: Option<i32>,
}

/// Whether `caller` may use a verb of this class, in a process that runs as `service_uid`.
pub fn permits(access: Access, caller: Caller, service_uid: u32) -> bool {
    match access {
        Access::Change => caller.uid == 0 || caller.uid == service_uid,
        Access::Look => true,
    }
}

/// One question on its way to the control loop.
#[derive(Debug)]
pub struct Call {
    pub verb: Verb,
    pub caller: Caller,
    pub answer: oneshot::Sender<Answer>,
}

/// On the wire `{"ok":true,"text":"..."}` or `{"ok":false,"error":"config","text":"..."}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub ok: bool,
    /// Only where `ok` is false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Refused>,
    /// For a person; may have several lines.
    pub text: String,
}

impl Answer {
    pub fn done(text: impl Into<String>) -> Answer {
        Answer { ok: true, error: None, text: text.into() }
    }

    pub fn refused(error: Refused, text: impl Into<String>) -> Answer {
        Answer { ok: false, error: Some(error), text: text.into() }
    }
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refused {
    /// Not a request: too long, too slow, no JSON, an unknown verb.
    BadRequest,
    /// The caller may not use this verb.
    Forbidden,
    /// The configuration is wrong; the text holds the findings. Nothing was changed.
    Config,
    /// Too many callers at once, or the process is on its way out.
    Busy,
    /// It was tried and did not work.
    Failed,
    /// A word of a newer version.
    #[serde(other)]
    Other,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::BadRequest => "bad request",
            Refused::Forbidden => "forbidden",
            Refused::Config => "configuration refused",
            Refused::Busy => "busy",
            Refused::Failed => "failed",
            Refused::Other => "refused",
        })
    }
}

/// A path in `sun_path` ends in a NUL (unix(7)): 107 bytes of 108 are left.
const MAX_PATH: usize = 107;

#[derive(Debug, thiserror::Error)]
#[error(
    "the socket path {path} is {length} bytes long, and unix sockets take {MAX_PATH}; choose a shorter admin_socket"
)]
pub struct PathTooLong {
    path: PathBuf,
    length: usize,
}

fn check_path(path: &std::path::Path) -> Result<(), PathTooLong> {
    let length = path.as_os_str().len();
    if length > MAX_PATH { Err(PathTooLong { path: path.to_owned(), length }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changing_verbs_are_for_root_and_the_service_user() {
        let service = 990;
        let table = [(0, true), (990, true), (991, false), (1000, false), (u32::MAX, false)];
        for (uid, may) in table {
            assert_eq!(permits(Access::Change, Caller { uid, pid: Some(1) }, service), may, "uid {uid}");
        }
        assert_eq!(Verb::Reload.access(), Access::Change);
        assert_eq!(Verb::Revoke { name: String::new() }.access(), Access::Change);
        assert!(permits(Verb::Certs.access(), Caller { uid: 1000, pid: None }, service));
    }

    #[test]
    fn the_wire_is_what_the_documentation_says() {
        assert_eq!(serde_json::from_str::<Verb>(r#"{"verb":"reload"}"#).unwrap(), Verb::Reload);
        assert_eq!(serde_json::to_string(&Verb::Reload).unwrap(), r#"{"verb":"reload"}"#);
        let renew = Verb::Renew { name: "gateway.example.com".into() };
        assert_eq!(serde_json::to_string(&renew).unwrap(), r#"{"verb":"renew","name":"gateway.example.com"}"#);
        assert_eq!(serde_json::to_string(&Answer::done("fine")).unwrap(), r#"{"ok":true,"text":"fine"}"#);
        assert_eq!(
            serde_json::to_string(&Answer::refused(Refused::BadRequest, "no")).unwrap(),
            r#"{"ok":false,"error":"bad-request","text":"no"}"#
        );
    }

    #[test]
    fn a_word_of_a_newer_version_is_still_an_answer() {
        let answer: Answer = serde_json::from_str(r#"{"ok":false,"error":"too-early","text":"x","more":1}"#).unwrap();
        assert_eq!(answer.error, Some(Refused::Other));
    }
}
