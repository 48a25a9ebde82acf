//! `cargo dev bench`: the product and a plain service that writes each row itself, under the same
//! load in the same run, in turn.
//!
//! Machines are shared and noisy, so the figures that count are ratios of medians of interleaved
//! repetitions.

mod plot;
mod processes;
mod report;

use std::{
    fs,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use dev::{
    database,
    paths::{self, free_port},
    servers::ready,
    services::{self, ServiceConfig},
    supervisor::{Program, Stop, Supervised},
    test_servers::TestServers,
    up::SPACE,
};
use gateway::auth::dev_token;
use nix::sys::signal::Signal;
use reqwest::Url;
use runtime::settings;
use serde_json::Value;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::{process::Command, time::sleep};

use self::{
    processes::Processes,
    report::{Backlog, FEW_RECORDS, Report, Sample, Subject},
};

/// How much to measure.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// Under a minute, and accordingly rough.
    #[arg(long)]
    quick: bool,

    /// Afterwards, with more gateways, and with the queue in parts.
    #[arg(long)]
    grow: bool,

    /// Afterwards 256 callers for this long, to see whether memory grows: 10m.
    #[arg(long, value_parser = settings::duration)]
    soak: Option<Duration>,
}

/// How much is measured of what.
struct Plan {
    connections: &'static [usize],
    repetitions: usize,
    seconds: f64,
    backlog: usize,
    records: usize,
}

const PROGRAMS: [&str; 4] = ["gateway", "worker", "direct", "load"];
const QUICK: Plan = Plan {
    connections: &[1, 64, 256],
    repetitions: 1,
    seconds: 3.0,
    backlog: 20_000,
    records: 50_000,
};
const FULL: Plan = Plan {
    connections: &[1, 8, 32, 64, 128, 256],
    repetitions: 5,
    seconds: 5.0,
    backlog: 200_000,
    records: 1_000_000,
};

struct Bench<'a> {
    plan: Plan,
    programs: PathBuf,
    servers: &'a TestServers,
    wiring: ServiceConfig,
    direct_url: String,
    token: String,
    processes: Processes,
    /// Where each subject listens.
    product: String,
    direct: String,
    report: Report,
    progress: Progress,
}

/// Measures, prints the report and keeps it, with a plot, in `target/bench/`.
///
/// # Errors
/// Something does not start, or answers with an error.
pub async fn run(args: BenchArgs) -> anyhow::Result<ExitCode> {
    let programs = services::build(&PROGRAMS, true).await?;
    let report = TestServers::during(async |servers| {
        let mut bench = Bench::new(args.quick, programs, servers).await?;
        bench.measure(args.grow, args.soak).await?;
        Ok(bench.report)
    })
    .await?;
    let folder = paths::repository().join("target/bench");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("report.md"), report.to_string())?;
    fs::write(folder.join("saves.svg"), plot::svg(&report))?;
    println!("\n{report}\nKept with a plot in {}", folder.display());
    Ok(ExitCode::SUCCESS)
}

impl<'a> Bench<'a> {
    async fn new(quick: bool, programs: PathBuf, servers: &'a TestServers) -> anyhow::Result<Self> {
        let plan = if quick { QUICK } else { FULL };
        let logs = paths::repository().join("target/bench/logs");
        fs::create_dir_all(&logs)?;
        let (database_url, amqp_url) = (&servers.servers.database_url, &servers.servers.amqp_url);
        let (secret, password) = ("s".repeat(32), "bench");
        let mut owner = PgConnection::connect(database_url).await?;
        owner.execute("create database direct").await?;
        let mut direct_url = Url::parse(database_url)?;
        direct_url.set_path("direct");
        database::prepare(direct_url.as_str(), password).await?;
        let wiring = ServiceConfig {
            programs: programs.clone(),
            logs,
            logins: database::prepare(database_url, password).await?,
            gateway_amqp_url: amqp_url.clone(),
            worker_amqp_url: amqp_url.clone(),
            jwt_secret: secret.clone(),
            graphiql: None,
        };
        let mut processes = Processes::default();
        for kept in &servers.servers.kept {
            processes.add(kept).await;
        }
        let steps = 2 + plan.repetitions * ((plan.connections.len() + 2) * 2 + 1);
        Ok(Self {
            progress: Progress::new(steps),
            plan,
            programs,
            wiring,
            direct_url: direct_url.into(),
            token: dev_token::sign(&secret, SPACE, "bench", Duration::from_hours(12))?,
            processes,
            product: format!("127.0.0.1:{}", free_port(None)?),
            direct: format!("127.0.0.1:{}", free_port(None)?),
            report: Report::default(),
            servers,
        })
    }

    async fn measure(&mut self, grow: bool, soak: Option<Duration>) -> anyhow::Result<()> {
        for url in [
            self.servers.servers.database_url.clone(),
            self.direct_url.clone(),
        ] {
            self.fill(&url, FEW_RECORDS).await?;
        }
        for records in [FEW_RECORDS, self.plan.backlog] {
            self.backlog(records).await?;
        }
        self.start().await?;
        let quiet = self.in_virtual_host("bench-trip").await?.worker_amqp_url;
        for _ in 0..self.plan.repetitions {
            self.trip(&quiet).await?;
            for connections in self.plan.connections {
                for subject in [Subject::Product, Subject::Direct] {
                    self.call("save", subject, *connections, FEW_RECORDS)
                        .await?;
                }
            }
            for subject in [Subject::Product, Subject::Direct] {
                self.call("read", subject, 64, FEW_RECORDS).await?;
            }
        }
        self.report.memory = self.processes.memory();
        for url in [
            self.servers.servers.database_url.clone(),
            self.direct_url.clone(),
        ] {
            self.fill(&url, self.plan.records).await?;
        }
        for _ in 0..self.plan.repetitions {
            for subject in [Subject::Product, Subject::Direct] {
                self.call("save", subject, 64, self.plan.records).await?;
            }
        }
        if grow {
            self.grow().await?;
        }
        if let Some(time) = soak {
            self.soak(time).await?;
        }
        Ok(())
    }

    /// Publishes a backlog while no worker runs, and sees how fast one drains it; beside one
    /// connection that upserts row after row, in as many records.
    async fn backlog(&mut self, records: usize) -> anyhow::Result<()> {
        self.progress
            .step(&format!("draining a backlog for {records} records"));
        let (count, each) = (self.plan.backlog.to_string(), records.to_string());
        let each = ["--records", each.as_str()];
        let mut load = self.load(&["publish", "--count", &count], &each);
        load.env("AMQP_URL", &self.wiring.worker_amqp_url);
        output(load).await?;
        let mut owner = PgConnection::connect(&self.servers.servers.database_url).await?;
        let started = Instant::now();
        self.keep(self.wiring.worker("worker", free_port(None)?))?;
        while !self.is_drained(&mut owner, records).await? {
            ensure!(
                started.elapsed() < Duration::from_mins(5),
                "it is not drained"
            );
            sleep(Duration::from_millis(20)).await;
        }
        let drained = per_second(self.plan.backlog, started.elapsed().as_secs_f64());
        self.servers.keeper.stop_last().await;
        let mut load = self.load(&["upsert", "--seconds", "5"], &each);
        load.env("DATABASE_URL", &self.direct_url);
        let upserted = rate(&output(load).await?);
        self.report.backlogs.push(Backlog {
            commands: self.plan.backlog,
            records,
            drained,
            upserted,
        });
        Ok(())
    }

    /// Counts only when the last command is decided: to count all of them time and again takes a good
    /// part of what is measured.
    async fn is_drained(&self, owner: &mut PgConnection, records: usize) -> anyhow::Result<bool> {
        let decided: Option<i64> = sqlx::query_scalar(
            "select (select count(*) from connector_details_ledger where command_id like $3)
             from connector_details_ledger
             where (catalog_guid, command_id) = ($1, $2)",
        )
        .bind(SPACE)
        .bind(format!("bench-{records}-{}", self.plan.backlog - 1))
        .bind(format!("bench-{records}-%"))
        .fetch_optional(owner)
        .await?;
        Ok(usize::try_from(decided.unwrap_or_default())? >= self.plan.backlog)
    }

    /// The broker's part of a save, without anybody else's.
    async fn trip(&mut self, amqp_url: &str) -> anyhow::Result<()> {
        self.progress.step("the broker's trip alone");
        let seconds = self.plan.seconds.to_string();
        let mut load = self.load(&["trip", "--seconds", &seconds], &[]);
        load.env("AMQP_URL", amqp_url);
        self.report.trips.push(rate(&output(load).await?));
        Ok(())
    }

    async fn start(&mut self) -> anyhow::Result<()> {
        let port = |address: &str| -> anyhow::Result<u16> {
            Ok(address.rsplit(':').next().context("no port")?.parse()?)
        };
        let worker = self.keep(self.wiring.worker("worker", free_port(None)?))?;
        let gateway = self.keep(self.wiring.gateway(
            "gateway",
            port(&self.product)?,
            free_port(None)?,
        ))?;
        let variables = vec![
            ("DATABASE_URL", self.direct_url.clone()),
            ("LISTEN", self.direct.clone()),
        ];
        let path = self.programs.join("direct");
        let direct = self.keep(Program {
            name: "direct".to_owned(),
            command: Box::new(move || services::command(&path, &variables)),
            log: self.wiring.logs.join("direct.log"),
            pid_file: None,
            stop: Stop::Signal(Signal::SIGTERM),
        })?;
        for address in [&self.product, &self.direct] {
            answers(address).await?;
        }
        for kept in [&worker, &gateway, &direct] {
            self.processes.add(kept).await;
        }
        Ok(())
    }

    fn keep(&self, program: Program) -> anyhow::Result<Supervised> {
        self.servers.keeper.keep(program)
    }

    async fn fill(&self, database_url: &str, records: usize) -> anyhow::Result<()> {
        let mut load = self.load(&["fill"], &["--records", &records.to_string()]);
        load.env("DATABASE_URL", database_url);
        output(load).await.map(drop)
    }

    async fn call(
        &mut self,
        what: &'static str,
        subject: Subject,
        connections: usize,
        records: usize,
    ) -> anyhow::Result<()> {
        let message = format!("{what} at {connections} connections, {subject:?}");
        self.progress.step(&message);
        let address = match subject {
            Subject::Product => &self.product,
            Subject::Direct => &self.direct,
        };
        let (callers, seconds) = (connections.to_string(), self.plan.seconds.to_string());
        let arguments = [what, "--address", address, "--connections", &callers];
        let options = ["--seconds", &seconds, "--records", &records.to_string()];
        let load = self.load(&arguments, &options);
        let before = self.processes.cpu();
        let told = output(load).await?;
        let cpu = self.processes.cpu().since(&before);
        let number = |name: &str| told[name].as_f64().unwrap_or_default();
        self.report.samples.push(Sample {
            what,
            subject,
            connections,
            records,
            count: number("count"),
            per_second: rate(&told),
            p50: number("p50"),
            p95: number("p95"),
            p99: number("p99"),
            cpu,
        });
        Ok(())
    }

    /// Throughput at 256 connections with more gateways and more partitions. A partition is a
    /// queue with a worker of its own, here in a virtual host of its own with gateways of its own:
    /// what a consistent-hash exchange would do for records, the callers do, each with its own.
    async fn grow(&mut self) -> anyhow::Result<()> {
        for (gateways, partitions) in [(1, 1), (2, 1), (2, 2), (4, 4)] {
            self.progress
                .step(&format!("{gateways} gateways, {partitions} partitions"));
            let mut addresses = Vec::new();
            for partition in 0..partitions {
                let name = format!("bench-{gateways}-{partitions}-{partition}");
                let wiring = self.in_virtual_host(&name).await?;
                self.keep(wiring.worker(&format!("{name}-worker"), free_port(None)?))?;
                for gateway in 0..gateways / partitions {
                    let port = free_port(None)?;
                    self.keep(wiring.gateway(
                        &format!("{name}-gateway-{gateway}"),
                        port,
                        free_port(None)?,
                    ))?;
                    addresses.push(format!("127.0.0.1:{port}"));
                }
            }
            for address in &addresses {
                answers(address).await?;
            }
            // Its prepared statements and caches, too, have to be there.
            for record in [false, true] {
                let all = addresses.join(",");
                let arguments = ["save", "--address", &all, "--connections", "256"];
                let load = self.load(&arguments, &["--seconds", "5"]);
                let told = output(load).await?;
                if record {
                    self.report.grown.push((gateways, partitions, rate(&told)));
                }
            }
        }
        Ok(())
    }

    async fn in_virtual_host(&self, name: &str) -> anyhow::Result<ServiceConfig> {
        let management = self.servers.servers.management_url.as_deref();
        let url = format!("{}/api/vhosts/{name}", management.context("no management")?);
        let put = reqwest::Client::new().put(url);
        let made = put.header("content-type", "application/json").body("{}");
        made.send().await?.error_for_status()?;
        let amqp_url = self
            .wiring
            .worker_amqp_url
            .replace("/%2f", &format!("/{name}"));
        Ok(ServiceConfig {
            gateway_amqp_url: amqp_url.clone(),
            worker_amqp_url: amqp_url,
            ..self.wiring.clone()
        })
    }

    /// Saves for a long time, and looks at the memory from time to time.
    async fn soak(&mut self, time: Duration) -> anyhow::Result<()> {
        self.progress.step("soaking");
        let seconds = time.as_secs().to_string();
        let arguments = ["save", "--address", &self.product, "--connections", "256"];
        let mut load = self.load(&arguments, &["--seconds", &seconds]);
        let mut running = load.spawn()?;
        while running.try_wait()?.is_none() {
            sleep(Duration::from_secs(10)).await;
            self.report.soak.push(self.processes.memory());
        }
        ensure!(running.wait().await?.success(), "the load failed");
        Ok(())
    }

    fn load(&self, arguments: &[&str], options: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("load"));
        command
            .args(arguments)
            .args(options)
            .args(["--space", SPACE])
            .env("TOKEN", &self.token)
            .kill_on_drop(true);
        command
    }
}

async fn answers(address: &str) -> anyhow::Result<()> {
    ready(address, async || {
        let url = format!("http://{address}/health/ready");
        reqwest::get(url).await?.error_for_status()?;
        Ok(())
    })
    .await
}

async fn output(mut command: Command) -> anyhow::Result<Value> {
    let output = command.output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the load failed: {said}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// How much of what the load did it did in a second.
fn rate(told: &Value) -> f64 {
    let number = |name: &str| told[name].as_f64().unwrap_or_default();
    number("count") / number("seconds")
}

#[expect(clippy::cast_precision_loss, reason = "counts of seconds")]
fn per_second(count: usize, seconds: f64) -> f64 {
    count as f64 / seconds
}

/// A bar on the terminal.
struct Progress {
    done: usize,
    steps: usize,
}

impl Progress {
    const WIDTH: usize = 30;

    fn new(steps: usize) -> Self {
        Self { done: 0, steps }
    }

    fn step(&mut self, what: &str) {
        let full = Self::WIDTH * self.done.min(self.steps) / self.steps;
        let (full, rest) = ("#".repeat(full), ".".repeat(Self::WIDTH - full));
        eprint!("\r[{full}{rest}] {what:<50}");
        self.done += 1;
    }
}
