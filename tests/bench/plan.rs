//! How much is measured.

pub struct Plan {
    /// The numbers of connections that save at the same time.
    pub connections: &'static [usize],
    pub repetitions: usize,
    /// The time of one measurement.
    pub seconds: f64,
    /// How many commands are in the queue before a worker drains it.
    pub backlog: usize,
    /// How many records the large tables have.
    pub records: usize,
}

impl Plan {
    pub const QUICK: Self = Self {
        connections: &[1, 64, 256],
        repetitions: 1,
        seconds: 3.0,
        backlog: 20_000,
        records: 50_000,
    };
    pub const FULL: Self = Self {
        connections: &[1, 8, 32, 64, 128, 256],
        repetitions: 5,
        seconds: 5.0,
        backlog: 200_000,
        records: 1_000_000,
    };

    /// The number of measurements, for the progress bar.
    pub fn steps(&self) -> usize {
        2 + self.repetitions * ((self.connections.len() + 2) * 2 + 1)
    }
}
