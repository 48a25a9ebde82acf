//! `DeleteConnectorDetails.v1`: deletes a record. Its history is kept. A later save with the same five ids
//! creates a new record.

use serde::Serialize;

use super::{
    ExpectedRevision, Fingerprint, key_fields,
    raw::{RawDelete, all_errors, in_published_order},
};
use crate::{
    error::CommandError,
    record::{RecordKey, ok},
};

/// A valid deletion. As JSON it has the five ids and, if set, the expected revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteConnectorDetails {
    /// The key of the record.
    #[serde(flatten, with = "key_fields")]
    pub key: RecordKey,
    /// The revision that the record must have, if the command expects one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_revision: Option<ExpectedRevision>,
}

impl DeleteConnectorDetails {
    /// Validates a deletion whose key is validated already.
    ///
    /// # Errors
    /// All errors of all fields, in the order of the fields in the contract.
    pub fn new(
        key: Result<RecordKey, Vec<CommandError>>,
        expected_revision: Option<i64>,
    ) -> Result<Self, Vec<CommandError>> {
        let mut errors = Vec::new();
        let key = key.map_err(|found| errors.extend(found)).ok();
        let expected = expected_revision.map(ExpectedRevision::new).transpose();
        match (key, ok(expected, &mut errors)) {
            (Some(key), Some(expected_revision)) => Ok(Self {
                key,
                expected_revision,
            }),
            _ => Err(in_published_order(errors)),
        }
    }

    /// Decodes and validates a message body.
    ///
    /// # Errors
    /// As for a save: one error about the size or the form of the body, or all errors of all fields.
    pub fn decode(body: &[u8]) -> Result<Self, Vec<CommandError>> {
        let mut errors = Vec::new();
        let (key, expected_revision) = RawDelete::read(body)?.into_input(&mut errors);
        all_errors(errors, Self::new(key, expected_revision))
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        let expected = self
            .expected_revision
            .map(|revision| revision.get().to_string());
        let fields = [
            "delete",
            self.key.catalog_guid.as_str(),
            self.key.integration_pack_instance_id.as_str(),
            self.key.process_id.as_str(),
            self.key.env_id.as_str(),
            self.key.connection_id.as_str(),
        ];
        Fingerprint::of(fields.into_iter().chain(expected.as_deref()))
    }
}
