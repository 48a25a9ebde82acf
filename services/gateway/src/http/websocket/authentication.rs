//! Authenticates a socket with the headers of its request or the payload of `connection_init`.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    app::App,
    auth::{AuthError, caller::Caller},
    limits::{Full, Share},
};

/// The headers that the payload of `connection_init` may contain, because scripts in a browser can't
/// set the headers of a WebSocket.
const PAYLOAD_HEADERS: [&str; 3] = ["authorization", "space_guid", "space-guid"];

pub(super) async fn authenticate(
    app: &App,
    headers: &HeaderMap,
) -> Result<(Caller, Share), async_graphql::Error> {
    let caller = app.auth.caller(headers).await.map_err(|error| {
        async_graphql::Error::new(match error {
            AuthError::BadRequest(message) | AuthError::Unauthenticated(message) => message,
            AuthError::OtherSpace => "SPACE_GUID is not a Space of this token.",
            AuthError::NoKeys => "Tokens can't be checked at the moment.",
        })
    })?;
    let rate_limited = |_| async_graphql::Error::new("This subject asks too often in this Space.");
    app.limits.request(&caller).map_err(rate_limited)?;
    let share = app.limits.socket(&caller).map_err(|full| {
        async_graphql::Error::new(match full {
            Full::Bearer => "This subject has too many sockets open in this Space.",
            Full::All => "Too many sockets are open.",
        })
    })?;
    Ok((caller, share))
}

/// Replaces headers of the request by those in the payload.
pub(super) fn with_payload(mut headers: HeaderMap, payload: &serde_json::Value) -> HeaderMap {
    for (name, value) in payload.as_object().into_iter().flatten() {
        let name = name.to_ascii_lowercase();
        let value = value
            .as_str()
            .and_then(|text| HeaderValue::from_str(text).ok());
        if let (true, Ok(name), Some(value)) = (
            PAYLOAD_HEADERS.contains(&name.as_str()),
            HeaderName::try_from(name.as_str()),
            value,
        ) {
            headers.insert(name, value);
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_payload_can_set_the_token_and_the_space_and_no_other_header() {
        let headers = with_payload(
            HeaderMap::new(),
            &json!({ "Authorization": "Bearer x", "SPACE_GUID": "s", "Idempotency-Key": "k" }),
        );

        assert_eq!(headers.len(), 2);
        assert_eq!(headers["authorization"], "Bearer x");
        assert_eq!(headers["space_guid"], "s");
    }

    #[test]
    fn a_payload_of_another_type_sets_no_header() {
        for payload in [
            json!(null),
            json!("authorization"),
            json!([{ "authorization": "a" }]),
            json!({ "authorization": 7 }),
            json!({ "authorization": "a\nb" }),
        ] {
            assert!(
                with_payload(HeaderMap::new(), &payload).is_empty(),
                "{payload}"
            );
        }
    }
}
