//! What `clawgate check` says of the services that are asked before the gateway (`forward_auth`), word for word. The service
//! is a socket with an answer: what counts here is what it answers.

use clawgate_system::{
    Machine,
    alone::alone,
    machine::{DNS, HOST, OURS, Report},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// A service that gives this answer to each request; its address.
async fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            // Silent services keep their clients waiting.
            if answer.is_empty() {
                let _ = stream.read(&mut head).await;
            }
        }
    });
    address
}

/// What is said of the service at this address, when the machine's site asks it.
async fn asking(machine: &Machine, address: &str) -> (String, Report) {
    machine.configure(&machine.ca.directory());
    let url = format!("http://{address}/verify");
    let line = format!("upstream = \"127.0.0.1:9\"\nforward_auth = {{ url = \"{url}\", timeout = \"300ms\" }}\n");
    machine.edit(|text| text.replace("upstream = \"127.0.0.1:9\"\n", &line));
    let report = machine.look("auth").await;
    (url, report)
}

#[test]
fn a_service_that_turns_strangers_away_is_right() {
    alone("a_service_that_turns_strangers_away_is_right", &[OURS, DNS], async || {
        let machine = Machine::with(&[]).await;
        for (status, line) in [
            (302, "HTTP/1.1 302 Found\r\nlocation: https://login.example.com/\r\ncontent-length: 0\r\n\r\n"),
            (401, "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n"),
        ] {
            let (url, report) = asking(&machine, &answering(line).await).await;
            assert_eq!((report.code, report.codes()), (Some(0), vec!["auth/answers"]), "{report:#?}");
            let seen = format!("{url} answers {status} to whoever has not logged in");
            assert_eq!(report.finding("auth/answers")[..2], [&*url, &seen]);
        }
    });
}

#[test]
fn a_service_that_lets_everybody_pass_or_knows_nothing_of_it_is_found() {
    let name = "a_service_that_lets_everybody_pass_or_knows_nothing_of_it_is_found";
    alone(name, &[OURS, DNS], async || {
        let machine = Machine::with(&[]).await;
        let (url, report) = asking(&machine, &answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await).await;
        assert_eq!((report.code, report.snags()), (Some(0), vec!["auth/open"]), "{report:#?}");
        assert_eq!(
            report.finding("auth/open"),
            [
                &*url,
                &format!("{url} answers 200 for a client at {HOST} that shows nothing"),
                "whoever asks for / there passes without a login",
                "write a rule for this host in the service; it is told X-Forwarded-Host, -Uri, -Method, -Proto and -For",
            ]
        );
        let (url, report) =
            asking(&machine, &answering("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await).await;
        assert_eq!((report.code, report.snags()), (Some(69), vec!["auth/unusable"]), "{report:#?}");
        assert_eq!(
            report.finding("auth/unusable"),
            [
                &*url,
                &format!("{url} answers 404"),
                &format!("that answer goes to each client of {HOST}, and nothing passes"),
                &format!(
                    "compare the path of url in forward_auth with the service's documentation; `curl -i '{url}'` shows it from \
                     here, and the log of the service why"
                ),
            ]
        );
    });
}

#[test]
fn a_service_that_is_away_silent_or_no_http_is_found() {
    alone("a_service_that_is_away_silent_or_no_http_is_found", &[OURS, DNS], async || {
        let machine = Machine::with(&[]).await;
        let nothing_passes = format!("without its answer nothing passes at {HOST}");
        let (url, report) = asking(&machine, "127.0.0.1:9").await;
        assert_eq!((report.code, report.snags()), (Some(69), vec!["auth/away"]), "{report:#?}");
        let curl = format!("`curl -i '{url}'` shows it from here, and the log of the service why");
        let found = report.finding("auth/away");
        assert_eq!([found[0], found[2]], [&*url, &*nothing_passes]);
        assert!(found[1].starts_with(&format!("{url}: ")) && found[1].contains("refused"), "{}", found[1]);
        assert_eq!(found[3], format!("start the service, or mend url in forward_auth; {curl}"));

        let (url, report) = asking(&machine, &answering("").await).await;
        assert_eq!((report.code, report.snags()), (Some(69), vec!["auth/silent"]), "{report:#?}");
        let curl = format!("`curl -i '{url}'` shows it from here, and the log of the service why");
        assert_eq!(
            report.finding("auth/silent"),
            [
                &*url,
                &format!("{url}: no answer within 300 ms"),
                &nothing_passes,
                &format!("{curl}; timeout in forward_auth sets how long it is waited for"),
            ]
        );

        let (url, report) = asking(&machine, &answering("220 mail ESMTP\r\n").await).await;
        assert_eq!((report.code, report.snags()), (Some(69), vec!["auth/no-http"]), "{report:#?}");
        let curl = format!("`curl -i '{url}'` shows it from here, and the log of the service why");
        let found = report.finding("auth/no-http");
        assert_eq!([found[0], found[2]], [&*url, &*nothing_passes]);
        assert!(found[1].starts_with(&format!("{url}: what answers there is not HTTP: ")), "{}", found[1]);
        assert_eq!(
            found[3],
            format!("mend url in forward_auth: the service's own port, and https:// if it speaks TLS there; {curl}")
        );
    });
}
