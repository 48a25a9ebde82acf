//! Any details with a secret: the first line is the secret, the rest are the details. Masking never
//! panics, is idempotent, and keeps the JSON's shape.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::{ClientId, ClientSecret, OauthConnectorDetails};
use serde_json::Value;

fuzz_target!(|input: &str| {
    let (secret, text) = input.split_once('\n').unwrap_or(("", input));
    let secret = ClientSecret::new(secret).unwrap_or_default();
    let client_id = ClientId::new("the client").ok();
    let Ok(masked) = OauthConnectorDetails::new(text, &secret, client_id.as_ref()) else {
        return;
    };
    let again = OauthConnectorDetails::new(masked.as_str(), &secret, client_id.as_ref());
    assert_eq!(
        again.as_ref().map(OauthConnectorDetails::as_str),
        Ok(masked.as_str())
    );
    // A lone surrogate is JSON by its grammar, and no text that a `Value` could hold.
    if let Ok(before) = serde_json::from_str::<Value>(text) {
        let after = serde_json::from_str(masked.as_str()).expect("masked details are JSON");
        assert!(same_shape(&before, &after), "{before} {after}");
    }
});

/// Whether two values differ in nothing but the content of strings.
fn same_shape(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::String(_), Value::String(_)) => true,
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| same_shape(a, b))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|((a, x), (b, y))| a == b && same_shape(x, y))
        }
        (one, other) => one == other,
    }
}
