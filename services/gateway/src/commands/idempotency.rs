//! Creates command ids, so that a repeated command is recognised.
//!
//! A command id is a UUID of version 8 in two parts. The head has 80 bits: random ones, or the HMAC of
//! Space, subject and `Idempotency-Key`. The tail is the HMAC of Space and head. By the tail, the gateway
//! recognises an id that it has issued in this Space: sent back as an `Idempotency-Key`, the id names the
//! same command. Clients do this after `SAVE_PENDING`. Without the gateways' secret, a client can neither
//! compute the id of another client's command nor forge an issued id.

use std::fmt;

use aws_lc_rs::hmac;
use proto::{CatalogGuid, CommandError, CommandId};
use secrecy::{ExposeSecret as _, SecretString};
use uuid::{Builder, Uuid};

const HEAD_BYTES: usize = 10;
/// Separates the derived key from the signatures of tokens, which use the same secret.
const LABEL: &[u8] = b"connector-details command ids v1";
const HEAD: &[u8] = b"head";
const TAIL: &[u8] = b"tail";

/// Creates command ids. All gateways need the same secret, because a retry may reach another gateway.
#[derive(Clone)]
pub struct CommandIds(hmac::Key);

impl fmt::Debug for CommandIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CommandIds")
    }
}

impl CommandIds {
    /// Uses a separate secret.
    #[must_use]
    pub fn new(secret: &SecretString) -> Self {
        Self(key(secret.expose_secret().as_bytes()))
    }

    /// Derives a secret from the one that signs tokens.
    #[must_use]
    pub fn derived(jwt_secret: &SecretString) -> Self {
        let derived = hmac::sign(&key(jwt_secret.expose_secret().as_bytes()), LABEL);
        Self(key(derived.as_ref()))
    }

    /// A random id, for a command without an `Idempotency-Key`.
    ///
    /// # Errors
    /// None, because a UUID is a valid id. The constructor of [`CommandId`] returns the type.
    pub fn random(&self, space: &CatalogGuid) -> Result<CommandId, CommandError> {
        self.with_head(space, Uuid::new_v4().as_bytes())
    }

    /// The id for an `Idempotency-Key` of a subject in a Space.
    ///
    /// # Errors
    /// As [`CommandIds::random`].
    pub fn of_key(
        &self,
        space: &CatalogGuid,
        subject: &str,
        key: &[u8],
    ) -> Result<CommandId, CommandError> {
        if let Some(issued) = self.issued_id(space, key) {
            return Ok(issued);
        }
        let head = self.hash(&[HEAD, space.as_str().as_bytes(), subject.as_bytes(), key]);
        self.with_head(space, head.as_ref())
    }

    /// The key itself, if it is an id that a gateway has issued in this Space.
    fn issued_id(&self, space: &CatalogGuid, key: &[u8]) -> Option<CommandId> {
        let text = std::str::from_utf8(key).ok()?;
        let uuid = Uuid::parse_str(text).ok()?;
        let issued = self.with_head(space, uuid.as_bytes()).ok()?;
        (issued.as_str() == text).then_some(issued)
    }

    fn with_head(&self, space: &CatalogGuid, source: &[u8]) -> Result<CommandId, CommandError> {
        let mut bytes = [0; 16];
        bytes[..HEAD_BYTES].copy_from_slice(&source[..HEAD_BYTES]);
        // The version and variant bits are set before the tail is computed, so that the tail of an issued
        // id can be computed again.
        let head = Builder::from_custom_bytes(bytes).into_uuid();
        bytes = *head.as_bytes();
        let tail = self.hash(&[TAIL, space.as_str().as_bytes(), &bytes[..HEAD_BYTES]]);
        bytes[HEAD_BYTES..].copy_from_slice(&tail.as_ref()[..16 - HEAD_BYTES]);
        CommandId::new(Uuid::from_bytes(bytes).to_string())
    }

    fn hash(&self, parts: &[&[u8]]) -> hmac::Tag {
        let mut hash = hmac::Context::with_key(&self.0);
        for part in parts {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.sign()
    }
}

fn key(secret: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "a secret of at least thirty-two bytes";

    fn ids() -> CommandIds {
        CommandIds::new(&SECRET.into())
    }

    #[test]
    fn an_issued_id_names_the_same_command() -> Result<(), CommandError> {
        let ids = ids();
        let [a, b] = [CatalogGuid::new("a")?, CatalogGuid::new("b")?];
        let random = ids.random(&a)?;
        let named = ids.of_key(&a, "anna", b"order 7")?;

        for id in [random, named] {
            assert_eq!(ids.of_key(&a, "anna", id.as_str().as_bytes())?, id);
            assert_ne!(ids.of_key(&b, "anna", id.as_str().as_bytes())?, id);
        }
        Ok(())
    }

    #[test]
    fn a_key_belongs_to_its_space_and_subject() -> Result<(), CommandError> {
        let ids = ids();
        let [a, b] = [CatalogGuid::new("a")?, CatalogGuid::new("b")?];
        let id = ids.of_key(&a, "anna", b"key")?;

        assert_eq!(ids.of_key(&a, "anna", b"key")?, id);
        assert_ne!(ids.of_key(&a, "anna", b"yek")?, id);
        assert_ne!(ids.of_key(&a, "ann", b"akey")?, id);
        assert_ne!(ids.of_key(&b, "anna", b"key")?, id);
        // A UUID that no gateway has issued is an ordinary key.
        let uuid = Uuid::new_v4().to_string();
        assert_ne!(ids.of_key(&a, "anna", uuid.as_bytes())?.as_str(), uuid);
        Ok(())
    }

    #[test]
    fn an_id_can_not_be_computed_without_the_secret() -> Result<(), CommandError> {
        let space = CatalogGuid::new("a")?;
        let ids = ids();
        let derived = CommandIds::derived(&SECRET.into());
        let others = [
            CommandIds::new(&"another secret of thirty-two bytes".into()),
            derived.clone(),
        ];

        let id = ids.of_key(&space, "anna", b"key")?;
        for other in others {
            assert_ne!(other.of_key(&space, "anna", b"key")?, id);
            // An id that was created with another secret is an ordinary key.
            let foreign = other.random(&space)?;
            assert_ne!(
                ids.of_key(&space, "anna", foreign.as_str().as_bytes())?,
                foreign
            );
        }
        // All gateways with the same secret create the same id.
        let again = CommandIds::derived(&SECRET.into());
        let [one, two] = [derived, again].map(|ids| ids.of_key(&space, "anna", b"key"));
        assert_eq!(one?, two?);
        assert!(!format!("{ids:?}").contains(SECRET));
        Ok(())
    }
}
