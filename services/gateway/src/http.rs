//! GraphQL over HTTP, strictly: what is negotiated, refused and answered before and after the
//! schema has its turn.
//!
//! async-graphql's own handler executes a mutation that comes by GET or as `text/plain`, which
//! any web page can send. This one takes POST only as `application/json`, and nothing but
//! queries by GET.

mod negotiation;
mod params;
mod refused;

use std::sync::Arc;

use async_graphql::{
    Positioned, Request, Response as GraphqlResponse,
    parser::types::{Field, OperationType},
};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header::CONTENT_TYPE},
    response::Response,
    routing::any,
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio_util::sync::CancellationToken;

use self::{
    negotiation::{GRAPHQL_JSON, JSON, is_json, negotiate},
    params::Params,
    refused::Refused,
};
use crate::{
    auth::Auth,
    commands::Commands,
    document::{Documents, check_inputs, operation, root_fields},
    failure::code,
    health,
    records::Records,
    schema::ConnectorDetailsSchema,
    validation,
};

/// The largest body. The largest valid save, escaped, fits.
const BODY_BYTES: usize = 256 * 1024;

/// What requests are served with. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// The API.
    pub schema: ConnectorDetailsSchema,
    /// Who is let in.
    pub auth: Arc<Auth>,
    /// The way to the broker.
    pub commands: Commands,
    /// The way to the database.
    pub records: Records,
    /// Told to stop: not ready any more, and still answering.
    pub stop: CancellationToken,
    documents: Arc<Documents>,
}

impl App {
    /// Not stopping, and with nothing parsed yet.
    #[must_use]
    pub fn new(
        schema: ConnectorDetailsSchema,
        auth: Auth,
        commands: Commands,
        records: Records,
        stop: CancellationToken,
    ) -> Self {
        Self {
            schema,
            auth: Arc::new(auth),
            commands,
            records,
            stop,
            documents: Arc::default(),
        }
    }
}

/// All of the gateway's routes.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/graphql", any(graphql))
        .merge(health::router())
        .with_state(app)
}

async fn graphql(
    State(app): State<App>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let media = match negotiate(&headers) {
        Ok(media) => media,
        Err(refused) => return refused.respond(JSON),
    };
    match serve(&app, &method, &uri, &headers, body).await {
        Ok(response) => answer(&response, media),
        Err(refused) => refused.respond(media),
    }
}

async fn serve(
    app: &App,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
) -> Result<GraphqlResponse, Refused> {
    if ![Method::GET, Method::POST].contains(method) {
        return Err(Refused::method("GET, POST"));
    }
    if *method == Method::POST && !is_json(headers) {
        return Err(Refused::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UNSUPPORTED_MEDIA_TYPE",
            "The body must be sent as Content-Type: application/json. Nothing was saved.",
        ));
    }
    let caller = app.auth.caller(headers).await?;
    let params = if *method == Method::GET {
        Params::of_query(uri.query().unwrap_or_default())?
    } else {
        Params::of_body(&read(body).await?)?
    };
    let document = match app.documents.parse(&params.query) {
        Ok(document) => document,
        Err(error) => return Ok(GraphqlResponse::from_errors(vec![error])),
    };
    if let Some(operation) = operation(&document, params.operation_name.as_deref()) {
        if *method == Method::GET && operation.ty != OperationType::Query {
            return Err(Refused::method("POST"));
        }
        let fields = root_fields(&document, operation);
        if caller.idempotency_key.is_some() && saves(operation.ty, &fields) > 1 {
            return Err(Refused::bad_request(
                "Idempotency-Key names one save; the document has several. Nothing was saved.",
            ));
        }
        if let Err(error) = check_inputs(&fields, operation, &params.variables) {
            return Ok(GraphqlResponse::from_errors(vec![error]));
        }
    }
    let mut request = Request::new(params.query)
        .variables(params.variables)
        .data(caller);
    request.operation_name = params.operation_name;
    request.set_parsed_query(document);
    Ok(in_our_words(app.schema.execute(request).await))
}

fn saves(operation: OperationType, fields: &[&Positioned<Field>]) -> usize {
    let is_save = |field: &&&Positioned<Field>| !field.node.name.node.starts_with("__");
    match operation {
        OperationType::Mutation => fields.iter().filter(is_save).count(),
        _ => 0,
    }
}

/// Errors that the resolvers did not make are the document's fault; the first of them is told.
fn in_our_words(mut response: GraphqlResponse) -> GraphqlResponse {
    let (ours, foreign): (Vec<_>, Vec<_>) = response
        .errors
        .into_iter()
        .partition(|error| code(error).is_some());
    response.errors = ours;
    if let Some(first) = foreign.first() {
        response
            .errors
            .insert(0, validation::validation_failed(first));
    }
    response
}

async fn read(body: Body) -> Result<Bytes, Refused> {
    match Limited::new(body, BODY_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refused::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "PAYLOAD_TOO_LARGE",
            "The body must be at most 262144 bytes. Nothing was saved.",
        )),
        Err(_) => Err(Refused::bad_request(
            "The body could not be read to its end. Nothing was saved.",
        )),
    }
}

/// A GraphQL answer. A request error has no `data`, and is an HTTP error only for those who asked
/// for `application/graphql-response+json`: older clients read the body of a 200 only.
fn answer(response: &GraphqlResponse, media: &'static str) -> Response {
    let is_request_error = !response.errors.is_empty()
        && response.data == async_graphql::Value::Null
        && response.errors.iter().all(|error| error.path.is_empty());
    let status = if is_request_error && media == GRAPHQL_JSON {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::OK
    };
    let body = if is_request_error {
        serde_json::to_vec(&serde_json::json!({ "errors": response.errors }))
    } else {
        serde_json::to_vec(response)
    };
    respond(status, media, body.unwrap_or_default())
}

fn respond(status: StatusCode, media: &'static str, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let content_type = if media == JSON {
        "application/json; charset=utf-8"
    } else {
        "application/graphql-response+json; charset=utf-8"
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // Answers are about one bearer's Space.
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    headers.insert(
        "x-content-type-options",
        HeaderValue::from_static("nosniff"),
    );
    response
}
