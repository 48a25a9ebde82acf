//! Divides a number of slots or bytes among bearers, with a limit for all and a lower one for each.
//!
//! A bearer is one subject in one Space, identified by a hash.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The limit of this bearer.
    Bearer,
    /// The limit of all bearers together.
    All,
}

/// A resource that bearers share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shares(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    max: usize,
    max_per_bearer: usize,
    taken: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    by_bearer: HashMap<u64, usize>,
}

/// The share of one bearer. Dropping it releases it.
#[derive(Debug)]
pub struct Share {
    shares: Shares,
    bearer: u64,
    count: usize,
}

impl Shares {
    /// Creates the resource with its limits, for all bearers and for each.
    #[must_use]
    pub fn new(max: usize, max_per_bearer: usize) -> Self {
        Self(Arc::new(Inner {
            max,
            max_per_bearer,
            taken: Mutex::default(),
        }))
    }

    /// Reserves `count` units for a bearer.
    ///
    /// # Errors
    /// A limit is reached. Nothing was reserved.
    pub fn take(&self, bearer: u64, count: usize) -> Result<Share, Full> {
        let mut share = Share {
            shares: self.clone(),
            bearer,
            count: 0,
        };
        share.grow(count)?;
        Ok(share)
    }

    /// The number of reserved units.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Reserves `count` more units.
    ///
    /// # Errors
    /// A limit is reached. The share is as large as before.
    pub fn grow(&mut self, count: usize) -> Result<(), Full> {
        if count == 0 {
            return Ok(());
        }
        let limits = &self.shares.0;
        let mut taken = self.shares.lock();
        let of_bearer = taken.by_bearer.get(&self.bearer).copied().unwrap_or(0);
        if of_bearer.saturating_add(count) > limits.max_per_bearer {
            return Err(Full::Bearer);
        }
        if taken.total.saturating_add(count) > limits.max {
            return Err(Full::All);
        }
        taken.total += count;
        *taken.by_bearer.entry(self.bearer).or_default() += count;
        drop(taken);
        self.count += count;
        Ok(())
    }

    /// Releases `count` units.
    pub fn shrink(&mut self, count: usize) {
        let count = count.min(self.count);
        if count == 0 {
            return;
        }
        self.count -= count;
        let mut taken = self.shares.lock();
        taken.total = taken.total.saturating_sub(count);
        if let Some(of_bearer) = taken.by_bearer.get_mut(&self.bearer) {
            *of_bearer = of_bearer.saturating_sub(count);
            if *of_bearer == 0 {
                taken.by_bearer.remove(&self.bearer);
            }
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink(self.count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bearer_can_not_reserve_everything() {
        let shares = Shares::new(10, 6);
        let (anna, ben) = (1, 2);

        let mut first = shares.take(anna, 4);
        let held = first.as_mut().map(|share| share.grow(2));
        assert_eq!(held, Ok(Ok(())));
        assert_eq!(shares.take(anna, 1).err(), Some(Full::Bearer));
        let second = shares.take(ben, 4);
        assert!(second.is_ok());
        assert_eq!(shares.take(ben, 1).err(), Some(Full::All));

        assert_eq!(shares.taken(), 10);
        drop((first, second));
        assert_eq!(shares.taken(), 0);
        assert!(shares.lock().by_bearer.is_empty());
    }

    #[test]
    fn a_share_that_can_not_grow_keeps_its_size() {
        let shares = Shares::new(10, 10);
        let share = shares.take(1, 9).map(|mut share| {
            assert_eq!(share.grow(2), Err(Full::Bearer));
            assert_eq!(share.grow(usize::MAX), Err(Full::Bearer));
            share.shrink(4);
            share
        });
        assert_eq!(shares.taken(), 5);
        drop(share);
        assert_eq!(shares.taken(), 0);
    }
}
