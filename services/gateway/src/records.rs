//! The one file with SQL: reads records and decisions, with a role that can only select.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use proto::{CatalogGuid, CommandId, Fingerprint, Record, RecordKey};
use sqlx::{
    Connection as _, PgConnection,
    postgres::PgConnectOptions,
    types::{Uuid, time::OffsetDateTime},
};
use telemetry::traces::{Place, SpanKind};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

use crate::metrics;

/// Reads that run at once; further ones wait for [`DEADLINE`] at most.
const CONNECTIONS: usize = 16;
/// For a statement on a connection that was idle: what is left of a read's time begins a new one.
const STATEMENT_DEADLINE: Duration = Duration::from_millis(800);
const STATEMENT_TIMEOUT: &str = "800ms";
/// For a whole read. A read is small: one that takes longer is a database in trouble.
const DEADLINE: Duration = Duration::from_secs(1);
/// For a new connection, whoever waits for it.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// The database did not answer a read; what it said goes to the log.
#[derive(Debug, thiserror::Error)]
#[error("the database did not answer a read")]
pub struct Unreadable;

/// The gateway's view of the database. Cheap to clone.
///
/// The connections are kept here and not in sqlx's pool, which pings each that is given back,
/// without a deadline: where a network loses answers, or a client hangs up, that never ends, and
/// the connection's place in the pool is gone for good.
#[derive(Debug, Clone)]
pub struct Records(Arc<Connections>);

#[derive(Debug)]
struct Connections {
    options: PgConnectOptions,
    /// Whoever reads takes one out and puts it back when all went well; so one that failed, or was
    /// given up half way, is closed by being dropped.
    idle: Mutex<Vec<PgConnection>>,
    permits: Arc<Semaphore>,
}

impl Records {
    /// Nothing is opened before it is needed: without a database the gateway still takes saves.
    #[must_use]
    pub fn new(options: PgConnectOptions) -> Self {
        let options = options
            .application_name("connector-details-gateway")
            .options([
                ("statement_timeout", STATEMENT_TIMEOUT),
                ("default_transaction_read_only", "on"),
                // A prepared statement's plan may be older than the table's size.
                ("enable_seqscan", "off"),
            ]);
        Self(Arc::new(Connections {
            options,
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(CONNECTIONS)),
        }))
    }

    /// The record under these five ids, if one was saved.
    ///
    /// # Errors
    /// [`Unreadable`], after a second at most.
    pub async fn find(&self, key: &RecordKey, trace: &Place) -> Result<Option<Record>, Unreadable> {
        let _span = trace.span("select connector_details", SpanKind::Client);
        Ok(self.0.read(Read::Record(key)).await?.map(Record::from))
    }

    /// What was decided under a command's id in a Space, if anything: the fingerprint of the
    /// command that was, and the record as it left it.
    ///
    /// # Errors
    /// [`Unreadable`], after a second at most.
    pub async fn decision(
        &self,
        space: &CatalogGuid,
        id: &CommandId,
        trace: &Place,
    ) -> Result<Option<(Fingerprint, Record)>, Unreadable> {
        let _span = trace.span("select connector_details_changes", SpanKind::Client);
        let row = self.0.read(Read::Decision(space, id)).await?;
        Ok(row.map(|mut row| {
            // A fingerprint of another length equals none, which makes it a conflict.
            let fingerprint = row.fingerprint.take().unwrap_or_default();
            let fingerprint = Fingerprint(fingerprint.try_into().unwrap_or_default());
            (fingerprint, row.into())
        }))
    }

    /// How many connections read at the moment, and how many are open and idle.
    #[must_use]
    pub fn connections(&self) -> (usize, usize) {
        let busy = CONNECTIONS - self.0.permits.available_permits();
        (busy, self.0.idle().len())
    }

    /// Whether the database answers.
    pub async fn is_up(&self) -> bool {
        self.0.read(Read::Nothing).await.is_ok()
    }
}

impl Connections {
    /// Reads, within [`DEADLINE`].
    async fn read(self: &Arc<Self>, what: Read<'_>) -> Result<Option<Row>, Unreadable> {
        let started = Instant::now();
        let result = timeout(DEADLINE, self.read_twice(what)).await;
        metrics::read(matches!(result, Ok(Ok(_))), started.elapsed());
        match result {
            Ok(Ok(row)) => Ok(row),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a read failed");
                Err(Unreadable)
            }
            Err(_) => {
                tracing::warn!("a read took too long");
                Err(Unreadable)
            }
        }
    }

    /// On an idle connection, if there is one; and where that turns out to be dead, on a new one.
    async fn read_twice(self: &Arc<Self>, what: Read<'_>) -> sqlx::Result<Option<Row>> {
        let permit = self.permits.clone().acquire_owned().await;
        let idle = self.idle().pop();
        if let Some(mut connection) = idle {
            match timeout(STATEMENT_DEADLINE, what.from(&mut connection)).await {
                Ok(Ok(row)) => {
                    self.idle().push(connection);
                    return Ok(row);
                }
                Ok(Err(_)) => {}
                // The other idle ones are likely to be as dead as this one.
                Err(_) => self.idle().clear(),
            }
        }
        let (mut connection, _permit) = self.connect(permit.ok()).await?;
        let row = what.from(&mut connection).await?;
        self.idle().push(connection);
        Ok(row)
    }

    /// A new connection, made on a thread of its own, for two reasons. A reader who gives up must
    /// not take it along, or each would give up one that was nearly there. And sqlx lets all other
    /// tasks go first 800 times while it hashes the password: on a busy runtime that takes seconds,
    /// on a thread where nothing else runs, milliseconds.
    async fn connect(
        self: &Arc<Self>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> sqlx::Result<(PgConnection, Option<OwnedSemaphorePermit>)> {
        let (sender, made) = oneshot::channel();
        let (this, runtime) = (self.clone(), Handle::current());
        tokio::task::spawn_blocking(move || {
            let connecting = PgConnection::connect_with(&this.options);
            let connection = runtime
                .block_on(async { timeout(CONNECT_DEADLINE, connecting).await })
                .unwrap_or(Err(sqlx::Error::PoolTimedOut));
            if let Err(Ok((connection, _))) = sender.send(connection.map(|new| (new, permit))) {
                this.idle().push(connection);
            }
        });
        made.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
    }

    fn idle(&self) -> MutexGuard<'_, Vec<PgConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What can be read.
#[derive(Clone, Copy)]
enum Read<'a> {
    Record(&'a RecordKey),
    Decision(&'a CatalogGuid, &'a CommandId),
    /// Only whether the database answers.
    Nothing,
}

impl Read<'_> {
    async fn from(self, connection: &mut PgConnection) -> sqlx::Result<Option<Row>> {
        match self {
            Self::Record(key) => {
                sqlx::query_as!(
                    Row,
                    "select id, integration_pack_instance_id, is_token_generated,
                         oauth_connector_details, process_id, env_id, connection_id,
                         catalog_guid, client_id, revision, updated_at, updated_by,
                         null::bytea as fingerprint
                     from connector_details
                     where catalog_guid = $1 and integration_pack_instance_id = $2
                         and process_id = $3 and env_id = $4 and connection_id = $5",
                    key.catalog_guid.as_str(),
                    key.integration_pack_instance_id.as_str(),
                    key.process_id.as_str(),
                    key.env_id.as_str(),
                    key.connection_id.as_str(),
                )
                .fetch_optional(connection)
                .await
            }
            Self::Decision(space, id) => {
                sqlx::query_as!(
                    Row,
                    "select record_id as id, integration_pack_instance_id, is_token_generated,
                         oauth_connector_details, process_id, env_id, connection_id,
                         catalog_guid, client_id, revision, decided_at as updated_at,
                         updated_by, fingerprint
                     from connector_details_changes
                     where catalog_guid = $1 and command_id = $2",
                    space.as_str(),
                    id.as_str(),
                )
                .fetch_optional(connection)
                .await
            }
            Self::Nothing => connection.ping().await.map(|()| None),
        }
    }
}

struct Row {
    id: Uuid,
    integration_pack_instance_id: String,
    is_token_generated: bool,
    oauth_connector_details: String,
    process_id: String,
    env_id: String,
    connection_id: String,
    catalog_guid: String,
    client_id: String,
    revision: i64,
    updated_at: OffsetDateTime,
    updated_by: Option<String>,
    /// Of the decision; a record has none.
    fingerprint: Option<Vec<u8>>,
}

impl From<Row> for Record {
    fn from(row: Row) -> Self {
        Self {
            id: row.id.to_string(),
            integration_pack_instance_id: row.integration_pack_instance_id,
            is_token_generated: row.is_token_generated,
            oauth_connector_details: row.oauth_connector_details,
            process_id: row.process_id,
            env_id: row.env_id,
            connection_id: row.connection_id,
            catalog_guid: row.catalog_guid,
            client_id: row.client_id,
            revision: row.revision,
            updated_at: row.updated_at,
            updated_by: row.updated_by,
        }
    }
}
