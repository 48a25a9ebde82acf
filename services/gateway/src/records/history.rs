//! Reads the history of a record, newest first.

use futures_util::TryStreamExt as _;
use proto::CatalogGuid;
use sqlx::{
    PgConnection,
    types::{Uuid, time::OffsetDateTime},
};

use super::statement::Statement;

/// One change of a record.
#[derive(Debug)]
pub struct HistoryEntry {
    /// The revision that the change created. A deletion creates one, too.
    pub revision: i64,
    /// Whether the change was a deletion.
    pub deleted: bool,
    /// When the change took effect.
    pub at: OffsetDateTime,
    /// The subject of the token, or the service that published the command.
    pub by: Option<String>,
    /// The service that published the command, as it names itself.
    pub source: Option<String>,
    /// The published names of the fields whose values changed. `None` if the revision before was
    /// pruned.
    pub changed: Option<Vec<&'static str>>,
}

/// Up to `count` changes of a record, before a revision.
pub(super) struct History<'a> {
    pub space: &'a CatalogGuid,
    pub id: Uuid,
    pub before: i64,
    pub count: u32,
}

impl Statement for History<'_> {
    type Answer = Vec<HistoryEntry>;

    const NAME: &'static str = "select connector_details_ledger";

    async fn run(&self, connection: &mut PgConnection) -> sqlx::Result<Vec<HistoryEntry>> {
        // Rows are streamed, so that the details of at most two changes are in memory.
        let mut rows = sqlx::query_as!(
            Row,
            r#"select
                 revision, kind = 'deleted' as "deleted!", decided_at, updated_by, source,
                 is_token_generated, oauth_connector_details, client_id
             from connector_details_ledger
             where record_id = $1 and catalog_guid = $2 and kind <> 'conflict' and revision < $3
             order by revision desc
             limit $4"#,
            self.id,
            self.space.as_str(),
            self.before,
            // One row more, because the changed fields are found by comparing with the row before.
            i64::from(self.count) + 1,
        )
        .fetch(connection);
        let (mut entries, mut newer, mut rows_read) = (Vec::new(), None::<Row>, 0);
        while let Some(row) = rows.try_next().await? {
            entries.extend(newer.map(|newer| newer.changed_since(&row)));
            newer = Some(row);
            rows_read += 1;
        }
        let has_older = rows_read > self.count;
        if !has_older && let Some(oldest) = newer {
            entries.push(oldest.oldest_known());
        }
        Ok(entries)
    }
}

struct Row {
    revision: i64,
    deleted: bool,
    decided_at: OffsetDateTime,
    updated_by: Option<String>,
    source: Option<String>,
    is_token_generated: Option<bool>,
    oauth_connector_details: Option<String>,
    client_id: Option<String>,
}

impl Row {
    fn changed_since(&self, before: &Self) -> HistoryEntry {
        let changed = [
            (
                "isTokenGenerated",
                self.is_token_generated != before.is_token_generated,
            ),
            (
                "oauthConnectorDetails",
                self.oauth_connector_details != before.oauth_connector_details,
            ),
            ("clientId", self.client_id != before.client_id),
        ];
        let changed = changed.iter().filter(|(_, differs)| *differs);
        self.entry(Some(changed.map(|(field, _)| *field).collect()))
    }

    /// The entry of the oldest row in the ledger. Only the first revision is known to set all fields;
    /// before any other one a row was pruned.
    fn oldest_known(&self) -> HistoryEntry {
        let all = || vec!["isTokenGenerated", "oauthConnectorDetails", "clientId"];
        self.entry((self.revision == 1).then(all))
    }

    fn entry(&self, changed: Option<Vec<&'static str>>) -> HistoryEntry {
        HistoryEntry {
            revision: self.revision,
            deleted: self.deleted,
            at: self.decided_at,
            by: self.updated_by.clone(),
            source: self.source.clone(),
            changed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(revision: i64, client_id: &str) -> Row {
        Row {
            revision,
            deleted: false,
            decided_at: OffsetDateTime::UNIX_EPOCH,
            updated_by: None,
            source: None,
            is_token_generated: Some(false),
            oauth_connector_details: Some("{}".to_owned()),
            client_id: Some(client_id.to_owned()),
        }
    }

    #[test]
    fn a_change_names_the_fields_whose_values_differ() {
        let before = row(1, "a");
        assert_eq!(
            row(2, "b").changed_since(&before).changed,
            Some(vec!["clientId"])
        );
        assert_eq!(row(2, "a").changed_since(&before).changed, Some(vec![]));
    }

    #[test]
    fn only_the_first_revision_is_known_to_set_all_fields() {
        let all = ["isTokenGenerated", "oauthConnectorDetails", "clientId"];
        assert_eq!(row(1, "a").oldest_known().changed, Some(all.to_vec()));
        assert_eq!(row(2, "a").oldest_known().changed, None);
    }
}
