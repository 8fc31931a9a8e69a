use std::time::Duration;

use super::*;
use crate::config::model::{Endpoint, UpstreamKind};

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 7));
const LIMITS: HoldLimits = HoldLimits { total: 4, per_client: 2, look: false };

fn upstream(port: u16) -> Upstream {
    Upstream::new(
        model::Upstream {
            name: "gateway".into(),
            endpoint: Endpoint::Address(([127, 0, 0, 1], port).into()),
            kind: UpstreamKind::Openclaw,
            asked: false,
            hold: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(4),
            tls: None,
        },
        None,
    )
}

async fn free_port() -> u16 {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_dial_waits_until_the_upstream_is_back() {
    let port = free_port().await;
    let upstream = Arc::new(upstream(port));
    let dialling = tokio::spawn({
        let upstream = upstream.clone();
        async move { upstream.dial(Source::Loopback, CLIENT, Instant::now() + Duration::from_secs(20), LIMITS).await }
    });
    upstream.state.lost().await;
    assert_eq!(upstream.state.now(), Seen::Away);
    let _listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    upstream.state.set(Seen::Up);
    assert!(dialling.await.unwrap().is_ok());
    assert_eq!(upstream.state.held(), 0);
}

#[tokio::test]
async fn one_that_is_known_to_be_away_is_not_dialled_although_it_listens() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = Arc::new(upstream(listener.local_addr().unwrap().port()));
    upstream.state.set(Seen::Away);
    let dialling = tokio::spawn({
        let upstream = upstream.clone();
        async move { upstream.dial(Source::Loopback, CLIENT, Instant::now() + Duration::from_secs(20), LIMITS).await }
    });
    upstream.state.lost().await;
    assert_eq!((upstream.state.held(), upstream.state.traffic.dialled.load(Ordering::Relaxed)), (1, 0));
    upstream.state.set(Seen::Up);
    assert!(dialling.await.unwrap().is_ok());
}

#[tokio::test]
async fn one_that_nobody_has_looked_at_is_dialled_at_once() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = upstream(listener.local_addr().unwrap().port());
    let until = Instant::now() + Duration::from_secs(20);
    assert!(upstream.dial(Source::Loopback, CLIENT, until, LIMITS).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_hold_ends() {
    let upstream = upstream(free_port().await);
    let result = upstream.dial(Source::Loopback, CLIENT, Instant::now() + Duration::from_secs(2), LIMITS).await;
    assert!(matches!(result, Err(Away::HoldOver)), "{result:?}");
}

#[tokio::test]
async fn one_client_cannot_take_every_waiting_place() {
    let upstream = upstream(1);
    let first = upstream.state.hold(CLIENT, LIMITS).unwrap();
    let _second = upstream.state.hold(CLIENT, LIMITS).unwrap();
    assert!(matches!(upstream.state.hold(CLIENT, LIMITS), Err(Away::TooManyHeld)));
    let _other = upstream.state.hold([198, 51, 100, 1].into(), LIMITS).unwrap();
    drop(first);
    assert!(upstream.state.hold(CLIENT, LIMITS).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_look_of_ours_waits_too_and_is_not_counted_among_those_who_wait() {
    let upstream = upstream(free_port().await);
    upstream.state.set(Seen::Away);
    let limits = HoldLimits { look: true, ..LIMITS };
    let began = Instant::now();
    let (dialled, known, ()) = tokio::join!(
        upstream.dial(Source::Loopback, CLIENT, began + Duration::from_secs(2), limits),
        upstream.known(CLIENT, began + Duration::from_secs(2), limits),
        async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(upstream.state.held(), 0, "while they wait");
        },
    );
    assert!(matches!((dialled, known), (Err(Away::HoldOver), Err(Away::HoldOver))));
    assert_eq!(began.elapsed(), Duration::from_secs(2));
    let traffic = &upstream.state.traffic;
    assert_eq!((traffic.held.load(Ordering::Relaxed), traffic.held_micros.load(Ordering::Relaxed)), (0, 0));
}

#[tokio::test]
async fn without_a_hold_the_refusal_is_immediate() {
    let upstream = upstream(free_port().await);
    let result = upstream.dial(Source::Attributed, CLIENT, Instant::now(), LIMITS).await;
    assert!(matches!(result, Err(Away::Connect(ConnectError::Refused { .. }))), "{result:?}");
    assert_eq!(upstream.state.now(), Seen::Away, "a dial that failed is enough to know it");
}
