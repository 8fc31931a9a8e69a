use proptest::prelude::*;

use super::*;

const PRI: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn settings() -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])
}

/// What h2 gets to see of `bytes` when they come in pieces of these sizes, into buffers of those; and whether that is
/// all it ever gets.
fn seen(guard: &mut Guard, mut bytes: &[u8], sizes: &[usize], rooms: &[usize]) -> (Vec<u8>, bool) {
    let (mut seen, mut sizes, mut rooms) = (Vec::new(), sizes.iter().cycle(), rooms.iter().cycle());
    loop {
        let mut space = vec![0; *rooms.next().unwrap()];
        let mut buf = ReadBuf::new(&mut space);
        let polled = guard.poll_read(&mut buf, |buf| {
            if bytes.is_empty() {
                return Poll::Pending;
            }
            let part = (*sizes.next().unwrap()).min(bytes.len()).min(buf.remaining());
            buf.put_slice(&bytes[..part]);
            bytes = &bytes[part..];
            Poll::Ready(Ok(()))
        });
        match polled {
            Poll::Pending => return (seen, false),
            Poll::Ready(_) if buf.filled().is_empty() => return (seen, true),
            Poll::Ready(_) => seen.extend(buf.filled()),
        }
    }
}

fn read(guard: &mut Guard, bytes: &[u8]) -> Vec<u8> {
    seen(guard, bytes, &[200], &[200]).0
}

fn fault(frames: &[Vec<u8>]) -> Option<Fault> {
    let (seen, over) = seen(&mut Guard::default(), &[PRI, &frames.concat()].concat(), &[200], &[200]);
    let fault = [Fault::Protocol, Fault::FrameSize, Fault::FlowControl].into_iter();
    let fault = fault.into_iter().find(|fault| seen.ends_with(fault.for_h2()));
    assert_eq!(fault.is_some(), over);
    fault
}

#[test]
fn a_frame_of_a_wrong_size_is_told_by_the_right_name() {
    for (kind, flags, stream, payload) in [
        (DATA, PADDED, 1, &[][..]),
        (HEADERS, PADDED, 1, &[]),
        (HEADERS, WITH_PRIORITY, 1, &[0; 4]),
        (HEADERS, WITH_PRIORITY | PADDED, 1, &[0; 5]),
        (PRIORITY, 0, 1, &[0; 4]),
        (PRIORITY, 0, 1, &[0; 6]),
        (RST_STREAM, 0, 1, &[0; 3]),
        (RST_STREAM, 0, 1, &[0; 5]),
        (SETTINGS, 0, 0, &[0; 5]),
        (SETTINGS, ACK, 0, &[0; 6]),
        (PING, 0, 0, &[0; 7]),
        (PING, ACK, 0, &[0; 9]),
        (GOAWAY, 0, 0, &[0; 7]),
        (WINDOW_UPDATE, 0, 0, &[0; 3]),
        (WINDOW_UPDATE, 0, 1, &[0; 5]),
    ] {
        let bad = frame(kind, flags, stream, payload);
        assert_eq!(fault(&[settings(), bad]), Some(Fault::FrameSize), "{kind} {flags} {payload:?}");
    }
}

#[test]
fn settings_come_first() {
    for first in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, ACK, 0, &[]), frame(HEADERS, 5, 1, &[0x82])] {
        assert_eq!(fault(&[first, settings()]), Some(Fault::Protocol));
    }
}

#[test]
fn a_window_above_the_largest_is_told_by_the_right_name() {
    let update = |stream, n: u32| frame(WINDOW_UPDATE, 0, stream, &n.to_be_bytes());
    let largest = i32::MAX as u32;
    let reset = |stream, code| frame(RST_STREAM, 0, stream, &[0, 0, 0, code]);
    for (updates, stream, code) in [
        (vec![update(1, largest), update(1, largest)], 1, 3),
        (vec![update(1, largest), update(1, largest)], 3, 0),
        (vec![update(1, 1 << 30), update(3, 1 << 30), update(1, 1 << 30)], 1, 0),
        (vec![update(1, largest), update(3, largest)], 3, 0),
    ] {
        let mut guard = Guard::default();
        let sent = [PRI, &settings(), &updates.concat()].concat();
        assert_eq!(read(&mut guard, &sent), sent);
        let data = frame(DATA, 0, 1, &reset(stream, 0));
        let out = written(&mut guard, &[data.clone(), reset(stream, 0), data.clone()].concat(), usize::MAX);
        assert_eq!(out, [data.clone(), reset(stream, code), data].concat(), "{updates:?}");
    }
    let initial = |n: u32| frame(SETTINGS, 0, 0, &[&[0, 4][..], &n.to_be_bytes()].concat());
    assert_eq!(fault(&[initial(largest + 1)]), Some(Fault::FlowControl));
    assert_eq!(fault(&[settings(), initial(largest + 1)]), Some(Fault::FlowControl));
    assert_eq!(fault(&[initial(largest)]), None);
}

#[test]
fn a_window_that_was_used_may_be_opened_again() {
    let mut guard = Guard::default();
    let update = frame(WINDOW_UPDATE, 0, 1, &(i32::MAX as u32).to_be_bytes());
    let first = [PRI.to_vec(), settings(), update.clone()].concat();
    assert_eq!(read(&mut guard, &first), first);
    for _ in 0..(1u32 << 31) >> 16 {
        guard.wrote(&[0; 1 << 16]);
    }
    assert_eq!(read(&mut guard, &update), update);
    assert_eq!(guard.too_wide, None);
}

/// What goes out for what h2 wants to write, in pieces of at most `most`.
fn written(guard: &mut Guard, mut bytes: &[u8], most: usize) -> Vec<u8> {
    let mut written = Vec::new();
    while !bytes.is_empty() {
        let mut goaway = [0; SHORT_GOAWAY];
        let out = guard.before_write(bytes, &mut goaway);
        let out = &out[..out.len().min(most)];
        guard.wrote(out);
        written.extend(out);
        bytes = &bytes[out.len()..];
    }
    written
}

#[test]
fn a_block_that_does_not_decompress_is_told_by_the_right_name() {
    let goaway = |code| frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, code]);
    let after = |block: &[u8]| {
        let mut guard = Guard::default();
        read(&mut guard, &[PRI, &settings(), block].concat());
        guard
    };
    let head = frame(HEADERS, 5, 1, &[0x80]);
    let in_two = [frame(HEADERS, 1, 1, &[0x82]), frame(CONTINUATION, 4, 1, &[0x80])].concat();
    let padded = frame(HEADERS, 5 | PADDED, 1, &[1, 0x80, 0]);
    for block in [&head, &in_two, &padded] {
        for before in [vec![], frame(SETTINGS, ACK, 0, &[]), frame(DATA, 0, 1, &goaway(1))] {
            let out = written(&mut after(block), &[before.clone(), goaway(1)].concat(), usize::MAX);
            assert_eq!(out, [before, goaway(9)].concat());
        }
    }
    // Where something else is at fault, or it has another name, or this is somebody's data.
    let other = [head.clone(), frame(PING, 0, 1, &[0; 8])].concat();
    let twice = [head.clone(), head.clone()].concat();
    let too_much_padding = frame(HEADERS, 5 | PADDED, 1, &[3, 0x80, 0]);
    for block in [other, twice, frame(HEADERS, 5, 2, &[0x82]), too_much_padding] {
        assert_eq!(written(&mut after(&block), &goaway(1), usize::MAX), goaway(1));
    }
    for other in [goaway(0), goaway(2), goaway(11), frame(DATA, 0, 1, &goaway(1))] {
        assert_eq!(written(&mut after(&head), &other, usize::MAX), other);
    }
}

#[test]
fn a_block_is_not_blamed_for_a_fault_that_came_before_it_in_the_same_read() {
    let goaway = |code| frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, code]);
    let setting = |id, value: u32| frame(SETTINGS, 0, 0, &[&[0, id][..], &value.to_be_bytes()].concat());
    let head = |stream| frame(HEADERS, 5, stream, &[0x80]);
    let update = |n: u32| frame(WINDOW_UPDATE, 0, 0, &n.to_be_bytes());
    // h2 has not asked again: whatever is wrong with it was in these bytes.
    let name = |sent: &[u8]| {
        let mut guard = Guard::default();
        let mut space = [0; 500];
        let mut buf = ReadBuf::new(&mut space);
        let polled = guard.poll_read(&mut buf, |buf| {
            buf.put_slice(&[PRI, &settings(), sent].concat());
            Poll::Ready(Ok(()))
        });
        assert!(polled.is_ready());
        written(&mut guard, &goaway(1), usize::MAX)
    };
    for before in [
        frame(PING, 0, 1, &[0; 8]),
        frame(DATA, 1, 1, b"x"),
        frame(RST_STREAM, 0, 1, &[0; 4]),
        frame(PRIORITY, 0, 0, &[0; 5]),
        frame(SETTINGS, 0, 1, &[]),
        frame(SETTINGS, ACK, 0, &[]).repeat(2),
        setting(2, 2),
        setting(5, 16_383),
        setting(8, 7),
        update(0),
        frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        // A block in a block, and one that goes on behind its end.
        frame(HEADERS, 1, 1, &[0x82]),
        frame(HEADERS, 5, 1, &[0x82]).repeat(2),
        [frame(HEADERS, 5, 1, &[0x82]), frame(CONTINUATION, 4, 1, &[0x82])].concat(),
        [frame(HEADERS, 1, 1, &[0x82]), frame(PING, 0, 0, &[0; 8])].concat(),
    ] {
        assert_eq!(name(&[&before[..], &head(3)].concat()), goaway(1), "{before:?}");
        // The next read begins when h2 is done with it.
        let mut guard = Guard::default();
        read(&mut guard, &[PRI, &settings(), &before, &frame(CONTINUATION, 4, 1, &[])].concat());
        read(&mut guard, &head(3));
        assert_eq!(written(&mut guard, &goaway(1), usize::MAX), goaway(9), "{before:?}");
    }
    let blameless = [
        setting(5, 16_384),
        setting(2, 0),
        frame(SETTINGS, ACK, 0, &[]),
        update(1 << 20),
        frame(PING, 0, 0, &[0; 8]),
        frame(PRIORITY, 0, 5, &[0; 5]),
        // Its own fault would be the same one.
        head(1),
    ];
    assert_eq!(name(&[&blameless.concat()[..], &head(3)].concat()), goaway(9));
    let continued = [frame(HEADERS, 5, 1, &[0x82]), frame(CONTINUATION, 4, 1, &[0x82])].concat();
    assert_eq!(name(&continued), goaway(1), "a block that had ended");
}

#[test]
fn the_name_of_a_fault_does_not_hang_on_where_a_padded_block_was_cut() {
    let goaway = |code| frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, code]);
    let sent = [PRI, &settings(), &frame(HEADERS, 5 | PADDED, 1, &[1, 0x80, 0])].concat();
    for size in 1..=sent.len() {
        let mut guard = Guard::default();
        assert_eq!(seen(&mut guard, &sent, &[size], &[200]).0, sent);
        assert_eq!(written(&mut guard, &goaway(1), usize::MAX), goaway(9), "in pieces of {size}");
    }
}

#[test]
fn a_block_that_is_too_short_for_its_padding_is_at_fault_before_the_padding_has_come() {
    let head = &frame(HEADERS, WITH_PRIORITY | PADDED, 1, &[0])[..HEAD];
    assert_eq!(fault(&[settings(), head.to_vec()]), Some(Fault::FrameSize));
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let update = (0..4u32, 1..u32::MAX).prop_map(|(stream, n)| frame(WINDOW_UPDATE, 0, stream, &n.to_be_bytes()));
    let payload = prop::collection::vec(any::<u8>(), 0..120);
    let any = (0..11u8, any::<u8>(), 0..6u32, payload).prop_map(|(k, f, s, p)| frame(k, f, s, &p));
    prop_oneof![Just(settings()), Just(frame(PING, 0, 0, &[0; 8])), update, any]
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1..60usize, 1..20)
}

proptest! {
    /// However the bytes come and into what, h2 sees the same; without a fault it sees all of them.
    #[test]
    fn it_does_not_matter_how_bytes_are_cut(
        frames in prop::collection::vec(any_frame(), 0..12),
        sizes in sizes(), rooms in sizes(),
    ) {
        let sent = [PRI, &settings(), &frames.concat()].concat();
        let (mut a, mut b) = (Guard::default(), Guard::default());
        let whole = seen(&mut a, &sent, &[100], &[100]);
        prop_assert_eq!(&whole, &seen(&mut b, &sent, &sizes, &rooms));
        if !whole.1 {
            prop_assert_eq!([&whole.0, &a.held[..a.held_len]].concat(), sent);
        }
    }

    /// Nothing that comes takes it down, and what it lets through is what came.
    #[test]
    fn any_bytes_are_passed_on_or_end_the_connection(
        bytes in prop::collection::vec(any::<u8>(), 0..600), sizes in sizes(), rooms in sizes(),
    ) {
        let (seen, over) = seen(&mut Guard::default(), &bytes, &sizes, &rooms);
        prop_assert!(over || bytes.starts_with(&seen));
    }

    /// The border between our own frames is found however the socket takes them.
    #[test]
    fn it_does_not_matter_how_bytes_are_written(
        frames in prop::collection::vec(any_frame(), 0..12), most in 1..40usize,
    ) {
        let mut guard = Guard::default();
        let bytes = frames.concat();
        prop_assert_eq!(&written(&mut guard, &bytes, most), &bytes);
        prop_assert_eq!(guard.writes, Writes::default());
    }
}

#[test]
fn frames_that_ask_for_nothing_pass_up_to_their_number_and_the_first_beyond_does_not() {
    let ping = frame(PING, 0, 0, &[0; 8]);
    let few = |idle| Guard::new(Idle::new(idle, Instant::now));
    for (earned, more) in [
        (frame(PING, ACK, 0, &[0; 8]), -1),
        (frame(DATA, 0, 1, &[]), -1),
        (frame(DATA, PADDED, 1, &[0; 256]), -1),
        (frame(DATA, 0, 1, b"x"), 3),
        (frame(HEADERS, END_HEADERS, 1, &[0x82]), 3),
        (frame(0xbb, 0, 0, &[]), -1),
    ] {
        let mut guard = few(4);
        // One is spent for the first SETTINGS; what is earned fills it up again.
        let passed = usize::try_from(3 + if more < 0 { more } else { 1 }).unwrap();
        let begin = [PRI, &settings(), &earned].concat();
        let sent = [&begin[..], &ping.repeat(10)].concat();
        let (got, _) = seen(&mut guard, &sent, &[13], &[200]);
        assert_eq!(got, sent[..begin.len() + passed * ping.len()], "{earned:?}");
        assert!(guard.calms());
    }
}
