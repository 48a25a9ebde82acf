//! From a delivery to a command in hand, or to its refusal.

use lapin::message::Delivery;
use proto::{Command, CommandError, Envelope, amqp::envelope::since_epoch};

use super::unreadable;
use crate::{change::Change, failpoint, publish::parking::contained, publisher_acl::PublisherAcl};

/// A valid command of a delivery that is not settled.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// The tag of its delivery. In one session, tags grow in the order of delivery.
    pub tag: u64,
    /// Whether its delivery was delivered before.
    pub redelivered: bool,
    pub envelope: Envelope,
    /// Kept until it is decided: it may have to be parked.
    pub body: Vec<u8>,
    pub change: Change,
}

/// A command that no worker can apply, with all that is wrong with it.
#[derive(Debug)]
pub(crate) struct Refused {
    pub tag: u64,
    pub redelivered: bool,
    pub envelope: Envelope,
    pub body: Vec<u8>,
    pub faults: Vec<CommandError>,
}

impl Incoming {
    /// Reads and checks a delivery. A panic in it counts as a fault of the worker: the command is refused.
    pub fn read(delivery: Delivery, publishers: &PublisherAcl) -> Result<Self, Box<Refused>> {
        let Delivery {
            delivery_tag: tag,
            redelivered,
            properties,
            data: body,
            ..
        } = delivery;
        let envelope = contained("reading a message", || Envelope::read(&properties));
        let change = match (unreadable::fault(&properties), &envelope) {
            (Some(fault), _) => Err(vec![fault]),
            (None, None) => Err(vec![CommandError::internal()]),
            (None, Some(envelope)) => {
                contained("checking a command", || check(envelope, &body, publishers))
                    .unwrap_or_else(|| Err(vec![CommandError::internal()]))
            }
        };
        let envelope = envelope.unwrap_or_default();
        match change {
            Ok(change) => Ok(Self {
                tag,
                redelivered,
                envelope,
                body,
                change,
            }),
            Err(faults) => Err(Box::new(Refused {
                tag,
                redelivered,
                envelope,
                body,
                faults,
            })),
        }
    }

    /// When it was published, in seconds since 1970. A publisher that sets no time counts as publishing now.
    pub fn published(&self) -> u64 {
        let published = self.envelope.timestamp;
        published.unwrap_or_else(|| since_epoch().as_secs())
    }

    /// It can't be applied after all.
    pub fn refuse(self, faults: Vec<CommandError>) -> Refused {
        Refused {
            tag: self.tag,
            redelivered: self.redelivered,
            envelope: self.envelope,
            body: self.body,
            faults,
        }
    }
}

/// Validates a command as the gateway does: other services publish, too. Then checks whether its publisher
/// may write to its Space.
///
/// # Errors
/// All that is wrong with the message.
pub fn check(
    envelope: &Envelope,
    body: &[u8],
    publishers: &PublisherAcl,
) -> Result<Change, Vec<CommandError>> {
    let (command_id, command) = Command::read(envelope, body)?;
    failpoint::pass(command_id);
    let user_id = envelope.user_id.as_deref();
    if !publishers.allow(user_id, &command.key().catalog_guid) {
        return Err(vec![CommandError::forbidden()]);
    }
    // The `x-subject` of a publisher that may not name authors is ignored.
    let author = if publishers.may_name_authors(user_id) {
        envelope.updated_by()
    } else {
        user_id
    };
    Ok(Change {
        command_id: command_id.clone(),
        fingerprint: command.fingerprint(),
        command,
        updated_by: author.map(ToOwned::to_owned),
        source: envelope.app_id.clone(),
        traceparent: envelope.traceparent.clone(),
    })
}
