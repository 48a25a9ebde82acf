//! The properties of a message, as the payload of a content header frame. What passes the guard,
//! lapin's parser takes, to its last byte, and the envelope that is read from it is bounded.
#![no_main]

use amq_protocol::frame::{AMQPFrame, parse_frame};
use libfuzzer_sys::fuzz_target;
use proto::{Envelope, Fault, broker::header::check_content_header, parked};

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
    let accepted = envelope.check().is_ok();
    let copy = Envelope::read(&parked::properties(&envelope, &Fault::internal(), 0));
    // A copy can be sent again: what was a command is one still, and the id is the same.
    assert_eq!(copy.command_id, envelope.command_id);
    assert!(!accepted || copy.check().is_ok());
});
