//! The subcommand `replay`: publishes parked commands again, after an operator has fixed the cause.
//!
//! A command keeps its id, so a command that was already applied changes nothing. A command that is older than
//! its record's last change would undo that change, so it stays parked.

mod message;

use std::{collections::HashSet, io::Write};

use anyhow::{Context as _, anyhow, ensure};
use lapin::{
    Channel,
    message::BasicGetMessage,
    options::{BasicAckOptions, BasicGetOptions},
    uri::AMQPUri,
};
use proto::{
    Command, Envelope,
    amqp::{parked, topology},
};
use runtime::broker::{
    self,
    publish::{Message, PublishError, confirm_channel, publish_confirmed},
    within_deadline,
};

use self::message::{header, id, kind, original_properties, published};
use crate::store::Store;

/// The options of `replay`.
#[derive(Debug, clap::Args)]
pub struct ReplayArgs {
    /// List what would be sent, and send nothing.
    #[arg(long)]
    pub dry_run: bool,

    /// Send only commands that were parked for this reason, such as FORBIDDEN. Without it, all commands.
    #[arg(long, value_name = "CODE")]
    pub reason: Option<String>,

    /// Send only the command with this id.
    #[arg(long)]
    pub id: Option<String>,

    /// Send this command even if its record was changed later. It overwrites the later change.
    #[arg(long, requires = "id")]
    pub force: bool,
}

/// What the replay did with a parked command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// `--reason` or `--id` excludes it.
    Left,
    Unsendable,
    Outdated,
    WouldBeSent,
    Sent,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Unsendable => "can't be sent: its body or id could not be kept",
            Self::Outdated => {
                "older than the record's last change: --force --id ID sends it all the same"
            }
            Self::WouldBeSent => "would be sent",
            Self::Sent => "sent",
        }
    }
}

/// Publishes parked commands again, in the order in which they were parked, and reports one line for each.
///
/// A command is compared with its record's last change when it is sent. A save for the same record that is
/// still in the queue then is not taken into account.
///
/// # Errors
/// The broker or the database is unavailable, or refuses. Commands that the broker did not confirm are still
/// parked.
pub async fn replay(
    uri: &AMQPUri,
    store: &Store,
    args: &ReplayArgs,
    mut report: impl Write,
) -> anyhow::Result<()> {
    let connection = broker::connect(uri, "connector-details-worker replay").await?;
    let channel = confirm_channel(&connection).await?;
    tokio::time::timeout(broker::DEADLINE, topology::declare(&channel)).await??;
    let mut replay = Replay {
        channel: &channel,
        store,
        args,
        sent: HashSet::new(),
    };
    // A command that is refused again is parked again, at the end of the queue. So only as many messages are
    // read as the queue had at first. Messages that are not sent stay unacknowledged until the end, or the
    // broker would deliver them again.
    let mut remaining = None;
    while remaining != Some(0) {
        let get = channel.basic_get(topology::PARKED.into(), BasicGetOptions::default());
        let Some(message) = within_deadline(get).await? else {
            break;
        };
        remaining = Some(remaining.map_or(message.message_count, |count: u32| count - 1));
        let action = replay.handle(&message).await?.as_str();
        // Another program may have published a message without these to `.parked`.
        let reason = header(&message.properties, parked::REASON).unwrap_or_default();
        let id = id(&message.properties).unwrap_or("(no id)");
        writeln!(report, "{action}\t{id}\t{reason}")?;
    }
    // The broker puts the unacknowledged messages back at their positions.
    broker::close(&connection).await;
    Ok(())
}

struct Replay<'a> {
    channel: &'a Channel,
    store: &'a Store,
    args: &'a ReplayArgs,
    /// The ids of the commands that were sent. A change by one of them is older than the parked commands
    /// behind it.
    sent: HashSet<String>,
}

impl Replay<'_> {
    async fn handle(&mut self, message: &BasicGetMessage) -> anyhow::Result<Action> {
        let id = id(&message.properties);
        if !self
            .args
            .select(id, header(&message.properties, parked::REASON).as_deref())
        {
            return Ok(Action::Left);
        }
        let Some(id) = id.filter(|_| !message.data.is_empty()) else {
            return Ok(Action::Unsendable);
        };
        if !self.args.force && self.is_outdated(message).await? {
            return Ok(Action::Outdated);
        }
        self.sent.insert(id.to_owned());
        if self.args.dry_run {
            return Ok(Action::WouldBeSent);
        }
        self.send(message).await?;
        Ok(Action::Sent)
    }

    /// Whether the record was changed after the command was published, or may have been. A message that no
    /// worker can read changes nothing: it will be parked again.
    async fn is_outdated(&self, message: &BasicGetMessage) -> anyhow::Result<bool> {
        let envelope = Envelope::read(&message.properties);
        let Ok((kind, command_id)) = envelope.check() else {
            return Ok(false);
        };
        let Ok(command) = Command::decode(kind, &message.data) else {
            return Ok(false);
        };
        let change = self
            .store
            .last_change(command.key(), command_id)
            .await
            .context("whether a command is older than its record's last change")?;
        // A command with an entry in the ledger changes nothing.
        let Some(at) = change.at.filter(|_| !change.is_decided) else {
            return Ok(false);
        };
        let by_replay = change.by.is_some_and(|id| self.sent.contains(&id));
        let published = published(&message.properties, &envelope);
        Ok(!by_replay && published.is_none_or(|published| published <= at))
    }

    /// Publishes the command, and removes it from `.parked` after the broker's confirm.
    async fn send(&self, message: &BasicGetMessage) -> anyhow::Result<()> {
        let command = Message {
            exchange: topology::COMMANDS,
            routing_key: kind(&message.properties).routing_key(),
            mandatory: true,
            body: &message.data,
            properties: original_properties(&message.properties),
        };
        publish_confirmed(self.channel, command)
            .await
            .map_err(|error| match error {
                PublishError::Broker(error) => anyhow::Error::from(error),
                PublishError::Refused | PublishError::Returned | PublishError::NotConfirmed => {
                    anyhow!("the broker did not accept the command; it is still parked")
                }
            })?;
        let acknowledged = within_deadline(message.ack(BasicAckOptions::default())).await?;
        ensure!(
            acknowledged,
            "the connection was lost; the command was sent, and may still be parked"
        );
        Ok(())
    }
}

impl ReplayArgs {
    /// Whether `--reason` and `--id` include a command with this id and this reason.
    fn select(&self, id: Option<&str>, reason: Option<&str>) -> bool {
        let matches =
            |wanted: Option<&str>, value: Option<&str>| wanted.is_none() || wanted == value;
        matches(self.reason.as_deref(), reason) && matches(self.id.as_deref(), id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(id: Option<&str>, reason: Option<&str>) -> ReplayArgs {
        ReplayArgs {
            dry_run: false,
            reason: reason.map(ToOwned::to_owned),
            id: id.map(ToOwned::to_owned),
            force: false,
        }
    }

    #[test]
    fn without_filters_every_command_is_selected() {
        assert!(args(None, None).select(None, None));
        assert!(args(None, None).select(Some("1"), Some("FORBIDDEN")));
    }

    #[test]
    fn a_command_must_match_all_filters() {
        let args = args(Some("1"), Some("FORBIDDEN"));

        assert!(args.select(Some("1"), Some("FORBIDDEN")));
        assert!(!args.select(Some("2"), Some("FORBIDDEN")));
        assert!(!args.select(Some("1"), Some("EXPIRED")));
        assert!(!args.select(None, None));
    }
}
