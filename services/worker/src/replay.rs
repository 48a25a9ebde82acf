//! The operator's command for what was parked: sends it again, once the reason is gone.
//!
//! A command keeps its id, so sending it twice, or after it was applied after all, changes nothing. One
//! that is older than its record's last change would undo that change, and stays where it is.

use std::{collections::HashSet, io::Write};

use anyhow::{Context as _, ensure};
use lapin::{
    BasicProperties, Channel, Confirmation,
    message::BasicGetMessage,
    options::{BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable},
    uri::AMQPUri,
};
use proto::{
    Command, Envelope, Kind,
    amqp::{parked, topology},
};
use runtime::broker::{self, within_deadline};
use time::{Duration, OffsetDateTime};

use crate::store::Store;

/// What to send again.
#[derive(Debug, clap::Args)]
pub struct ReplayArgs {
    /// Show what would be sent, and leave everything where it is.
    #[arg(long)]
    pub dry_run: bool,

    /// Only what was parked for this reason, such as FORBIDDEN. Missing: whatever can be sent.
    #[arg(long, value_name = "CODE")]
    pub reason: Option<String>,

    /// Only the command with this id.
    #[arg(long)]
    pub id: Option<String>,

    /// Send this command even if its record was changed since: what was saved later is overwritten.
    #[arg(long, requires = "id")]
    pub force: bool,
}

/// What is done about a parked command.
enum Done {
    Left,
    Unsendable,
    Outdated,
    WouldBeSent,
    Sent,
}

impl Done {
    fn as_str(&self) -> &'static str {
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

/// Sends parked commands again, in the order in which they were parked, and tells of each what was
/// done. The check against the last change is made when a command is sent: a save for the same record
/// that is still in the queue by then is not known yet.
///
/// # Errors
/// The broker or the database is away or refuses. What was not confirmed is still parked.
pub async fn replay(
    uri: &AMQPUri,
    store: &Store,
    args: &ReplayArgs,
    mut report: impl Write,
) -> anyhow::Result<()> {
    let connection = broker::connect(uri, "connector-details-worker replay").await?;
    let channel = within_deadline(connection.create_channel()).await?;
    tokio::time::timeout(broker::DEADLINE, topology::declare(&channel)).await??;
    within_deadline(channel.confirm_select(ConfirmSelectOptions::default())).await?;
    let mut replay = Replay {
        channel: &channel,
        store,
        args,
        sent: HashSet::new(),
    };
    // What is refused again is parked again, behind all others: only as many are taken as were there at
    // first. What is not sent stays unacknowledged until the end, or it would come once more.
    let mut left = None;
    while left != Some(0) {
        let get = channel.basic_get(topology::PARKED.into(), BasicGetOptions::default());
        let Some(message) = within_deadline(get).await? else {
            break;
        };
        left = Some(left.map_or(message.message_count, |left: u32| left - 1));
        let done = replay.one(&message).await?.as_str();
        let reason = header(&message.properties, parked::REASON).unwrap_or_default();
        let id = id(&message).unwrap_or("(no id)");
        writeln!(report, "{done}\t{id}\t{reason}")?;
    }
    // What was not sent goes back to its place.
    broker::close(&connection).await;
    Ok(())
}

struct Replay<'a> {
    channel: &'a Channel,
    store: &'a Store,
    args: &'a ReplayArgs,
    /// The ids of what was sent: a change by one of these is no newer than what was parked behind it.
    sent: HashSet<String>,
}

impl Replay<'_> {
    async fn one(&mut self, message: &BasicGetMessage) -> anyhow::Result<Done> {
        let id = id(message);
        let reason = header(&message.properties, parked::REASON);
        let is_meant = (self.args.reason.is_none() || self.args.reason == reason)
            && (self.args.id.is_none() || self.args.id.as_deref() == id);
        if !is_meant {
            return Ok(Done::Left);
        }
        let Some(id) = id.filter(|_| !message.data.is_empty()) else {
            return Ok(Done::Unsendable);
        };
        if !self.args.force && self.is_outdated(message).await? {
            return Ok(Done::Outdated);
        }
        self.sent.insert(id.to_owned());
        if self.args.dry_run {
            return Ok(Done::WouldBeSent);
        }
        self.send(message).await?;
        Ok(Done::Sent)
    }

    /// Whether the record was changed since the command was published, or may have been. What no worker
    /// can read changes nothing, and is parked once more.
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
        let Some(at) = change.at.filter(|_| !change.is_decided) else {
            return Ok(false);
        };
        let by_ours = change.by.is_some_and(|id| self.sent.contains(&id));
        Ok(!by_ours && published(message, &envelope).is_none_or(|published| published <= at))
    }

    async fn send(&self, message: &BasicGetMessage) -> anyhow::Result<()> {
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let confirmation = within_deadline(async {
            self.channel
                .basic_publish(
                    topology::COMMANDS.into(),
                    kind(message).routing_key().into(),
                    options,
                    &message.data,
                    original(&message.properties),
                )
                .await?
                .await
        })
        .await?;
        ensure!(
            confirmation == Confirmation::Ack(None),
            "the broker did not take the command; it is still parked"
        );
        let acknowledged = within_deadline(message.ack(BasicAckOptions::default())).await?;
        ensure!(
            acknowledged,
            "the connection was lost; what was sent may be parked still"
        );
        Ok(())
    }
}

/// When the command was published at the latest: by its publisher's clock, and in any case before it
/// was parked. None where neither is known.
fn published(message: &BasicGetMessage, envelope: &Envelope) -> Option<OffsetDateTime> {
    let timestamp = envelope
        .timestamp
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok());
    let headers = message.properties.headers().as_ref();
    let parked_at = match headers.and_then(|headers| headers.inner().get(parked::PARKED_AT)) {
        Some(AMQPValue::LongLongInt(milliseconds)) => {
            OffsetDateTime::UNIX_EPOCH.checked_add(Duration::milliseconds(*milliseconds))
        }
        _ => None,
    };
    timestamp.into_iter().chain(parked_at).min()
}

/// What it asks for; of what is neither, the worker says so once more.
fn kind(message: &BasicGetMessage) -> Kind {
    let envelope = Envelope::read(&message.properties);
    envelope.check().map_or(Kind::Save, |(kind, _)| kind)
}

/// The properties as the publisher set them, as far as they were kept.
fn original(properties: &BasicProperties) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in properties.headers().iter().flat_map(FieldTable::inner) {
        let ours = [
            parked::REASON,
            parked::FIELD,
            parked::PARKED_AT,
            parked::BODY_BYTES,
            parked::USER_ID,
            "x-delivery-count",
        ];
        if !ours.contains(&name.as_str()) {
            headers.insert(name.clone(), value.clone());
        }
    }
    properties.clone().with_headers(headers)
}

fn id(message: &BasicGetMessage) -> Option<&str> {
    Some(message.properties.message_id().as_ref()?.as_str())
}

fn header(properties: &BasicProperties, name: &str) -> Option<String> {
    match properties.headers().as_ref()?.inner().get(name)? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        _ => None,
    }
}
