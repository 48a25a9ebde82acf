//! Requests that are answered without a GraphQL execution, or whose execution failed.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    time::Duration,
};

use async_graphql::ServerError;
use axum::{
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::Response,
};
use serde_json::json;
use tokio::time::sleep;

use super::{access_log::RequestLog, response::respond};
use crate::{
    auth::AuthError,
    error_code::Code,
    graphql::errors::extensions,
    limits::{Full, RateLimited},
};

/// The delay of the answer to a client that exceeds a limit. Without it, a client that retries at once
/// would keep the gateway busy with rejections. The delay is random, so that clients that were rejected
/// together do not retry together.
const DELAYS_MS: std::ops::Range<u64> = 250..750;

/// The `Retry-After` of a client with too many requests in progress.
const RETRY_AFTER_FULL: Duration = Duration::from_secs(1);

/// A rejected request.
pub(super) struct Rejection {
    status: StatusCode,
    code: Code,
    message: &'static str,
    header: Option<(HeaderName, &'static str)>,
    retry_after: Option<Duration>,
}

impl Rejection {
    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn new(status: StatusCode, code: Code, message: &'static str) -> Self {
        Self {
            status,
            code,
            message,
            header: None,
            retry_after: None,
        }
    }

    pub fn bad_request(message: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::BadRequest, message)
    }

    pub fn not_acceptable() -> Self {
        Self::new(
            StatusCode::NOT_ACCEPTABLE,
            Code::NotAcceptable,
            "Accept must allow application/json or application/graphql-response+json. \
             Nothing was saved.",
        )
    }

    pub fn not_json() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Code::UnsupportedMediaType,
            "The body must be sent as Content-Type: application/json. Nothing was saved.",
        )
    }

    pub fn method(allowed: &'static str) -> Self {
        Self {
            header: Some((ALLOW, allowed)),
            ..Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                Code::MethodNotAllowed,
                "Mutations are served by POST, queries by POST or GET. Nothing was saved.",
            )
        }
    }

    /// A method that an endpoint of subscriptions does not serve.
    pub fn stream_method(allowed: &'static str) -> Self {
        Self {
            message: "Subscriptions are served by POST at /graphql/stream, and over WebSocket at \
                      /graphql/ws. Nothing was saved.",
            ..Self::method(allowed)
        }
    }

    /// A limit of all clients together is reached.
    pub fn busy() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::ServiceUnavailable,
            "Too many requests are being worked on. Nothing was saved; repeating is safe.",
        )
    }

    /// The gateway panicked. It is not known whether a command was sent before.
    pub fn failed() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            Code::InternalServerError,
            "The gateway failed. It is not known whether anything was saved; repeating is safe \
             with the same Idempotency-Key.",
        )
    }

    /// Delays the answer if the client exceeds a limit.
    pub async fn delay(&self) {
        if self.retry_after.is_some() {
            let random = RandomState::new().build_hasher().finish();
            let spread = DELAYS_MS.end - DELAYS_MS.start;
            sleep(Duration::from_millis(DELAYS_MS.start + random % spread)).await;
        }
    }

    /// The rejection as a GraphQL error, without the ids of the request.
    pub fn error(&self) -> ServerError {
        let retryable = self.status.is_server_error() || self.retry_after.is_some();
        let mut extensions = extensions(self.code.as_str(), retryable);
        if let Some(time) = self.retry_after {
            // Rounded up, because a request that comes too early is rejected again.
            let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            extensions.set("retryAfterMs", milliseconds.saturating_add(1));
        }
        let mut error = ServerError::new(self.message, None);
        error.extensions = Some(extensions);
        error
    }

    /// Answers the request, with a delay if the client exceeds a limit.
    pub async fn answer(self, media: &'static str, log: RequestLog) -> Response {
        self.delay().await;
        let code = self.code.as_str();
        let response = self.respond(media, &log);
        log.end_with(response, &[code])
    }

    fn respond(self, media: &'static str, log: &RequestLog) -> Response {
        let mut error = self.error();
        log.identify(&mut error);
        let body = json!({ "errors": [error] });
        let mut response = respond(self.status, media, body.to_string().into_bytes());
        let headers = response.headers_mut();
        if let Some(time) = self.retry_after {
            headers.insert(RETRY_AFTER, (time.as_secs() + 1).into());
        }
        let header = self.header;
        headers.extend(header.map(|(name, value)| (name, HeaderValue::from_static(value))));
        response
    }
}

impl From<AuthError> for Rejection {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::BadRequest(message) => Self::bad_request(message),
            AuthError::Unauthenticated(message) => Self {
                header: Some((WWW_AUTHENTICATE, "Bearer")),
                ..Self::new(StatusCode::UNAUTHORIZED, Code::Unauthenticated, message)
            },
            AuthError::OtherSpace => Self::new(
                StatusCode::FORBIDDEN,
                Code::Forbidden,
                "SPACE_GUID is not a Space of this token. Nothing was read or saved.",
            ),
            AuthError::NoKeys => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                Code::ServiceUnavailable,
                "Tokens can't be checked at the moment. Nothing was saved; repeating is safe.",
            ),
        }
    }
}

impl From<RateLimited> for Rejection {
    fn from(limited: RateLimited) -> Self {
        Self {
            retry_after: Some(limited.retry_after),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                Code::RateLimited,
                "This subject asks too often in this Space. Nothing was read or saved; repeating \
                 is safe after the time that Retry-After says.",
            )
        }
    }
}

impl From<Full> for Rejection {
    fn from(full: Full) -> Self {
        match full {
            Full::All => Self::busy(),
            Full::Bearer => Self {
                retry_after: Some(RETRY_AFTER_FULL),
                ..Self::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    Code::RateLimited,
                    "This subject has too much in work in this Space. Nothing was read or saved; \
                     repeating is safe after the time that Retry-After says.",
                )
            },
        }
    }
}
