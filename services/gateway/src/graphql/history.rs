//! The history of a record, one page at a time.

use async_graphql::{Context, Enum, ID, SimpleObject, connection::PageInfo};
use proto::CommandError;
use runtime::traces::TraceContext;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    errors::ApiError,
    pagination::{decode_cursor, encode_cursor, page_info, page_size},
};
use crate::{
    auth::caller::Caller,
    records::{HistoryEntry, Records},
};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum ConnectorDetailsChangeKind {
    /// The record was saved.
    Saved,
    /// The record was deleted.
    Deleted,
}

/// Something that happened to a record.
#[derive(SimpleObject)]
pub struct ConnectorDetailsChange {
    /// The revision that came of it; a deletion has one, too.
    revision: i64,
    /// What it was.
    kind: ConnectorDetailsChangeKind,
    /// When it took effect.
    updated_at: OffsetDateTime,
    /// Who did it: a token's subject, or the service that published it.
    updated_by: Option<String>,
    /// The service that published it, by its own word.
    source: Option<String>,
    /// The fields that have another value than before. Null where that is not known any more,
    /// because what was before is no longer kept. A secret that was changed is not among them: it was
    /// never kept.
    changed_fields: Option<Vec<&'static str>>,
}

/// A page of a record's history, newest first.
#[derive(SimpleObject)]
pub struct ConnectorDetailsHistoryConnection {
    /// The changes.
    edges: Vec<ConnectorDetailsHistoryEdge>,
    /// Whether there are more, and where they begin.
    page_info: PageInfo,
}

/// A change in a page.
#[derive(SimpleObject)]
pub struct ConnectorDetailsHistoryEdge {
    /// What to ask for what follows with, as `after`.
    cursor: String,
    /// The change.
    node: ConnectorDetailsChange,
}

/// A page of a record's history.
pub(super) async fn history(
    context: &Context<'_>,
    id: &ID,
    first: Option<i32>,
    after: Option<String>,
) -> Result<ConnectorDetailsHistoryConnection, ApiError> {
    let count = page_size(first)?;
    let before: Option<i64> = after.as_deref().map(decode_cursor).transpose()?;
    let Ok(id) = Uuid::parse_str(id) else {
        return Err(ApiError::Invalid(vec![CommandError::value(
            "id",
            "must be a record's id",
        )]));
    };
    let caller: &Caller = context.data_unchecked();
    let records: &Records = context.data_unchecked();
    let trace = context.data_unchecked::<TraceContext>();
    let found = records.history(&caller.space, id, before, count + 1, trace);
    let mut found = found.await.map_err(|_| ApiError::Unreadable)?;
    let more = found.len() > count as usize;
    found.truncate(count as usize);
    let edges: Vec<_> = found
        .into_iter()
        .map(|entry| {
            Ok(ConnectorDetailsHistoryEdge {
                cursor: encode_cursor(&entry.revision)?,
                node: entry.into(),
            })
        })
        .collect::<Result<_, ApiError>>()?;
    let cursors = edges.iter().map(|edge| &edge.cursor);
    let page_info = page_info(cursors, before.is_some(), more);
    Ok(ConnectorDetailsHistoryConnection { edges, page_info })
}

impl From<HistoryEntry> for ConnectorDetailsChange {
    fn from(entry: HistoryEntry) -> Self {
        Self {
            revision: entry.revision,
            kind: if entry.deleted {
                ConnectorDetailsChangeKind::Deleted
            } else {
                ConnectorDetailsChangeKind::Saved
            },
            updated_at: entry.at,
            updated_by: entry.by,
            source: entry.source,
            changed_fields: entry.changed,
        }
    }
}
