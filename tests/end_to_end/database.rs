//! The schema, and what each service may do to it.

use anyhow::Context as _;
use sqlx::{Connection as _, PgConnection};
use tests::{
    api::{SPACE, sample},
    stack::Stack,
};

/// Whether the statement is refused for want of a privilege.
async fn is_forbidden(url: &str, statement: &'static str) -> anyhow::Result<bool> {
    let mut connection = PgConnection::connect(url).await?;
    let code = match sqlx::query(statement).execute(&mut connection).await {
        Ok(_) => return Ok(false),
        Err(error) => error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .context("no code")?
            .into_owned(),
    };
    Ok(code == "42501")
}

#[tokio::test]
async fn the_gateway_can_only_select() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    stack.api(SPACE)?.save(&sample()).await?.record()?;
    let gateway = &stack.logins.gateway;

    assert!(!is_forbidden(gateway, "select * from connector_details").await?);
    assert!(!is_forbidden(gateway, "select * from connector_details_ledger").await?);
    for statement in [
        "update connector_details set revision = 9",
        "delete from connector_details",
        "insert into connector_details (revision) values (1)",
        "truncate connector_details",
        "delete from connector_details_ledger",
        "create table public.mine (n int)",
        "select * from connector_details_heartbeat",
    ] {
        assert!(is_forbidden(gateway, statement).await?, "{statement}");
    }
    Ok(())
}

#[tokio::test]
async fn the_worker_can_neither_alter_the_schema_nor_the_ledger() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    stack.api(SPACE)?.save(&sample()).await?.record()?;
    let worker = &stack.logins.worker;

    for statement in [
        "alter table connector_details add column extra text",
        "drop table connector_details",
        "create table public.mine (n int)",
        "truncate connector_details_ledger",
        "truncate connector_details",
        "update connector_details_ledger set revision = 9",
        "delete from connector_details_ledger",
    ] {
        assert!(is_forbidden(worker, statement).await?, "{statement}");
    }
    Ok(())
}

#[tokio::test]
async fn concurrent_migrations_are_safe() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    sqlx::query("drop schema public cascade")
        .execute(&stack.database)
        .await?;
    sqlx::query("create schema public")
        .execute(&stack.database)
        .await?;

    let runs =
        (0..4).map(async |_| anyhow::Ok(stack.program("worker", &["migrate"])?.output().await?));
    let outputs = futures_util::future::try_join_all(runs).await?;

    for output in outputs {
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let tables: i64 = sqlx::query_scalar(
        "select count(*) from information_schema.tables where table_name like 'connector_details%'",
    )
    .fetch_one(&stack.database)
    .await?;
    assert_eq!(
        tables, 5,
        "records, ledger, outbox, heartbeat, redelivered commands"
    );
    Ok(())
}

/// Puts a view in the place of a table that a function of the owner's reads, and code of the worker's
/// into the view. Whether that code ran as the owner, who alone may grant this.
async fn a_temporary_view_is_run_as_the_owner(worker: &str) -> anyhow::Result<bool> {
    let mut connection = PgConnection::connect(worker).await?;
    for statement in [
        "create function pg_temp.take() returns boolean language plpgsql as $$ begin
             grant truncate on public.connector_details_ledger to connector_details_worker;
             return true;
         end $$",
        "create temporary view connector_details_outbox as
             select now() as decided_at where pg_temp.take()",
    ] {
        sqlx::query(statement).execute(&mut connection).await?;
    }
    let prune = "select connector_details_prune(interval '1 day', 1)";
    sqlx::query(prune).execute(&mut connection).await?;
    Ok(!is_forbidden(worker, "truncate connector_details_ledger").await?)
}

#[tokio::test]
async fn the_worker_cannot_act_as_the_owner_by_a_temporary_view() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let worker = &stack.logins.worker;

    assert!(!a_temporary_view_is_run_as_the_owner(worker).await?);

    // The same attack works where temporary tables come first.
    let weak = "alter function connector_details_prune set search_path = public";
    sqlx::query(weak).execute(&stack.database).await?;
    assert!(a_temporary_view_is_run_as_the_owner(worker).await?);
    Ok(())
}

#[tokio::test]
async fn security_definer_functions_search_temporary_tables_last() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;

    let functions: Vec<(String, Option<Vec<String>>)> = sqlx::query_as(
        "select proname::text, proconfig from pg_proc
         where prosecdef and pronamespace = 'public'::regnamespace",
    )
    .fetch_all(&stack.database)
    .await?;

    assert!(!functions.is_empty());
    for (name, settings) in functions {
        let path = settings.iter().flatten();
        let mut path = path.filter_map(|setting| setting.strip_prefix("search_path="));
        assert!(
            path.any(|path| path.ends_with(", pg_temp")),
            "{name}: {settings:?}"
        );
    }
    Ok(())
}
