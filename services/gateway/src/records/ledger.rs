//! What was decided under a command's id.

use proto::{
    CatalogGuid, CommandId,
    ledger::{LedgerEntry, LedgerRow},
};
use sqlx::PgConnection;

use super::statement::Statement;

/// The decision of a command.
pub(super) struct DecisionOf<'a>(pub &'a CatalogGuid, pub &'a CommandId);

impl Statement for DecisionOf<'_> {
    type Answer = Option<LedgerEntry>;

    const NAME: &'static str = "select connector_details_ledger";

    async fn run(&self, connection: &mut PgConnection) -> sqlx::Result<Option<LedgerEntry>> {
        let Self(space, id) = self;
        let row = sqlx::query_as!(
            LedgerRow,
            r#"select
                 kind::text as "kind!", command_id, fingerprint, record_id, revision, catalog_guid,
                 integration_pack_instance_id, process_id, env_id, connection_id,
                 is_token_generated, oauth_connector_details, client_id, decided_at, updated_by,
                 previous_updated_at, previous_updated_by
             from connector_details_ledger
             where catalog_guid = $1 and command_id = $2"#,
            space.as_str(),
            id.as_str(),
        )
        .fetch_optional(connection)
        .await?;
        let entry = row.map(LedgerEntry::try_from).transpose();
        entry.map_err(|error| sqlx::Error::Decode(error.into()))
    }
}
