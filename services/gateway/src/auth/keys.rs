//! The keys that verify tokens: a shared secret, or a JWKS from a file or a URL.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jsonwebtoken::{Algorithm, DecodingKey};
use reqwest::{Url, redirect};
use secrecy::{ExposeSecret, SecretString};
use tokio::{sync::Mutex, time::Instant};

use super::jwks::{self, Key};

const FETCH_DEADLINE: Duration = Duration::from_secs(5);
/// The largest JWKS. Typical ones have a few KiB.
const MAX_JWKS_BYTES: usize = 1024 * 1024;
/// Limits how far a compromised source can redirect the gateway's requests.
const MAX_REDIRECTS: usize = 3;
/// How often the keys are read again, so that a revoked key is soon removed.
const REFRESH_INTERVAL: Duration = Duration::from_mins(10);
/// The same while there are no keys, or only keys that are too old. Requests may cause a read as often.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// The source of the keys.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// One secret, shared with the issuer, for HS256.
    Shared(SecretString),
    /// A file with a JWKS. Keys of RS256, ES256 and EdDSA are used.
    File(PathBuf),
    /// The same, from an HTTP URL.
    Url(Url),
}

/// When the keys are read again.
#[derive(Debug, Clone, Copy)]
pub struct Fetching {
    /// The minimum time between two reads that tokens with an unknown `kid` cause. Any client can send
    /// such a token.
    pub pause: Duration,
    /// Older keys are not used.
    pub max_age: Duration,
}

/// The keys could not be read, or are too old. No token can be verified.
#[derive(Debug)]
pub struct NoKeys;

/// The current keys. While their source is not available, they are used until they are too old.
#[derive(Debug)]
pub struct Keys {
    source: KeySource,
    fetching: Fetching,
    current: RwLock<Option<(Arc<[Key]>, Instant)>>,
    version: AtomicU64,
    /// The end of the last read. The lock is held during a read, so that concurrent requests share one read.
    last_read: Arc<Mutex<Option<Instant>>>,
}

impl Keys {
    /// Reads the keys, and starts a task that refreshes them.
    pub async fn new(source: KeySource, fetching: Fetching) -> Arc<Self> {
        let keys = Arc::new(Self {
            source,
            fetching,
            current: RwLock::default(),
            version: AtomicU64::default(),
            last_read: Arc::default(),
        });
        keys.refresh(Duration::ZERO).await;
        if !matches!(keys.source, KeySource::Shared(_)) {
            tokio::spawn(refresh_periodically(Arc::downgrade(&keys)));
        }
        keys
    }

    /// Whether there are keys that are not too old.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.current().is_some()
    }

    /// The age of the keys, in seconds. A shared secret has no age.
    #[must_use]
    pub fn age(&self) -> Option<f64> {
        if matches!(self.source, KeySource::Shared(_)) {
            return None;
        }
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current
            .as_ref()
            .map(|(_, read)| read.elapsed().as_secs_f64())
    }

    /// Changes whenever the keys were read.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The key with this id, or the only key if the token has no key id. Reads the keys again if the id is
    /// unknown.
    ///
    /// # Errors
    /// The keys could not be read, or are too old.
    pub async fn find(self: &Arc<Self>, kid: Option<&str>) -> Result<Option<Key>, NoKeys> {
        if let Some(key) = self.known(kid) {
            return Ok(Some(key));
        }
        self.refresh(self.request_pause()).await;
        if self.current().is_none() {
            return Err(NoKeys);
        }
        Ok(self.known(kid))
    }

    fn known(&self, kid: Option<&str>) -> Option<Key> {
        let keys = self.current()?;
        match (&self.source, kid, keys.as_ref()) {
            // A shared secret has no id, and verifies tokens with any `kid`.
            (KeySource::Shared(_), _, [only]) | (_, None, [only]) => Some(only.clone()),
            (_, Some(_), keys) => keys.iter().find(|key| key.kid.as_deref() == kid).cloned(),
            _ => None,
        }
    }

    fn current(&self) -> Option<Arc<[Key]>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let (keys, read) = current.as_ref()?;
        let is_shared = matches!(self.source, KeySource::Shared(_));
        (is_shared || read.elapsed() < self.fetching.max_age).then(|| keys.clone())
    }

    /// The time until the next scheduled read.
    fn refresh_interval(&self) -> Duration {
        if self.is_ready() {
            // Two reads may fail before the keys are too old.
            REFRESH_INTERVAL.min(self.fetching.max_age / 3)
        } else {
            RETRY_INTERVAL
        }
    }

    /// The minimum time between two reads that requests cause.
    fn request_pause(&self) -> Duration {
        if self.is_ready() {
            self.fetching.pause
        } else {
            self.fetching.pause.min(RETRY_INTERVAL)
        }
    }

    /// Reads the keys, unless the last read ended less than `min_pause` ago, or while this call waited for
    /// it. The result of that read does not matter.
    async fn refresh(self: &Arc<Self>, min_pause: Duration) {
        let called = Instant::now();
        let mut last_read = self.last_read.clone().lock_owned().await;
        if last_read.is_some_and(|last| last >= called || last.elapsed() < min_pause) {
            return;
        }
        let keys = self.clone();
        // A separate task finishes even if the client closes its connection. The task is started with the
        // lock, so that there is only one, no matter how many clients close their connections.
        let read = tokio::spawn(async move {
            keys.read().await;
            *last_read = Some(Instant::now());
        });
        if let Err(error) = read.await {
            tracing::error!(%error, "the task that reads the keys failed");
        }
    }

    async fn read(&self) {
        match self.source.read().await {
            Ok(keys) => {
                let read = Some((keys.into(), Instant::now()));
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = read;
                self.version.fetch_add(1, Ordering::Release);
            }
            Err(error) => {
                tracing::warn!(%error, "the keys can't be read; using the previous ones");
            }
        }
    }
}

/// Refreshes the keys for as long as they exist.
async fn refresh_periodically(keys: Weak<Keys>) {
    loop {
        let Some(interval) = keys.upgrade().map(|keys| keys.refresh_interval()) else {
            return;
        };
        tokio::time::sleep(interval).await;
        if let Some(keys) = keys.upgrade() {
            keys.refresh(Duration::ZERO).await;
        }
    }
}

impl KeySource {
    async fn read(&self) -> anyhow::Result<Vec<Key>> {
        let jwks = match self {
            Self::Shared(secret) => {
                return Ok(vec![Key {
                    kid: None,
                    algorithm: Algorithm::HS256,
                    verifier: DecodingKey::from_secret(secret.expose_secret().as_bytes()),
                }]);
            }
            Self::File(path) => open(path)?,
            Self::Url(url) => fetch(url).await?,
        };
        jwks::parse(&jwks)
    }
}

fn open(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    let max_bytes = u64::try_from(MAX_JWKS_BYTES)?;
    std::fs::File::open(path)?
        .take(max_bytes + 1)
        .read_to_end(&mut body)?;
    anyhow::ensure!(body.len() <= MAX_JWKS_BYTES, "the JWKS is too large");
    Ok(body)
}

async fn fetch(url: &Url) -> anyhow::Result<Vec<u8>> {
    let client = reqwest::Client::builder()
        .timeout(FETCH_DEADLINE)
        .redirect(redirect::Policy::limited(MAX_REDIRECTS))
        .build()?;
    let mut response = client.get(url.clone()).send().await?.error_for_status()?;
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await? {
        body.extend_from_slice(&part);
        anyhow::ensure!(body.len() <= MAX_JWKS_BYTES, "the JWKS is too large");
    }
    Ok(body)
}

#[cfg(test)]
mod tests;
