//! The operator's command for what was parked: sends it again, once the reason is gone.
//!
//! A command keeps its id, so sending it twice, or after it was applied after all, changes nothing.

use std::io::Write;

use anyhow::ensure;
use lapin::{
    BasicProperties, Channel, Confirmation,
    message::BasicGetMessage,
    options::{BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable},
    uri::AMQPUri,
};
use proto::{
    Envelope, Kind,
    broker::{self, within_deadline},
    parked, topology,
};

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
}

/// Sends parked commands again, and tells of each what was done.
///
/// # Errors
/// The broker is away or refuses. What was not confirmed is still parked.
pub async fn replay(
    uri: &AMQPUri,
    args: &ReplayArgs,
    mut report: impl Write,
) -> anyhow::Result<()> {
    let connection = broker::connect(uri, "connector-details-worker replay").await?;
    let channel = within_deadline(connection.create_channel()).await?;
    tokio::time::timeout(broker::DEADLINE, topology::declare(&channel)).await??;
    within_deadline(channel.confirm_select(ConfirmSelectOptions::default())).await?;
    // All of them are taken before the first is sent: one that is refused again is parked behind
    // them, and must not be met a second time.
    let mut taken = Vec::new();
    while let Some(message) =
        within_deadline(channel.basic_get(topology::PARKED.into(), BasicGetOptions::default()))
            .await?
    {
        taken.push(message);
    }
    for message in &taken {
        let done = replay_one(&channel, args, message).await?;
        let reason = header(&message.properties, parked::REASON).unwrap_or_default();
        writeln!(
            report,
            "{done}\t{}\t{reason}",
            id(message).unwrap_or("(no id)")
        )?;
    }
    // What was not sent goes back to its place.
    broker::close(&connection).await;
    Ok(())
}

async fn replay_one(
    channel: &Channel,
    args: &ReplayArgs,
    message: &BasicGetMessage,
) -> anyhow::Result<&'static str> {
    let reason = header(&message.properties, parked::REASON);
    let is_meant = args.reason.is_none() || args.reason == reason;
    if !is_meant
        || args
            .id
            .as_deref()
            .is_some_and(|wanted| id(message) != Some(wanted))
    {
        return Ok("left");
    }
    if message.data.is_empty() || id(message).is_none() {
        return Ok("can't be sent: its body or id could not be kept");
    }
    if args.dry_run {
        return Ok("would be sent");
    }
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let confirmation = within_deadline(async {
        channel
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
    Ok("sent")
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
