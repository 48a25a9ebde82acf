//! The query for the status of a command whose reply did not arrive.

use async_graphql::{Context, Enum, ID, Object, SimpleObject};
use proto::{CommandError, CommandId, Outcome};
use runtime::traces::TraceContext;

use super::{
    errors::{ApiError, or_report},
    types::ConnectorDetails,
};
use crate::{auth::caller::Caller, records::Records};

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(name = "SaveCommandStatus")]
pub enum CommandStatus {
    /// It took effect.
    Applied,
    /// It was refused, and will not take effect.
    Refused,
    /// Nothing is known of it here yet: it waits, never arrived, or was decided longer ago than
    /// decisions are kept.
    Undecided,
}

/// What is known of a command.
#[derive(SimpleObject)]
#[graphql(name = "SaveCommand")]
pub struct CommandState {
    /// Its id, as SAVE_PENDING and SAVE_UNKNOWN name it.
    id: ID,
    /// What became of it.
    status: CommandStatus,
    /// The record as it left it, or as it was before a deletion, if it was applied.
    record: Option<ConnectorDetails>,
    /// Why it was refused: the code of the error that it was answered with.
    code: Option<String>,
    /// And its message.
    message: Option<String>,
    /// The revision that the record had then, where another was expected; 0 where there was none.
    current_revision: Option<i64>,
}

/// The query for the status of a command.
#[derive(Debug, Default)]
pub struct CommandStatusQuery;

/// The query for the status of a command.
#[Object]
impl CommandStatusQuery {
    /// What became of a command of the header's Space: what to ask after SAVE_PENDING or
    /// SAVE_UNKNOWN, with the commandId of that error.
    async fn save_command(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The commandId.")] id: ID,
    ) -> Option<CommandState> {
        or_report(context, state(context, id).await)
    }
}

async fn state(context: &Context<'_>, id: ID) -> Result<CommandState, ApiError> {
    let caller: &Caller = context.data_unchecked();
    let command_id = CommandId::new(id.as_str()).map_err(|error| {
        ApiError::Invalid(vec![CommandError {
            field: Some("id".to_owned()),
            message: error.message.replace(CommandId::FIELD, "id"),
            ..error
        }])
    })?;
    let records: &Records = context.data_unchecked();
    let trace = context.data_unchecked::<TraceContext>();
    let entry = records.ledger_entry(&caller.space, &command_id, trace);
    let entry = entry.await.map_err(|_| ApiError::Unreadable)?;
    let mut state = CommandState {
        id,
        status: CommandStatus::Undecided,
        record: None,
        code: None,
        message: None,
        current_revision: None,
    };
    match entry.map(|entry| entry.outcome.into()) {
        None => {}
        Some(Outcome::Saved { record }) => {
            state.status = CommandStatus::Applied;
            state.record = Some(record.into());
        }
        Some(Outcome::Deleted { record }) => {
            state.status = CommandStatus::Applied;
            state.record = record.map(ConnectorDetails::from);
        }
        Some(Outcome::Refused { errors }) => {
            state.status = CommandStatus::Refused;
            if let Some(error) = errors.into_iter().next() {
                state.code = Some(error.code.as_str().to_owned());
                state.message = Some(error.message);
                state.current_revision = error.current.map(|current| current.revision);
            }
        }
    }
    Ok(state)
}
