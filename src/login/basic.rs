//! `Authorization: Basic ...` (RFC 7617).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

/// Name and password; `None` for every other scheme, and for what is none of it.
pub(super) fn parse(field: &[u8]) -> Option<(String, Zeroizing<Vec<u8>>)> {
    let (scheme, rest) = field.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = Zeroizing::new(STANDARD.decode(rest.trim_ascii()).ok()?);
    let colon = memchr::memchr(b':', &decoded)?;
    // RFC 7617 §2.1: the challenge says UTF-8. A name in another charset is nobody's.
    let name = String::from_utf8(decoded[..colon].to_vec()).ok()?;
    Some((name, Zeroizing::new(decoded[colon + 1..].to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_and_a_password_are_a_login() {
        let parsed = |field: &str| parse(field.as_bytes()).map(|(name, password)| (name, password.to_vec()));
        // RFC 7617 §2 and §2.1.
        let aladdin = Some(("Aladdin".to_owned(), b"open sesame".to_vec()));
        assert_eq!(parsed("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), aladdin);
        assert_eq!(parsed("bASIC   QWxhZGRpbjpvcGVuIHNlc2FtZQ== "), aladdin);
        assert_eq!(parsed("Basic dGVzdDoxMjPCow=="), Some(("test".to_owned(), "123£".as_bytes().to_vec())));
        assert_eq!(parsed("Basic YTpiOmM="), Some(("a".to_owned(), b"b:c".to_vec())), "the first colon ends the name");
        assert_eq!(parsed("Basic Og=="), Some((String::new(), Vec::new())));
        for field in ["", "Basic", "Basic ", "Basic !", "Basic YWJj", "Bearer YTpi", "Basic /zph", "BasicYTpi"] {
            assert_eq!(parsed(field), None, "{field}");
        }
    }
}
