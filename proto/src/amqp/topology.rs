//! Everything that exists on the broker, and the one function that declares it.
//!
//! ```text
//! gateway, services ──▶ ipack.commands ──▶ ipack.connector-details.v1 ──▶ worker
//!                       save-connector-                │ given up by the broker
//!                       details.v1                     ▼
//!                                  ipack.dlx ──▶ ….v1.dead ──▶ worker ──▶ ….v1.parked
//!                                                   │      (and what the worker refuses)
//!                                                   │ given up by the broker once more
//!                                                   ▼
//!                                                ….v1.unreadable      (no program consumes it)
//! worker ──▶ ipack.events                     (topic; published from the outbox)
//! ```
//!
//! Names and arguments are the contract. They are not configurable: a queue with other arguments
//! would break a promise without a word. Another shape of the queue of commands gets another name, `.v2` beside
//! `.v1`; docs/operating.md, "An upgrade", tells of the others.

use lapin::{
    Channel, ErrorKind, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};

/// Takes commands. Direct, and without an alternate exchange: that would hide unroutable ones.
pub const COMMANDS: &str = "ipack.commands";
/// Routes a save to [`QUEUE`].
pub const SAVE: &str = "save-connector-details.v1";
/// Routes a deletion to [`QUEUE`].
pub const DELETE: &str = "delete-connector-details.v1";
/// Every command about connector details, in the broker's order.
pub const QUEUE: &str = "ipack.connector-details.v1";
/// Takes what the broker gives up on.
pub const DEAD_LETTERS: &str = "ipack.dlx";
/// Routes a dead letter to [`DEAD`].
pub const DEAD_LETTER: &str = "connector-details.v1";
/// What was delivered too often, or expired. The worker moves it to [`PARKED`].
pub const DEAD: &str = "ipack.connector-details.v1.dead";
/// What could not even be moved from [`DEAD`]: it ended the connection, or the program, of every worker
/// that tried. No program consumes it.
pub const UNREADABLE: &str = "ipack.connector-details.v1.unreadable";
/// What nobody can apply, redacted, with its reason, until an operator decides.
pub const PARKED: &str = "ipack.connector-details.v1.parked";
/// How many parked messages keep their bodies; what is parked beyond them keeps its headers.
pub const PARKED_WITH_BODY: u32 = 2_000;
/// The largest body that a parked message keeps, in bytes.
pub const PARKED_BODY_BYTES: usize = 128 * 1024;
/// What happened to records, for other services. A topic exchange.
pub const EVENTS: &str = "ipack.events";
/// The routing key of a saved record's event.
pub const SAVED: &str = "connector-details.saved.v1";
/// The routing key of a deleted record's event.
pub const DELETED: &str = "connector-details.deleted.v1";

/// AMQP's `PRECONDITION_FAILED`: the object exists with other arguments.
const PRECONDITION_FAILED: u16 = 406;
/// AMQP's `ACCESS_REFUSED`: this user may not.
const ACCESS_REFUSED: u16 = 403;

/// An object that could not be declared.
#[derive(Debug, thiserror::Error)]
#[error("{object} could not be declared")]
pub struct TopologyError {
    /// The exchange or queue.
    pub object: &'static str,
    /// What the broker said.
    #[source]
    pub source: lapin::Error,
}

impl TopologyError {
    /// Whether the object exists with other arguments, which no retry will change.
    #[must_use]
    pub fn is_mismatch(&self) -> bool {
        self.is(PRECONDITION_FAILED)
    }

    /// Whether it is not for this user to declare: the worker's does, then.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.is(ACCESS_REFUSED)
    }

    fn is(&self, code: u16) -> bool {
        matches!(self.source.kind(), ErrorKind::ProtocolError(error) if error.get_id() == code)
    }
}

/// Declares all exchanges, queues and bindings. Safe to repeat, and by several at once.
///
/// # Errors
/// The first object that the broker refused; the channel is closed then.
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

/// Checks that there is something to publish to, for those who may not declare it.
///
/// # Errors
/// There is no such exchange yet; the channel is closed then.
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
        // Replicated and written to disk before it is confirmed.
        ("x-queue-type", text("quorum")),
        // One worker at a time sees commands, so the broker's order is the order of effect.
        ("x-single-active-consumer", AMQPValue::Boolean(true)),
        // What kills a worker again and again has to stop doing so. 4.x has this default, 3.x none.
        ("x-delivery-limit", number(20)),
        ("x-dead-letter-exchange", text(DEAD_LETTERS)),
        ("x-dead-letter-routing-key", text(DEAD_LETTER)),
        // Without reject-publish it would silently become at-most-once.
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
        // A full queue refuses with a nack, which reaches the user as QUEUE_FULL.
        ("x-max-length", number(1_000_000)),
        ("x-max-length-bytes", number(1_073_741_824)),
    ])
}

/// More deliveries than there will ever be. RabbitMQ 4 drops a message of a queue without a limit of its
/// own when it was delivered 21 times, and to look at a message is to be delivered it.
const NO_DELIVERY_LIMIT: i64 = i32::MAX as i64;
/// The default exchange: the routing key is the queue's name.
const DEFAULT_EXCHANGE: &str = "";

fn dead_arguments() -> FieldTable {
    table(&[
        ("x-queue-type", text("quorum")),
        // A worker only has to move it.
        ("x-delivery-limit", number(3)),
        ("x-dead-letter-exchange", text(DEFAULT_EXCHANGE)),
        ("x-dead-letter-routing-key", text(UNREADABLE)),
        ("x-dead-letter-strategy", text("at-least-once")),
        // What does not fit stays in the queue that it comes from.
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
        // Twice what the worker lets bodies take: a full queue would refuse headers, too.
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
