//! A progress bar on the terminal.

const WIDTH: usize = 30;

pub struct Progress {
    done: usize,
    steps: usize,
}

impl Progress {
    pub fn new(steps: usize) -> Self {
        Self { done: 0, steps }
    }

    /// Shows that the next step begins.
    pub fn step(&mut self, name: &str) {
        let full = WIDTH * self.done.min(self.steps) / self.steps;
        let (full, rest) = ("#".repeat(full), ".".repeat(WIDTH - full));
        eprint!("\r[{full}{rest}] {name:<50}");
        self.done += 1;
    }
}
