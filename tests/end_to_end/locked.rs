//! Records that another transaction has locked: only their own commands wait.

use std::time::{Duration, Instant};

use lapin::{BasicProperties, types::ShortString};
use nix::sys::signal::Signal;
use proto::amqp::topology;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tests::{api::sample_with, eventually, publisher::Publisher, stack::Stack};
use tokio::time::sleep;

/// The others are answered within this time.
const SOON: Duration = Duration::from_secs(5);
const LOCKED: &str = "locked";
/// 1 while the worker takes one command at a time.
const SAFE_MODE: &str = "connector_details_safe_mode{service=\"worker\"}";

/// A save of a record. The client id identifies it.
fn save(process_id: &str, client_id: &str) -> String {
    let mut body = sample_with("processId", process_id);
    body["clientId"] = client_id.into();
    body.to_string()
}

/// Properties of a save whose correlation id is its own.
fn properties(id: &str) -> BasicProperties {
    Publisher::properties(id).with_correlation_id(id.into())
}

/// Saves this many other records, each its own. Their replies are still to come.
async fn publish_others(publisher: &Publisher, name: &str, count: usize) -> anyhow::Result<()> {
    for number in 0..count {
        let id = format!("{name} {number}");
        publisher.publish(save(&id, "x"), properties(&id)).await?;
    }
    Ok(())
}

/// The others are answered in time, from `since` on.
async fn others_are_answered(
    publisher: &mut Publisher,
    name: &str,
    count: usize,
    since: Instant,
) -> anyhow::Result<()> {
    for number in 0..count {
        let reply = publisher.reply(&format!("{name} {number}")).await?;
        anyhow::ensure!(reply["outcome"] == "saved", "{reply}");
    }
    let took = since.elapsed();
    anyhow::ensure!(took < SOON, "the others took {took:?}");
    Ok(())
}

/// Another transaction that stays open.
async fn open_transaction(stack: &Stack, statement: &str) -> anyhow::Result<PgConnection> {
    let mut owner = PgConnection::connect(&stack.database_url).await?;
    owner.execute("begin").await?;
    owner.execute(AssertSqlSafe(statement.to_owned())).await?;
    Ok(owner)
}

const LOCK: &str = "select from connector_details where process_id = 'locked' for update";

async fn decided(stack: &Stack, process_id: &str) -> anyhow::Result<i64> {
    let count = "select count(*) from connector_details_ledger where process_id = $1";
    let query = sqlx::query_scalar(count).bind(process_id);
    Ok(query.fetch_one(&stack.database).await?)
}

/// Nothing is left in the queue of commands, acknowledged or not, and nothing was parked.
async fn nothing_is_left(stack: &Stack, publisher: &Publisher) -> anyhow::Result<()> {
    let path = format!("queues/{}/{}", stack.vhost, topology::QUEUE);
    eventually("an empty queue", async || {
        let queue = stack.broker(&path).await?;
        Ok((queue["messages"] == 0).then_some(()))
    })
    .await?;
    anyhow::ensure!(publisher.get(topology::PARKED).await?.is_none());
    Ok(())
}

#[tokio::test]
async fn a_locked_record_delays_only_its_own_commands() -> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    stack.start_worker().await?;
    let mut publisher = stack.publisher().await?;
    publisher
        .ask(save(LOCKED, "0"), properties("locked 0"))
        .await?;
    let mut owner = open_transaction(&stack, LOCK).await?;
    let since = Instant::now();

    for number in 1..=10 {
        publish_others(&publisher, &format!("first {number}"), 20).await?;
        let (id, value) = (format!("locked {number}"), number.to_string());
        let body = save(LOCKED, &value);
        publisher.publish(body, properties(&id)).await?;
    }
    // The id of one that waits, for another record: it is decided behind it.
    let taken = properties("locked 1").with_correlation_id("clash".into());
    publisher.publish(save("clash", "x"), taken).await?;
    for number in 1..=10 {
        others_are_answered(&mut publisher, &format!("first {number}"), 20, since).await?;
    }
    // Until well after the worker has tried again, several times.
    for round in 0..10 {
        let name = format!("round {round}");
        let since = Instant::now();
        publish_others(&publisher, &name, 20).await?;
        others_are_answered(&mut publisher, &name, 20, since).await?;
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(decided(&stack, LOCKED).await?, 1);
    assert_eq!(decided(&stack, "clash").await?, 0);
    owner.execute("rollback").await?;

    for number in 1..=10 {
        let reply = publisher.reply(&format!("locked {number}")).await?;
        assert_eq!(reply["record"]["clientId"], number.to_string());
        assert_eq!(reply["record"]["revision"], number + 1, "in their order");
    }
    let clash = publisher.reply("clash").await?;
    assert_eq!(clash["errors"][0]["code"], "CONFLICT");
    let last = publisher
        .ask(save(LOCKED, "last"), properties("last"))
        .await?;
    assert_eq!(last["record"]["revision"], 12, "nothing is done twice");
    assert_eq!(decided(&stack, LOCKED).await?, 12);
    nothing_is_left(&stack, &publisher).await
}

#[tokio::test]
async fn deletions_and_conditional_saves_wait_in_order() -> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    stack.start_worker().await?;
    let mut publisher = stack.publisher().await?;
    publisher
        .ask(save(LOCKED, "0"), properties("save 0"))
        .await?;
    let mut owner = open_transaction(&stack, LOCK).await?;

    let mut expecting: Value = serde_json::from_str(&save(LOCKED, "1"))?;
    expecting["expectedRevision"] = 1.into();
    let body = expecting.to_string();
    publisher.publish(body, properties("save 1")).await?;
    let key = tests::api::key(&expecting).to_string();
    let deletion = properties("delete").with_type("DeleteConnectorDetails.v1".into());
    publisher
        .publish_by(topology::DELETE, key, deletion)
        .await?;
    expecting["expectedRevision"] = 0.into();
    let body = expecting.to_string();
    publisher.publish(body, properties("save 2")).await?;
    let since = Instant::now();
    publish_others(&publisher, "other", 20).await?;
    others_are_answered(&mut publisher, "other", 20, since).await?;
    assert_eq!(decided(&stack, LOCKED).await?, 1);
    owner.execute("rollback").await?;

    assert_eq!(publisher.reply("save 1").await?["record"]["revision"], 2);
    let deleted = publisher.reply("delete").await?;
    assert_eq!(deleted["outcome"], "deleted");
    assert_eq!(deleted["record"]["revision"], 2);
    assert_eq!(publisher.reply("save 2").await?["record"]["revision"], 1);
    nothing_is_left(&stack, &publisher).await
}

/// Kills the active worker, which is the first one. Commands for other records are answered in time by the next
/// one, which gets the waiting commands first, one by one.
async fn kill_active_worker(
    stack: &mut Stack,
    publisher: &mut Publisher,
    name: &str,
) -> anyhow::Result<()> {
    stack.workers[0].signal(Signal::SIGKILL)?;
    stack.workers.remove(0);
    publish_others(publisher, name, 20).await?;
    if stack.workers.is_empty() {
        stack.start_worker().await?;
    }
    others_are_answered(publisher, name, 20, Instant::now()).await?;
    assert_eq!(decided(stack, LOCKED).await?, 1);
    Ok(())
}

/// The waiting commands go back to the broker, which turns their order.
async fn waiting_commands_keep_their_order(standbys: usize) -> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    stack.start_worker().await?;
    let mut publisher = stack.publisher().await?;
    publisher
        .ask(save(LOCKED, "0"), properties("locked 0"))
        .await?;
    let mut owner = open_transaction(&stack, LOCK).await?;
    for number in 1..=3 {
        let id = format!("locked {number}");
        let body = save(LOCKED, &number.to_string());
        publisher.publish(body, properties(&id)).await?;
    }
    let since = Instant::now();
    publish_others(&publisher, "before", 20).await?;
    others_are_answered(&mut publisher, "before", 20, since).await?;
    for _ in 0..standbys {
        stack.start_worker().await?;
    }

    for name in ["first", "second"] {
        kill_active_worker(&mut stack, &mut publisher, name).await?;
    }
    let body = save(LOCKED, "4");
    publisher.publish(body, properties("locked 4")).await?;
    owner.execute("rollback").await?;

    for number in 1..=4 {
        let reply = publisher.reply(&format!("locked {number}")).await?;
        assert_eq!(reply["record"]["revision"], number + 1);
    }
    nothing_is_left(&stack, &publisher).await
}

#[tokio::test]
async fn workers_that_die_while_a_record_is_locked_delay_no_others() -> anyhow::Result<()> {
    waiting_commands_keep_their_order(0).await
}

#[tokio::test]
async fn standbys_that_take_over_while_a_record_is_locked_delay_no_others() -> anyhow::Result<()> {
    waiting_commands_keep_their_order(2).await
}

/// A command that was never delivered before ends safe mode, also where its record is locked: it is given
/// back once, and the next session takes it together with the others.
#[tokio::test]
async fn a_new_command_for_a_locked_record_delays_no_others_in_safe_mode() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let failpoint = vec![("FAILPOINT", "break-session:poison".to_owned())];
    let worker = stack.worker_with(failpoint)?;
    worker.becomes("ready").await?;
    let mut publisher = stack.publisher().await?;
    publisher
        .ask(save(LOCKED, "0"), properties("locked 0"))
        .await?;
    // It breaks each session that it is delivered to, until the broker gives it up.
    publisher
        .publish(save("poison", "x"), properties("poison"))
        .await?;
    publisher.take(topology::PARKED).await?;
    anyhow::ensure!(worker.metric(SAFE_MODE).await? > 0.0, "not in safe mode");
    let mut owner = open_transaction(&stack, LOCK).await?;

    let since = Instant::now();
    publisher
        .publish(save(LOCKED, "1"), properties("locked 1"))
        .await?;
    publish_others(&publisher, "other", 20).await?;
    others_are_answered(&mut publisher, "other", 20, since).await?;
    assert_eq!(decided(&stack, LOCKED).await?, 1);
    anyhow::ensure!(worker.metric(SAFE_MODE).await? < 1.0, "still in safe mode");
    owner.execute("rollback").await?;

    let reply = publisher.reply("locked 1").await?;
    assert_eq!(reply["record"]["revision"], 2);
    nothing_is_left(&stack, &publisher).await
}

/// Each session with the full prefetch costs every command a delivery. So the worker gives that up after a few
/// tries, or the locked commands would be parked with the command that breaks the sessions.
#[tokio::test]
async fn sessions_that_break_while_records_are_locked_park_only_the_command_that_breaks_them()
-> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let mut publisher = stack.publisher().await?;
    let failpoint = vec![("FAILPOINT", "break-session:poison".to_owned())];
    let worker = stack.worker_with(failpoint)?;
    worker.becomes("ready").await?;
    for number in 0..8 {
        let record = format!("locked {number}");
        let properties = properties(&format!("first {number}"));
        publisher.ask(save(&record, "0"), properties).await?;
    }
    let lock = "select from connector_details for update";
    let mut owner = open_transaction(&stack, lock).await?;

    for number in 0..8 {
        let record = format!("locked {number}");
        let properties = properties(&format!("second {number}"));
        publisher.publish(save(&record, "1"), properties).await?;
    }
    let poison = properties("poison");
    publisher.publish(save("poison", "x"), poison).await?;
    publish_others(&publisher, "other", 20).await?;
    let gave_up = "all commands wait in safe mode until the lock ends";
    eventually("safe mode to stay on", async || {
        let log = std::fs::read_to_string(&worker.log)?;
        Ok(log.contains(gave_up).then_some(()))
    })
    .await?;
    owner.execute("rollback").await?;

    others_are_answered(&mut publisher, "other", 20, Instant::now()).await?;
    for number in 0..8 {
        let reply = publisher.reply(&format!("second {number}")).await?;
        assert_eq!(reply["record"]["revision"], 2);
    }
    let parked = publisher.take(topology::PARKED).await?;
    let id = parked.properties.message_id().as_ref();
    assert_eq!(id.map(ShortString::as_str), Some("poison"));
    nothing_is_left(&stack, &publisher).await
}

/// Other transactions see neither an uncommitted record nor its lock.
#[tokio::test]
async fn an_uncommitted_insert_delays_only_commands_of_that_record() -> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    let mut publisher = stack.publisher().await?;
    let insert = format!(
        "insert into connector_details (
             catalog_guid, integration_pack_instance_id, process_id, env_id, connection_id,
             is_token_generated, oauth_connector_details, client_id, last_command_id
         ) values ('{}', 'test-101', 'locked', '2', '3', false, '{{}}', 'c', 'by hand')",
        tests::api::SPACE
    );
    let mut owner = open_transaction(&stack, &insert).await?;
    publish_others(&publisher, "early", 100).await?;
    publisher
        .publish(save(LOCKED, "1"), properties("locked 1"))
        .await?;
    publish_others(&publisher, "late", 100).await?;

    stack.start_worker().await?;
    let since = Instant::now();
    others_are_answered(&mut publisher, "early", 100, since).await?;
    others_are_answered(&mut publisher, "late", 100, since).await?;
    assert_eq!(decided(&stack, LOCKED).await?, 0);
    owner.execute("rollback").await?;

    let reply = publisher.reply("locked 1").await?;
    assert_eq!(reply["record"]["revision"], 1);
    nothing_is_left(&stack, &publisher).await
}

#[tokio::test]
async fn commands_wait_for_a_locked_table() -> anyhow::Result<()> {
    for lock in ["access exclusive", "share"] {
        let mut stack = Stack::bare().await?;
        stack.start_worker().await?;
        let mut publisher = stack.publisher().await?;
        let statement = format!("lock table connector_details in {lock} mode");
        let mut owner = open_transaction(&stack, &statement).await?;

        publish_others(&publisher, "other", 20).await?;
        sleep(Duration::from_secs(5)).await;
        assert_eq!(decided(&stack, "other 0").await?, 0, "{lock}");
        owner.execute("rollback").await?;

        others_are_answered(&mut publisher, "other", 20, Instant::now()).await?;
        let revisions: Vec<i64> = sqlx::query_scalar("select revision from connector_details")
            .fetch_all(&stack.database)
            .await?;
        assert_eq!(revisions, [1; 20], "{lock}");
        nothing_is_left(&stack, &publisher).await?;
    }
    Ok(())
}
