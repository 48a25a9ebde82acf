//! The real statements and a model of twenty lines are given the same commands - saves, deletions,
//! expected revisions, duplicates, ids used twice, workers that crash at any moment and whose successor gets the same commands again - and
//! have to agree.

use std::{collections::BTreeMap, time::Duration};

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use proto::{CommandError, CommandId, Envelope, Kind, Outcome};
use sqlx::PgPool;
use tests::{
    api::{key, sample},
    stack::Stack,
};
use tokio::time::{sleep, timeout};
use worker::{
    change::Change,
    process::{self, Progress},
    publisher_acl::PublisherAcl,
    queue::incoming,
    store::Store,
};

/// A command: a value to save, or `None` for a deletion, and the revision that it expects.
type Wish = (Option<u8>, Option<i64>);

/// A command: its id, its record, what it asks for.
type Command = (u8, u8, Wish);

/// A batch, and how long each worker lives that tries it before the one that finishes it.
type Batch = (Vec<Command>, Vec<Duration>);

/// The outcome of a command, with its revision.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    Saved(i64),
    Deleted(Option<i64>),
    /// The record has another revision than the command expected.
    Stale(i64),
    /// The id stands for something else.
    Clash,
}

#[derive(Debug, Default, PartialEq)]
struct Model {
    rows: BTreeMap<u8, (u8, i64)>,
    ledger: BTreeMap<u8, (Command, Answer)>,
}

impl Model {
    fn decide(&mut self, command: Command) -> Answer {
        let (id, record, (value, expected)) = command;
        if let Some((known, answer)) = self.ledger.get(&id) {
            return if *known == command {
                *answer
            } else {
                Answer::Clash
            };
        }
        let current = self.rows.get(&record).map(|(_, revision)| *revision);
        let answer = if expected.is_some_and(|expected| expected != current.unwrap_or(0)) {
            Answer::Stale(current.unwrap_or(0))
        } else if let Some(value) = value {
            let revision = current.unwrap_or(0) + 1;
            self.rows.insert(record, (value, revision));
            Answer::Saved(revision)
        } else {
            self.rows.remove(&record);
            Answer::Deleted(current)
        };
        self.ledger.insert(id, (command, answer));
        answer
    }
}

fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let value = prop_oneof![3 => (0..3_u8).prop_map(Some), 1 => Just(None)];
    let expected = prop_oneof![3 => Just(None), 1 => (0..3_i64).prop_map(Some)];
    let command = (0..16_u8, 0..3_u8, (value, expected));
    let life = (0..3000_u64).prop_map(Duration::from_micros);
    vec((vec(command, 1..8), vec(life, 0..3)), 1..6)
}

fn change(space: &str, (id, record, wish): Command) -> anyhow::Result<Change> {
    let (value, expected) = wish;
    let mut body = sample();
    body["catalogGuid"] = space.into();
    body["processId"] = record.to_string().into();
    let kind = if let Some(value) = value {
        body["clientId"] = value.to_string().into();
        Kind::Save
    } else {
        body = key(&body);
        Kind::Delete
    };
    if let Some(expected) = expected {
        body["expectedRevision"] = expected.into();
    }
    let id = CommandId::new(id.to_string()).map_err(|fault| anyhow::anyhow!(fault.message))?;
    let body = serde_json::to_vec(&body)?;
    incoming::check(&Envelope::of(kind, id), &body, &PublisherAcl::default())
        .map_err(|faults| anyhow::anyhow!("{faults:?}"))
}

/// The outcomes of the real statements, with simulated crashes.
async fn decide(store: &Store, space: &str, batch: &Batch) -> anyhow::Result<Vec<Answer>> {
    let (commands, lives) = batch;
    let changes: Vec<Change> = commands
        .iter()
        .map(|command| change(space, *command))
        .collect::<anyhow::Result<_>>()?;
    let changes: Vec<&Change> = changes.iter().collect();
    let mut writer = store.writer();
    for life in lives {
        // The future is dropped at any point. Its statement may still run and commit.
        let _ = timeout(*life, process::apply(&mut writer, &changes)).await;
    }
    for _ in 0..50 {
        match process::apply(&mut writer, &changes).await {
            Ok(all) if is_decided(&all) => return all.into_iter().map(answer).collect(),
            // As a worker does: what its predecessor left running may be in the way.
            _ => sleep(Duration::from_millis(20)).await,
        }
    }
    anyhow::bail!("it never decides")
}

fn is_decided(all: &[Progress]) -> bool {
    let decided = |progress: &Progress| matches!(progress, Progress::Decided { .. });
    all.iter().all(decided)
}

fn answer(progress: Progress) -> anyhow::Result<Answer> {
    let Progress::Decided { outcome, .. } = progress else {
        anyhow::bail!("{progress:?}")
    };
    Ok(match outcome {
        Outcome::Saved { record } => Answer::Saved(record.revision),
        Outcome::Deleted { record } => Answer::Deleted(record.map(|record| record.revision)),
        Outcome::Refused { errors } => match &errors[0] {
            CommandError {
                current: Some(current),
                ..
            } => Answer::Stale(current.revision),
            fault if fault.code.as_str() == "CONFLICT" => Answer::Clash,
            fault => anyhow::bail!("{fault:?}"),
        },
    })
}

/// The stored rows, and the kind and revision of each command id.
type Stored = (BTreeMap<u8, (u8, i64)>, BTreeMap<u8, (&'static str, i64)>);

fn as_stored(model: Model) -> Stored {
    let ledger = model.ledger.into_iter().filter_map(|(id, (_, answer))| {
        let entry = match answer {
            Answer::Saved(revision) => ("saved", revision),
            Answer::Deleted(revision) => ("deleted", revision.map_or(0, |last| last + 1)),
            Answer::Stale(revision) => ("conflict", revision),
            Answer::Clash => return None,
        };
        Some((id, entry))
    });
    (model.rows, ledger.collect())
}

async fn stored(database: &PgPool, space: &str) -> anyhow::Result<Stored> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "select process_id, client_id, revision from connector_details where catalog_guid = $1",
    )
    .bind(space)
    .fetch_all(database)
    .await?;
    let ledger: Vec<(String, String, i64)> = sqlx::query_as(
        "select command_id, kind::text, revision from connector_details_ledger
         where catalog_guid = $1",
    )
    .bind(space)
    .fetch_all(database)
    .await?;
    let mut stored = Stored::default();
    for (record, value, revision) in rows {
        stored.0.insert(record.parse()?, (value.parse()?, revision));
    }
    for (id, kind, revision) in ledger {
        let kinds = ["saved", "deleted", "conflict"];
        let kind = kinds.into_iter().find(|known| *known == kind);
        stored
            .1
            .insert(id.parse()?, (kind.unwrap_or("unknown"), revision));
    }
    Ok(stored)
}

async fn agree(store: &Store, database: &PgPool, batches: &[Batch]) -> anyhow::Result<()> {
    let space = uuid::Uuid::new_v4().to_string();
    let mut model = Model::default();
    for batch in batches {
        let expected: Vec<_> = batch.0.iter().map(|it| model.decide(*it)).collect();
        let decided = decide(store, &space, batch).await?;
        anyhow::ensure!(decided == expected, "{decided:?}, but {expected:?}");
    }
    let stored = stored(database, &space).await?;
    let expected = as_stored(model);
    anyhow::ensure!(stored == expected, "{stored:?}, but {expected:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_statements_and_a_model_of_them_agree() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let database = stack.database.clone();
    let store = Store::new(stack.logins.worker.parse()?);
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let config = Config {
            cases: 100,
            failure_persistence: None,
            ..Config::default()
        };
        TestRunner::new(config).run(&batches(), |batches| {
            runtime
                .block_on(agree(&store, &database, &batches))
                .map_err(|error| TestCaseError::fail(format!("{error:#}")))
        })
    })
    .await??;
    Ok(())
}

/// As while one worker takes over from another, whose last batch is still on its way.
#[tokio::test(flavor = "multi_thread")]
async fn two_workers_that_overlap_wait_for_each_other() -> anyhow::Result<()> {
    const RECORDS: u8 = 50;
    let stack = Stack::bare().await?;
    let store = Store::new(stack.logins.worker.parse()?);
    let (mut one, mut other) = (store.writer(), store.writer());
    for round in 0..20 {
        let space = uuid::Uuid::new_v4().to_string();
        let check = |id, record| {
            let wish = (Some(round), None);
            change(&space, (id, record, wish))
        };
        let up: Vec<_> = (0..RECORDS)
            .map(|record| check(record, record))
            .collect::<anyhow::Result<_>>()?;
        let down: Vec<_> = (0..RECORDS)
            .rev()
            .map(|record| check(RECORDS + record, record))
            .collect::<anyhow::Result<_>>()?;
        let (up, down): (Vec<_>, Vec<_>) = (up.iter().collect(), down.iter().collect());
        // A deadlock would be an error of one of them.
        let (up, down) = tokio::try_join!(
            process::apply(&mut one, &up),
            process::apply(&mut other, &down)
        )?;
        for progress in up.into_iter().chain(down) {
            anyhow::ensure!(matches!(answer(progress)?, Answer::Saved(1 | 2)));
        }
    }
    Ok(())
}
