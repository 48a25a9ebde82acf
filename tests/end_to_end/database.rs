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
    assert!(!is_forbidden(gateway, "select * from connector_details_changes").await?);
    for statement in [
        "update connector_details set revision = 9",
        "delete from connector_details",
        "insert into connector_details (revision) values (1)",
        "truncate connector_details",
        "delete from connector_details_changes",
        "create table public.mine (n int)",
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
        "truncate connector_details_changes",
        "truncate connector_details",
        "update connector_details_changes set revision = 9",
        "delete from connector_details_changes",
    ] {
        assert!(is_forbidden(worker, statement).await?, "{statement}");
    }
    Ok(())
}

#[tokio::test]
async fn migrations_may_start_several_at_once() -> anyhow::Result<()> {
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
    assert_eq!(tables, 3, "records, ledger, outbox");
    Ok(())
}
