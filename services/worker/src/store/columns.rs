//! Changes, turned on their side.

use proto::{Command, ExpectedRevision};

use super::Change;

/// The changes as `unnest` takes them: an array for each column. What a deletion has not is empty.
#[derive(Default)]
pub(super) struct Columns<'a> {
    pub kind: Vec<&'static str>,
    pub expected_revision: Vec<Option<i64>>,
    pub command_id: Vec<&'a str>,
    pub fingerprint: Vec<&'a [u8]>,
    pub catalog_guid: Vec<&'a str>,
    pub integration_pack_instance_id: Vec<&'a str>,
    pub process_id: Vec<&'a str>,
    pub env_id: Vec<&'a str>,
    pub connection_id: Vec<&'a str>,
    pub is_token_generated: Vec<bool>,
    pub oauth_connector_details: Vec<&'a str>,
    pub client_id: Vec<&'a str>,
    pub updated_by: Vec<Option<&'a str>>,
    pub source: Vec<Option<&'a str>>,
    pub traceparent: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    pub fn of(changes: impl Iterator<Item = &'a Change>) -> Self {
        let mut columns = Self::default();
        for change in changes {
            columns.add(change);
        }
        columns
    }

    fn add(&mut self, change: &'a Change) {
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
        self.kind.push(kind);
        self.expected_revision
            .push(expected.map(ExpectedRevision::get));
        self.command_id.push(change.command_id.as_str());
        self.fingerprint.push(&change.fingerprint.0);
        self.catalog_guid.push(key.catalog_guid.as_str());
        self.integration_pack_instance_id
            .push(key.integration_pack_instance_id.as_str());
        self.process_id.push(key.process_id.as_str());
        self.env_id.push(key.env_id.as_str());
        self.connection_id.push(key.connection_id.as_str());
        self.is_token_generated.push(is_token_generated);
        self.oauth_connector_details.push(details);
        self.client_id.push(client_id);
        self.updated_by.push(change.updated_by.as_deref());
        self.source.push(change.source.as_deref());
        self.traceparent.push(change.traceparent.as_deref());
    }
}
