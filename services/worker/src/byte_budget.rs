//! Limits the memory that waiting messages use, in bytes. A limit on the number of messages would not do
//! that, because one message may have 64 KiB and another 200 bytes.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A limit in bytes, and the number of bytes that are reserved.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    used: AtomicUsize,
}

/// A reserved part of a budget. Dropping it returns its bytes to the budget.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: bytes,
            used: AtomicUsize::new(0),
        })
    }

    /// Reserves bytes. `None` if fewer are left.
    pub fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        let add = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.limit);
        self.used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, add)
            .ok()?;
        Some(Reservation {
            budget: self.clone(),
            bytes,
        })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_never_exceeded_and_dropped_reservations_are_returned() {
        let budget = Budget::new(100);

        let first = budget.reserve(60);
        assert!(first.is_some());
        assert!(budget.reserve(41).is_none());
        assert!(budget.reserve(usize::MAX).is_none());
        let second = budget.reserve(40);
        assert!(second.is_some());
        drop(first);
        assert!(budget.reserve(60).is_some());
    }
}
