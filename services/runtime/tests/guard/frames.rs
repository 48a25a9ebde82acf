//! Builds frames as the broker sends them, and passes them through a guard.

use amq_protocol::frame::{AMQPFrame, parse_frame};
use runtime::broker::guard::Guard;

pub const FRAME_MAX: u32 = 128 * 1024;
pub const MAX_BODY: u64 = 1024 * 1024;

pub fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut frame = vec![kind];
    frame.extend(channel.to_be_bytes());
    frame.extend(size.to_be_bytes());
    frame.extend(payload);
    frame.push(0xCE);
    frame
}

pub fn short(text: &[u8]) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    [&[length], text].concat()
}

pub fn long(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

/// The payload of a content header with these flags and values.
pub fn header(body_size: u64, flags: u16, values: &[u8]) -> Vec<u8> {
    let size = body_size.to_be_bytes();
    [&[0, 60, 0, 0][..], &size, &flags.to_be_bytes(), values].concat()
}

/// A content header whose only property is a table of headers with these fields.
pub fn with_headers(fields: &[u8]) -> Vec<u8> {
    header(4, 1 << 13, &long(fields))
}

pub fn nested(tag: u8, depth: usize) -> Vec<u8> {
    let mut value = Vec::new();
    for _ in 1..depth {
        let name: &[u8] = if tag == b'F' { b"\x01n" } else { b"" };
        value = [name, &[tag], &long(&value)[..]].concat();
    }
    [&short(b"x")[..], &[tag], &long(&value)].concat()
}

pub fn deliver(routing_key: &[u8]) -> Vec<u8> {
    let payload = [
        &[0, 60, 0, 60][..],
        &short(b"consumer"),
        &[0, 0, 0, 0, 0, 0, 0, 1, 0],
        &short(b"ipack.commands"),
        &short(routing_key),
    ];
    frame(1, 1, &payload.concat())
}

pub fn message(properties: &[u8], body: &[u8]) -> Vec<u8> {
    [
        deliver(b"save-connector-details.v1"),
        frame(2, 1, properties),
        frame(3, 1, body),
    ]
    .concat()
}

/// The output of a guard whose input arrives in chunks of these sizes, which repeat.
pub fn pass_through(mut guard: Guard, bytes: &[u8], chunks: &[usize]) -> Vec<u8> {
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

pub fn guard() -> Guard {
    Guard::new(FRAME_MAX, MAX_BODY, None)
}

pub fn frames(mut bytes: &[u8]) -> Vec<AMQPFrame> {
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
