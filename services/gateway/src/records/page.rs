//! A page of a Space's records, in the order of their ids.

use futures_util::TryStreamExt as _;
use proto::{CatalogGuid, Record};
use sqlx::{PgConnection, Postgres, QueryBuilder};

use super::{find::Row, statement::Statement};
use crate::limits::{AnswerBudget, Denied};

/// Records in one page where no number is asked for.
pub const PAGE: u32 = 20;
/// Records in one page at most.
pub const PAGE_MOST: u32 = 100;

/// The columns of the order, which are those that can be filtered by, too.
const ORDER: [&str; 4] = [
    "integration_pack_instance_id",
    "process_id",
    "env_id",
    "connection_id",
];

/// Where a record stands: its ids in the order of [`ORDER`].
pub type Position = [String; 4];

/// Which records are meant.
#[derive(Debug, Default)]
pub struct Filter {
    /// A value for each of the ids that is to be that, in the order of a [`Position`].
    pub ids: [Option<String>; 4],
    /// Whether the access token has been generated.
    pub is_token_generated: Option<bool>,
}

/// Where a record stands in its Space.
#[must_use]
pub fn position(record: &Record) -> Position {
    [
        record.integration_pack_instance_id.clone(),
        record.process_id.clone(),
        record.env_id.clone(),
        record.connection_id.clone(),
    ]
}

/// The space that records have in an answer.
#[derive(Debug, Clone, Copy)]
pub struct AnswerSpace<'a> {
    /// For all fields of the request.
    pub budget: &'a AnswerBudget,
    /// How often the details of a record are answered.
    pub copies: usize,
}

impl AnswerSpace<'_> {
    /// What a record takes.
    fn of(self, record: &Record) -> usize {
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

/// So many records after a position.
pub(super) struct Page<'a> {
    pub space: &'a CatalogGuid,
    pub filter: &'a Filter,
    pub after: Option<&'a Position>,
    pub count: u32,
    pub answer: AnswerSpace<'a>,
}

impl Statement for Page<'_> {
    type Answer = Result<Vec<Record>, Denied>;

    const NAME: &'static str = "select connector_details";

    /// Row by row: the rows that there is no space for are never in memory together.
    async fn run(&self, connection: &mut PgConnection) -> sqlx::Result<Self::Answer> {
        let mut query = self.query();
        let mut rows = query.build_query_as::<Row>().fetch(connection);
        let mut records = Vec::new();
        let mut reading = self.answer.budget.reading();
        let mut denied = None;
        while let Some(row) = rows.try_next().await? {
            if denied.is_some() {
                // The connection is used again, and nothing may be left in it.
                continue;
            }
            let record = Record::from(row);
            match reading.add(self.answer.of(&record)) {
                Ok(()) => records.push(record),
                Err(why) => {
                    denied = Some(why);
                    records = Vec::new();
                }
            }
        }
        if let Some(denied) = denied {
            return Ok(Err(denied));
        }
        reading.end();
        Ok(Ok(records))
    }
}

impl Page<'_> {
    /// Only what is asked for stands in the statement: a condition that may be none would keep the
    /// planner from using an index. The columns that are fixed are left out of the comparison for the
    /// same reason; what is left is the end of one of the indexes.
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
            // All four ids are given: there is one such record, and none after it.
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
