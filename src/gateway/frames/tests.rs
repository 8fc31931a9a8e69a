use proptest::prelude::*;
use tokio_tungstenite::tungstenite::protocol::frame::{
    CloseFrame, Frame, FrameHeader,
    coding::{CloseCode, Control, Data, OpCode},
};

use super::*;

/// What the scanner said, with the payload pieces of one frame joined: the cut of the reads does not show.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Frame(Head),
    Payload(Vec<u8>),
    MessageEnd,
    Close(Close),
    Violation(Violation),
}

fn scan<'a>(scanner: &mut Scanner, reads: impl IntoIterator<Item = &'a [u8]>) -> Vec<Told> {
    let mut told = Vec::new();
    for read in reads {
        scanner.feed(read, |event| match event {
            Event::Payload(piece) => {
                assert!(!piece.is_empty(), "a payload piece is never empty");
                match told.last_mut() {
                    Some(Told::Payload(all)) => all.extend(piece),
                    _ => told.push(Told::Payload(piece.to_vec())),
                }
            }
            Event::Frame(head) => told.push(Told::Frame(head)),
            Event::MessageEnd => told.push(Told::MessageEnd),
            Event::Close(close) => told.push(Told::Close(close)),
            Event::Violation(violation) => told.push(Told::Violation(violation)),
        });
    }
    told
}

/// A frame as tungstenite writes it, and what the scanner should say about it.
#[derive(Debug, Clone)]
struct Sample {
    wire: Vec<u8>,
    told: Vec<Told>,
}

fn encode(header: FrameHeader, payload: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    Frame::from_payload(header, payload.to_vec().into()).format(&mut wire).expect("writing to memory");
    wire
}

fn masked(payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mask = mask.unwrap_or_default();
    payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect()
}

fn frame(opcode: OpCode, is_final: bool, rsv1: bool, mask: Option<[u8; 4]>, payload: &[u8]) -> Sample {
    let wire = encode(FrameHeader { is_final, rsv1, opcode, mask, ..FrameHeader::default() }, payload);
    let kind = Opcode::from_bits(u8::from(opcode)).expect("a defined opcode");
    let mut told = vec![Told::Frame(Head {
        fin: is_final,
        rsv: if rsv1 { 0b100 } else { 0 },
        opcode: kind,
        mask,
        length: payload.len() as u64,
    })];
    if !kind.is_control() {
        if !payload.is_empty() {
            told.push(Told::Payload(masked(payload, mask)));
        }
        if is_final {
            told.push(Told::MessageEnd);
        }
    }
    Sample { wire, told }
}

fn close(code: u16, reason: &str, mask: Option<[u8; 4]>) -> Sample {
    let mut body = code.to_be_bytes().to_vec();
    body.extend(reason.bytes());
    let mut sample = frame(OpCode::Control(Control::Close), true, false, mask, &body);
    sample.told.push(Told::Close(Close { code: Some(code), reason: reason.into() }));
    sample
}

/// A message in one to four frames, with a ping or a pong somewhere.
fn message(side: Side) -> impl Strategy<Value = Vec<Sample>> {
    let mask = any::<[u8; 4]>().prop_map(move |mask| (side == Side::Client).then_some(mask));
    // Lengths around every change of the length's form, and plain ones.
    let length = prop_oneof![6 => 0usize..40, 1 => 120usize..130, 1 => 65_530usize..65_540];
    let pieces = prop::collection::vec((length, mask.clone(), any::<u8>()), 1..5);
    let control = prop::option::of((any::<bool>(), prop::collection::vec(any::<u8>(), 0..=125), mask));
    (pieces, any::<bool>(), any::<bool>(), control).prop_map(|(pieces, text, rsv1, control)| {
        let last = pieces.len() - 1;
        let mut frames = Vec::new();
        for (at, (length, mask, seed)) in pieces.into_iter().enumerate() {
            let payload: Vec<u8> = (0..length).map(|i| seed.wrapping_add(i as u8)).collect();
            let first = if text { Data::Text } else { Data::Binary };
            let opcode = OpCode::Data(if at == 0 { first } else { Data::Continue });
            frames.push(frame(opcode, at == last, rsv1 && at == 0, mask, &payload));
            if let Some((ping, body, mask)) = control.as_ref().filter(|_| at == 0) {
                let opcode = OpCode::Control(if *ping { Control::Ping } else { Control::Pong });
                frames.push(frame(opcode, true, false, *mask, body));
            }
        }
        frames
    })
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Client), Just(Side::Gateway)]
}

fn stream() -> impl Strategy<Value = (Side, Vec<Sample>, Vec<usize>)> {
    side().prop_flat_map(|side| {
        let messages = prop::collection::vec(message(side), 0..5)
            .prop_map(|messages| messages.into_iter().flatten().collect::<Vec<_>>());
        let cuts = prop::collection::vec(prop_oneof![4 => 1usize..12, 1 => 1usize..70_000], 1..20);
        (Just(side), messages, cuts)
    })
}

/// `wire` cut into reads of the given sizes, over and over.
fn cut<'a>(wire: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = wire;
    let mut reads = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (read, after) = rest.split_at((*size).min(rest.len()));
        reads.push(read);
        rest = after;
    }
    reads
}

proptest! {
    #[test]
    fn every_way_to_cut_the_reads_tells_the_same_frames((side, samples, sizes) in stream()) {
        let wire: Vec<u8> = samples.iter().flat_map(|sample| sample.wire.clone()).collect();
        let expected: Vec<Told> = samples.iter().flat_map(|sample| sample.told.clone()).collect();
        let mut scanner = Scanner::new(side);
        prop_assert_eq!(scan(&mut scanner, cut(&wire, &sizes)), expected);
        prop_assert!(scanner.at_boundary());
    }

    #[test]
    fn a_boundary_is_known_exactly_between_frames((side, samples, _) in stream()) {
        let mut scanner = Scanner::new(side);
        for sample in &samples {
            // The insides of a long payload are all alike: look closely at its first and last bytes only.
            let (near, far) = (sample.wire.len().min(200), sample.wire.len().saturating_sub(200));
            for at in (0..near).chain(near.max(far)..sample.wire.len()) {
                let mut here = scanner.clone();
                here.feed(&sample.wire[..at], |_| {});
                prop_assert_eq!(here.at_boundary(), at == 0, "at {} of {}", at, sample.wire.len());
                let mut ahead = sample.wire[at..].to_vec();
                prop_assert_eq!(here.boundary_within(&ahead), Some(if at == 0 { 0 } else { ahead.len() }));
                ahead.pop();
                if at > 0 {
                    prop_assert_eq!(here.boundary_within(&ahead), None);
                }
            }
            scanner.feed(&sample.wire, |_| {});
            prop_assert!(scanner.at_boundary());
        }
    }

    #[test]
    fn a_close_frame_is_read_however_it_is_cut(
        side in side(), code in 1000u16..5000, reason in "\\PC{0,30}", key in any::<[u8; 4]>(),
        sizes in prop::collection::vec(1usize..9, 1..9), after in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let reason = &reason[..reason.floor_char_boundary(123)];
        let sample = close(code, reason, (side == Side::Client).then_some(key));
        let mut wire = sample.wire;
        wire.extend(after);
        let mut scanner = Scanner::new(side);
        prop_assert_eq!(scan(&mut scanner, cut(&wire, &sizes)), sample.told);
        prop_assert!(scanner.is_closed() && !scanner.at_boundary());
        prop_assert_eq!(scanner.boundary_within(b"\x81\x00"), None);
    }

    #[test]
    fn our_close_frames_are_the_ones_tungstenite_writes(
        code in 1000u16..5000, reason in "\\PC{0,40}", mask in any::<Option<[u8; 4]>>(),
    ) {
        let cut = &reason[..reason.floor_char_boundary(123)];
        let mut expected = Frame::close(Some(CloseFrame { code: CloseCode::from(code), reason: cut.into() }));
        expected.header_mut().mask = mask;
        let mut wire = Vec::new();
        expected.format(&mut wire).expect("writing to memory");
        prop_assert_eq!(close_frame(code, &reason, mask), wire);
    }

    #[test]
    fn no_bytes_panic_the_scanner(
        side in side(), wire in prop::collection::vec(any::<u8>(), 0..300),
        sizes in prop::collection::vec(1usize..20, 1..9),
    ) {
        let mut whole = Scanner::new(side);
        let mut pieces = Scanner::new(side);
        prop_assert_eq!(scan(&mut whole, [&wire[..]]), scan(&mut pieces, cut(&wire, &sizes)));
        prop_assert_eq!(whole.at_boundary(), pieces.at_boundary());
        prop_assert_eq!(whole.is_blind(), pieces.is_blind());
    }
}

#[test]
fn violations_blind_the_scanner_and_nothing_is_told_after_them() {
    let cases: [(&str, Side, &[u8], Violation); 10] = [
        ("reserved data opcode", Side::Gateway, b"\x83\x00", Violation::ReservedOpcode),
        ("reserved control opcode", Side::Gateway, b"\x8b\x00", Violation::ReservedOpcode),
        ("masked gateway", Side::Gateway, b"\x81\x81\0\0\0\0x", Violation::Masking),
        ("unmasked client", Side::Client, b"\x81\x01x", Violation::Masking),
        ("16-bit length of a short payload", Side::Gateway, b"\x82\x7e\x00\x7d", Violation::Length),
        ("64-bit length of a short payload", Side::Gateway, b"\x82\x7f\0\0\0\0\0\0\xff\xff", Violation::Length),
        ("length above 2^63", Side::Gateway, b"\x82\x7f\x80\0\0\0\0\x01\0\0", Violation::Length),
        ("fragmented ping", Side::Gateway, b"\x09\x00", Violation::Control),
        ("continuation of nothing", Side::Gateway, b"\x80\x00", Violation::Fragmentation),
        ("close with half a code", Side::Gateway, b"\x88\x01\x03", Violation::CloseBody),
    ];
    for (name, side, wire, violation) in cases {
        let mut scanner = Scanner::new(side);
        let told = scan(&mut scanner, [wire, b"\x81\x02hi"]);
        assert_eq!(told.last(), Some(&Told::Violation(violation)), "{name}");
        assert!(scanner.is_blind() && !scanner.at_boundary(), "{name}");
    }
    let mut scanner = Scanner::new(Side::Gateway);
    let told = scan(&mut scanner, [&b"\x01\x01a\x81\x01b"[..]]);
    assert_eq!(told.last(), Some(&Told::Violation(Violation::Fragmentation)), "message inside a message");
    let told = scan(&mut Scanner::new(Side::Gateway), [&b"\x89\x7e\x00\x7e"[..]]);
    assert_eq!(told, [Told::Violation(Violation::Control)], "long ping");
}

#[test]
fn an_empty_close_frame_has_no_code() {
    let told = scan(&mut Scanner::new(Side::Gateway), [&b"\x88\x00"[..]]);
    assert_eq!(told.last(), Some(&Told::Close(Close { code: None, reason: "".into() })));
}
