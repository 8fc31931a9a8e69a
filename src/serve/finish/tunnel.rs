//! What must happen once a tunnel is over.

use std::{net::IpAddr, rc::Rc, sync::Arc, time::Duration};

use http::StatusCode;

use super::{
    super::{
        access::{self, ClosedBy},
        connection::Client,
        core::Core,
        tunnel::{Ended, Goodbye},
    },
    Noted,
};
use crate::{gateway::frames, headers::identity::Identity};

/// The record of a tunnel that is still open.
pub struct TunnelRecord {
    pub(super) core: Rc<Core>,
    pub(super) client: Rc<Client>,
    pub(super) noted: Option<Box<Noted>>,
    pub(super) from: IpAddr,
    pub(super) identity: Option<Identity>,
    pub(super) route: Option<Arc<str>>,
    pub(super) upstream: Option<Arc<str>>,
}

impl TunnelRecord {
    pub fn end(self, ended: &Ended, duration: Duration) {
        let said = ended.goodbye.map(Goodbye::reason).unwrap_or_default();
        let close = match (ended.goodbye, &ended.close) {
            (Some(goodbye), _) => {
                Some(access::Close { code: Some(goodbye.code()), by: ClosedBy::Proxy, reason: said.as_bytes() })
            }
            (None, Some((by, close))) => Some(access::Close {
                code: close.code,
                by: match by {
                    frames::Side::Client => ClosedBy::Client,
                    frames::Side::Gateway => ClosedBy::Upstream,
                },
                reason: close.reason.as_bytes(),
            }),
            (None, None) => None,
        };
        self.core.counters.tunnel_closed(close.map(|c| c.by), close.and_then(|c| c.code));
        let Some(noted) = &self.noted else { return };
        let mut record = noted.record(access::Kind::WebSocket, &self.client, self.from, self.identity);
        record.route = self.route.as_deref();
        record.upstream = self.upstream.as_deref();
        record.status = Some(StatusCode::SWITCHING_PROTOCOLS.as_u16());
        record.request_bytes = ended.from_client;
        record.response_bytes = ended.from_upstream;
        record.duration = duration;
        record.close = close;
        self.core.log(&record);
    }
}
