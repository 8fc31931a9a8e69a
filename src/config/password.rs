//! Who may log in: names, and what is kept of passwords.

use std::{fmt, sync::Arc};

use argon2::{Params, password_hash::phc};
use http::HeaderValue;

use super::{
    finding::Code,
    value::{Value, Wrong},
};

/// Of a hash that is to be computed for whoever sends anything: more would be a lever for an attacker.
const MOST_MEMORY_KIB: u32 = 256 * 1024;
const MOST_PASSES: u32 = 10;
const MOST_LANES: u32 = 4;
/// A name stands in the log.
const LONGEST_NAME: usize = 64;
const LONGEST_REALM: usize = 128;

/// An argon2id hash in the PHC string format.
#[derive(Clone)]
pub struct PasswordHash(Arc<(String, phc::PasswordHash)>);

impl PasswordHash {
    /// As `argon2` checks it.
    pub fn phc(&self) -> &phc::PasswordHash {
        &self.0.1
    }

    /// Memory, passes and lanes: what it takes to compute it.
    pub fn cost(&self) -> (u32, u32, u32) {
        let params = Params::try_from(self.phc()).expect("they were looked at when it was parsed");
        (params.m_cost(), params.t_cost(), params.p_cost())
    }

    /// Changes with salt, parameters and password.
    pub fn text(&self) -> &str {
        &self.0.0
    }
}

impl PartialEq for PasswordHash {
    fn eq(&self, other: &PasswordHash) -> bool {
        self.0.0 == other.0.0
    }
}

impl Eq for PasswordHash {}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(<hidden>)")
    }
}

impl Value for PasswordHash {
    const EXPECTED: &'static str = "a password's hash";
    const IS_SECRET: bool = true;

    fn parse(text: &str) -> Result<PasswordHash, Wrong> {
        let wrong = |message| Wrong::new(Code::ValuePasswordHash, message, "`clawgate hash-password` makes one");
        // What comes from a file ends in a line feed.
        let text = text.trim_end();
        let hash = phc::PasswordHash::new(text).map_err(|_| wrong("not a password's hash"))?;
        if hash.algorithm.as_str() != "argon2id" {
            return Err(wrong("not a hash by argon2id"));
        }
        let params = Params::try_from(&hash).map_err(|_| wrong("a hash with parameters that argon2 does not have"))?;
        if hash.salt.is_none() || hash.hash.is_none() {
            return Err(wrong("a hash without its salt or its end"));
        }
        let modest =
            params.m_cost() <= MOST_MEMORY_KIB && params.t_cost() <= MOST_PASSES && params.p_cost() <= MOST_LANES;
        match modest {
            true => Ok(PasswordHash(Arc::new((text.to_owned(), hash)))),
            false => Err(wrong("a hash that costs more than 256 MiB, 10 passes or 4 lanes")),
        }
    }

    fn placeholder(_: usize) -> PasswordHash {
        const NOBODY: &str =
            "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        PasswordHash::parse(NOBODY).expect("a hash of no password")
    }
}

/// RFC 7617 §2: no colon, and nothing that would break a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserName(pub Arc<str>);

impl Value for UserName {
    const EXPECTED: &'static str = "a user's name";

    fn parse(text: &str) -> Result<UserName, Wrong> {
        let fits = (1..=LONGEST_NAME).contains(&text.chars().count());
        match fits && !text.contains([':']) && !text.contains(char::is_control) {
            true => Ok(UserName(text.into())),
            false => Err(Wrong::new(
                Code::ValueUser,
                "not a user's name",
                "1 to 64 characters without a colon, such as \"ann\"",
            )),
        }
    }

    fn placeholder(n: usize) -> UserName {
        UserName(format!("user-{n}").into())
    }
}

/// What a browser shows when it asks, in the field that makes it ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Realm {
    pub text: Arc<str>,
    pub challenge: HeaderValue,
}

impl Value for Realm {
    const EXPECTED: &'static str = "a realm";

    fn parse(text: &str) -> Result<Realm, Wrong> {
        let wrong = || {
            let way_out = "up to 128 characters of ASCII without \" and \\, such as \"OpenClaw\"";
            Wrong::new(Code::ValueRealm, "not a realm", way_out)
        };
        let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
        if !(1..=LONGEST_REALM).contains(&text.len()) || !text.bytes().all(plain) {
            return Err(wrong());
        }
        let challenge =
            HeaderValue::try_from(format!("Basic realm=\"{text}\", charset=\"UTF-8\"")).map_err(|_| wrong())?;
        Ok(Realm { text: text.into(), challenge })
    }

    fn placeholder(_: usize) -> Realm {
        Realm::parse("clawgate").expect("a realm")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn a_hash_is_argon2id_and_within_bounds_and_shows_itself_to_nobody() {
        let hash = PasswordHash::parse(&format!("{GOOD}\n")).unwrap();
        assert_eq!(hash.text(), GOOD);
        assert_eq!(format!("{hash:?}"), "PasswordHash(<hidden>)");
        for (text, message) in [
            ("hunter2", "not a password's hash"),
            ("$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe", "not a password's hash"),
            (&GOOD.replace("argon2id", "argon2i"), "not a hash by argon2id"),
            (&GOOD.replace("m=19456", "m=1048576"), "a hash that costs more than 256 MiB, 10 passes or 4 lanes"),
            (&GOOD.replace("t=2", "t=11"), "a hash that costs more than 256 MiB, 10 passes or 4 lanes"),
            (&GOOD.replace("p=1", "p=5"), "a hash that costs more than 256 MiB, 10 passes or 4 lanes"),
            ("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA", "a hash without its salt or its end"),
        ] {
            let wrong = PasswordHash::parse(text).unwrap_err();
            assert_eq!(wrong.message, message, "{text}");
            assert!(wrong.instead.is_none(), "nothing is made of a secret");
        }
    }

    #[test]
    fn names_and_realms_cannot_leave_their_place() {
        assert!(UserName::parse("ann of the platform").is_ok());
        for text in ["", "a:b", "a\nb", &"x".repeat(65)] {
            assert!(UserName::parse(text).is_err(), "{text:?}");
        }
        let challenge = Realm::parse("OpenClaw at home").unwrap().challenge;
        assert_eq!(challenge, "Basic realm=\"OpenClaw at home\", charset=\"UTF-8\"");
        for text in ["", "a\"b", "a\\b", "a\r\nb", "ä", &"x".repeat(129)] {
            assert!(Realm::parse(text).is_err(), "{text:?}");
        }
    }
}
