//! Reads a page of a Space's records, in the order of their ids.

use futures_util::TryStreamExt as _;
use proto::{CatalogGuid, Record};
use sqlx::{PgConnection, Postgres, QueryBuilder};

use super::{find::Row, statement::Statement};
use crate::limits::{AnswerBudget, Denied};

/// The number of records in a page by default.
pub const PAGE: u32 = 20;
/// The maximum number of records in a page.
pub const PAGE_MOST: u32 = 100;

/// The columns of the order. A filter can name the same columns.
const ORDER: [&str; 4] = [
    "integration_pack_instance_id",
    "process_id",
    "env_id",
    "connection_id",
];

/// The position of a record in its Space: its ids in the order of [`ORDER`].
pub type Position = [String; 4];

/// Selects records.
#[derive(Debug, Default)]
pub struct Filter {
    /// The required values of the ids, in the order of a [`Position`]. `None` allows all values.
    pub ids: [Option<String>; 4],
    /// Whether the access token has been generated.
    pub is_token_generated: Option<bool>,
}

/// The position of a record in its Space.
#[must_use]
pub fn position(record: &Record) -> Position {
    [
        record.integration_pack_instance_id.clone(),
        record.process_id.clone(),
        record.env_id.clone(),
        record.connection_id.clone(),
    ]
}

/// The memory that records may use in an answer.
#[derive(Debug, Clone, Copy)]
pub struct AnswerMemory<'a> {
    /// The budget of all fields of the request.
    pub budget: &'a AnswerBudget,
    /// How many times the answer holds the details of a record.
    pub copies: usize,
}

impl AnswerMemory<'_> {
    /// The bytes that a record uses.
    fn bytes_of(self, record: &Record) -> usize {
        let ids = [
            &record.integration_pack_instance_id,
            &record.process_id,
            &record.env_id,
            &record.connection_id,
        ];
        let ids: usize = ids.iter().map(|id| id.len()).sum();
        let details = record.oauth_connector_details.len();
        size_of::<Record>() + ids + record.client_id.len() + details * self.copies.max(1)
    }
}

/// Up to `count` records after a position.
pub(super) struct Page<'a> {
    pub space: &'a CatalogGuid,
    pub filter: &'a Filter,
    pub after: Option<&'a Position>,
    pub count: u32,
    pub memory: AnswerMemory<'a>,
}

impl Statement for Page<'_> {
    type Answer = Result<Vec<Record>, Denied>;

    const NAME: &'static str = "select connector_details";

    /// Streams the rows, so that rows beyond the budget are never in memory together.
    async fn run(&self, connection: &mut PgConnection) -> sqlx::Result<Self::Answer> {
        let mut query = self.query();
        let mut rows = query.build_query_as::<Row>().fetch(connection);
        let mut records = Vec::new();
        let mut reading = self.memory.budget.reading();
        let mut denied = None;
        while let Some(row) = rows.try_next().await? {
            if denied.is_some() {
                // All rows must be read, because the connection is used again.
                continue;
            }
            let record = Record::from(row);
            match reading.add(self.memory.bytes_of(&record)) {
                Ok(()) => records.push(record),
                Err(error) => {
                    denied = Some(error);
                    records = Vec::new();
                }
            }
        }
        if let Some(denied) = denied {
            return Ok(Err(denied));
        }
        reading.commit();
        Ok(Ok(records))
    }
}

impl Page<'_> {
    /// The statement has only the conditions that the filter needs: an optional condition, such as
    /// `$1 is null or ...`, would prevent the use of an index. The row comparison leaves out the
    /// columns with a fixed value for the same reason; the remaining columns end one of the indexes.
    fn query(&self) -> QueryBuilder<Postgres> {
        let mut query = QueryBuilder::new(
            "select id, integration_pack_instance_id, is_token_generated,
                 oauth_connector_details, process_id, env_id, connection_id,
                 catalog_guid, client_id, revision, updated_at, updated_by
             from connector_details where catalog_guid = ",
        );
        query.push_bind(self.space.as_str());
        for (column, wanted) in ORDER.iter().zip(&self.filter.ids) {
            if let Some(id) = wanted {
                query.push(format_args!(" and {column} = "));
                query.push_bind(id);
            }
        }
        if let Some(flag) = self.filter.is_token_generated {
            query.push(" and is_token_generated = ").push_bind(flag);
        }
        let open: Vec<usize> = (0..ORDER.len())
            .filter(|index| self.filter.ids[*index].is_none())
            .collect();
        let columns: Vec<&str> = open.iter().map(|index| ORDER[*index]).collect();
        let columns = columns.join(", ");
        match self.after {
            // The filter fixes all four ids, so at most one record matches and none follows it.
            Some(_) if open.is_empty() => {
                query.push(" and false");
            }
            Some(after) => {
                query.push(format_args!(" and ({columns}) > ("));
                let mut values = query.separated(", ");
                for index in &open {
                    values.push_bind(&after[*index]);
                }
                query.push(")");
            }
            None => {}
        }
        if !open.is_empty() {
            query.push(format_args!(" order by {columns}"));
        }
        query.push(" limit ").push_bind(i64::from(self.count));
        query
    }
}
