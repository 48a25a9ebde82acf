//! The keys that tokens are checked with: a shared secret, or a JWKS from a file or a URL.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc, PoisonError, RwLock,
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

/// An unknown `kid` makes the keys be read again, but not more often than this: anyone can send
/// tokens with unknown ones.
const REFETCH: Duration = Duration::from_mins(1);
const FETCH_DEADLINE: Duration = Duration::from_secs(5);

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

/// No key was ever read: nothing can be said about any token.
#[derive(Debug)]
pub struct NeverFetched;

/// The current keys. Those that were read before stay in use while the source is away.
#[derive(Debug)]
pub struct Keys {
    source: KeySource,
    current: RwLock<Option<Arc<[Key]>>>,
    version: AtomicU64,
    /// When they were last asked for; held while asking, so that one request asks for all.
    asked: Mutex<Option<Instant>>,
}

impl Keys {
    /// Reads the keys for the first time. A source that is away is asked again later.
    pub async fn new(source: KeySource) -> Self {
        let keys = Self {
            source,
            current: RwLock::default(),
            version: AtomicU64::default(),
            asked: Mutex::default(),
        };
        keys.refresh().await;
        keys
    }

    /// Whether there are keys at all.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.current().is_some()
    }

    /// Another number whenever the keys were read again.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The key that a token names, or the only one where it names none.
    ///
    /// # Errors
    /// Nothing can be said about any token: the keys were never read.
    pub async fn find(&self, kid: Option<&str>) -> Result<Option<Key>, NeverFetched> {
        if let Some(key) = self.known(kid) {
            return Ok(Some(key));
        }
        self.refresh().await;
        if self.current().is_none() {
            return Err(NeverFetched);
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
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn refresh(&self) {
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|asked| asked.elapsed() < REFETCH) {
            return;
        }
        *asked = Some(Instant::now());
        match self.source.read().await {
            Ok(keys) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(keys.into());
                self.version.fetch_add(1, Ordering::Release);
            }
            Err(error) => {
                tracing::warn!(%error, "the keys can't be read; going on with those from before");
            }
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
    let response = client.get(url.clone()).send().await?.error_for_status()?;
    Ok(response.bytes().await?.to_vec())
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
