//! Reads one record by its five ids.

use proto::{Record, RecordKey};
use sqlx::{
    PgConnection,
    types::{Uuid, time::OffsetDateTime},
};

use super::statement::Statement;

/// The record under a key.
pub(super) struct Find<'a>(pub &'a RecordKey);

impl Statement for Find<'_> {
    type Answer = Option<Record>;

    const NAME: &'static str = "select connector_details";

    async fn run(&self, connection: &mut PgConnection) -> sqlx::Result<Option<Record>> {
        let Self(key) = self;
        let row = sqlx::query_as!(
            Row,
            "select id, integration_pack_instance_id, is_token_generated,
                 oauth_connector_details, process_id, env_id, connection_id,
                 catalog_guid, client_id, revision, updated_at, updated_by
             from connector_details
             where catalog_guid = $1 and integration_pack_instance_id = $2
                 and process_id = $3 and env_id = $4 and connection_id = $5",
            key.catalog_guid.as_str(),
            key.integration_pack_instance_id.as_str(),
            key.process_id.as_str(),
            key.env_id.as_str(),
            key.connection_id.as_str(),
        )
        .fetch_optional(connection)
        .await?;
        Ok(row.map(Record::from))
    }
}

/// A row of `connector_details`.
#[derive(sqlx::FromRow)]
pub(super) struct Row {
    id: Uuid,
    integration_pack_instance_id: String,
    is_token_generated: bool,
    oauth_connector_details: String,
    process_id: String,
    env_id: String,
    connection_id: String,
    catalog_guid: String,
    client_id: String,
    revision: i64,
    updated_at: OffsetDateTime,
    updated_by: Option<String>,
}

impl From<Row> for Record {
    fn from(row: Row) -> Self {
        Self {
            id: row.id.to_string(),
            integration_pack_instance_id: row.integration_pack_instance_id,
            is_token_generated: row.is_token_generated,
            oauth_connector_details: row.oauth_connector_details,
            process_id: row.process_id,
            env_id: row.env_id,
            connection_id: row.connection_id,
            catalog_guid: row.catalog_guid,
            client_id: row.client_id,
            revision: row.revision,
            updated_at: row.updated_at,
            updated_by: row.updated_by,
        }
    }
}
