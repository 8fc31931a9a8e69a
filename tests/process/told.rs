//! What operators are told while it runs.

use super::*;

#[test]
fn status_and_metrics_are_asked_of_the_running_process() {
    let mut scraped = setup(dead());
    scraped.config = site(dead(), "metrics = \"127.0.0.1:0\"");
    let mut service = scraped.start();
    let config = service.home.path().join("config.toml");
    let ask = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clawgate"));
        let output = command.arg("--config").arg(&config).args(words).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, report, _) = ask(&["status", "--json"]);
    assert_eq!(code, Some(0));
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["process"]["config"], config.display().to_string());
    assert_eq!(report["process"]["pid"], service.child.id());
    assert_eq!(report["hosts"][0]["name"], "chat.test");
    // Asked for real, by the listener: the gateway is away.
    let asked = &report["hosts"][0]["asked"];
    assert_eq!((&asked["status"], &asked["error"]), (&502.into(), &"connection_refused".into()), "{asked}");

    // And it changed nothing: `status` sees what it saw.
    let (_, again, _) = ask(&["status", "--json"]);
    let again: serde_json::Value = serde_json::from_str(&again).unwrap();
    let none = serde_json::json!([]);
    assert_eq!((&again["refusals"], &again["problems"], &again["traffic"]["requests"]), (&none, &none, &0.into()));

    let (code, page, _) = ask(&["status"]);
    assert!(code == Some(0) && page.contains("chat.test") && !page.contains('\u{1b}'), "{page}");
    assert!(page.contains("GET /api/status answers 502 in "), "{page}");

    let (code, metrics, _) = ask(&["metrics"]);
    assert!(code == Some(0) && metrics.contains("clawgate_build_info{version="), "{metrics}");
    let of = |page: &str, sample: &str| -> f64 {
        let line = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{sample}\n{page}")).parse().unwrap()
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    for sample in ["clawgate_config_loaded_timestamp_seconds", "process_start_time_seconds"] {
        assert!((now - 60.0..=now + 1.0).contains(&of(&metrics, sample)), "{sample}\n{metrics}");
    }
    assert!((1e6..1e9).contains(&of(&metrics, "process_resident_memory_bytes")), "{metrics}");
    assert!((5.0..of(&metrics, "process_max_fds")).contains(&of(&metrics, "process_open_fds")), "{metrics}");
    assert!(of(&metrics, "process_cpu_seconds_total") > 0.0, "{metrics}");
    assert_eq!(of(&metrics, "clawgate_config_reloads_total{result=\"ok\"}"), 0.0);
    assert_eq!(ask(&["reload"]).0, Some(0));
    let (_, metrics, _) = ask(&["metrics"]);
    assert_eq!(of(&metrics, "clawgate_config_reloads_total{result=\"ok\"}"), 1.0);
    let port: SocketAddr = service.logs("metrics at")["address"].as_str().unwrap().parse().unwrap();
    let mut stream = TcpStream::connect(port).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut scraped = String::new();
    stream.read_to_string(&mut scraped).unwrap();
    assert!(scraped.starts_with("HTTP/1.1 200 ") && scraped.contains("process_resident_memory_bytes "), "{scraped}");

    service.signal(libc::SIGTERM);
    assert_eq!(service.ends().code(), Some(0));
    let (code, _, error) = ask(&["status"]);
    assert_eq!(code, Some(69));
    assert!(error.contains("systemctl status clawgate") && error.contains("journalctl -u clawgate -n 50"), "{error}");
}

/// A log that nobody reads: requests go on, and what is missing is counted.
#[test]
fn records_that_the_log_did_not_take_are_counted() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // A port of its own, because the log that would tell it is the one that nobody reads.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = site(upstream, "").replacen("127.0.0.1:0", &port.to_string(), 1);
    let mut service = Setup { config, read_stdout: false, ..setup(upstream) }.start();
    let file = service.home.path().join("config.toml");
    let dropped = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clawgate"));
        let output = command.arg("--config").arg(&file).arg("metrics").output().unwrap();
        let page = String::from_utf8(output.stdout).unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix("clawgate_log_dropped_total "));
        line.expect("the family").parse::<u64>().unwrap()
    };
    assert_eq!(dropped(), 0);
    // A long path makes a long record; 64 KiB of pipe and 4 MiB of queue are full after some hundred of them.
    let request = format!("GET /../{} HTTP/1.1\r\nhost: chat.test\r\n\r\n", "x".repeat(12_000));
    let until = Instant::now() + SOON;
    while dropped() == 0 {
        assert!(Instant::now() < until, "nothing is ever dropped");
        for _ in 0..200 {
            let mut stream = TcpStream::connect(port).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0, "requests do not wait for the log");
        }
    }
    service.signal(libc::SIGTERM);
    service.ends();
}

#[test]
fn an_outage_of_forward_auth_is_a_line_when_it_begins_and_one_when_it_is_over() {
    // A port of our own at which nobody listens yet.
    let place = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    place.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = place.local_addr().unwrap().as_socket().unwrap();
    let mut asking = setup(dead());
    asking.config = format!("{}forward_auth = {{ url = \"http://{address}/check\" }}\n", site(dead(), ""));
    let service = asking.start();
    let site = service.address();
    for _ in 0..30 {
        assert!(answer(get(site, "chat.test")).starts_with("HTTP/1.1 503 "));
    }
    place.listen(8).unwrap();
    let listener = TcpListener::from(place);
    // Whoever only looks whether somebody is there sends nothing.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    assert!(answer(get(site, "chat.test")).starts_with("HTTP/1.1 401 "));
    let mut began = 0;
    let over = loop {
        let line = service.stdout.as_ref().unwrap().recv_timeout(SOON).expect("the line that it is over");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        began += u32::from(line["level"] == "WARN");
        if line["message"] == "forward_auth is answered again" {
            break line;
        }
    };
    assert_eq!((began, &over["failed"], &over["service"]), (1, &30.into(), &format!("auth:{address}").into()));
}
