//! `AMQP_URL=... cargo run --example publish < proto/examples/save.json`, with plain lapin.
#![expect(clippy::print_stdout, reason = "an example prints the reply")]

use futures_util::StreamExt as _;
use lapin::{
    BasicProperties, Confirmation, Connection, ConnectionProperties,
    options::{BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions},
    types::FieldTable,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::var("AMQP_URL")?;
    let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    // Consume before you publish: the reply arrives on this channel.
    let listen = BasicConsumeOptions {
        no_ack: true,
        ..Default::default()
    };
    let reply_to = "amq.rabbitmq.reply-to";
    let mut replies = channel
        .basic_consume(reply_to.into(), "".into(), listen, FieldTable::default())
        .await?;
    let properties = BasicProperties::default()
        // Keep it for a retry: a command id takes effect only once.
        .with_message_id(uuid::Uuid::new_v4().to_string().into())
        .with_type("SaveConnectorDetails.v1".into())
        .with_content_type("application/json".into())
        .with_delivery_mode(2)
        .with_app_id("example-rust".into())
        .with_reply_to(reply_to.into());
    let (exchange, key) = ("ipack.commands", "save-connector-details.v1");
    let mandatory = BasicPublishOptions {
        mandatory: true,
        ..Default::default()
    };
    let body = std::io::read_to_string(std::io::stdin())?;
    let confirm = channel
        .basic_publish(
            exchange.into(),
            key.into(),
            mandatory,
            body.as_bytes(),
            properties,
        )
        .await?;
    // Every other confirmation means that the command is not in the queue, also that of a returned message.
    anyhow::ensure!(
        confirm.await? == Confirmation::Ack(None),
        "the command was not accepted"
    );
    let wait = std::time::Duration::from_secs(10);
    if let Some(reply) = tokio::time::timeout(wait, replies.next()).await? {
        println!("{}", String::from_utf8(reply?.data)?);
    }
    Ok(connection.close(200, "bye".into()).await?)
}
