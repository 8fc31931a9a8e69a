//! Signed `connect`s, changed or not after they were signed, and frames against a parser that has them whole.

use std::net::IpAddr;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clawgate::{
    config::model::{DeviceId, PinnedKey},
    gateway::{
        frames::{Event, Scanner, Side},
        pin::{Gate, MOST_FRAMING, MOST_HELD, Origin, Step},
    },
};
use serde_json::json;

const NONCE: &str = "6b8b3461";
const NOW: i64 = 1_795_371_472_015;

/// Six bytes choose what is wrong, the fence, the cuts, how the time is off; the lines behind them are the texts in it.
pub fn connect(data: &[u8]) {
    let Some((choice, rest)) = data.split_first_chunk::<6>() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    if text.len() > 4000 {
        return;
    }
    let [wrong, fence, cut, fragment, late, key] = *choice;
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default().to_owned();
    let mut scopes: Vec<String> = next().split(' ').filter(|s| !s.is_empty()).map(str::to_owned).collect();
    let (mut client, mut mode, mut token, mut platform, mut family) = (next(), next(), next(), next(), next());
    let mut role = if fence & 1 == 0 { "operator".to_owned() } else { next() };
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a seed");
    let public = pair.public_key().as_ref();
    let id = DeviceId::of(public);
    let mut signed_at = NOW + i64::from(late) * 1000;
    let v3 = fence & 2 != 0;
    let mut line = format!(
        "{}|{id}|{client}|{mode}|{role}|{}|{signed_at}|{token}|{NONCE}",
        if v3 { "v3" } else { "v2" },
        scopes.join(",")
    );
    if v3 {
        line += &format!("|{}|{}", platform.trim().to_ascii_lowercase(), family.trim().to_ascii_lowercase());
    }
    let mut signature = pair.sign(line.as_bytes()).as_ref().to_vec();
    let mut nonce = format!(" {NONCE} ");
    let mut good = true;
    match wrong % 12 {
        1 => client.push('x'),
        2 => mode.push('x'),
        3 => token.push('x'),
        4 => role.push('x'),
        5 => scopes.push("x".into()),
        6 => signed_at += 1,
        7 => signature[usize::from(key) % 64] ^= 1,
        8 => nonce.push('x'),
        9 => platform.push('x'),
        10 => family.push('x'),
        _ => {}
    }
    good &= match wrong % 12 {
        1..=8 => false,
        9 | 10 => !v3,
        _ => true,
    };
    good &= late <= 120 && role == "operator";
    let pinned: Option<Vec<Box<str>>> = (fence & 4 != 0).then(|| vec!["operator.read".into(), "operator.admin".into()]);
    good &= pinned.as_ref().is_none_or(|most| scopes.iter().all(|scope| most.iter().any(|m| **m == **scope)));
    let key_pinned = fence & 8 == 0;
    good &= key_pinned;
    let inside = fence & 16 == 0;
    good &= inside;

    let message = json!({"type": "req", "id": "1", "method": "connect", "params": {
        "minProtocol": 3, "maxProtocol": 4, "role": role, "scopes": scopes,
        "client": {"id": client, "mode": mode, "platform": platform, "deviceFamily": family},
        "auth": {"token": token},
        "device": {"id": id.to_string(), "publicKey": URL_SAFE_NO_PAD.encode(public), "signedAt": signed_at,
            "nonce": nonce, "signature": URL_SAFE_NO_PAD.encode(&signature)},
    }});
    let wire = frames_of(message.to_string().as_bytes(), usize::from(fragment), key);
    // In pieces of a byte it is mostly frames.
    good &= wire.len() <= MOST_HELD + MOST_FRAMING;
    let clients = vec!["203.0.113.0/24".parse().expect("a network")];
    let id = if key_pinned { id } else { DeviceId::of(&[0; 32]) };
    let pin = PinnedKey { name: "platform".into(), id, scopes: pinned, clients };
    let address = IpAddr::from([203, 0, if inside { 113 } else { 114 }, 7]);
    let mut gate = Gate::new([pin].into(), Origin { address, disputed: false });
    gate.challenged(NONCE);
    let mut passed = None;
    for read in wire.chunks(usize::from(cut).max(1)) {
        match gate.client_sent(read, NOW) {
            Step::Hold => {}
            Step::Pass(held) => passed = Some(held),
            Step::Along => panic!("nothing follows"),
            Step::Refuse(why) => {
                assert!(!good, "{why}: {message}");
                return;
            }
        }
    }
    assert!(good, "{message}");
    assert_eq!(passed.as_ref().map(|held| &held[..]), Some(&*wire));
}

/// Masked, in fragments of that many bytes, a ping behind each but the last.
fn frames_of(text: &[u8], fragment: usize, key: u8) -> Vec<u8> {
    let mask = [key, 1, !key, 77];
    let mut wire = Vec::new();
    let pieces: Vec<&[u8]> = if fragment == 0 { vec![text] } else { text.chunks(fragment).collect() };
    for (at, piece) in pieces.iter().enumerate() {
        let last = at + 1 == pieces.len();
        wire.push(if last { 0x80 } else { 0 } | if at == 0 { 1 } else { 0 });
        match u8::try_from(piece.len()).ok().filter(|length| *length < 126) {
            Some(length) => wire.push(0x80 | length),
            None => {
                wire.push(0x80 | 126);
                wire.extend((piece.len() as u16).to_be_bytes());
            }
        }
        wire.extend(mask);
        wire.extend(piece.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        if !last && at < 100 {
            wire.extend([0x89, 0x80, 1, 2, 3, 4]);
        }
    }
    wire
}

/// The first byte chooses the side, the second how the wire behind them is cut.
pub fn frames(data: &[u8]) {
    let Some(([side, cut], wire)) = data.split_first_chunk::<2>() else { return };
    let side = if side & 1 == 0 { Side::Client } else { Side::Gateway };
    let mut seen = Vec::new();
    let mut scanner = Scanner::new(side);
    for read in wire.chunks(usize::from(*cut).max(1)) {
        scanner.feed(read, |event| match event {
            Event::Frame(head) => seen.push(format!("{:?} {} {:?}", head.opcode, head.length, head.mask)),
            Event::Payload(piece) => match seen.last_mut().filter(|last| last.starts_with("payload")) {
                Some(last) => *last += &hex(piece),
                None => seen.push(format!("payload {}", hex(piece))),
            },
            Event::MessageEnd => seen.push("end".into()),
            Event::Close(close) => seen.push(format!("close {:?} {}", close.code, close.reason)),
            Event::Violation(_) => seen.push("violation".into()),
        });
    }
    let (expected, ends_at) = read_whole(wire, side == Side::Client);
    assert_eq!(seen, expected);
    assert_eq!(scanner.at_boundary(), ends_at == Some(wire.len()));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Events, and where the last whole frame ends; `None` after a close or a violation.
fn read_whole(wire: &[u8], client: bool) -> (Vec<String>, Option<usize>) {
    let mut events = Vec::new();
    let (mut at, mut open) = (0, false);
    loop {
        let rest = &wire[at..];
        let [first, second, ..] = rest else { return (events, Some(at)) };
        let extended = [126, 127].iter().position(|long| second & 127 == *long).map_or(0, |long| [2, 8][long]);
        let masked = second & 128 != 0;
        let begin = 2 + extended + if masked { 4 } else { 0 };
        let Some(header) = rest.get(..begin) else { return (events, Some(at)) };
        let long = header[2..2 + extended].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let length = if extended == 0 { u64::from(second & 127) } else { long };
        let name = ["Continuation", "Text", "Binary", "", "", "", "", "", "Close", "Ping", "Pong"]
            .get(usize::from(first & 15))
            .filter(|name| !name.is_empty());
        let (fin, control) = (first & 128 != 0, first & 8 != 0);
        let least = [0, 126, 65_536][if extended == 0 {
            0
        } else if extended == 2 {
            1
        } else {
            2
        }];
        let wrong = masked != client
            || length < least
            || length >> 63 == 1
            || (control && (!fin || length > 125))
            || (!control && (first & 15 == 0) != open);
        let Some(name) = name.filter(|_| !wrong) else {
            events.push("violation".into());
            return (events, None);
        };
        let mask: Option<[u8; 4]> = header.last_chunk().copied().filter(|_| masked);
        events.push(format!("{name} {length} {mask:?}"));
        let body = &rest[begin..];
        let whole = usize::try_from(length).ok().and_then(|length| body.get(..length));
        if !control {
            open = !fin;
            let part = whole.unwrap_or(body);
            if !part.is_empty() {
                events.push(format!("payload {}", hex(part)));
            }
        }
        let Some(whole) = whole else { return (events, Some(at)) };
        if *name == "Close" {
            let key = mask.unwrap_or_default();
            let plain: Vec<u8> = whole.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
            events.push(match &plain[..] {
                [] => "close None ".into(),
                [_] => "violation".into(),
                [a, b, reason @ ..] => {
                    let code = u16::from(*a) << 8 | u16::from(*b);
                    format!("close {:?} {}", Some(code), String::from_utf8_lossy(reason))
                }
            });
            return (events, None);
        }
        if !control && fin {
            events.push("end".into());
        }
        at += begin + whole.len();
    }
}
