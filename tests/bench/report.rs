//! The results as Markdown tables.

use std::{collections::BTreeMap, fmt};

use super::processes::Cpu;

pub(super) const FEW_RECORDS: usize = 1000;

/// The services that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    Product,
    Direct,
}

/// The result of one run of the load. Latencies are in milliseconds.
#[derive(Debug)]
pub struct Sample {
    pub operation: &'static str,
    pub subject: Subject,
    pub connections: usize,
    pub records: usize,
    pub count: f64,
    pub per_second: f64,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub cpu: Cpu,
}

/// Commands per second that a worker drains, and rows per second that one connection upserts.
#[derive(Debug)]
pub struct Backlog {
    pub commands: usize,
    pub records: usize,
    pub drained: f64,
    pub upserted: f64,
}

/// All results.
#[derive(Debug, Default)]
pub struct Report {
    pub samples: Vec<Sample>,
    pub backlogs: Vec<Backlog>,
    /// Round trips per second through the broker alone with one caller, for each repetition.
    pub round_trips: Vec<f64>,
    /// MiB by process, after the load.
    pub memory: BTreeMap<String, f64>,
    /// Gateways, partitions, and saves per second.
    pub grown: Vec<(u16, u16, f64)>,
    /// MiB by process at an interval during a long load.
    pub soak: Vec<BTreeMap<String, f64>>,
}

/// Selects the samples of a median.
#[derive(Debug, Clone, Copy)]
pub struct Selection {
    pub operation: &'static str,
    pub subject: Subject,
    pub connections: usize,
    pub records: usize,
}

impl Report {
    /// The median of a value over all repetitions.
    pub fn median(&self, selected: Selection, of: impl Fn(&Sample) -> f64) -> f64 {
        let is_selected = |sample: &&Sample| {
            (sample.operation, sample.connections, sample.records)
                == (selected.operation, selected.connections, selected.records)
                && sample.subject == selected.subject
        };
        median(self.samples.iter().filter(is_selected).map(of))
    }

    /// Operation, connections and records of each row.
    fn rows(&self) -> Vec<(&'static str, usize, usize)> {
        let mut rows: Vec<_> = self
            .samples
            .iter()
            .map(|sample| (sample.operation, sample.connections, sample.records))
            .collect();
        rows.sort_by_key(|(operation, connections, records)| {
            (std::cmp::Reverse(*operation), *records, *connections)
        });
        rows.dedup();
        rows
    }

    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| | connections | records | product a second | direct a second | ratio | \
             product p50 / p95 / p99, ms | direct p50 / p95 / p99, ms |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|")?;
        for (operation, connections, records) in self.rows() {
            let of = |subject| Selection {
                operation,
                subject,
                connections,
                records,
            };
            let speed = |subject| self.median(of(subject), |sample| sample.per_second);
            let latencies = |subject| {
                let each = [
                    self.median(of(subject), |sample| sample.p50),
                    self.median(of(subject), |sample| sample.p95),
                    self.median(of(subject), |sample| sample.p99),
                ];
                each.map(|time| format!("{time:.1}")).join(" / ")
            };
            let (product, direct) = (speed(Subject::Product), speed(Subject::Direct));
            writeln!(
                f,
                "| {operation} | {connections} | {records} | {product:.0} | {direct:.0} | {:.2} | {} | {} |",
                product / direct,
                latencies(Subject::Product),
                latencies(Subject::Direct),
            )?;
        }
        Ok(())
    }

    fn costs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let saves = self.rows().into_iter().filter(|row| row.0 == "save");
        let Some((operation, connections, records)) = saves.max_by_key(|row| (row.1, row.2)) else {
            return Ok(());
        };
        writeln!(
            f,
            "\nProcessor seconds for 1,000 saves at {connections} connections:\n"
        )?;
        writeln!(f, "| process | product | direct |\n|---|---|---|")?;
        let mut names: Vec<&String> = self
            .samples
            .iter()
            .flat_map(|sample| sample.cpu.0.keys())
            .collect();
        names.sort();
        names.dedup();
        let cost = |subject, name: Option<&str>| {
            let selected = Selection {
                operation,
                subject,
                connections,
                records,
            };
            self.median(selected, |sample| {
                let all = sample.cpu.0.iter();
                let selected = all.filter(|(process, _)| name.is_none_or(|name| name == *process));
                selected.map(|(_, seconds)| seconds).sum::<f64>() * 1000.0 / sample.count
            })
        };
        for name in names {
            let (product, direct) = (
                cost(Subject::Product, Some(name)),
                cost(Subject::Direct, Some(name)),
            );
            writeln!(f, "| {name} | {product:.3} | {direct:.3} |")?;
        }
        let (product, direct) = (cost(Subject::Product, None), cost(Subject::Direct, None));
        writeln!(f, "| all | {product:.3} | {direct:.3} |")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.table(f)?;
        self.costs(f)?;
        writeln!(f)?;
        for Backlog {
            commands,
            records,
            drained,
            upserted,
        } in &self.backlogs
        {
            writeln!(
                f,
                "A backlog of {commands} commands for {records} records is drained at {drained:.0} a \
                 second; one connection upserts {upserted:.0} of their rows a second: {:.1} times.",
                drained / upserted
            )?;
        }
        let round_trips = median(self.round_trips.iter().copied());
        let direct = Selection {
            operation: "save",
            subject: Subject::Direct,
            connections: 1,
            records: FEW_RECORDS,
        };
        writeln!(
            f,
            "Round trips through the broker alone with one caller: {round_trips:.0} a second, {:.2} of the direct write.\n",
            round_trips / self.median(direct, |sample| sample.per_second)
        )?;
        writeln!(f, "Memory after the load, MiB: {}", memory(&self.memory))?;
        for (gateways, partitions, speed) in &self.grown {
            writeln!(
                f,
                "{gateways} gateways, {partitions} partitions: {speed:.0} saves a second"
            )?;
        }
        for (first, index) in self.soak.iter().step_by(6).zip(0..) {
            writeln!(f, "after {index} min of 256 callers: {}", memory(first))?;
        }
        Ok(())
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn memory(of: &BTreeMap<String, f64>) -> String {
    let each: Vec<String> = of
        .iter()
        .map(|(name, mib)| format!("{name} {mib:.0}"))
        .collect();
    each.join(", ")
}
