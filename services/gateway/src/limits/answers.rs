//! Limits the bytes of records in an answer. They are counted before they are read into memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::details;

use super::{
    Full,
    shares::{Share, Shares},
};

/// The bytes that each request may use without a reservation: the details of one record.
const FREE_BYTES: usize = details::MAX_BYTES;

/// Why no more records are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The answer would exceed the limit of one answer.
    TooLarge,
    /// The large answers of this bearer, or of all bearers, use all the memory for them.
    Full(Full),
}

/// The memory of one request, which its fields share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AnswerBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shares: Shares,
    bearer: u64,
    max_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    /// The reservation of what is taken beyond [`FREE_BYTES`].
    share: Option<Share>,
}

impl AnswerBudget {
    pub(super) fn new(shares: Shares, bearer: u64, max_bytes: usize) -> Self {
        Self(Arc::new(Inner {
            shares,
            bearer,
            max_bytes,
            state: Mutex::default(),
        }))
    }

    /// Starts a read whose size is not known before.
    #[must_use]
    pub fn reading(&self) -> Reading<'_> {
        Reading {
            budget: self,
            bytes: 0,
        }
    }

    /// Takes `bytes` from the budget.
    ///
    /// # Errors
    /// A limit is reached. Nothing was taken.
    pub fn take(&self, bytes: usize) -> Result<(), Denied> {
        let Inner {
            shares,
            bearer,
            max_bytes,
            ..
        } = &*self.0;
        let mut state = self.lock();
        let taken = state.taken.saturating_add(bytes);
        if taken > *max_bytes {
            return Err(Denied::TooLarge);
        }
        let more = taken.saturating_sub(FREE_BYTES.max(state.taken));
        if more > 0 {
            match &mut state.share {
                Some(share) => share.grow(more).map_err(Denied::Full)?,
                empty => *empty = Some(shares.take(*bearer, more).map_err(Denied::Full)?),
            }
        }
        state.taken = taken;
        Ok(())
    }

    /// The reservation of a large answer, which must be kept until the answer is sent. `None` for a
    /// small answer.
    #[must_use]
    pub fn share(&self) -> Option<Share> {
        self.lock().share.take()
    }

    fn release(&self, bytes: usize) {
        let mut state = self.lock();
        let before = state.taken;
        state.taken = before.saturating_sub(bytes);
        let less = before.saturating_sub(FREE_BYTES.max(state.taken));
        if let Some(share) = &mut state.share {
            share.shrink(less);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes that a read has taken so far. Dropping it releases them, because a failed read is retried.
/// After a success, call [`Reading::commit`].
#[derive(Debug)]
pub struct Reading<'a> {
    budget: &'a AnswerBudget,
    bytes: usize,
}

impl Reading<'_> {
    /// Takes `bytes` more from the budget.
    ///
    /// # Errors
    /// A limit is reached.
    pub fn add(&mut self, bytes: usize) -> Result<(), Denied> {
        self.budget.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Keeps the bytes in the budget: the read was successful.
    pub fn commit(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    #[test]
    fn the_fields_of_a_request_share_its_bytes() {
        let budget = AnswerBudget::new(Shares::new(usize::MAX, usize::MAX), 1, 700 * KIB);
        let other_field = budget.clone();

        assert_eq!(budget.take(300 * KIB), Ok(()));
        let mut failed = other_field.reading();
        assert_eq!(failed.add(400 * KIB), Ok(()));
        drop(failed);
        let mut read = other_field.reading();
        assert_eq!(read.add(400 * KIB), Ok(()));
        assert_eq!(read.add(1), Err(Denied::TooLarge));
        read.commit();
        assert_eq!(budget.take(1), Err(Denied::TooLarge));
    }

    #[test]
    fn large_answers_share_the_memory_until_they_are_sent() {
        let shares = Shares::new(1000 * KIB, 600 * KIB);
        let request = |bearer| AnswerBudget::new(shares.clone(), bearer, 8000 * KIB);
        let large = request(1);
        assert_eq!(large.take(FREE_BYTES + 500 * KIB), Ok(()));
        assert_eq!(
            request(1).take(FREE_BYTES),
            Ok(()),
            "small ones are not counted"
        );
        assert_eq!(
            request(1).take(FREE_BYTES + 101 * KIB),
            Err(Denied::Full(Full::Bearer))
        );
        assert_eq!(
            request(2).take(FREE_BYTES + 501 * KIB),
            Err(Denied::Full(Full::All))
        );
        assert_eq!(shares.taken(), 500 * KIB);

        let sending = large.share();
        drop(large);
        assert_eq!(shares.taken(), 500 * KIB);
        drop(sending);
        assert_eq!(shares.taken(), 0);
    }
}
