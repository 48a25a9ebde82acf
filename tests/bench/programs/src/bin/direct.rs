//! The baseline: a plain service that writes each row itself, tuned well. It has a pool of 32
//! connections without a ping, prepared statements, and one row per commit. Unlike the product it
//! checks no token, writes no ledger and validates no input.

use std::net::SocketAddr;

use async_graphql::{
    Context, EmptySubscription, InputObject, Object, Request, Response, Schema, ServerError,
    SimpleObject,
};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::header::CONTENT_TYPE,
    response::IntoResponse,
    routing::{get, post},
};
use clap::Parser;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::net::TcpListener;

const CONNECTIONS: u32 = 32;

#[derive(Parser)]
struct Args {
    #[arg(env = "LISTEN")]
    listen: SocketAddr,
    #[arg(env = "DATABASE_URL")]
    database_url: String,
}

/// The published type.
#[derive(SimpleObject, sqlx::FromRow)]
#[expect(clippy::struct_field_names, reason = "the published name")]
struct Details {
    id: String,
    integration_pack_instance_id: String,
    is_token_generated: bool,
    oauth_connector_details: String,
    process_id: String,
    env_id: String,
    connection_id: String,
    catalog_guid: String,
    client_id: String,
}

#[derive(InputObject)]
#[graphql(name = "SaveIPackInstanceOauthConnectorDetailsInput")]
struct SaveInput {
    integration_pack_instance_id: String,
    is_token_generated: bool,
    oauth_connector_details: String,
    process_id: String,
    env_id: String,
    connection_id: String,
    catalog_guid: String,
    client_id: String,
    client_secret: String,
}

#[derive(InputObject)]
#[graphql(name = "IPackInstanceOAuthConnectorDetailsInput")]
struct FindInput {
    integration_pack_instance_id: String,
    process_id: String,
    env_id: String,
    connection_id: String,
    catalog_guid: String,
}

struct Query;

#[Object]
impl Query {
    #[graphql(name = "IPackInstanceOAuthConnectorDetails")]
    async fn details(
        &self,
        context: &Context<'_>,
        input: FindInput,
    ) -> async_graphql::Result<Option<Details>> {
        Ok(sqlx::query_as(
            "select id::text, integration_pack_instance_id, is_token_generated,
                 oauth_connector_details, process_id, env_id, connection_id, catalog_guid, client_id
             from connector_details
             where catalog_guid = $1 and integration_pack_instance_id = $2
                 and process_id = $3 and env_id = $4 and connection_id = $5",
        )
        .bind(input.catalog_guid)
        .bind(input.integration_pack_instance_id)
        .bind(input.process_id)
        .bind(input.env_id)
        .bind(input.connection_id)
        .fetch_optional(context.data::<PgPool>()?)
        .await?)
    }
}

struct Mutation;

#[Object]
impl Mutation {
    #[graphql(name = "saveIPackInstanceOauthConnectorDetails")]
    async fn save_ipack_instance_oauth_connector_details(
        &self,
        context: &Context<'_>,
        input: SaveInput,
    ) -> async_graphql::Result<Details> {
        Ok(sqlx::query_as(
            "insert into connector_details as t (
                 catalog_guid, integration_pack_instance_id, process_id, env_id, connection_id,
                 is_token_generated, oauth_connector_details, client_id, last_command_id
             )
             values ($1, $2, $3, $4, $5, $6, $7, $8, 'none')
             on conflict on constraint connector_details_key do update set
                 is_token_generated = excluded.is_token_generated,
                 oauth_connector_details = excluded.oauth_connector_details,
                 client_id = excluded.client_id,
                 revision = t.revision + 1,
                 updated_at = excluded.updated_at
             returning id::text, integration_pack_instance_id, is_token_generated,
                 oauth_connector_details, process_id, env_id, connection_id, catalog_guid, client_id",
        )
        .bind(input.catalog_guid)
        .bind(input.integration_pack_instance_id)
        .bind(input.process_id)
        .bind(input.env_id)
        .bind(input.connection_id)
        .bind(input.is_token_generated)
        .bind(input.oauth_connector_details)
        .bind(input.client_id)
        .fetch_one(context.data::<PgPool>()?)
        .await?)
    }
}

type Api = Schema<Query, Mutation, EmptySubscription>;

async fn serve(State(api): State<Api>, body: Bytes) -> impl IntoResponse {
    let response = match serde_json::from_slice::<Request>(&body) {
        Ok(request) => api.execute(request).await,
        Err(error) => Response::from_errors(vec![ServerError::new(error.to_string(), None)]),
    };
    let body = serde_json::to_vec(&response).unwrap_or_default();
    ([(CONTENT_TYPE, "application/json")], body)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let options: PgConnectOptions = args.database_url.parse()?;
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .test_before_acquire(false)
        .connect_with(options)
        .await?;
    let api = Schema::build(Query, Mutation, EmptySubscription)
        .data(pool)
        .finish();
    let router = Router::new()
        .route("/graphql", post(serve))
        .route("/health/ready", get(|| async { "\"ready\"" }))
        .with_state(api);
    axum::serve(TcpListener::bind(args.listen).await?, router).await?;
    Ok(())
}
