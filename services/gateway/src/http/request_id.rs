//! What a request is called: in its answer, in each of its errors, and in the log.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// Read, and always answered.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

const LONGEST_BYTES: usize = 128;

/// The name of a request.
#[derive(Debug, Clone)]
pub(super) struct RequestId(HeaderValue);

impl RequestId {
    /// The client's own, where it is one that can be put into a header, a log and a shell without
    /// quotes; else a new one.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(HEADER).iter();
        match (values.next(), values.next()) {
            (Some(value), None) if is_plain(value) => Self(value.clone()),
            _ => Self::new(),
        }
    }

    fn new() -> Self {
        let id = Uuid::new_v4().simple().to_string();
        // Letters and digits are valid in every header.
        Self(HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("unnamed")))
    }

    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

fn is_plain(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
    (1..=LONGEST_BYTES).contains(&bytes.len()) && bytes.iter().all(plain)
}
