//! Makes tokens for development, where the stack itself is the issuer: whoever has the shared
//! secret could do the same with any library.

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

/// Reads a duration such as `30s`, `5m`, `12h` or `1d`.
///
/// # Errors
/// Another form.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "must be a number and s, m, h or d, such as 30s, 5m or 1d".to_owned();
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}
