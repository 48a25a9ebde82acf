//! A Space's records and their history, page by page: Relay's connections.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject, connection::PageInfo};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use proto::{CommandError, ConnectionId, EnvId, IntegrationPackInstanceId, ProcessId};
use runtime::traces::TraceContext;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{errors::ApiError, types::ConnectorDetails};
use crate::{
    auth::caller::Caller,
    limits::Denied,
    records::{AnswerSpace, Filter, HistoryEntry, PAGE, PAGE_MOST, Position, Records, position},
};

/// Which records are meant: those that agree in all that is given.
#[derive(Default, InputObject)]
#[graphql(name = "ConnectorDetailsFilter")]
pub struct FilterInput {
    /// The Integration Pack instance.
    integration_pack_instance_id: Option<String>,
    /// The process in the Integration Pack.
    process_id: Option<String>,
    /// The environment of the configuration.
    env_id: Option<String>,
    /// The connection in the process.
    connection_id: Option<String>,
    /// Whether the access token has been generated.
    is_token_generated: Option<bool>,
}

impl FilterInput {
    /// The ids keep the rules of ids, or there is nothing that could be found.
    fn checked(self) -> Result<Filter, ApiError> {
        let mut faults = Vec::new();
        let mut keep = |checked: Option<Result<String, CommandError>>| {
            checked?.map_err(|fault| faults.push(fault)).ok()
        };
        let ids = [
            keep(
                self.integration_pack_instance_id
                    .map(|id| IntegrationPackInstanceId::new(id).map(String::from)),
            ),
            keep(
                self.process_id
                    .map(|id| ProcessId::new(id).map(String::from)),
            ),
            keep(self.env_id.map(|id| EnvId::new(id).map(String::from))),
            keep(
                self.connection_id
                    .map(|id| ConnectionId::new(id).map(String::from)),
            ),
        ];
        if !faults.is_empty() {
            return Err(ApiError::Invalid(faults));
        }
        Ok(Filter {
            ids,
            is_token_generated: self.is_token_generated,
        })
    }
}

/// A page of records, in the order of their ids: Integration Pack instance, process, environment,
/// connection.
#[derive(SimpleObject)]
pub struct ConnectorDetailsConnection {
    /// The records.
    edges: Vec<ConnectorDetailsEdge>,
    /// Whether there are more, and where they begin.
    page_info: PageInfo,
}

/// A record in a page.
#[derive(SimpleObject)]
pub struct ConnectorDetailsEdge {
    /// What to ask for what follows with, as `after`.
    cursor: String,
    /// The record.
    node: ConnectorDetails,
}

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

/// Pages.
#[derive(Debug, Default)]
pub struct ListQuery;

/// Pages.
#[Object]
impl ListQuery {
    /// The records of the header's Space, page by page. What is saved or deleted meanwhile moves no
    /// other record to another page.
    async fn connector_details(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which of them; missing: all.")] filter: Option<FilterInput>,
        #[graphql(desc = "How many: 1 to 100; missing: 20.")] first: Option<i32>,
        #[graphql(desc = "The endCursor of the page before; missing: from the beginning.")]
        after: Option<String>,
    ) -> Option<ConnectorDetailsConnection> {
        or_report(
            context,
            page(context, filter.unwrap_or_default(), first, after).await,
        )
    }

    /// What happened to a record of the header's Space, newest first; also after it was deleted.
    async fn connector_details_history(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The record's id.")] id: ID,
        #[graphql(desc = "How many: 1 to 100; missing: 20.")] first: Option<i32>,
        #[graphql(desc = "The endCursor of the page before; missing: from the newest.")]
        after: Option<String>,
    ) -> Option<ConnectorDetailsHistoryConnection> {
        or_report(context, history(context, &id, first, after).await)
    }
}

fn or_report<T>(context: &Context<'_>, result: Result<T, ApiError>) -> Option<T> {
    result.map_err(|failure| failure.report(context)).ok()
}

async fn page(
    context: &Context<'_>,
    filter: FilterInput,
    first: Option<i32>,
    after: Option<String>,
) -> Result<ConnectorDetailsConnection, ApiError> {
    let count = count(first)?;
    let after = after.as_deref().map(decoded).transpose()?;
    // What can't be in a position can't have come from a page.
    if after
        .as_ref()
        .is_some_and(|after: &Position| after.iter().any(|id| id.contains('\0')))
    {
        return Err(not_a_cursor());
    }
    let filter = filter.checked()?;
    let caller: &Caller = context.data_unchecked();
    let records: &Records = context.data_unchecked();
    let trace = context.data_unchecked::<TraceContext>();
    let space = AnswerSpace {
        budget: context.data_unchecked(),
        copies: copies(context),
    };
    // One more tells whether there is a next page.
    let found = records.page(
        &caller.space,
        &filter,
        after.as_ref(),
        count + 1,
        space,
        trace,
    );
    let found = found.await.map_err(|_| ApiError::Unreadable)?;
    let mut found = found.map_err(denied)?;
    let more = found.len() > count as usize;
    found.truncate(count as usize);
    let edges: Vec<_> = found
        .into_iter()
        .map(|record| ConnectorDetailsEdge {
            cursor: encoded(&position(&record)),
            node: record.into(),
        })
        .collect();
    let cursors = edges.iter().map(|edge| &edge.cursor);
    let page_info = page_info(cursors, after.is_some(), more);
    Ok(ConnectorDetailsConnection { edges, page_info })
}

/// How often the details of each record are asked for, under different aliases.
fn copies(context: &Context<'_>) -> usize {
    let node = context.look_ahead().field("edges").field("node");
    let details = node.field("oauthConnectorDetails");
    details.selection_fields().len()
}

fn denied(denied: Denied) -> ApiError {
    match denied {
        Denied::TooLarge => ApiError::Invalid(vec![CommandError::value(
            "first",
            "must be lower: this page has more bytes than are answered at once",
        )]),
        Denied::Full(full) => ApiError::Crowded(full),
    }
}

async fn history(
    context: &Context<'_>,
    id: &ID,
    first: Option<i32>,
    after: Option<String>,
) -> Result<ConnectorDetailsHistoryConnection, ApiError> {
    let count = count(first)?;
    let before: Option<i64> = after.as_deref().map(decoded).transpose()?;
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
        .map(|happened| ConnectorDetailsHistoryEdge {
            cursor: encoded(&happened.revision),
            node: happened.into(),
        })
        .collect();
    let cursors = edges.iter().map(|edge| &edge.cursor);
    let page_info = page_info(cursors, before.is_some(), more);
    Ok(ConnectorDetailsHistoryConnection { edges, page_info })
}

impl From<HistoryEntry> for ConnectorDetailsChange {
    fn from(happened: HistoryEntry) -> Self {
        Self {
            revision: happened.revision,
            kind: if happened.deleted {
                ConnectorDetailsChangeKind::Deleted
            } else {
                ConnectorDetailsChangeKind::Saved
            },
            updated_at: happened.at,
            updated_by: happened.by,
            source: happened.source,
            changed_fields: happened.changed,
        }
    }
}

fn count(first: Option<i32>) -> Result<u32, ApiError> {
    match first.map(u32::try_from) {
        None => Ok(PAGE),
        Some(Ok(count @ 1..=PAGE_MOST)) => Ok(count),
        Some(_) => Err(ApiError::Invalid(vec![CommandError::value(
            "first",
            "must be from 1 to 100",
        )])),
    }
}

/// A cursor means something here and nothing to a client.
fn encoded(position: &impl serde::Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(position).unwrap_or_default())
}

fn decoded<T: serde::de::DeserializeOwned>(cursor: &str) -> Result<T, ApiError> {
    let decoded = URL_SAFE_NO_PAD.decode(cursor).ok();
    decoded
        .and_then(|position| serde_json::from_slice(&position).ok())
        .ok_or_else(not_a_cursor)
}

/// Whether a text is a cursor of a page of records, or of a page of changes.
pub(crate) fn is_cursor(text: &str) -> bool {
    decoded::<Position>(text).is_ok() || decoded::<i64>(text).is_ok()
}

fn not_a_cursor() -> ApiError {
    ApiError::Invalid(vec![CommandError::value(
        "after",
        "must be a cursor of an earlier page",
    )])
}

fn page_info<'a>(
    mut cursors: impl DoubleEndedIterator<Item = &'a String>,
    has_previous_page: bool,
    has_next_page: bool,
) -> PageInfo {
    let start_cursor = cursors.next().cloned();
    let end_cursor = cursors.next_back().or(start_cursor.as_ref()).cloned();
    PageInfo {
        has_previous_page,
        has_next_page,
        start_cursor,
        end_cursor,
    }
}
