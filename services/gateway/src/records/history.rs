//! What happened to a record, newest first.

use futures_util::TryStreamExt as _;
use proto::CatalogGuid;
use sqlx::{
    PgConnection,
    types::{Uuid, time::OffsetDateTime},
};

use super::statement::Statement;

/// Something that happened to a record.
#[derive(Debug)]
pub struct HistoryEntry {
    /// The revision that came of it; a deletion has one, too.
    pub revision: i64,
    /// Whether the record was deleted then.
    pub deleted: bool,
    /// When.
    pub at: OffsetDateTime,
    /// By whom.
    pub by: Option<String>,
    /// From which service, by its own word.
    pub source: Option<String>,
    /// Which fields have another value than before, by their published names. None where it is not
    /// known any more.
    pub changed: Option<Vec<&'static str>>,
}

/// So many changes of a record, before a revision.
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
        // Row by row: no more than the details of two changes are in memory.
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
            // And the one before the last: what it changed is told by comparing.
            i64::from(self.count) + 1,
        )
        .fetch(connection);
        let (mut happened, mut newer, mut seen) = (Vec::new(), None::<Row>, 0);
        while let Some(row) = rows.try_next().await? {
            happened.extend(newer.map(|newer| newer.after(&row)));
            newer = Some(row);
            seen += 1;
        }
        let older = seen > self.count;
        if !older && let Some(first) = newer {
            happened.push(first.begun());
        }
        Ok(happened)
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
    fn after(&self, before: &Self) -> HistoryEntry {
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
        self.happened(Some(changed.map(|(field, _)| *field).collect()))
    }

    /// The oldest that is known: with the first, all fields came.
    fn begun(&self) -> HistoryEntry {
        let all = || vec!["isTokenGenerated", "oauthConnectorDetails", "clientId"];
        self.happened((self.revision == 1).then(all))
    }

    fn happened(&self, changed: Option<Vec<&'static str>>) -> HistoryEntry {
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
