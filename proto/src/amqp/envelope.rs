//! The properties of a command's message. None of them may hold a secret.

mod check;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};

use super::properties::{is_traceparent, is_unencoded};
use crate::{command::Kind, fields::CommandId};

pub use crate::amqp::properties::{CONTENT_TYPE, MAX_TRACESTATE_BYTES};

/// The prefix of the names of exclusive reply queues.
pub const REPLY_QUEUES: &str = "ipack.reply.";
/// The prefix of the addresses with which RabbitMQ replaces `amq.rabbitmq.reply-to`.
const DIRECT_REPLY_TO: &str = "amq.rabbitmq.reply-to.";
/// The header with the person behind the command. The gateway takes it from the token's subject.
pub const SUBJECT: &str = "x-subject";

/// The header with which a publisher allows several replies in one message.
pub const PACK_REPLIES: &str = "x-pack-replies";

const PERSISTENT: u8 = 2;
/// The prefixes that `reply_to` may have. With other names, a publisher could make the worker write to
/// any queue.
const REPLY_PREFIXES: [&str; 2] = [DIRECT_REPLY_TO, REPLY_QUEUES];
const MAX_TEXT_BYTES: usize = 1024;

/// The properties and headers of a command. The length of each value is limited, so that a message with
/// all of them fits into a frame.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope {
    /// `message_id`: the command id. `None` if it is missing or breaks the rules of ids.
    pub command_id: Option<CommandId>,
    /// Copied to the reply. The `message_id` if the publisher set none.
    pub correlation_id: Option<String>,
    /// The queue for the reply. `None` if no reply is sent.
    pub reply_to: Option<String>,
    /// Whether several replies may come in one message.
    pub pack_replies: bool,
    /// The person behind the command, as the publisher claims. The worker ignores it unless the publisher may
    /// name authors.
    pub subject: Option<String>,
    /// The broker user of the publisher, checked by the broker.
    pub user_id: Option<String>,
    /// The publishing service, as it names itself.
    pub app_id: Option<String>,
    /// W3C trace context. `None` if it is malformed.
    pub traceparent: Option<String>,
    /// W3C trace state, at most 512 bytes. `None` without a trace context.
    pub tracestate: Option<String>,
    /// When the command was published, in seconds since 1970 UTC, by the publisher's clock.
    pub timestamp: Option<u64>,
    /// The `type` property.
    pub kind: Option<String>,
    /// The `content_type` property.
    pub content_type: Option<String>,
    /// The `content_encoding` property, if it says that the body is encoded. Never written: the gateway and
    /// parked copies have plain bodies.
    pub content_encoding: Option<String>,
    /// The `priority` property. Never written: a parked copy that is sent again must not overtake other
    /// commands.
    pub priority: Option<u8>,
}

impl Envelope {
    /// The envelope of a new command.
    #[must_use]
    pub fn of(kind: Kind, command_id: CommandId) -> Self {
        Self {
            command_id: Some(command_id),
            timestamp: Some(since_epoch().as_secs()),
            kind: Some(kind.as_str().to_owned()),
            content_type: Some(CONTENT_TYPE.to_owned()),
            ..Self::default()
        }
    }

    /// Reads the properties of a message. It never fails: a value that breaks its rules counts as missing.
    /// [`Envelope::check`] then says whether a required value is missing.
    #[must_use]
    pub fn read(properties: &BasicProperties) -> Self {
        let header = |name: &str| match properties.headers().as_ref()?.inner().get(name)? {
            AMQPValue::LongString(value) => plain(std::str::from_utf8(value.as_bytes()).ok()?),
            AMQPValue::ShortString(value) => plain(value.as_str()),
            _ => None,
        };
        let message_id = text(properties.message_id().as_ref());
        let traceparent = header("traceparent").filter(|value| is_traceparent(value));
        let tracestate = header("tracestate").filter(|value| value.len() <= MAX_TRACESTATE_BYTES);
        let content_encoding = properties.content_encoding().as_ref();
        Self {
            correlation_id: text(properties.correlation_id().as_ref()).or(message_id.clone()),
            command_id: message_id.and_then(|id| CommandId::new(id).ok()),
            reply_to: text(properties.reply_to().as_ref()).filter(|name| {
                REPLY_PREFIXES.iter().any(|prefix| {
                    name.strip_prefix(prefix)
                        .is_some_and(|rest| !rest.is_empty())
                })
            }),
            pack_replies: properties.headers().as_ref().is_some_and(|headers| {
                headers.inner().get(PACK_REPLIES) == Some(&AMQPValue::Boolean(true))
            }),
            subject: header(SUBJECT),
            user_id: text(properties.user_id().as_ref()),
            app_id: text(properties.app_id().as_ref()),
            tracestate: traceparent.as_ref().and(tracestate),
            traceparent,
            timestamp: *properties.timestamp(),
            kind: text(properties.kind().as_ref()),
            content_type: text(properties.content_type().as_ref()),
            content_encoding: content_encoding
                .filter(|encoding| !is_unencoded(encoding.as_str()))
                .map(ToString::to_string),
            priority: *properties.priority(),
        }
    }

    /// The author of the change: the person, else the broker user, else the publisher's own name.
    #[must_use]
    pub fn updated_by(&self) -> Option<&str> {
        self.subject
            .as_deref()
            .or(self.user_id.as_deref())
            .or(self.app_id.as_deref())
    }

    /// The properties of a persistent message. It has no `expiration`: a stored command must not disappear.
    #[must_use]
    pub fn properties(&self) -> BasicProperties {
        let mut headers = FieldTable::default();
        for (name, value) in [
            (SUBJECT, &self.subject),
            ("traceparent", &self.traceparent),
            ("tracestate", &self.tracestate),
        ] {
            if let Some(value) = value {
                headers.insert(name.into(), AMQPValue::LongString(value.as_str().into()));
            }
        }
        if self.pack_replies {
            headers.insert(PACK_REPLIES.into(), AMQPValue::Boolean(true));
        }
        let mut properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_headers(headers);
        if let Some(seconds) = self.timestamp {
            properties = properties.with_timestamp(seconds);
        }
        if let Some(id) = &self.command_id {
            properties = properties.with_message_id(id.as_str().into());
        }
        for (set, value) in [
            (BasicProperties::with_type as Setter, &self.kind),
            (BasicProperties::with_content_type, &self.content_type),
            (BasicProperties::with_correlation_id, &self.correlation_id),
            (BasicProperties::with_reply_to, &self.reply_to),
            (BasicProperties::with_user_id, &self.user_id),
            (BasicProperties::with_app_id, &self.app_id),
        ] {
            if let Some(value) = value {
                properties = set(properties, value.as_str().into());
            }
        }
        properties
    }
}

/// The time since 1970 UTC, by this machine's clock.
#[must_use]
pub fn since_epoch() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

type Setter = fn(BasicProperties, ShortString) -> BasicProperties;

fn text(value: Option<&ShortString>) -> Option<String> {
    plain(value?.as_str())
}

/// A value that can be stored and logged. Postgres accepts no NUL, and a line break would split a log
/// line. A blank value counts as missing.
fn plain(value: &str) -> Option<String> {
    let fits = !value.trim().is_empty()
        && value.len() <= MAX_TEXT_BYTES
        && !value.chars().any(char::is_control);
    fits.then(|| value.to_owned())
}
