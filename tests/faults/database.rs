//! A database that is killed, frozen, full, or takes no writes.

use std::{
    fs::File,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use proto::amqp::topology;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tests::{
    eventually, fault_stack::FaultStack, load::Load, publisher::Publisher, report::Report,
};

use crate::{CLIENTS, command, seconds};

/// Checks that the fault had an effect, that no command was parked, and that saves were accepted
/// all the time.
async fn finish(
    stack: &FaultStack,
    mut load: Load,
    fault: &str,
    felt: usize,
) -> anyhow::Result<()> {
    load.recovers().await?;
    let report = load.finish(&stack.database().await?).await?;
    report.check(fault)?;
    anyhow::ensure!(held(stack)? > felt, "{fault}: it was not felt");
    nothing_was_lost(stack, fault, &report).await
}

async fn nothing_was_lost(stack: &FaultStack, fault: &str, report: &Report) -> anyhow::Result<()> {
    anyhow::ensure!(report.refused + report.unknown == 0, "{report:?}");
    let parked = stack.publisher().await?.get(topology::PARKED).await?;
    anyhow::ensure!(parked.is_none(), "{fault}: a good command was parked");
    Ok(())
}

/// How often the worker held commands back so far.
fn held(stack: &FaultStack) -> anyhow::Result<usize> {
    stack.logged("the database is unavailable")
}

async fn execute(database: &PgPool, statements: &[&str]) -> anyhow::Result<()> {
    let mut owner = database.acquire().await?;
    for statement in statements {
        let statement = AssertSqlSafe((*statement).to_owned());
        sqlx::query(statement).execute(&mut *owner).await?;
    }
    Ok(())
}

/// Ends the services' connections, so that the next ones have the new settings.
async fn disconnect(database: &PgPool) -> anyhow::Result<()> {
    execute(
        database,
        &["select pg_terminate_backend(pid) from pg_stat_activity
           where application_name like 'connector-details-%'"],
    )
    .await
}

/// Waits until the worker waits for a row that the test has locked, with enough of its lock timeout left to get
/// the row.
async fn worker_waits(database: &PgPool) -> anyhow::Result<()> {
    eventually("the worker to wait for the lock", async || {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock'
             and application_name = 'connector-details-worker'
             and clock_timestamp() - query_start < interval '150 ms'",
        )
        .fetch_one(database)
        .await?;
        Ok((waiting > 0).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_database_loses_no_save() -> anyhow::Result<()> {
    let stack = FaultStack::start(1, 2).await?;
    let load = stack.load(CLIENTS).await?;

    stack.server("Postgres")?.signal(Signal::SIGKILL).await?;
    seconds(1.0).await;
    stack.ready().await?;
    finish(&stack, load, "database killed", 0).await?;
    stack.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long"]
async fn a_frozen_database_loses_no_save() -> anyhow::Result<()> {
    let stack = FaultStack::start(1, 2).await?;
    let load = stack.load(CLIENTS).await?;

    stack
        .freeze(stack.server("Postgres")?, Duration::from_secs(40))
        .await?;
    stack.ready().await?;
    finish(&stack, load, "database frozen for 40 s", 0).await?;
    stack.stop().await;
    Ok(())
}

/// A standby that is used as the primary answers in this way.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_database_loses_no_save() -> anyhow::Result<()> {
    let stack = FaultStack::start(1, 1).await?;
    let load = stack.load(CLIENTS).await?;
    let database = stack.database().await?;

    execute(
        &database,
        &[
            "alter system set default_transaction_read_only = on",
            "select pg_reload_conf()",
        ],
    )
    .await?;
    seconds(3.0).await;
    execute(
        &database,
        &[
            "set default_transaction_read_only = off",
            "alter system reset default_transaction_read_only",
            "select pg_reload_conf()",
        ],
    )
    .await?;
    finish(&stack, load, "database read-only for 3 s", 0).await?;
    stack.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long"]
async fn a_database_without_free_connections_loses_no_save() -> anyhow::Result<()> {
    let stack = FaultStack::start(1, 1).await?;
    let load = stack.load(CLIENTS).await?;
    let database = stack.database().await?;

    // Others use up all connections, and the services lose theirs.
    let mut others = Vec::new();
    while let Ok(connection) = PgConnection::connect(&stack.servers.database_url).await {
        others.push(connection);
    }
    disconnect(&database).await?;
    while let Ok(connection) = PgConnection::connect(&stack.servers.database_url).await {
        others.push(connection);
    }
    seconds(3.0).await;
    drop(others);
    finish(&stack, load, "all connections used by others for 3 s", 0).await?;
    stack.stop().await;
    Ok(())
}

/// A save of `lock a` also needs `lock b` in the same statement.
const GREEDY: [&str; 2] = [
    "create function take_b() returns trigger language plpgsql as
        $$ begin
            perform 1 from connector_details where process_id = 'lock b' for update;
            return new;
        end $$",
    "create trigger greedy before update on connector_details
        for each row when (new.process_id = 'lock a') execute function take_b()",
];

/// Locks the row that the worker needs next, and then waits for the row that the worker has locked.
/// The worker's lock timeout ends its statement before the server detects the deadlock. The worker saves when
/// the other transaction has ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_with_another_client_loses_no_save() -> anyhow::Result<()> {
    let stack = FaultStack::start(1, 1).await?;
    let database = stack.database().await?;
    for process in ["lock a", "lock b"] {
        stack.api()?.save(&command(process, "x")).await?.record()?;
    }
    execute(&database, &GREEDY).await?;
    let mut load = stack.load(CLIENTS).await?;

    let mut other = PgConnection::connect(&stack.servers.database_url).await?;
    let mut transaction = other.begin().await?;
    let lock = |process: &'static str| {
        sqlx::query("update connector_details set client_id = 'other' where process_id = $1")
            .bind(process)
    };
    lock("lock b").execute(&mut *transaction).await?;
    let body = command("lock a", "y").to_string();
    let publisher = stack.publisher().await?;
    publisher
        .publish(body, Publisher::properties("greedy"))
        .await?;
    worker_waits(&database).await?;
    let since = Instant::now();
    lock("lock a").execute(&mut *transaction).await?;
    let waited = since.elapsed();
    transaction.commit().await?;

    load.recovers().await?;
    let report = load.finish(&database).await?;
    report.check("deadlock with another client")?;
    nothing_was_lost(&stack, "deadlock", &report).await?;
    assert!(waited > Duration::from_millis(50), "there was no deadlock");
    let saved: Vec<String> = sqlx::query_scalar(
        "select client_id from connector_details where process_id like 'lock %'
         order by process_id",
    )
    .fetch_all(&database)
    .await?;
    assert_eq!(saved, ["y", "other"]);
    stack.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serialization_failure_loses_no_save() -> anyhow::Result<()> {
    let stack = FaultStack::start(1, 1).await?;
    let load = stack.load(CLIENTS).await?;
    let database = stack.database().await?;
    execute(
        &database,
        &["alter role connector_details_worker_login
           set default_transaction_isolation = 'repeatable read'"],
    )
    .await?;
    disconnect(&database).await?;
    eventually("the worker to be back", async || {
        Ok(stack
            .api()?
            .save(&command("shared", "x"))
            .await?
            .record()
            .ok())
    })
    .await?;
    let felt = held(&stack)?;

    // A row changes between the worker's snapshot and its update of it.
    let mut other = PgConnection::connect(&stack.servers.database_url).await?;
    let mut transaction = other.begin().await?;
    sqlx::query("update connector_details set client_id = 'other' where process_id = 'shared'")
        .execute(&mut *transaction)
        .await?;
    let api = stack.api()?;
    let save = tokio::spawn(async move { api.save(&command("shared", "y")).await });
    worker_waits(&database).await?;
    transaction.commit().await?;
    let saved = save.await??.record()?;

    assert_eq!(saved["clientId"], "y");
    assert!(stack.logged("could not serialize access")? > 0);
    finish(&stack, load, "serialization failure", felt).await?;
    stack.stop().await;
    Ok(())
}

/// A small file system, mounted for as long as this lives.
struct Disk(PathBuf);

impl Disk {
    fn mount(folder: PathBuf, megabytes: u32) -> anyhow::Result<Self> {
        std::fs::create_dir(&folder)?;
        let size = format!("size={megabytes}m,mode=1777");
        as_root(&["mount", "-t", "tmpfs", "-o", &size, "none"], &folder)?;
        Ok(Self(folder))
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Takes what is left of it.
    fn fill(&self) -> anyhow::Result<()> {
        let mut filler = File::create(self.filler())?;
        while filler.write_all(&[0; 4096]).is_ok() {}
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: Postgres has files open on it.
        let _ = as_root(&["umount", "-l"], &self.0);
    }
}

fn as_root(command: &[&str], path: &Path) -> anyhow::Result<()> {
    let sudo = if nix::unistd::geteuid().is_root() {
        [].as_slice()
    } else {
        &["sudo", "-n"]
    };
    let words: Vec<&str> = sudo.iter().chain(command).copied().collect();
    let status = Command::new(words[0])
        .args(&words[1..])
        .arg(path)
        .status()?;
    anyhow::ensure!(status.success(), "{words:?} is not allowed");
    Ok(())
}

/// The ledger lies on a file system of its own, which is then filled to the last byte.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the right to mount a file system"]
async fn a_full_disk_loses_no_save() -> anyhow::Result<()> {
    let stack = FaultStack::start(1, 1).await?;
    let database = stack.database().await?;
    let disk = Disk::mount(stack.folder().join("disk"), 200)?;
    let place = disk.0.join("table");
    std::fs::create_dir(&place)?;
    let data = stack.servers.data.as_deref().unwrap_or(Path::new("/"));
    let owner = std::fs::metadata(data.join("postgres"))?;
    chown(&place, Some(owner.uid()), Some(owner.gid()))?;
    let tablespace = format!("create tablespace small location '{}'", place.display());
    let movement = "alter table connector_details_ledger set tablespace small";
    execute(&database, &[&tablespace, movement]).await?;
    let load = stack.load(CLIENTS).await?;

    disk.fill()?;
    eventually("the disk to be felt", async || {
        Ok((stack.logged("No space left on device")? > 0).then_some(()))
    })
    .await?;
    seconds(3.0).await;
    std::fs::remove_file(disk.filler())?;
    finish(&stack, load, "disk of the ledger full for 3 s", 0).await?;
    drop(disk);
    stack.stop().await;
    Ok(())
}
