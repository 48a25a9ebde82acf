//! What was decided before.

use std::collections::HashMap;

use proto::ledger::{LedgerEntry, LedgerRow};
use sqlx::PgConnection;

use super::input::Input;
use crate::change::Change;

pub(super) async fn decisions(
    connection: &mut PgConnection,
    changes: &[Input<'_>],
) -> sqlx::Result<Vec<LedgerEntry>> {
    let rows = sqlx::query_as!(
        LedgerRow,
        r#"
        select
            c.kind::text as "kind!", c.command_id, c.fingerprint, c.record_id, c.revision,
            c.catalog_guid, c.integration_pack_instance_id, c.process_id, c.env_id,
            c.connection_id, c.is_token_generated, c.oauth_connector_details, c.client_id,
            c.decided_at, c.updated_by, c.previous_updated_at, c.previous_updated_by
        from unnest($1::connector_details_input[]) i
        cross join lateral (
            select * from connector_details_changes c
            where (c.catalog_guid, c.command_id) = (i.catalog_guid, i.command_id)
            -- Keeps the planner from making a join of it: see `save`.
            offset 0
        ) c
        "#,
        changes as _,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(LedgerEntry::from).collect())
}

/// What a command is known by: its Space and its id.
type Name = (String, String);

pub(super) fn name(change: &Change) -> Name {
    let space = change.command.key().catalog_guid.as_str();
    (space.to_owned(), change.command_id.as_str().to_owned())
}

pub(super) fn by_name(decisions: Vec<LedgerEntry>) -> HashMap<Name, LedgerEntry> {
    let named = |decision: LedgerEntry| {
        let name = (decision.space.clone(), decision.command_id.clone());
        (name, decision)
    };
    decisions.into_iter().map(named).collect()
}
