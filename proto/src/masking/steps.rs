//! Counts the steps of masking in unit tests. The tests check without a clock that the time is linear.

#[cfg(not(test))]
pub(super) const fn count(_: usize) {}

#[cfg(test)]
pub(super) use counted::{count, taken};

#[cfg(test)]
mod counted {
    use std::cell::Cell;

    thread_local! {
        static STEPS: Cell<usize> = const { Cell::new(0) };
    }

    pub(in crate::masking) fn count(steps: usize) {
        STEPS.set(STEPS.get() + steps);
    }

    /// The steps of this thread since the last call.
    pub(in crate::masking) fn taken() -> usize {
        STEPS.take()
    }
}
