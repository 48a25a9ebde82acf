//! The one place with SQL: decides a batch of commands in one statement and one commit, or a large
//! one in two halves at once.

mod change;
mod columns;
mod decisions;
mod outbox;
mod prune;
mod save;

use std::{
    sync::{self, Arc, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use proto::{
    Command, CommandId, Fingerprint, Kind,
    ledger::{Decision, End},
};
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use tokio::{sync::Mutex, time::timeout};

pub use self::outbox::{Announcement, Committed, News};

use self::{
    columns::Columns,
    decisions::{by_name, name},
    outbox::Teller,
};
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
pub struct Change {
    /// The command's id, unique in its Space.
    pub command_id: CommandId,
    /// What to do.
    pub command: Command,
    /// Of `command`.
    pub fingerprint: Fingerprint,
    /// The author, as far as known.
    pub updated_by: Option<String>,
    /// The publishing service, by its own word.
    pub source: Option<String>,
    /// W3C trace context of the publisher.
    pub traceparent: Option<String>,
}

impl Change {
    /// Whether it takes effect whatever the record is: nearly all do, and their statement is the
    /// cheaper one.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.command.kind() == Kind::Save && self.command.expected_revision().is_none()
    }
}

/// Changes with their places in the batch.
type Indexed<'a> = Vec<(usize, &'a Change)>;

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
    /// It holds the lock of whoever announces.
    outbox: Arc<Slot>,
    pruning: Arc<Slot>,
    teller: Teller,
    /// Since they were last asked for.
    statements: Arc<sync::Mutex<Vec<Statement>>>,
}

/// A connection while nobody uses it. Whoever does takes it out and puts it back when all went
/// well; so one that failed, or was given up half way, is closed by being dropped.
type Slot = Mutex<Option<PgConnection>>;

impl Store {
    /// The store, and where it tells of what it committed. Nothing is opened before it is needed.
    #[must_use]
    pub fn new(options: PgConnectOptions) -> (Self, News) {
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
        let (teller, news) = outbox::channel();
        let store = Self {
            options: Arc::new(options),
            batch: Default::default(),
            health: Arc::default(),
            outbox: Arc::default(),
            pruning: Arc::default(),
            teller,
            statements: Arc::default(),
        };
        (store, news)
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

    /// Decides the changes that were not decided before: what became of each, in their order; none
    /// where it was. No record and no command id may be named twice.
    ///
    /// It takes one statement for those that take effect whatever the record is, or two halves at
    /// once, where there are enough of them: one connection keeps one processor of the database
    /// busy. And another statement for deletions and for what expects a revision.
    ///
    /// # Errors
    /// Every [`StoreError`]. All of a statement or nothing of it took effect.
    pub async fn decide(&self, changes: &[&Change]) -> Result<Vec<Option<End>>, StoreError> {
        let [first, second] = &self.batch;
        let (plain, others): (Indexed<'_>, Indexed<'_>) = changes
            .iter()
            .copied()
            .enumerate()
            .partition(|(_, change)| change.is_plain());
        let half = if plain.len() < ENOUGH_FOR_TWO {
            plain.len()
        } else {
            plain.len() / 2
        };
        let (left, right) = plain.split_at(half);
        // All to their end: what was begun is not given up because of another.
        let (left, right) = tokio::join!(self.save_by(first, left), self.save_by(second, right));
        let mut decided = left?;
        decided.extend(right?);
        decided.extend(self.change_by(first, &others).await?);
        let mut ends: Vec<Option<End>> = changes.iter().map(|_| None).collect();
        for (index, end) in decided {
            ends[index] = Some(end);
        }
        Ok(ends)
    }

    async fn save_by(
        &self,
        slot: &Slot,
        changes: &[(usize, &Change)],
    ) -> Result<Vec<(usize, End)>, StoreError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let columns = Columns::of(changes.iter().map(|(_, change)| *change));
        let started = SystemTime::now();
        let saved = self
            .run(slot, DEADLINE, async |connection| {
                save::save(connection, &columns).await
            })
            .await;
        self.ran("save connector_details", started, saved.is_ok());
        let saved = saved?;
        let seq = saved.first().map(|saved| saved.seq);
        let mut announcements = Vec::with_capacity(saved.len());
        let mut decided = Vec::with_capacity(saved.len());
        for saved in saved {
            let place = usize::try_from(saved.place - 1).ok();
            let (index, change) = place
                .and_then(|place| changes.get(place))
                .ok_or(StoreError::Undecided)?;
            let Command::Save(save) = &change.command else {
                return Err(StoreError::Undecided);
            };
            let at = saved.updated_at;
            let end = End::Saved(saved.record(save, change.updated_by.clone()));
            announcements.extend(Announcement::of(
                change.command_id.as_str(),
                &end,
                at,
                change.updated_by.as_deref(),
                change.traceparent.as_deref(),
            ));
            decided.push((*index, end));
        }
        if let Some(seq) = seq {
            self.teller.tell(Committed { seq, announcements });
        }
        Ok(decided)
    }

    async fn change_by(
        &self,
        slot: &Slot,
        changes: &[(usize, &Change)],
    ) -> Result<Vec<(usize, End)>, StoreError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let columns = Columns::of(changes.iter().map(|(_, change)| *change));
        let started = SystemTime::now();
        let decisions = self
            .run(slot, DEADLINE, async |connection| {
                change::change(connection, &columns).await
            })
            .await;
        self.ran("change connector_details", started, decisions.is_ok());
        self.teller.tell_of_more();
        let mut ends = by_name(decisions?);
        let decided = changes.iter().filter_map(|(index, change)| {
            let decision = ends.remove(&name(change))?;
            Some((*index, decision.end))
        });
        Ok(decided.collect())
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

    /// What was decided before about these commands, in their order. A statement of its own, because
    /// a part of [`Store::decide`]'s would see the snapshot from before the other worker's commit.
    ///
    /// # Errors
    /// [`StoreError::Transient`] or [`StoreError::Deadline`].
    pub async fn decisions(
        &self,
        changes: &[&Change],
    ) -> Result<Vec<Option<Decision>>, StoreError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let columns = Columns::of(changes.iter().copied());
        let started = SystemTime::now();
        let decisions = self
            .run(&self.batch[0], DEADLINE, async |connection| {
                decisions::decisions(connection, &columns).await
            })
            .await;
        self.ran(
            "select connector_details_changes",
            started,
            decisions.is_ok(),
        );
        let mut decisions = by_name(decisions?);
        if !decisions.is_empty() {
            // By a worker that is gone perhaps, whose statement went on for longer than it did.
            self.teller.tell_of_more();
        }
        let found = changes.iter().map(|change| decisions.remove(&name(change)));
        Ok(found.collect())
    }

    /// Takes the lock of whoever announces, if nobody else has it.
    ///
    /// # Errors
    /// [`StoreError::Transient`] or [`StoreError::Deadline`], as for all that follow.
    pub async fn lock_outbox(&self) -> Result<bool, StoreError> {
        let lock = async |connection: &mut PgConnection| outbox::lock(connection).await;
        self.run(&self.outbox, DEADLINE, lock).await
    }

    /// Gives the lock back.
    ///
    /// # Errors
    /// As [`Store::lock_outbox`].
    pub async fn unlock_outbox(&self) -> Result<(), StoreError> {
        let unlock = async |connection: &mut PgConnection| outbox::unlock(connection).await;
        self.run(&self.outbox, DEADLINE, unlock).await
    }

    /// What the oldest statements committed that is not known to be announced.
    ///
    /// # Errors
    /// As [`Store::lock_outbox`].
    pub async fn unannounced(&self, statements: i64) -> Result<Vec<Committed>, StoreError> {
        let oldest =
            async |connection: &mut PgConnection| outbox::oldest(connection, statements).await;
        self.run(&self.outbox, DEADLINE, oldest).await
    }

    /// The broker has these.
    ///
    /// # Errors
    /// As [`Store::lock_outbox`].
    pub async fn announced(&self, seqs: &[i64]) -> Result<(), StoreError> {
        let delete =
            async |connection: &mut PgConnection| outbox::announced(connection, seqs).await;
        self.run(&self.outbox, DEADLINE, delete).await
    }

    /// Forgets some decisions that are older, and says how many.
    ///
    /// # Errors
    /// As [`Store::lock_outbox`].
    pub async fn prune(&self, older_than: Duration, at_most: u32) -> Result<u64, StoreError> {
        let prune = async |connection: &mut PgConnection| {
            prune::prune(connection, older_than, at_most).await
        };
        self.run(&self.pruning, DEADLINE, prune).await
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
