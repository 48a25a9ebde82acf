//! A GraphQL document with its variables, before any schema sees it: the first line is the name of
//! the operation, the second the variables, the rest the document. It ends, it stays within its
//! limits, and what it lets through can be parsed without overflowing the stack.
#![no_main]

use async_graphql::Variables;
use clap::Parser;
use gateway::{
    graphql::document::{DocumentArgs, analyse},
    limits::Cost,
};
use libfuzzer_sys::fuzz_target;

#[derive(Parser)]
struct Defaults {
    #[command(flatten)]
    document: DocumentArgs,
}

fuzz_target!(|input: &str| {
    let mut parts = input.splitn(3, '\n');
    let (Some(name), Some(variables), Some(query)) = (parts.next(), parts.next(), parts.next())
    else {
        return;
    };
    let args = Defaults::parse_from(["fuzz"]).document;
    let variables =
        serde_json::from_str(variables).map_or_else(|_| Variables::default(), Variables::from_json);
    let name = (!name.is_empty()).then_some(name);
    if let Ok(Some(analysis)) = analyse(query, name, &variables, &args) {
        assert!(analysis.complexity <= args.max_complexity);
        assert!(analysis.answer_bytes <= args.max_answer_bytes);
        if let Cost::Saves(saves) = analysis.charge {
            assert!(saves <= args.max_saves);
        }
    }
});
