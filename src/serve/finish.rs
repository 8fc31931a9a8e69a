//! What must happen once an exchange is over, however it ended: the connection back to its pool, the record written.

use std::{
    net::IpAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{
    access::{self, Record},
    body::{RequestBody, Upload},
    connection::Client,
    core::Core,
    exchange,
    refusal::{Refusal, Side},
};
use crate::{headers::identity::Identity, upstream::pool};

/// Travels with the answer's body; its drop is the end of the exchange.
pub struct Finish {
    core: Rc<Core>,
    client: Rc<Client>,
    started: Instant,
    status: StatusCode,
    sent: u64,
    upload: Option<Rc<Upload>>,
    lease: Option<(pool::Key, pool::Connection<RequestBody>)>,
    complete: bool,
    failure: Option<&'static str>,
    /// `None` when nobody wants access records.
    noted: Option<Noted>,
}

/// What the record will say of the request.
struct Noted {
    method: Method,
    uri: Uri,
    host: Option<Arc<str>>,
    client: IpAddr,
    identity: Option<Identity>,
    route: Option<Arc<str>>,
    user_agent: Option<HeaderValue>,
    referer: Option<HeaderValue>,
}

impl Finish {
    pub fn new(core: Rc<Core>, client: Rc<Client>, request: &Request<Incoming>) -> Finish {
        client.begin();
        core.shared.counts.requests.fetch_add(1, Ordering::Relaxed);
        let noted = core.access.is_some().then(|| Noted {
            method: request.method().clone(),
            uri: request.uri().clone(),
            host: None,
            client: client.peer.ip(),
            identity: None,
            route: None,
            user_agent: request.headers().get(header::USER_AGENT).cloned(),
            referer: request.headers().get(header::REFERER).cloned(),
        });
        Finish {
            core,
            client,
            started: Instant::now(),
            status: StatusCode::OK,
            sent: 0,
            upload: None,
            lease: None,
            complete: false,
            failure: None,
            noted,
        }
    }

    pub fn started(&self) -> Instant {
        self.started
    }

    pub fn host(&mut self, host: &str) {
        if let Some(noted) = &mut self.noted {
            noted.host = Some(host.into());
        }
    }

    pub fn route(&mut self, route: &Arc<str>) {
        if let Some(noted) = &mut self.noted {
            noted.route = Some(route.clone());
        }
    }

    pub fn client(&mut self, address: IpAddr) {
        if let Some(noted) = &mut self.noted {
            noted.client = address;
        }
    }

    pub fn identity(&mut self, identity: Identity) {
        if let Some(noted) = &mut self.noted {
            noted.identity = Some(identity);
        }
    }

    pub fn upload(&mut self, upload: Option<Rc<Upload>>) {
        self.upload = upload;
    }

    pub fn upload_unfinished(&self) -> bool {
        self.upload.as_ref().is_some_and(|u| !u.done.get())
    }

    /// The connection the answer comes on.
    pub fn lease(&mut self, key: pool::Key, connection: pool::Connection<RequestBody>) {
        self.lease = Some((key, connection));
    }

    /// That connection is not to be used again.
    pub fn drop_lease(&mut self) {
        self.lease = None;
    }

    pub fn answered(&mut self, status: StatusCode) {
        self.status = status;
    }

    pub fn refused(&mut self, refusal: &Refusal) {
        let row = refusal.reason.row();
        self.failure = Some(row.name);
        if row.side == Side::Us {
            tracing::warn!(reason = row.name, detail = refusal.detail.as_deref(), "refused");
        }
    }

    pub fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// The answer's last byte has been handed over.
    pub fn complete(&mut self) {
        if self.complete {
            return;
        }
        self.complete = true;
        if let Some((key, connection)) = self.lease.take()
            && !self.upload_unfinished()
        {
            self.core.pool.put(key, connection, std::time::Instant::now());
        }
    }

    pub fn upstream_failed(&mut self) {
        self.failure = Some("http_response_incomplete");
        self.lease = None;
    }

    /// The exchange became a tunnel: its record is written at the tunnel's end.
    pub fn into_tunnel(mut self, ended: &super::tunnel::Ended, duration_from: Instant) {
        self.complete = true;
        self.status = StatusCode::SWITCHING_PROTOCOLS;
        let noted = self.noted.take();
        if let Some(noted) = noted {
            self.write(&noted, Some((ended, duration_from.elapsed())));
        }
    }

    fn write(&self, noted: &Noted, tunnel: Option<(&super::tunnel::Ended, Duration)>) {
        let Some(writer) = &self.core.access else { return };
        let path = noted.uri.path_and_query().map_or("*", |p| p.as_str());
        let mut record = Record::new(access::Kind::Request, noted.client);
        record.peer = self.client.peer.ip();
        record.identity = noted.identity.map(Identity::name);
        record.method = noted.method.as_str();
        record.version = if self.client.h2 { "HTTP/2" } else { "HTTP/1.1" };
        record.host = noted.host.as_deref();
        record.path = path;
        record.status = self.status.as_u16();
        record.route = noted.route.as_deref();
        record.refusal = self.failure;
        record.user_agent = noted.user_agent.as_ref().map(HeaderValue::as_bytes);
        record.referer = noted.referer.as_ref().map(HeaderValue::as_bytes);
        record.received = exchange::uploaded(self.upload.as_ref());
        record.sent = self.sent;
        record.duration = self.started.elapsed();
        if let Some((ended, duration)) = tunnel {
            record.kind = access::Kind::WebSocket;
            record.received = ended.from_client;
            record.sent = ended.from_upstream;
            record.duration = duration;
            if let Some((by, code, reason)) = &ended.close {
                record.close = Some((*code, by.name(), reason));
            } else if let Some(goodbye) = ended.goodbye {
                record.close = Some((goodbye.code(), "proxy", goodbye.reason()));
            }
        }
        writer.borrow_mut().write(&record);
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        if !self.complete && self.failure.is_none() && self.lease.is_some() {
            self.failure = Some("client_aborted");
        }
        if let Some(noted) = self.noted.take() {
            self.write(&noted, None);
        }
        self.core.shared.counts.requests.fetch_sub(1, Ordering::Relaxed);
        self.core.shared.counts.served.fetch_add(1, Ordering::Relaxed);
        self.client.end();
    }
}
