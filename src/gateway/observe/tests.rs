use proptest::prelude::*;
use tokio_tungstenite::tungstenite::protocol::frame::{
    Frame, FrameHeader,
    coding::{Control, Data, OpCode},
};

use super::*;
use crate::gateway::{
    answer::{Approval, Refusal},
    frames::close_frame,
};

const CHALLENGE: &str = r#"{"type":"event","event":"connect.challenge","payload":{"nonce":"n-1","ts":1}}"#;
const TICK: &str = r#"{"type":"event","event":"tick","payload":{}}"#;
const APPROVED: &str =
    r#"{"type":"res","id":"1","ok":true,"payload":{"auth":{"role":"operator","scopes":["operator.read"]}}}"#;
const REFUSED: &str =
    r#"{"type":"res","id":"1","ok":false,"error":{"code":"NOT_PAIRED","message":"pairing required"}}"#;

fn frame(opcode: OpCode, is_final: bool, rsv1: bool, payload: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    let header = FrameHeader { is_final, rsv1, opcode, ..FrameHeader::default() };
    Frame::from_payload(header, payload.to_vec().into()).format(&mut wire).expect("writing to memory");
    wire
}

fn text(message: &str) -> Vec<u8> {
    frame(OpCode::Data(Data::Text), true, false, message.as_bytes())
}

/// `message` in frames of `size` bytes with a ping after each.
fn fragments(message: &str, size: usize) -> Vec<u8> {
    let pieces: Vec<&[u8]> = message.as_bytes().chunks(size).collect();
    let mut wire = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let opcode = OpCode::Data(if at == 0 { Data::Text } else { Data::Continue });
        wire.extend(frame(opcode, at == pieces.len() - 1, false, piece));
        wire.extend(frame(OpCode::Control(Control::Ping), true, false, b"{\"type\":\"res\",\"ok\":true}"));
    }
    wire
}

fn watch(observer: &mut Observer, wire: &[u8], size: usize) -> Vec<Observed> {
    let mut seen = Vec::new();
    for read in wire.chunks(size) {
        observer.gateway_sent(read, |observed| seen.push(observed));
    }
    seen
}

fn challenged() -> Observed {
    Observed::Challenged { nonce: "n-1".into() }
}

fn approved() -> Observed {
    let scopes = vec!["operator.read".into()];
    Observed::Answered(Answer::Approved(Approval { role: Some("operator".into()), scopes, version: None }))
}

fn refused() -> Observed {
    let refusal = Refusal { code: "NOT_PAIRED".into(), message: "pairing required".into(), ..Refusal::default() };
    Observed::Answered(Answer::Refused(refusal))
}

#[test]
fn an_answer_is_the_first_response_after_the_challenge() {
    let cases = [
        (vec![CHALLENGE, APPROVED], vec![challenged(), approved()]),
        (vec![CHALLENGE, REFUSED], vec![challenged(), refused()]),
        (vec![CHALLENGE, TICK, "?", REFUSED, APPROVED], vec![challenged(), refused()]),
        (vec![CHALLENGE, APPROVED, REFUSED, CHALLENGE], vec![challenged(), approved()]),
        (vec![APPROVED, CHALLENGE, APPROVED], vec![Observed::NotChallenged]),
        (vec![TICK, CHALLENGE, APPROVED], vec![Observed::NotChallenged]),
    ];
    for (messages, expected) in cases {
        let wire: Vec<u8> = messages.iter().flat_map(|message| text(message)).collect();
        for size in [1, 7, wire.len()] {
            assert_eq!(watch(&mut Observer::new(), &wire, size), expected, "{messages:?} in reads of {size}");
        }
    }
}

#[test]
fn a_tunnel_is_pre_auth_from_the_challenge_to_the_answer() {
    let mut observer = Observer::new();
    assert!(!observer.is_pre_auth());
    watch(&mut observer, &text(CHALLENGE), 5);
    assert!(observer.is_pre_auth());
    watch(&mut observer, &text(TICK), 5);
    assert!(observer.is_pre_auth());
    watch(&mut observer, &text(APPROVED), 5);
    assert!(!observer.is_pre_auth());
}

#[test]
fn fragments_with_pings_between_them_are_one_message() {
    let mut wire = fragments(CHALLENGE, 10);
    wire.extend(fragments(REFUSED, 3));
    assert_eq!(watch(&mut Observer::new(), &wire, 4), [challenged(), refused()]);
}

#[test]
fn a_hello_of_megabytes_is_an_approval_and_costs_64_kib() {
    let hello = format!(r#"{{"type":"res","id":"1","ok":true,"payload":{{"snapshot":"{}"}}}}"#, "x".repeat(1 << 21));
    let wire = text(&hello);
    let mut observer = Observer::new();
    watch(&mut observer, &text(CHALLENGE), 100);
    let (most, last) = wire.split_at(wire.len() - 1);
    assert_eq!(watch(&mut observer, most, 1000), []);
    match &observer.phase {
        Phase::Challenged { incoming, .. } => assert!(incoming.text.capacity() <= 2 * MOST_KEPT),
        other => panic!("{other:?}"),
    }
    assert_eq!(watch(&mut observer, last, 1), [Observed::Answered(Answer::Approved(Approval::default()))]);
}

#[test]
fn what_cannot_be_read_never_keeps_a_tunnel_pre_auth() {
    // Compressed or binary: some other server behind this upstream.
    for (opcode, rsv1) in [(Data::Text, true), (Data::Binary, false)] {
        let wire = frame(OpCode::Data(opcode), true, rsv1, CHALLENGE.as_bytes());
        assert_eq!(watch(&mut Observer::new(), &wire, 9), [Observed::NotChallenged]);
    }
    // Broken frames, before and after the challenge.
    assert_eq!(watch(&mut Observer::new(), b"\x83\x00", 1), [Observed::NotChallenged]);
    let unknown = Observed::Answered(Answer::Unknown);
    let broken = [text(CHALLENGE), b"\x83\x00".to_vec()].concat();
    assert_eq!(watch(&mut Observer::new(), &broken, 9), [challenged(), unknown.clone()]);
    // Events without end.
    let events = [text(CHALLENGE), text(TICK).repeat(usize::from(MOST_MESSAGES) + 9)].concat();
    assert_eq!(watch(&mut Observer::new(), &events, 9), [challenged(), unknown]);
}

#[test]
fn who_closed_first_is_told_once() {
    let mut observer = Observer::new();
    let mut seen = Vec::new();
    observer.client_sent(&close_frame(1001, "bye", Some([1, 2, 3, 4])), |observed| seen.push(observed));
    observer.gateway_sent(&close_frame(1001, "", None), |observed| seen.push(observed));
    let close = Close { code: Some(1001), reason: "bye".into() };
    assert_eq!(seen, [Observed::Closed { by: Side::Client, close }]);
    assert!(observer.frames(Side::Gateway).is_closed());

    let mut wire = [text(CHALLENGE), text(APPROVED)].concat();
    wire.extend(close_frame(1012, "service restart", None));
    let close = Close { code: Some(1012), reason: "service restart".into() };
    let expected = [challenged(), approved(), Observed::Closed { by: Side::Gateway, close }];
    assert_eq!(watch(&mut Observer::new(), &wire, 6), expected);
}

#[test]
fn a_client_cannot_answer_itself() {
    let mut observer = Observer::new();
    watch(&mut observer, &text(CHALLENGE), 10);
    let mut wire = Vec::new();
    let header = FrameHeader { opcode: OpCode::Data(Data::Text), mask: Some([9; 4]), ..FrameHeader::default() };
    Frame::from_payload(header, APPROVED.into()).format(&mut wire).expect("writing to memory");
    observer.client_sent(&wire, |observed| panic!("{observed:?}"));
    assert!(observer.is_pre_auth());
}

proptest! {
    #[test]
    fn every_way_to_cut_the_reads_is_observed_the_same(
        messages in prop::collection::vec(prop::sample::select(vec![CHALLENGE, TICK, APPROVED, REFUSED, "junk"]), 0..6),
        tail in prop::collection::vec(any::<u8>(), 0..40), size in 1usize..50, piece in 1usize..30,
    ) {
        let wire: Vec<u8> = messages.iter().flat_map(|m| fragments(m, piece)).chain(tail).collect();
        let whole = watch(&mut Observer::new(), &wire, wire.len().max(1));
        prop_assert_eq!(watch(&mut Observer::new(), &wire, size), whole);
    }
}
