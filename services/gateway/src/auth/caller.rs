//! The sender of a request.

use proto::CatalogGuid;

/// The maximum length of a subject: the ledger and AMQP properties hold it.
pub const MAX_SUBJECT_BYTES: usize = 255;

/// The authenticated sender of a request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The Space of the `SPACE_GUID` header, which the token lists too.
    pub space: CatalogGuid,
    /// The token's subject, of at most [`MAX_SUBJECT_BYTES`].
    pub subject: String,
    /// The expiry of the token, in seconds since 1970 UTC.
    pub expires: u64,
    /// The `Idempotency-Key` header, if the client sent one.
    pub idempotency_key: Option<Vec<u8>>,
}
