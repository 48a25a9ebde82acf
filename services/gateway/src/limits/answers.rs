//! The bytes of records that an answer may have, counted before they are read into memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::details;

use super::{
    Full,
    shares::{Share, Shares},
};

/// What each request may have of it without asking: the details of one record.
const FREE: usize = details::MAX_BYTES;

/// Why no more is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The answer would have more bytes than one answer may have.
    TooLarge,
    /// Large answers of this bearer, or of all, take all the memory that there is for them.
    Full(Full),
}

/// What is left for one request, whose fields share it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AnswerBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shares: Shares,
    bearer: u64,
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    /// What is taken beyond [`FREE`].
    share: Option<Share>,
}

impl AnswerBudget {
    pub(super) fn new(shares: Shares, bearer: u64, most: usize) -> Self {
        Self(Arc::new(Inner {
            shares,
            bearer,
            most,
            state: Mutex::default(),
        }))
    }

    /// Begins to read something of which it is not known how much will be there.
    #[must_use]
    pub fn reading(&self) -> Reading<'_> {
        Reading {
            budget: self,
            bytes: 0,
        }
    }

    /// Takes so many bytes.
    ///
    /// # Errors
    /// There are not so many left. Nothing was taken.
    pub fn take(&self, bytes: usize) -> Result<(), Denied> {
        let Inner {
            shares,
            bearer,
            most,
            ..
        } = &*self.0;
        let mut state = self.lock();
        let taken = state.taken.saturating_add(bytes);
        if taken > *most {
            return Err(Denied::TooLarge);
        }
        let more = taken.saturating_sub(FREE.max(state.taken));
        if more > 0 {
            match &mut state.share {
                Some(share) => share.grow(more).map_err(Denied::Full)?,
                none => *none = Some(shares.take(*bearer, more).map_err(Denied::Full)?),
            }
        }
        state.taken = taken;
        Ok(())
    }

    /// The memory that a large answer takes, to be kept until it is sent. None: it is not large.
    #[must_use]
    pub fn share(&self) -> Option<Share> {
        self.lock().share.take()
    }

    fn give_back(&self, bytes: usize) {
        let mut state = self.lock();
        let before = state.taken;
        state.taken = before.saturating_sub(bytes);
        let less = before.saturating_sub(FREE.max(state.taken));
        if let Some(share) = &mut state.share {
            share.shrink(less);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was read so far. It is given back if the reading fails, since it is tried again then.
#[derive(Debug)]
pub struct Reading<'a> {
    budget: &'a AnswerBudget,
    bytes: usize,
}

impl Reading<'_> {
    /// So many bytes more.
    ///
    /// # Errors
    /// There are not so many left.
    pub fn add(&mut self, bytes: usize) -> Result<(), Denied> {
        self.budget.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// All was read.
    pub fn end(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
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
        read.end();
        assert_eq!(budget.take(1), Err(Denied::TooLarge));
    }

    #[test]
    fn large_answers_share_the_memory_until_they_are_sent() {
        let shares = Shares::new(1000 * KIB, 600 * KIB);
        let request = |bearer| AnswerBudget::new(shares.clone(), bearer, 8000 * KIB);
        let large = request(1);
        assert_eq!(large.take(FREE + 500 * KIB), Ok(()));
        assert_eq!(request(1).take(FREE), Ok(()), "small ones are not counted");
        assert_eq!(
            request(1).take(FREE + 101 * KIB),
            Err(Denied::Full(Full::Bearer))
        );
        assert_eq!(
            request(2).take(FREE + 501 * KIB),
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
