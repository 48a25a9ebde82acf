//! A service that publishes commands, using only the contract.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, Consumer,
    message::BasicGetMessage,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions,
        ConfirmSelectOptions, QueueBindOptions, QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
    uri::AMQPUri,
};
use proto::amqp::topology;
use runtime::broker;
use serde_json::Value;
use uuid::Uuid;

/// A connection that publishes, with direct reply-to.
pub struct Publisher {
    /// Dropping the connection would close the channel.
    pub connection: Connection,
    /// For operations beyond the contract.
    pub channel: Channel,
    replies: Consumer,
    early: HashMap<String, Value>,
}

/// A message from a queue.
#[derive(Debug)]
pub struct Found {
    /// The body, if it is JSON.
    pub body: Value,
    /// The raw body.
    pub raw: Vec<u8>,
    /// The properties.
    pub properties: BasicProperties,
}

impl Found {
    /// A header's text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        match self.properties.headers().as_ref()?.inner().get(name)? {
            AMQPValue::LongString(text) => Some(text.to_string()),
            other => Some(format!("{other:?}")),
        }
    }
}

impl Publisher {
    /// Connects, and declares the topology.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn connect(uri: &AMQPUri) -> anyhow::Result<Self> {
        let connection = broker::connect(uri, "test").await?;
        topology::declare(&connection.create_channel().await?).await?;
        Self::on(connection).await
    }

    /// Connects without declaring the topology.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn connect_only(uri: &AMQPUri) -> anyhow::Result<Self> {
        Self::on(broker::connect(uri, "test publisher").await?).await
    }

    async fn on(connection: Connection) -> anyhow::Result<Self> {
        let channel = connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        let options = BasicConsumeOptions {
            no_ack: true,
            ..BasicConsumeOptions::default()
        };
        let replies = channel
            .basic_consume(
                "amq.rabbitmq.reply-to".into(),
                "".into(),
                options,
                FieldTable::default(),
            )
            .await?;
        Ok(Self {
            connection,
            channel,
            replies,
            early: HashMap::new(),
        })
    }

    /// Properties of a save, as the contract asks for them.
    #[must_use]
    pub fn properties(message_id: &str) -> BasicProperties {
        BasicProperties::default()
            .with_message_id(message_id.into())
            .with_type("SaveConnectorDetails.v1".into())
            .with_content_type("application/json".into())
            .with_delivery_mode(2)
            .with_app_id("test".into())
            .with_reply_to("amq.rabbitmq.reply-to".into())
    }

    /// Receives every event in a queue of this name.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn listening(self, queue: &str) -> anyhow::Result<Self> {
        self.listening_with(queue, FieldTable::default()).await
    }

    /// Receives every event in a queue of this name with these arguments.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn listening_with(self, queue: &str, arguments: FieldTable) -> anyhow::Result<Self> {
        let durable = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        self.channel
            .queue_declare(queue.into(), durable, arguments)
            .await?;
        self.channel
            .queue_bind(
                queue.into(),
                topology::EVENTS.into(),
                "connector-details.*.v1".into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await?;
        Ok(self)
    }

    /// Publishes a message to the commands' exchange and waits for the confirm.
    ///
    /// # Errors
    /// The broker does not confirm it.
    pub async fn publish(
        &self,
        body: impl AsRef<[u8]>,
        properties: BasicProperties,
    ) -> anyhow::Result<()> {
        self.publish_by(topology::SAVE, body, properties).await
    }

    /// Publishes a message with this routing key.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub async fn publish_by(
        &self,
        routing_key: &str,
        body: impl AsRef<[u8]>,
        properties: BasicProperties,
    ) -> anyhow::Result<()> {
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let confirmation = self
            .channel
            .basic_publish(
                topology::COMMANDS.into(),
                routing_key.into(),
                options,
                body.as_ref(),
                properties,
            )
            .await?
            .await?;
        ensure!(confirmation == Confirmation::Ack(None), "{confirmation:?}");
        Ok(())
    }

    /// Publishes a command and waits for its reply.
    ///
    /// # Errors
    /// No reply arrives.
    pub async fn ask(
        &mut self,
        body: impl AsRef<[u8]>,
        properties: BasicProperties,
    ) -> anyhow::Result<Value> {
        self.ask_by(topology::SAVE, body, properties).await
    }

    /// Publishes a deletion and waits for its reply.
    ///
    /// # Errors
    /// As [`Publisher::ask`].
    pub async fn delete(
        &mut self,
        body: impl AsRef<[u8]>,
        properties: BasicProperties,
    ) -> anyhow::Result<Value> {
        self.ask_by(topology::DELETE, body, properties).await
    }

    /// Publishes a command with this routing key and waits for its reply.
    ///
    /// # Errors
    /// As [`Publisher::ask`].
    pub async fn ask_by(
        &mut self,
        routing_key: &str,
        body: impl AsRef<[u8]>,
        properties: BasicProperties,
    ) -> anyhow::Result<Value> {
        let correlation = Uuid::new_v4().to_string();
        let properties = properties.with_correlation_id(correlation.as_str().into());
        self.publish_by(routing_key, body, properties).await?;
        self.reply(&correlation).await
    }

    /// Waits for the reply with a correlation id.
    ///
    /// # Errors
    /// There is none within ten seconds.
    pub async fn reply(&mut self, correlation: &str) -> anyhow::Result<Value> {
        while !self.early.contains_key(correlation) {
            let next = tokio::time::timeout(Duration::from_secs(10), self.replies.next()).await;
            let delivery = next.context("no reply")?.context("no channel")??;
            let kind = delivery
                .properties
                .kind()
                .as_ref()
                .map(|kind| kind.as_str().to_owned());
            ensure!(
                kind.as_deref()
                    .is_some_and(|kind| kind.ends_with("ConnectorDetailsReply.v1")),
                "{kind:?}"
            );
            let id = delivery
                .properties
                .correlation_id()
                .as_ref()
                .context("no id")?;
            self.early.insert(
                id.as_str().to_owned(),
                serde_json::from_slice(&delivery.data)?,
            );
        }
        self.early.remove(correlation).context("no reply")
    }

    /// Takes a message out of a queue, if there is one.
    ///
    /// # Errors
    /// There is no such queue.
    pub async fn get(&self, queue: &str) -> anyhow::Result<Option<Found>> {
        let message: Option<BasicGetMessage> = self
            .channel
            .basic_get(queue.into(), BasicGetOptions::default())
            .await?;
        let Some(message) = message else {
            return Ok(None);
        };
        message.ack(BasicAckOptions::default()).await?;
        Ok(Some(Found {
            body: serde_json::from_slice(&message.data).unwrap_or_default(),
            raw: message.data.clone(),
            properties: message.properties.clone(),
        }))
    }

    /// Waits for a message in a queue.
    ///
    /// # Errors
    /// No message arrives.
    pub async fn take(&self, queue: &str) -> anyhow::Result<Found> {
        crate::eventually(&format!("a message in {queue}"), async || {
            self.get(queue).await
        })
        .await
    }
}
