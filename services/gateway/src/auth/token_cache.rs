//! Tokens that were verified before: not again until they expire, or until the keys change.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use sha2::{Digest as _, Sha256};

/// More bearers than that at once: the oldest are verified again, with all others.
const MOST: usize = 10_000;

/// What is kept of a token.
#[derive(Debug)]
pub(crate) struct Bearer {
    pub subject: String,
    /// The Spaces that the token lists.
    pub spaces: Vec<String>,
    /// Seconds since 1970.
    pub expires: u64,
}

/// A token's hash. The token itself is worth stealing, and is not kept.
pub(crate) type Name = [u8; 32];

/// The tokens, by their hashes.
#[derive(Debug, Default)]
pub(crate) struct Verified(Mutex<HashMap<Name, Known>>);

#[derive(Debug)]
struct Known {
    bearer: Arc<Bearer>,
    /// Which keys it was verified with.
    keys: u64,
}

impl Verified {
    pub fn name(token: &str) -> Name {
        Sha256::digest(token).into()
    }

    /// The bearer of a token that was verified with these keys and has not expired.
    pub fn find(&self, name: &Name, keys: u64) -> Option<Arc<Bearer>> {
        let tokens = self.lock();
        let known = tokens.get(name)?;
        let is_good = known.keys == keys && known.bearer.expires > now();
        is_good.then(|| known.bearer.clone())
    }

    pub fn keep(&self, name: Name, keys: u64, bearer: Arc<Bearer>) {
        let mut tokens = self.lock();
        if tokens.len() >= MOST {
            tokens.clear();
        }
        tokens.insert(name, Known { bearer, keys });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    // Before 1970 no token can be trusted to be young enough.
    now.map_or(u64::MAX, |now| now.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(expires: u64) -> Arc<Bearer> {
        Arc::new(Bearer {
            subject: "anna".to_owned(),
            spaces: vec!["a".to_owned()],
            expires,
        })
    }

    #[test]
    fn a_token_is_known_until_it_expires_or_the_keys_change() {
        let verified = Verified::default();
        let name = Verified::name("a.b.c");
        verified.keep(name, 1, bearer(now() + 60));
        let old = Verified::name("d.e.f");
        verified.keep(old, 1, bearer(now()));

        assert!(verified.find(&name, 1).is_some());
        assert!(verified.find(&name, 2).is_none());
        assert!(verified.find(&old, 1).is_none());
        assert!(verified.find(&Verified::name("a.b.d"), 1).is_none());
    }

    #[test]
    fn no_more_are_kept_than_fit() {
        let verified = Verified::default();
        for number in 0..=MOST {
            let name = Verified::name(&number.to_string());
            verified.keep(name, 1, bearer(now() + 60));
        }

        assert!(verified.lock().len() <= MOST);
    }
}
