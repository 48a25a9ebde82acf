//! The reason why the broker dead-lettered a message.

use lapin::{BasicProperties, types::AMQPValue};
use proto::CommandError;

/// The header in which the broker lists its reasons, the latest first.
const X_DEATH: &str = "x-death";

/// The reason why the broker dead-lettered a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeathReason {
    /// Its `expiration` has passed.
    Expired,
    /// It was delivered more often than the queue's delivery limit.
    DeliveryLimit,
    /// A consumer rejected it. No worker does that.
    Rejected,
    /// The header is missing or has another form. For example, an operator published the message to `.dead`.
    Unknown,
}

impl DeathReason {
    /// All reasons.
    pub const ALL: [Self; 4] = [
        Self::Expired,
        Self::DeliveryLimit,
        Self::Rejected,
        Self::Unknown,
    ];

    /// Reads the reason from the message's properties.
    pub fn of(properties: &BasicProperties) -> Self {
        let latest = latest_death(properties);
        let is_latest = |reason: &Self| latest.as_deref() == Some(reason.as_str());
        let known = Self::ALL.into_iter().find(is_latest);
        known.unwrap_or(Self::Unknown)
    }

    /// The reason's name in `x-death` and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::DeliveryLimit => "delivery_limit",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
        }
    }

    /// The error for the reply and for the parked copy.
    pub fn error(self) -> CommandError {
        match self {
            Self::Expired => CommandError::expired(),
            Self::DeliveryLimit | Self::Rejected | Self::Unknown => CommandError::internal(),
        }
    }
}

fn latest_death(properties: &BasicProperties) -> Option<String> {
    let headers = properties.headers().as_ref()?.inner();
    let AMQPValue::FieldArray(deaths) = headers.get(X_DEATH)? else {
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

#[cfg(test)]
mod tests {
    use lapin::types::{FieldArray, FieldTable};
    use proto::ErrorCode;

    use super::*;

    fn death(reason: &str) -> AMQPValue {
        let mut death = FieldTable::default();
        death.insert("reason".into(), AMQPValue::LongString(reason.into()));
        AMQPValue::FieldTable(death)
    }

    fn with_header(value: AMQPValue) -> BasicProperties {
        let mut headers = FieldTable::default();
        headers.insert(X_DEATH.into(), value);
        BasicProperties::default().with_headers(headers)
    }

    fn with_deaths(reasons: &[&str]) -> BasicProperties {
        let deaths: Vec<AMQPValue> = reasons.iter().map(|reason| death(reason)).collect();
        with_header(AMQPValue::FieldArray(FieldArray::from(deaths)))
    }

    #[test]
    fn each_reason_of_the_broker_is_recognised() {
        for reason in DeathReason::ALL {
            assert_eq!(DeathReason::of(&with_deaths(&[reason.as_str()])), reason);
        }
    }

    #[test]
    fn the_latest_death_counts() {
        let properties = with_deaths(&["delivery_limit", "expired"]);

        assert_eq!(DeathReason::of(&properties), DeathReason::DeliveryLimit);
    }

    #[test]
    fn a_missing_or_malformed_header_gives_an_unknown_reason() {
        for properties in [
            BasicProperties::default(),
            with_deaths(&[]),
            with_deaths(&["maxlen"]),
            with_header(AMQPValue::Boolean(true)),
            with_header(AMQPValue::FieldArray(FieldArray::from(vec![
                AMQPValue::Boolean(true),
            ]))),
            with_header(AMQPValue::FieldArray(FieldArray::from(vec![
                AMQPValue::FieldTable(FieldTable::default()),
            ]))),
        ] {
            assert_eq!(DeathReason::of(&properties), DeathReason::Unknown);
        }
    }

    #[test]
    fn only_an_expired_command_is_reported_as_expired() {
        for reason in DeathReason::ALL {
            let expected = match reason {
                DeathReason::Expired => ErrorCode::Expired,
                _ => ErrorCode::InternalServerError,
            };
            assert_eq!(reason.error().code, expected);
        }
    }
}
