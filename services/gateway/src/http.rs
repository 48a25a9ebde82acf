//! GraphQL over HTTP, strictly: what is negotiated, refused and answered before and after the
//! schema has its turn.
//!
//! async-graphql's own handler executes a mutation that comes by GET or as `text/plain`, which
//! any web page can send. This one takes POST only as `application/json`, and nothing but
//! queries by GET.

mod answer;
mod cors;
mod negotiation;
mod observed;
mod params;
mod refused;
mod request_id;
mod streams;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use async_graphql::{Request, Response as GraphqlResponse, parser::types::OperationType};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::Response,
    routing::any,
};
use futures_util::FutureExt as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use telemetry::traces::Traces;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use self::cors::Origin;
use self::{
    answer::{answer, in_our_words},
    negotiation::{JSON, is_json, negotiate},
    observed::Observed,
    params::Params,
    refused::Refused,
};
use crate::{
    auth::Auth,
    code::Code,
    commands::Commands,
    document::{self, DocumentArgs, Documents, Parsed},
    failure::code,
    health,
    limits::{Charge, Limits},
    pages::{self, Page},
    records::Records,
    schema::Schemas,
};

/// For a whole body. Whoever sends it byte by byte must not keep a place among those in work.
const BODY_DEADLINE: Duration = Duration::from_secs(3);

/// What requests are served with. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// The API.
    pub schemas: Schemas,
    /// Who is let in.
    pub auth: Arc<Auth>,
    /// The way to the broker.
    pub commands: Commands,
    /// The way to the database.
    pub records: Records,
    /// How much a bearer, and all of them, may have.
    pub limits: Arc<Limits>,
    /// How large a request may be.
    pub document: DocumentArgs,
    /// What was parsed before.
    pub documents: Arc<Documents>,
    /// Where spans go.
    pub traces: Traces,
    /// Told to stop: not ready any more, and still answering.
    pub stop: CancellationToken,
}

/// All of the gateway's routes: for scripts of these origins, too, and with pages for people.
pub fn router(app: App, origins: &[Origin], pages: impl IntoIterator<Item = Page>) -> Router {
    let api = Router::new()
        .route("/graphql", any(graphql))
        .merge(streams::router());
    let routes = cors::allow(api, origins)
        .merge(health::router())
        .with_state(app);
    let pages = pages.into_iter().map(pages::router);
    pages.fold(routes, Router::merge)
}

async fn graphql(
    State(app): State<App>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let mut observed = Observed::begin(&app.traces, &method, &headers);
    let negotiated = negotiate(&headers);
    let media = *negotiated.as_ref().unwrap_or(&JSON);
    let served = match negotiated {
        Ok(_) => {
            let served = serve(&app, &method, &uri, &headers, body, &mut observed);
            let served = AssertUnwindSafe(served).catch_unwind().await;
            served.unwrap_or_else(|_| Err(Refused::failed()))
        }
        Err(refused) => Err(refused),
    };
    let id = observed.id.header();
    let mut response = match served {
        Ok(answered) => {
            let errors = answered.errors.iter();
            let codes: Vec<String> = errors.filter_map(code).map(ToOwned::to_owned).collect();
            let response = answer(answered, media, &observed);
            let codes: Vec<&str> = codes.iter().map(String::as_str).collect();
            observed.end(response.status(), &codes);
            response
        }
        Err(refused) => {
            if let Some(delay) = refused.delay() {
                tokio::time::sleep(delay).await;
            }
            let code = refused.code.as_str();
            let response = refused.respond(media, &observed);
            observed.end(response.status(), &[code]);
            response
        }
    };
    response.headers_mut().insert(request_id::HEADER, id);
    response
}

async fn serve(
    app: &App,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
    observed: &mut Observed,
) -> Result<GraphqlResponse, Refused> {
    let _place = app.limits.enter().ok_or_else(Refused::busy)?;
    if ![Method::GET, Method::POST].contains(method) {
        return Err(Refused::method("GET, POST"));
    }
    if *method == Method::POST && !is_json(headers) {
        return Err(Refused::not_json());
    }
    let caller = app.auth.caller(headers).await?;
    let params = if *method == Method::GET {
        Params::of_query(uri.query().unwrap_or_default())?
    } else {
        Params::of_body(&read(body, app.document.max_body_bytes).await?)?
    };
    let refused = |error| Ok(GraphqlResponse::from_errors(vec![error]));
    let Parsed { document, is_valid } = match app.documents.parse(&params.query) {
        Ok(parsed) => parsed,
        Err(error) => {
            app.limits.charge(&caller, Charge::Reads(1))?;
            return refused(error);
        }
    };
    let mut trusted = false;
    if let Some(operation) = document::operation(&document, params.operation_name.as_deref()) {
        if *method == Method::GET && operation.ty != OperationType::Query {
            return Err(Refused::method("POST"));
        }
        let fields = document::root_fields(&document, operation);
        let charge = document::charge(operation.ty, &fields);
        observed.asks_for(charge);
        let saves = match charge {
            Charge::Saves(count) => count,
            Charge::Reads(_) => 0,
        };
        if let Err(error) = app.document.check(&document, saves) {
            app.limits.charge(&caller, Charge::Reads(1))?;
            return refused(error);
        }
        if caller.idempotency_key.is_some() && saves > 1 {
            return Err(Refused::bad_request(
                "Idempotency-Key names one save; the document has several. Nothing was saved.",
            ));
        }
        app.limits.charge(&caller, charge)?;
        if let Err(error) = document::check_inputs(&fields, operation, &params.variables) {
            return refused(error);
        }
        trusted = is_valid && document::fits(operation, &fields, &params.variables);
    } else {
        app.limits.charge(&caller, Charge::Reads(1))?;
    }
    let mut request = Request::new(String::new())
        .variables(params.variables)
        .data(observed.place(&app.traces))
        .data(caller);
    request.operation_name = params.operation_name;
    request.set_parsed_query(document);
    if trusted {
        return Ok(in_our_words(app.schemas.trusting.execute(request).await));
    }
    let answered = in_our_words(app.schemas.strict.execute(request).await);
    let invalid = Code::GraphqlValidationFailed.as_str();
    if !is_valid
        && answered
            .errors
            .iter()
            .all(|error| code(error) != Some(invalid))
    {
        app.documents.is_valid(&params.query);
    }
    Ok(answered)
}

async fn read(body: Body, most_bytes: usize) -> Result<Bytes, Refused> {
    let whole = Limited::new(body, most_bytes).collect();
    match timeout(BODY_DEADLINE, whole).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refused::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            Code::PayloadTooLarge,
            "The body is larger than this gateway takes. Nothing was saved.",
        )),
        Ok(Err(_)) | Err(_) => Err(Refused::bad_request(
            "The body could not be read to its end in time. Nothing was saved.",
        )),
    }
}
