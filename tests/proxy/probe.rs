//! `[probe]`: what is learnt from it.

use clawgate::gateway::standin::{Options, Standin};

use crate::harness::{eventually, proxy};

#[tokio::test]
async fn status_has_the_version_that_the_probe_was_told_before_any_client_came() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gateway = tokio::spawn(Standin::new(Options::default()).serve(listener));
    let probe = "[probe]\ntoken = \"demo\"\nevery = \"1s\"";
    let proxy = proxy().site("chat.test", &address).top(probe).run().await;
    let probed = || proxy.app().report().probe;
    eventually("it was approved", || probed().is_some_and(|probe| probe.standing == "approved")).await;
    let version = proxy.app().report().upstreams[0].version.clone().expect("the gateway has said it");
    assert_eq!(probed().unwrap().said, format!("by OpenClaw {version}"));
    gateway.abort();
}
