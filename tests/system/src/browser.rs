//! A person's browser: headless Chromium, driven over its DevTools protocol.

use std::{
    collections::HashMap,
    fs,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_tungstenite::tungstenite::{Message, protocol::WebSocketConfig};

use crate::{process::Process, proxy, wait};

const STARTS_WITHIN: Duration = Duration::from_secs(60);
const SHOWS_WITHIN: Duration = Duration::from_secs(60);

/// One page in a browser with a profile of its own.
pub struct Page {
    session: String,
    link: Link,
    _process: Process,
    _profile: TempDir,
}

/// What the page was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    pub url: String,
    pub status: u64,
    /// `h2` or `http/1.1`.
    pub protocol: String,
}

impl Page {
    /// Starts a browser and opens `url`; the proxy's test host is this machine, and its internal certificate is taken
    /// as it is (that it verifies against the proxy's root is what every other client here checks).
    pub async fn open(url: &str) -> Page {
        let profile = tempfile::Builder::new().prefix("clawgate-chromium-").tempdir().expect("a temporary folder");
        let mut command = Command::new("chromium");
        // Chromium's sandbox does not work for root, which is what a container's tests run as.
        command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"]);
        command.args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--log-level=3",
        ]);
        command.args(["--remote-debugging-port=0", "--ignore-certificate-errors", "--window-size=1300,900"]);
        command.arg(format!("--host-resolver-rules=MAP {} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", proxy::HOST));
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        command.env("HOME", profile.path()).env("TMPDIR", profile.path());
        let process = Process::start("chromium", &mut command, &profile.path().join("chromium.log"));
        let port_file = profile.path().join("DevToolsActivePort");
        let (port, path) = wait::until("chromium listens for its tools", STARTS_WITHIN, async || {
            let text = fs::read_to_string(&port_file).ok()?;
            let (port, path) = text.split_once('\n')?;
            Some((port.parse::<u16>().ok()?, path.to_owned()))
        })
        .await;
        let link = Link::open(port, &path).await;
        let target = link.call(None, "Target.createTarget", json!({ "url": "about:blank" })).await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = link.call(None, "Target.attachToTarget", attach).await;
        let session = attached["sessionId"].as_str().expect("an attached page has a session").to_owned();
        let page = Page { session, link, _process: process, _profile: profile };
        page.call("Network.enable", json!({})).await;
        page.call("Page.enable", json!({})).await;
        page.call("Accessibility.enable", json!({})).await;
        page.call("Page.navigate", json!({ "url": url })).await;
        page
    }

    /// Opens `url` as if typed anew: a URL that differs in its fragment only would not be loaded.
    pub async fn open_again(&self, url: &str) {
        self.call("Page.navigate", json!({ "url": "about:blank" })).await;
        self.call("Page.navigate", json!({ "url": url })).await;
    }

    /// Everything that can be read on it now, as the browser tells it to a screen reader: what is hidden is not in it,
    /// and what is inside of components is.
    pub async fn text(&self) -> String {
        let tree = self.call("Accessibility.getFullAXTree", json!({})).await;
        let nodes = tree["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
        let texts = nodes.iter().filter(|node| node["role"]["value"] == "StaticText");
        texts.filter_map(|node| node["name"]["value"].as_str()).collect::<Vec<_>>().join(" ")
    }

    /// Waits until `wanted`, in lower case, can be read.
    pub async fn shows(&self, wanted: &str) -> String {
        let mut last = String::new();
        let begun = std::time::Instant::now();
        while begun.elapsed() < SHOWS_WITHIN {
            last = self.text().await;
            if last.to_lowercase().contains(wanted) {
                return last;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the page never showed {wanted:?} but {last:?}; loaded: {:#?}", self.loaded());
    }

    /// Every response so far.
    pub fn loaded(&self) -> Vec<Loaded> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let loaded = |response: &Value| Loaded {
            url: text(&response["url"]),
            status: response["status"].as_u64().unwrap_or_default(),
            protocol: text(&response["protocol"]),
        };
        self.link.events("Network.responseReceived").iter().map(|event| loaded(&event["response"])).collect()
    }

    /// What the gateway sent over the page's WebSockets so far, as JSON.
    pub fn received_frames(&self) -> Vec<Value> {
        let events = self.link.events("Network.webSocketFrameReceived");
        let payload = |event: &Value| serde_json::from_str(event["response"]["payloadData"].as_str()?).ok();
        events.iter().filter_map(payload).collect()
    }

    /// Where the page opened WebSockets to.
    pub fn websockets(&self) -> Vec<String> {
        let events = self.link.events("Network.webSocketCreated");
        events.iter().filter_map(|event| event["url"].as_str().map(str::to_owned)).collect()
    }

    async fn call(&self, method: &str, params: Value) -> Value {
        self.link.call(Some(&self.session), method, params).await
    }
}

/// The connection to the browser's DevTools: calls with answers, and events, which are kept.
struct Link {
    calls: mpsc::UnboundedSender<(Value, oneshot::Sender<Value>)>,
    events: Arc<Mutex<Vec<Value>>>,
    task: JoinHandle<()>,
}

impl Link {
    async fn open(port: u16, path: &str) -> Link {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("chromium listens");
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let url = format!("ws://127.0.0.1:{port}{path}");
        let opened = tokio_tungstenite::client_async_with_config(url, stream, Some(config)).await;
        let (mut socket, _) = opened.expect("chromium speaks WebSocket");
        let (calls, mut asked) = mpsc::unbounded_channel::<(Value, oneshot::Sender<Value>)>();
        let events = Arc::new(Mutex::new(Vec::new()));
        let kept = events.clone();
        let task = tokio::spawn(async move {
            let mut waiting = HashMap::new();
            let mut last = 0_u64;
            loop {
                tokio::select! {
                    Some((mut call, answer)) = asked.recv() => {
                        last += 1;
                        call["id"] = last.into();
                        waiting.insert(last, answer);
                        if socket.send(Message::text(call.to_string())).await.is_err() {
                            return;
                        }
                    }
                    frame = socket.next() => {
                        let Some(Ok(frame)) = frame else { return };
                        let Ok(mut frame) = serde_json::from_slice::<Value>(&frame.into_data()) else { continue };
                        match frame["id"].as_u64().and_then(|id| waiting.remove(&id)) {
                            Some(answer) => drop(answer.send(frame["result"].take())),
                            None => kept.lock().expect("no holder panics").push(frame),
                        }
                    }
                }
            }
        });
        Link { calls, events, task }
    }

    async fn call(&self, session: Option<&str>, method: &str, params: Value) -> Value {
        let mut call = json!({ "method": method, "params": params });
        if let Some(session) = session {
            call["sessionId"] = session.into();
        }
        let (answer, answered) = oneshot::channel();
        self.calls.send((call, answer)).expect("chromium is still connected");
        answered.await.expect("chromium answers")
    }

    /// The parameters of every event of that name so far.
    fn events(&self, name: &str) -> Vec<Value> {
        let events = self.events.lock().expect("no holder panics");
        events.iter().filter(|event| event["method"] == name).map(|event| event["params"].clone()).collect()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}
