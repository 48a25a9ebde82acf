//! Reads a request. The cheapest checks come first: the media type of a POST, the token, the rate of
//! requests, and only then the body.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, Method, StatusCode, Uri},
};
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use super::{negotiation::is_json, params::Params, rejection::Rejection};
use crate::{
    app::App,
    auth::caller::Caller,
    error_code::Code,
    limits::{Cost, Share},
};

/// The time in which a client must send its body. A slow client uses a connection in this time, but does
/// not count as a request in progress.
const BODY_DEADLINE: Duration = Duration::from_secs(3);

/// A request whose body was read.
pub(super) struct Received {
    pub caller: Caller,
    pub params: Params,
    /// The memory of the body, which must be kept as long as the parameters.
    pub memory: Share,
}

/// Authenticates a request and reads its parameters.
pub(super) async fn receive(
    app: &App,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
) -> Result<Received, Rejection> {
    if *method == Method::POST && !is_json(headers) {
        return Err(Rejection::not_json());
    }
    let caller = app.auth.caller(headers).await?;
    app.limits.request(&caller)?;
    let mut memory = app.limits.body(&caller)?;
    let params = if *method == Method::GET {
        Params::of_query(uri.query().unwrap_or(""))
    } else {
        let body = read(body, app.document.max_body_bytes, &mut memory).await;
        body.and_then(|body| Params::of_body(&body))
    };
    match params {
        Ok(params) => Ok(Received {
            caller,
            params,
            memory,
        }),
        Err(rejection) => {
            // A rejected body has a cost, because it was read.
            app.limits.charge(&caller, Cost::Reads(1))?;
            Err(rejection)
        }
    }
}

async fn read(body: Body, max_bytes: usize, memory: &mut Share) -> Result<Vec<u8>, Rejection> {
    match timeout(BODY_DEADLINE, collect(body, max_bytes, memory)).await {
        Ok(read) => read,
        Err(_) => Err(unread()),
    }
}

async fn collect(
    mut body: Body,
    max_bytes: usize,
    memory: &mut Share,
) -> Result<Vec<u8>, Rejection> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(part) = frame.map_err(|_| unread())?.into_data() else {
            continue;
        };
        if whole.len() + part.len() > max_bytes {
            return Err(too_large());
        }
        memory.grow(part.len())?;
        whole.extend_from_slice(&part);
    }
    Ok(whole)
}

fn too_large() -> Rejection {
    Rejection::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        Code::PayloadTooLarge,
        "The body is larger than this gateway takes. Nothing was saved.",
    )
}

fn unread() -> Rejection {
    Rejection::bad_request("The body could not be read to its end in time. Nothing was saved.")
}
