//! Creates tokens for development, where the stack itself is the issuer. This gives no extra rights:
//! with the shared secret, any JWT library can create the same tokens.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

/// Signs a token with a shared secret (HS256).
///
/// # Errors
/// The clock is before 1970.
pub fn sign(
    secret: &str,
    space: &str,
    subject: &str,
    expires_in: Duration,
) -> anyhow::Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let claims = json!({
        "sub": subject,
        "iat": now.as_secs(),
        "exp": (now + expires_in).as_secs(),
        "spaces": [space],
    });
    let key = EncodingKey::from_secret(secret.as_bytes());
    Ok(encode(&Header::default(), &claims, &key)?)
}
