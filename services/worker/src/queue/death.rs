//! Why the broker gave a message up.

use lapin::{BasicProperties, types::AMQPValue};
use proto::CommandError;

/// The header with the reasons, the latest first.
const DEATHS: &str = "x-death";

/// Why the broker gave a message up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeathReason {
    /// Its `expiration` was over.
    Expired,
    /// It was delivered too often.
    DeliveryLimit,
    /// A consumer rejected it; no worker does.
    Rejected,
    /// Nobody said so: an operator published it here, for example.
    Unknown,
}

impl DeathReason {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Expired,
        Self::DeliveryLimit,
        Self::Rejected,
        Self::Unknown,
    ];

    /// Reads it from the message's properties.
    pub fn of(properties: &BasicProperties) -> Self {
        let latest = latest_death(properties);
        let is_latest = |reason: &Self| latest.as_deref() == Some(reason.as_str());
        let known = Self::ALL.into_iter().find(is_latest);
        known.unwrap_or(Self::Unknown)
    }

    /// Its name in `x-death` and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::DeliveryLimit => "delivery_limit",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
        }
    }

    /// The error that its publisher and its parked copy get.
    pub fn fault(self) -> CommandError {
        match self {
            Self::Expired => CommandError::expired(),
            Self::DeliveryLimit | Self::Rejected | Self::Unknown => CommandError::internal(),
        }
    }
}

fn latest_death(properties: &BasicProperties) -> Option<String> {
    let headers = properties.headers().as_ref()?.inner();
    let AMQPValue::FieldArray(deaths) = headers.get(DEATHS)? else {
        return None;
    };
    let AMQPValue::FieldTable(latest) = deaths.as_slice().first()? else {
        return None;
    };
    match latest.inner().get("reason")? {
        AMQPValue::LongString(reason) => Some(reason.to_string()),
        _ => None,
    }
}
