//! Against name servers on loopback.

use hickory_proto::op::ResponseCode;

use super::{
    answer::Said,
    testing::Server,
    zone::{Difference, Lame, Own},
    *,
};

const WITHIN: Duration = Duration::from_secs(10);

fn resolver(servers: &[&Server]) -> Resolver {
    Resolver::new(servers.iter().map(|server| server.address).collect())
}

fn ips(texts: &[&str]) -> BTreeSet<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[tokio::test]
async fn addresses_of_both_kinds_are_found_through_aliases() {
    let server = Server::run(&[
        "www.a.test CNAME edge.b.test",
        "edge.b.test CNAME host.b.test",
        "host.b.test A 192.0.2.1",
        "host.b.test AAAA 2001:db8::1",
    ])
    .await;
    let found = resolver(&[&server]).addresses("www.a.test", WITHIN).await;
    assert_eq!(found.all(), ips(&["192.0.2.1", "2001:db8::1"]));
    assert_eq!(found.canonical(), Some("host.b.test"));
    assert!(!found.none() && !found.no_such_name());
}

#[tokio::test]
async fn no_such_name_no_record_a_failing_server_and_a_silent_one_are_told_apart() {
    let server = Server::run(&["a.test A 192.0.2.1", "bad.test A 192.0.2.2", "lost.test CNAME gone.test"]).await;
    server.fail("bad.test", ResponseCode::ServFail);
    let resolver = resolver(&[&server]);
    let a = resolver.addresses("a.test", WITHIN).await;
    assert_eq!(a.v4.unwrap().said, Said::Records(vec!["192.0.2.1".parse().unwrap()]));
    assert_eq!(a.v6.unwrap().said, Said::NoData);
    assert!(resolver.addresses("none.test", WITHIN).await.no_such_name());
    let lost = resolver.addresses("lost.test", WITHIN).await;
    assert!(lost.no_such_name() && lost.canonical() == Some("gone.test"));
    let bad = resolver.addresses("bad.test", WITHIN).await;
    assert!(matches!(bad.unanswered(), Some(Unanswered::Code { code: ResponseCode::ServFail, .. })), "{bad:?}");
    assert!(!bad.none() && !bad.no_such_name());
    server.lose(100);
    let silent = resolver.addresses("a.test", Duration::from_millis(50)).await;
    assert!(matches!(silent.unanswered(), Some(Unanswered::Timeout { .. })), "{silent:?}");
    assert!(!silent.none());
}

#[tokio::test]
async fn a_lost_datagram_is_sent_again() {
    let server = Server::run(&["a.test A 192.0.2.1"]).await;
    server.lose(2);
    let found = resolver(&[&server]).addresses("a.test", WITHIN).await;
    assert_eq!(found.all(), ips(&["192.0.2.1"]));
}

#[tokio::test]
async fn an_answer_too_long_for_a_datagram_is_fetched_over_tcp() {
    let lines: Vec<String> = (0..100).map(|n| format!("many.test A 192.0.2.{n}")).collect();
    let server = Server::run(&lines.iter().map(String::as_str).collect::<Vec<_>>()).await;
    server.cut_off_at(512);
    let found = resolver(&[&server]).addresses("many.test", WITHIN).await;
    assert_eq!(found.all().len(), 100);
    assert!(server.asked().iter().any(|asked| asked == "tcp+rd many.test. A"), "{:?}", server.asked());
}

#[tokio::test]
async fn the_next_resolver_is_asked_where_one_fails_or_is_silent() {
    let failing = Server::run(&["a.test A 192.0.2.9"]).await;
    failing.fail("a.test", ResponseCode::Refused);
    let silent = Server::run(&[]).await;
    silent.lose(usize::MAX);
    let good = Server::run(&["a.test A 192.0.2.1"]).await;
    let found = resolver(&[&failing, &silent, &good]).addresses("a.test", Duration::from_secs(3)).await;
    assert_eq!(found.all(), ips(&["192.0.2.1"]));
    assert_eq!(found.v4.unwrap().server, good.address);
}

#[tokio::test]
async fn an_alias_that_never_ends_is_no_answer() {
    let server = Server::run(&["a.test CNAME b.test", "b.test CNAME a.test"]).await;
    let found = resolver(&[&server]).addresses("a.test", WITHIN).await;
    assert!(matches!(found.v4, Err(Unanswered::Aliases { .. })), "{found:?}");
    let none = Resolver::new(Vec::new()).addresses("a.test", WITHIN).await;
    assert!(matches!(none.v4, Err(Unanswered::NoServer)));
    let bad = resolver(&[&server]).addresses("a..test", WITHIN).await;
    assert!(matches!(bad.v4, Err(Unanswered::Name { .. })));
}

#[tokio::test]
async fn the_caa_records_in_force_are_those_of_the_longest_name_that_has_any() {
    let server = Server::run(&[
        "test CAA issue tld.test",
        "a.test CAA issue one.test",
        "a.test CAA !issuewild ;",
        "x.y.a.test A 192.0.2.1",
        "own.a.test CNAME far.b.test",
        "far.b.test CAA issue two.test",
        "b.test A 192.0.2.1",
    ])
    .await;
    let resolver = resolver(&[&server]);
    let at = async |name| {
        let found = resolver.caa(name, WITHIN).await.unwrap();
        (found.at.unwrap_or_default(), found.records.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let of_a = vec!["CAA 0 issue \"one.test\"".to_owned(), "CAA 128 issuewild \";\"".to_owned()];
    assert_eq!(at("x.y.a.test").await, ("a.test".to_owned(), of_a.clone()));
    assert_eq!(at("*.a.test").await, ("a.test".to_owned(), of_a));
    assert_eq!(at("own.a.test").await, ("far.b.test".to_owned(), vec!["CAA 0 issue \"two.test\"".to_owned()]));
    let alias = async |name| resolver.caa(name, WITHIN).await.unwrap().alias;
    assert_eq!((alias("own.a.test").await.as_deref(), alias("x.y.a.test").await), (Some("own.a.test"), None));
    assert_eq!(at("b.test").await.0, "test");
    assert_eq!(resolver.caa("c.nowhere", WITHIN).await.unwrap(), caa::InForce::default());
    // A CA does not issue where it could not look.
    server.fail("a.test", ResponseCode::ServFail);
    assert!(resolver.caa("x.y.a.test", WITHIN).await.is_err());
    // Further up it need not look.
    server.fail("test", ResponseCode::ServFail);
    assert!(resolver.caa("own.a.test", WITHIN).await.is_ok());
}

/// Two servers of one zone, at the same port of two loopback addresses, and a resolver that knows all of it.
async fn zone(first: &[&str], second: &[&str], resolved: &str) -> (zone::Zone, Addresses, [Server; 2]) {
    let one = Server::at("127.0.0.2".parse().unwrap(), 0, first).await;
    let other = Server::at("127.0.0.3".parse().unwrap(), one.address.port(), second).await;
    let cache = Server::run(&[
        "b.test SOA ns1.b.test",
        "b.test NS ns1.b.test",
        "b.test NS ns2.b.test",
        "ns1.b.test A 127.0.0.2",
        "ns2.b.test A 127.0.0.3",
        resolved,
    ])
    .await;
    let resolver = resolver(&[&cache]).with_authorities_at(one.address.port());
    let zone = resolver.zone("www.b.test", WITHIN).await.unwrap();
    let addresses = resolver.addresses("www.b.test", WITHIN).await;
    (zone, addresses, [one, other])
}

#[tokio::test]
async fn servers_of_a_zone_that_say_other_than_the_resolver_are_named() {
    let new = ["www.b.test A 192.0.2.7"];
    let (zone, resolved, servers) = zone(&new, &["www.b.test A 192.0.2.1"], "www.b.test A 192.0.2.1").await;
    assert_eq!(zone.origin, "b.test");
    assert_eq!(zone.opinions().len(), 2);
    let said = Own::Addresses(ips(&["192.0.2.7"]));
    assert_eq!(zone.differences(&resolved), [Difference { said, by: vec!["ns1.b.test (127.0.0.2)".into()] }]);
    // They are asked for what they know themselves.
    assert!(servers[0].asked().contains(&"udp www.b.test. A".to_owned()), "{:?}", servers[0].asked());
}

#[tokio::test]
async fn servers_of_a_zone_that_agree_with_the_resolver_make_no_difference() {
    let same = ["www.b.test A 192.0.2.1"];
    let (agreeing, resolved, _) = zone(&same, &same, same[0]).await;
    assert_eq!(agreeing.differences(&resolved), []);
    let alias = ["www.b.test CNAME edge.c.test"];
    let (aliased, resolved, _) = zone(&alias, &alias, alias[0]).await;
    assert_eq!(aliased.opinions()[0].said, Own::Alias { target: "edge.c.test".into(), leads: BTreeSet::new() });
    assert_eq!(aliased.differences(&resolved), []);
}

#[tokio::test]
async fn a_name_that_only_the_resolver_still_knows_is_told() {
    let (gone, resolved, _) =
        zone(&["b.test A 192.0.2.2"], &["www.b.test CAA issue x"], "www.b.test A 192.0.2.1").await;
    let differences = gone.differences(&resolved);
    assert_eq!(differences.iter().map(|d| &d.said).collect::<Vec<_>>(), [&Own::NoSuchName, &Own::NoAddress]);
    assert_eq!(gone.agreed(), None);
}

#[tokio::test]
async fn servers_of_a_zone_that_say_the_same_agree_and_one_that_does_not_serve_it_has_no_say() {
    let said = Own::Addresses(ips(&["192.0.2.7"]));
    let new = ["www.b.test A 192.0.2.7"];
    let (zone, resolved, _) = zone(&new, &new, "b.test A 192.0.2.1").await;
    assert_eq!(zone.agreed(), Some(&said));
    assert!(resolved.no_such_name() && !said.is_told_by(&resolved));
    let (mut zone, ..) = self::zone(&new, &["test SOA ns.test"], new[0]).await;
    assert_eq!(zone.agreed(), Some(&said), "the other is lame");
    zone.servers.remove(0);
    assert_eq!(zone.agreed(), None, "nobody serves it");
}

/// RFC 2308 §5: that nothing is there is remembered as well.
#[tokio::test]
async fn how_long_an_answer_is_remembered_is_known() {
    let server = Server::run(&["a.test A 192.0.2.1", "b.test SOA ns.b.test", "www.b.test CNAME a.test"]).await;
    let resolver = resolver(&[&server]);
    let kept = async |name| resolver.addresses(name, WITHIN).await.kept().map(|span| span.as_secs());
    assert_eq!(kept("a.test").await, Some(60));
    assert_eq!(kept("www.b.test").await, Some(60));
    assert_eq!(kept("none.b.test").await, Some(60));
    assert_eq!(kept("none.c.test").await, None, "no SOA");
}

/// A delegation is lame when nobody, a resolver, or the zone above answers in the place of the zone.
#[tokio::test]
async fn a_server_that_does_not_serve_the_zone_is_told_from_one_that_says_something_else() {
    let good = ["b.test SOA ns1.b.test", "www.b.test A 192.0.2.1"];
    let said = async |second: &[&str], has_authority: bool| {
        let (_, _, [one, other]) = zone(&good, second, good[1]).await;
        other.has_authority(has_authority);
        let resolver = Resolver::new(vec![]).with_authorities_at(one.address.port());
        let name = dns_name("www.b.test").unwrap();
        let at = SocketAddr::new("127.0.0.3".parse().unwrap(), resolver.authorities);
        zone::own(at, &name, &dns_name("b.test").unwrap(), WITHIN).await.unwrap()
    };
    assert_eq!(said(&["test SOA ns.test"], true).await, Own::NotServed(Lame::Above("test".into())));
    assert_eq!(said(&good, false).await, Own::NotServed(Lame::Remembered));
    assert_eq!(said(&[], false).await, Own::NotServed(Lame::Nothing));
    // These serve it, whatever they say.
    assert_eq!(said(&good, true).await, Own::Addresses(ips(&["192.0.2.1"])));
    assert_eq!(said(&good[..1], true).await, Own::NoSuchName);
    assert_eq!(said(&["b.test SOA ns1.b.test", "www.b.test CAA issue x"], true).await, Own::NoAddress);
    let alias = |leads| Own::Alias { target: "c.test".into(), leads };
    assert_eq!(said(&["www.b.test CNAME c.test", "test SOA ns.test"], true).await, alias(ips(&[])));
    assert_eq!(said(&["www.b.test CNAME c.test", "c.test A 192.0.2.3"], true).await, alias(ips(&["192.0.2.3"])));
}
