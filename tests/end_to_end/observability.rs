//! The dashboards, alerts and scrape configuration of `deploy/`.

use std::{collections::BTreeSet, path::Path, process::Stdio};

use anyhow::Context as _;
use dev::paths::{self, free_port};
use serde_json::Value;
use tests::{
    api::{SPACE, sample},
    eventually,
    external_clients::output,
    stack::Stack,
};
use tokio::process::{Child, Command};

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
fn every_metric_is_documented_and_on_a_dashboard() -> anyhow::Result<()> {
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
fn every_alert_links_to_its_runbook() -> anyhow::Result<()> {
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

/// Checks the files of `deploy/prometheus` in this folder.
async fn check_files(rules: &Path) -> anyhow::Result<()> {
    for arguments in [
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts.test.yml"],
        ["check", "config", "prometheus.yml"],
    ] {
        let mut promtool = Command::new("promtool");
        promtool.args(arguments).current_dir(rules);
        output(promtool).await?;
    }
    Ok(())
}

/// Checks the metrics that a service serves.
async fn check_metrics(stack: &Stack, metrics: &str) -> anyhow::Result<()> {
    let path = stack.servers.logs.join(format!("{}.prom", stack.vhost));
    std::fs::write(&path, metrics)?;
    let mut promtool = Command::new("promtool");
    promtool
        .args(["check", "metrics"])
        .stdin(Stdio::from(std::fs::File::open(&path)?));
    output(promtool).await?;
    Ok(())
}

/// Starts Prometheus with this configuration, on this port.
fn start_prometheus(stack: &Stack, config: &Value, port: u16) -> anyhow::Result<Child> {
    let folder = stack
        .servers
        .logs
        .join(format!("{}-prometheus", stack.vhost));
    std::fs::create_dir_all(&folder)?;
    // JSON is YAML.
    std::fs::write(folder.join("prometheus.yml"), config.to_string())?;
    let prometheus = Command::new("prometheus")
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
    Ok(prometheus)
}

/// The answer of the Prometheus on this port to a query.
async fn ask(port: u16, query: &str) -> anyhow::Result<Value> {
    let url = format!("http://127.0.0.1:{port}/api/v1/query");
    let answer = reqwest::Client::new()
        .post(url)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("query={query}"))
        .send();
    Ok(serde_json::from_slice(&answer.await?.bytes().await?)?)
}

#[tokio::test]
#[ignore = "needs Prometheus: cargo dev test --all"]
async fn prometheus_accepts_the_rules_and_the_scrape() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    stack.api(SPACE)?.save(&sample()).await?.record()?;
    let gateway = stack.gateway.as_ref().context("no gateway")?;
    let rules = paths::repository().join("deploy/prometheus");
    check_files(&rules).await?;
    for scrape in [gateway.metrics().await?, stack.workers[0].metrics().await?] {
        check_metrics(&stack, &scrape).await?;
    }

    let targets = [&gateway.metrics_url, &stack.workers[0].metrics_url].map(|url| {
        url.trim_start_matches("http://")
            .trim_end_matches("/metrics")
    });
    let port = free_port(None)?;
    let config = serde_json::json!({
        "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
        "rule_files": [rules.join("alerts.yml")],
        "scrape_configs": [{
            "job_name": "connector-details",
            "static_configs": [{ "targets": targets }],
        }],
    });
    let _prometheus = start_prometheus(&stack, &config, port)?;
    eventually("both to be scraped", async || {
        let answer = ask(port, "sum(up)").await.unwrap_or_default();
        Ok((answer["data"]["result"][0]["value"][1] == "2").then_some(()))
    })
    .await?;
    let saved = ask(port, "sum(connector_details_requests_total)").await?;
    assert_eq!(saved["data"]["result"][0]["value"][1], "1");
    let firing = ask(port, "count(ALERTS)").await?;
    assert_eq!(firing["data"]["result"], serde_json::json!([]));
    Ok(())
}
