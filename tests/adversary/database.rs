//! A database that takes no writes or holds a record, and a login that wants to be another.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use proto::amqp::topology::{DEAD, PARKED};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, error::DatabaseError};
use tests::{
    api::{SPACE, sample_with},
    bystander::Attack,
    eventually,
    processes::{counter, waiting},
    publisher::Publisher,
};
use tokio::time::sleep;

const OUTAGE: Duration = Duration::from_secs(20);
const COMMANDS: i64 = 300;

/// The client ids of the attacked Space, in the order in which they were saved.
async fn saved(attack: &Attack, process_id: &str) -> anyhow::Result<Vec<String>> {
    let ledger = sqlx::query_scalar(
        "select client_id from connector_details_ledger
         where catalog_guid = $1 and process_id = $2 order by revision",
    );
    Ok(ledger
        .bind(SPACE)
        .bind(process_id)
        .fetch_all(&attack.stack.database)
        .await?)
}

async fn publish(publisher: &Publisher, process_id: &str, number: i64) -> anyhow::Result<()> {
    let mut body = sample_with("processId", process_id);
    body["clientId"] = format!("{number:03}").into();
    let id = format!("{process_id} {number}");
    let properties = Publisher::properties(&id);
    publisher.publish(body.to_string(), properties).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_writes_loses_no_command() -> anyhow::Result<()> {
    // Commands go back to the broker after a second, and not after minutes, and have to stay there.
    let soon = vec![("FAILPOINT", "hold:1".to_owned())];
    let attack = Attack::on_worker_with(soon).await?;
    let publisher = attack.stack.publisher().await?;
    let mut owner = PgConnection::connect(&attack.stack.database_url).await?;
    let name = &attack.stack.vhost;
    let disconnect = "select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and application_name like 'connector-details-%'";
    let setting = "default_transaction_read_only";
    let read_only = format!("alter database {name} set {setting} = on");
    owner.execute(AssertSqlSafe(read_only)).await?;
    owner.execute(disconnect).await?;

    for number in 0..COMMANDS {
        publish(&publisher, "patient", number).await?;
    }
    sleep(OUTAGE).await;
    ensure!(
        saved(&attack, "patient").await?.is_empty(),
        "it takes writes"
    );
    let writable = format!("alter database {name} reset {setting}");
    owner.execute(AssertSqlSafe(writable)).await?;
    owner.execute(disconnect).await?;

    eventually("the commands to be applied", async || {
        let saved = saved(&attack, "patient").await?;
        ensure!(saved.is_sorted(), "out of order: {saved:?}");
        Ok((saved.len() == usize::try_from(COMMANDS)?).then_some(()))
    })
    .await?;
    for queue in [PARKED, DEAD] {
        ensure!(
            publisher.get(queue).await?.is_none(),
            "a message in {queue}"
        );
    }
    let redelivered = counter(attack.worker()?, "connector_details_redeliveries_total").await?;
    let each = redelivered / f64::from(u32::try_from(COMMANDS)?);
    ensure!(each <= 2.0, "{each} redeliveries of a command on average");
    attack.others_recovered().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_record_delays_only_its_own_commands() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let publisher = attack.stack.publisher().await?;
    publish(&publisher, "locked", 0).await?;
    eventually("the record", async || {
        Ok((!saved(&attack, "locked").await?.is_empty()).then_some(()))
    })
    .await?;
    let mut other = PgConnection::connect(&attack.stack.database_url).await?;
    let mut open = other.begin().await?;
    let lock = "select from connector_details where process_id = 'locked' for update";
    let locked = open.execute(lock).await?.rows_affected();
    ensure!(locked == 1, "nothing is locked");

    for number in 1..=5 {
        publish(&publisher, "locked", number).await?;
        for other in 0..20 {
            publish(&publisher, &format!("other {other}"), number).await?;
        }
    }
    eventually("the other records' commands", async || {
        Ok((saved(&attack, "other 19").await?.len() == 5).then_some(()))
    })
    .await?;
    // Longer than any statement waits for a lock.
    sleep(Duration::from_secs(6)).await;
    ensure!(
        saved(&attack, "locked").await?.len() == 1,
        "it was not locked"
    );
    open.rollback().await?;

    let in_order = ["000", "001", "002", "003", "004", "005"];
    eventually("the commands that waited", async || {
        let saved = saved(&attack, "locked").await?;
        ensure!(in_order.starts_with(&saved.iter().map(String::as_str).collect::<Vec<_>>()));
        Ok((saved.len() == in_order.len()).then_some(()))
    })
    .await?;
    for queue in [PARKED, DEAD] {
        ensure!(
            waiting(&attack.stack, queue).await? == 0,
            "a message in {queue}"
        );
    }
    attack.others_waited_at_most(Duration::from_secs(5)).await
}

/// A temporary table with the ledger's name, whose trigger records the current user.
const SHADOW: [&str; 4] = [
    "create temporary table victim (name text)",
    "create temporary table connector_details_ledger
         (decided_at timestamptz, catalog_guid text, command_id text, record_id uuid,
          revision bigint, kind text)",
    "create function pg_temp.told() returns trigger language plpgsql as
         $$ begin insert into pg_temp.victim values (current_user); return old; end $$",
    "create trigger told before delete or update on pg_temp.connector_details_ledger
         for each row execute function pg_temp.told()",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_temporary_table_gives_a_login_no_other_rights() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let mut login = PgConnection::connect(&attack.stack.logins.worker).await?;
    let owner: String = sqlx::query_scalar("select current_user::text")
        .fetch_one(&attack.stack.database)
        .await?;
    let own: String = sqlx::query_scalar("select current_user::text")
        .fetch_one(&mut login)
        .await?;
    ensure!(owner != own, "the login is the owner");

    for statement in SHADOW {
        if let Err(error) = login.execute(statement).await {
            // It may not even make temporary tables.
            let error = error.as_database_error().and_then(DatabaseError::code);
            ensure!(error.as_deref() == Some("42501"), "{error:?}: {statement}");
            return attack.others_were_unaffected().await;
        }
    }
    let row = "insert into pg_temp.connector_details_ledger (decided_at) values ('2000-01-01')";
    login.execute(row).await?;
    let functions: Vec<String> = sqlx::query_scalar(
        "select format('select %I.%I(%s)', pronamespace::regnamespace, proname,
             (select string_agg(case when t = 'interval'::regtype
                 then quote_literal('1 day') || '::interval' else 'null::' || t::regtype end, ',')
              from unnest(proargtypes) t))
         from pg_proc where prosecdef and pronamespace = 'public'::regnamespace",
    )
    .fetch_all(&attack.stack.database)
    .await?;
    ensure!(!functions.is_empty(), "there is no function to attack");
    for call in functions {
        // The result for nulls does not matter, as long as it runs without another role's rights.
        let call = call
            .replace("null::integer", "1000")
            .replace("null::bigint", "1000");
        let _ = login.execute(AssertSqlSafe(call)).await;
    }

    let victims: Vec<String> = sqlx::query_scalar("select name from pg_temp.victim")
        .fetch_all(&mut login)
        .await
        .context("the login's own table")?;
    ensure!(victims.iter().all(|name| *name == own), "{victims:?}");
    attack.others_were_unaffected().await
}
