//! The real statement and a model of ten lines are given the same commands - duplicates, ids used
//! twice, workers that crash at any moment and whose successor gets the same commands again - and
//! have to agree.

use std::{collections::BTreeMap, time::Duration};

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use proto::{CommandId, Envelope, Outcome};
use sqlx::PgPool;
use tests::{api::sample, stack::Stack};
use tokio::time::{sleep, timeout};
use worker::{
    handler::{self, Message, Verdict},
    publishers::Publishers,
    store::Store,
};

/// What is to become of a record or a command: the value that was saved, and as which revision.
type Saved = (u8, i64);

/// A command: its id, its record, the value to save.
type Command = (u8, u8, u8);

/// A batch, and how long each worker lives that tries it before the one that finishes it.
type Batch = (Vec<Command>, Vec<Duration>);

#[derive(Debug, Default, PartialEq)]
struct Model {
    rows: BTreeMap<u8, Saved>,
    ledger: BTreeMap<u8, (u8, Saved)>,
}

impl Model {
    /// The revision that the command made, once; none for an id that means something else.
    fn decide(&mut self, (id, record, value): Command) -> Option<i64> {
        if let Some((known, saved)) = self.ledger.get(&id) {
            return (*known == record && saved.0 == value).then_some(saved.1);
        }
        let row = self.rows.entry(record).or_default();
        *row = (value, row.1 + 1);
        self.ledger.insert(id, (record, *row));
        Some(row.1)
    }
}

fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let command = (0..12_u8, 0..3_u8, 0..3_u8);
    let life = (0..3000_u64).prop_map(Duration::from_micros);
    vec((vec(command, 1..8), vec(life, 0..3)), 1..6)
}

fn message(space: &str, (id, record, value): Command) -> anyhow::Result<Message> {
    let mut body = sample();
    body["catalogGuid"] = space.into();
    body["processId"] = record.to_string().into();
    body["clientId"] = value.to_string().into();
    let id = CommandId::new(id.to_string()).map_err(|fault| anyhow::anyhow!(fault.message))?;
    Ok(Message {
        envelope: Envelope::of(id),
        body: serde_json::to_vec(&body)?,
    })
}

/// What the real one decides, through crashes.
async fn decide(store: &Store, space: &str, batch: &Batch) -> anyhow::Result<Vec<Option<i64>>> {
    let (commands, lives) = batch;
    let messages: Vec<Message> = commands
        .iter()
        .map(|command| message(space, *command))
        .collect::<anyhow::Result<_>>()?;
    let publishers = Publishers::default();
    for life in lives {
        // Dropped wherever it stands. Its statement may go on, and commit after all.
        let _ = timeout(*life, handler::decide(store, &publishers, &messages)).await;
    }
    for _ in 0..50 {
        match handler::decide(store, &publishers, &messages).await {
            Ok(verdicts) => return verdicts.into_iter().map(revision).collect(),
            // As a worker does: what its predecessor left running may be in the way.
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
    anyhow::bail!("it never decides")
}

fn revision(verdict: Verdict) -> anyhow::Result<Option<i64>> {
    match verdict.outcome {
        Outcome::Saved { record } => Ok(Some(record.revision)),
        Outcome::Refused { errors } if errors[0].code.as_str() == "CONFLICT" => Ok(None),
        Outcome::Refused { errors } => anyhow::bail!("{errors:?}"),
    }
}

/// What is stored, in the model's terms.
async fn stored(database: &PgPool, space: &str) -> anyhow::Result<Model> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "select process_id, client_id, revision from connector_details where catalog_guid = $1",
    )
    .bind(space)
    .fetch_all(database)
    .await?;
    let ledger: Vec<(String, String, String, i64)> = sqlx::query_as(
        "select command_id, process_id, client_id, revision from connector_details_changes
         where catalog_guid = $1",
    )
    .bind(space)
    .fetch_all(database)
    .await?;
    let mut model = Model::default();
    for (record, value, revision) in rows {
        model
            .rows
            .insert(record.parse()?, (value.parse()?, revision));
    }
    for (id, record, value, revision) in ledger {
        let saved = (value.parse()?, revision);
        model.ledger.insert(id.parse()?, (record.parse()?, saved));
    }
    Ok(model)
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
    anyhow::ensure!(stored == model, "{stored:?}, but {model:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_statement_and_a_model_of_it_agree() -> anyhow::Result<()> {
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
