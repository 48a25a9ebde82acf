//! `cargo dev faults`: runs all fault tests, with the long ones, and prints a table of their results.
#![expect(clippy::print_stdout, reason = "a program for a terminal")]

use std::{env, fmt::Write as _, fs, path::Path, process::ExitCode, time::Duration};

use dev::{
    paths, run_folder,
    services::{self, cargo},
    signals::until_stopped,
};
use serde_json::Value;
use tokio::time::sleep;

/// How long a killed test needs to end. It holds the lock of its folder until then.
const KILL_TIME: Duration = Duration::from_millis(500);

/// The result of one test: columns and their values.
type Row = Vec<(String, Value)>;

/// Runs the fault tests one after the other, prints the table, and writes it to `target/faults/`. The arguments
/// are passed on to the tests.
#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    until_stopped(services::build(&services::SERVICES, false)).await?;
    let folder = paths::repository().join("target/faults");
    fs::create_dir_all(&folder)?;
    let rows = folder.join("rows.jsonl");
    fs::write(&rows, "")?;
    let mut tests = cargo();
    tests
        .args(["test", "--workspace", "--locked", "--test", "faults", "--"])
        .args(["--include-ignored", "--test-threads=1"])
        .args(env::args_os().skip(1))
        .env("FAULTS_REPORT", &rows);
    let status = until_stopped(services::run_tests(tests)).await;
    if status.is_err() {
        // A stop signal killed the test before it stopped its servers.
        sleep(KILL_TIME).await;
        run_folder::stop_orphans();
    }
    let status = status?;
    let table = table(&rows)?;
    fs::write(folder.join("report.md"), &table)?;
    println!("\n{table}");
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The rows as a table of Markdown, each column as wide as its widest cell.
fn table(rows: &Path) -> anyhow::Result<String> {
    let rows: Vec<Row> = fs::read_to_string(rows)?
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let heads = rows.first().into_iter().flatten();
    let mut lines = vec![heads.map(|(head, _)| head.clone()).collect::<Vec<_>>()];
    for row in rows {
        let text = |value: Value| value.as_str().map_or(value.to_string(), ToOwned::to_owned);
        lines.push(row.into_iter().map(|(_, value)| text(value)).collect());
    }
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(String::len).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    lines.insert(1, widths.iter().map(|width| "-".repeat(*width)).collect());
    let mut table = String::new();
    for line in &lines {
        table.push('|');
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(table, " {cell:width$} |");
        }
        table.push('\n');
    }
    Ok(table)
}
