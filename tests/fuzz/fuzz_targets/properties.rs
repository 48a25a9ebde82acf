//! The properties of a message, as the payload of a content header frame. What passes the guard,
//! lapin's parser takes, to its last byte; the values of the envelope that is read from it are bounded;
//! and a parked copy of a command is a command still, with the same id.
#![no_main]

use amq_protocol::frame::{AMQPFrame, parse_frame};
use libfuzzer_sys::fuzz_target;
use proto::{
    CommandError, CommandId, Envelope,
    amqp::{envelope::MAX_TRACESTATE_BYTES, parked},
};
use runtime::broker::header::check_content_header;

/// The longest value of an envelope.
const LONGEST_BYTES: usize = 1024;
/// The most bytes of all values together: with 256 bytes for the names of the headers, lengths and
/// numbers they fit into the smallest frame that AMQP allows.
const ALL_BYTES: usize = 4096 - 256;

fuzz_target!(|payload: &[u8]| {
    if check_content_header(payload).is_err() {
        return;
    }
    let mut frame = vec![2, 0, 1];
    frame.extend(
        u32::try_from(payload.len())
            .unwrap_or_default()
            .to_be_bytes(),
    );
    frame.extend(payload);
    frame.push(0xCE);
    let (rest, frame) = parse_frame(frame.as_slice()).expect("what passes can be parsed");
    assert!(rest.is_empty());
    let AMQPFrame::Header(_, header) = frame else {
        panic!("a content header was sent");
    };
    let envelope = Envelope::read(&header.properties);
    check_bounds(&envelope);
    let accepted = envelope.check().is_ok();
    let copy = Envelope::read(&parked::properties(&envelope, &CommandError::internal(), 0));
    // A parked copy can be replayed: a valid command stays valid and keeps its id.
    assert_eq!(copy.command_id, envelope.command_id);
    assert!(!accepted || copy.check().is_ok());
});

fn check_bounds(envelope: &Envelope) {
    // Every field is named here, so that a new one can't be forgotten.
    let Envelope {
        command_id,
        correlation_id,
        reply_to,
        pack_replies: _,
        subject,
        user_id,
        app_id,
        traceparent,
        tracestate,
        timestamp: _,
        kind,
        content_type,
        content_encoding,
        priority: _,
    } = envelope;
    let values = [
        command_id.as_ref().map(CommandId::as_str),
        correlation_id.as_deref(),
        reply_to.as_deref(),
        subject.as_deref(),
        user_id.as_deref(),
        app_id.as_deref(),
        traceparent.as_deref(),
        tracestate.as_deref(),
        kind.as_deref(),
        content_type.as_deref(),
        content_encoding.as_deref(),
    ];
    let lengths = values.map(|value| value.map_or(0, str::len));
    assert!(lengths.iter().all(|bytes| *bytes <= LONGEST_BYTES));
    assert!(lengths.iter().sum::<usize>() <= ALL_BYTES);
    assert!(
        tracestate
            .as_ref()
            .is_none_or(|state| state.len() <= MAX_TRACESTATE_BYTES)
    );
}
