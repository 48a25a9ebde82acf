//! The parts of an HTTP request that are parsed besides the document: by its first byte a body, a
//! query string, an `Accept` header or a cursor.
#![no_main]

use gateway::parsers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else {
        return;
    };
    let text = || std::str::from_utf8(rest).unwrap_or_default();
    match first % 4 {
        0 => drop(parsers::request(rest)),
        1 => drop(parsers::query_string(text())),
        2 => assert!(parsers::accept(rest).is_none_or(|media| media.ends_with("json"))),
        _ => assert!(!parsers::cursor(text()) || !rest.contains(&b'=')),
    }
});
