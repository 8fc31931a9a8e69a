use http::{HeaderMap, HeaderValue};

use super::*;

/// OPENCLAW.md's and the sentences, one after the other, slowly and with no thought for the order of reasons:
/// which identities or refusals the text allows for these facts.
fn by_the_text(f: &Facts) -> Decided {
    let openclaw = f.kind == UpstreamKind::Openclaw;

    // "whole site or route": D1 or attributed as configured; the default split is for gateways only.
    let wants_d1 = match f.rule {
        IdentityRule::Loopback => true,
        IdentityRule::Attributed => false,
        IdentityRule::Auto => openclaw && !f.browser,
    };
    // "clients = [networks] fences D1: who is outside is attributed", and an address in dispute is nowhere inside.
    let fence_lets_through = !f.fenced || (f.inside_fence && !f.address_disputed);
    // "Pins apply to upgrades only": nothing else can show a key.
    let may_show_a_key = !f.pinned || f.upgrade;
    // "five refused connects demote", "With the gateway's auth off D1 is an open shell: then we refuse to give it",
    // "loopback to another endpoint" cannot work.
    let d1 = wants_d1
        && fence_lets_through
        && may_show_a_key
        && !f.demoted
        && !f.gateway_without_auth
        && f.endpoint_loopback;
    if d1 {
        return Decided::As(Identity::Loopback);
    }
    if !openclaw {
        return Decided::As(Identity::Attributed);
    }
    // "X-Forwarded-For must not be a loopback address": no fence -> header-less; a fence -> our 403.
    if f.client_loopback && (f.fenced || f.pinned) {
        return Decided::Not(Refused::LoopbackClient);
    }
    if f.client_loopback && f.gateway_without_auth {
        return Decided::Not(Refused::GatewayWithoutAuth);
    }
    if f.client_loopback {
        return Decided::As(Identity::AttributedHeaderless);
    }
    // "if 127.0.0.2 cannot be bound, D1 works and attributed requests get an explained 503".
    if f.endpoint_loopback && !f.attributed_source {
        return Decided::Not(Refused::NoAttributedSource);
    }
    Decided::As(Identity::Attributed)
}

#[derive(Debug, PartialEq)]
enum Decided {
    As(Identity),
    Not(Refused),
}

fn every_combination() -> impl Iterator<Item = Facts> {
    let kinds = [UpstreamKind::Openclaw, UpstreamKind::Generic];
    let rules = [IdentityRule::Auto, IdentityRule::Loopback, IdentityRule::Attributed];
    kinds.into_iter().flat_map(move |kind| rules.into_iter().map(move |rule| (kind, rule))).flat_map(|(kind, rule)| {
        (0..1u32 << 11).map(move |bits| {
            let bit = |at: u32| bits & (1 << at) != 0;
            Facts {
                kind,
                rule,
                browser: bit(0),
                fenced: bit(1),
                inside_fence: bit(2),
                address_disputed: bit(3),
                client_loopback: bit(4),
                demoted: bit(5),
                endpoint_loopback: bit(6),
                gateway_without_auth: bit(7),
                attributed_source: bit(8),
                pinned: bit(9),
                upgrade: bit(10),
            }
        })
    })
}

#[test]
fn every_combination_of_facts_is_decided_as_the_design_says() {
    let mut count = 0;
    for facts in every_combination() {
        let decided = match decide(&facts) {
            Decision::Forward { identity, .. } => Decided::As(identity),
            Decision::Refuse { refusal, .. } => Decided::Not(refusal),
        };
        assert_eq!(decided, by_the_text(&facts), "{facts:?}");
        count += 1;
    }
    assert_eq!(count, 12_288);
}

#[test]
fn the_rule_that_is_named_is_true_of_the_request() {
    let mut seen = std::collections::HashSet::new();
    for f in every_combination() {
        let decision = decide(&f);
        let rule = decision.rule();
        seen.insert(rule);
        let d1 = matches!(decision, Decision::Forward { identity: Identity::Loopback, .. });
        let (gives_d1, holds) = match rule {
            Rule::NotABrowser => (true, !f.browser && !f.fenced && !f.pinned && f.rule == IdentityRule::Auto),
            Rule::InsideFence => (true, f.fenced && f.inside_fence && !f.pinned),
            Rule::PinnedKey => (true, f.pinned && f.upgrade && (!f.fenced || f.inside_fence)),
            Rule::ConfiguredLoopback => (true, f.rule == IdentityRule::Loopback && !f.fenced && !f.pinned),
            Rule::ConfiguredAttributed => (false, f.rule == IdentityRule::Attributed),
            Rule::GenericUpstream => (false, f.kind == UpstreamKind::Generic && f.rule == IdentityRule::Auto),
            Rule::Browser => (false, f.browser && f.rule == IdentityRule::Auto),
            Rule::GatewayWithoutAuth => (false, f.gateway_without_auth),
            Rule::EndpointNotLoopback => (false, !f.endpoint_loopback),
            Rule::AddressDisputed => (false, f.fenced && f.address_disputed),
            Rule::OutsideFence => (false, f.fenced && !f.inside_fence),
            Rule::NoKeyShown => (false, f.pinned && !f.upgrade),
            Rule::Demoted => (false, f.demoted),
        };
        assert_eq!((d1, true), (gives_d1, holds), "{rule:?} {f:?}");
    }
    assert_eq!(seen.len(), Rule::ALL.len(), "every rule can be reached");
}

#[test]
fn nothing_that_speaks_against_d1_is_outvoted() {
    for f in every_combination() {
        if let Decision::Forward { identity: Identity::Loopback, .. } = decide(&f) {
            assert!(f.endpoint_loopback && !f.gateway_without_auth && !f.demoted, "{f:?}");
            assert!(!f.fenced || f.inside_fence && !f.address_disputed, "{f:?}");
            assert!(!f.pinned || f.upgrade, "{f:?}");
            assert!(f.rule != IdentityRule::Attributed && (f.rule == IdentityRule::Loopback || !f.browser), "{f:?}");
        }
    }
}

#[test]
fn names_are_stable_and_distinct() {
    let names: std::collections::HashSet<_> = Rule::ALL.iter().map(|rule| rule.name()).collect();
    assert_eq!(names.len(), Rule::ALL.len());
    assert_eq!(Rule::NotABrowser.name(), "not_a_browser");
    assert_eq!(Identity::Loopback.name(), "loopback");
    assert_eq!(Refused::NoAttributedSource.status(), 503);
    assert!(Refused::LoopbackClient.to_string().contains("trusted_proxies"));
}

#[test]
fn a_browser_is_known_by_origin_or_sec_fetch_site_even_empty_ones() {
    let carries = |name: &'static str, value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        is_browser(&headers)
    };
    assert!(carries("origin", "https://a.test") && carries("origin", "") && carries("sec-fetch-site", "none"));
    assert!(!carries("user-agent", "Mozilla/5.0") && !carries("sec-fetch-mode", "cors"));
}

#[test]
fn only_the_attributed_identity_uses_the_attributed_source() {
    assert_eq!(Identity::Loopback.source(), LOOPBACK_SOURCE);
    assert_eq!(Identity::AttributedHeaderless.source(), LOOPBACK_SOURCE);
    assert_eq!(Identity::Attributed.source(), ATTRIBUTED_SOURCE);
}
