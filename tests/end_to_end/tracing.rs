//! Trace ids in logs and in the ledger, and the spans that a collector receives.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use anyhow::Context as _;
use dev::paths::free_port;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::Value;
use tests::{
    api::{Api, SPACE, sample, sample_with},
    eventually,
    external_clients::packages_of_python,
    publisher::Publisher,
    stack::{Process, Stack},
};
use tokio::process::{Child, Command};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The first line of a log with this message.
fn log_line(process: &Process, message: &str) -> anyhow::Result<Option<Value>> {
    let mut lines = process.log_lines()?.into_iter();
    Ok(lines.find(|line| line["message"] == message))
}

/// Publishes an invalid command of the trace, and waits for the reply.
async fn ask_with_invalid_command(stack: &Stack) -> anyhow::Result<()> {
    let mut publisher = stack.publisher().await?;
    let mut headers = FieldTable::default();
    headers.insert(
        "traceparent".into(),
        AMQPValue::LongString(TRACEPARENT.into()),
    );
    let properties = Publisher::properties("bad").with_headers(headers);
    publisher.ask("{}", properties).await?;
    Ok(())
}

#[tokio::test]
async fn errors_log_lines_and_the_ledger_name_their_trace() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let api = stack.api(SPACE)?.with("traceparent", TRACEPARENT);

    let saved = api.save(&sample()).await?;
    let invalid = api.save(&sample_with("envId", "")).await?;
    let refused = api.without("authorization").save(&sample()).await?;
    let unnamed = stack.api(SPACE)?.save(&sample_with("envId", "")).await?;

    saved.record()?;
    for answer in [&invalid, &refused] {
        assert_eq!(answer.body["errors"][0]["extensions"]["traceId"], TRACE);
    }
    let new = &unnamed.body["errors"][0]["extensions"]["traceId"];
    assert!(new.as_str().is_some_and(|id| id.len() == 32 && id != TRACE));
    let traceparent: String =
        sqlx::query_scalar("select traceparent from connector_details_ledger")
            .fetch_one(&stack.database)
            .await?;
    assert!(traceparent.starts_with(&format!("00-{TRACE}-")));
    assert_ne!(traceparent, TRACEPARENT, "the span that sent it");
    let gateway = stack.gateway.as_ref().context("no gateway")?;
    let answered: Vec<_> = gateway
        .log_lines()?
        .into_iter()
        .filter(|line| line["message"] == "answered")
        .collect();
    let trace_ids: Vec<_> = answered
        .iter()
        .map(|line| [&line["code"], &line["kind"], &line["trace.id"]])
        .collect();
    assert_eq!(
        trace_ids,
        [
            ["OK", "save", TRACE],
            ["BAD_USER_INPUT", "save", TRACE],
            ["UNAUTHENTICATED", "none", TRACE],
            ["BAD_USER_INPUT", "save", new.as_str().unwrap_or_default()],
        ]
    );
    for line in &answered {
        assert_eq!(line["level"], "INFO");
        assert!(line["request.id"].is_string() && line["duration_ms"].is_f64());
    }
    let batch =
        log_line(&stack.workers[0], "a batch was decided")?.context("no line for the batch")?;
    assert_eq!([&batch["commands"], &batch["saved"]], [1, 1]);

    // Another service's invalid command: the worker logs its trace too.
    ask_with_invalid_command(&stack).await?;
    let parked = log_line(&stack.workers[0], "a command is refused and parked")?
        .context("no line for what was parked")?;
    assert_eq!([&parked["level"], &parked["trace.id"]], ["WARN", TRACE]);
    Ok(())
}

/// A collector that others wrote, and what it received.
struct Collector {
    _process: Child,
    log: PathBuf,
    url: String,
}

impl Collector {
    async fn start(stack: &Stack) -> anyhow::Result<Self> {
        let packages =
            packages_of_python(&PathBuf::from("collector"), &["rotel==0.0.1a15"]).await?;
        let log = stack
            .servers
            .logs
            .join(format!("{}-collector.log", stack.vhost));
        let file = std::fs::File::create(&log)?;
        let (http, grpc) = (free_port(None)?, free_port(None)?);
        let process = Command::new(packages.join("rotel/rotel-agent"))
            .args(["start", "--exporter", "blackhole"])
            .args(["--debug-log", "traces", "--debug-log-verbosity", "detailed"])
            .arg(format!("--otlp-http-endpoint=127.0.0.1:{http}"))
            .arg(format!("--otlp-grpc-endpoint=127.0.0.1:{grpc}"))
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()?;
        let url = format!("http://127.0.0.1:{http}");
        eventually("the collector", async || Ok(reqwest::get(&url).await.ok())).await?;
        Ok(Self {
            _process: process,
            log,
            url,
        })
    }

    fn spans(&self) -> anyhow::Result<Vec<Span>> {
        let log = std::fs::read_to_string(&self.log)?;
        let mut spans: Vec<Span> = Vec::new();
        let mut in_links = false;
        for line in log.lines().map(str::trim) {
            if line.starts_with("Span #") {
                spans.push(Span::default());
                in_links = false;
            }
            let (Some(span), Some((name, value))) = (spans.last_mut(), line.split_once(':')) else {
                continue;
            };
            let value = value.trim().to_owned();
            match (name.trim(), in_links) {
                ("Trace ID", _) => span.trace = value,
                ("Parent ID", _) => span.parent = value,
                ("ID", _) => span.id = value,
                ("Name", _) => span.name = value,
                ("Links", _) => in_links = true,
                ("-> ID", true) => span.links.push(value),
                _ => {}
            }
        }
        Ok(spans)
    }

    /// Waits for all spans of two saves.
    async fn spans_of_two_saves(&self) -> anyhow::Result<Vec<Span>> {
        eventually("all spans of two saves", async || {
            let spans = self.spans()?;
            let batches = spans.iter().filter(|span| span.name == "process a batch");
            Ok((batches.count() >= 2 && spans.len() >= 14).then_some(spans))
        })
        .await
    }
}

#[derive(Debug, Clone, Default)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    name: String,
    links: Vec<String>,
}

/// The traces of all requests.
fn request_traces(spans: &[Span]) -> BTreeSet<&str> {
    let requests = spans.iter().filter(|span| span.name == "POST /graphql");
    requests.map(|span| span.trace.as_str()).collect()
}

/// A worker and a gateway that send their spans to this URL.
async fn exporting_services(stack: &Stack, url: &str) -> anyhow::Result<(Process, Process)> {
    let export = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ];
    let owned = export.map(|(name, value)| (name, value.to_owned()));
    let worker = stack.worker_with(owned.into())?;
    worker.becomes("ready").await?;
    let gateway = stack.ready_gateway(&export).await?;
    Ok((worker, gateway))
}

#[tokio::test]
#[ignore = "needs a collector, from PyPI: cargo dev test --all"]
async fn one_trace_covers_request_message_and_statement() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let collector = Collector::start(&stack).await?;
    let (worker, gateway) = exporting_services(&stack, &collector.url).await?;
    let api = Api::new(&gateway.url, SPACE)?;

    let mut input = sample_with("clientSecret", "a canary among secrets");
    input["oauthConnectorDetails"] = r#"{"authParams":{"n":"a canary in the details"}}"#.into();
    let saved = api
        .with("traceparent", TRACEPARENT)
        .save(&input)
        .await?
        .record()?;
    assert_eq!(saved["revision"], 1);
    api.save(&input).await?.record()?;

    let spans = collector.spans_of_two_saves().await?;
    let ours: Vec<_> = spans.iter().filter(|span| span.trace == TRACE).collect();
    let find = |name: &str| {
        let mut found = ours.iter().filter(|span| span.name == name);
        found.next().copied().context(name.to_owned())
    };
    let (request, sent, waited) = (
        find("POST /graphql")?,
        find("send ipack.commands")?,
        find("wait for the reply")?,
    );
    let (processed, stored) = (
        find("process ipack.connector-details.v1")?,
        find("save connector_details")?,
    );
    assert_eq!(request.parent, "b7ad6b7169203331");
    assert_eq!(
        [
            &sent.parent,
            &waited.parent,
            &processed.parent,
            &stored.parent
        ],
        [&request.id, &request.id, &sent.id, &processed.id]
    );
    let batch = spans
        .iter()
        .find(|span| span.name == "process a batch" && span.links.contains(&sent.id))
        .context("no batch is linked to the command")?;
    assert_eq!(processed.links, std::slice::from_ref(&batch.id));
    assert_ne!(batch.trace, TRACE);
    // The other save has a trace of its own, for its client named none.
    assert_eq!(request_traces(&spans).len(), 2);
    let received = std::fs::read_to_string(&collector.log)?;
    assert!(!received.contains("canary") && !received.contains("dummyClientId"));
    assert!(gateway.stop().await? && worker.stop().await?);
    Ok(())
}

#[tokio::test]
async fn an_unreachable_trace_collector_delays_no_request() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let closed_address = format!("http://127.0.0.1:{}", free_port(None)?);
    let export = ("OTEL_EXPORTER_OTLP_ENDPOINT", closed_address);
    let worker = stack.worker_with(vec![export.clone()])?;
    worker.becomes("ready").await?;
    let gateway = stack.ready_gateway(&[(export.0, &export.1)]).await?;
    let api = Api::new(&gateway.url, SPACE)?;

    let saved = tokio::time::timeout(Duration::from_secs(4), api.save(&sample())).await??;

    assert_eq!(saved.record()?["revision"], 1);
    assert!(gateway.stop().await? && worker.stop().await?);
    Ok(())
}
