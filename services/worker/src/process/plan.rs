//! Chooses the changes of a batch that go into one statement.
//!
//! One statement must not contain two changes with the same record or the same command id, and changes that
//! share one of them must be applied in their order.

use std::collections::HashSet;

use proto::{CatalogGuid, CommandId, RecordKey};

use crate::change::Change;

/// Changes with their positions in the batch.
pub(super) type Indexed<'a> = Vec<(usize, &'a Change)>;

/// The most bytes of details in one statement. A larger batch takes several statements.
const STATEMENT_BYTES: usize = 4 * 1024 * 1024;

/// The records and the command ids of a set of changes.
#[derive(Default)]
pub(super) struct SeenKeys<'a> {
    records: HashSet<&'a RecordKey>,
    command_ids: HashSet<(&'a CatalogGuid, &'a CommandId)>,
}

impl<'a> SeenKeys<'a> {
    /// Adds the record and the id of a change. Returns whether both were new.
    pub fn insert(&mut self, change: &'a Change) -> bool {
        let new_record = self.records.insert(change.command.key());
        let new_id = self.command_ids.insert(command_id(change));
        new_record && new_id
    }

    /// Whether the set has the record or the id of a change.
    pub fn overlaps(&self, change: &Change) -> bool {
        self.records.contains(change.command.key())
            || self.command_ids.contains(&command_id(change))
    }
}

/// Command ids are unique in their Space only.
fn command_id(change: &Change) -> (&CatalogGuid, &CommandId) {
    (&change.command.key().catalog_guid, &change.command_id)
}

/// Splits the changes into those of the next statement and the remaining ones.
///
/// A change remains if an earlier change has its record or its id, even if that earlier change remains, too;
/// otherwise the two would be applied in the wrong order. A change also remains if the statement would become
/// too large.
pub(super) fn next_statement(changes: Indexed<'_>) -> (Indexed<'_>, Indexed<'_>) {
    let mut seen = SeenKeys::default();
    let mut bytes = 0;
    changes.into_iter().partition(|(_, change)| {
        let is_new = seen.insert(change);
        let fits = bytes == 0 || bytes + change.bytes() <= STATEMENT_BYTES;
        if is_new && fits {
            bytes += change.bytes();
        }
        is_new && fits
    })
}

/// The changes of the first statement of a batch, as a sample of the writes that the database must accept
/// before the worker consumes again.
pub(super) fn sample(changes: &[&Change]) -> Vec<Change> {
    let (statement, _) = next_statement(changes.iter().copied().enumerate().collect());
    let changes = statement.into_iter().map(|(_, change)| change.clone());
    changes.collect()
}

#[cfg(test)]
mod tests {
    use proto::{Command, CommandError, Kind};

    use super::*;

    /// A save with this record and command id, and slightly more than this many bytes of details.
    fn change(record: &str, id: &str, bytes: usize) -> Result<Change, CommandError> {
        let body = serde_json::json!({
            "integrationPackInstanceId": "i", "processId": record, "envId": "e",
            "connectionId": "c", "catalogGuid": "3f8a1d9e-0c1b-4a52-9d6e-5b7c8d9e0f1a",
            "isTokenGenerated": false, "clientId": "x", "clientSecret": proto::MASK,
            "oauthConnectorDetails":
                format!(r#"{{"baseURL":"https://example.com","n":"{}"}}"#, "x".repeat(bytes)),
        });
        let first = |mut errors: Vec<CommandError>| errors.swap_remove(0);
        let command = Command::decode(Kind::Save, body.to_string().as_bytes()).map_err(first)?;
        Ok(Change {
            command_id: CommandId::new(id.to_owned())?,
            fingerprint: command.fingerprint(),
            command,
            updated_by: None,
            source: None,
            traceparent: None,
        })
    }

    /// The command ids in each statement of a batch.
    fn statements(changes: &[Change]) -> Vec<Vec<&str>> {
        let mut all = Vec::new();
        let mut remaining: Indexed<'_> = changes.iter().enumerate().collect();
        while !remaining.is_empty() {
            let (statement, later) = next_statement(remaining);
            let ids = statement
                .iter()
                .map(|(_, change)| change.command_id.as_str());
            all.push(ids.collect());
            remaining = later;
        }
        all
    }

    #[test]
    fn changes_with_the_same_record_or_id_are_in_separate_statements() -> Result<(), CommandError> {
        let changes = [
            change("a", "1", 1)?,
            change("a", "2", 1)?,
            change("b", "2", 1)?,
            change("b", "3", 1)?,
            change("c", "4", 1)?,
        ];

        let statements = statements(&changes);

        assert_eq!(
            statements,
            [vec!["1", "4"], vec!["2"], vec!["2"], vec!["3"]]
        );
        Ok(())
    }

    #[test]
    fn a_statement_has_a_limit_in_bytes_and_the_order_for_a_record_is_kept()
    -> Result<(), CommandError> {
        const LARGE: usize = 60_000;
        let mut changes = Vec::new();
        for number in 0..150 {
            changes.push(change(&number.to_string(), &number.to_string(), LARGE)?);
        }
        // It would fit into an earlier statement, but an earlier change has the same record.
        changes.push(change("149", "last", 1)?);

        let statements = statements(&changes);

        assert_eq!(statements.len(), 4);
        for statement in &statements {
            assert!(statement.len() * LARGE <= STATEMENT_BYTES);
        }
        assert_eq!(statements.concat().len(), 151);
        assert_eq!(
            statements[3],
            ["last"],
            "after the change with the same record"
        );
        Ok(())
    }

    #[test]
    fn a_change_overlaps_by_its_record_or_by_its_id() -> Result<(), CommandError> {
        let seen_change = change("a", "1", 1)?;
        let mut seen = SeenKeys::default();
        assert!(seen.insert(&seen_change));

        assert!(!seen.insert(&seen_change));
        assert!(seen.overlaps(&change("a", "2", 1)?));
        assert!(seen.overlaps(&change("b", "1", 1)?));
        assert!(!seen.overlaps(&change("b", "2", 1)?));
        Ok(())
    }

    #[test]
    fn a_sample_names_no_record_twice() -> Result<(), CommandError> {
        let changes = [
            change("a", "1", 1)?,
            change("a", "2", 1)?,
            change("b", "3", 1)?,
        ];

        let sample = sample(&changes.iter().collect::<Vec<_>>());

        let ids: Vec<&str> = sample.iter().map(|it| it.command_id.as_str()).collect();
        assert_eq!(ids, ["1", "3"]);
        Ok(())
    }
}
