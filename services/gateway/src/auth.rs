//! Authenticates requests: verifies the token, and checks that the token lists the request's Space.
//!
//! The `SPACE_GUID` header selects one of the token's Spaces. It can't grant access to another one.

pub mod caller;
pub mod dev_token;
mod jwks;
mod keys;
mod token_cache;

use std::{sync::Arc, time::Duration};

use axum::http::{HeaderMap, HeaderName, header::AUTHORIZATION};
use jsonwebtoken::{Validation, decode};
use proto::CatalogGuid;
use serde_json::{Map, Value};

pub use keys::{Fetching, KeySource, Keys};

use self::{
    caller::{Caller, MAX_SUBJECT_BYTES},
    token_cache::{TokenCache, VerifiedToken},
};

/// Many proxies drop headers with underscores by default, so there is a second name.
const SPACE_HEADERS: [&str; 2] = ["space_guid", "space-guid"];
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Tolerates small differences between the clocks of the issuer and the gateway.
const LEEWAY_SECONDS: u64 = 30;
const MAX_KEY_BYTES: usize = 255;
/// Longer tokens are rejected before they are decoded.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Why a request is not authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthError {
    /// A header is missing, duplicated or malformed; the text says which.
    BadRequest(&'static str),
    /// The token is missing or not valid.
    Unauthenticated(&'static str),
    /// The token is valid, but does not list the Space of the header.
    OtherSpace,
    /// The keys that verify tokens could not be read.
    NoKeys,
}

/// Verifies tokens.
#[derive(Debug)]
pub struct Auth {
    /// The keys that verify signatures.
    pub keys: Arc<Keys>,
    /// The required `iss` claim, if set.
    pub issuer: Option<String>,
    /// A required value of the `aud` claim, if set.
    pub audience: Option<String>,
    /// The name of the claim that lists the token's Spaces.
    pub spaces_claim: String,
    cache: TokenCache,
}

impl Auth {
    /// Creates the verifier with an empty cache.
    #[must_use]
    pub fn new(
        keys: Arc<Keys>,
        issuer: Option<String>,
        audience: Option<String>,
        spaces_claim: String,
    ) -> Self {
        Self {
            keys,
            issuer,
            audience,
            spaces_claim,
            cache: TokenCache::default(),
        }
    }

    /// Authenticates a request by its headers.
    ///
    /// # Errors
    /// The first error: first of the token, then of the Space.
    pub async fn caller(&self, headers: &HeaderMap) -> Result<Caller, AuthError> {
        let token = self.verified(token(headers)?).await?;
        let space = space(headers)?;
        if !token.spaces.iter().any(|listed| listed == space.as_str()) {
            return Err(AuthError::OtherSpace);
        }
        Ok(Caller {
            space,
            subject: token.subject.clone(),
            expires: token.expires,
            idempotency_key: idempotency_key(headers)?,
        })
    }

    async fn verified(&self, token: &str) -> Result<Arc<VerifiedToken>, AuthError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(AuthError::Unauthenticated("The token is too long."));
        }
        let (hash, key_version) = (TokenCache::hash(token), self.keys.version());
        // When the keys are older than JWKS_MAX_AGE, cached tokens must not be accepted either.
        if self.keys.is_ready()
            && let Some(verified) = self.cache.find(&hash, key_version)
        {
            return Ok(verified);
        }
        let verified = Arc::new(self.verify(token).await?);
        self.cache.insert(hash, key_version, verified.clone());
        Ok(verified)
    }

    async fn verify(&self, token: &str) -> Result<VerifiedToken, AuthError> {
        const INVALID: AuthError = AuthError::Unauthenticated("The token is not valid.");
        let header = jsonwebtoken::decode_header(token).map_err(|_| INVALID)?;
        let key = self
            .keys
            .find(header.kid.as_deref())
            .await
            .map_err(|keys::NoKeys| AuthError::NoKeys)?
            .filter(|key| key.algorithm == header.alg)
            .ok_or(INVALID)?;
        let claims: Map<String, Value> =
            decode(token, &key.verifier, &self.validation(key.algorithm))
                .map(|token| token.claims)
                .map_err(|error| match error.kind() {
                    jsonwebtoken::errors::ErrorKind::ExpiredSignature => {
                        AuthError::Unauthenticated("The token has expired.")
                    }
                    _ => INVALID,
                })?;
        Ok(VerifiedToken {
            subject: subject(&claims)?,
            spaces: spaces(claims.get(&self.spaces_claim)),
            expires: claims.get("exp").and_then(seconds).ok_or(INVALID)?,
        })
    }

    fn validation(&self, algorithm: jsonwebtoken::Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "sub"]);
        validation.validate_aud = self.audience.is_some();
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        if let Some(audience) = &self.audience {
            validation.set_audience(&[audience]);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        validation
    }
}

fn token(headers: &HeaderMap) -> Result<&str, AuthError> {
    let duplicated = "Authorization must be sent once.";
    let value = single(headers, &AUTHORIZATION, duplicated)?.ok_or(AuthError::Unauthenticated(
        "A token is required: Authorization: Bearer <JWT>.",
    ))?;
    std::str::from_utf8(value)
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or(AuthError::Unauthenticated(
            "Authorization must be: Bearer <JWT>.",
        ))
}

fn space(headers: &HeaderMap) -> Result<CatalogGuid, AuthError> {
    let mut values = SPACE_HEADERS
        .iter()
        .flat_map(|name| headers.get_all(*name))
        .map(axum::http::HeaderValue::as_bytes);
    let value = values
        .next()
        .ok_or(AuthError::BadRequest("The header SPACE_GUID is required."))?;
    if values.next().is_some() {
        return Err(AuthError::BadRequest("SPACE_GUID must be sent once."));
    }
    std::str::from_utf8(value)
        .ok()
        .and_then(|guid| CatalogGuid::new(guid).ok())
        .ok_or(AuthError::BadRequest(
            "SPACE_GUID must hold a Space's guid: 1 to 255 bytes, no control characters.",
        ))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<Vec<u8>>, AuthError> {
    let name = HeaderName::from_static(IDEMPOTENCY_KEY);
    let value = single(headers, &name, "Idempotency-Key must be sent once.")?;
    if value.is_some_and(|key| key.is_empty() || key.len() > MAX_KEY_BYTES) {
        return Err(AuthError::BadRequest(
            "Idempotency-Key must be 1 to 255 bytes long.",
        ));
    }
    Ok(value.map(<[u8]>::to_vec))
}

/// The only value of a header, if there is one.
fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    duplicated: &'static str,
) -> Result<Option<&'a [u8]>, AuthError> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().map(axum::http::HeaderValue::as_bytes);
    match values.next() {
        Some(_) => Err(AuthError::BadRequest(duplicated)),
        None => Ok(value),
    }
}

/// The whole seconds of a date in a claim. RFC 7519 allows fractions.
fn seconds(date: &Value) -> Option<u64> {
    date.as_u64().or_else(|| {
        let date = Duration::try_from_secs_f64(date.as_f64()?).ok()?;
        Some(date.as_secs())
    })
}

fn subject(claims: &Map<String, Value>) -> Result<String, AuthError> {
    claims
        .get("sub")
        .and_then(Value::as_str)
        .filter(|subject| {
            !subject.trim().is_empty()
                && subject.len() <= MAX_SUBJECT_BYTES
                && !subject.chars().any(char::is_control)
        })
        .map(ToOwned::to_owned)
        .ok_or(AuthError::Unauthenticated("The token names no subject."))
}

/// The Spaces in the claim, which may be a list or a single string.
fn spaces(claim: Option<&Value>) -> Vec<String> {
    let listed = match claim {
        Some(Value::Array(spaces)) => spaces.as_slice(),
        Some(only) => std::slice::from_ref(only),
        None => &[],
    };
    let text = |space: &Value| space.as_str().map(ToOwned::to_owned);
    listed.iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests;
