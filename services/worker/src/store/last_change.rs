//! The query for a record's last change. A replay uses it before it publishes a parked command again.

use proto::{CommandId, RecordKey};
use sqlx::PgConnection;
use time::OffsetDateTime;

/// The last change of a record, and whether one command for the record was already processed.
#[derive(Debug, Default)]
pub struct LastChange {
    /// Whether the ledger has an entry for the command. If so, processing the command again changes nothing.
    pub is_decided: bool,
    /// The time of the last save or deletion. `None` if the record does not exist and the ledger has no entry
    /// of its deletion. Old ledger entries are pruned.
    pub at: Option<OffsetDateTime>,
    /// The id of the command that made this change.
    pub by: Option<String>,
}

pub(super) async fn last_change(
    connection: &mut PgConnection,
    key: &RecordKey,
    command_id: &CommandId,
) -> sqlx::Result<LastChange> {
    sqlx::query_as!(
        LastChange,
        r#"
        with last as (
            select updated_at as at, last_command_id as by
            from connector_details
            where (
                catalog_guid, integration_pack_instance_id, process_id, env_id, connection_id
            ) = ($1, $2, $3, $4, $5)
            union all
            (
                select decided_at, command_id
                from connector_details_ledger
                where (
                    catalog_guid, integration_pack_instance_id, process_id, env_id, connection_id
                ) = ($1, $2, $3, $4, $5)
                    and kind = 'deleted' and record_id is not null
                order by decided_at desc
                limit 1
            )
            order by at desc
            limit 1
        )
        select
            exists (
                select from connector_details_ledger where (catalog_guid, command_id) = ($1, $6)
            ) as "is_decided!",
            (select at from last) as at,
            (select by from last) as by
        "#,
        key.catalog_guid.as_str(),
        key.integration_pack_instance_id.as_str(),
        key.process_id.as_str(),
        key.env_id.as_str(),
        key.connection_id.as_str(),
        command_id.as_str(),
    )
    .fetch_one(connection)
    .await
}
