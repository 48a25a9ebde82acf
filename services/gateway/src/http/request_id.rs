//! The id of a request, in its answer, in each of its errors and in the log.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// Read from the request, and set in every answer.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

const MAX_BYTES: usize = 128;

/// A request id. It consists of visible ASCII characters.
#[derive(Debug, Clone)]
pub(super) struct RequestId(HeaderValue);

impl RequestId {
    /// The id that the client sent, if it is safe in headers, logs and shells without quotes; otherwise a
    /// new one.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(HEADER).iter();
        match (values.next(), values.next()) {
            (Some(value), None) if is_plain(value) => Self(value.clone()),
            _ => Self::new(),
        }
    }

    fn new() -> Self {
        let id = Uuid::new_v4().simple().to_string();
        // Letters and digits are valid in a header, so the fallback is never used.
        Self(HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("unnamed")))
    }

    pub fn as_str(&self) -> &str {
        // A request id is visible ASCII, so the fallback is never used.
        self.0.to_str().unwrap_or("unnamed")
    }

    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

fn is_plain(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
    (1..=MAX_BYTES).contains(&bytes.len()) && bytes.iter().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&'static str]) -> RequestId {
        let mut headers = HeaderMap::new();
        for value in values.iter().copied() {
            headers.append(HEADER, HeaderValue::from_static(value));
        }
        RequestId::of(&headers)
    }

    #[test]
    fn a_safe_id_of_the_client_is_used() {
        let id = "aZ09-_.:/+=@";
        assert_eq!(of(&[id]).as_str(), id);
    }

    #[test]
    fn any_other_id_is_replaced() {
        let long: &'static str = "a".repeat(MAX_BYTES + 1).leak();
        let rejected: [&[&'static str]; 6] =
            [&[], &[""], &["a b"], &["$(a)"], &[long], &["a", "b"]];
        for values in rejected {
            let id = of(values);
            assert_eq!(id.as_str().len(), 32, "{values:?}");
            assert!(is_plain(&id.header()), "{values:?}");
        }
    }
}
