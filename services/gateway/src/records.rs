//! The one place with SQL: reads records and decisions, with a role that can only select.

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
    ledger::DecisionOf,
    page::Page,
    statement::{Ping, Statement},
};
use crate::{limits::Denied, metrics};

pub use self::{
    history::HistoryEntry,
    page::{AnswerSpace, Filter, PAGE, PAGE_MOST, Position, position},
};

/// Reads that run at once; further ones wait for [`DEADLINE`] at most.
const CONNECTIONS: usize = 16;
/// For a statement on a connection that was idle: what is left of a read's time begins a new one.
const STATEMENT_DEADLINE: Duration = Duration::from_millis(800);
const STATEMENT_TIMEOUT: &str = "800ms";
/// For a whole read. A read is small: one that takes longer is a database in trouble.
const DEADLINE: Duration = Duration::from_secs(1);
/// How long it is believed that the database answers, or does not.
const PULSE: Duration = Duration::from_secs(1);
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
    /// The last answer to [`Records::is_up`]; held while asking, so that one asks for all.
    pulse: tokio::sync::Mutex<Option<(Instant, bool)>>,
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
            pulse: tokio::sync::Mutex::default(),
        }))
    }

    /// The record under these five ids, if one was saved.
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

    /// What was decided under a command's id in a Space, if anything.
    ///
    /// # Errors
    /// [`Unreadable`], after a second at most.
    pub async fn decision(
        &self,
        space: &CatalogGuid,
        id: &CommandId,
        trace: &TraceContext,
    ) -> Result<Option<LedgerEntry>, Unreadable> {
        self.traced(&DecisionOf(space, id), trace).await
    }

    /// So many records of a Space after a position, or from the first. Inside: why there is no space
    /// for them in the answer; then no more was kept than there is space for.
    ///
    /// # Errors
    /// [`Unreadable`], after a second at most.
    pub async fn page(
        &self,
        space: &CatalogGuid,
        filter: &Filter,
        after: Option<&Position>,
        count: u32,
        answer: AnswerSpace<'_>,
        trace: &TraceContext,
    ) -> Result<Result<Vec<Record>, Denied>, Unreadable> {
        let page = Page {
            space,
            filter,
            after,
            count,
            answer,
        };
        self.traced(&page, trace).await
    }

    /// So many changes of a record of a Space before a revision, or from the newest.
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

    /// How many connections read at the moment, and how many are open and idle.
    #[must_use]
    pub fn connections(&self) -> (usize, usize) {
        let busy = CONNECTIONS - self.0.permits.available_permits();
        (busy, self.0.idle().len())
    }

    /// Whether the database answers. However many ask, the database is asked once in [`PULSE`], by
    /// one connection: health may be asked for by anyone.
    pub async fn is_up(&self) -> bool {
        let connections = self.0.clone();
        // A task of its own: who hangs up must not take the connection along.
        let asking = tokio::spawn(async move { connections.are_up().await });
        asking.await.unwrap_or(false)
    }
}

impl Connections {
    async fn are_up(self: &Arc<Self>) -> bool {
        let mut pulse = self.pulse.lock().await;
        if let Some((asked, is_up)) = *pulse
            && asked.elapsed() < PULSE
        {
            return is_up;
        }
        let is_up = self.read(&Ping).await.is_ok();
        *pulse = Some((Instant::now(), is_up));
        is_up
    }

    /// Reads, within [`DEADLINE`].
    async fn read<S: Statement>(self: &Arc<Self>, what: &S) -> Result<S::Answer, Unreadable> {
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
    async fn read_twice<S: Statement>(self: &Arc<Self>, what: &S) -> sqlx::Result<S::Answer> {
        let permit = self.permits.clone().acquire_owned().await;
        let idle = self.idle().pop();
        if let Some(mut connection) = idle {
            match timeout(STATEMENT_DEADLINE, what.run(&mut connection)).await {
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
        let row = what.run(&mut connection).await?;
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
