//! The guard in the byte stream from the broker. lapin can read everything that passes. A message that lapin
//! could not read is replaced, and the messages before and after it pass unchanged.

mod frames;
mod properties;

use amq_protocol::{
    frame::AMQPFrame,
    protocol::{AMQPClass, basic},
    types::{AMQPValue, FieldTable},
};
use runtime::broker::{
    guard::{Guard, UNREADABLE_BODY, UNREADABLE_PROPERTIES},
    header::{MAX_DEPTH, MAX_HEADER_BYTES, MAX_VALUES, Unreadable, check_content_header},
    window::Window,
};

use self::frames::{
    FRAME_MAX, MAX_BODY, deliver, frame, frames, guard, header, long, message, nested,
    pass_through, short, with_headers,
};

/// What lapin reads of a malformed message between two valid ones: its body size, headers and body.
fn read_between_valid(properties: &[u8], body: &[u8]) -> (u64, FieldTable, Vec<u8>) {
    let valid = message(&header(4, 1 << 7, &short(b"okay")), b"okay");
    let bytes = [&valid[..], &message(properties, body), &valid].concat();

    let out = pass_through(guard(), &bytes, &[usize::MAX]);

    assert!(out.starts_with(&valid) && out.ends_with(&valid));
    let mut malformed = frames(&out[valid.len()..out.len() - valid.len()]).into_iter();
    assert!(matches!(malformed.next(), Some(AMQPFrame::Method(1, _))));
    let Some(AMQPFrame::Header(1, header)) = malformed.next() else {
        panic!("no content header");
    };
    let mut body = Vec::new();
    for frame in malformed {
        match frame {
            AMQPFrame::Body(1, bytes) => body.extend(bytes),
            other => panic!("{other:?}"),
        }
    }
    let headers = header.properties.headers().clone().unwrap_or_default();
    (header.body_size, headers, body)
}

#[test]
fn a_message_that_lapin_cannot_read_is_marked_and_the_others_pass() {
    let many = |count: usize| b"\x01nV".repeat(count);
    let malformed = [
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
    for (case, properties) in malformed {
        let (size, headers, body) = read_between_valid(&properties, b"body");

        assert_eq!(
            headers.inner().get(UNREADABLE_PROPERTIES),
            Some(&AMQPValue::Boolean(true)),
            "{case}"
        );
        assert_eq!((size, body.as_slice()), (4, &b"body"[..]), "{case}");
    }
}

#[test]
fn headers_pass_up_to_each_limit() {
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

    let out = pass_through(guard(), &bytes, &[100]);

    let read = frames(&out);
    let Some(AMQPFrame::Header(_, header)) = read.get(2) else {
        panic!("{read:?}");
    };
    let headers = header.properties.headers().clone().unwrap_or_default();
    assert!(headers.contains_key(UNREADABLE_PROPERTIES));
}

#[test]
fn a_body_that_is_too_large_is_removed_and_its_properties_are_kept() {
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
        // Frames of another channel may come in between.
        bytes.extend(frame(3, 2, b"another"));
    }
    let next = message(&header(4, 1 << 7, &short(b"next")), b"next");
    bytes.extend(&next);

    let out = pass_through(guard(), &bytes, &[7777]);

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
    let out = pass_through(guard(), &deliver(b"caf\xe9-\xf0\x9f\x98"), &[3]);

    let Some(AMQPFrame::Method(_, AMQPClass::Basic(basic::AMQPMethod::Deliver(deliver)))) =
        frames(&out).pop()
    else {
        panic!("no delivery");
    };
    assert_eq!(deliver.routing_key.as_str(), "caf?-???");
    assert_eq!(deliver.exchange.as_str(), "ipack.commands");
}

#[test]
fn a_full_window_delays_the_next_delivery_and_loses_nothing() {
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

    // Each message counts 4 KiB besides its body, so two messages fill the window, and the third waits.
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
