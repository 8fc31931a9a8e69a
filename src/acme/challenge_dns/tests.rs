use std::{
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    sync::Arc,
};

use hickory_proto::{op::OpCode, rr::TSigResponseContext};
use tokio::net::TcpListener;

use super::*;
use crate::config::model::Hostname;

const KEY: &[u8] = b"a shared secret of thirty-two by";

fn zone(server: SocketAddr, key: &[u8]) -> Rfc2136 {
    let name = |text: &str| Hostname::try_from(text).unwrap();
    Rfc2136 {
        server,
        zone: name("example.com"),
        key_name: name("clawgate-key"),
        key_algorithm: TsigAlgorithm::HmacSha256,
        key: Arc::new(key.to_vec().into()),
        wait: Duration::ZERO,
    }
}

/// A name server that takes one update, and what it was. A wrong signature is answered as RFC 8945 §5.2 has it.
async fn name_server() -> (SocketAddr, tokio::task::JoinHandle<Option<Message>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; stream.read_u16().await.unwrap().into()];
        stream.read_exact(&mut request).await.unwrap();
        let update = Message::from_vec(&request).unwrap();
        let signer = signer(&zone(address, KEY)).unwrap();
        let verified = signer.verify_message_byte(&request, None, true);
        let mut answer = Message::response(update.id, OpCode::Update);
        let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let answer = match &verified {
            Ok((mac, ..)) => {
                let unsigned = answer.to_vec().unwrap();
                let context = TSigResponseContext::new(update.id, now, signer, mac.clone(), None);
                answer.set_signature(context.sign(&unsigned).unwrap());
                answer.to_vec().unwrap()
            }
            Err(_) => {
                answer.metadata.response_code = ResponseCode::NotAuth;
                answer.to_vec().unwrap()
            }
        };
        stream.write_all(&[&(answer.len() as u16).to_be_bytes(), &answer[..]].concat()).await.unwrap();
        verified.is_ok().then_some(update)
    });
    (address, task)
}

#[tokio::test]
async fn an_update_is_signed_and_adds_the_record_below_the_name() {
    let (server, task) = name_server().await;
    let way = DnsProof::Rfc2136(zone(server, KEY));
    set(&way, &Identifier::from("*.www.example.com"), "the-value").await.unwrap();
    let update = task.await.unwrap().expect("a good signature");
    assert_eq!(update.queries[0].name().to_string(), "example.com.");
    let record = &update.authorities[0];
    assert_eq!(record.name.to_string(), "_acme-challenge.www.example.com.");
    assert_eq!(record.data.to_string(), "the-value");
}

#[tokio::test]
async fn a_server_that_does_not_know_the_key_is_quoted() {
    let (server, task) = name_server().await;
    let way = DnsProof::Rfc2136(zone(server, b"another secret"));
    let error = set(&way, &Identifier::from("example.com"), "the-value").await.err().unwrap();
    assert!(matches!(error, DnsError::Refused { code: ResponseCode::NotAuth, .. }), "{error}");
    assert!(task.await.unwrap().is_none());
}

#[tokio::test]
async fn a_name_outside_the_zone_is_not_sent() {
    let way = DnsProof::Rfc2136(zone(SocketAddr::from((Ipv4Addr::LOCALHOST, 9)), KEY));
    let error = set(&way, &Identifier::from("example.org"), "x").await.err().unwrap();
    assert!(matches!(error, DnsError::OutsideZone { .. }), "{error}");
}

#[tokio::test]
async fn a_command_gets_the_record_and_its_words_are_quoted_when_it_fails() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("dns");
    let text = format!("#!/bin/sh\necho \"$@\" >> {0}/calls\n", folder.path().display());
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    let script = script.display().to_string();
    let way = |own: &str| DnsProof::Command { command: vec![script.clone(), own.into()], wait: Duration::ZERO };
    let record = set(&way("own"), &Identifier::from("a.example.com"), "value").await.unwrap();
    record.make("unset").await.unwrap();
    let calls = std::fs::read_to_string(folder.path().join("calls")).unwrap();
    assert_eq!(calls, "own set _acme-challenge.a.example.com value\nown unset _acme-challenge.a.example.com value\n");

    let refusing = DnsProof::Command {
        command: vec!["/bin/sh".into(), "-c".into(), "echo no such zone >&2; exit 3".into()],
        wait: Duration::ZERO,
    };
    let error = set(&refusing, &Identifier::from("a.example.com"), "value").await.err().unwrap();
    assert!(error.to_string().ends_with("no such zone"), "{error}");
    let missing = DnsProof::Command { command: vec!["/nowhere/dns".into()], wait: Duration::ZERO };
    assert!(matches!(set(&missing, &Identifier::from("a.test"), "v").await, Err(DnsError::Run { .. })));
}
