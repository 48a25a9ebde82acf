//! The published GraphQL API. The names are those of the contract, inconsistent capitals included.

use async_graphql::{Context, MergedObject, Object, Schema, SchemaBuilder};
use proto::{
    CatalogGuid, Command, CommandError, CommandId, DeleteConnectorDetails, Record,
    SaveConnectorDetails, SaveInput,
};
use runtime::traces::TraceContext;
use tokio::time::Instant;

use super::{
    command_status::CommandStatusQuery,
    errors::{ApiError, or_report},
    lists::ListQuery,
    subscription::Subscriptions,
    types::{ConnectorDetails, FindDetailsInput, SaveDetailsInput},
};
use crate::{
    auth::caller::Caller,
    commands::{
        client::Commands,
        submit::{self, SubmitError},
    },
    events::Changes,
    records::Records,
};

/// The schema with its resolvers.
pub type ConnectorDetailsSchema = Schema<Query, Mutation, Subscriptions>;

/// When the whole request must be decided: it is in the data of every request. async-graphql executes the
/// mutations of a document one after another, so each may wait only for the time that the others left.
#[derive(Debug, Clone, Copy)]
pub struct RequestDeadline(pub Instant);

/// Builds the schema with the data of its resolvers. With `dev`, introspection and suggestions are on. The
/// schema has no limits on depth and complexity, because [`super::document`] checks them before.
#[must_use]
pub fn build(
    commands: &Commands,
    records: &Records,
    changes: &Changes,
    dev: bool,
) -> ConnectorDetailsSchema {
    let builder = builder()
        .data(commands.clone())
        .data(records.clone())
        .data(changes.clone());
    if dev {
        builder.finish()
    } else {
        builder
            .disable_introspection()
            .disable_suggestions()
            .finish()
    }
}

/// The schema in the GraphQL schema definition language.
#[must_use]
pub fn sdl() -> String {
    builder().finish().sdl()
}

fn builder() -> SchemaBuilder<Query, Mutation, Subscriptions> {
    Schema::build(Query::default(), Mutation, Subscriptions)
}

/// Reads, straight from the database.
#[derive(Debug, Default, MergedObject)]
pub struct Query(RecordQuery, CommandStatusQuery, ListQuery);

/// The query for one record.
#[derive(Debug, Default)]
pub struct RecordQuery;

/// The query for one record.
#[Object]
impl RecordQuery {
    /// The connector details as the last save left them, or null where none were saved.
    #[graphql(name = "IPackInstanceOAuthConnectorDetails")]
    async fn connector_details(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The five ids of the record.")] input: FindDetailsInput,
    ) -> Option<ConnectorDetails> {
        let record = or_report(context, find(context, input).await).flatten();
        record.map(ConnectorDetails::from)
    }
}

/// Saves, through the queue.
#[derive(Debug)]
pub struct Mutation;

/// Saves, through the queue.
#[Object]
impl Mutation {
    /// Saves connector details and answers with the stored record. Saving again under the same
    /// five ids (catalogGuid, integrationPackInstanceId, processId, envId, connectionId) updates
    /// it. The request header Idempotency-Key makes a repeat safe.
    #[graphql(name = "saveIPackInstanceOauthConnectorDetails")]
    async fn save_connector_details(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "All nine fields are required.")] input: SaveDetailsInput,
        #[graphql(
            desc = "The revision that the record must have, or 0 where there must be none; else \
                    CONFLICT, and nothing is saved. Missing: whatever it is."
        )]
        expected_revision: Option<i64>,
    ) -> Option<ConnectorDetails> {
        let saved = async {
            let command = save(input, expected_revision)?;
            submit(context, command).await
        };
        let record = or_report(context, saved.await).flatten();
        record.map(ConnectorDetails::from)
    }

    /// Deletes connector details and answers with the record as it was, or null where there was none.
    /// Its history stays; saving again under the same five ids begins a new record with a new id.
    #[graphql(name = "deleteIPackInstanceOauthConnectorDetails")]
    async fn delete_connector_details(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The five ids of the record.")] input: FindDetailsInput,
        #[graphql(
            desc = "The revision that the record must have; else CONFLICT, and nothing is deleted. \
                    Missing: whatever it is."
        )]
        expected_revision: Option<i64>,
    ) -> Option<ConnectorDetails> {
        let deleted = async {
            let command = DeleteConnectorDetails::new(input.key(), expected_revision)
                .map_err(|errors| invalid(errors, "Nothing was deleted."))?;
            submit(context, Command::Delete(command)).await
        };
        let record = or_report(context, deleted.await).flatten();
        record.map(ConnectorDetails::from)
    }
}

async fn find(context: &Context<'_>, input: FindDetailsInput) -> Result<Option<Record>, ApiError> {
    let caller: &Caller = context.data_unchecked();
    let key = input.key().map_err(ApiError::Invalid)?;
    own_space(caller, &key.catalog_guid)?;
    let records: &Records = context.data_unchecked();
    let found = records.find(&key, context.data_unchecked::<TraceContext>());
    found.await.map_err(|_| ApiError::Unreadable)
}

fn save(input: SaveDetailsInput, expected_revision: Option<i64>) -> Result<Command, ApiError> {
    SaveConnectorDetails::new(SaveInput {
        integration_pack_instance_id: input.integration_pack_instance_id,
        is_token_generated: input.is_token_generated,
        oauth_connector_details: input.oauth_connector_details,
        process_id: input.process_id,
        env_id: input.env_id,
        connection_id: input.connection_id,
        catalog_guid: input.catalog_guid,
        client_id: input.client_id,
        client_secret: input.client_secret.into(),
        expected_revision,
    })
    .map(Command::Save)
    .map_err(|errors| invalid(errors, "Nothing was saved."))
}

async fn submit(context: &Context<'_>, command: Command) -> Result<Option<Record>, ApiError> {
    let caller: &Caller = context.data_unchecked();
    own_space(caller, &command.key().catalog_guid)?;
    let commands = context.data_unchecked::<Commands>();
    let id = command_id(commands, caller).map_err(|_| ApiError::Internal)?;
    let deadline = context.data_unchecked::<RequestDeadline>().0;
    let submitted = submit::submit(
        commands,
        context.data_unchecked::<Records>(),
        id.clone(),
        &caller.subject,
        &command,
        deadline,
        context.data_unchecked::<TraceContext>(),
    );
    submitted.await.map_err(|error| match error {
        SubmitError::Refused(errors) => ApiError::Refused(errors, id),
        SubmitError::QueueFull => ApiError::QueueFull,
        SubmitError::Unavailable => ApiError::Unavailable,
        SubmitError::TooLate => ApiError::TooLate(command.kind()),
        SubmitError::Pending => ApiError::Pending(command.kind(), id),
        SubmitError::Unknown => ApiError::Unknown(command.kind(), id),
    })
}

fn invalid(errors: Vec<CommandError>, consequence: &str) -> ApiError {
    let with_consequence = |error: CommandError| CommandError {
        message: format!("{} {consequence}", error.message),
        ..error
    };
    ApiError::Invalid(errors.into_iter().map(with_consequence).collect())
}

fn own_space(caller: &Caller, space: &CatalogGuid) -> Result<(), ApiError> {
    if *space == caller.space {
        Ok(())
    } else {
        Err(ApiError::OtherSpace)
    }
}

fn command_id(commands: &Commands, caller: &Caller) -> Result<CommandId, CommandError> {
    let ids = commands.ids();
    match &caller.idempotency_key {
        Some(key) => ids.of_key(&caller.space, &caller.subject, key),
        None => ids.random(&caller.space),
    }
}
