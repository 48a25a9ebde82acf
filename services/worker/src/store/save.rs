//! The statement for saves without an expected revision.

use proto::{Record, SaveConnectorDetails};
use sqlx::{PgConnection, types::Uuid};
use time::OffsetDateTime;

use super::input::Input;

/// The values that the database has assigned to a stored save.
pub(super) struct Saved {
    /// The position of the save in the parameter array, counted from 1.
    pub place: i64,
    pub record_id: Uuid,
    pub revision: i64,
    pub updated_at: OffsetDateTime,
}

impl Saved {
    /// The record after the save.
    pub fn record(&self, save: &SaveConnectorDetails, updated_by: Option<String>) -> Record {
        let key = &save.key;
        Record {
            id: self.record_id.to_string(),
            integration_pack_instance_id: key.integration_pack_instance_id.as_str().to_owned(),
            is_token_generated: save.is_token_generated,
            oauth_connector_details: save.oauth_connector_details.as_str().to_owned(),
            process_id: key.process_id.as_str().to_owned(),
            env_id: key.env_id.as_str().to_owned(),
            connection_id: key.connection_id.as_str().to_owned(),
            catalog_guid: key.catalog_guid.as_str().to_owned(),
            client_id: save.client_id.as_str().to_owned(),
            revision: self.revision,
            updated_at: self.updated_at,
            updated_by,
        }
    }
}

pub(super) async fn save(
    connection: &mut PgConnection,
    saves: &[Input<'_>],
) -> sqlx::Result<Vec<Saved>> {
    // A redelivered command is found in the ledger and changes nothing. The lookup is a subquery for each
    // command: `not exists` becomes a join, and a plan that was made while the table was small would read
    // all of it for every batch. The statement returns only values that the caller does not have. It does not
    // sort: the caller passes the commands in the order of their keys.
    sqlx::query_as!(
        Saved,
        r#"
        with fresh as materialized (
            select i.*
            from unnest($1::connector_details_input[]) with ordinality i
            where (
                select c.revision from connector_details_ledger c
                where (c.catalog_guid, c.command_id) = (i.catalog_guid, i.command_id)
            ) is null
        ),
        saved as (
            insert into connector_details as t (
                catalog_guid, integration_pack_instance_id, process_id, env_id, connection_id,
                is_token_generated, oauth_connector_details, client_id, last_command_id, updated_by
            )
            select
                catalog_guid, integration_pack_instance_id, process_id, env_id, connection_id,
                is_token_generated, oauth_connector_details, client_id, command_id, updated_by
            from fresh
            on conflict on constraint connector_details_key do update set
                is_token_generated = excluded.is_token_generated,
                oauth_connector_details = excluded.oauth_connector_details,
                client_id = excluded.client_id,
                revision = t.revision + 1,
                last_command_id = excluded.last_command_id,
                updated_at = excluded.updated_at,
                updated_by = excluded.updated_by
            returning t.catalog_guid, t.last_command_id, t.id, t.revision, t.updated_at
        ),
        decided as (
            select f.*, s.id, s.revision, s.updated_at
            from saved s
            join fresh f
                on (f.catalog_guid, f.command_id) = (s.catalog_guid, s.last_command_id)
        ),
        logged as (
            insert into connector_details_ledger (
                catalog_guid, command_id, fingerprint, record_id, revision,
                integration_pack_instance_id, process_id, env_id, connection_id,
                is_token_generated, oauth_connector_details, client_id,
                decided_at, updated_by, source, traceparent
            )
            select
                catalog_guid, command_id, fingerprint, id, revision,
                integration_pack_instance_id, process_id, env_id, connection_id,
                is_token_generated, oauth_connector_details, client_id,
                updated_at, updated_by, source, traceparent
            from decided
        ),
        outbox as (
            insert into connector_details_outbox (catalog_guids, command_ids)
            select
                array(select catalog_guid from decided), array(select command_id from decided)
            where exists (select from decided)
        )
        select
            d.ordinality as "place!", d.id as "record_id!", d.revision as "revision!",
            d.updated_at as "updated_at!"
        from decided d
        "#,
        saves as _,
    )
    .fetch_all(connection)
    .await
}
