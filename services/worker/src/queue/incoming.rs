//! Reads a delivery: its result is a valid command, or a refused one.

use lapin::message::Delivery;
use proto::{Command, CommandError, Envelope, amqp::envelope::since_epoch};

use super::unreadable;
use crate::{
    change::Change, failpoint, publish::parking::catch_panic, publisher_acl::PublisherAcl,
};

/// Larger than all positions that are reserved for commands that went back to the broker before.
const FIRST_DELIVERY: u64 = 1 << 32;

/// A valid command that was received and has no outcome yet.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// The tag of its delivery.
    pub tag: u64,
    /// Its position in the order of the queue: [`FIRST_DELIVERY`] and the tag, or a smaller number for a command
    /// that went back to the broker before.
    pub order: u64,
    /// Whether the broker has delivered it before.
    pub redelivered: bool,
    pub envelope: Envelope,
    /// The body, for the parked copy if the database refuses the command.
    pub body: Vec<u8>,
    pub change: Change,
}

/// A command that no worker can apply, with all of its errors.
#[derive(Debug)]
pub(crate) struct Refused {
    pub tag: u64,
    pub redelivered: bool,
    pub envelope: Envelope,
    pub body: Vec<u8>,
    pub errors: Vec<CommandError>,
}

impl Incoming {
    /// Reads and checks a delivery. If that panics, the command is refused with an internal error.
    pub fn read(delivery: Delivery, publishers: &PublisherAcl) -> Result<Self, Box<Refused>> {
        let Delivery {
            delivery_tag: tag,
            redelivered,
            properties,
            data: body,
            ..
        } = delivery;
        let envelope = catch_panic("reading a message", || Envelope::read(&properties));
        let change = match (unreadable::error(&properties), &envelope) {
            (Some(error), _) => Err(vec![error]),
            (None, None) => Err(vec![CommandError::internal()]),
            (None, Some(envelope)) => {
                catch_panic("checking a command", || check(envelope, &body, publishers))
                    .unwrap_or_else(|| Err(vec![CommandError::internal()]))
            }
        };
        // `None` is logged as an error, and the command is refused: see above.
        let envelope = envelope.unwrap_or_default();
        match change {
            Ok(change) => Ok(Self {
                tag,
                order: FIRST_DELIVERY + tag,
                redelivered,
                envelope,
                body,
                change,
            }),
            Err(errors) => Err(Box::new(Refused {
                tag,
                redelivered,
                envelope,
                body,
                errors,
            })),
        }
    }

    /// When it was published, in seconds since 1970. Now, if the publisher sets no timestamp.
    pub fn published(&self) -> u64 {
        let published = self.envelope.timestamp;
        published.unwrap_or_else(|| since_epoch().as_secs())
    }

    /// Refuses the command after all.
    pub fn refuse(self, errors: Vec<CommandError>) -> Refused {
        Refused {
            tag: self.tag,
            redelivered: self.redelivered,
            envelope: self.envelope,
            body: self.body,
            errors,
        }
    }
}

/// Validates a command with the same rules as the gateway, because other services publish commands, too. Then
/// checks whether its publisher may write to its Space.
///
/// # Errors
/// All errors of the message.
pub fn check(
    envelope: &Envelope,
    body: &[u8],
    publishers: &PublisherAcl,
) -> Result<Change, Vec<CommandError>> {
    let (command_id, command) = Command::read(envelope, body)?;
    failpoint::while_checking(command_id);
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

#[cfg(test)]
mod tests;
