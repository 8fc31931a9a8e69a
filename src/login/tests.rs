use std::net::Ipv4Addr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;

use super::*;
use crate::config::{password::PasswordHash, value::Value as _};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));

/// By weak parameters: nothing here is about the time it takes.
fn user(name: &str, password: &str) -> User {
    let params = argon2::Params::new(8, 1, 1, None).unwrap();
    let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let hash: phc::PasswordHash = argon2.hash_password(password.as_bytes()).unwrap();
    User { name: name.into(), hash: PasswordHash::parse(&hash.to_string()).unwrap() }
}

fn login(users: &[User]) -> BasicAuth {
    BasicAuth { realm: "r".into(), challenge: HeaderValue::from_static("Basic"), users: users.into() }
}

fn fields(name: &str, password: &str) -> HeaderMap {
    let value = format!("Basic {}", STANDARD.encode(format!("{name}:{password}")));
    [(header::AUTHORIZATION, value.try_into().unwrap())].into_iter().collect()
}

async fn ask(logins: &Logins, auth: &BasicAuth, headers: &HeaderMap, now: Instant) -> (bool, Answer) {
    match logins.look(auth, headers, CLIENT, now) {
        Shown::Nothing => (true, Answer::Wrong),
        Shown::Known(user) => (true, Answer::Right(user)),
        Shown::Question(question) => (false, logins.answer(*question, CLIENT, now).await),
    }
}

#[tokio::test]
async fn who_was_right_is_known_for_a_quarter_of_an_hour_and_not_with_another_password() {
    let (logins, ann) = (Logins::new(), user("ann", "secret"));
    let auth = login(&[ann.clone(), user("bob", "other")]);
    let now = Instant::now();
    let right = Answer::Right(ann.clone());
    assert_eq!(ask(&logins, &auth, &fields("ann", "secret"), now).await, (false, right.clone()));
    assert_eq!(ask(&logins, &auth, &fields("ann", "secret"), now).await, (true, right.clone()));
    for (name, password) in [("ann", "Secret"), ("ann", ""), ("bob", "secret"), ("eve", "secret"), ("", "")] {
        assert_eq!(
            ask(&logins, &auth, &fields(name, password), now).await,
            (false, Answer::Wrong),
            "{name} {password}"
        );
    }
    let later = now + REMEMBERED;
    assert_eq!(ask(&logins, &auth, &fields("ann", "secret"), later).await, (false, right));
    // The password is another one since a reload: nothing that was right before is.
    let changed = login(&[user("ann", "new")]);
    assert_eq!(ask(&logins, &changed, &fields("ann", "secret"), later).await, (false, Answer::Wrong));
}

#[tokio::test]
async fn who_was_right_is_known_from_its_own_network_and_from_no_other() {
    let (logins, auth) = (Logins::new(), login(&[user("ann", "secret")]));
    let (now, ann) = (Instant::now(), fields("ann", "secret"));
    let is_known = |client: &str| matches!(logins.look(&auth, &ann, client.parse().unwrap(), now), Shown::Known(_));
    for (right, known, others) in [
        ("203.0.113.7", &["203.0.113.7", "::ffff:203.0.113.7"][..], &["203.0.113.8", "2001:db8::1"][..]),
        ("2001:db8::1", &["2001:db8::2"], &["2001:db8:0:1::1", "203.0.113.8"]),
    ] {
        let Shown::Question(question) = logins.look(&auth, &ann, right.parse().unwrap(), now) else {
            panic!("{right}")
        };
        assert!(matches!(logins.answer(*question, right.parse().unwrap(), now).await, Answer::Right(_)));
        assert!(known.iter().all(|client| is_known(client)), "{right}");
        assert!(!others.iter().any(|client| is_known(client)), "{right}");
    }
}

#[tokio::test]
async fn what_is_no_single_login_shows_nothing() {
    let (logins, auth) = (Logins::new(), login(&[user("ann", "secret")]));
    let now = Instant::now();
    let mut twice = fields("ann", "secret");
    twice.append(header::AUTHORIZATION, fields("ann", "secret")[header::AUTHORIZATION].clone());
    let bearer = [(header::AUTHORIZATION, HeaderValue::from_static("Bearer token"))].into_iter().collect();
    for headers in [HeaderMap::new(), twice, bearer] {
        assert!(matches!(logins.look(&auth, &headers, CLIENT, now), Shown::Nothing));
    }
    let long = "x".repeat(LONGEST_PASSWORD + 1);
    assert_eq!(ask(&logins, &auth, &fields("ann", &long), now).await, (false, Answer::Wrong));
}

#[tokio::test]
async fn one_client_waits_in_two_places_and_all_together_in_few() {
    let logins = Logins::new();
    let place = |address: &str| logins.place(address.parse::<IpAddr>().unwrap().into());
    let one = place("2001:db8::1").unwrap();
    let _two = place("2001:db8::2").unwrap();
    assert!(place("2001:db8::3").is_none(), "a client is its /64");
    drop(one);
    let _again = place("2001:db8::1").unwrap();
    let others = (1..100).map(|n| logins.place(IpAddr::V4(Ipv4Addr::from(n)).into())).collect::<Vec<_>>();
    assert_eq!(others.iter().flatten().count(), WAITING - 2);
    drop(others);
    assert!(place("127.0.0.1").is_some());
}

#[test]
fn what_hash_password_prints_is_what_the_configuration_takes() {
    let hash = hash(b"secret").unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    let parsed = PasswordHash::parse(&hash).unwrap();
    assert!(Argon2::default().verify_password(b"secret", parsed.phc()).is_ok());
    assert!(Argon2::default().verify_password(b"Secret", parsed.phc()).is_err());
}
