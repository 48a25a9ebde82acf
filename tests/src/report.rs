//! What a fault did to those who were saving meanwhile: a row of the table that `cargo dev faults`
//! prints.

use std::{fs::File, io::Write as _, path::Path, time::Duration};

use serde_json::json;

/// What clients were told, and whether it was true.
#[derive(Debug, Default)]
pub struct Report {
    /// Saves that were answered with the record.
    pub saved: usize,
    /// Answers that the save was not accepted.
    pub refused: usize,
    /// Answers that the save is accepted and not decided yet.
    pub pending: usize,
    /// Answers that nothing is known of the save, and answers that never came.
    pub unknown: usize,
    /// Any other answer, by its code. There should be none.
    pub others: Vec<String>,
    /// Answered saves that the database does not hold as they were answered.
    pub lost: Vec<String>,
    /// Saves that took effect more than once, out of order, or after a later one.
    pub twice: Vec<String>,
    /// The slowest answer.
    pub slowest: Duration,
    /// The longest time in which nobody's save succeeded.
    pub gap: Duration,
    /// From the end of the fault until saves were answered as fast as before it.
    pub recovery: Duration,
}

impl Report {
    /// Counts one answer: the code of its error, or none.
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

    /// Writes the row, and holds the service to its promises.
    ///
    /// # Errors
    /// A promise that was broken.
    pub fn tell(&self, fault: &str) -> anyhow::Result<()> {
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
