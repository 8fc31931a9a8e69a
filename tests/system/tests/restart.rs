//! The gateway's restart is a pause, not an outage.

use std::{net::Ipv4Addr, time::Duration};

use bytes::Bytes;
use clawgate_system::{Backend, Dial, Edge, Gateway, Proxy, on_both_gateways, request, wait};
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::task::JoinSet;

const PLATFORM: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);
/// Of each kind, when the gateway dies.
const IN_FLIGHT: usize = 6;
/// Between two requests that begin while it is down: with the 3 to 25 s that it takes, 10 to 100 of them.
const EVERY: Duration = Duration::from_millis(250);

/// How a request ended: its status, or the error in words.
type End = Result<StatusCode, String>;

async fn get(dial: Dial) -> End {
    request::get(&dial, "/").await.map(|answer| answer.status).map_err(|e| e.to_string())
}

async fn post(dial: Dial) -> End {
    let request = Request::post("/v1/chat/completions").body(Full::new(Bytes::from_static(b"{}")));
    let answer = request::send(&dial, request.expect("a valid request")).await;
    answer.map(|answer| answer.status).map_err(|e| e.to_string())
}

on_both_gateways! {
    async fn a_killed_gateway_fails_no_request_that_can_wait(version: Version) {
        let mut gateway = Gateway::of(version).run().await;
        // All of them come from one address here: many clients together wait in the 1024 places of the default.
        let proxy = Proxy::options().top("[limits]\nheld_per_client = 1024").site(r#"hold = "60s""#).run(&gateway).await;
        let edge = Edge::run(PLATFORM, proxy.balanced()).await;
        let dial = proxy.dial().via(edge.address);
        assert_eq!(get(dial.clone()).await, Ok(StatusCode::OK));

        // In flight: the gateway has them and answers nothing.
        gateway.freeze();
        let (mut safe, mut unsafe_) = (JoinSet::new(), JoinSet::new());
        for _ in 0..IN_FLIGHT {
            safe.spawn(get(dial.clone()));
            unsafe_.spawn(post(dial.clone()));
        }
        wait::until("all of them have reached the gateway", Duration::from_secs(20), async || {
            (gateway.unread_connections() >= 2 * IN_FLIGHT).then_some(())
        })
        .await;
        gateway.kill();
        // Whether they did something there nobody knows: they are not sent again.
        for end in unsafe_.join_all().await {
            assert_eq!(end, Ok(StatusCode::BAD_GATEWAY), "an unsafe request in flight");
        }

        // Begun while it is down: a stream of requests, and a backend that comes back at once.
        let mut begun = JoinSet::new();
        let returning = {
            let dial = dial.clone();
            tokio::spawn(async move { Backend::fresh().connect(&dial).await.map(drop) })
        };
        gateway.spawn();
        let mut ticks = tokio::time::interval(EVERY);
        tokio::select! {
            () = gateway.ready() => {}
            () = async {
                loop {
                    ticks.tick().await;
                    begun.spawn(get(dial.clone()));
                    begun.spawn(post(dial.clone()));
                }
            } => {}
        }

        let count = begun.len();
        assert!(count >= 10, "a stream of requests, not {count}");
        let failed: Vec<_> = begun.join_all().await.into_iter().filter(|end| !is_the_gateways(end)).collect();
        assert!(failed.is_empty(), "{} of {count} begun while it was down failed: {failed:?}", failed.len());
        for end in safe.join_all().await {
            assert_eq!(end, Ok(StatusCode::OK), "a safe, unanswered request in flight is sent again");
        }
        returning.await.expect("no panic").expect("a backend that connects meanwhile is approved");
    }
}

/// GET gives the page; POST gives 404, because the interface it asks for is off: both are the gateway's own answer.
fn is_the_gateways(end: &End) -> bool {
    matches!(end, Ok(StatusCode::OK | StatusCode::NOT_FOUND))
}
