use std::{
    cell::{Cell, RefCell},
    future::{pending, ready},
    io::{BufRead, BufReader, Read, Write},
    process::{Command, Stdio},
    rc::Rc,
    time::Duration,
};

use tokio::{io::AsyncReadExt, sync::oneshot, task::LocalSet};

use super::*;

async fn listen() -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn nobody(_: IpAddr) -> bool {
    false
}

/// Runs a loop with these limits beside `story`, collecting what it accepts.
async fn beside<T>(
    when_full: WhenFull,
    limits: (usize, usize),
    unlimited: impl Fn(IpAddr) -> bool + 'static,
    story: impl AsyncFnOnce(SocketAddr, Rc<RefCell<Vec<Accepted>>>) -> T,
) -> T {
    let (socket, address) = listen().await;
    let accepted = Rc::new(RefCell::new(Vec::new()));
    let local = LocalSet::new();
    let keep = accepted.clone();
    let on = move |connection| keep.borrow_mut().push(connection);
    let admission = Admission::new(limits.0, limits.1);
    local.spawn_local(accept_loop(socket, when_full, admission, unlimited, pending(), on));
    local.run_until(story(address, accepted)).await
}

async fn until(condition: impl Fn() -> bool) {
    tokio::time::timeout(Duration::from_secs(10), async {
        while !condition() {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("the condition came true within 10 s");
}

#[tokio::test]
async fn a_connection_over_the_limit_is_closed_at_once_where_tls_would_be_spoken() {
    beside(WhenFull::Close, (10, 1), nobody, async |address, accepted| {
        let _first = TcpStream::connect(address).await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        assert_eq!(second.read(&mut [0; 1]).await.unwrap(), 0);
        let accepted = accepted.borrow();
        assert_eq!(accepted.len(), 1);
        assert_eq!(accepted[0].over, None);
    })
    .await;
}

#[tokio::test]
async fn a_connection_over_the_limit_is_handed_on_where_it_can_be_told_so() {
    beside(WhenFull::Answer, (1, 10), nobody, async |address, accepted| {
        let _first = TcpStream::connect(address).await.unwrap();
        let _second = TcpStream::connect(address).await.unwrap();
        until(|| accepted.borrow().len() == 2).await;
        assert_eq!(accepted.borrow()[1].over, Some(OverLimit::Total));
    })
    .await;
}

#[tokio::test]
async fn a_trusted_proxy_is_not_one_client() {
    beside(
        WhenFull::Close,
        (10, 1),
        |peer| peer.is_loopback(),
        async |address, accepted| {
            let _connections = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
            until(|| accepted.borrow().len() == 2).await;
        },
    )
    .await;
}

#[tokio::test]
async fn what_the_kernel_had_queued_is_served_after_the_stop() {
    let (socket, address) = listen().await;
    let clients: Vec<TcpStream> = {
        let mut clients = Vec::new();
        for _ in 0..5 {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        clients
    };
    let count = Cell::new(0);
    accept_loop(socket, WhenFull::Close, Admission::new(10, 10), nobody, ready(()), |_| count.set(count.get() + 1))
        .await;
    assert_eq!(count.get(), clients.len());
    assert!(TcpStream::connect(address).await.is_err(), "and then it is closed");
}

#[tokio::test]
async fn a_flood_leaves_other_tasks_of_the_core_their_turn() {
    let (socket, address) = listen().await;
    let mut clients = Vec::new();
    for _ in 0..PER_TURN * 3 {
        clients.push(TcpStream::connect(address).await.unwrap());
    }
    let (stop, stopped) = oneshot::channel::<()>();
    let (at_their_turn, count) = (Rc::new(Cell::new(None)), Rc::new(Cell::new(0)));
    let local = LocalSet::new();
    let counting = count.clone();
    let admission = Admission::new(1000, 1000);
    let stop_signal = async { drop(stopped.await) };
    local.spawn_local(accept_loop(socket, WhenFull::Close, admission, nobody, stop_signal, move |_| {
        counting.set(counting.get() + 1)
    }));
    let turn = at_their_turn.clone();
    let seen = count.clone();
    local.spawn_local(async move {
        while seen.get() == 0 {
            tokio::task::yield_now().await;
        }
        turn.set(Some(seen.get()));
    });
    local.run_until(until(|| count.get() == clients.len())).await;
    let seen = at_their_turn.get().expect("the other task ran");
    assert!(seen <= PER_TURN * 2, "{seen} connections were accepted before it ran");
    drop(stop);
    local.await;
}

#[test]
fn one_trouble_a_period_is_logged_with_how_often_it_came() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut trouble = Trouble::default();
        assert_eq!(trouble.again(), Some(1));
        assert_eq!((trouble.again(), trouble.again()), (None, None));
        tokio::time::advance(LOG_EVERY).await;
        assert_eq!(trouble.again(), Some(3));
    });
}

const CHILD: &str = "CLAWGATE_TEST_FEW_DESCRIPTORS";

/// The process with few descriptors: answers every connection with a byte and holds it until the client ends it.
#[test]
fn child_with_few_descriptors() {
    if std::env::var_os(CHILD).is_none() {
        return; // It is the other half of the test below.
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let (socket, address) = listen().await;
        let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        let few = libc::rlimit { rlim_cur: open + 5, rlim_max: open + 5 };
        // SAFETY: the pointer is to a live rlimit, and this process exists for this limit.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &few) }, 0);
        println!("\nport {}", address.port());
        let on = |accepted: Accepted| {
            tokio::task::spawn_local(async move {
                let mut accepted = accepted;
                let _ = accepted.stream.try_write(b"!");
                let _ = accepted.stream.read(&mut [0; 1]).await;
            });
        };
        accept_loop(socket, WhenFull::Close, Admission::new(1000, 1000), nobody, pending(), on).await;
    });
}

#[test]
fn a_listener_outlives_the_shortage_of_descriptors() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "listen::accept::tests::child_with_few_descriptors", "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let port: u16 = lines
        .map(|line| line.unwrap())
        .find_map(|line| line.strip_prefix("port ").map(|port| port.parse().unwrap()))
        .expect("the child says its port");

    let connect = |_| {
        let client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client
    };
    // Far more than it has descriptors for: each is answered once those before it have gone.
    let clients: Vec<_> = (0..40).map(connect).collect();
    let mut answered = 0;
    for mut client in clients {
        client.read_exact(&mut [0; 1]).expect("answered in the end");
        client.write_all(b"bye").unwrap();
        answered += 1;
    }
    assert_eq!(answered, 40);
    assert!(child.try_wait().unwrap().is_none(), "the loop goes on");
    child.kill().unwrap();
    child.wait().unwrap();
}
