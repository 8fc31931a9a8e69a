use std::sync::Mutex;

use super::*;

/// A sink that takes lines only while its gate is open.
#[derive(Clone)]
struct Gate {
    open: Arc<Mutex<()>>,
    taken: Arc<Mutex<Vec<u8>>>,
}

impl Gate {
    fn new() -> Gate {
        Gate { open: Arc::default(), taken: Arc::default() }
    }

    fn lines(&self) -> Vec<String> {
        String::from_utf8(self.taken.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
    }
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _open = self.open.lock().unwrap();
        self.taken.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn line(text: &str) -> Batch {
    Batch { lines: format!("{text}\n").into_bytes(), records: 1 }
}

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_stalled_sink_drops_and_counts_and_the_writer_does_not_wait() {
    let gate = Gate::new();
    let (reports, reported) = mpsc::channel();
    let queue =
        Queue::start(gate.clone(), 10_000, Duration::from_millis(10), move |n| reports.send(n).unwrap()).unwrap();
    let stalled = gate.open.lock().unwrap();
    let began = Instant::now();
    for n in 0..10_000 {
        queue.push(line(&format!("line {n:04}")));
    }
    assert!(began.elapsed() < Duration::from_secs(5), "took {:?}", began.elapsed());
    assert!(queue.dropped() > 8_000, "{} dropped", queue.dropped());
    assert!(!queue.flush(Duration::from_millis(20)), "nothing is flushed into a stalled sink");
    drop(stalled);
    assert!(queue.flush(SOON));
    let written = gate.lines().len() as u64;
    assert_eq!(written + queue.dropped(), 10_000);
    assert_eq!(gate.lines()[..2], ["line 0000", "line 0001"], "what was kept is in order");
    let mut sum = 0;
    while sum < queue.dropped() {
        sum += reported.recv_timeout(SOON).expect("the count becomes a warning");
    }
    queue.push(line("afterwards"));
    assert!(queue.flush(SOON));
    assert_eq!(gate.lines().last().unwrap(), "afterwards", "and then the log goes on");
}

#[test]
fn a_dropped_batch_counts_all_its_records() {
    let gate = Gate::new();
    let queue = Queue::start(gate, 100, SOON, |_| {}).unwrap();
    queue.hand_over(vec![b'x'; 101], 7);
    assert_eq!(queue.dropped(), 7);
}

#[test]
fn a_sink_that_fails_counts_and_is_tried_again() {
    struct Full(u32, mpsc::Sender<Vec<u8>>);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += 1;
            match self.0 {
                1 => Err(io::ErrorKind::StorageFull.into()),
                2 => Err(io::ErrorKind::WouldBlock.into()),
                3 => Err(io::ErrorKind::Interrupted.into()),
                _ => {
                    self.1.send(bytes.to_vec()).unwrap();
                    Ok(bytes.len())
                }
            }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (sender, written) = mpsc::channel();
    let queue = Queue::start(Full(0, sender), 10_000, SOON, |_| {}).unwrap();
    queue.push(line("lost"));
    queue.push(line("kept"));
    assert_eq!(written.recv_timeout(SOON).unwrap(), b"kept\n");
    assert_eq!(queue.dropped(), 1);
}

#[test]
fn events_become_one_line_each_and_a_filter_change_is_seen_at_once() {
    let gate = Gate::new();
    let queue = Queue::start(gate.clone(), 10_000, SOON, |_| {}).unwrap();
    let (filter, handle) = reload::Layer::new(parse_level("warn").unwrap());
    let lines = fmt::layer().json().flatten_event(true).with_writer(Lines(queue.clone()));
    tracing::subscriber::with_default(Registry::default().with(filter).with(lines), || {
        tracing::info!("not yet");
        warn!(upstream = "openclaw", "upstream connect failed");
        handle.reload(parse_level("info").unwrap()).unwrap();
        tracing::info!("now\nyes");
    });
    assert!(queue.flush(SOON));
    let lines: Vec<serde_json::Value> = gate.lines().iter().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["message"], "upstream connect failed");
    assert_eq!(lines[0]["upstream"], "openclaw");
    assert_eq!(lines[0]["level"], "WARN");
    assert_eq!(lines[1]["message"], "now\nyes");
}

#[test]
fn a_level_that_is_no_filter_is_named() {
    let error = parse_level("clawgate=loud").unwrap_err();
    assert!(error.to_string().contains("clawgate=loud"), "{error}");
    for level in ["info", "clawgate=debug", "warn,clawgate::tls=trace", "off"] {
        parse_level(level).unwrap();
    }
}
