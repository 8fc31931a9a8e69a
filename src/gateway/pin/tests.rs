use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::gateway::{
    device::{Connect, Payload, sign},
    frames::close_frame,
};

const NOW: i64 = 1_795_371_472_015;
const NONCE: &str = "n-1";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const TEXT: u8 = 0x81;

fn platform() -> &'static Ed25519KeyPair {
    static PAIR: std::sync::LazyLock<Ed25519KeyPair> =
        std::sync::LazyLock::new(|| Ed25519KeyPair::generate().expect("a fresh key"));
    &PAIR
}

fn pinned(pair: &Ed25519KeyPair, scopes: Option<&[&str]>, clients: &[&str]) -> PinnedKey {
    PinnedKey {
        name: "platform".into(),
        id: DeviceId::of(pair.public_key().as_ref()),
        scopes: scopes.map(|scopes| scopes.iter().map(|scope| (*scope).into()).collect()),
        clients: clients.iter().map(|network| network.parse().expect("a network")).collect(),
    }
}

fn origin() -> Origin {
    Origin { address: [203, 0, 113, 7].into(), disputed: false }
}

fn gate(keys: Vec<PinnedKey>) -> Gate {
    let mut gate = Gate::new(keys.into(), origin());
    gate.challenged(NONCE);
    gate
}

fn own_gate() -> Gate {
    gate(vec![pinned(platform(), None, &[])])
}

/// The client's message, after `change`.
fn message(pair: &Ed25519KeyPair, payload: Payload, change: impl FnOnce(&mut Value)) -> String {
    let connect = sign::connect(Some("t"));
    signed(pair, payload, &connect, change)
}

fn signed(pair: &Ed25519KeyPair, payload: Payload, connect: &Connect, change: impl FnOnce(&mut Value)) -> String {
    let device = sign::device_of(pair, connect, payload, NONCE, NOW);
    let client = &connect.client;
    let mut message = json!({
        "type": "req", "id": "1", "method": "connect",
        "params": {
            "minProtocol": 3, "maxProtocol": 4, "role": connect.role, "scopes": connect.scopes,
            "client": {
                "id": client.id, "mode": client.mode, "version": "1",
                "platform": client.platform, "deviceFamily": client.device_family,
            },
            "auth": { "token": "t" },
            "device": {
                "id": device.id, "publicKey": device.public_key, "signedAt": device.signed_at,
                "nonce": device.nonce, "signature": device.signature,
            },
        },
    });
    change(&mut message);
    message.to_string()
}

fn good() -> String {
    message(platform(), Payload::V2, |_| {})
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut wire = vec![first];
    match payload.len() {
        length @ 0..126 => wire.push(0x80 | length as u8),
        length @ 126..0x1_0000 => {
            wire.push(0x80 | 126);
            wire.extend((length as u16).to_be_bytes());
        }
        length => {
            wire.push(0x80 | 127);
            wire.extend((length as u64).to_be_bytes());
        }
    }
    wire.extend(MASK);
    wire.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    wire
}

fn text(message: &str) -> Vec<u8> {
    frame(TEXT, message.as_bytes())
}

/// `message` in frames of `size` bytes with a ping before each but the first.
fn fragments(message: &str, size: usize) -> Vec<u8> {
    let pieces: Vec<&[u8]> = message.as_bytes().chunks(size).collect();
    let last = pieces.len() - 1;
    let mut wire = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        if at > 0 {
            wire.extend(frame(0x89, b"ping"));
        }
        let fin = if at == last { 0x80 } else { 0 };
        wire.extend(frame(fin | u8::from(at == 0), piece));
    }
    wire
}

/// What becomes of `wire` in reads of `size` bytes: what was passed on, and whether it was refused.
fn run(gate: &mut Gate, wire: &[u8], size: usize) -> (Vec<u8>, Option<Unverified>) {
    let mut passed = Vec::new();
    for read in wire.chunks(size) {
        match gate.client_sent(read, NOW) {
            Step::Hold => {}
            Step::Pass(held) => passed.extend_from_slice(&held),
            Step::Along => passed.extend(read),
            Step::Refuse(why) => return (passed, Some(why)),
        }
    }
    (passed, None)
}

#[test]
fn a_pinned_key_goes_through_with_both_payloads_and_is_named() {
    for payload in [Payload::V2, Payload::V3] {
        let mut gate = own_gate();
        let wire = text(&message(platform(), payload, |_| {}));
        assert_eq!(run(&mut gate, &wire, wire.len()), (wire, None));
        assert!(!gate.is_holding());
        assert_eq!(gate.name(), Some("platform"));
        let shown = gate.shown().expect("shown");
        assert_eq!((&*shown.client, &*shown.mode, &*shown.role), ("gateway-client", "backend", "operator"));
    }
}

#[test]
fn nothing_goes_on_before_the_last_byte_of_the_message() {
    let wire = [frame(0x8a, b"pong"), fragments(&good(), 100)].concat();
    let mut gate = own_gate();
    let (most, last) = wire.split_at(wire.len() - 1);
    assert_eq!(run(&mut gate, most, 1), (vec![], None));
    assert!(gate.is_holding());
    assert_eq!(gate.client_sent(last, NOW), Step::Pass(wire.into()));
}

#[test]
fn each_way_to_be_refused_is_told_apart_and_passes_nothing() {
    let stranger = Ed25519KeyPair::generate().expect("a fresh key");
    let large = "x".repeat(MOST_HELD);
    let with = |change: fn(&mut Value)| text(&message(platform(), Payload::V2, change));
    let twice = good().replacen("\"role\":", "\"role\":\"operator\",\"ro\\u006ce\":", 1);
    let node = |connect: &mut Connect| connect.role = "node".into();
    let mut as_node = sign::connect(Some("t"));
    node(&mut as_node);
    let table: Vec<(&str, Vec<u8>, Unverified)> = vec![
        ("a key that nobody pinned", text(&message(&stranger, Payload::V2, |_| {})), Unverified::NotPinned),
        (
            "another nonce",
            with(|m| m["params"]["device"]["nonce"] = "n-2".into()),
            Unverified::Device(DeviceError::Nonce),
        ),
        (
            "no nonce",
            with(|m| m["params"]["device"]["nonce"] = "".into()),
            Unverified::Device(DeviceError::NonceMissing),
        ),
        (
            "an old signature",
            with(|m| m["params"]["device"]["signedAt"] = (NOW - 120_001).into()),
            Unverified::Device(DeviceError::Stale),
        ),
        ("another id", with(|m| m["params"]["device"]["id"] = "00".into()), Unverified::Device(DeviceError::Id)),
        (
            "other scopes than were signed",
            with(|m| m["params"]["scopes"] = json!(["operator.admin"])),
            Unverified::Device(DeviceError::Signature),
        ),
        (
            "another token",
            with(|m| m["params"]["auth"]["token"] = "u".into()),
            Unverified::Device(DeviceError::Signature),
        ),
        ("no device", with(|m| drop(m["params"].as_object_mut().unwrap().remove("device"))), Unverified::NoDevice),
        ("a device of null", with(|m| m["params"]["device"] = Value::Null), Unverified::NoDevice),
        ("half a device", with(|m| m["params"]["device"] = json!({ "id": "x" })), Unverified::NotConnect),
        ("another method", with(|m| m["method"] = "chat.send".into()), Unverified::NotConnect),
        ("an event", with(|m| m["type"] = "event".into()), Unverified::NotConnect),
        ("no id", with(|m| m["id"] = Value::Null), Unverified::NotConnect),
        ("no params", with(|m| m["params"] = Value::Null), Unverified::NotConnect),
        ("a role of its own", text(&signed(platform(), Payload::V2, &as_node, |_| {})), Unverified::Role),
        ("a member twice", text(&twice), Unverified::MemberTwice),
        ("two objects", text(&format!("{}{}", good(), good())), Unverified::NotJson),
        ("an array", text("[]"), Unverified::NotJson),
        ("not UTF-8", frame(TEXT, b"{\"a\":\"\xff\"}"), Unverified::NotUtf8),
        ("a binary message", frame(0x82, good().as_bytes()), Unverified::NotText),
        ("extension bits", frame(0xc1, good().as_bytes()), Unverified::Extension),
        ("extension bits of a ping", [frame(0xd9, b""), text(&good())].concat(), Unverified::Extension),
        ("64 KiB and a byte", text(&format!("{large}x")), Unverified::TooLarge),
        ("64 KiB and a byte in pieces", fragments(&format!("{large}x"), 4000), Unverified::TooLarge),
        ("small fragments without end", fragments(&large, 1), Unverified::TooLarge),
        ("pings without end", frame(0x89, &[7; 125]).repeat(1000), Unverified::TooLarge),
        ("an unmasked frame", b"\x81\x00".to_vec(), Unverified::Frames(Violation::Masking)),
        ("a reserved opcode", frame(0x83, b""), Unverified::Frames(Violation::ReservedOpcode)),
        ("a continuation of nothing", frame(0x80, b""), Unverified::Frames(Violation::Fragmentation)),
        ("a close", close_frame(1000, "", Some(MASK)), Unverified::Closed),
        ("a second connect behind the first", [text(&good()), text(&good())].concat(), Unverified::Second),
        ("a second message of fragments", [text(&good()), frame(0x01, b"{")].concat(), Unverified::Second),
        (
            "a frame that we cannot follow behind the first",
            [text(&good()), b"\x81\x80".to_vec(), frame(0x83, b"")].concat(),
            Unverified::Second,
        ),
    ];
    for (what, wire, why) in table {
        for size in [wire.len(), 1000, 7, 1] {
            let mut gate = own_gate();
            let (passed, refused) = run(&mut gate, &wire, size);
            assert_eq!(refused, Some(why), "{what} in reads of {size}");
            // Only the message that was good may have gone on, when what followed came later.
            let first = if why == Unverified::Second { text(&good()).len() } else { 0 };
            assert!(passed.len() <= first + 13, "{what} in reads of {size}: {} bytes", passed.len());
            assert_eq!(gate.client_sent(&text(&good()), NOW), Step::Hold, "{what}: and nothing after it");
        }
    }
}

#[test]
fn a_connect_before_the_challenge_is_refused() {
    let mut gate = Gate::new([pinned(platform(), None, &[])].into(), origin());
    assert_eq!(run(&mut gate, &text(&good()), 4096).1, Some(Unverified::NoChallenge));
    // And a second challenge changes nothing.
    let mut gate = own_gate();
    gate.challenged("n-2");
    assert_eq!(run(&mut gate, &text(&good()), 4096).1, None);
}

#[test]
fn a_message_of_64_kib_goes_through() {
    let short = good().len();
    let filler = "y".repeat(MOST_HELD - short - r#","x":"""#.len());
    let wire = text(&message(platform(), Payload::V2, |m| m["x"] = filler.into()));
    assert_eq!(wire.len(), MOST_HELD + 14);
    assert_eq!(run(&mut own_gate(), &wire, 4096).1, None);
}

#[test]
fn scopes_and_networks_narrow_a_key() {
    let asked = ["operator.read", "operator.admin"];
    let of = |scopes: Option<&[&str]>, clients: &[&str], origin: Origin| {
        let mut gate = Gate::new([pinned(platform(), scopes, clients)].into(), origin);
        gate.challenged(NONCE);
        run(&mut gate, &text(&good()), 4096).1
    };
    assert_eq!(of(Some(&asked), &[], origin()), None);
    assert_eq!(of(Some(&["operator.admin", "operator.read", "operator.write"]), &[], origin()), None);
    assert_eq!(of(Some(&["operator.admin"]), &[], origin()), Some(Unverified::Scopes), "admin does not stand for read");
    assert_eq!(of(Some(&[]), &[], origin()), Some(Unverified::Scopes));
    assert_eq!(of(None, &["203.0.113.0/24"], origin()), None);
    let mapped = Origin { address: "::ffff:203.0.113.7".parse().expect("an address"), disputed: false };
    assert_eq!(of(None, &["203.0.113.0/24"], mapped), None);
    assert_eq!(of(None, &["198.51.100.0/24"], origin()), Some(Unverified::Address));
    let disputed = Origin { disputed: true, ..origin() };
    assert_eq!(of(None, &["203.0.113.0/24"], disputed), Some(Unverified::Address));
    assert_eq!(of(None, &[], disputed), None);
}

#[test]
fn reasons_fit_into_a_close_frame_and_have_names() {
    let reasons = [
        Unverified::Late,
        Unverified::Frames(Violation::Fragmentation),
        Unverified::Device(DeviceError::Signature),
        Unverified::Second,
    ];
    for why in reasons {
        assert!(why.to_string().len() <= 123, "{why}");
        assert!(Unverified::NAMES.contains(&why.name()));
    }
}

proptest! {
    #[test]
    fn every_way_to_cut_a_good_message_goes_through_whole(
        v3 in any::<bool>(), size in 1usize..400, piece in 20usize..600, pongs in 0usize..3,
    ) {
        let payload = if v3 { Payload::V3 } else { Payload::V2 };
        let message = fragments(&message(platform(), payload, |_| {}), piece);
        let wire = [frame(0x8a, b"").repeat(pongs), message].concat();
        prop_assert_eq!(run(&mut own_gate(), &wire, size), (wire, None));
    }

    /// Whatever passes was signed by a pinned key for this challenge, as any reader of it sees.
    #[test]
    fn what_passes_is_what_was_signed(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 0..4),
        size in 1usize..2000,
    ) {
        let mut text = good().into_bytes();
        for (at, byte, what) in edits {
            let at = at.index(text.len());
            match what {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                2 => drop(text.remove(at)),
                _ => text.insert(at, b' '),
            }
        }
        let wire = frame(TEXT, &text);
        let (passed, refused) = run(&mut own_gate(), &wire, size);
        if refused.is_some() {
            prop_assert!(passed.is_empty());
        } else {
            prop_assert_eq!(passed, wire);
            let message: Value = serde_json::from_slice(&text).expect("JSON");
            prop_assert_eq!((&message["type"], &message["method"]), (&json!("req"), &json!("connect")));
            let connect: Connect = serde_json::from_value(message["params"].clone()).expect("a connect");
            let device = connect.device.clone().expect("a device");
            prop_assert!(device::verify(&connect, &device, NONCE, NOW).is_ok());
            prop_assert_eq!(device.id, DeviceId::of(platform().public_key().as_ref()).to_string());
        }
    }

    #[test]
    fn bytes_of_any_kind_are_never_passed(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 1usize..50) {
        let (passed, _) = run(&mut own_gate(), &bytes, size);
        prop_assert!(passed.is_empty());
    }
}
