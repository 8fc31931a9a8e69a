//! Sites and their routes.

use std::sync::Arc;

use super::{
    Wildcards, paces,
    policy::{Inherited, Stated, check_device_keys, check_loopback},
    upstream::Upstreams,
    values,
};
use crate::config::{
    SitePlaces, defaults, file,
    finding::{At, Code, Place, Report, did_you_mean},
    model::{Certificate, ClientCertificate, Hostname, Paces, PathMatch, Route, Site, UpstreamId, UpstreamKind},
    path::{RewritePath, RoutePath},
    read::{Key, OneOrMany},
    value::CertificateSource,
};

/// What the platform's check asks for, answered by the gateway's page.
const STATUS_PATH: &str = "/api/status";

pub(super) fn sites(
    key: Key<Vec<At<file::Site>>>,
    paces: &Paces,
    upstreams: &mut Upstreams,
    wildcards: Wildcards,
    report: &mut Report<'_>,
) -> Vec<(Site, SitePlaces)> {
    let tables = match key {
        Key::Broken(_) => return Vec::new(),
        key => key.value().unwrap_or_default(),
    };
    if tables.is_empty() {
        report.add_whole(Code::SiteMissing, "there is no site", "add [[site]] and host = \"your-domain.example.com\"");
    }
    // What all sites say about upstreams comes before what any route sends there.
    let targets: Vec<Option<UpstreamId>> = tables.iter().map(|at| site_target(&at.value, upstreams, report)).collect();
    let mut taken = Vec::new();
    let tables = tables.into_iter().zip(targets);
    tables.map(|(at, target)| site(at, target, paces, &mut taken, upstreams, wildcards, report)).collect()
}

fn site_target(site: &file::Site, upstreams: &mut Upstreams, report: &mut Report<'_>) -> Option<UpstreamId> {
    let id = match &site.upstream {
        Key::Absent => upstreams.at_address(defaults::endpoint()),
        Key::Broken(_) => return None,
        Key::Given(at) => upstreams.target(at, Code::SiteUnknownUpstream, report)?,
    };
    upstreams.describe(id, &site.hold, &site.kind, report);
    Some(id)
}

fn site(
    At { value: file, place }: At<file::Site>,
    target: Option<UpstreamId>,
    paces: &Paces,
    taken: &mut Vec<At<Hostname>>,
    upstreams: &mut Upstreams,
    wildcards: Wildcards,
    report: &mut Report<'_>,
) -> (Site, SitePlaces) {
    let has_broken_host = matches!(file.host, Key::Broken(_)) || matches!(file.hosts, Key::Broken(_));
    let hosts = hosts(file.host, file.hosts, report);
    if hosts.is_empty() && !has_broken_host {
        report.add(Code::SiteNoHost, place, "the site has no host", "add host = \"your-domain.example.com\"");
    }
    for host in &hosts {
        match taken.iter().find(|other| other.value == host.value) {
            Some(other) => {
                let message = "the host already belongs to a site";
                let also = [(other.place, "it is here")];
                report.add_also(Code::SiteDuplicateHost, host.place, message, "remove one of the two", &also);
            }
            None => taken.push(host.clone()),
        }
    }
    let places = SitePlaces {
        host: report.locate(hosts.first().map_or(place, |host| host.place)),
        certificate: file.certificate.place().map(|place| report.locate(place)),
    };
    let certificate = certificate(file.certificate, file.key, &hosts, wildcards, report);
    let stated = Stated {
        identity: file.identity,
        clients: file.clients,
        device_keys: file.device_keys,
        basic_auth: file.basic_auth,
        forward_auth: file.forward_auth,
        allow: file.allow,
        body_limit: file.body_limit,
        response_timeout: file.response_timeout,
        request_headers: file.request_headers,
        response_headers: file.response_headers,
        security_headers: file.security_headers,
        hsts: file.hsts,
    };
    let base = stated.over(&Inherited::default(), upstreams, report);
    check_loopback(base.identity, base.identity_place, target, file.upstream.place(), upstreams, report);
    check_device_keys(&base, target, upstreams, report);

    let kind = target.map_or(UpstreamKind::Openclaw, |id| upstreams.get(id).kind);
    // The status path is the gateway's custom; another application may well have its own.
    let builtin_status = file.builtin_status.value().unwrap_or(kind == UpstreamKind::Openclaw);
    let context = SiteContext { hosts: values(hosts), target, base };
    let routes = file.route.value().unwrap_or_default();
    let routes = routes.into_iter().filter_map(|at| route(at, &context, upstreams, report)).collect();
    let routes = in_matching_order(routes, builtin_status, &context, upstreams, report);
    let site = Site {
        hosts: context.hosts,
        certificate,
        // A site without an upstream has a finding, so nobody will look.
        upstream: target.unwrap_or(UpstreamId(0)),
        client_certificate: client_certificate(file.client_certificate, report),
        policy: context.base.policy(target, upstreams),
        paces: paces::of_site(&file.limits.value().unwrap_or_default(), paces, report),
        routes,
    };
    (site, places)
}

fn client_certificate(key: Key<file::ClientCertificate>, report: &mut Report<'_>) -> Option<Arc<ClientCertificate>> {
    let Key::Given(At { value: table, place }) = key else { return None };
    if table.ca.is_absent() == table.pins.is_absent() {
        let message = "a client's certificate is judged by its CA or by a list of certificates, one of the two";
        report.add(Code::ClientCertificateOneOf, place, message, "ca = \"/PATH\", or pins = [\"sha256:...\"]");
    }
    if let Some(at) = table.pins.given().filter(|at| at.value.0.is_empty()) {
        let way_out = "pins = [\"sha256:...\"]: openssl x509 -in FILE -noout -fingerprint -sha256";
        report.add(Code::ClientCertificateOneOf, at.place, "an empty list takes nobody", way_out);
    }
    let rule = match (table.ca.value(), table.pins.value()) {
        (Some(ca), _) => ClientCertificate::Ca(ca),
        (None, Some(OneOrMany(pins))) => ClientCertificate::Pins(values(pins).into()),
        (None, None) => return None,
    };
    Some(Arc::new(rule))
}

/// `host` and `hosts` together, the exact names first.
fn hosts(host: Key<Hostname>, hosts: Key<Vec<At<Hostname>>>, report: &mut Report<'_>) -> Vec<At<Hostname>> {
    if let (Some(host), Some(hosts)) = (host.place(), hosts.place()) {
        let also = [(hosts, "this is the other")];
        report.add_also(Code::HostBothSpellings, host, "both host and hosts are given", "move it into hosts", &also);
    }
    let one = match host {
        Key::Given(at) => Some(at),
        _ => None,
    };
    let mut all: Vec<At<Hostname>> = one.into_iter().chain(hosts.value().unwrap_or_default()).collect();
    all.sort_by_key(|host| host.value.wildcard_suffix().is_some());
    all
}

fn certificate(
    certificate: Key<CertificateSource>,
    key: Key<std::path::PathBuf>,
    hosts: &[At<Hostname>],
    wildcards: Wildcards,
    report: &mut Report<'_>,
) -> Certificate {
    let source = certificate.given().map(|at| &at.value);
    if let (Some(CertificateSource::File(chain)), Some(place)) = (source, certificate.place()) {
        if key.is_absent() {
            let message = "the certificate has no key";
            report.add(Code::SiteCertificateKey, place, message, "add key = \"/path/to/key.pem\"");
        }
        return Certificate::Files { chain: chain.clone(), key: key.value().unwrap_or_default() };
    }
    match (key.place(), &certificate) {
        (Some(key), Key::Given(At { value, place })) => {
            let (message, note) = match value {
                CertificateSource::Internal => {
                    ("a key is given for the internal CA's certificate", "the internal CA has its own key")
                }
                _ => ("a key is given for a certificate that we get ourselves", "its key is made with it"),
            };
            let way_out = "remove it, or name a certificate file";
            report.add_also(Code::SiteCertificateKey, key, message, way_out, &[(*place, note)]);
        }
        (Some(key), Key::Absent) => {
            let message = "the key has no certificate";
            report.add(Code::SiteCertificateKey, key, message, "add certificate = \"/path/to/certificate.pem\"");
        }
        _ => {}
    }
    match (source, &certificate) {
        (Some(CertificateSource::Internal), _) | (_, Key::Broken(_)) => Certificate::Internal,
        (Some(CertificateSource::Acme), _) => {
            let also: Vec<_> =
                certificate.place().map(|place| (place, "a public CA is asked here")).into_iter().collect();
            for host in hosts.iter().filter(|host| !host.value.is_public()) {
                let message = "no public CA can issue for this host";
                let way_out = "give it a site of its own, or certificate = \"auto\"";
                report.add_also(Code::SiteNotPublic, host.place, message, way_out, &also);
            }
            check_wildcards(hosts, wildcards, report);
            Certificate::Acme
        }
        _ if hosts.iter().any(|host| host.value.is_public()) => {
            check_wildcards(hosts, wildcards, report);
            Certificate::Acme
        }
        _ => Certificate::Internal,
    }
}

/// RFC 8555 §7.1.3 leaves it to the CA how wildcards are proven; all of them want a DNS record.
fn check_wildcards(hosts: &[At<Hostname>], wildcards: Wildcards, report: &mut Report<'_>) {
    let named = hosts.iter().filter(|host| host.value.wildcard_suffix().is_some() && host.value.is_public());
    for host in named.filter(|_| wildcards == Wildcards::Impossible) {
        let message = "nothing says how to make the DNS record that a wildcard certificate needs";
        let way_out = "add [acme.dns], or certificate and key, or write the names one by one";
        report.add(Code::SiteWildcardDns, host.place, message, way_out);
    }
}

struct SiteContext {
    hosts: Vec<Hostname>,
    target: Option<UpstreamId>,
    base: Inherited,
}

/// A route, and where it was written.
struct Placed {
    route: Route,
    place: Place,
}

fn route(
    At { value: file, place }: At<file::Route>,
    site: &SiteContext,
    upstreams: &mut Upstreams,
    report: &mut Report<'_>,
) -> Option<Placed> {
    let hosts = hosts(file.host, file.hosts, report);
    for host in &hosts {
        check_route_host(host, site, report);
    }
    let target = match &file.upstream {
        Key::Absent => site.target,
        Key::Broken(_) => None,
        Key::Given(at) => upstreams.target(at, Code::RouteUnknownUpstream, report),
    };
    let (own_identity, upstream_place) = (!file.identity.is_absent(), file.upstream.place());
    let stated = Stated {
        identity: file.identity,
        clients: file.clients,
        device_keys: file.device_keys,
        basic_auth: file.basic_auth,
        forward_auth: file.forward_auth,
        allow: file.allow,
        body_limit: file.body_limit,
        response_timeout: file.response_timeout,
        request_headers: file.request_headers,
        response_headers: file.response_headers,
        security_headers: file.security_headers,
        hsts: file.hsts,
    };
    let policy = stated.over(&site.base, upstreams, report);
    // Otherwise the site has the finding already.
    if own_identity || upstream_place.is_some() {
        check_loopback(policy.identity, policy.identity_place, target, upstream_place, upstreams, report);
    }
    check_device_keys(&policy, target, upstreams, report);
    let (matches, place) = path_match(file.path, file.prefix, place, report)?;
    let (PathMatch::Exact(path) | PathMatch::Prefix(path)) = &matches;
    let route = Route {
        name: path.clone(),
        hosts: values(hosts),
        rewrite: file.rewrite.value().map(|RewritePath(path)| path),
        upstream: target.unwrap_or(UpstreamId(0)),
        policy: policy.policy(target, upstreams),
        matches,
    };
    Some(Placed { route, place })
}

fn check_route_host(host: &At<Hostname>, site: &SiteContext, report: &mut Report<'_>) {
    let belongs = site.hosts.iter().any(|own| *own == host.value || own.matches(host.value.as_str()));
    // A site whose own hosts are wrong has its finding already.
    if belongs || site.hosts.is_empty() {
        return;
    }
    let names = site.hosts.iter().map(Hostname::as_str);
    let way_out = match did_you_mean(host.value.as_str(), names.clone()) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => format!("one of {}, or a site of its own", super::or_list(names)),
    };
    report.add(Code::RouteHostNotInSite, host.place, "the host is not one of the site's", way_out);
}

fn path_match(
    path: Key<RoutePath>,
    prefix: Key<RoutePath>,
    route: Place,
    report: &mut Report<'_>,
) -> Option<(PathMatch, Place)> {
    match (path, prefix) {
        (Key::Absent, Key::Absent) => {
            report.add(
                Code::RouteNoPath,
                route,
                "the route matches no path",
                "add path = \"/exact\" or prefix = \"/p\"",
            );
            None
        }
        (path, prefix) if !path.is_absent() && !prefix.is_absent() => {
            let also: Vec<_> = path.place().map(|place| (place, "the exact path is here")).into_iter().collect();
            let place = prefix.place().unwrap_or(route);
            let message = "the route has both a path and a prefix";
            report.add_also(Code::RouteBothPathAndPrefix, place, message, "make it two routes", &also);
            None
        }
        (Key::Given(at), _) => Some((PathMatch::Exact(at.value.0), at.place)),
        (_, Key::Given(at)) => Some((PathMatch::Prefix(at.value.0), at.place)),
        _ => None,
    }
}

/// The operator's exact paths, the built-in one, then the other routes as they stand in the file.
fn in_matching_order(
    routes: Vec<Placed>,
    builtin_status: bool,
    site: &SiteContext,
    upstreams: &Upstreams,
    report: &mut Report<'_>,
) -> Vec<Route> {
    for (index, later) in routes.iter().enumerate() {
        if let Some(earlier) = routes[..index].iter().find(|earlier| covers(&earlier.route, &later.route, site)) {
            let also = [(earlier.place, "by this one")];
            let message = "every request is taken by an earlier route";
            report.add_also(Code::RouteUnreachable, later.place, message, "move it up, or remove it", &also);
        }
    }
    let is_exact = |placed: &Placed| matches!(placed.route.matches, PathMatch::Exact(_));
    let (exact, others): (Vec<Placed>, Vec<Placed>) = routes.into_iter().partition(is_exact);
    let builtin = builtin_status.then(|| Route {
        name: STATUS_PATH.into(),
        hosts: Vec::new(),
        matches: PathMatch::Exact(STATUS_PATH.into()),
        rewrite: Some(Arc::from("/")),
        upstream: site.target.unwrap_or(UpstreamId(0)),
        policy: site.base.policy(site.target, upstreams),
    });
    let routes = |placed: Vec<Placed>| placed.into_iter().map(|placed| placed.route);
    routes(exact).chain(builtin).chain(routes(others)).collect()
}

/// Whether `earlier` leaves nothing of what `later` matches.
fn covers(earlier: &Route, later: &Route, site: &SiteContext) -> bool {
    let wanted = if later.hosts.is_empty() { &site.hosts } else { &later.hosts };
    let hosts = earlier.hosts.is_empty()
        || wanted.iter().all(|host| earlier.hosts.iter().any(|own| own == host || own.matches(host.as_str())));
    let path = match (&earlier.matches, &later.matches) {
        (PathMatch::Exact(earlier), PathMatch::Exact(later)) => earlier == later,
        (PathMatch::Prefix(earlier), PathMatch::Prefix(later)) => match later.strip_prefix(&**earlier) {
            Some(rest) => rest.is_empty() || rest.starts_with('/') || earlier.ends_with('/'),
            None => false,
        },
        // Exact paths come before prefixes, so neither can take the other's requests.
        _ => false,
    };
    hosts && path
}
