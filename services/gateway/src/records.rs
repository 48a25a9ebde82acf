//! Reads records and the ledger, with a database role that can only select. No other module has SQL.

mod find;
mod history;
mod ledger;
mod page;
mod statement;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use proto::{CatalogGuid, CommandId, Record, RecordKey, ledger::LedgerEntry};
use runtime::traces::{SpanKind, TraceContext};
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions, types::Uuid};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

use self::{
    find::Find,
    history::History,
    ledger::FindLedgerEntry,
    page::Page,
    statement::{Ping, Statement},
};
use crate::{limits::Denied, metrics};

pub use self::{
    history::HistoryEntry,
    page::{AnswerMemory, Filter, PAGE, PAGE_MOST, Position, position},
};

/// The maximum number of reads at the same time. Further reads wait, for [`DEADLINE`] at most.
const CONNECTIONS: usize = 16;
/// The deadline of a statement on an idle connection. The rest of [`DEADLINE`] is for a second attempt
/// on a new connection.
const STATEMENT_DEADLINE: Duration = Duration::from_millis(800);
const STATEMENT_TIMEOUT: &str = "800ms";
/// The deadline of a whole read. Reads are small, so a slower read means that the database has a
/// problem.
const DEADLINE: Duration = Duration::from_secs(1);
/// How long the result of a health check is reused.
const HEALTH_CACHE: Duration = Duration::from_secs(1);
/// The deadline of a new connection. It is longer than [`DEADLINE`], because the connection is kept
/// even if the read that opened it has ended.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// The database did not answer a read. The log has the cause.
#[derive(Debug, thiserror::Error)]
#[error("the database did not answer a read")]
pub struct Unreadable;

/// The gateway's view of the database. Cheap to clone.
///
/// This module keeps the connections itself. sqlx's pool pings each returned connection without a
/// deadline, so a network that loses packets would block places in the pool forever.
#[derive(Debug, Clone)]
pub struct Records(Arc<Connections>);

#[derive(Debug)]
struct Connections {
    options: PgConnectOptions,
    /// A read removes a connection and returns it only after a success. A connection that failed, or
    /// whose read was cancelled, is dropped and so closed.
    idle: Mutex<Vec<PgConnection>>,
    permits: Arc<Semaphore>,
    /// The last result of [`Records::is_up`]. The lock is held during a check, so that concurrent
    /// callers share one check.
    health: tokio::sync::Mutex<Option<(Instant, bool)>>,
}

impl Records {
    /// Opens no connection: the gateway must start and accept saves without a database.
    #[must_use]
    pub fn new(options: PgConnectOptions) -> Self {
        let options = options
            .application_name("connector-details-gateway")
            .options([
                ("statement_timeout", STATEMENT_TIMEOUT),
                ("default_transaction_read_only", "on"),
                // The plan of a prepared statement may be older than the growth of the table.
                ("enable_seqscan", "off"),
            ]);
        Self(Arc::new(Connections {
            options,
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(CONNECTIONS)),
            health: tokio::sync::Mutex::default(),
        }))
    }

    /// The record with these five ids, if there is one.
    ///
    /// # Errors
    /// [`Unreadable`], after a second at most.
    pub async fn find(
        &self,
        key: &RecordKey,
        trace: &TraceContext,
    ) -> Result<Option<Record>, Unreadable> {
        self.traced(&Find(key), trace).await
    }

    /// The ledger's entry for a command of a Space, if the command has an outcome.
    ///
    /// # Errors
    /// [`Unreadable`], after a second at most.
    pub async fn ledger_entry(
        &self,
        space: &CatalogGuid,
        id: &CommandId,
        trace: &TraceContext,
    ) -> Result<Option<LedgerEntry>, Unreadable> {
        self.traced(&FindLedgerEntry(space, id), trace).await
    }

    /// Up to `count` records of a Space, after a position or from the first one. The inner error says
    /// why the answer has no memory left for the records.
    ///
    /// # Errors
    /// [`Unreadable`], after a second at most.
    pub async fn page(
        &self,
        space: &CatalogGuid,
        filter: &Filter,
        after: Option<&Position>,
        count: u32,
        memory: AnswerMemory<'_>,
        trace: &TraceContext,
    ) -> Result<Result<Vec<Record>, Denied>, Unreadable> {
        let page = Page {
            space,
            filter,
            after,
            count,
            memory,
        };
        self.traced(&page, trace).await
    }

    /// Up to `count` changes of a record, before a revision or from the newest one.
    ///
    /// # Errors
    /// [`Unreadable`], after a second at most.
    pub async fn history(
        &self,
        space: &CatalogGuid,
        id: Uuid,
        before: Option<i64>,
        count: u32,
        trace: &TraceContext,
    ) -> Result<Vec<HistoryEntry>, Unreadable> {
        let history = History {
            space,
            id,
            before: before.unwrap_or(i64::MAX),
            count,
        };
        self.traced(&history, trace).await
    }

    async fn traced<S: Statement>(
        &self,
        statement: &S,
        trace: &TraceContext,
    ) -> Result<S::Answer, Unreadable> {
        let _span = trace.span(S::NAME, SpanKind::Client);
        self.0.read(statement).await
    }

    /// The number of busy connections, and of open idle ones.
    #[must_use]
    pub fn connections(&self) -> (usize, usize) {
        let busy = CONNECTIONS - self.0.permits.available_permits();
        (busy, self.0.idle().len())
    }

    /// Whether the database answers. The database is checked once in [`HEALTH_CACHE`] at most, because
    /// anyone can request the health endpoints.
    pub async fn is_up(&self) -> bool {
        let connections = self.0.clone();
        // A separate task finishes even if the client closes its connection, so the database
        // connection is not dropped.
        let check = tokio::spawn(async move { connections.are_up().await });
        check.await.unwrap_or(false)
    }
}

impl Connections {
    async fn are_up(self: &Arc<Self>) -> bool {
        let mut health = self.health.lock().await;
        if let Some((checked, is_up)) = *health
            && checked.elapsed() < HEALTH_CACHE
        {
            return is_up;
        }
        let is_up = self.read(&Ping).await.is_ok();
        *health = Some((Instant::now(), is_up));
        is_up
    }

    async fn read<S: Statement>(self: &Arc<Self>, statement: &S) -> Result<S::Answer, Unreadable> {
        let started = Instant::now();
        let result = timeout(DEADLINE, self.read_with_retry(statement)).await;
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

    /// Reads on an idle connection, if there is one, and again on a new one if that fails.
    async fn read_with_retry<S: Statement>(
        self: &Arc<Self>,
        statement: &S,
    ) -> sqlx::Result<S::Answer> {
        let permit = self.permits.clone().acquire_owned().await;
        let idle = self.idle().pop();
        if let Some(mut connection) = idle {
            match timeout(STATEMENT_DEADLINE, statement.run(&mut connection)).await {
                Ok(Ok(row)) => {
                    self.idle().push(connection);
                    return Ok(row);
                }
                Ok(Err(_)) => {}
                // The other idle connections are probably broken, too.
                Err(_) => self.idle().clear(),
            }
        }
        let (mut connection, _permit) = self.connect(permit.ok()).await?;
        let row = statement.run(&mut connection).await?;
        self.idle().push(connection);
        Ok(row)
    }

    /// Opens a connection on a thread of its own, for two reasons. A read that reaches its deadline
    /// must not cancel the connection, or under load no connection would ever be completed. And sqlx
    /// yields to other tasks 800 times while it hashes the password: that takes seconds on a busy
    /// runtime, and milliseconds on a separate thread.
    async fn connect(
        self: &Arc<Self>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> sqlx::Result<(PgConnection, Option<OwnedSemaphorePermit>)> {
        let (sender, opened) = oneshot::channel();
        let (this, runtime) = (self.clone(), Handle::current());
        tokio::task::spawn_blocking(move || {
            let connecting = PgConnection::connect_with(&this.options);
            let connection = runtime
                .block_on(async { timeout(CONNECT_DEADLINE, connecting).await })
                .unwrap_or(Err(sqlx::Error::PoolTimedOut));
            // If the read has ended meanwhile, the connection is kept for the next one.
            if let Err(Ok((connection, _))) = sender.send(connection.map(|new| (new, permit))) {
                this.idle().push(connection);
            }
        });
        opened.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
    }

    fn idle(&self) -> MutexGuard<'_, Vec<PgConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
