//! The exchanges, queues and bindings on the broker, and the function that declares them.
//!
//! ```text
//! gateway, services ──▶ ipack.commands ──▶ ipack.connector-details.v1 ──▶ worker
//!                       save-connector-                │ expired, or delivered too often
//!                       details.v1                     ▼
//!                                  ipack.dlx ──▶ ….v1.dead ──▶ worker ──▶ ….v1.parked
//!                                                   │      (and commands that the worker refuses)
//!                                                   │ delivered too often from .dead
//!                                                   ▼
//!                                                ….v1.unreadable      (no program consumes it)
//! worker ──▶ ipack.events                     (topic; published from the outbox)
//! ```
//!
//! Names and arguments are part of the contract and not configurable: with other arguments, a guarantee would
//! be lost without an error. A queue of commands with other arguments needs another name, `.v2` instead of
//! `.v1`. For the other queues, see docs/operating.md, "An upgrade".

use lapin::{
    Channel, ErrorKind, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};

/// The direct exchange for commands. It has no alternate exchange, so that the broker returns commands
/// with an unknown routing key.
pub const COMMANDS: &str = "ipack.commands";
/// Routes a save to [`QUEUE`].
pub const SAVE: &str = "save-connector-details.v1";
/// Routes a deletion to [`QUEUE`].
pub const DELETE: &str = "delete-connector-details.v1";
/// The queue of all commands. Its order is the order in which they take effect.
pub const QUEUE: &str = "ipack.connector-details.v1";
/// The exchange for dead letters.
pub const DEAD_LETTERS: &str = "ipack.dlx";
/// Routes a dead letter to [`DEAD`].
pub const DEAD_LETTER: &str = "connector-details.v1";
/// The queue of commands that were delivered too often or expired. The worker moves them to [`PARKED`].
pub const DEAD: &str = "ipack.connector-details.v1.dead";
/// The queue of messages that could not be moved from [`DEAD`], because they ended the connection or the
/// process of each worker that tried. No program consumes it.
pub const UNREADABLE: &str = "ipack.connector-details.v1.unreadable";
/// The queue of redacted commands that no worker can apply. An operator sends them again or deletes them.
pub const PARKED: &str = "ipack.connector-details.v1.parked";
/// How many parked messages keep their bodies. Further messages are parked without a body.
pub const PARKED_WITH_BODY: u32 = 2_000;
/// The largest body that a parked message keeps, in bytes.
pub const PARKED_BODY_BYTES: usize = 128 * 1024;
/// The topic exchange for events.
pub const EVENTS: &str = "ipack.events";
/// The routing key of a saved record's event.
pub const SAVED: &str = "connector-details.saved.v1";
/// The routing key of a deleted record's event.
pub const DELETED: &str = "connector-details.deleted.v1";

/// AMQP's `PRECONDITION_FAILED`: the object exists with other arguments.
const PRECONDITION_FAILED: u16 = 406;
/// AMQP's `ACCESS_REFUSED`: this user has no permission.
const ACCESS_REFUSED: u16 = 403;

/// An object that could not be declared.
#[derive(Debug, thiserror::Error)]
#[error("{object} could not be declared")]
pub struct TopologyError {
    /// The exchange or queue.
    pub object: &'static str,
    /// The error of the broker or the connection.
    #[source]
    pub source: lapin::Error,
}

impl TopologyError {
    /// Whether the object exists with other arguments. A retry can't succeed then.
    #[must_use]
    pub fn is_mismatch(&self) -> bool {
        self.is(PRECONDITION_FAILED)
    }

    /// Whether this user may not declare the object. Only the user of the worker may.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.is(ACCESS_REFUSED)
    }

    fn is(&self, code: u16) -> bool {
        matches!(self.source.kind(), ErrorKind::ProtocolError(error) if error.get_id() == code)
    }
}

/// Declares all exchanges, queues and bindings. Repeated and concurrent calls are safe.
///
/// # Errors
/// The first object that the broker refuses. The broker then closes the channel.
pub async fn declare(channel: &Channel) -> Result<(), TopologyError> {
    for (name, kind) in [
        (COMMANDS, ExchangeKind::Direct),
        (DEAD_LETTERS, ExchangeKind::Direct),
        (EVENTS, ExchangeKind::Topic),
    ] {
        let options = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        channel
            .exchange_declare(name.into(), kind, options, FieldTable::default())
            .await
            .map_err(failed(name))?;
    }
    for (name, arguments) in [
        (UNREADABLE, unreadable_arguments()),
        (DEAD, dead_arguments()),
        (PARKED, parked_arguments()),
        (QUEUE, queue_arguments()),
    ] {
        let options = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        channel
            .queue_declare(name.into(), options, arguments)
            .await
            .map_err(failed(name))?;
    }
    for (queue, exchange, key) in [
        (DEAD, DEAD_LETTERS, DEAD_LETTER),
        (QUEUE, COMMANDS, SAVE),
        (QUEUE, COMMANDS, DELETE),
    ] {
        channel
            .queue_bind(
                queue.into(),
                exchange.into(),
                key.into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await
            .map_err(failed(queue))?;
    }
    Ok(())
}

/// Checks that the exchange for commands exists, for users who may not declare it.
///
/// # Errors
/// The exchange does not exist yet. The broker then closes the channel.
pub async fn check(channel: &Channel) -> Result<(), TopologyError> {
    let options = ExchangeDeclareOptions {
        passive: true,
        ..ExchangeDeclareOptions::default()
    };
    channel
        .exchange_declare(
            COMMANDS.into(),
            ExchangeKind::Direct,
            options,
            FieldTable::default(),
        )
        .await
        .map_err(failed(COMMANDS))
}

fn failed(object: &'static str) -> impl FnOnce(lapin::Error) -> TopologyError {
    move |source| TopologyError { object, source }
}

fn queue_arguments() -> FieldTable {
    table(&[
        // A command is replicated and written to disk before it is confirmed.
        ("x-queue-type", text("quorum")),
        // Only one worker at a time receives commands, so they take effect in the order of the queue.
        ("x-single-active-consumer", AMQPValue::Boolean(true)),
        // A command that kills each worker has to leave the queue. RabbitMQ 4 has this default, 3.x none.
        ("x-delivery-limit", number(20)),
        ("x-dead-letter-exchange", text(DEAD_LETTERS)),
        ("x-dead-letter-routing-key", text(DEAD_LETTER)),
        // Without reject-publish RabbitMQ would use at-most-once instead, without an error.
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
        // A full queue sends a nack, and the gateway answers with QUEUE_FULL.
        ("x-max-length", number(1_000_000)),
        ("x-max-length-bytes", number(1_073_741_824)),
    ])
}

/// More deliveries than a message ever has. In a queue without a limit, RabbitMQ 4 drops a message after 21
/// deliveries. An operator who reads a message and returns it causes one delivery.
const NO_DELIVERY_LIMIT: i64 = i32::MAX as i64;
/// The default exchange. The routing key is the name of a queue.
const DEFAULT_EXCHANGE: &str = "";

fn dead_arguments() -> FieldTable {
    table(&[
        ("x-queue-type", text("quorum")),
        // Few deliveries are enough: the worker only moves the message.
        ("x-delivery-limit", number(3)),
        ("x-dead-letter-exchange", text(DEFAULT_EXCHANGE)),
        ("x-dead-letter-routing-key", text(UNREADABLE)),
        ("x-dead-letter-strategy", text("at-least-once")),
        // A dead letter that does not fit stays in the queue of commands.
        ("x-overflow", text("reject-publish")),
        ("x-max-length", number(100_000)),
        ("x-max-length-bytes", number(1_073_741_824)),
    ])
}

fn parked_arguments() -> FieldTable {
    table(&[
        ("x-queue-type", text("quorum")),
        ("x-delivery-limit", number(NO_DELIVERY_LIMIT)),
        ("x-overflow", text("reject-publish")),
        ("x-max-length", number(100_000)),
        // Twice as many bytes as all bodies that the worker keeps, so that messages without a body still fit.
        ("x-max-length-bytes", number(536_870_912)),
    ])
}

fn unreadable_arguments() -> FieldTable {
    table(&[
        ("x-queue-type", text("quorum")),
        ("x-delivery-limit", number(NO_DELIVERY_LIMIT)),
        ("x-overflow", text("reject-publish")),
        ("x-max-length", number(10_000)),
        ("x-max-length-bytes", number(268_435_456)),
    ])
}

fn table(arguments: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        table.insert((*name).into(), value.clone());
    }
    table
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

fn number(value: i64) -> AMQPValue {
    AMQPValue::LongLongInt(value)
}
