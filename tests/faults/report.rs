//! `cargo dev faults`: runs all fault tests, with the long ones, and prints a table of their results.
#![expect(clippy::print_stdout, reason = "a program for a terminal")]

use std::{env, fmt::Write as _, fs, path::Path, process::ExitCode};

use dev::{
    paths,
    services::{self, cargo},
    signals::until_stopped,
};
use serde_json::Value;

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
    let status = cargo()
        .args(["test", "--workspace", "--locked", "--test", "faults", "--"])
        .args(["--include-ignored", "--test-threads=1"])
        .args(env::args_os().skip(1))
        .env("FAULTS_REPORT", &rows)
        .status()
        .await?;
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
