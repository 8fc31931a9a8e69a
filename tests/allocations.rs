//! How many pieces of memory one warm request takes: each is a moment on the path of every request.
//!
//! Over plain HTTP, so that everything counted is the proxy's: client and origin are threads that allocate nothing.

#![allow(clippy::unwrap_used)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use clawgate::{
    app::App,
    config::{self, model::ListenerKind},
    serve::access::Sink,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Counting;

static TAKEN: AtomicU64 = AtomicU64::new(0);

// SAFETY: the system's allocator does it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as it was asked.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as it was asked.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        TAKEN.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as it was asked.
        unsafe { System.realloc(memory, layout, size) }
    }
}

const REQUEST: &[u8] =
    b"GET /chat?session=main HTTP/1.1\r\nhost: chat.test\r\nuser-agent: Mozilla/5.0\r\naccept: */*\r\n\
    accept-language: en\r\naccept-encoding: gzip\r\ncookie: a=b; c=d\r\nreferer: https://chat.test/\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 5\r\ncache-control: no-store\r\n\
    x-content-type-options: nosniff\r\nreferrer-policy: no-referrer\r\n\r\nhello";

fn read_to_empty_line(stream: &mut TcpStream, space: &mut [u8]) -> bool {
    let mut filled = 0;
    while !space[..filled].windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut space[filled..]) {
            Ok(0) | Err(_) => return false,
            Ok(n) => filled += n,
        }
    }
    true
}

fn origin() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut space = [0; 4096];
                while read_to_empty_line(&mut stream, &mut space) && stream.write_all(ANSWER).is_ok() {}
            });
        }
    });
    address
}

#[test]
fn a_warm_request_takes_few_pieces_of_memory() {
    const REQUESTS: u64 = 1000;
    let state = tempfile::tempdir().unwrap();
    let dir = state.path().display();
    let text = format!(
        "state_dir = \"{dir}\"\nadmin_socket = \"{dir}/admin.sock\"\nworkers = 1\n[log]\naccess = false\n\
         [[listen]]\naddress = \"127.0.0.1:0\"\nserve = \"http\"\n\
         [[site]]\nhost = \"chat.test\"\nupstream = \"{}\"\ncertificate = \"internal\"\n",
        origin()
    );
    let source = config::Source { name: "test.toml".into(), text };
    let config = config::parse(&[source], &config::NoSecrets).map(|loaded| loaded.config);
    let config = config.unwrap_or_else(|findings| panic!("{findings}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let app = App::start(config, Sink::nowhere()).expect("the proxy starts");
    let addresses = app.addresses();
    let (_, address) = addresses.iter().find(|(kind, _)| *kind == ListenerKind::Http).unwrap();

    let mut client = TcpStream::connect(address).unwrap();
    let mut ask = || {
        let mut space = [0; 4096];
        client.write_all(REQUEST).unwrap();
        let mut filled = 0;
        while !space[..filled].ends_with(b"\r\n\r\nhello") {
            filled += client.read(&mut space[filled..]).unwrap();
        }
        assert!(space.starts_with(b"HTTP/1.1 200 "));
    };
    (0..100).for_each(|_| ask());
    let before = TAKEN.load(Ordering::Relaxed);
    (0..REQUESTS).for_each(|_| ask());
    let each = (TAKEN.load(Ordering::Relaxed) - before) as f64 / REQUESTS as f64;
    println!("{each} pieces of memory a request");
    // What the rest of the process takes meanwhile is less than half a piece.
    assert!(each < 10.5, "{each} pieces of memory a request");
}
