//! Unit tests of the rate limits and shares.

use clap::Parser;
use proto::{CatalogGuid, CommandError};

use super::*;

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    limits: LimitArgs,
}

fn limits() -> Arc<Limits> {
    let args = [
        "gateway",
        "--saves-per-second=1",
        "--saves-burst=3",
        "--max-in-flight-per-bearer=1",
    ];
    Limits::new(&Args::parse_from(args).limits)
}

fn caller(space: &str, subject: &str) -> Result<Caller, CommandError> {
    Ok(Caller {
        space: CatalogGuid::new(space)?,
        subject: subject.to_owned(),
        expires: u64::MAX,
        idempotency_key: None,
    })
}

#[tokio::test]
async fn a_rate_belongs_to_one_subject_in_one_space() -> Result<(), CommandError> {
    let limits = limits();
    let anna = caller("a", "anna")?;
    assert!(limits.charge(&anna, Cost::Saves(3)).is_ok());

    assert!(limits.charge(&anna, Cost::Saves(1)).is_err());
    assert!(limits.charge(&anna, Cost::Reads(1)).is_ok());
    assert!(limits.charge(&caller("a", "ben")?, Cost::Saves(1)).is_ok());
    assert!(limits.charge(&caller("b", "anna")?, Cost::Saves(1)).is_ok());
    Ok(())
}

#[tokio::test]
async fn a_rejected_cost_is_not_counted() -> Result<(), CommandError> {
    let limits = limits();
    let anna = caller("a", "anna")?;
    for _ in 0..5 {
        assert!(limits.charge(&anna, Cost::Saves(4)).is_err());
    }

    assert!(limits.charge(&anna, Cost::Saves(3)).is_ok());
    assert!(limits.charge(&anna, Cost::Saves(0)).is_ok());
    Ok(())
}

#[tokio::test]
async fn a_request_in_progress_is_counted_until_it_ends() -> Result<(), CommandError> {
    let limits = limits();
    let anna = caller("a", "anna")?;
    let request = limits.enter(&anna);
    assert!(request.is_ok());
    assert_eq!(limits.enter(&anna).err(), Some(Full::Bearer));

    drop(request);
    assert_eq!(limits.in_flight(), 0);
    assert!(limits.enter(&anna).is_ok());
    Ok(())
}
