//! The keys that tokens are checked with: a shared secret, or a JWKS from a file or a URL.

use std::{
    fmt,
    io::Read as _,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use reqwest::{Url, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use tokio::{sync::Mutex, time::Instant};

const FETCH_DEADLINE: Duration = Duration::from_secs(5);
/// The largest set of keys. Real ones have a few KiB.
const LARGEST_BYTES: usize = 1024 * 1024;
/// Somebody who can answer for the source must not send us elsewhere in the network for long.
const MOST_REDIRECTS: usize = 3;
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
            Self::File(path) => open(path)?,
            Self::Url(url) => fetch(url).await?,
        };
        parse(&jwks)
    }
}

#[derive(Deserialize)]
struct Published {
    keys: Vec<Value>,
}

/// The keys of a set that tokens may be signed with. A set without any is a mistake of its
/// publisher, and no reason to forget those from before. A single key of a kind that is not known
/// is left out, and not the set with it.
fn parse(jwks: &[u8]) -> anyhow::Result<Vec<Key>> {
    let set: Published = serde_json::from_slice(jwks)?;
    let keys: Vec<Key> = set
        .keys
        .iter()
        .filter_map(|key| Jwk::deserialize(key).ok())
        .filter_map(|key| usable(&key))
        .collect();
    anyhow::ensure!(
        !keys.is_empty(),
        "the set of keys has none to check tokens with"
    );
    Ok(keys)
}

fn open(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    let most = u64::try_from(LARGEST_BYTES)?;
    std::fs::File::open(path)?
        .take(most + 1)
        .read_to_end(&mut body)?;
    anyhow::ensure!(body.len() <= LARGEST_BYTES, "the set of keys is too large");
    Ok(body)
}

async fn fetch(url: &Url) -> anyhow::Result<Vec<u8>> {
    let client = reqwest::Client::builder()
        .timeout(FETCH_DEADLINE)
        .redirect(redirect::Policy::limited(MOST_REDIRECTS))
        .build()?;
    let mut response = client.get(url.clone()).send().await?.error_for_status()?;
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await? {
        body.extend_from_slice(&part);
        anyhow::ensure!(body.len() <= LARGEST_BYTES, "the set of keys is too large");
    }
    Ok(body)
}

/// A key of an algorithm that is accepted. Symmetric ones are not: in a published set, the secret
/// would be known to everyone. Nor are those that are published for something else than signatures.
fn usable(jwk: &Jwk) -> Option<Key> {
    let (purpose, operations) = (&jwk.common.public_key_use, &jwk.common.key_operations);
    let is_for_signatures = purpose
        .as_ref()
        .is_none_or(|it| *it == PublicKeyUse::Signature);
    let may_verify = operations
        .as_ref()
        .is_none_or(|all| all.contains(&KeyOperations::Verify));
    if !is_for_signatures || !may_verify {
        return None;
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A public key of RFC 8037, with these members, too.
    fn set(members: &Value) -> Vec<u8> {
        let mut key = json!({
            "kty": "OKP",
            "crv": "Ed25519",
            "kid": "a",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        });
        for (name, value) in members.as_object().into_iter().flatten() {
            key[name] = value.clone();
        }
        json!({ "keys": [key] }).to_string().into_bytes()
    }

    #[test]
    fn only_keys_for_signatures_are_taken() {
        for members in [
            json!({}),
            json!({ "use": "sig" }),
            json!({ "key_ops": ["verify"] }),
            json!({ "use": "sig", "key_ops": ["sign", "verify"], "alg": "EdDSA" }),
        ] {
            assert_eq!(
                parse(&set(&members)).map(|keys| keys.len()).ok(),
                Some(1),
                "{members}"
            );
        }
        for members in [
            json!({ "use": "enc" }),
            json!({ "use": "something else" }),
            json!({ "key_ops": [] }),
            json!({ "key_ops": ["encrypt", "wrapKey"] }),
            json!({ "use": "sig", "key_ops": ["deriveBits"] }),
            json!({ "alg": "RS256" }),
            json!({ "alg": "ECDH-ES" }),
            json!({ "kty": "AKP" }),
        ] {
            assert!(parse(&set(&members)).is_err(), "{members}");
        }
    }

    #[test]
    fn a_set_without_a_key_is_an_error_and_one_strange_key_spoils_no_other() {
        for set in [
            "",
            "{}",
            "[]",
            r#"{"keys":[]}"#,
            r#"{"keys":[{"kty":"oct","k":"eA"}]}"#,
        ] {
            assert!(parse(set.as_bytes()).is_err(), "{set}");
        }
        let mixed = String::from_utf8(set(&json!({}))).unwrap_or_default();
        let mixed = mixed.replace(r#"{"keys":["#, r#"{"keys":[7,{"kty":"new"},"#);

        assert_eq!(parse(mixed.as_bytes()).map(|keys| keys.len()).ok(), Some(1));
    }
}
