//! The body of a save or a deletion, chosen by the first byte. A decoded command is encoded as the
//! same command, and has no error that decoding would find.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::{Command, Kind};

fuzz_target!(|input: &[u8]| {
    let Some((first, body)) = input.split_first() else {
        return;
    };
    let kind = if first % 2 == 0 {
        Kind::Save
    } else {
        Kind::Delete
    };
    match Command::decode(kind, body) {
        Ok(command) => {
            let written = command.encode().expect("a command can be written");
            let again = Command::decode(kind, &written).expect("what was written can be read");
            assert_eq!(command, again);
            assert_eq!(command.fingerprint(), again.fingerprint());
        }
        Err(errors) => assert!(!errors.is_empty(), "a refusal says why"),
    }
});
