//! The measurements, in their order.

use std::time::{Duration, Instant};

use anyhow::ensure;
use dev::{
    services::{Service, Services},
    up::SPACE,
};
use sqlx::{Connection as _, PgConnection};
use tokio::time::sleep;

use super::{
    environment::Environment,
    load,
    plan::Plan,
    progress::Progress,
    report::{Backlog, FEW_RECORDS, Report, Sample, Subject},
};

const BOTH: [Subject; 2] = [Subject::Product, Subject::Direct];
const READ_CONNECTIONS: usize = 64;
const DRAIN_TIMEOUT: Duration = Duration::from_mins(5);
const DRAIN_POLL: Duration = Duration::from_millis(20);
const SOAK_INTERVAL: Duration = Duration::from_secs(10);

pub struct Bench<'a> {
    plan: Plan,
    environment: Environment<'a>,
    pub report: Report,
    progress: Progress,
}

impl<'a> Bench<'a> {
    pub fn new(plan: Plan, environment: Environment<'a>) -> Self {
        Self {
            progress: Progress::new(plan.steps()),
            plan,
            environment,
            report: Report::default(),
        }
    }

    pub async fn measure(&mut self) -> anyhow::Result<()> {
        self.fill(FEW_RECORDS).await?;
        for records in [FEW_RECORDS, self.plan.backlog] {
            self.backlog(records).await?;
        }
        self.environment.start_services().await?;
        let idle_host = self.environment.virtual_host("bench-trip").await?;
        for _ in 0..self.plan.repetitions {
            self.round_trip(&idle_host.worker_amqp_url).await?;
            for connections in self.plan.connections {
                for subject in BOTH {
                    self.call("save", subject, *connections, FEW_RECORDS)
                        .await?;
                }
            }
            for subject in BOTH {
                self.call("read", subject, READ_CONNECTIONS, FEW_RECORDS)
                    .await?;
            }
        }
        self.report.memory = self.environment.processes.memory();
        self.fill(self.plan.records).await?;
        for _ in 0..self.plan.repetitions {
            for subject in BOTH {
                self.call("save", subject, 64, self.plan.records).await?;
            }
        }
        Ok(())
    }

    /// Fills both databases.
    async fn fill(&self, records: usize) -> anyhow::Result<()> {
        for subject in BOTH {
            let count = records.to_string();
            let mut load = self.environment.load(&["fill", "--records", &count]);
            load.env("DATABASE_URL", self.environment.database_url(subject));
            load::run(load).await?;
        }
        Ok(())
    }

    /// Publishes a backlog while no worker runs, and measures how fast a worker drains it. Then one
    /// connection upserts rows one by one into as many records.
    async fn backlog(&mut self, records: usize) -> anyhow::Result<()> {
        self.progress
            .step(&format!("draining a backlog for {records} records"));
        let (count, each) = (self.plan.backlog.to_string(), records.to_string());
        let arguments = ["publish", "--count", &count, "--records", &each];
        let mut publish = self.environment.load(&arguments);
        publish.env("AMQP_URL", &self.environment.config.worker_amqp_url);
        load::run(publish).await?;
        let mut owner =
            PgConnection::connect(self.environment.database_url(Subject::Product)).await?;
        let started = Instant::now();
        self.environment.start_worker()?;
        while !self.is_drained(&mut owner, records).await? {
            ensure!(
                started.elapsed() < DRAIN_TIMEOUT,
                "the backlog was not drained within {DRAIN_TIMEOUT:?}"
            );
            sleep(DRAIN_POLL).await;
        }
        let drained = per_second(self.plan.backlog, started.elapsed());
        self.environment.servers.supervisor.stop_last().await;
        let arguments = ["upsert", "--seconds", "5", "--records", &each];
        let mut upsert = self.environment.load(&arguments);
        upsert.env(
            "DATABASE_URL",
            self.environment.database_url(Subject::Direct),
        );
        self.report.backlogs.push(Backlog {
            commands: self.plan.backlog,
            records,
            drained,
            upserted: load::run(upsert).await?.rate(),
        });
        Ok(())
    }

    /// The commands are counted only after the last one has an outcome. Counting them at each poll
    /// would take a good part of the measured time.
    async fn is_drained(&self, owner: &mut PgConnection, records: usize) -> anyhow::Result<bool> {
        let count: Option<i64> = sqlx::query_scalar(
            "select (select count(*) from connector_details_ledger where command_id like $3)
             from connector_details_ledger
             where (catalog_guid, command_id) = ($1, $2)",
        )
        .bind(SPACE)
        .bind(format!("bench-{records}-{}", self.plan.backlog - 1))
        .bind(format!("bench-{records}-%"))
        .fetch_optional(owner)
        .await?;
        Ok(usize::try_from(count.unwrap_or_default())? >= self.plan.backlog)
    }

    /// Publishes and consumes on a virtual host without any other client.
    async fn round_trip(&mut self, amqp_url: &str) -> anyhow::Result<()> {
        self.progress.step("round trips through the broker alone");
        let seconds = self.plan.seconds.to_string();
        let mut load = self.environment.load(&["trip", "--seconds", &seconds]);
        load.env("AMQP_URL", amqp_url);
        self.report.round_trips.push(load::run(load).await?.rate());
        Ok(())
    }

    async fn call(
        &mut self,
        operation: &'static str,
        subject: Subject,
        connections: usize,
        records: usize,
    ) -> anyhow::Result<()> {
        self.progress.step(&format!(
            "{operation} at {connections} connections, {subject:?}"
        ));
        let load = self.environment.load(&[
            operation,
            "--address",
            &self.environment.address(subject),
            "--connections",
            &connections.to_string(),
            "--seconds",
            &self.plan.seconds.to_string(),
            "--records",
            &records.to_string(),
        ]);
        let before = self.environment.processes.cpu();
        let measured = load::run(load).await?;
        let cpu = self.environment.processes.cpu().since(&before);
        self.report.samples.push(Sample {
            operation,
            subject,
            connections,
            records,
            count: measured.number("count"),
            per_second: measured.rate(),
            p50: measured.number("p50"),
            p95: measured.number("p95"),
            p99: measured.number("p99"),
            cpu,
        });
        Ok(())
    }

    /// Throughput at 256 connections with more gateways and partitions. A partition is a queue with
    /// its own worker. Here it is a virtual host with its own gateways, and the callers spread the
    /// records, as a consistent-hash exchange would do.
    pub async fn grow(&mut self) -> anyhow::Result<()> {
        for (gateways, partitions) in [(1, 1), (2, 1), (2, 2), (4, 4)] {
            self.progress
                .step(&format!("{gateways} gateways, {partitions} partitions"));
            let addresses = self.start_partitions(gateways, partitions).await?.join(",");
            let arguments = ["save", "--address", &addresses, "--connections", "256"];
            let arguments = [&arguments[..], &["--seconds", "5"]].concat();
            // The first run only fills caches and prepares statements.
            load::run(self.environment.load(&arguments)).await?;
            let measured = load::run(self.environment.load(&arguments)).await?;
            self.report
                .grown
                .push((gateways, partitions, measured.rate()));
        }
        Ok(())
    }

    /// Returns the gateways' addresses.
    async fn start_partitions(
        &self,
        gateways: u16,
        partitions: u16,
    ) -> anyhow::Result<Vec<String>> {
        let mut addresses = Vec::new();
        for partition in 0..partitions {
            let name = format!("bench-{gateways}-{partitions}-{partition}");
            let config = self.environment.virtual_host(&name).await?;
            let supervisor = &self.environment.servers.supervisor;
            let services = Services::start(&config, supervisor, gateways / partitions, 1, None)?;
            services.ready().await?;
            let address = |gateway: &Service| format!("127.0.0.1:{}", gateway.port);
            addresses.extend(services.gateways.iter().map(address));
        }
        Ok(addresses)
    }

    /// Saves for a long time, and records the memory at an interval.
    pub async fn soak(&mut self, time: Duration) -> anyhow::Result<()> {
        self.progress.step("soaking");
        let (address, seconds) = (
            self.environment.address(Subject::Product),
            time.as_secs().to_string(),
        );
        let arguments = ["save", "--address", &address, "--connections", "256"];
        let arguments = [&arguments[..], &["--seconds", &seconds]].concat();
        let mut running = self.environment.load(&arguments).spawn()?;
        while running.try_wait()?.is_none() {
            sleep(SOAK_INTERVAL).await;
            self.report.soak.push(self.environment.processes.memory());
        }
        ensure!(running.wait().await?.success(), "the load failed");
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of seconds")]
fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
