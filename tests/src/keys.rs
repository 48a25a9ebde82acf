//! Issuers of tokens, each with a key of another kind.

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use serde_json::{Value, json};

/// The bytes that PKCS#8 puts before an RSA key of 2,048 bits; jsonwebtoken wants the key alone.
const PKCS8_OF_RSA_2048: usize = 26;

/// An issuer.
pub struct Issuer {
    algorithm: Algorithm,
    key: EncodingKey,
    kid: String,
}

impl Issuer {
    /// An issuer with a new key.
    ///
    /// # Errors
    /// No such key can be made.
    pub fn new(algorithm: Algorithm, kid: &str) -> anyhow::Result<Self> {
        let key = match algorithm {
            Algorithm::RS256 => {
                let pair = KeyPair::generate(KeySize::Rsa2048)?;
                let pkcs8: Pkcs8V1Der<'_> = pair.as_der()?;
                EncodingKey::from_rsa_der(&pkcs8.as_ref()[PKCS8_OF_RSA_2048..])
            }
            Algorithm::ES256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
                EncodingKey::from_ec_der(pair.to_pkcs8v1()?.as_ref())
            }
            _ => EncodingKey::from_ed_der(Ed25519KeyPair::generate()?.to_pkcs8v1()?.as_ref()),
        };
        Ok(Self {
            algorithm,
            key,
            kid: kid.to_owned(),
        })
    }

    /// The public key, as it stands in a JWKS.
    ///
    /// # Errors
    /// The key has no such form.
    pub fn jwk(&self) -> anyhow::Result<Value> {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm)?;
        jwk.common.key_id = Some(self.kid.clone());
        Ok(serde_json::to_value(jwk)?)
    }

    /// A token with these claims.
    ///
    /// # Errors
    /// It can't be signed.
    pub fn sign(&self, claims: &Value) -> anyhow::Result<String> {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.kid.clone());
        Ok(encode(&header, claims, &self.key)?)
    }
}

/// The claims of a good token for a Space.
#[must_use]
pub fn claims(space: &str) -> Value {
    json!({ "sub": "anna", "exp": 4_102_444_800_u64, "spaces": [space] })
}
