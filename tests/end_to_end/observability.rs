//! What an operator sees: one trace, metrics, log lines; and what is made of them in `deploy/`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use anyhow::Context as _;
use dev::paths::{self, free_port};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::Value;
use tests::{
    api::{Api, SPACE, sample, sample_with},
    eventually,
    external_clients::{output, packages_of_python},
    publisher::Publisher,
    stack::Stack,
};
use tokio::process::{Child, Command};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

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
    let told: Vec<_> = answered
        .iter()
        .map(|line| [&line["code"], &line["kind"], &line["trace.id"]])
        .collect();
    assert_eq!(
        told,
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
    let batches = stack.workers[0].log_lines()?;
    let batch = batches
        .iter()
        .find(|line| line["message"] == "a batch was decided")
        .context("no line for the batch")?;
    assert_eq!([&batch["commands"], &batch["saved"]], [1, 1]);

    // Another service's command that nobody can apply: the worker names its trace, too.
    let mut publisher = stack.publisher().await?;
    let mut headers = FieldTable::default();
    headers.insert(
        "traceparent".into(),
        AMQPValue::LongString(TRACEPARENT.into()),
    );
    let properties = Publisher::properties("bad").with_headers(headers);
    publisher.ask("{}", properties).await?;
    let lines = stack.workers[0].log_lines()?;
    let parked = lines
        .iter()
        .find(|line| line["message"] == "a command is refused and parked")
        .context("no line for what was parked")?;
    assert_eq!([&parked["level"], &parked["trace.id"]], ["WARN", TRACE]);
    Ok(())
}

/// The value of each series, by its name and labels as they are written.
fn series(scrape: &str) -> BTreeMap<&str, f64> {
    scrape
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(name, value)| Some((name, value.parse().ok()?)))
        .collect()
}

/// After a save, one that is invalid, and a read.
const OF_GATEWAY: &[(&str, f64)] = &[
    (
        r#"connector_details_requests_total{service="gateway",kind="save",code="OK"}"#,
        1.0,
    ),
    (
        r#"connector_details_requests_total{service="gateway",kind="save",code="BAD_USER_INPUT"}"#,
        1.0,
    ),
    (
        r#"connector_details_requests_total{service="gateway",kind="read",code="OK"}"#,
        1.0,
    ),
    (
        r#"connector_details_publishes_total{service="gateway",outcome="confirmed"}"#,
        1.0,
    ),
    (
        r#"connector_details_reply_duration_seconds_count{service="gateway"}"#,
        1.0,
    ),
    (
        r#"connector_details_waiting_requests{service="gateway"}"#,
        0.0,
    ),
    (
        r#"connector_details_queue_consumers{service="gateway",queue="commands"}"#,
        1.0,
    ),
    (r#"connector_details_database_up{service="gateway"}"#, 1.0),
];

/// After that save, and one, its repeat, its conflict and a refusal of another publisher.
const OF_WORKER: &[(&str, f64)] = &[
    (
        r#"connector_details_commands_total{service="worker",outcome="saved"}"#,
        2.0,
    ),
    (
        r#"connector_details_commands_total{service="worker",outcome="repeated"}"#,
        1.0,
    ),
    (
        r#"connector_details_commands_total{service="worker",outcome="conflict"}"#,
        1.0,
    ),
    (
        r#"connector_details_commands_total{service="worker",outcome="refused"}"#,
        1.0,
    ),
    (
        r#"connector_details_parked_total{service="worker",reason="BAD_USER_INPUT"}"#,
        1.0,
    ),
    (
        r#"connector_details_queue_messages{service="worker",queue="parked"}"#,
        1.0,
    ),
    (
        r#"connector_details_oldest_command_age_seconds{service="worker"}"#,
        0.0,
    ),
];

#[tokio::test]
async fn metrics_tell_what_happened() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let api = stack.api(SPACE)?;
    let mut publisher = stack.publisher().await?;

    api.save(&sample()).await?.record()?;
    api.save(&sample_with("envId", "")).await?;
    api.find(&sample()).await?;
    for id in ["once", "once"] {
        publisher
            .ask(sample().to_string(), Publisher::properties(id))
            .await?;
    }
    let other = sample_with("clientId", "another").to_string();
    publisher.ask(other, Publisher::properties("once")).await?;
    publisher.ask("{}", Publisher::properties("bad")).await?;

    let gateway = stack.gateway.as_ref().context("no gateway")?;
    // The queues are looked at from time to time.
    eventually("the metrics", async || {
        let of_gateway = has(&gateway.metrics().await?, OF_GATEWAY);
        let of_worker = has(&stack.workers[0].metrics().await?, OF_WORKER);
        Ok((of_gateway && of_worker).then_some(()))
    })
    .await
}

fn has(scrape: &str, expected: &[(&str, f64)]) -> bool {
    let series = series(scrape);
    let is_so = |(name, value): &(&str, f64)| series.get(name) == Some(value);
    expected.iter().all(is_so)
}

#[tokio::test]
async fn a_command_that_waits_for_the_database_grows_old() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let publisher = stack.publisher().await?;
    let mut owner = stack.database.begin().await?;
    sqlx::query("lock table connector_details in access exclusive mode")
        .execute(&mut *owner)
        .await?;

    publisher
        .publish(sample().to_string(), Publisher::properties("old"))
        .await?;
    let name = r#"connector_details_oldest_command_age_seconds{service="worker"}"#;
    eventually("an age", async || {
        let scrape = stack.workers[0].metrics().await?;
        Ok(series(&scrape)
            .get(name)
            .filter(|age| **age > 1.0)
            .map(|_| ()))
    })
    .await?;
    owner.rollback().await?;

    eventually("nothing in hand", async || {
        let scrape = stack.workers[0].metrics().await?;
        Ok(series(&scrape)
            .get(name)
            .filter(|age| **age == 0.0)
            .map(|_| ()))
    })
    .await
}

fn file(path: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(paths::repository().join(path)).with_context(|| path.to_owned())
}

/// Every name of a metric in a text, without what a histogram or its label adds.
fn names(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("connector_details_"))
        .map(|word| {
            ["_bucket", "_count", "_sum"]
                .iter()
                .find_map(|end| word.strip_suffix(end))
                .unwrap_or(word)
        })
        .collect()
}

#[test]
fn every_metric_is_explained_drawn_and_real() -> anyhow::Result<()> {
    let code = [
        "services/runtime/src/metrics.rs",
        "services/runtime/src/queue_depth.rs",
        "services/gateway/src/metrics.rs",
        "services/worker/src/metrics.rs",
    ]
    .map(file)
    .into_iter()
    .collect::<Result<Vec<_>, _>>()?
    .concat();
    let (operating, dashboard, alerts) = (
        file("docs/operating.md")?,
        file("deploy/grafana/connector-details.json")?,
        file("deploy/prometheus/alerts.yml")?,
    );
    let real = names(&code);

    assert_eq!(names(&operating), real, "docs/operating.md");
    assert_eq!(names(&dashboard), real, "the dashboard");
    assert!(names(&alerts).is_subset(&real), "the alerts");
    serde_json::from_str::<Value>(&dashboard)?;
    Ok(())
}

#[test]
fn every_alert_leads_to_what_to_do() -> anyhow::Result<()> {
    let (operating, alerts) = (
        file("docs/operating.md")?,
        file("deploy/prometheus/alerts.yml")?,
    );
    let headings: BTreeSet<String> = operating
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|heading| {
            let plain = heading.to_lowercase().replace(' ', "-");
            plain
                .chars()
                .filter(|c| c.is_alphanumeric() || *c == '-')
                .collect()
        })
        .collect();

    let mut links = 0;
    for word in alerts.split_whitespace() {
        if let Some(heading) = word.strip_prefix("docs/operating.md#") {
            assert!(headings.contains(heading), "{heading}");
            links += 1;
        }
    }
    assert_eq!(links, alerts.matches("- alert:").count());
    Ok(())
}

#[tokio::test]
#[ignore = "needs Prometheus: cargo dev test --all"]
async fn prometheus_takes_the_rules_and_the_scrape() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    stack.api(SPACE)?.save(&sample()).await?.record()?;
    let gateway = stack.gateway.as_ref().context("no gateway")?;
    let rules = paths::repository().join("deploy/prometheus");
    for arguments in [
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts.test.yml"],
        ["check", "config", "prometheus.yml"],
    ] {
        let mut promtool = Command::new("promtool");
        promtool.args(arguments).current_dir(&rules);
        output(promtool).await?;
    }
    for scrape in [gateway.metrics().await?, stack.workers[0].metrics().await?] {
        let path = stack.servers.logs.join(format!("{}.prom", stack.vhost));
        std::fs::write(&path, scrape)?;
        let mut promtool = Command::new("promtool");
        promtool
            .args(["check", "metrics"])
            .stdin(Stdio::from(std::fs::File::open(&path)?));
        output(promtool).await?;
    }

    let targets = [&gateway.metrics_url, &stack.workers[0].metrics_url].map(|url| {
        url.trim_start_matches("http://")
            .trim_end_matches("/metrics")
    });
    let (port, folder) = (
        free_port(None)?,
        stack
            .servers
            .logs
            .join(format!("{}-prometheus", stack.vhost)),
    );
    std::fs::create_dir_all(&folder)?;
    let config = serde_json::json!({
        "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
        "rule_files": [rules.join("alerts.yml")],
        "scrape_configs": [{
            "job_name": "connector-details",
            "static_configs": [{ "targets": targets }],
        }],
    });
    // JSON is YAML.
    std::fs::write(folder.join("prometheus.yml"), config.to_string())?;
    let _prometheus = Command::new("prometheus")
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg(format!(
            "--config.file={}",
            folder.join("prometheus.yml").display()
        ))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.join("data").display()
        ))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let ask = async |query: &str| -> anyhow::Result<Value> {
        let url = format!("http://127.0.0.1:{port}/api/v1/query");
        let answer = reqwest::Client::new()
            .post(url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("query={query}"))
            .send();
        Ok(serde_json::from_slice(&answer.await?.bytes().await?)?)
    };
    eventually("both to be scraped", async || {
        let answer = ask("sum(up)").await.unwrap_or_default();
        Ok((answer["data"]["result"][0]["value"][1] == "2").then_some(()))
    })
    .await?;
    let saved = ask("sum(connector_details_requests_total)").await?;
    assert_eq!(saved["data"]["result"][0]["value"][1], "1");
    let firing = ask("count(ALERTS)").await?;
    assert_eq!(firing["data"]["result"], serde_json::json!([]));
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
}

#[derive(Debug, Clone, Default)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    name: String,
    links: Vec<String>,
}

#[tokio::test]
#[ignore = "needs a collector, from PyPI: cargo dev test --all"]
async fn one_trace_leads_from_the_request_to_the_statement_and_back() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let collector = Collector::start(&stack).await?;
    let export = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ];
    let owned = export.map(|(name, value)| (name, value.to_owned()));
    let worker = stack.worker_with(owned.into())?;
    worker.becomes("ready").await?;
    let gateway = stack.gate(&export).await?;
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

    let spans = eventually("all spans of two saves", async || {
        let spans = collector.spans()?;
        let batches = spans.iter().filter(|span| span.name == "process a batch");
        Ok((batches.count() >= 2 && spans.len() >= 14).then_some(spans))
    })
    .await?;
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
    let others: BTreeSet<_> = spans
        .iter()
        .filter(|span| span.name == "POST /graphql")
        .map(|span| &span.trace)
        .collect();
    assert_eq!(others.len(), 2);
    let received = std::fs::read_to_string(&collector.log)?;
    assert!(!received.contains("canary") && !received.contains("dummyClientId"));
    assert!(gateway.stop().await? && worker.stop().await?);
    Ok(())
}

#[tokio::test]
async fn a_collector_that_is_away_holds_nothing_up() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let nobody = format!("http://127.0.0.1:{}", free_port(None)?);
    let export = ("OTEL_EXPORTER_OTLP_ENDPOINT", nobody);
    let worker = stack.worker_with(vec![export.clone()])?;
    worker.becomes("ready").await?;
    let gateway = stack.gate(&[(export.0, &export.1)]).await?;
    let api = Api::new(&gateway.url, SPACE)?;

    let saved = tokio::time::timeout(Duration::from_secs(4), api.save(&sample())).await??;

    assert_eq!(saved.record()?["revision"], 1);
    assert!(gateway.stop().await? && worker.stop().await?);
    Ok(())
}
