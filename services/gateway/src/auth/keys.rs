//! The keys that tokens are checked with: a shared secret, or a JWKS from a file or a URL.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm},
};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use tokio::{sync::Mutex, time::Instant};

const FETCH_DEADLINE: Duration = Duration::from_secs(5);
/// The largest set of keys. Real ones have a few KiB.
const LARGEST_BYTES: usize = 1024 * 1024;
/// How often keys are read again without anyone asking, so that a withdrawn one is soon forgotten.
const REFRESH: Duration = Duration::from_mins(10);
/// The same, while there are none.
const FIRST: Duration = Duration::from_secs(5);

/// Where keys come from.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// One secret, shared with the issuer, for HS256.
    Shared(SecretString),
    /// A file with a JWKS. Keys of RS256, ES256 and EdDSA are used.
    File(PathBuf),
    /// The same, fetched by HTTP.
    Url(Url),
}

/// When keys are read again.
#[derive(Debug, Clone, Copy)]
pub struct Fetching {
    /// An unknown `kid` makes the keys be read again, but not more often than this: anyone can send
    /// tokens with unknown ones.
    pub pause: Duration,
    /// Older keys are not used any more.
    pub max_age: Duration,
}

/// A key, and the only algorithm that it is good for: what a token's header says of its
/// algorithm is not believed.
#[derive(Clone)]
pub struct Key {
    kid: Option<String>,
    /// The key's own algorithm.
    pub algorithm: Algorithm,
    /// What checks the signature.
    pub verifier: DecodingKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?}, {:?})", self.kid, self.algorithm)
    }
}

/// No key was read, or none lately: nothing can be said about any token.
#[derive(Debug)]
pub struct NoKeys;

/// The current keys. Those that were read before stay in use while the source is away, but not
/// forever.
#[derive(Debug)]
pub struct Keys {
    source: KeySource,
    fetching: Fetching,
    current: RwLock<Option<(Arc<[Key]>, Instant)>>,
    version: AtomicU64,
    /// When they were last asked for; held while asking, so that one request asks for all.
    asked: Mutex<Option<Instant>>,
}

impl Keys {
    /// Reads the keys for the first time, and again from time to time.
    pub async fn new(source: KeySource, fetching: Fetching) -> Arc<Self> {
        let keys = Arc::new(Self {
            source,
            fetching,
            current: RwLock::default(),
            version: AtomicU64::default(),
            asked: Mutex::default(),
        });
        keys.refresh().await;
        if !matches!(keys.source, KeySource::Shared(_)) {
            tokio::spawn(keep_fresh(Arc::downgrade(&keys)));
        }
        keys
    }

    /// Whether there are keys at all.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.current().is_some()
    }

    /// How old they are, in seconds. A shared secret has no age.
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

    /// Another number whenever the keys were read again.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The key that a token names, or the only one where it names none.
    ///
    /// # Errors
    /// Nothing can be said about any token: the keys were never read, or too long ago.
    pub async fn find(&self, kid: Option<&str>) -> Result<Option<Key>, NoKeys> {
        if let Some(key) = self.known(kid) {
            return Ok(Some(key));
        }
        self.refresh().await;
        if self.current().is_none() {
            return Err(NoKeys);
        }
        Ok(self.known(kid))
    }

    fn known(&self, kid: Option<&str>) -> Option<Key> {
        let keys = self.current()?;
        match (&self.source, kid, keys.as_ref()) {
            // A shared secret has no id; a token that names one may still be signed with it.
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

    /// Until the keys are read again, without anyone asking for it.
    fn pause(&self) -> Duration {
        if self.is_ready() {
            // Twice at least before those that there are get too old.
            REFRESH.min(self.fetching.max_age / 3)
        } else {
            FIRST
        }
    }

    /// Reads the keys again, unless that was done a moment ago.
    async fn refresh(&self) {
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|asked| asked.elapsed() < self.fetching.pause) {
            return;
        }
        *asked = Some(Instant::now());
        match self.source.read().await {
            Ok(keys) => {
                let read = Some((keys.into(), Instant::now()));
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = read;
                self.version.fetch_add(1, Ordering::Release);
            }
            Err(error) => {
                tracing::warn!(%error, "the keys can't be read; going on with those from before");
            }
        }
    }
}

/// Reads the keys from time to time, for as long as anyone has them.
async fn keep_fresh(keys: Weak<Keys>) {
    loop {
        let Some(pause) = keys.upgrade().map(|keys| keys.pause()) else {
            return;
        };
        tokio::time::sleep(pause).await;
        if let Some(keys) = keys.upgrade() {
            keys.refresh().await;
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
            Self::File(path) => std::fs::read(path)?,
            Self::Url(url) => fetch(url).await?,
        };
        let set: JwkSet = serde_json::from_slice(&jwks)?;
        Ok(set.keys.iter().filter_map(usable).collect())
    }
}

async fn fetch(url: &Url) -> anyhow::Result<Vec<u8>> {
    let client = reqwest::Client::builder().timeout(FETCH_DEADLINE).build()?;
    let mut response = client.get(url.clone()).send().await?.error_for_status()?;
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await? {
        body.extend_from_slice(&part);
        anyhow::ensure!(body.len() <= LARGEST_BYTES, "the set of keys is too large");
    }
    Ok(body)
}

/// A key of an algorithm that is accepted. Symmetric ones are not: in a published set, the secret
/// would be known to everyone.
fn usable(jwk: &Jwk) -> Option<Key> {
    let natural = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            Algorithm::EdDSA
        }
        _ => return None,
    };
    let stated = match jwk.common.key_algorithm {
        None => natural,
        Some(KeyAlgorithm::RS256) => Algorithm::RS256,
        Some(KeyAlgorithm::ES256) => Algorithm::ES256,
        Some(KeyAlgorithm::EdDSA) => Algorithm::EdDSA,
        Some(_) => return None,
    };
    let verifier = (stated == natural).then(|| DecodingKey::from_jwk(jwk).ok())??;
    Some(Key {
        kid: jwk.common.key_id.clone(),
        algorithm: natural,
        verifier,
    })
}
