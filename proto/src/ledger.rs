//! What the ledger says about a command that was decided: the same to the worker, which writes it, and
//! to the gateway, which looks it up where no answer came.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::{Current, Fingerprint, Outcome, Record, error::CommandError};

/// What the ledger says about a command.
#[derive(Debug, Clone)]
pub struct LedgerEntry {
    /// The Space of the command.
    pub space: String,
    /// Its id, unique in its Space.
    pub command_id: String,
    /// Of the command that was decided under this id.
    pub fingerprint: Fingerprint,
    /// What became of it.
    pub end: LedgerOutcome,
}

/// What became of a command.
#[derive(Debug, Clone)]
pub enum LedgerOutcome {
    /// The record as the command left it.
    Saved(Record),
    /// The record as it was, if there was one.
    Deleted(Option<Record>),
    /// The record as it is, which is not as the command expected.
    Conflict(Current),
}

impl From<LedgerOutcome> for Outcome {
    fn from(end: LedgerOutcome) -> Self {
        match end {
            LedgerOutcome::Saved(record) => Self::Saved { record },
            LedgerOutcome::Deleted(record) => Self::Deleted { record },
            LedgerOutcome::Conflict(current) => Self::refused(CommandError::stale(current)),
        }
    }
}

/// A row of the ledger, as it is read.
#[derive(Debug)]
#[expect(missing_docs, reason = "the columns, which the migrations explain")]
pub struct LedgerRow {
    pub kind: String,
    pub command_id: String,
    pub fingerprint: Vec<u8>,
    pub record_id: Option<Uuid>,
    pub revision: i64,
    pub catalog_guid: String,
    pub integration_pack_instance_id: String,
    pub process_id: String,
    pub env_id: String,
    pub connection_id: String,
    pub is_token_generated: Option<bool>,
    pub oauth_connector_details: Option<String>,
    pub client_id: Option<String>,
    pub decided_at: OffsetDateTime,
    pub updated_by: Option<String>,
    pub previous_updated_at: Option<OffsetDateTime>,
    pub previous_updated_by: Option<String>,
}

impl From<LedgerRow> for LedgerEntry {
    fn from(row: LedgerRow) -> Self {
        let space = row.catalog_guid.clone();
        let command_id = row.command_id.clone();
        // A fingerprint of another length equals none, which makes it a conflict.
        let fingerprint = row.fingerprint.as_slice().try_into().unwrap_or_default();
        Self {
            space,
            command_id,
            fingerprint: Fingerprint(fingerprint),
            end: row.end(),
        }
    }
}

impl LedgerRow {
    fn end(self) -> LedgerOutcome {
        match self.kind.as_str() {
            "conflict" => LedgerOutcome::Conflict(Current {
                revision: self.revision,
                updated_at: self.previous_updated_at,
                updated_by: self.previous_updated_by,
            }),
            // A deletion is a revision, too.
            "deleted" => LedgerOutcome::Deleted(self.record_id.map(|id| {
                let (at, by) = (self.previous_updated_at, self.previous_updated_by.clone());
                let revision = self.revision - 1;
                self.record(id, revision, at, by)
            })),
            _ => {
                let (id, by) = (self.record_id.unwrap_or_default(), self.updated_by.clone());
                let (revision, at) = (self.revision, self.decided_at);
                LedgerOutcome::Saved(self.record(id, revision, Some(at), by))
            }
        }
    }

    fn record(
        self,
        id: Uuid,
        revision: i64,
        updated_at: Option<OffsetDateTime>,
        updated_by: Option<String>,
    ) -> Record {
        Record {
            id: id.to_string(),
            integration_pack_instance_id: self.integration_pack_instance_id,
            is_token_generated: self.is_token_generated.unwrap_or_default(),
            oauth_connector_details: self.oauth_connector_details.unwrap_or_default(),
            process_id: self.process_id,
            env_id: self.env_id,
            connection_id: self.connection_id,
            catalog_guid: self.catalog_guid,
            client_id: self.client_id.unwrap_or_default(),
            revision,
            updated_at: updated_at.unwrap_or(self.decided_at),
            updated_by,
        }
    }
}
