//! Random messages: everything that passes the guard can be read by lapin.

use amq_protocol::frame::parse_frame;
use proptest::prelude::*;
use runtime::broker::header::check_content_header;

use crate::frames::{
    frame, frames, guard, header, long, message, nested, pass_through, short, with_headers,
};

/// A value of a table, of any type, sometimes nested.
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

/// A content header with random properties. lapin can read most of them.
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
    fn lapin_can_read_everything_that_passes(properties in properties(), change in any::<(u16, u8)>()) {
        let mut changed = properties.clone();
        let at = 12 + usize::from(change.0) % (changed.len() - 12);
        changed[at] = change.1;
        for properties in [properties, changed] {
            let bytes = frame(2, 1, &properties);
            if check_content_header(&properties).is_ok() {
                prop_assert!(parse_frame(&bytes[..]).is_ok());
            }
            // lapin can read the output for every input.
            frames(&pass_through(guard(), &bytes, &[usize::MAX]));
        }
    }

    #[test]
    fn a_header_that_lapin_can_read_passes_unchanged(properties in properties()) {
        let bytes = message(&properties, b"body");
        let out = pass_through(guard(), &bytes, &[usize::MAX]);
        if check_content_header(&properties).is_ok() {
            prop_assert_eq!(out, bytes);
        } else {
            prop_assert_ne!(out, bytes);
        }
    }

    #[test]
    fn the_output_does_not_depend_on_how_the_input_is_cut(
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
        let whole = pass_through(guard(), &bytes, &[usize::MAX]);
        prop_assert_eq!(pass_through(guard(), &bytes, &chunks), whole);
    }

    #[test]
    fn random_bytes_cause_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = check_content_header(&bytes);
        let mut guard = guard();
        guard.spare()[..bytes.len()].copy_from_slice(&bytes);
        let _ = guard.filled(bytes.len());
        let mut out = [0; 1000];
        while guard.give(&mut out) > 0 {}
    }
}
