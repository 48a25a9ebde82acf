//! Every error code that a client of the gateway can be answered with, Apollo's names where it has
//! one. The README's table says of each what it leaves behind; a test holds the two together.

/// The list, and the name of each.
macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident = $name:literal,)*) => {
        /// A code, as it stands in `extensions.code`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code {
            $($(#[$doc])* $code,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$code,)*];

            /// The name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$code => $name,)*
                }
            }
        }
    };
}

impl Code {
    /// The code of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == name)
    }

    /// Whether it tells of a fault on our side, and not of one in the request.
    pub(crate) fn is_ours(self) -> bool {
        matches!(
            self,
            Self::QueueFull
                | Self::ServiceUnavailable
                | Self::SavePending
                | Self::SaveUnknown
                | Self::InternalServerError
        )
    }
}

codes! {
    /// The document can't be parsed.
    GraphqlParseFailed = "GRAPHQL_PARSE_FAILED",
    /// The document does not fit the schema, or asks for too much.
    GraphqlValidationFailed = "GRAPHQL_VALIDATION_FAILED",
    /// A value breaks its field's rules.
    BadUserInput = "BAD_USER_INPUT",
    /// Another Space than the token's or the header's.
    Forbidden = "FORBIDDEN",
    /// The id was used before for other content.
    Conflict = "CONFLICT",
    /// Too many commands wait.
    QueueFull = "QUEUE_FULL",
    /// The broker, the database or the keys are away, or all places are taken.
    ServiceUnavailable = "SERVICE_UNAVAILABLE",
    /// Accepted, and not decided yet.
    SavePending = "SAVE_PENDING",
    /// Written, and never confirmed.
    SaveUnknown = "SAVE_UNKNOWN",
    /// A fault of the service.
    InternalServerError = "INTERNAL_SERVER_ERROR",
    /// No GraphQL request, or headers that are missing or there twice.
    BadRequest = "BAD_REQUEST",
    /// No token, or not a valid one.
    Unauthenticated = "UNAUTHENTICATED",
    /// Another method than POST, or GET for queries.
    MethodNotAllowed = "METHOD_NOT_ALLOWED",
    /// No media type that the gateway has.
    NotAcceptable = "NOT_ACCEPTABLE",
    /// A larger body than is taken.
    PayloadTooLarge = "PAYLOAD_TOO_LARGE",
    /// A body that is not said to be JSON.
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE",
    /// One bearer asks too often.
    RateLimited = "RATE_LIMITED",
}
