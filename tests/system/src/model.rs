//! The LLM provider behind the gateway: speaks OpenAI's chat completions and streams a word at a time.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Channel, Either, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

type Body = Either<Full<Bytes>, Channel<Bytes>>;

pub struct Model {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Model {
    /// Answers every chat with `words` words, one each `gap`.
    pub async fn run(words: usize, gap: Duration) -> Model {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let service = service_fn(move |request| answer(request, words, gap));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Model { address, task }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(request: Request<Incoming>, words: usize, gap: Duration) -> Result<Response<Body>, Infallible> {
    if request.method() == Method::GET {
        return Ok(whole(&json!({ "object": "list", "data": [{ "id": "fake-1", "object": "model" }] })));
    }
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    if asked["stream"] == true {
        return Ok(stream(words, gap));
    }
    tokio::time::sleep(gap * words as u32).await;
    Ok(whole(&json!({
        "id": "c1", "object": "chat.completion", "created": 1, "model": "fake-1",
        "choices": [{
            "index": 0, "message": { "role": "assistant", "content": "all at once" }, "finish_reason": "stop",
        }],
        "usage": { "prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4 },
    })))
}

fn whole(value: &Value) -> Response<Body> {
    let body = Either::Left(Full::new(Bytes::from(value.to_string())));
    Response::builder().header("content-type", "application/json").body(body).expect("a valid response")
}

fn stream(words: usize, gap: Duration) -> Response<Body> {
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move {
        let chunk = |delta: Value, finish: Option<&str>| {
            let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
            let chunk = json!({
                "id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "fake-1", "choices": [choice],
            });
            Bytes::from(format!("data: {chunk}\n\n"))
        };
        sender.send_data(chunk(json!({ "role": "assistant", "content": "" }), None)).await?;
        for word in 0..words {
            tokio::time::sleep(gap).await;
            sender.send_data(chunk(json!({ "content": format!("word{word} ") }), None)).await?;
        }
        sender.send_data(chunk(json!({}), Some("stop"))).await?;
        sender.send_data(Bytes::from_static(b"data: [DONE]\n\n")).await
    });
    let response = Response::builder().header("content-type", "text/event-stream");
    response.body(Either::Right(body)).expect("a valid response")
}
