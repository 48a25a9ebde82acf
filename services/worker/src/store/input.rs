//! A change as a parameter of an SQL statement.

use proto::{Command, ExpectedRevision};
use sqlx::{
    Postgres, Type,
    postgres::{PgHasArrayType, PgTypeInfo},
};

use crate::change::Change;

/// The name of the composite type in the database that [`Input`] is encoded as.
const NAME: &str = "connector_details_input";

/// One change. The fields that a deletion does not have are empty. The order of the fields must be the order
/// of the attributes of the database type, because the encoding depends on it.
#[derive(sqlx::Encode)]
pub(super) struct Input<'a> {
    kind: &'static str,
    expected_revision: Option<i64>,
    command_id: &'a str,
    fingerprint: &'a [u8],
    catalog_guid: &'a str,
    integration_pack_instance_id: &'a str,
    process_id: &'a str,
    env_id: &'a str,
    connection_id: &'a str,
    is_token_generated: bool,
    oauth_connector_details: &'a str,
    client_id: &'a str,
    updated_by: Option<&'a str>,
    source: Option<&'a str>,
    traceparent: Option<&'a str>,
}

impl Type<Postgres> for Input<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name(NAME)
    }
}

impl PgHasArrayType for Input<'_> {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::array_of(NAME)
    }
}

impl<'a> From<&'a Change> for Input<'a> {
    fn from(change: &'a Change) -> Self {
        let key = change.command.key();
        let (kind, is_token_generated, details, client_id) = match &change.command {
            Command::Save(save) => (
                "saved",
                save.is_token_generated,
                save.oauth_connector_details.as_str(),
                save.client_id.as_str(),
            ),
            Command::Delete(_) => ("deleted", false, "", ""),
        };
        let expected = change.command.expected_revision();
        Self {
            kind,
            expected_revision: expected.map(ExpectedRevision::get),
            command_id: change.command_id.as_str(),
            fingerprint: &change.fingerprint.0,
            catalog_guid: key.catalog_guid.as_str(),
            integration_pack_instance_id: key.integration_pack_instance_id.as_str(),
            process_id: key.process_id.as_str(),
            env_id: key.env_id.as_str(),
            connection_id: key.connection_id.as_str(),
            is_token_generated,
            oauth_connector_details: details,
            client_id,
            updated_by: change.updated_by.as_deref(),
            source: change.source.as_deref(),
            traceparent: change.traceparent.as_deref(),
        }
    }
}

pub(super) fn inputs<'a>(changes: impl Iterator<Item = &'a Change>) -> Vec<Input<'a>> {
    changes.map(Input::from).collect()
}
