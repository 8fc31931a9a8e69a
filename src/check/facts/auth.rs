//! The services of `forward_auth`, each asked as for a client that has not logged in.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use crate::{
    cause,
    config::{
        Config,
        model::{Endpoint, ForwardAuth, Policy, Site},
    },
    headers::ask::{About, question},
    upstream::{ConnectError, Source, Tls, TlsError, Untrusted, connect},
};

/// For one of them; `timeout` of the configuration where that is shorter.
const DEADLINE: Duration = Duration::from_secs(6);

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub url: String,
    /// The first site that asks it.
    pub host: String,
    /// How long it was waited for.
    pub waited: Duration,
    pub answer: Answer,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Status(u16),
    /// Its name has no address; why.
    NameUnknown(String),
    /// No connection; why.
    Away(String),
    /// Whose certificate is not good here, and whether a CA of one's own is named.
    Untrusted {
        why: Untrusted,
        own_ca: bool,
    },
    /// It is no TLS that we could speak; why.
    NoTls(String),
    /// The file of its CA cannot be read from here.
    CaUnseen,
    /// No answer in time.
    Silent,
    /// It is no HTTP; why.
    NoHttp(String),
}

/// Asks each service once.
pub async fn look(config: &Config) -> Vec<Service> {
    let mut wanted: Vec<(&ForwardAuth, &Site)> = Vec::new();
    for site in &config.sites {
        let policies = site.routes.iter().map(|route| &route.policy).chain([&site.policy]);
        for auth in policies.filter_map(|policy: &Policy| policy.forward_auth.as_deref()) {
            let is_same =
                |other: &ForwardAuth| (&other.tls, &other.host, &other.target) == (&auth.tls, &auth.host, &auth.target);
            if !wanted.iter().any(|(other, _)| is_same(other)) {
                wanted.push((auth, site));
            }
        }
    }
    join_all(wanted.into_iter().map(|(auth, site)| async move {
        let host = site.hosts.first().map_or("", |host| host.as_str().trim_start_matches("*."));
        let waited = auth.timeout.min(DEADLINE);
        let endpoint = &config.upstreams[auth.service.0].endpoint;
        let answer = timeout(waited, ask(auth, endpoint, host)).await.unwrap_or(Answer::Silent);
        Service { url: auth.url(), host: host.to_owned(), waited, answer }
    }))
    .await
}

/// By the same way as a request's question.
async fn ask(auth: &ForwardAuth, endpoint: &Endpoint, host: &str) -> Answer {
    let own_ca = auth.tls.as_ref().and_then(|tls| tls.ca.as_ref());
    if own_ca.is_some_and(|ca| ca.is_unseen()) {
        return Answer::CaUnseen;
    }
    let stream = match connect(endpoint, Source::Host, DEADLINE).await {
        Ok(stream) => stream,
        Err(error @ ConnectError::Lookup { .. }) => return Answer::NameUnknown(said(&error)),
        Err(error) => return Answer::Away(said(&error)),
    };
    let Some(tls) = &auth.tls else {
        return exchange(stream, auth, host).await.unwrap_or_else(Answer::NoHttp);
    };
    match Tls::new(tls).over(stream).await {
        Ok(stream) => exchange(stream, auth, host).await.unwrap_or_else(Answer::NoHttp),
        Err(TlsError::Untrusted(why)) => Answer::Untrusted { why, own_ca: own_ca.is_some() },
        Err(error @ TlsError::Broken(_)) => Answer::Away(said(&error)),
        Err(error @ (TlsError::NoTls | TlsError::Refused(_))) => Answer::NoTls(said(&error)),
    }
}

fn said(error: &dyn std::error::Error) -> String {
    cause::without_number(&cause::chain(error)).to_owned()
}

async fn exchange<S>(stream: S, auth: &ForwardAuth, host: &str) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let said = |error: hyper::Error| cause::chain(&error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
    let host = HeaderValue::from_str(host).map_err(|error| error.to_string())?;
    // RFC 5737: nobody's address.
    let client = HeaderValue::from_static("192.0.2.1");
    let about = About { method: &Method::GET, target: "/", host: &host, https: true, client: &client };
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = auth.target.clone().into();
    *request.headers_mut() = question(auth, &about, &mut HeaderMap::new());
    let mut answer = std::pin::pin!(sender.send_request(request));
    let response = tokio::select! {
        answer = &mut answer => answer,
        // It ends once all is said: what was said last may still have to be read.
        _ = connection => answer.await,
    };
    Ok(Answer::Status(response.map_err(said)?.status().as_u16()))
}

#[cfg(test)]
mod tests;
