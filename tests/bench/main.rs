//! `cargo dev bench`: puts the same load on the product and on a plain service that writes each row
//! itself, in turn and in the same run.
//!
//! Machines are shared and noisy, so only ratios count: those of the medians of interleaved
//! repetitions.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

mod environment;
mod load;
mod measure;
mod plan;
mod plot;
mod processes;
mod progress;
mod report;

use std::{fs, time::Duration};

use clap::Parser as _;
use dev::{paths, servers::Source, services, signals::until_stopped, test_servers::TestServers};
use runtime::settings;

use self::{environment::Environment, measure::Bench, plan::Plan};

const PROGRAMS: [&str; 4] = ["gateway", "worker", "direct", "load"];

/// Compares the speed with a plain service that writes each row itself.
#[derive(Debug, clap::Parser)]
#[command(name = "cargo dev bench", bin_name = "cargo dev bench")]
struct Args {
    /// Take less than a minute, with less precise results.
    #[arg(long)]
    quick: bool,

    /// Also measure with more gateways and with the queue split into partitions.
    #[arg(long)]
    grow: bool,

    /// Also run 256 callers for this long, to see whether memory grows: 10m.
    #[arg(long, value_parser = settings::duration)]
    soak: Option<Duration>,
}

/// Measures, prints the report, and writes it with a plot to `target/bench/`.
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let source = Source::from_environment()?;
    let programs = until_stopped(services::build(&PROGRAMS, true)).await?;
    let report = TestServers::during(source, async |servers| {
        let plan = if args.quick { Plan::QUICK } else { Plan::FULL };
        let environment = Environment::new(programs, servers).await?;
        let mut bench = Bench::new(plan, environment);
        bench.measure().await?;
        if args.grow {
            bench.grow().await?;
        }
        if let Some(time) = args.soak {
            bench.soak(time).await?;
        }
        Ok(bench.report)
    })
    .await?;
    let folder = paths::repository().join("target/bench");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("report.md"), report.to_string())?;
    fs::write(folder.join("saves.svg"), plot::svg(&report))?;
    println!(
        "\n{report}\nThe report and a plot are in {}",
        folder.display()
    );
    Ok(())
}
