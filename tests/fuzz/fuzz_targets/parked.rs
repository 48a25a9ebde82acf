//! The body of a message that is parked, whatever it is: its copy is JSON or empty, and redacting
//! the copy changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::amqp::parked;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let copy = parked::redacted(body);
    if copy.is_empty() {
        return;
    }
    let read: Value = serde_json::from_slice(&copy).expect("a copy is JSON");
    assert!(read.is_object());
    assert_eq!(parked::redacted(&copy), copy);
});
