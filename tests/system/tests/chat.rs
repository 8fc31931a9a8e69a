//! A chat's answer reaches the platform word by word, as the model makes it.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use clawgate_system::{Backend, Edge, Gateway, Model, Proxy, gateway::TOKEN, on_both_gateways, request};
use http::{Request, header};
use http_body_util::Full;
use serde_json::json;

const PLATFORM: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);
const WORDS: usize = 20;
const GAP: Duration = Duration::from_millis(150);

/// The pieces came about as far apart as the model made them: a buffer on the way would deliver many at once.
fn assert_streamed(arrivals: &[Instant]) {
    let gaps: Vec<_> = arrivals.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // The gateway itself joins what comes within 150 ms, so that not every word is an event of its own.
    assert!(arrivals.len() >= WORDS / 2, "{} pieces: {gaps:?}", arrivals.len());
    let spread: Duration = gaps.iter().sum();
    assert!(spread >= GAP * WORDS as u32 / 2, "all {} pieces within {spread:?}", arrivals.len());
    let apart = gaps.iter().filter(|gap| **gap >= GAP / 3).count();
    assert!(apart * 3 >= gaps.len() * 2, "most pieces came together: {gaps:?}");
    let longest = gaps.iter().max().expect("several pieces");
    assert!(*longest < spread / 3, "one gap of {longest:?} in {gaps:?}");
}

on_both_gateways! {
    async fn chat_send_streams_token_by_token(version: Version) {
        let model = Model::run(WORDS, GAP).await;
        let gateway = Gateway::of(version).model(model.address).run().await;
        let proxy = Proxy::before(&gateway).await;
        let edge = Edge::run(PLATFORM, proxy.balanced()).await;
        let mut backend = Backend::fresh().connect(&proxy.dial().via(edge.address)).await.expect("approved");

        let message = "Hello, say hi in 5 words";
        let chat = json!({ "sessionKey": "agent:main:test", "message": message, "idempotencyKey": "streams-1" });
        backend.call("chat.send", chat).await.expect("the gateway takes the message");
        let mut deltas = Vec::new();
        let last = loop {
            let (at, event) = backend.event(|event| event["event"] == "chat").await;
            match event["payload"]["state"].as_str() {
                Some("delta") => deltas.push(at),
                Some("final" | "error" | "aborted") => break event,
                // The newest gateway says "status" while it prepares.
                _ => {}
            }
        };
        assert_eq!(last["payload"]["state"], "final", "{last}");
        assert!(last.to_string().contains("word19"), "the whole answer: {last}");
        assert_streamed(&deltas);
    }

    /// The gateway's OpenAI-compatible interface, which sends server-sent events.
    async fn server_sent_events_pass_one_by_one(version: Version) {
        let model = Model::run(WORDS, GAP).await;
        let gateway = Gateway::of(version).model(model.address).run().await;
        let proxy = Proxy::before(&gateway).await;
        let edge = Edge::run(PLATFORM, proxy.balanced()).await;

        let asked = json!({ "model": "openclaw", "stream": true, "messages": [{ "role": "user", "content": "hi" }] });
        let asked = Request::post("/v1/chat/completions")
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(asked.to_string())))
            .expect("a valid request");
        let answer = request::send_h2(&proxy.dial().via(edge.address), asked).await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains("data: [DONE]"), "{}", answer.text());
        // The head comes with the first word, or before it.
        let words: Vec<_> = answer.pieces.iter().filter(|(_, piece)| piece.windows(4).any(|w| w == b"word")).collect();
        assert_streamed(&words.iter().map(|(at, _)| *at).collect::<Vec<_>>());
    }
}
