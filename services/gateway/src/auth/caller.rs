//! The sender of a request.

use proto::CatalogGuid;

/// The authenticated sender of a request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The Space of the `SPACE_GUID` header, which the token lists too.
    pub space: CatalogGuid,
    /// The token's subject.
    pub subject: String,
    /// The expiry of the token, in seconds since 1970 UTC.
    pub expires: u64,
    /// The `Idempotency-Key` header, if the client sent one.
    pub idempotency_key: Option<Vec<u8>>,
}
