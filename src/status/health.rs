//! What the gateways themselves say of their health, asked at the time of the page: the guide's own quick check.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs as _},
    time::Duration,
};

use futures_util::future::join_all;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{Report, Upstream};
use crate::gateway::client::{self, ClientError, Door};

/// For all of one gateway.
const DEADLINE: Duration = Duration::from_secs(3);
/// Gateways that are asked.
const MOST: usize = 16;

/// One gateway's answers, or why there are none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// The status of `GET /healthz`: it lives.
    pub healthz: Option<u16>,
    /// Of `GET /readyz`: it works.
    pub readyz: Option<u16>,
    /// What it says does not.
    pub failing: Vec<String>,
    pub error: Option<String>,
    /// Nobody listens there.
    pub refused: bool,
}

impl Health {
    /// It could be asked nothing at all.
    pub fn is_mute(&self) -> bool {
        self.error.is_some() && self.healthz.is_none() && self.readyz.is_none()
    }

    /// It answers.
    pub fn is_live(&self) -> bool {
        self.healthz.is_some_and(|status| (200..300).contains(&status))
    }
}

/// Asks every gateway, all at once, and writes down what came.
pub fn ask(report: &mut Report) {
    let gateways = report.upstreams.iter_mut().filter(|upstream| upstream.gateway).take(MOST);
    let asked = async {
        join_all(gateways.map(|upstream| async move { upstream.health = Some(of(upstream).await) })).await;
    };
    // Without a runtime nothing is asked, and nothing is said.
    if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
        runtime.block_on(asked);
        // A look-up that hangs is left behind.
        runtime.shutdown_background();
    }
}

async fn of(upstream: &Upstream) -> Health {
    let failed = |error: String| Health { error: Some(error), ..Health::default() };
    let asked = async {
        let name = upstream.address.clone();
        let found = tokio::task::spawn_blocking(move || name.to_socket_addrs().map(|mut found| found.next())).await;
        match found {
            Ok(Ok(Some(address))) => at(address).await,
            Ok(Err(error)) => failed(error.to_string()),
            _ => failed(format!("{} has no address here", upstream.address)),
        }
    };
    match tokio::time::timeout(DEADLINE, asked).await {
        Ok(health) => health,
        Err(_) => failed(format!("no answer within {} s", DEADLINE.as_secs())),
    }
}

async fn at(address: SocketAddr) -> Health {
    let door = Door::plain(address, None);
    let (live, ready) = tokio::join!(client::get(&door, "/healthz"), client::get(&door, "/readyz"));
    let error = [&live, &ready].into_iter().find_map(|answer| answer.as_ref().err()).map(ToString::to_string);
    let refused = [&live, &ready].into_iter().all(is_refusal);
    let status = |answer: &Result<(StatusCode, _), _>| answer.as_ref().ok().map(|(status, _)| status.as_u16());
    let (healthz, readyz) = (status(&live), status(&ready));
    Health { healthz, readyz, failing: ready.map(failing).unwrap_or_default(), error, refused }
}

fn is_refusal<T>(answer: &Result<T, ClientError>) -> bool {
    matches!(answer, Err(ClientError::Dial(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
}

/// What `/readyz` names, where it is not ready.
fn failing((_, body): (StatusCode, impl AsRef<[u8]>)) -> Vec<String> {
    #[derive(Deserialize)]
    struct Ready {
        failing: Vec<String>,
    }
    serde_json::from_slice(body.as_ref()).map(|Ready { failing }| failing).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::standin::{Options, Standin};

    fn report(address: String) -> Report {
        Report { upstreams: vec![Upstream { gateway: true, address, ..Upstream::default() }], ..Report::default() }
    }

    fn asked(address: &str) -> Health {
        let mut report = report(address.to_owned());
        ask(&mut report);
        report.upstreams[0].health.clone().unwrap()
    }

    #[test]
    fn a_gateway_is_asked_whether_it_lives_and_whether_it_is_ready() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(Standin::new(Options::default()).serve(listener));
        let well = Health { healthz: Some(200), readyz: Some(200), ..Health::default() };
        assert_eq!(asked(&address.to_string()), well);
    }

    #[test]
    fn who_cannot_be_asked_is_said_with_the_reason() {
        let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let health = asked(&dead.to_string());
        assert!(health.error.as_ref().unwrap().contains("refused"), "{health:?}");
        assert!(health.is_mute() && health.refused, "{health:?}");
        let health = asked("no address");
        assert!(!health.error.as_ref().unwrap().is_empty());
        assert!(health.is_mute() && !health.refused, "{health:?}");
    }

    #[test]
    fn what_is_not_ready_is_named() {
        let said = |body: &str| failing((StatusCode::SERVICE_UNAVAILABLE, body.to_owned()));
        assert_eq!(said(r#"{"ready":false,"failing":["telegram","discord"],"uptimeMs":5}"#), ["telegram", "discord"]);
        for other in ["", "<html>", "{}", r#"{"failing":7}"#] {
            assert!(said(other).is_empty(), "{other}");
        }
    }
}
