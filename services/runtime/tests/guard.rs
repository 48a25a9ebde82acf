//! The guard in the byte stream from the broker: what it lets through, lapin can read; what it does not
//! is replaced, and costs its neighbours nothing.

use amq_protocol::{
    frame::{AMQPFrame, parse_frame},
    protocol::{AMQPClass, basic},
    types::{AMQPValue, FieldTable},
};
use proptest::prelude::*;
use runtime::broker::{
    guard::{Guard, UNREADABLE_BODY, UNREADABLE_PROPERTIES},
    header::{MAX_DEPTH, MAX_HEADER_BYTES, MAX_VALUES, Unreadable, check_content_header},
    window::Window,
};

const FRAME_MAX: u32 = 128 * 1024;
const MAX_BODY: u64 = 1024 * 1024;

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut frame = vec![kind];
    frame.extend(channel.to_be_bytes());
    frame.extend(size.to_be_bytes());
    frame.extend(payload);
    frame.push(0xCE);
    frame
}

fn short(text: &[u8]) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    [&[length], text].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

/// The payload of a content header with these flags and values.
fn header(body_size: u64, flags: u16, values: &[u8]) -> Vec<u8> {
    let size = body_size.to_be_bytes();
    [&[0, 60, 0, 0][..], &size, &flags.to_be_bytes(), values].concat()
}

/// One whose only property is a table of headers with these fields.
fn with_headers(fields: &[u8]) -> Vec<u8> {
    header(4, 1 << 13, &long(fields))
}

fn nested(tag: u8, depth: usize) -> Vec<u8> {
    let mut value = Vec::new();
    for _ in 1..depth {
        let name: &[u8] = if tag == b'F' { b"\x01n" } else { b"" };
        value = [name, &[tag], &long(&value)[..]].concat();
    }
    [&short(b"x")[..], &[tag], &long(&value)].concat()
}

fn deliver(routing_key: &[u8]) -> Vec<u8> {
    let payload = [
        &[0, 60, 0, 60][..],
        &short(b"consumer"),
        &[0, 0, 0, 0, 0, 0, 0, 1, 0],
        &short(b"ipack.commands"),
        &short(routing_key),
    ];
    frame(1, 1, &payload.concat())
}

fn message(properties: &[u8], body: &[u8]) -> Vec<u8> {
    [
        deliver(b"save-connector-details.v1"),
        frame(2, 1, properties),
        frame(3, 1, body),
    ]
    .concat()
}

/// What comes out when the bytes come in chunks of these sizes, over and over.
fn through(mut guard: Guard, bytes: &[u8], chunks: &[usize]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut sizes = chunks.iter().copied().cycle();
    let mut left = bytes;
    while !left.is_empty() {
        let spare = guard.spare();
        let count = sizes
            .next()
            .unwrap_or(1)
            .clamp(1, left.len())
            .min(spare.len());
        spare[..count].copy_from_slice(&left[..count]);
        left = &left[count..];
        assert_eq!(guard.filled(count), Ok(()));
        let mut given = [0; 1000];
        loop {
            let count = guard.give(&mut given);
            out.extend(&given[..count]);
            if count == 0 {
                break;
            }
        }
    }
    out
}

fn guard() -> Guard {
    Guard::new(FRAME_MAX, MAX_BODY, None)
}

fn frames(mut bytes: &[u8]) -> Vec<AMQPFrame> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        match parse_frame(bytes) {
            Ok((rest, frame)) => {
                frames.push(frame);
                bytes = rest;
            }
            Err(error) => panic!("lapin can't read this: {error:?}"),
        }
    }
    frames
}

/// What lapin reads of one hostile message between two good ones.
fn read(properties: &[u8], body: &[u8]) -> (u64, FieldTable, Vec<u8>) {
    let good = message(&header(4, 1 << 7, &short(b"good")), b"good");
    let bytes = [&good[..], &message(properties, body), &good].concat();

    let out = through(guard(), &bytes, &[usize::MAX]);

    assert!(out.starts_with(&good) && out.ends_with(&good));
    let mut hostile = frames(&out[good.len()..out.len() - good.len()]).into_iter();
    assert!(matches!(hostile.next(), Some(AMQPFrame::Method(1, _))));
    let Some(AMQPFrame::Header(1, header)) = hostile.next() else {
        panic!("no content header");
    };
    let mut body = Vec::new();
    for frame in hostile {
        match frame {
            AMQPFrame::Body(1, bytes) => body.extend(bytes),
            other => panic!("{other:?}"),
        }
    }
    let headers = header.properties.headers().clone().unwrap_or_default();
    (header.body_size, headers, body)
}

#[test]
fn what_lapin_cannot_read_is_marked_and_its_neighbours_pass() {
    let many = |count: usize| b"\x01nV".repeat(count);
    let hostile = [
        (
            "a type that is not UTF-8",
            header(4, 1 << 5, &short(b"\xff")),
        ),
        (
            "an id that is not UTF-8",
            header(4, 1 << 7, &short(b"caf\xe9")),
        ),
        (
            "a name that is not UTF-8",
            with_headers(&[&short(b"\xe9")[..], b"V"].concat()),
        ),
        ("1,000 nested arrays", with_headers(&nested(b'A', 1000))),
        ("1,000 nested tables", with_headers(&nested(b'F', 1000))),
        ("10,000 headers", with_headers(&many(10_000))),
        ("an unknown type", with_headers(b"\x01n?")),
        (
            "a length that is too long",
            with_headers(b"\x01nS\x00\x00\x01\x00x"),
        ),
        ("a table that is cut", with_headers(b"\x01n")),
        ("a property that is missing", header(4, 1 << 15, b"")),
        (
            "bytes behind the last property",
            header(4, 1 << 15, b"\x01xy"),
        ),
        ("more flags", header(4, 1, b"\x00\x00")),
        (
            "60 KB of text",
            with_headers(&[&short(b"x")[..], b"S", &long(&vec![b'x'; 60_000])].concat()),
        ),
    ];
    for (what, properties) in hostile {
        let (size, headers, body) = read(&properties, b"body");

        assert_eq!(
            headers.inner().get(UNREADABLE_PROPERTIES),
            Some(&AMQPValue::Boolean(true)),
            "{what}"
        );
        assert_eq!((size, body.as_slice()), (4, &b"body"[..]), "{what}");
    }
}

#[test]
fn the_limits_of_headers_are_what_they_say() {
    let fits = |bytes: usize| [&short(b"x")[..], b"S", &long(&vec![b'x'; bytes])].concat();
    let overhead = with_headers(&fits(0)).len();
    let cases = [
        (with_headers(&nested(b'A', MAX_DEPTH - 1)), Ok(())),
        (
            with_headers(&nested(b'A', MAX_DEPTH)),
            Err(Unreadable::TooDeep),
        ),
        (with_headers(&nested(b'F', MAX_DEPTH - 1)), Ok(())),
        (with_headers(&b"\x01nV".repeat(MAX_VALUES)), Ok(())),
        (
            with_headers(&b"\x01nV".repeat(MAX_VALUES + 1)),
            Err(Unreadable::TooMany),
        ),
        (with_headers(&fits(MAX_HEADER_BYTES - overhead)), Ok(())),
        (
            with_headers(&fits(MAX_HEADER_BYTES - overhead + 1)),
            Err(Unreadable::TooLarge),
        ),
    ];
    for (properties, expected) in cases {
        assert_eq!(check_content_header(&properties), expected);
        if expected.is_ok() {
            frames(&frame(2, 1, &properties));
        }
    }
}

#[test]
fn a_header_larger_than_the_brokers_frames_is_marked() {
    // connection.tune: 2047 channels, frames of 4096 bytes, a heartbeat of 60 s.
    let tune = frame(1, 0, &[0, 10, 0, 30, 7, 255, 0, 0, 16, 0, 0, 60]);
    let large = [&short(b"x")[..], b"S", &long(&[b'x'; 5000])].concat();
    let bytes = [&tune[..], &message(&with_headers(&large), b"body")].concat();

    let out = through(guard(), &bytes, &[100]);

    let read = frames(&out);
    let Some(AMQPFrame::Header(_, header)) = read.get(2) else {
        panic!("{read:?}");
    };
    let headers = header.properties.headers().clone().unwrap_or_default();
    assert!(headers.contains_key(UNREADABLE_PROPERTIES));
}

#[test]
fn a_body_that_is_too_large_is_left_out_and_its_properties_stay() {
    let large = vec![b'x'; 100_000];
    let count = MAX_BODY / 100_000 + 1;
    let size = count * 100_000;
    let flags = 1 << 15 | 1 << 13 | 1 << 7;
    let values = [
        &short(b"application/json")[..],
        &long(b"\x01nV"),
        &short(b"an id"),
    ]
    .concat();
    let mut bytes = [deliver(b"key"), frame(2, 1, &header(size, flags, &values))].concat();
    for _ in 0..count {
        bytes.extend(frame(3, 1, &large));
        // Another channel's content comes in between.
        bytes.extend(frame(3, 2, b"another"));
    }
    let next = message(&header(4, 1 << 7, &short(b"next")), b"next");
    bytes.extend(&next);

    let out = through(guard(), &bytes, &[7777]);

    assert!(out.ends_with(&next));
    let mut read = frames(&out).into_iter().skip(1);
    let Some(AMQPFrame::Header(1, header)) = read.next() else {
        panic!("no content header");
    };
    assert_eq!(header.body_size, 0);
    let properties = header.properties;
    assert_eq!(
        properties
            .message_id()
            .as_ref()
            .map(ToString::to_string)
            .as_deref(),
        Some("an id")
    );
    let headers = properties.headers().clone().unwrap_or_default();
    let expected = AMQPValue::LongLongInt(i64::try_from(size).unwrap_or_default());
    assert_eq!(headers.inner().get(UNREADABLE_BODY), Some(&expected));
    assert_eq!(headers.inner().get("n"), Some(&AMQPValue::Void));
    let others = (0..count).map(|_| AMQPFrame::Body(2, b"another".to_vec()));
    assert!(
        read.take(usize::try_from(count).unwrap_or_default())
            .eq(others)
    );
}

#[test]
fn a_routing_key_that_is_not_utf8_gets_question_marks() {
    let out = through(guard(), &deliver(b"caf\xe9-\xf0\x9f\x98"), &[3]);

    let Some(AMQPFrame::Method(_, AMQPClass::Basic(basic::AMQPMethod::Deliver(deliver)))) =
        frames(&out).pop()
    else {
        panic!("no delivery");
    };
    assert_eq!(deliver.routing_key.as_str(), "caf?-???");
    assert_eq!(deliver.exchange.as_str(), "ipack.commands");
}

#[test]
fn a_full_window_holds_the_next_delivery_back_and_nothing_is_lost() {
    let window = Window::new(10_000);
    let mut guard = Guard::new(FRAME_MAX, MAX_BODY, Some(window.clone()));
    let body = vec![b'x'; 4000];
    let one = message(&header(4000, 0, b""), &body);
    let mut out = Vec::new();
    let take = |guard: &mut Guard, out: &mut Vec<u8>| {
        let mut given = vec![0; 100_000];
        let count = guard.give(&mut given);
        out.extend(&given[..count]);
    };
    for _ in 0..3 {
        let spare = guard.spare();
        spare[..one.len()].copy_from_slice(&one);
        assert_eq!(guard.filled(one.len()), Ok(()));
        take(&mut guard, &mut out);
    }

    // Two are in hand, with 4 KiB each for their headers; the third waits.
    assert_eq!(out, one.repeat(2));
    assert!(guard.waits_for().is_some());
    guard.add_heartbeat();
    let mut heartbeat = Vec::new();
    take(&mut guard, &mut heartbeat);
    assert_eq!(frames(&heartbeat), [AMQPFrame::Heartbeat]);

    let held = [window.hold(4000), window.hold(4000)];
    assert_eq!(guard.resume(), Ok(()));
    assert!(guard.waits_for().is_some());
    drop(held);
    assert_eq!(guard.resume(), Ok(()));
    take(&mut guard, &mut out);
    assert_eq!(out, one.repeat(3));
    assert!(guard.waits_for().is_none());
    drop(window.hold(4000));
    assert_eq!(window.used(), 0);
}

/// A value of a table: any type, nested a little.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let bytes = |tag: u8, count: usize| {
        prop::collection::vec(any::<u8>(), count)
            .prop_map(move |value| [&[tag], &value[..]].concat())
    };
    let leaf = prop_oneof![
        bytes(b't', 1),
        bytes(b'b', 1),
        bytes(b'B', 1),
        bytes(b's', 2),
        bytes(b'u', 2),
        bytes(b'I', 4),
        bytes(b'i', 4),
        bytes(b'f', 4),
        bytes(b'D', 5),
        bytes(b'l', 8),
        bytes(b'd', 8),
        bytes(b'T', 8),
        bytes(b'V', 0),
        prop::collection::vec(any::<u8>(), 0..40)
            .prop_map(|text| [b"S", &long(&text)[..]].concat()),
        prop::collection::vec(any::<u8>(), 0..40)
            .prop_map(|text| [b"x", &long(&text)[..]].concat()),
    ];
    leaf.prop_recursive(20, 40, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|values| [
                b"A",
                &long(&values.concat())[..]
            ]
            .concat()),
            prop::collection::vec(("[a-z]{0,4}", inner), 0..3).prop_map(|fields| {
                let fields = fields
                    .iter()
                    .map(|(name, value)| [&short(name.as_bytes())[..], value].concat());
                [b"F", &long(&fields.collect::<Vec<_>>().concat())[..]].concat()
            }),
        ]
    })
}

/// A content header with some properties, most of them readable.
fn properties() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        9 => "[ -~]{0,40}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..10),
    ];
    let fields = prop::collection::vec(("[a-z]{0,4}", value()), 0..5);
    (any::<u16>(), prop::collection::vec(text, 9), fields).prop_map(|(flags, texts, fields)| {
        let flags = flags & !0b11;
        let mut texts = texts.iter();
        let mut values = Vec::new();
        for bit in (2..16).rev().filter(|bit| flags & (1 << bit) != 0) {
            match bit {
                13 => {
                    let fields = fields
                        .iter()
                        .map(|(name, value)| [&short(name.as_bytes())[..], value].concat());
                    values.extend(long(&fields.collect::<Vec<_>>().concat()));
                }
                12 | 11 => values.push(1),
                6 => values.extend([0; 8]),
                _ => values.extend(short(texts.next().map_or(&b""[..], |text| text))),
            }
        }
        header(4, flags, &values)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_passes_lapin_can_read(properties in properties(), change in any::<(u16, u8)>()) {
        let mut changed = properties.clone();
        let at = 12 + usize::from(change.0) % (changed.len() - 12);
        changed[at] = change.1;
        for properties in [properties, changed] {
            let bytes = frame(2, 1, &properties);
            if check_content_header(&properties).is_ok() {
                prop_assert!(parse_frame(&bytes[..]).is_ok());
            }
            // Whatever it was, lapin can read what comes out.
            frames(&through(guard(), &bytes, &[usize::MAX]));
        }
    }

    #[test]
    fn what_lapin_can_read_passes_byte_for_byte(properties in properties()) {
        let bytes = message(&properties, b"body");
        let out = through(guard(), &bytes, &[usize::MAX]);
        if check_content_header(&properties).is_ok() {
            prop_assert_eq!(out, bytes);
        } else {
            prop_assert_ne!(out, bytes);
        }
    }

    #[test]
    fn however_the_bytes_are_cut_the_same_comes_out(
        all in prop::collection::vec((properties(), any::<bool>()), 1..6),
        chunks in prop::collection::vec(1_usize..200, 1..10),
    ) {
        let mut bytes = Vec::new();
        for (properties, is_large) in all {
            if is_large {
                bytes.extend(message(&with_headers(&nested(b'A', 8000)), b"body"));
            }
            bytes.extend(message(&properties, b"body"));
            bytes.extend([8, 0, 0, 0, 0, 0, 0, 0xCE]);
        }
        let whole = through(guard(), &bytes, &[usize::MAX]);
        prop_assert_eq!(through(guard(), &bytes, &chunks), whole);
    }

    #[test]
    fn any_bytes_at_all_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = check_content_header(&bytes);
        let mut guard = guard();
        guard.spare()[..bytes.len()].copy_from_slice(&bytes);
        let _ = guard.filled(bytes.len());
        let mut out = [0; 1000];
        while guard.give(&mut out) > 0 {}
    }
}
