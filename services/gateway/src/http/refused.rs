//! Requests that GraphQL never gets to see, and how they are answered.

use axum::{
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{ALLOW, WWW_AUTHENTICATE},
    },
    response::Response,
};

use super::respond;
use crate::auth::Refusal;

/// A refused request.
pub(super) struct Refused {
    status: StatusCode,
    code: &'static str,
    message: &'static str,
    header: Option<(HeaderName, &'static str)>,
}

impl Refused {
    pub fn new(status: StatusCode, code: &'static str, message: &'static str) -> Self {
        Self {
            status,
            code,
            message,
            header: None,
        }
    }

    pub fn bad_request(message: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
    }

    pub fn not_acceptable() -> Self {
        Self::new(
            StatusCode::NOT_ACCEPTABLE,
            "NOT_ACCEPTABLE",
            "Accept must allow application/json or application/graphql-response+json. \
             Nothing was saved.",
        )
    }

    pub fn method(allowed: &'static str) -> Self {
        Self {
            header: Some((ALLOW, allowed)),
            ..Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "METHOD_NOT_ALLOWED",
                "Mutations are served by POST, queries by POST or GET. Nothing was saved.",
            )
        }
    }

    pub fn respond(self, media: &'static str) -> Response {
        let retryable = self.status == StatusCode::SERVICE_UNAVAILABLE;
        let body = serde_json::json!({ "errors": [{
            "message": self.message,
            "extensions": { "code": self.code, "retryable": retryable },
        }]});
        let mut response = respond(self.status, media, body.to_string().into_bytes());
        if let Some((name, value)) = self.header {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::BadRequest(message) => Self::bad_request(message),
            Refusal::Unauthenticated(message) => Self {
                header: Some((WWW_AUTHENTICATE, "Bearer")),
                ..Self::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message)
            },
            Refusal::OtherSpace => Self::new(
                StatusCode::FORBIDDEN,
                "FORBIDDEN",
                "SPACE_GUID is not a Space of this token. Nothing was read or saved.",
            ),
            Refusal::NoKeys => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "SERVICE_UNAVAILABLE",
                "Tokens can't be checked at the moment. Nothing was saved; repeating is safe.",
            ),
        }
    }
}
