//! Reads the outcomes of commands from the ledger.

use std::collections::HashMap;

use proto::ledger::{LedgerEntry, LedgerRow, MalformedRow};
use sqlx::PgConnection;

use super::input::Input;
use crate::change::Change;

/// The ledger entries of these commands, in any order. A command without an entry is left out.
pub(super) async fn entries_of(
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
            select * from connector_details_ledger c
            where (c.catalog_guid, c.command_id) = (i.catalog_guid, i.command_id)
            -- Keeps the planner from making a join of it: see `save`.
            offset 0
        ) c
        "#,
        changes as _,
    )
    .fetch_all(connection)
    .await?;
    entries(rows)
}

/// Converts rows of the ledger.
///
/// # Errors
/// [`sqlx::Error::Decode`]: a row is malformed.
pub(super) fn entries(rows: Vec<LedgerRow>) -> sqlx::Result<Vec<LedgerEntry>> {
    let malformed = |error: MalformedRow| sqlx::Error::Decode(error.into());
    let entries = rows.into_iter().map(LedgerEntry::try_from);
    entries.map(|entry| entry.map_err(malformed)).collect()
}

/// The key of a command: its Space and its id.
type Name = (String, String);

pub(super) fn name(change: &Change) -> Name {
    let space = change.command.key().catalog_guid.as_str();
    (space.to_owned(), change.command_id.as_str().to_owned())
}

pub(super) fn by_name(entries: Vec<LedgerEntry>) -> HashMap<Name, LedgerEntry> {
    let named = |entry: LedgerEntry| {
        let name = (entry.space.clone(), entry.command_id.clone());
        (name, entry)
    };
    entries.into_iter().map(named).collect()
}
