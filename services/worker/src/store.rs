//! The one file with SQL: decides a batch of commands in one statement and one commit, or a large
//! one in two halves at once.

use std::{
    sync::{self, Arc, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use proto::{CommandId, Fingerprint, Record, SaveConnectorDetails};
use sqlx::{
    Connection as _, PgConnection,
    postgres::PgConnectOptions,
    types::{Uuid, time::OffsetDateTime},
};
use tokio::{sync::Mutex, time::timeout};

use crate::{metrics, spans::Statement};

/// No statement may take longer on the server; the client gives up a little later.
const STATEMENT_TIMEOUT: &str = "8s";
const LOCK_TIMEOUT: &str = "4s";
const DEADLINE: Duration = Duration::from_secs(10);
/// Saves that are worth a second statement.
const ENOUGH_FOR_TWO: usize = 100;
const PING_DEADLINE: Duration = Duration::from_secs(2);
/// For a new connection, beside the statement's own deadline: on a busy machine a short one would
/// give up each connection that was nearly there.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// A checked command and what the ledger keeps about it.
#[derive(Debug, Clone)]
pub struct Save {
    /// The command's id, unique in its Space.
    pub command_id: CommandId,
    /// What to save.
    pub command: SaveConnectorDetails,
    /// Of `command`.
    pub fingerprint: Fingerprint,
    /// The author, as far as known.
    pub updated_by: Option<String>,
    /// The publishing service, by its own word.
    pub source: Option<String>,
    /// W3C trace context of the publisher.
    pub traceparent: Option<String>,
}

/// What the ledger says about a command.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The Space of the command.
    pub space: String,
    /// Its id, unique in its Space.
    pub command_id: String,
    /// Of the command that was decided under this id.
    pub fingerprint: Fingerprint,
    /// The record as that command left it.
    pub record: Record,
}

/// Why a statement had no effect, as far as is known. Of a batch in two halves, the other may have
/// had its own.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away, busy, read-only, full or not migrated yet. Waiting may help.
    #[error("the database could not take the statement")]
    Transient(#[source] sqlx::Error),
    /// Another worker decided one of the commands at the same moment. Running it again helps.
    #[error("another worker decided a command at the same time")]
    Race(#[source] sqlx::Error),
    /// A command is neither stored nor decided before. No known cause; running it again decides.
    #[error("a command was neither stored nor decided before")]
    Undecided,
    /// One of the commands can't be stored. Waiting will not help.
    #[error("the database refused the content of a command")]
    Content(#[source] sqlx::Error),
    /// The statement was given up half way; it may or may not have taken effect, and the ledger
    /// makes running it again safe.
    #[error("the database did not answer in time")]
    Deadline,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .unwrap_or_default();
        match code.as_ref() {
            "23505" => Self::Race(error),
            // Data exceptions, broken constraints, and rows over a limit are about the content.
            // Everything else - a missing table or privilege, too - is about the database.
            code if ["22", "23", "54"]
                .iter()
                .any(|class| code.starts_with(class)) =>
            {
                Self::Content(error)
            }
            _ => Self::Transient(error),
        }
    }
}

/// The worker's database: a few connections, each for one purpose, and no pool.
///
/// sqlx's pool pings a connection that is given back, without a deadline. Where a network loses
/// answers, that never ends, and the connection's place in the pool is gone for good.
#[derive(Debug, Clone)]
pub struct Store {
    options: Arc<PgConnectOptions>,
    batch: [Arc<Slot>; 2],
    health: Arc<Slot>,
    /// Since they were last asked for.
    statements: Arc<sync::Mutex<Vec<Statement>>>,
}

/// A connection while nobody uses it. Whoever does takes it out and puts it back when all went
/// well; so one that failed, or was given up half way, is closed by being dropped.
type Slot = Mutex<Option<PgConnection>>;

impl Store {
    /// Nothing is opened before it is needed.
    #[must_use]
    pub fn new(options: PgConnectOptions) -> Self {
        let options = options
            .application_name("connector-details-worker")
            .options([
                ("statement_timeout", STATEMENT_TIMEOUT),
                ("lock_timeout", LOCK_TIMEOUT),
                // Planned once: anew for each batch it costs more than one command's own work.
                ("plan_cache_mode", "force_generic_plan"),
                // Such a plan knows neither the batch's size nor the table's: what is good for a
                // few rows (reading the whole table, comparing each with each) is left out.
                ("enable_seqscan", "off"),
                ("enable_nestloop", "off"),
                // Where there is no other way than one of these, the planner takes the cost for
                // enormous, and would compile the statement for half a second.
                ("jit", "off"),
            ]);
        Self {
            options: Arc::new(options),
            batch: Default::default(),
            health: Arc::default(),
            statements: Arc::default(),
        }
    }

    /// Whether the database answers and has the schema.
    ///
    /// # Errors
    /// [`StoreError::Transient`] or [`StoreError::Deadline`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.run(&self.health, PING_DEADLINE, async |connection| {
            sqlx::query!("select 1 as one from connector_details_changes limit 1")
                .fetch_optional(connection)
                .await
        })
        .await
        .map(drop)
    }

    /// Stores the saves that were not decided before, and returns their decisions. No record and no
    /// command id may be named twice.
    ///
    /// It takes one statement; or two halves at once, where there are enough of them: one
    /// connection keeps one processor of the database busy.
    ///
    /// # Errors
    /// Every [`StoreError`]. All of a half or nothing of it took effect.
    pub async fn save(&self, saves: &[&Save]) -> Result<Vec<Decision>, StoreError> {
        let [first, second] = &self.batch;
        if saves.len() < ENOUGH_FOR_TWO {
            return self.save_by(first, saves).await;
        }
        let (left, right) = saves.split_at(saves.len() / 2);
        // Both to their end: what was begun is not given up because of the other.
        let (left, right) = tokio::join!(self.save_by(first, left), self.save_by(second, right));
        let mut decisions = left?;
        decisions.extend(right?);
        Ok(decisions)
    }

    async fn save_by(&self, slot: &Slot, saves: &[&Save]) -> Result<Vec<Decision>, StoreError> {
        let columns = Columns::of(saves);
        let started = SystemTime::now();
        let decided = self
            .run(slot, DEADLINE, async |connection| {
                save(connection, &columns).await
            })
            .await;
        self.ran("save connector_details", started, decided.is_ok());
        decided
    }

    fn ran(&self, name: &'static str, started: SystemTime, ok: bool) {
        let ended = SystemTime::now();
        metrics::statement(ok, ended.duration_since(started).unwrap_or_default());
        self.statements().push(Statement {
            name,
            started,
            ended,
            ok,
        });
    }

    /// The statements that decided something, since they were last asked for.
    pub(crate) fn take_statements(&self) -> Vec<Statement> {
        std::mem::take(&mut self.statements())
    }

    fn statements(&self) -> MutexGuard<'_, Vec<Statement>> {
        self.statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What was decided before about these commands. A statement of its own, because a part of
    /// [`Store::save`]'s would see the snapshot from before the other worker's commit.
    ///
    /// # Errors
    /// [`StoreError::Transient`] or [`StoreError::Deadline`].
    pub async fn decisions(&self, saves: &[&Save]) -> Result<Vec<Decision>, StoreError> {
        let columns = Columns::of(saves);
        let started = SystemTime::now();
        let decided = self
            .run(&self.batch[0], DEADLINE, async |connection| {
                decisions(connection, &columns).await
            })
            .await;
        self.ran("select connector_details_changes", started, decided.is_ok());
        decided
    }

    async fn run<T>(
        &self,
        slot: &Slot,
        deadline: Duration,
        statement: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, StoreError> {
        let mut slot = slot.lock().await;
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => timeout(CONNECT_DEADLINE, PgConnection::connect_with(&self.options))
                .await
                .map_err(|_| StoreError::Deadline)??,
        };
        let result = timeout(deadline, statement(&mut connection))
            .await
            .map_err(|_| StoreError::Deadline)?
            .map_err(StoreError::from);
        if let Ok(_) | Err(StoreError::Race(_) | StoreError::Content(_)) = &result {
            *slot = Some(connection);
        }
        result
    }
}

/// The saves as `unnest` takes them: an array for each column.
#[derive(Default)]
struct Columns<'a> {
    command_id: Vec<&'a str>,
    fingerprint: Vec<&'a [u8]>,
    catalog_guid: Vec<&'a str>,
    integration_pack_instance_id: Vec<&'a str>,
    process_id: Vec<&'a str>,
    env_id: Vec<&'a str>,
    connection_id: Vec<&'a str>,
    is_token_generated: Vec<bool>,
    oauth_connector_details: Vec<&'a str>,
    client_id: Vec<&'a str>,
    updated_by: Vec<Option<&'a str>>,
    source: Vec<Option<&'a str>>,
    traceparent: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn of(saves: &[&'a Save]) -> Self {
        let mut columns = Self::default();
        for save in saves {
            let SaveConnectorDetails { key, client_id, .. } = &save.command;
            columns.command_id.push(save.command_id.as_str());
            columns.fingerprint.push(&save.fingerprint.0);
            columns.catalog_guid.push(key.catalog_guid.as_str());
            columns
                .integration_pack_instance_id
                .push(key.integration_pack_instance_id.as_str());
            columns.process_id.push(key.process_id.as_str());
            columns.env_id.push(key.env_id.as_str());
            columns.connection_id.push(key.connection_id.as_str());
            columns
                .is_token_generated
                .push(save.command.is_token_generated);
            columns
                .oauth_connector_details
                .push(save.command.oauth_connector_details.as_str());
            columns.client_id.push(client_id.as_str());
            columns.updated_by.push(save.updated_by.as_deref());
            columns.source.push(save.source.as_deref());
            columns.traceparent.push(save.traceparent.as_deref());
        }
        columns
    }
}

async fn save(connection: &mut PgConnection, saves: &Columns<'_>) -> sqlx::Result<Vec<Decision>> {
    // The ledger decides: a redelivered command finds itself in it and changes nothing. The rows
    // go in by key, and then all decisions by id, so that two workers that overlap for a moment
    // wait instead of deadlocking. The ledger is asked by a subquery for each command, because
    // `not exists` becomes a join, and a plan that was made while the table was small would read
    // all of it for every batch.
    let rows = sqlx::query_as!(
        Row,
        r#"
        with fresh as materialized (
            select i.*
            from unnest(
                $1::text[], $2::bytea[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                $8::boolean[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[]
            ) as i (
                command_id, fingerprint, catalog_guid, integration_pack_instance_id, process_id,
                env_id, connection_id, is_token_generated, oauth_connector_details, client_id,
                updated_by, source, traceparent
            )
            where (
                select c.revision from connector_details_changes c
                where (c.catalog_guid, c.command_id) = (i.catalog_guid, i.command_id)
            ) is null
        ),
        saved as (
            insert into connector_details as t (
                catalog_guid, integration_pack_instance_id, process_id, env_id, connection_id,
                is_token_generated, oauth_connector_details, client_id, last_command_id, updated_by
            )
            select
                catalog_guid, integration_pack_instance_id, process_id, env_id, connection_id,
                is_token_generated, oauth_connector_details, client_id, command_id, updated_by
            from fresh
            order by catalog_guid collate "C", integration_pack_instance_id collate "C",
                process_id collate "C", env_id collate "C", connection_id collate "C"
            on conflict on constraint connector_details_key do update set
                is_token_generated = excluded.is_token_generated,
                oauth_connector_details = excluded.oauth_connector_details,
                client_id = excluded.client_id,
                revision = t.revision + 1,
                last_command_id = excluded.last_command_id,
                updated_at = excluded.updated_at,
                updated_by = excluded.updated_by
            returning t.*
        ),
        decided as (
            select s.*, f.fingerprint, f.source, f.traceparent
            from saved s
            join fresh f
                on (f.catalog_guid, f.command_id) = (s.catalog_guid, s.last_command_id)
        ),
        logged as (
            insert into connector_details_changes (
                catalog_guid, command_id, fingerprint, record_id, revision,
                integration_pack_instance_id, process_id, env_id, connection_id,
                is_token_generated, oauth_connector_details, client_id,
                decided_at, updated_by, source, traceparent
            )
            select
                catalog_guid, last_command_id, fingerprint, id, revision,
                integration_pack_instance_id, process_id, env_id, connection_id,
                is_token_generated, oauth_connector_details, client_id,
                updated_at, updated_by, source, traceparent
            from decided
            order by catalog_guid, last_command_id
        )
        select
            last_command_id as "command_id!", fingerprint as "fingerprint!", id as "record_id!",
            revision as "revision!", catalog_guid as "catalog_guid!",
            integration_pack_instance_id as "integration_pack_instance_id!",
            process_id as "process_id!", env_id as "env_id!", connection_id as "connection_id!",
            is_token_generated as "is_token_generated!",
            oauth_connector_details as "oauth_connector_details!", client_id as "client_id!",
            updated_at as "decided_at!", updated_by
        from decided
        "#,
        &saves.command_id as _,
        &saves.fingerprint as _,
        &saves.catalog_guid as _,
        &saves.integration_pack_instance_id as _,
        &saves.process_id as _,
        &saves.env_id as _,
        &saves.connection_id as _,
        &saves.is_token_generated,
        &saves.oauth_connector_details as _,
        &saves.client_id as _,
        &saves.updated_by as _,
        &saves.source as _,
        &saves.traceparent as _,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Decision::from).collect())
}

async fn decisions(
    connection: &mut PgConnection,
    saves: &Columns<'_>,
) -> sqlx::Result<Vec<Decision>> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        select
            c.command_id, c.fingerprint, c.record_id, c.revision, c.catalog_guid,
            c.integration_pack_instance_id, c.process_id, c.env_id, c.connection_id,
            c.is_token_generated, c.oauth_connector_details, c.client_id, c.decided_at,
            c.updated_by
        from unnest($1::text[], $2::text[]) as i (catalog_guid, command_id)
        cross join lateral (
            select * from connector_details_changes c
            where (c.catalog_guid, c.command_id) = (i.catalog_guid, i.command_id)
            -- Keeps the planner from making a join of it: see `save`.
            offset 0
        ) c
        "#,
        &saves.catalog_guid as _,
        &saves.command_id as _,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Decision::from).collect())
}

struct Row {
    command_id: String,
    fingerprint: Vec<u8>,
    record_id: Uuid,
    revision: i64,
    catalog_guid: String,
    integration_pack_instance_id: String,
    process_id: String,
    env_id: String,
    connection_id: String,
    is_token_generated: bool,
    oauth_connector_details: String,
    client_id: String,
    decided_at: OffsetDateTime,
    updated_by: Option<String>,
}

impl From<Row> for Decision {
    fn from(row: Row) -> Self {
        Self {
            space: row.catalog_guid.clone(),
            command_id: row.command_id,
            // A fingerprint of another length equals none, which makes it a conflict.
            fingerprint: Fingerprint(row.fingerprint.try_into().unwrap_or_default()),
            record: Record {
                id: row.record_id.to_string(),
                integration_pack_instance_id: row.integration_pack_instance_id,
                is_token_generated: row.is_token_generated,
                oauth_connector_details: row.oauth_connector_details,
                process_id: row.process_id,
                env_id: row.env_id,
                connection_id: row.connection_id,
                catalog_guid: row.catalog_guid,
                client_id: row.client_id,
                revision: row.revision,
                updated_at: row.decided_at,
                updated_by: row.updated_by,
            },
        }
    }
}
