//! Upstreams, named in their own tables or given as an address by sites and routes.
//!
//! An address is one upstream, however many sites and routes write it: the gateway's places for unauthenticated
//! sockets, and what waits for it while it is away, can only be counted if it is known as one.

use std::{sync::Arc, time::Duration};

use super::{or_list, ranged};
use crate::config::{
    address::Target,
    defaults, file,
    finding::{At, Code, Place, Report, did_you_mean},
    model::{Endpoint, Tls, Upstream, UpstreamId, UpstreamKind},
    read::{Key, Named},
};

#[derive(Default)]
pub(super) struct Upstreams {
    list: Vec<Entry>,
}

struct Entry {
    upstream: Upstream,
    /// Of the name for `[upstream.NAME]`, `None` for an address in a site or route.
    named: Option<Place>,
    /// The address could not be read: nothing can be said about it.
    broken: bool,
    used: bool,
    /// Where a site said these about an address.
    hold: Option<Place>,
    kind: Option<Place>,
    /// The url by which it became a service.
    url: Option<Place>,
}

const LONGEST_HOLD: Duration = Duration::from_secs(600);
/// After this the gateway closes an idle connection.
const GATEWAY_IDLE: Duration = Duration::from_secs(5);

impl Upstreams {
    pub(super) fn declare(key: Key<Named<String, file::Upstream>>, report: &mut Report<'_>) -> Upstreams {
        let mut upstreams = Upstreams::default();
        let Some(Named(tables)) = key.value() else { return upstreams };
        for (name, table) in tables {
            upstreams.declare_one(&name, &table, report);
        }
        upstreams
    }

    fn declare_one(&mut self, name: &At<String>, table: &file::Upstream, report: &mut Report<'_>) {
        let is_good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if name.value.is_empty() || name.value.len() > 64 || !name.value.bytes().all(is_good) {
            let way_out = "letters, digits, hyphens and underscores, at most 64";
            report.add(Code::UpstreamBadName, name.place, "not a name for an upstream", way_out);
        }
        if table.address.is_absent() {
            let message = format!("the upstream \"{}\" has no address", name.value.escape_debug());
            report.add(Code::UpstreamNoAddress, name.place, message, "add address = \"127.0.0.1:18789\" to its table");
        }
        let endpoint = table.address.given();
        let kind = table.kind.given().map_or(UpstreamKind::Openclaw, |at| at.value);
        let twin = self.list.iter().find(|entry| endpoint.is_some_and(|at| entry.is_at(&at.value)));
        if let (Some(at), Some(Entry { upstream: twin, named: Some(place), .. })) = (endpoint, twin)
            && (kind == UpstreamKind::Openclaw || twin.kind == UpstreamKind::Openclaw)
        {
            let message = "another upstream has the same address";
            let also = [(*place, "it is this one")];
            report.add_also(Code::UpstreamSameAddress, at.place, message, "use one name for both", &also);
        }
        let code = Code::ValueOutOfRange;
        let millisecond = Duration::from_millis(1);
        let minute = Duration::from_secs(60);
        let upstream = Upstream {
            name: name.value.as_str().into(),
            endpoint: endpoint.map_or_else(defaults::endpoint, |at| at.value.clone()),
            kind,
            asked: false,
            hold: ranged(&table.hold, code, Duration::ZERO..=LONGEST_HOLD, defaults::HOLD, report),
            connect_timeout: ranged(
                &table.connect_timeout,
                code,
                millisecond..=minute,
                defaults::CONNECT_TIMEOUT,
                report,
            ),
            idle_timeout: match (kind, table.idle_timeout.given()) {
                (UpstreamKind::Openclaw, Some(at)) if at.value >= GATEWAY_IDLE => {
                    let message = "the gateway closes a connection that is idle for 5 s";
                    let way_out = "below \"5s\", or kind = \"generic\" if it is no OpenClaw gateway";
                    report.add(Code::UpstreamIdleTooLong, at.place, message, way_out);
                    at.value
                }
                _ => ranged(&table.idle_timeout, code, millisecond..=minute * 60, defaults::UPSTREAM_IDLE, report),
            },
            tls: None,
        };
        let named = Some(name.place);
        let broken = endpoint.is_none();
        self.list.push(Entry { upstream, named, broken, used: false, hold: None, kind: None, url: None });
    }

    /// What a site or route forwards to; `None` after a finding.
    pub(super) fn target(&mut self, at: &At<Target>, code: Code, report: &mut Report<'_>) -> Option<UpstreamId> {
        match &at.value {
            Target::Inline(endpoint) => Some(self.at_address(endpoint.clone())),
            Target::Named(name) => {
                let found = self.list.iter_mut().position(|entry| entry.is_called(name));
                if let Some(index) = found {
                    self.list[index].used = true;
                    return Some(UpstreamId(index));
                }
                let names =
                    || self.list.iter().filter(|entry| entry.named.is_some()).map(|entry| &*entry.upstream.name);
                let way_out = match did_you_mean(name, names()) {
                    Some(meant) => format!("did you mean \"{meant}\"?"),
                    None if names().next().is_none() => {
                        "add [upstream.NAME], or write an address with a port".to_owned()
                    }
                    None => format!("one of {}, or an address with a port", or_list(names())),
                };
                let message = match report.is_literal(at.place) {
                    true => format!("no upstream is called \"{}\"", name.escape_debug()),
                    false => "no upstream has this name".to_owned(),
                };
                report.add(code, at.place, message, way_out);
                None
            }
        }
    }

    pub(super) fn at_address(&mut self, endpoint: Endpoint) -> UpstreamId {
        let index = self.list.iter().position(|entry| entry.is_at(&endpoint)).unwrap_or_else(|| {
            self.list.push(Entry::inline(endpoint));
            self.list.len() - 1
        });
        self.list[index].used = true;
        UpstreamId(index)
    }

    /// A service that is asked, and never forwarded to: apart from a gateway at the same address, if there is one. Half of
    /// the `timeout` of a question is for connecting, so that of two addresses one that keeps silent leaves time for the
    /// other.
    pub(super) fn service(
        &mut self,
        endpoint: Endpoint,
        tls: &Option<Tls>,
        timeout: Duration,
        place: Place,
        report: &mut Report<'_>,
    ) -> UpstreamId {
        let name = format!("auth:{endpoint}");
        if let Some(index) = self.list.iter().position(|entry| *entry.upstream.name == *name) {
            let Entry { upstream: twin, url, .. } = &mut self.list[index];
            twin.connect_timeout = twin.connect_timeout.max(timeout / 2);
            if twin.tls != *tls {
                let message = "another forward_auth speaks to the same service in another way";
                let also: Vec<_> = url.map(|first| (first, "the other is here")).into_iter().collect();
                let way_out = "write the same https:// or http://, host and ca in both";
                report.add_also(Code::UpstreamConflict, place, message, way_out, &also);
            }
            return UpstreamId(index);
        }
        let mut entry = Entry::inline(endpoint);
        (entry.upstream.name, entry.upstream.kind, entry.used) = (name.into(), UpstreamKind::Generic, true);
        (entry.upstream.tls, entry.upstream.asked, entry.url) = (tls.clone(), true, Some(place));
        entry.upstream.connect_timeout = timeout / 2;
        // Nothing finds it by its address.
        entry.broken = true;
        self.list.push(entry);
        UpstreamId(self.list.len() - 1)
    }

    /// `hold` and `kind` of a site, which describe an upstream given as an address.
    pub(super) fn describe(
        &mut self,
        id: UpstreamId,
        hold: &Key<Duration>,
        kind: &Key<UpstreamKind>,
        report: &mut Report<'_>,
    ) {
        let entry = &mut self.list[id.0];
        if let Some(named) = entry.named {
            for place in [hold.place(), kind.place()].into_iter().flatten() {
                let message = format!("the upstream \"{}\" has its own table", entry.upstream.name.escape_debug());
                let also = [(named, "write it here")];
                report.add_also(Code::SiteUpstreamSetting, place, message, "remove it here", &also);
            }
            return;
        }
        if let Some(at) = hold.given() {
            ranged(hold, Code::ValueOutOfRange, Duration::ZERO..=LONGEST_HOLD, defaults::HOLD, report);
            settle(&mut entry.upstream.hold, &mut entry.hold, at, report);
        }
        if let Some(at) = kind.given() {
            settle(&mut entry.upstream.kind, &mut entry.kind, at, report);
        }
    }

    pub(super) fn get(&self, id: UpstreamId) -> &Upstream {
        &self.list[id.0].upstream
    }

    /// `None` if its address could not be read.
    pub(super) fn endpoint(&self, id: UpstreamId) -> Option<&Endpoint> {
        let entry = &self.list[id.0];
        (!entry.broken).then_some(&entry.upstream.endpoint)
    }

    pub(super) fn finish(self, report: &mut Report<'_>) -> Vec<Upstream> {
        for entry in self.list.iter().filter(|entry| !entry.used) {
            if let Some(place) = entry.named {
                let message = format!("no site or route uses the upstream \"{}\"", entry.upstream.name.escape_debug());
                report.add(Code::UpstreamUnused, place, message, "name it in a site or route, or remove it");
            }
        }
        self.list.into_iter().map(|entry| entry.upstream).collect()
    }
}

impl Entry {
    fn inline(endpoint: Endpoint) -> Entry {
        let upstream = Upstream {
            name: Arc::from(endpoint.to_string()),
            endpoint,
            kind: UpstreamKind::Openclaw,
            asked: false,
            hold: defaults::HOLD,
            connect_timeout: defaults::CONNECT_TIMEOUT,
            idle_timeout: defaults::UPSTREAM_IDLE,
            tls: None,
        };
        Entry { upstream, named: None, broken: false, used: false, hold: None, kind: None, url: None }
    }

    fn is_at(&self, endpoint: &Endpoint) -> bool {
        !self.broken && self.upstream.endpoint == *endpoint
    }

    fn is_called(&self, name: &str) -> bool {
        self.named.is_some() && *self.upstream.name == *name
    }
}

/// The first who says something about a shared upstream says it for all; a second may only agree.
fn settle<T: Copy + PartialEq>(current: &mut T, said: &mut Option<Place>, at: &At<T>, report: &mut Report<'_>) {
    match said {
        Some(first) if *current != at.value => {
            let message = "sites that share this upstream say different things about it";
            let also = [(*first, "the other is here")];
            report.add_also(Code::UpstreamConflict, at.place, message, "say it once, in an [upstream.NAME]", &also);
        }
        _ => (*current, *said) = (at.value, Some(at.place)),
    }
}
