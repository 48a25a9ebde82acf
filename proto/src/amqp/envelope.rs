//! The properties of a command's message. A secret never stands in one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};

use super::properties::{is_json, is_traceparent, is_unencoded};
use crate::{command::Kind, error::CommandError, fields::CommandId, record::ok};

pub use crate::amqp::properties::{CONTENT_TYPE, MAX_TRACESTATE_BYTES};

/// How the names of exclusive reply queues begin.
pub const REPLY_QUEUES: &str = "ipack.reply.";
/// How an address of direct reply-to begins, once RabbitMQ has put it in the place of
/// `amq.rabbitmq.reply-to`.
const DIRECT_REPLY_TO: &str = "amq.rabbitmq.reply-to.";
/// The header that carries the token's subject from the gateway.
pub const SUBJECT: &str = "x-subject";

/// The header with which a publisher of many commands asks for many replies in one message.
pub const PACK_REPLIES: &str = "x-pack-replies";

const PERSISTENT: u8 = 2;
/// Where an answer may go: anything else in `reply_to` could make the worker write to any queue.
const ANSWERED: [&str; 2] = [DIRECT_REPLY_TO, REPLY_QUEUES];
const LONGEST_HEADER_BYTES: usize = 1024;

/// What stands around a command's body. Every value in it is bounded, so that whatever is published
/// with them fits into a frame.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope {
    /// `message_id`: the command's id. None where it is missing or breaks the rules of ids.
    pub command_id: Option<CommandId>,
    /// Echoed in the reply; the message id where the publisher named no other.
    pub correlation_id: Option<String>,
    /// Where the reply goes, if anywhere.
    pub reply_to: Option<String>,
    /// Whether several replies may come in one message.
    pub pack_replies: bool,
    /// The person, as the gateway read it from the token. Whether the publisher's word counts is
    /// for the worker to decide.
    pub subject: Option<String>,
    /// The broker user of the publisher, checked by the broker.
    pub user_id: Option<String>,
    /// The publishing service, by its own word.
    pub app_id: Option<String>,
    /// W3C trace context, in exactly its form.
    pub traceparent: Option<String>,
    /// W3C trace state, at most 512 bytes; none without a trace context.
    pub tracestate: Option<String>,
    /// When it was published, in seconds since 1970 UTC, by the publisher's clock.
    pub timestamp: Option<u64>,
    /// The `type` property.
    pub kind: Option<String>,
    /// The `content_type` property.
    pub content_type: Option<String>,
    /// The `content_encoding` property, where it says that the body is not plain. Never written out:
    /// neither the gateway nor a parked copy encodes a body.
    pub content_encoding: Option<String>,
    /// The `priority` property. Never written out: a parked copy that is sent again must not
    /// overtake others.
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

    /// Reads what a publisher set. Never fails: what can't be used is as good as not set, and
    /// [`Envelope::check`] says whether enough is left.
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
                ANSWERED.iter().any(|prefix| {
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

    /// Which command a message is, and its id, as its properties say.
    ///
    /// # Errors
    /// Every property that says otherwise.
    pub fn check(&self) -> Result<(Kind, &CommandId), Vec<CommandError>> {
        let mut faults = Vec::new();
        let kind = ok(self.known_kind(), &mut faults);
        let is_plain = ok(self.check_content_type(), &mut faults)
            .and(ok(self.check_content_encoding(), &mut faults));
        let id = ok(self.known_id(), &mut faults);
        let is_in_order = ok(self.check_priority(), &mut faults);
        match (kind, is_plain, id, is_in_order) {
            (Some(kind), Some(()), Some(id), Some(())) => Ok((kind, id)),
            _ => Err(faults),
        }
    }

    /// Which command the body is, where the properties say that it is one and plain JSON.
    pub(crate) fn body_kind(&self) -> Option<Kind> {
        self.check_content_type().ok()?;
        self.check_content_encoding().ok()?;
        self.known_kind().ok()
    }

    fn known_kind(&self) -> Result<Kind, CommandError> {
        self.kind.as_deref().and_then(Kind::named).ok_or_else(|| {
            let message = "type must be SaveConnectorDetails.v1 or DeleteConnectorDetails.v1; \
                           nothing was changed.";
            CommandError::undecodable(Some("type"), message)
        })
    }

    fn check_content_type(&self) -> Result<(), CommandError> {
        if self.content_type.as_deref().is_some_and(is_json) {
            return Ok(());
        }
        let message = "content_type must be application/json, and the charset, if it names one, \
                       utf-8; nothing was changed.";
        Err(CommandError::undecodable(Some("content_type"), message))
    }

    fn check_content_encoding(&self) -> Result<(), CommandError> {
        if self.content_encoding.is_none() {
            return Ok(());
        }
        let message = "content_encoding must be missing or identity, and the body plain JSON; \
                       nothing was changed.";
        Err(CommandError::undecodable(Some("content_encoding"), message))
    }

    fn known_id(&self) -> Result<&CommandId, CommandError> {
        self.command_id.as_ref().ok_or_else(|| {
            let message = "message_id must hold the command's id: 1 to 255 bytes of UTF-8, not \
                           blank, no control characters; nothing was changed.";
            CommandError::undecodable(Some("message_id"), message)
        })
    }

    /// A broker delivers messages with a priority before older ones: quorum queues of RabbitMQ 4
    /// have two priorities.
    fn check_priority(&self) -> Result<(), CommandError> {
        if self.priority.unwrap_or_default() == 0 {
            return Ok(());
        }
        let message = "priority must be missing or 0: commands take effect in the order in which \
                       they were published; nothing was changed.";
        Err(CommandError::undecodable(Some("priority"), message))
    }

    /// Who is written down as the author: the person, else the broker's word, else the
    /// publisher's own.
    #[must_use]
    pub fn updated_by(&self) -> Option<&str> {
        self.subject
            .as_deref()
            .or(self.user_id.as_deref())
            .or(self.app_id.as_deref())
    }

    /// The properties of a persistent message. It never has an `expiration`: what is kept must not
    /// vanish.
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

/// A value that can be stored and logged: Postgres takes no NUL, a log no line end. A blank one is
/// as good as none.
fn plain(value: &str) -> Option<String> {
    let fits = !value.trim().is_empty()
        && value.len() <= LONGEST_HEADER_BYTES
        && !value.chars().any(char::is_control);
    fits.then(|| value.to_owned())
}
