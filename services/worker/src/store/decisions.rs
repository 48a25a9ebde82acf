//! What was decided before.

use proto::ledger::{Decision, Entry};
use sqlx::PgConnection;

use super::columns::Columns;

pub(super) async fn decisions(
    connection: &mut PgConnection,
    changes: &Columns<'_>,
) -> sqlx::Result<Vec<Decision>> {
    let rows = sqlx::query_as!(
        Entry,
        r#"
        select
            c.kind::text as "kind!", c.command_id, c.fingerprint, c.record_id, c.revision,
            c.catalog_guid, c.integration_pack_instance_id, c.process_id, c.env_id,
            c.connection_id, c.is_token_generated, c.oauth_connector_details, c.client_id,
            c.decided_at, c.updated_by, c.previous_updated_at, c.previous_updated_by
        from unnest($1::text[], $2::text[]) as i (catalog_guid, command_id)
        cross join lateral (
            select * from connector_details_changes c
            where (c.catalog_guid, c.command_id) = (i.catalog_guid, i.command_id)
            -- Keeps the planner from making a join of it: see `save`.
            offset 0
        ) c
        "#,
        &changes.catalog_guid as _,
        &changes.command_id as _,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Decision::from).collect())
}
