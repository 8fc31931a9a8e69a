//! The metrics page on a loopback port, for a Prometheus on this machine: `GET /metrics`, one request a connection.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, oneshot, watch},
    time::timeout,
};
use tracing::{debug, info, warn};

use super::control::Event;
use crate::{cause, listen::BindError, metrics::text::CONTENT_TYPE};

/// Scrapers at once. One Prometheus needs one.
const MOST: usize = 8;
/// For the head of a request.
const HEAD: Duration = Duration::from_secs(5);
/// For a whole connection, the page with it.
const LIMIT: Duration = Duration::from_secs(10);
/// Between tries to bind: whoever has the port may end.
const AGAIN: Duration = Duration::from_secs(10);
/// After a failed accept (out of descriptors).
const PAUSE: Duration = Duration::from_millis(200);

/// Binds `address`, which the configuration has found to be a loopback one.
///
/// Must be called inside a Tokio runtime.
pub(super) async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// As `status` warns of it.
pub(super) fn hindered(address: SocketAddr, error: &BindError) -> String {
    let why = match error {
        // All is said, with the way out at the end.
        BindError::InUse { .. } | BindError::Fenced { .. } | BindError::Denied { .. } => error.to_string(),
        _ => cause::chain(error),
    };
    format!(
        "ports/metrics: nobody reads the metrics at http://{address}/metrics: {why}; tried again each {} s; the same page is \
         `clawgate metrics`",
        AGAIN.as_secs()
    )
}

/// Binds as soon as it can be done, and answers from then on; `why` is told until then.
pub(super) async fn serve_later(
    address: SocketAddr,
    why: impl Fn(io::Error) -> String,
    hindered: watch::Sender<Option<String>>,
    events: mpsc::Sender<Event>,
) {
    let listener = loop {
        tokio::time::sleep(AGAIN).await;
        match bind(address).await {
            Ok(listener) => break listener,
            Err(error) => drop(hindered.send_replace(Some(why(error)))),
        }
    };
    hindered.send_replace(None);
    serve(listener, events).await;
}

/// Answers until it is dropped, with pages that the control loop writes.
pub(super) async fn serve(listener: TcpListener, events: mpsc::Sender<Event>) {
    if let Ok(address) = listener.local_addr() {
        info!(%address, "metrics at /metrics");
    }
    let places = Arc::new(Semaphore::new(MOST));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "the metrics port cannot accept");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // One too many is closed at once.
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let events = events.clone();
        tokio::spawn(async move {
            if timeout(LIMIT, converse(stream, events)).await.is_err() {
                debug!("a scraper took too long");
            }
            drop(place);
        });
    }
}

async fn converse(stream: TcpStream, events: mpsc::Sender<Event>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let events = events.clone();
        async move { Ok::<_, Infallible>(answer(&request, &events).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(8192)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        debug!(%error, "a scraper's connection ended");
    }
}

async fn answer(request: &Request<Incoming>, events: &mpsc::Sender<Event>) -> Response<Full<Bytes>> {
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "the page is /metrics\n".into());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "GET only\n".into());
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let (sender, page) = oneshot::channel();
    let asked = events.send(Event::Scrape(sender)).await.is_ok();
    match page.await {
        Ok(answer) if asked && answer.ok => {
            let mut response = plain(StatusCode::OK, answer.text);
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
            response
        }
        _ => plain(StatusCode::SERVICE_UNAVAILABLE, "the process is ending\n".into()),
    }
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::admin::Answer;

    /// A port whose pages say how often one was asked for.
    async fn port() -> SocketAddr {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (events, mut asked) = mpsc::channel(1);
        tokio::spawn(serve(listener, events));
        tokio::spawn(async move {
            let mut times = 0;
            while let Some(event) = asked.recv().await {
                let Event::Scrape(answer) = event else { panic!("{event:?}") };
                times += 1;
                answer.send(Answer::done(format!("asked {times}\n"))).unwrap();
            }
        });
        address
    }

    async fn ask(address: SocketAddr, head: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_page_and_nothing_else_is_served() {
        let address = port().await;
        let page = ask(address, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(page.starts_with("HTTP/1.1 200 ") && page.ends_with("\r\n\r\nasked 1\n"), "{page}");
        assert!(page.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{page}");
        for (head, status) in [
            ("GET / HTTP/1.1\r\nhost: x\r\n\r\n", "404"),
            ("GET /metrics/../x HTTP/1.1\r\nhost: x\r\n\r\n", "404"),
            ("POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n", "405"),
            ("nonsense\r\n\r\n", "400"),
        ] {
            let answer = ask(address, head).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {answer}");
        }
        let page = ask(address, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(page.ends_with("asked 2\n"), "what was refused asked for nothing: {page}");
    }

    #[tokio::test]
    async fn silent_connections_take_no_more_than_their_places_and_lose_them() {
        let address = port().await;
        let mut silent = Vec::new();
        for _ in 0..MOST {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut one_more = TcpStream::connect(address).await.unwrap();
        assert_eq!(one_more.read(&mut [0; 1]).await.unwrap_or(0), 0, "closed at once");
        tokio::time::pause();
        for mut stream in silent {
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.unwrap();
        }
        tokio::time::resume();
        assert!(ask(address, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.contains("asked 1"));
    }
}
