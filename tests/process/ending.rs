//! How it ends.

use super::*;

#[test]
fn sigterm_ends_it_with_0_and_its_socket_is_gone() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut service = setup(dead()).start();
        assert!(service.path("admin.sock").exists());
        service.signal(signal);
        let told = service.told("STOPPING=1");
        assert!(told.contains(&"EXTEND_TIMEOUT_USEC=45000000".to_owned()), "{told:?}");
        service.logs("ended");
        assert_eq!(service.ends().code(), Some(0));
        assert!(!service.path("admin.sock").exists());
    }
}

#[test]
fn the_access_record_of_the_last_request_is_written_before_the_end() {
    let mut service = setup(dead()).start();
    let _site = service.address();
    let redirect = service.address();
    answer(get(redirect, "chat.test"));
    service.signal(libc::SIGTERM);
    assert_eq!(service.ends().code(), Some(0));
    let lines: Vec<String> = service.stdout.as_ref().unwrap().iter().collect();
    let record = lines.iter().find(|line| line.contains(r#""target":"access""#)).expect("a record");
    assert!(record.contains(r#""path":"/?token=***""#), "{record}");
    assert!(!lines.iter().any(|line| line.contains("deadbeef")), "{lines:?}");
}

#[test]
fn a_request_in_flight_holds_the_drain_and_a_second_sigterm_does_not_wait() {
    let (upstream, requests) = silent_upstream();
    let mut service = setup(upstream).start();
    let _client = get(service.address(), "chat.test");
    let _held = requests.recv_timeout(SOON).unwrap();
    service.signal(libc::SIGTERM);
    service.told("STOPPING=1");
    service.logs("draining");
    assert!(service.runs());
    service.signal(libc::SIGTERM);
    let began = Instant::now();
    assert_eq!(service.ends().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn a_request_that_ends_ends_the_drain() {
    let (upstream, requests) = silent_upstream();
    let mut service = setup(upstream).start();
    let client = get(service.address(), "chat.test");
    let mut held = requests.recv_timeout(SOON).unwrap();
    service.signal(libc::SIGTERM);
    service.told("STOPPING=1");
    held.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    let answer = answer(client);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"), "{answer}");
    service.logs("drained");
    assert_eq!(service.ends().code(), Some(0));
}

#[test]
fn a_drain_that_is_over_ends_the_process_with_0() {
    let (upstream, requests) = silent_upstream();
    let mut quick = setup(upstream);
    quick.config = site(upstream, "drain = \"1s\"");
    let mut service = quick.start();
    let _client = get(service.address(), "chat.test");
    let _held = requests.recv_timeout(SOON).unwrap();
    service.signal(libc::SIGTERM);
    assert_eq!(service.ends().code(), Some(0));
}
