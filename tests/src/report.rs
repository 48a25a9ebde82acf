//! The results of a fault test: one row of the table that `cargo dev faults` prints.

use std::{fs::File, io::Write as _, path::Path, time::Duration};

use serde_json::json;

/// The results of all saves during the fault.
#[derive(Debug, Default)]
pub struct Report {
    /// Saves that were answered with the record.
    pub saved: usize,
    /// Answers that the save was not accepted.
    pub refused: usize,
    /// Answers that the save is accepted and has no outcome yet.
    pub pending: usize,
    /// Answers that the outcome is unknown, and requests without an answer.
    pub unknown: usize,
    /// Any other answer, by its code. There should be none.
    pub others: Vec<String>,
    /// Confirmed saves that the database does not hold.
    pub lost: Vec<String>,
    /// Saves that took effect more than once, out of order, or after a later one.
    pub twice: Vec<String>,
    /// The slowest answer.
    pub slowest: Duration,
    /// The longest time without a successful save.
    pub gap: Duration,
    /// The time from the end of the fault until saves are as fast as before it.
    pub recovery: Duration,
}

impl Report {
    /// Counts one answer by its error code; `None` is a success.
    pub fn count(&mut self, code: Option<&str>, took: Duration) {
        self.slowest = self.slowest.max(took);
        match code {
            None => self.saved += 1,
            Some("SERVICE_UNAVAILABLE" | "QUEUE_FULL") => self.refused += 1,
            Some("SAVE_PENDING") => self.pending += 1,
            Some("SAVE_UNKNOWN" | "HTTP") => self.unknown += 1,
            Some(other) => self.others.push(other.to_owned()),
        }
    }

    /// Writes the row, and checks that no save was lost or applied twice.
    ///
    /// # Errors
    /// A save was lost or applied twice, or a client got an unexpected answer.
    pub fn check(&self, fault: &str) -> anyhow::Result<()> {
        let row = json!([
            ["fault", fault],
            ["saves", self.saved],
            ["refused", self.refused],
            ["pending", self.pending],
            ["unknown", self.unknown],
            ["lost", self.lost.len()],
            ["done twice", self.twice.len()],
            ["slowest answer, s", tenths(self.slowest)],
            ["longest gap, s", tenths(self.gap)],
            ["recovery, s", tenths(self.recovery)],
        ]);
        std::io::stderr().write_all(format!("{row}\n").as_bytes())?;
        if let Ok(path) = std::env::var("FAULTS_REPORT") {
            append(Path::new(&path), &row.to_string())?;
        }
        anyhow::ensure!(self.lost.is_empty(), "{fault}: lost: {:?}", self.lost);
        anyhow::ensure!(self.twice.is_empty(), "{fault}: twice: {:?}", self.twice);
        anyhow::ensure!(self.others.is_empty(), "{fault}: {:?}", self.others);
        Ok(())
    }
}

fn append(path: &Path, line: &str) -> std::io::Result<()> {
    let mut file = File::options().create(true).append(true).open(path)?;
    writeln!(file, "{line}")
}

fn tenths(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}
