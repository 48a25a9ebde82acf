//! Places, connections or bytes, of which there are so many for all and fewer for each bearer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Why there is no share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// This bearer has as much as one bearer may have.
    Bearer,
    /// All bearers together have everything.
    All,
}

/// What is shared out. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shares(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: usize,
    most_each: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    each: HashMap<u64, usize>,
}

/// What one bearer has of it, given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    shares: Shares,
    bearer: u64,
    count: usize,
}

impl Shares {
    /// So many for all, and for each.
    #[must_use]
    pub fn new(most: usize, most_each: usize) -> Self {
        Self(Arc::new(Inner {
            most,
            most_each,
            taken: Mutex::default(),
        }))
    }

    /// Takes so many for a bearer.
    ///
    /// # Errors
    /// There are not so many left. Nothing was taken.
    pub fn take(&self, bearer: u64, count: usize) -> Result<Share, Full> {
        let mut share = Share {
            shares: self.clone(),
            bearer,
            count: 0,
        };
        share.grow(count)?;
        Ok(share)
    }

    /// How many are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Takes more.
    ///
    /// # Errors
    /// There are not so many left. Nothing more was taken.
    pub fn grow(&mut self, count: usize) -> Result<(), Full> {
        if count == 0 {
            return Ok(());
        }
        let limits = &self.shares.0;
        let mut taken = self.shares.lock();
        let each = taken.each.get(&self.bearer).copied().unwrap_or_default();
        if each.saturating_add(count) > limits.most_each {
            return Err(Full::Bearer);
        }
        if taken.all.saturating_add(count) > limits.most {
            return Err(Full::All);
        }
        taken.all += count;
        *taken.each.entry(self.bearer).or_default() += count;
        drop(taken);
        self.count += count;
        Ok(())
    }

    /// Gives some of it back.
    pub fn shrink(&mut self, count: usize) {
        let count = count.min(self.count);
        if count == 0 {
            return;
        }
        self.count -= count;
        let mut taken = self.shares.lock();
        taken.all = taken.all.saturating_sub(count);
        if let Some(each) = taken.each.get_mut(&self.bearer) {
            *each = each.saturating_sub(count);
            if *each == 0 {
                taken.each.remove(&self.bearer);
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
    fn no_bearer_takes_what_is_for_all() {
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
        assert!(shares.lock().each.is_empty());
    }
}
