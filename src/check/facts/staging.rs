//! One order at the CA's staging directory for each name: the CA comes from outside, as it will for the real one.
//!
//! Where clawgate runs, it does this itself and is asked over the admin socket. Else the check listens on the ports for
//! as long as it takes, and answers nothing there but the CA.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, timeout},
};

use super::blocking;
use crate::{
    acme::{
        outside::{Machine, Outside},
        rehearsal::{self, Rehearsal},
        settings::Settings,
    },
    admin::{self, Answer, CallError, Refused, Verb},
    cause,
    challenge::Challenges,
    config::{Config, model::ListenerKind},
    listen,
    tls::{CertStore, Names, Terminator},
};

/// For a connection from beginning to end; a CA has one question.
const CONNECTION: Duration = Duration::from_secs(20);

/// Why nothing was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotTried {
    /// The configured CA has no directory for it, or no certificate is wanted.
    NoStaging,
    /// Whom the running process, or the kernel, does not permit it.
    NotPermitted(String),
    /// In words.
    Failed(String),
}

pub async fn look(config: &Config) -> Result<Rehearsal, NotTried> {
    let settings = Settings::of(config);
    if !rehearsal::has_staging(&settings) {
        return Err(NotTried::NoStaging);
    }
    let socket = config.admin_socket.clone();
    match blocking(move || admin::call(&socket, &Verb::Rehearse)).await {
        Ok(Answer { ok: true, text, .. }) => {
            serde_json::from_str(&text).map_err(|_| NotTried::Failed("another version of clawgate is running".into()))
        }
        Ok(Answer { error: Some(Refused::Forbidden), text, .. }) => Err(NotTried::NotPermitted(text)),
        Ok(Answer { text, .. }) => Err(NotTried::Failed(text)),
        Err(CallError::NotRunning { .. }) => here(config, &settings).await,
        Err(error @ CallError::Permission { .. }) => Err(NotTried::NotPermitted(error.to_string())),
        Err(error) => Err(NotTried::Failed(cause::chain(&error))),
    }
}

/// With ports of our own, which are free again when this ends.
async fn here(config: &Config, settings: &Settings) -> Result<Rehearsal, NotTried> {
    let failed = |error: &dyn std::error::Error| NotTried::Failed(cause::chain(error));
    let answers = Arc::new(Challenges::default());
    let bound = listen::bind(&config.listeners, 1, Vec::new()).map_err(|error| match error {
        listen::BindError::Denied { .. } => NotTried::NotPermitted(error.to_string()),
        error => failed(&error),
    })?;
    let tls = Terminator::try_new(CertStore::new(Names::default()), answers.clone()).map_err(|error| failed(&error))?;
    let mut open = JoinSet::new();
    for bound in bound {
        let socket = bound.socket(0).and_then(TcpListener::from_std).map_err(|error| failed(&error))?;
        match bound.listener.kind {
            ListenerKind::Https => open.spawn(https(socket, tls.clone())),
            ListenerKind::Redirect | ListenerKind::Http => open.spawn(http(socket, answers.clone())),
        };
    }
    let outside: Arc<dyn Outside> = Arc::new(Machine);
    Ok(rehearsal::rehearse(&outside, settings, &answers).await)
}

async fn https(socket: TcpListener, tls: Terminator) {
    let mut open = JoinSet::new();
    while let Some((stream, peer)) = next(&socket, &mut open).await {
        let tls = tls.clone();
        // It ends with the answer to the CA; all others are strangers to a store without certificates.
        open.spawn(async move { drop(tls.accept(stream, peer, Instant::now() + CONNECTION).await) });
    }
}

async fn http(socket: TcpListener, answers: Arc<Challenges>) {
    let mut open = JoinSet::new();
    while let Some((stream, _)) = next(&socket, &mut open).await {
        let answers = answers.clone();
        let serve = service_fn(move |request: Request<Incoming>| {
            let answer = answer(&answers, request.uri().path());
            async move { Ok::<_, Infallible>(answer) }
        });
        open.spawn(async move {
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).keep_alive(false);
            drop(timeout(CONNECTION, server.serve_connection(TokioIo::new(stream), serve)).await);
        });
    }
}

/// The next connection, and those that have ended are forgotten. A failing accept is over with the check.
async fn next(socket: &TcpListener, open: &mut JoinSet<()>) -> Option<(TcpStream, SocketAddr)> {
    while open.try_join_next().is_some() {}
    // Who takes all of our descriptors gets no more of them.
    while open.len() >= 64 {
        open.join_next().await;
    }
    socket.accept().await.ok()
}

fn answer(answers: &Challenges, path: &str) -> Response<Full<bytes::Bytes>> {
    let token = path.strip_prefix("/.well-known/acme-challenge/");
    match token.and_then(|token| answers.http(token)) {
        Some(authorization) => Response::new(Full::from(authorization.as_bytes().to_vec())),
        None => {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    }
}
