//! A row of the ledger: the outcome of a command. The worker writes it; the gateway reads it where no reply
//! came.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::{Current, Fingerprint, Outcome, Record, error::CommandError};

/// The outcome of a command, as the ledger has it.
#[derive(Debug, Clone)]
pub struct LedgerEntry {
    /// The Space of the command.
    pub space: String,
    /// Its id, unique in its Space.
    pub command_id: String,
    /// Of the command that was sent with this id.
    pub fingerprint: Fingerprint,
    /// Its outcome.
    pub outcome: LedgerOutcome,
}

/// What a command did.
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
    fn from(outcome: LedgerOutcome) -> Self {
        match outcome {
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

/// A row that no worker writes: the column does not have what a row of its kind must have.
#[derive(Debug, thiserror::Error)]
#[error("a row of the ledger is malformed: {0}")]
pub struct MalformedRow(&'static str);

impl TryFrom<LedgerRow> for LedgerEntry {
    type Error = MalformedRow;

    fn try_from(row: LedgerRow) -> Result<Self, MalformedRow> {
        let fingerprint = row.fingerprint.as_slice().try_into();
        Ok(Self {
            space: row.catalog_guid.clone(),
            command_id: row.command_id.clone(),
            fingerprint: Fingerprint(fingerprint.map_err(|_| MalformedRow("fingerprint"))?),
            outcome: row.outcome()?,
        })
    }
}

impl LedgerRow {
    fn outcome(self) -> Result<LedgerOutcome, MalformedRow> {
        match self.kind.as_str() {
            "conflict" => Ok(LedgerOutcome::Conflict(Current {
                revision: self.revision,
                updated_at: self.previous_updated_at,
                updated_by: self.previous_updated_by,
            })),
            "deleted" if self.record_id.is_none() => Ok(LedgerOutcome::Deleted(None)),
            "deleted" => {
                let at = self.previous_updated_at;
                let at = at.ok_or(MalformedRow("previous_updated_at"))?;
                // The deletion is a revision of its own.
                let (revision, by) = (self.revision - 1, self.previous_updated_by.clone());
                let record = self.record(revision, at, by)?;
                Ok(LedgerOutcome::Deleted(Some(record)))
            }
            "saved" => {
                let (revision, at) = (self.revision, self.decided_at);
                let by = self.updated_by.clone();
                self.record(revision, at, by).map(LedgerOutcome::Saved)
            }
            _ => Err(MalformedRow("kind")),
        }
    }

    fn record(
        self,
        revision: i64,
        updated_at: OffsetDateTime,
        updated_by: Option<String>,
    ) -> Result<Record, MalformedRow> {
        let details = self.oauth_connector_details;
        Ok(Record {
            id: self.record_id.ok_or(MalformedRow("record_id"))?.to_string(),
            integration_pack_instance_id: self.integration_pack_instance_id,
            is_token_generated: self
                .is_token_generated
                .ok_or(MalformedRow("is_token_generated"))?,
            oauth_connector_details: details.ok_or(MalformedRow("oauth_connector_details"))?,
            process_id: self.process_id,
            env_id: self.env_id,
            connection_id: self.connection_id,
            catalog_guid: self.catalog_guid,
            client_id: self.client_id.ok_or(MalformedRow("client_id"))?,
            revision,
            updated_at,
            updated_by,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kind: &str) -> LedgerRow {
        LedgerRow {
            kind: kind.to_owned(),
            command_id: "c".to_owned(),
            fingerprint: vec![7; 32],
            record_id: Some(Uuid::nil()),
            revision: 4,
            catalog_guid: "s".to_owned(),
            integration_pack_instance_id: "i".to_owned(),
            process_id: "p".to_owned(),
            env_id: "e".to_owned(),
            connection_id: "n".to_owned(),
            is_token_generated: Some(true),
            oauth_connector_details: Some("{}".to_owned()),
            client_id: Some("id".to_owned()),
            decided_at: OffsetDateTime::UNIX_EPOCH,
            updated_by: None,
            previous_updated_at: Some(OffsetDateTime::UNIX_EPOCH),
            previous_updated_by: None,
        }
    }

    fn column(row: LedgerRow) -> Option<&'static str> {
        LedgerEntry::try_from(row)
            .err()
            .map(|MalformedRow(column)| column)
    }

    #[test]
    fn a_deletion_has_the_record_as_it_was_before() {
        let outcome = LedgerEntry::try_from(row("deleted")).map(|entry| entry.outcome);
        assert!(
            matches!(outcome, Ok(LedgerOutcome::Deleted(Some(record))) if record.revision == 3)
        );
        let nothing = LedgerRow {
            record_id: None,
            ..row("deleted")
        };
        let outcome = LedgerEntry::try_from(nothing).map(|entry| entry.outcome);
        assert!(matches!(outcome, Ok(LedgerOutcome::Deleted(None))));
    }

    #[test]
    fn a_malformed_row_is_an_error_that_names_the_column() {
        assert_eq!(column(row("saved")), None);
        assert_eq!(column(row("merged")), Some("kind"));
        let without_record = LedgerRow {
            record_id: None,
            ..row("saved")
        };
        assert_eq!(column(without_record), Some("record_id"));
        let without_details = LedgerRow {
            oauth_connector_details: None,
            ..row("saved")
        };
        assert_eq!(column(without_details), Some("oauth_connector_details"));
        let short = LedgerRow {
            fingerprint: vec![7; 31],
            ..row("saved")
        };
        assert_eq!(column(short), Some("fingerprint"));
    }
}
