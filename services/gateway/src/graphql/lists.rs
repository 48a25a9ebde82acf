//! The pages of a Space's records, in the form of Relay connections.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject, connection::PageInfo};
use proto::{CommandError, ConnectionId, EnvId, IntegrationPackInstanceId, ProcessId};
use runtime::traces::TraceContext;

use super::{
    errors::{ApiError, or_report},
    history::{ConnectorDetailsHistoryConnection, history},
    pagination::{decode_cursor, encode_cursor, not_a_cursor, page_info, page_size},
    types::ConnectorDetails,
};
use crate::{
    auth::caller::Caller,
    limits::Denied,
    records::{AnswerMemory, Filter, Position, Records, position},
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
    /// Rejects ids that no record can have, and reports all of them at once.
    fn validate(self) -> Result<Filter, ApiError> {
        let mut errors = Vec::new();
        let mut or_collect = |checked: Option<Result<String, CommandError>>| {
            checked?.map_err(|error| errors.push(error)).ok()
        };
        let ids = [
            or_collect(
                self.integration_pack_instance_id
                    .map(|id| IntegrationPackInstanceId::new(id).map(String::from)),
            ),
            or_collect(
                self.process_id
                    .map(|id| ProcessId::new(id).map(String::from)),
            ),
            or_collect(self.env_id.map(|id| EnvId::new(id).map(String::from))),
            or_collect(
                self.connection_id
                    .map(|id| ConnectionId::new(id).map(String::from)),
            ),
        ];
        if !errors.is_empty() {
            return Err(ApiError::Invalid(errors));
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

/// The queries for pages of records and of their history.
#[derive(Debug, Default)]
pub struct ListQuery;

/// The queries for pages of records and of their history.
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

async fn page(
    context: &Context<'_>,
    filter: FilterInput,
    first: Option<i32>,
    after: Option<String>,
) -> Result<ConnectorDetailsConnection, ApiError> {
    let count = page_size(first)?;
    let after = after.as_deref().map(decode_cursor).transpose()?;
    // PostgreSQL text can't hold NUL, so a cursor with NUL did not come from a page.
    if after
        .as_ref()
        .is_some_and(|after: &Position| after.iter().any(|id| id.contains('\0')))
    {
        return Err(not_a_cursor());
    }
    let filter = filter.validate()?;
    let caller: &Caller = context.data_unchecked();
    let records: &Records = context.data_unchecked();
    let trace = context.data_unchecked::<TraceContext>();
    let memory = AnswerMemory {
        budget: context.data_unchecked(),
        copies: copies(context),
    };
    // One record more than the page has shows whether there is a next page.
    let found = records.page(
        &caller.space,
        &filter,
        after.as_ref(),
        count + 1,
        memory,
        trace,
    );
    let found = found.await.map_err(|_| ApiError::Unreadable)?;
    let mut found = found.map_err(denied)?;
    let more = found.len() > count as usize;
    found.truncate(count as usize);
    let edges: Vec<_> = found
        .into_iter()
        .map(|record| {
            Ok(ConnectorDetailsEdge {
                cursor: encode_cursor(&position(&record))?,
                node: record.into(),
            })
        })
        .collect::<Result<_, ApiError>>()?;
    let cursors = edges.iter().map(|edge| &edge.cursor);
    let page_info = page_info(cursors, after.is_some(), more);
    Ok(ConnectorDetailsConnection { edges, page_info })
}

/// How many times the answer holds the details of each record: once for each alias.
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
        Denied::Full(full) => ApiError::AnswerMemoryFull(full),
    }
}
