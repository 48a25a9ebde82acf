//! `DeleteConnectorDetails.v1`: ends a record. Its history stays, and saving again under the five ids
//! begins another.

use serde::Serialize;

use super::{
    ExpectedRevision, Fingerprint, key_fields,
    raw::{RawDelete, all_faults, in_published_order},
};
use crate::{
    error::CommandError,
    record::{RecordKey, ok},
};

/// A deletion that is valid. Written out, it is the five ids as JSON, and the expected revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteConnectorDetails {
    /// What identifies the record.
    #[serde(flatten, with = "key_fields")]
    pub key: RecordKey,
    /// The revision that the record has to have, where that matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_revision: Option<ExpectedRevision>,
}

impl DeleteConnectorDetails {
    /// Checks the expected revision of a deletion, and takes the checked key.
    ///
    /// # Errors
    /// All faults of all fields, in the order of the published input.
    pub fn new(
        key: Result<RecordKey, Vec<CommandError>>,
        expected_revision: Option<i64>,
    ) -> Result<Self, Vec<CommandError>> {
        let mut faults = Vec::new();
        let key = key.map_err(|found| faults.extend(found)).ok();
        let expected = expected_revision.map(ExpectedRevision::new).transpose();
        match (key, ok(expected, &mut faults)) {
            (Some(key), Some(expected_revision)) => Ok(Self {
                key,
                expected_revision,
            }),
            _ => Err(in_published_order(faults)),
        }
    }

    /// Decodes a message body: the five ids as JSON, and the expected revision.
    ///
    /// # Errors
    /// As for a save: its size or its shape, else all faults of all fields.
    pub fn decode(body: &[u8]) -> Result<Self, Vec<CommandError>> {
        let mut faults = Vec::new();
        let (key, expected_revision) = RawDelete::read(body)?.into_input(&mut faults);
        all_faults(faults, Self::new(key, expected_revision))
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
