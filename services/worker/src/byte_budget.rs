//! Bounds what waits in memory in bytes: a number of messages says little where one may be 64 KiB and
//! another 200 bytes.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// So many bytes, and how many of them are used.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    used: AtomicUsize,
}

/// A part of a budget. Dropped, it is given back.
#[derive(Debug)]
pub(crate) struct Share {
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

    /// So many bytes; none where they are not left.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Option<Share> {
        let add = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.limit);
        self.used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, add)
            .ok()?;
        Some(Share {
            budget: self.clone(),
            bytes,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_never_exceeded_and_comes_back() {
        let budget = Budget::new(100);

        let first = budget.take(60);
        assert!(first.is_some());
        assert!(budget.take(41).is_none());
        assert!(budget.take(usize::MAX).is_none());
        let second = budget.take(40);
        assert!(second.is_some());
        drop(first);
        assert!(budget.take(60).is_some());
    }
}
