//! Who sends a request.

use proto::CatalogGuid;

/// Who asks, as the request's headers proved.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The Space of the `SPACE_GUID` header, which the token lists too.
    pub space: CatalogGuid,
    /// The token's subject.
    pub subject: String,
    /// When the token expires, in seconds since 1970 UTC.
    pub expires: u64,
    /// The `Idempotency-Key`, if the client named its save.
    pub idempotency_key: Option<Vec<u8>>,
}
