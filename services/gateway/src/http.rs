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
mod prepare;
mod receive;
mod refused;
mod request_id;
mod sockets;
mod streams;

use std::{panic::AssertUnwindSafe, sync::Arc};

use async_graphql::Response as GraphqlResponse;
use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Method, Uri},
    response::Response,
    routing::any,
};
use futures_util::FutureExt as _;
use runtime::traces::Traces;
use tokio_util::sync::CancellationToken;

pub use self::cors::Origin;
use self::{
    answer::{answer, in_our_words},
    negotiation::{JSON, negotiate},
    observed::Observed,
    params::Params,
    prepare::{Failed, Prepared, Serves, prepare},
    receive::{Received, receive},
    refused::Refused,
};
use crate::{
    auth::Auth,
    code::Code,
    commands::Commands,
    document::{DocumentArgs, Documents},
    failure::code,
    health,
    limits::{Limits, Share},
    pages::{self, Page},
    records::Records,
    schema::Schemas,
};

/// What requests are served with.
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

/// The media type that a request is answered with; none where it is refused.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<&'static str> {
    negotiate(headers).ok()
}

/// The document of a request's body, if the body is one request.
pub(crate) fn query_of(body: &[u8]) -> Option<String> {
    Params::of_body(body).ok().map(|params| params.query)
}

/// The document of a query string, if that is one request.
pub(crate) fn query_of_uri(query: &str) -> Option<String> {
    Params::of_query(query).ok().map(|params| params.query)
}

/// All of the gateway's routes: for scripts of these origins, too, and with pages for people.
pub fn router(app: Arc<App>, origins: &[Origin], pages: impl IntoIterator<Item = Page>) -> Router {
    let api = Router::new()
        .route("/graphql", any(graphql))
        .merge(streams::router())
        .merge(sockets::router());
    let routes = cors::allow(api, origins)
        .merge(health::router())
        .with_state(app);
    let pages = pages.into_iter().map(pages::router);
    pages.fold(routes, Router::merge)
}

async fn graphql(
    State(app): State<Arc<App>>,
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
    match served {
        Ok(Answered { answered, share }) => {
            let errors = answered.errors.iter();
            let codes: Vec<String> = errors.filter_map(code).map(ToOwned::to_owned).collect();
            let response = answer(answered, share, media, &observed);
            let codes: Vec<&str> = codes.iter().map(String::as_str).collect();
            observed.end_with(response, &codes)
        }
        Err(refused) => refused.answer(media, observed).await,
    }
}

/// What GraphQL has to say.
struct Answered {
    answered: GraphqlResponse,
    /// The memory that a large answer takes.
    share: Option<Share>,
}

/// In the order in which things cost: the headers, the token, one unit of what its bearer may ask
/// for, the body, a place, the analysis of the document, the rest of what it costs, its execution.
async fn serve(
    app: &App,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
    observed: &mut Observed,
) -> Result<Answered, Refused> {
    let serves = match *method {
        Method::POST => Serves::Post,
        Method::GET => Serves::Get,
        _ => return Err(Refused::method("GET, POST")),
    };
    let received = receive(app, method, uri, headers, body).await?;
    let Received {
        caller,
        params,
        room: _room,
    } = received;
    let _place = app.limits.enter(&caller)?;
    match prepare(app, caller, params, serves, observed) {
        Ok(prepared) => Ok(execute(app, prepared).await),
        Err(Failed::Refused(refused)) => Err(refused),
        Err(Failed::Invalid(error)) => Ok(Answered {
            answered: GraphqlResponse::from_errors(vec![error]),
            share: None,
        }),
    }
}

async fn execute(app: &App, prepared: Prepared) -> Answered {
    let Prepared {
        request,
        answer,
        trusted,
        unproven,
        ..
    } = prepared;
    let schemas = &app.schemas;
    let schema = if trusted {
        &schemas.trusting
    } else {
        &schemas.strict
    };
    let answered = in_our_words(schema.execute(request).await);
    let invalid = Code::GraphqlValidationFailed.as_str();
    if let Some(query) = unproven
        && !answered.errors.iter().any(|it| code(it) == Some(invalid))
    {
        app.documents.is_valid(&query);
    }
    Answered {
        answered,
        share: answer.share(),
    }
}
