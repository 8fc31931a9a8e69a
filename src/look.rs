//! `clawgate status` asks each site for what a monitor gets there. Such a look must not change what it looks at: it is
//! answered like any other request, has its line in the access log, and is counted nowhere.
//!
//! A token makes a request a look. Only the admin socket hands it out, and it ends with the process: by a name that
//! anybody may send, anybody could hide.

use std::sync::OnceLock;

use aws_lc_rs::{constant_time::verify_slices_are_equal, rand};
use http::{Method, Request};

/// What is looked at: the platform's health check asks for it.
pub const PATH: &str = "/api/status";
/// Carries the token. It is never passed on ([`crate::headers::claims`]).
pub const FIELD: &str = "clawgate-look";

/// The token of this process, made when somebody first asks for it.
#[derive(Debug, Default)]
pub struct Look(OnceLock<Box<str>>);

impl Look {
    /// To be shown in [`FIELD`]; `None` where the system has no randomness.
    pub fn token(&self) -> Option<&str> {
        if self.0.get().is_none() {
            let mut bytes = [0; 16];
            rand::fill(&mut bytes).ok()?;
            let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            // Who came first has made the one that holds.
            let _ = self.0.set(token.into());
        }
        self.0.get().map(|token| &**token)
    }

    /// Whether this is one. Before anybody has asked for the token nobody can know it, and requests are not looked into.
    #[inline]
    pub fn is<B>(&self, request: &Request<B>) -> bool {
        let Some(token) = self.0.get() else { return false };
        request.headers().get(FIELD).is_some_and(|shown| {
            verify_slices_are_equal(shown.as_bytes(), token.as_bytes()).is_ok()
                // No more than what it is for, whoever may open the socket.
                && *request.method() == Method::GET
                && request.uri().path() == PATH
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, path: &str, token: &str) -> Request<()> {
        Request::builder().method(method).uri(path).header(FIELD, token).body(()).unwrap()
    }

    #[test]
    fn a_look_shows_the_token_of_this_very_process() {
        let look = Look::default();
        assert!(!look.is(&asked("GET", PATH, "")), "nobody has asked for it yet");
        let token = look.token().unwrap().to_owned();
        assert_eq!(look.token(), Some(&*token), "it stays the same");
        assert!(look.is(&asked("GET", PATH, &token)));
        let other = Look::default().token().unwrap().to_owned();
        for wrong in ["", "x", &other, &token[1..]] {
            assert!(!look.is(&asked("GET", PATH, wrong)), "{wrong}");
        }
        assert!(!look.is(&Request::get(PATH).header("user-agent", "clawgate-status/0.1.0").body(()).unwrap()));
    }

    #[test]
    fn nothing_but_the_health_check_is_one() {
        let look = Look::default();
        let token = look.token().unwrap().to_owned();
        for (method, path) in [("POST", PATH), ("GET", "/"), ("GET", "/api/status/")] {
            assert!(!look.is(&asked(method, path, &token)), "{method} {path}");
        }
        assert!(look.is(&asked("GET", "https://chat.test/api/status", &token)), "as HTTP/2 has it");
    }
}
