//! Checks the properties of a command's message.

use super::Envelope;
use crate::{
    amqp::properties::is_json, command::Kind, error::CommandError, fields::CommandId, record::ok,
};

impl Envelope {
    /// The kind and the id of the command.
    ///
    /// # Errors
    /// One error for each property that breaks a rule.
    pub fn check(&self) -> Result<(Kind, &CommandId), Vec<CommandError>> {
        let mut errors = Vec::new();
        let kind = ok(self.known_kind(), &mut errors);
        let is_plain = ok(self.check_content_type(), &mut errors)
            .and(ok(self.check_content_encoding(), &mut errors));
        let id = ok(self.known_id(), &mut errors);
        let has_no_priority = ok(self.check_priority(), &mut errors);
        match (kind, is_plain, id, has_no_priority) {
            (Some(kind), Some(()), Some(id), Some(())) => Ok((kind, id)),
            _ => Err(errors),
        }
    }

    /// The kind of the command, if the properties say that the body is the plain JSON of one.
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

    /// Quorum queues of RabbitMQ 4 deliver messages with a high priority before older messages, which would
    /// change the order of commands.
    fn check_priority(&self) -> Result<(), CommandError> {
        if self.priority.unwrap_or_default() == 0 {
            return Ok(());
        }
        let message = "priority must be missing or 0: commands take effect in the order in which \
                       they were published; nothing was changed.";
        Err(CommandError::undecodable(Some("priority"), message))
    }
}
