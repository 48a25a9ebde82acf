//! All error codes of the API, with Apollo's names where Apollo has one. The table in the README says
//! for each code whether a retry is safe; a test checks that the table is complete.

use proto::ErrorCode;

/// Defines the enum, the list of its variants and their names.
macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident = $name:literal,)*) => {
        /// A value of `extensions.code`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code {
            $($(#[$doc])* $code,)*
        }

        impl Code {
            /// All codes.
            pub const ALL: &[Self] = &[$(Self::$code,)*];

            /// The published name.
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
    /// The code with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == name)
    }

    /// Whether the service caused the error, and not the request.
    pub(crate) fn is_server_error(self) -> bool {
        matches!(
            self,
            Self::QueueFull
                | Self::ServiceUnavailable
                | Self::SavePending
                | Self::SaveUnknown
                | Self::Expired
                | Self::InternalServerError
        )
    }
}

/// A reply of the worker carries one of these codes.
impl From<ErrorCode> for Code {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::BadRequest => Self::BadRequest,
            ErrorCode::BadUserInput => Self::BadUserInput,
            ErrorCode::Forbidden => Self::Forbidden,
            ErrorCode::Conflict => Self::Conflict,
            ErrorCode::Expired => Self::Expired,
            ErrorCode::InternalServerError => Self::InternalServerError,
        }
    }
}

codes! {
    /// The document can't be parsed.
    GraphqlParseFailed = "GRAPHQL_PARSE_FAILED",
    /// The document does not match the schema, or exceeds a limit.
    GraphqlValidationFailed = "GRAPHQL_VALIDATION_FAILED",
    /// A value breaks a rule of its field.
    BadUserInput = "BAD_USER_INPUT",
    /// The request names another Space than the token or the header.
    Forbidden = "FORBIDDEN",
    /// The command id was used for other content, or the record has another revision than expected.
    Conflict = "CONFLICT",
    /// The queue of commands is full.
    QueueFull = "QUEUE_FULL",
    /// The broker, the database or the keys are not available, or the gateway is at a limit.
    ServiceUnavailable = "SERVICE_UNAVAILABLE",
    /// The broker has the command, and its outcome is not known yet.
    SavePending = "SAVE_PENDING",
    /// The command was written to the broker and not confirmed.
    SaveUnknown = "SAVE_UNKNOWN",
    /// The command expired in the queue before a worker received it.
    Expired = "EXPIRED",
    /// An error of the service itself.
    InternalServerError = "INTERNAL_SERVER_ERROR",
    /// Not a GraphQL request, or a header is missing or duplicated.
    BadRequest = "BAD_REQUEST",
    /// The token is missing or not valid.
    Unauthenticated = "UNAUTHENTICATED",
    /// The method is neither POST, nor GET with a query.
    MethodNotAllowed = "METHOD_NOT_ALLOWED",
    /// The gateway supports none of the media types in `Accept`.
    NotAcceptable = "NOT_ACCEPTABLE",
    /// The body is too large.
    PayloadTooLarge = "PAYLOAD_TOO_LARGE",
    /// The `Content-Type` is not JSON.
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE",
    /// The subject exceeds a limit.
    RateLimited = "RATE_LIMITED",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_by_its_name() {
        for code in Code::ALL {
            assert_eq!(Code::named(code.as_str()), Some(*code));
        }
        assert_eq!(Code::named("OK"), None);
    }

    #[test]
    fn the_worker_and_the_gateway_have_the_same_names_for_a_code() {
        for code in [
            ErrorCode::BadRequest,
            ErrorCode::BadUserInput,
            ErrorCode::Forbidden,
            ErrorCode::Conflict,
            ErrorCode::Expired,
            ErrorCode::InternalServerError,
        ] {
            assert_eq!(Code::from(code).as_str(), code.as_str());
        }
    }
}
