//! Who asks: the bearer's token, and the Space that the request is about.
//!
//! The token is the authority. The `SPACE_GUID` header only says which of the token's Spaces is
//! meant, and can't add one.

pub mod caller;
pub mod dev_token;
mod keys;
mod token_cache;

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, header::AUTHORIZATION};
use jsonwebtoken::{Validation, decode};
use proto::CatalogGuid;
use serde_json::{Map, Value};

pub use keys::{Fetching, KeySource, Keys};

use self::{
    caller::Caller,
    token_cache::{Bearer, Verified},
};

/// Proxies drop headers with underscores unless told otherwise, hence the second name.
const SPACE_HEADERS: [&str; 2] = ["space_guid", "space-guid"];
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Clocks differ; a token that lives five minutes is not to be lost to ten seconds.
const LEEWAY_SECONDS: u64 = 30;
/// What AMQP and the ledger keep of a subject.
const LONGEST_SUBJECT_BYTES: usize = 255;
const LONGEST_KEY_BYTES: usize = 255;
/// A longer token is not even looked at.
const LONGEST_TOKEN_BYTES: usize = 8 * 1024;

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthError {
    /// Headers that are missing, there twice or malformed; the text says which.
    BadRequest(&'static str),
    /// No token, or one that proves nothing.
    Unauthenticated(&'static str),
    /// A valid token that does not list the header's Space.
    OtherSpace,
    /// The keys to check tokens with were never fetched.
    NoKeys,
}

/// Which tokens are accepted.
#[derive(Debug)]
pub struct Auth {
    /// The keys of the tokens' issuers.
    pub keys: Arc<Keys>,
    /// `iss` has to be this, where set.
    pub issuer: Option<String>,
    /// `aud` has to hold this, where set.
    pub audience: Option<String>,
    /// The claim that lists the bearer's Spaces.
    pub spaces_claim: String,
    verified: Verified,
}

impl Auth {
    /// With no token verified yet.
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
            verified: Verified::default(),
        }
    }

    /// Checks the request's headers.
    ///
    /// # Errors
    /// The first thing that is wrong: the token, then the Space, then the two together.
    pub async fn caller(&self, headers: &HeaderMap) -> Result<Caller, AuthError> {
        let bearer = self.bearer(token(headers)?).await?;
        let space = space(headers)?;
        if !bearer.spaces.iter().any(|listed| listed == space.as_str()) {
            return Err(AuthError::OtherSpace);
        }
        Ok(Caller {
            space,
            subject: bearer.subject.clone(),
            expires: bearer.expires,
            idempotency_key: idempotency_key(headers)?,
        })
    }

    async fn bearer(&self, token: &str) -> Result<Arc<Bearer>, AuthError> {
        if token.len() > LONGEST_TOKEN_BYTES {
            return Err(AuthError::Unauthenticated("The token is too long."));
        }
        let (name, keys) = (Verified::name(token), self.keys.version());
        // Keys that got too old are good for nothing, a token of theirs neither.
        if self.keys.is_ready()
            && let Some(bearer) = self.verified.find(&name, keys)
        {
            return Ok(bearer);
        }
        let bearer = Arc::new(self.verify(token).await?);
        self.verified.keep(name, keys, bearer.clone());
        Ok(bearer)
    }

    async fn verify(&self, token: &str) -> Result<Bearer, AuthError> {
        const BAD: AuthError = AuthError::Unauthenticated("The token is not valid.");
        let header = jsonwebtoken::decode_header(token).map_err(|_| BAD)?;
        let key = self
            .keys
            .find(header.kid.as_deref())
            .await
            .map_err(|keys::NoKeys| AuthError::NoKeys)?
            .filter(|key| key.algorithm == header.alg)
            .ok_or(BAD)?;
        let claims: Map<String, Value> =
            decode(token, &key.verifier, &self.validation(key.algorithm))
                .map(|token| token.claims)
                .map_err(|error| match error.kind() {
                    jsonwebtoken::errors::ErrorKind::ExpiredSignature => {
                        AuthError::Unauthenticated("The token has expired.")
                    }
                    _ => BAD,
                })?;
        Ok(Bearer {
            subject: subject(&claims)?,
            spaces: spaces(claims.get(&self.spaces_claim)),
            expires: claims.get("exp").and_then(Value::as_u64).ok_or(BAD)?,
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
    let twice = "Authorization must be sent once.";
    let value = once(headers, &AUTHORIZATION, twice)?.ok_or(AuthError::Unauthenticated(
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
    let twice = AuthError::BadRequest("SPACE_GUID must be sent once.");
    let mut values = SPACE_HEADERS
        .iter()
        .flat_map(|name| headers.get_all(*name))
        .map(axum::http::HeaderValue::as_bytes);
    let value = values
        .next()
        .ok_or(AuthError::BadRequest("The header SPACE_GUID is required."))?;
    if values.next().is_some() {
        return Err(twice);
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
    let value = once(headers, &name, "Idempotency-Key must be sent once.")?;
    if value.is_some_and(|key| key.is_empty() || key.len() > LONGEST_KEY_BYTES) {
        return Err(AuthError::BadRequest(
            "Idempotency-Key must be 1 to 255 bytes long.",
        ));
    }
    Ok(value.map(<[u8]>::to_vec))
}

fn once<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    twice: &'static str,
) -> Result<Option<&'a [u8]>, AuthError> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().map(axum::http::HeaderValue::as_bytes);
    match values.next() {
        Some(_) => Err(AuthError::BadRequest(twice)),
        None => Ok(value),
    }
}

fn subject(claims: &Map<String, Value>) -> Result<String, AuthError> {
    claims
        .get("sub")
        .and_then(Value::as_str)
        .filter(|subject| {
            !subject.trim().is_empty()
                && subject.len() <= LONGEST_SUBJECT_BYTES
                && !subject.chars().any(char::is_control)
        })
        .map(ToOwned::to_owned)
        .ok_or(AuthError::Unauthenticated("The token names no subject."))
}

/// The claim may be a list, or a string where there is but one Space.
fn spaces(claim: Option<&Value>) -> Vec<String> {
    let listed = match claim {
        Some(Value::Array(spaces)) => spaces.as_slice(),
        Some(only) => std::slice::from_ref(only),
        None => &[],
    };
    let text = |space: &Value| space.as_str().map(ToOwned::to_owned);
    listed.iter().filter_map(text).collect()
}
