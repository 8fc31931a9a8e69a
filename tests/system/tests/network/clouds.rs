//! The clouds' metadata address, played for real: each cloud answers to its own question only, and what it says is this
//! machine's address, on whatever interface.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use clawgate_system::{
    Machine,
    alone::alone,
    machine::{DNS, HOST},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// Where every cloud answers.
const METADATA: &str = "169.254.169.254";
/// What an interface of such a machine has.
const INNER: &str = "10.0.0.5";

/// A request line, a header that has to come with it, and the answer.
type Says = (&'static str, &'static str, &'static str);

/// As the providers' own pages have them.
const CLOUDS: [(&str, &[Says]); 5] = [
    ("Hetzner", &[("GET /hetzner/v1/metadata/public-ipv4", "", "203.0.115.10")]),
    (
        "AWS",
        &[
            ("PUT /latest/api/token", "x-aws-ec2-metadata-token-ttl-seconds: 60", "AQAEALxQ=="),
            ("GET /latest/meta-data/public-ipv4", "x-aws-ec2-metadata-token: AQAEALxQ==", "203.0.115.10"),
        ],
    ),
    (
        "Google Cloud",
        &[(
            "GET /computeMetadata/v1/instance/network-interfaces/0/access-configs/0/external-ip",
            "metadata-flavor: Google",
            "203.0.115.10",
        )],
    ),
    (
        "Azure",
        &[(
            "GET /metadata/instance/network/interface/0/ipv4/ipAddress/0/publicIpAddress?api-version=2021-02-01&format=text",
            "metadata: true",
            "203.0.115.10",
        )],
    ),
    (
        "DigitalOcean",
        &[
            ("GET /metadata/v1/interfaces/public/0/ipv4/address", "", "203.0.115.9"),
            ("GET /metadata/v1/reserved_ip/ipv4/ip_address", "", "203.0.115.10"),
        ],
    ),
];

/// Answers as the cloud that is set, and 404 to every other question.
async fn serve(cloud: Arc<Mutex<&'static [Says]>>) {
    let metadata = TcpListener::bind((METADATA, 80)).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = metadata.accept().await {
            let mut request = vec![0; 2048];
            let length = stream.read(&mut request).await.unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let asked = |(line, header, _): &&Says| {
                let wanted = format!("{header}\r\n");
                request.starts_with(&format!("{line} HTTP/1.1\r\n")) && (header.is_empty() || request.contains(&wanted))
            };
            let answer = match cloud.lock().unwrap().iter().find(asked) {
                Some((.., text)) => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()),
                None => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
            };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
}

#[test]
fn every_cloud_is_asked_for_the_address_that_it_gave() {
    alone("clouds::every_cloud_is_asked_for_the_address_that_it_gave", &[INNER, DNS, METADATA], async || {
        let machine = Machine::with(&["chat.example.com A 203.0.115.10"]).await;
        let cloud = Arc::new(Mutex::new(CLOUDS[0].1));
        serve(cloud.clone()).await;
        for (name, says) in CLOUDS {
            *cloud.lock().unwrap() = says;
            machine.zone(&["chat.example.com A 203.0.115.10"]);
            let report = machine.look("dns,firewall").await;
            assert_eq!(
                report.finding("dns/points-here")[1],
                format!("chat.example.com points to 203.0.115.10, which is this machine's at {name}")
            );
            assert_eq!((report.code, report.snags()), (Some(0), vec!["firewall/cloud"]), "{report:#?}");
            assert_eq!(
                report.finding("firewall/cloud")[1],
                format!("whether the firewall of {name} lets ports 80, 443 in cannot be known from here")
            );
            machine.zone(&["chat.example.com A 203.0.115.11"]);
            let report = machine.look("dns").await;
            assert_eq!((report.code, report.snags()), (Some(69), vec!["dns/elsewhere"]), "{report:#?}");
            let own: Vec<&str> = says.iter().map(|says| says.2).filter(|says| says.starts_with("203.")).collect();
            let [subject, seen, _, cure] = report.finding("dns/elsewhere");
            assert_eq!(subject, HOST);
            assert_eq!(
                seen,
                format!(
                    "chat.example.com points to 203.0.115.11, and this machine has 203.0.114.53, {} ({name}); it does \
                     not answer on port 80 (network is unreachable)",
                    own.join(", ")
                )
            );
            assert!(cure.contains("`chat.example.com. A 203.0.115.10`"), "{cure}");
        }
    });
}

/// Two of the three headers are there so that nobody is talked into asking: without them there is no answer.
#[test]
fn a_cloud_that_says_nothing_costs_a_second_and_no_address() {
    alone("clouds::a_cloud_that_says_nothing_costs_a_second_and_no_address", &[INNER, DNS, METADATA], async || {
        let machine = Machine::with(&["chat.example.com A 203.0.115.10"]).await;
        // The kernel takes connections, and nobody reads them.
        let _silent = std::net::TcpListener::bind((METADATA, 80)).unwrap();
        let begun = Instant::now();
        let report = machine.look("dns").await;
        let took = begun.elapsed();
        assert!((Duration::from_secs(1)..Duration::from_secs(3)).contains(&took), "{took:?}: {report:#?}");
        assert_eq!(
            report.finding("dns/elsewhere")[1],
            "chat.example.com points to 203.0.115.10, and this machine has 203.0.114.53; it does not answer on port 80 \
             (network is unreachable)"
        );
    });
}
