//! From a request's headers to its parameters, in the order in which things cost: first the media type
//! of a POST, then the token, then one unit of what its bearer may ask for, and only then the body.

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

/// For a whole body. Whoever sends it byte by byte keeps a connection, and no place.
const BODY_DEADLINE: Duration = Duration::from_secs(3);

/// A request whose body is there.
pub(super) struct Received {
    pub caller: Caller,
    pub params: Params,
    /// The room that its body takes, to be kept as long as the parameters are.
    pub room: Share,
}

/// Receives a request whose sender may ask.
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
    let mut room = app.limits.body(&caller)?;
    let params = if *method == Method::GET {
        Params::of_query(uri.query().unwrap_or_default())
    } else {
        let body = read(body, app.document.max_body_bytes, &mut room).await;
        body.and_then(|body| Params::of_body(&body))
    };
    match params {
        Ok(params) => Ok(Received {
            caller,
            params,
            room,
        }),
        Err(refused) => {
            // It was read all the same.
            app.limits.charge(&caller, Cost::Reads(1))?;
            Err(refused)
        }
    }
}

async fn read(body: Body, most_bytes: usize, room: &mut Share) -> Result<Vec<u8>, Rejection> {
    match timeout(BODY_DEADLINE, collect(body, most_bytes, room)).await {
        Ok(read) => read,
        Err(_) => Err(unread()),
    }
}

async fn collect(
    mut body: Body,
    most_bytes: usize,
    room: &mut Share,
) -> Result<Vec<u8>, Rejection> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(part) = frame.map_err(|_| unread())?.into_data() else {
            continue;
        };
        if whole.len() + part.len() > most_bytes {
            return Err(too_large());
        }
        room.grow(part.len())?;
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
