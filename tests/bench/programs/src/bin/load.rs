//! The load of the benchmark. Prints one line of JSON: the number of requests and their latencies.
//!
//! One thread and no client library, because the load takes processor time from the servers on the
//! same machine.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};
use futures_util::{StreamExt as _, future::try_join_all};
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
        ConfirmSelectOptions, QueueDeclareOptions,
    },
    types::FieldTable,
};
use proto::{MASK, amqp::topology};
use runtime::broker;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

#[derive(Parser)]
struct Args {
    /// The number of records to save and to read.
    #[arg(long, default_value_t = 1000, global = true)]
    records: usize,
    /// The Space of all records.
    #[arg(long, global = true, default_value = "")]
    space: String,
    #[command(subcommand)]
    operation: Operation,
}

#[derive(Subcommand)]
enum Operation {
    /// Callers that save through GraphQL. Each sends its next save as soon as it has an answer.
    Save(Http),
    /// Callers that read through GraphQL.
    Read(Http),
    /// The broker's part of a save, for one caller: a command to the queue of commands, confirmed; its
    /// delivery, acknowledged a little later; a reply to a queue of the caller's own.
    Trip {
        #[arg(long, env = "AMQP_URL")]
        amqp_url: String,
        #[arg(long)]
        seconds: f64,
    },
    /// Publishes commands for each record in turn.
    Publish {
        #[arg(long, env = "AMQP_URL")]
        amqp_url: String,
        #[arg(long)]
        count: usize,
    },
    /// Upserts row after row on one connection.
    Upsert {
        #[arg(long, env = "DATABASE_URL")]
        database_url: String,
        #[arg(long)]
        seconds: f64,
    },
    /// Fills a table with this many records.
    Fill {
        #[arg(long, env = "DATABASE_URL")]
        database_url: String,
    },
}

#[derive(clap::Args)]
struct Http {
    /// One or more addresses, separated by commas. The callers are spread over them.
    #[arg(long, value_delimiter = ',')]
    address: Vec<SocketAddr>,
    #[arg(long, env = "TOKEN", default_value = "")]
    token: String,
    #[arg(long)]
    connections: usize,
    #[arg(long)]
    seconds: f64,
}

const SAVE: &str = "mutation save($input: SaveIPackInstanceOauthConnectorDetailsInput!) { \
    saveIPackInstanceOauthConnectorDetails(input: $input) { id integrationPackInstanceId \
    isTokenGenerated oauthConnectorDetails processId envId connectionId catalogGuid clientId } }";
const READ: &str = "query find($input: IPackInstanceOAuthConnectorDetailsInput!) { \
    IPackInstanceOAuthConnectorDetails(input: $input) { id integrationPackInstanceId \
    isTokenGenerated oauthConnectorDetails processId envId connectionId catalogGuid clientId } }";
/// The published sample's.
const DETAILS: &str = r#"{"baseURL":"https://baseURL.com","companyId":"9341452451293689","clientId":"A","authParams":{"key":"value"},"accessTokenParams":{"key":"value"}}"#;
const UPSERT: &str = "insert into connector_details as t (
        catalog_guid, integration_pack_instance_id, process_id, env_id, connection_id,
        is_token_generated, oauth_connector_details, client_id, last_command_id
    )
    values ($1, 'test-101', $2, '2', '3', false, $3, 'dummyClientId', 'none')
    on conflict on constraint connector_details_key do update set
        oauth_connector_details = excluded.oauth_connector_details,
        revision = t.revision + 1,
        updated_at = excluded.updated_at";

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let done = match &args.operation {
        Operation::Save(http) => call(&args, http, true).await?,
        Operation::Read(http) => call(&args, http, false).await?,
        Operation::Trip { amqp_url, seconds } => trip(&args, amqp_url, *seconds).await?,
        Operation::Publish { amqp_url, count } => publish(&args, amqp_url, *count).await?,
        Operation::Upsert {
            database_url,
            seconds,
        } => upsert(&args, database_url, *seconds).await?,
        Operation::Fill { database_url } => fill(&args, database_url).await?,
    };
    std::io::Write::write_all(&mut std::io::stdout(), done.to_string().as_bytes())?;
    Ok(())
}

/// The input of a save, or of a read, which has fewer fields.
fn input(args: &Args, record: usize, save: bool) -> serde_json::Value {
    let mut input = json!({
        "integrationPackInstanceId": "test-101",
        "processId": record.to_string(),
        "envId": "2",
        "connectionId": "3",
        "catalogGuid": args.space,
    });
    if save {
        input["isTokenGenerated"] = false.into();
        input["oauthConnectorDetails"] = DETAILS.into();
        input["clientId"] = "dummyClientId".into();
        input["clientSecret"] = MASK.into();
    }
    input
}

async fn call(args: &Args, http: &Http, save: bool) -> anyhow::Result<serde_json::Value> {
    let started = Instant::now();
    let deadline = started + Duration::from_secs_f64(http.seconds);
    let callers = (0..http.connections).map(|caller| async move {
        let address = http.address[caller % http.address.len()];
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (mut latencies, mut answer) = (Vec::new(), Vec::new());
        // Each caller its own records, as people do.
        let own = (caller..args.records).step_by(http.connections).cycle();
        for record in own {
            let request = request(args, http, record, save);
            let sent = Instant::now();
            stream.write_all(&request).await?;
            read(&mut stream, &mut answer).await?;
            ensure!(
                !contains(&answer, b"\"errors\""),
                "{}",
                String::from_utf8_lossy(&answer)
            );
            latencies.push(u32::try_from(sent.elapsed().as_micros())?);
            if Instant::now() > deadline {
                break;
            }
        }
        anyhow::Ok(latencies)
    });
    let mut all = try_join_all(callers).await?.concat();
    let seconds = started.elapsed().as_secs_f64();
    all.sort_unstable();
    let percentile = |share: usize| f64::from(all[all.len() * share / 100]) / 1000.0;
    Ok(json!({
        "count": all.len(),
        "seconds": seconds,
        "p50": percentile(50),
        "p95": percentile(95),
        "p99": percentile(99),
    }))
}

fn request(args: &Args, http: &Http, record: usize, save: bool) -> Vec<u8> {
    let query = if save { SAVE } else { READ };
    let variables = json!({ "input": input(args, record, save) });
    let body = json!({ "query": query, "variables": variables }).to_string();
    format!(
        "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {}\r\nSPACE_GUID: {}\r\nContent-Length: {}\r\n\r\n{body}",
        http.token,
        args.space,
        body.len()
    )
    .into_bytes()
}

/// Reads one answer to its end.
async fn read(stream: &mut TcpStream, answer: &mut Vec<u8>) -> anyhow::Result<()> {
    answer.clear();
    loop {
        let length = stream.read_buf(answer).await?;
        ensure!(length > 0, "the connection was closed");
        let Some(end) = find(answer, b"\r\n\r\n") else {
            continue;
        };
        let head = std::str::from_utf8(&answer[..end])?.to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .context("no length")?;
        if answer.len() >= end + 4 + length.trim().parse::<usize>()? {
            return Ok(());
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|it| it == wanted)
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    find(bytes, wanted).is_some()
}

async fn trip(args: &Args, url: &str, seconds: f64) -> anyhow::Result<serde_json::Value> {
    let uri = url.parse().map_err(anyhow::Error::msg)?;
    let (caller, worker) = (
        broker::connect(&uri, "bench caller").await?,
        broker::connect(&uri, "bench worker").await?,
    );
    let answers = broker::connect(&uri, "bench answers").await?;
    let channel = caller.create_channel().await?;
    topology::declare(&channel).await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    let exclusive = QueueDeclareOptions {
        exclusive: true,
        ..QueueDeclareOptions::default()
    };
    let reply_to = channel
        .queue_declare("".into(), exclusive, FieldTable::default())
        .await?;
    let no_ack = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let none = FieldTable::default();
    let mut replies = channel
        .basic_consume(reply_to.name().clone(), "".into(), no_ack, none)
        .await?;
    let echo = tokio::spawn(echo(
        worker.create_channel().await?,
        answers.create_channel().await?,
    ));
    let properties = BasicProperties::default()
        .with_reply_to(reply_to.name().clone())
        .with_delivery_mode(2);
    let body = input(args, 0, true).to_string().into_bytes();
    let (started, mut count) = (Instant::now(), 0);
    while started.elapsed().as_secs_f64() < seconds && !echo.is_finished() {
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let (exchange, key) = (topology::COMMANDS.into(), topology::SAVE.into());
        let written = channel.basic_publish(exchange, key, options, &body, properties.clone());
        let confirm = written.await?;
        replies.next().await.context("no reply")??;
        ensure!(confirm.await? == Confirmation::Ack(None));
        count += 1;
    }
    let seconds = started.elapsed().as_secs_f64();
    for connection in [worker, answers, caller] {
        connection.close(200, "".into()).await?;
    }
    Ok(json!({ "count": count, "seconds": seconds }))
}

/// Answers every command with itself.
async fn echo(commands: Channel, replies: Channel) -> anyhow::Result<()> {
    commands.basic_qos(1000, BasicQosOptions::default()).await?;
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut deliveries = commands
        .basic_consume(topology::QUEUE.into(), "".into(), options, none)
        .await?;
    let mut acknowledged = Instant::now();
    while let Some(delivery) = deliveries.next().await {
        let delivery = delivery?;
        let reply_to = delivery.properties.reply_to().clone();
        let (exchange, key) = ("".into(), reply_to.context("no reply-to")?);
        let options = BasicPublishOptions::default();
        let properties = BasicProperties::default();
        replies
            .basic_publish(exchange, key, options, &delivery.data, properties)
            .await?;
        if acknowledged.elapsed() > Duration::from_millis(10) {
            delivery.ack(BasicAckOptions { multiple: true }).await?;
            acknowledged = Instant::now();
        }
    }
    Ok(())
}

async fn publish(args: &Args, url: &str, count: usize) -> anyhow::Result<serde_json::Value> {
    let uri = url.parse().map_err(anyhow::Error::msg)?;
    let connection = broker::connect(&uri, "bench").await?;
    let channel = connection.create_channel().await?;
    topology::declare(&channel).await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    let started = Instant::now();
    let all: Vec<usize> = (0..count).collect();
    for chunk in all.chunks(1000) {
        let confirms = try_join_all(chunk.iter().map(|number| {
            let body = input(args, number % args.records, true)
                .to_string()
                .into_bytes();
            let properties = BasicProperties::default()
                .with_message_id(format!("bench-{}-{number}", args.records).into())
                .with_type("SaveConnectorDetails.v1".into())
                .with_content_type("application/json".into())
                .with_delivery_mode(2);
            let channel = &channel;
            async move {
                channel
                    .basic_publish(
                        topology::COMMANDS.into(),
                        topology::SAVE.into(),
                        BasicPublishOptions::default(),
                        &body,
                        properties,
                    )
                    .await?
                    .await
            }
        }))
        .await?;
        ensure!(confirms.iter().all(|it| *it == Confirmation::Ack(None)));
    }
    let seconds = started.elapsed().as_secs_f64();
    connection.close(200, "".into()).await?;
    Ok(json!({ "count": count, "seconds": seconds }))
}

async fn upsert(args: &Args, url: &str, seconds: f64) -> anyhow::Result<serde_json::Value> {
    let mut connection = PgConnection::connect(url).await?;
    let (started, mut count) = (Instant::now(), 0);
    while started.elapsed().as_secs_f64() < seconds {
        sqlx::query(UPSERT)
            .bind(&args.space)
            .bind((count % args.records).to_string())
            .bind(DETAILS)
            .execute(&mut connection)
            .await?;
        count += 1;
    }
    Ok(json!({ "count": count, "seconds": started.elapsed().as_secs_f64() }))
}

async fn fill(args: &Args, url: &str) -> anyhow::Result<serde_json::Value> {
    let mut connection = PgConnection::connect(url).await?;
    let started = Instant::now();
    sqlx::query(
        "insert into connector_details (
             catalog_guid, integration_pack_instance_id, process_id, env_id, connection_id,
             is_token_generated, oauth_connector_details, client_id, last_command_id
         )
         select $1, 'test-101', record::text, '2', '3', false, $2, 'dummyClientId', 'none'
         from generate_series(0, $3::bigint - 1) as record
         on conflict do nothing",
    )
    .bind(&args.space)
    .bind(DETAILS)
    .bind(i64::try_from(args.records)?)
    .execute(&mut connection)
    .await?;
    sqlx::query("vacuum analyze connector_details")
        .execute(&mut connection)
        .await?;
    Ok(json!({ "count": args.records, "seconds": started.elapsed().as_secs_f64() }))
}
