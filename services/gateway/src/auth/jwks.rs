//! Reads the keys in a JSON Web Key Set.

use std::fmt;

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

/// A key with the only algorithm that it may verify. The algorithm in the header of a token is not
/// trusted.
#[derive(Clone)]
pub struct Key {
    pub(super) kid: Option<String>,
    /// The algorithm of the key.
    pub algorithm: Algorithm,
    /// Verifies signatures.
    pub verifier: DecodingKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?}, {:?})", self.kid, self.algorithm)
    }
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

/// The keys in a set that may verify tokens. Keys of unknown types are skipped.
///
/// # Errors
/// The set has no usable key. That is probably a mistake of its publisher, so the previous keys must
/// stay in use.
pub(super) fn parse(jwks: &[u8]) -> anyhow::Result<Vec<Key>> {
    let set: KeySet = serde_json::from_slice(jwks)?;
    let keys: Vec<Key> = set
        .keys
        .iter()
        .filter_map(|key| Jwk::deserialize(key).ok())
        .filter_map(|key| usable(&key))
        .collect();
    anyhow::ensure!(
        !keys.is_empty(),
        "the JWKS has no key that can verify tokens"
    );
    Ok(keys)
}

/// The key, if its algorithm is accepted and it may verify signatures. Symmetric keys are not accepted,
/// because their secret would be public in a published set.
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
    let algorithm = match (&jwk.algorithm, jwk.common.key_algorithm) {
        (AlgorithmParameters::RSA(_), None | Some(KeyAlgorithm::RS256)) => Algorithm::RS256,
        (AlgorithmParameters::EllipticCurve(curve), None | Some(KeyAlgorithm::ES256))
            if curve.curve == EllipticCurve::P256 =>
        {
            Algorithm::ES256
        }
        (AlgorithmParameters::OctetKeyPair(pair), None | Some(KeyAlgorithm::EdDSA))
            if pair.curve == EllipticCurve::Ed25519 =>
        {
            Algorithm::EdDSA
        }
        _ => return None,
    };
    Some(Key {
        kid: jwk.common.key_id.clone(),
        algorithm,
        verifier: DecodingKey::from_jwk(jwk).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A set with a public key of RFC 8037 and additional members.
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
    fn only_keys_for_signatures_are_used() {
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
    fn a_set_without_a_usable_key_is_an_error_and_unknown_keys_are_skipped() {
        for set in [
            "",
            "{}",
            "[]",
            r#"{"keys":[]}"#,
            r#"{"keys":[{"kty":"oct","k":"eA"}]}"#,
        ] {
            assert!(parse(set.as_bytes()).is_err(), "{set}");
        }
        let mixed = String::from_utf8_lossy(&set(&json!({})))
            .replace(r#"{"keys":["#, r#"{"keys":[7,{"kty":"new"},"#);

        assert_eq!(parse(mixed.as_bytes()).map(|keys| keys.len()).ok(), Some(1));
    }
}
