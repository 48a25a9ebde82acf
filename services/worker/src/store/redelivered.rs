//! The order of redelivered commands that went back to the broker.
//!
//! The broker delivers a message that goes back behind the others that went back before. The table
//! `connector_details_redelivered` has the commands that went back although others for the same record may
//! follow them. A later command for the record must not be applied before them.

use proto::{CommandId, RecordKey};
use sqlx::PgConnection;

use crate::change::Change;

/// The most commands that [`undecided`] returns. The table has a few: those of sessions that ended while a record
/// was locked.
const MAX_COMMANDS: i64 = 2000;

/// A redelivered command, compared with the other commands of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redelivery {
    /// How often [`remember`] was called for the commands that have no outcome.
    pub returns: i64,
    /// Whether an earlier command for the same record has no outcome and is still in the queue.
    pub must_wait: bool,
}

/// A command of the table that has no outcome.
#[derive(Debug)]
pub struct UndecidedCommand {
    /// Its record.
    pub key: RecordKey,
    /// Its id.
    pub command_id: CommandId,
}

/// Writes the row of a command that may have to go back. Its position in the order is that of the first call.
///
/// Between two deliveries of a command to workers in safe mode, all others that went back are delivered. So a
/// command that was not delivered between them is not in the queue any more.
pub(super) async fn remember(
    connection: &mut PgConnection,
    change: &Change,
) -> sqlx::Result<Redelivery> {
    let key = change.command.key();
    sqlx::query_as!(
        Redelivery,
        r#"
        with before as (
            select last_delivery from connector_details_redelivered
            where (catalog_guid, command_id) = ($1, $6)
        ),
        this as (
            insert into connector_details_redelivered as r (
                catalog_guid, integration_pack_instance_id, process_id, env_id, connection_id,
                command_id
            )
            values ($1, $2, $3, $4, $5, $6)
            on conflict (catalog_guid, command_id) do update set
                last_delivery = nextval('connector_details_redeliveries'),
                deliveries = r.deliveries + 1,
                at = now()
            returning first_delivery, deliveries
        ),
        others as materialized (
            select * from connector_details_redelivered r
            where (catalog_guid, command_id) <> ($1, $6)
                -- Not `exists`: the planner would make a join of it, and read the whole ledger.
                and (
                    select revision from connector_details_ledger l
                    where (l.catalog_guid, l.command_id) = (r.catalog_guid, r.command_id)
                ) is null
        )
        select
            (deliveries + coalesce((select sum(deliveries) from others), 0))::bigint as "returns!",
            exists (
                select from others
                where (
                    catalog_guid, integration_pack_instance_id, process_id, env_id, connection_id
                ) = ($1, $2, $3, $4, $5)
                    and others.first_delivery < this.first_delivery
                    and others.last_delivery > coalesce((select last_delivery from before), 0)
            ) as "must_wait!"
        from this
        "#,
        key.catalog_guid.as_str(),
        key.integration_pack_instance_id.as_str(),
        key.process_id.as_str(),
        key.env_id.as_str(),
        key.connection_id.as_str(),
        change.command_id.as_str(),
    )
    .fetch_one(connection)
    .await
}

/// Deletes the rows of these commands.
pub(super) async fn forget(
    connection: &mut PgConnection,
    commands: &[UndecidedCommand],
) -> sqlx::Result<()> {
    let spaces = commands.iter().map(|it| it.key.catalog_guid.as_str());
    let ids = commands.iter().map(|it| it.command_id.as_str());
    let (spaces, ids): (Vec<&str>, Vec<&str>) = (spaces.collect(), ids.collect());
    sqlx::query!(
        "
        delete from connector_details_redelivered
        where (catalog_guid, command_id) in (select * from unnest($1::text[], $2::text[]))
        ",
        &spaces as _,
        &ids as _,
    )
    .execute(connection)
    .await
    .map(drop)
}

/// The commands of the table that have no outcome, in their order. Deletes the others, and those that are
/// older than a day.
pub(super) async fn undecided(
    connection: &mut PgConnection,
) -> sqlx::Result<Vec<UndecidedCommand>> {
    sqlx::query!(
        "
        delete from connector_details_redelivered r
        where at < now() - interval '1 day' or (
            select revision from connector_details_ledger l
            where (l.catalog_guid, l.command_id) = (r.catalog_guid, r.command_id)
        ) is not null
        "
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "
        select
            catalog_guid, integration_pack_instance_id, process_id, env_id, connection_id, command_id
        from connector_details_redelivered
        order by first_delivery
        limit $1
        ",
        MAX_COMMANDS
    )
    .try_map(|row| {
        let key = RecordKey::new(
            row.catalog_guid,
            row.integration_pack_instance_id,
            row.process_id,
            row.env_id,
            row.connection_id,
        );
        let command_id = CommandId::new(row.command_id);
        match (key, command_id) {
            (Ok(key), Ok(command_id)) => Ok(UndecidedCommand { key, command_id }),
            _ => Err(sqlx::Error::Decode("a redelivered command has no valid ids".into())),
        }
    })
    .fetch_all(connection)
    .await
}
