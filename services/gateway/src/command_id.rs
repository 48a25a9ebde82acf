//! Names commands, so that a repeat is recognised.
//!
//! A command id is a UUID of version 8 in two parts: a head of 80 bits that is random, or the
//! hash of Space, subject and `Idempotency-Key`; and a tail that is the hash of Space and head.
//! The tail lets the gateway know an id that it has given to this Space: sent back as an
//! `Idempotency-Key`, it names the same command, which is what a client does after `SAVE_PENDING`.

use proto::{CatalogGuid, CommandId, Fault};
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

const HEAD_BYTES: usize = 10;

/// The id of a command that nobody named.
///
/// # Errors
/// None that the form of a UUID allows; the signature is the check's.
pub fn random(space: &CatalogGuid) -> Result<CommandId, Fault> {
    with_head(space, Uuid::new_v4().as_bytes())
}

/// The id that a client's key stands for, in its Space and for its subject.
///
/// # Errors
/// As [`random`].
pub fn of_key(space: &CatalogGuid, subject: &str, key: &[u8]) -> Result<CommandId, Fault> {
    if let Some(ours) = given_before(space, key) {
        return Ok(ours);
    }
    with_head(
        space,
        &hash(&[space.as_str().as_bytes(), subject.as_bytes(), key]),
    )
}

fn given_before(space: &CatalogGuid, key: &[u8]) -> Option<CommandId> {
    let text = std::str::from_utf8(key).ok()?;
    let uuid = Uuid::parse_str(text).ok()?;
    let ours = with_head(space, uuid.as_bytes()).ok()?;
    (ours.as_str() == text).then_some(ours)
}

fn with_head(space: &CatalogGuid, source: &[u8]) -> Result<CommandId, Fault> {
    let mut bytes = [0; 16];
    bytes[..HEAD_BYTES].copy_from_slice(&source[..HEAD_BYTES]);
    // The version and variant bits are set before the tail is computed, so that an id that comes
    // back gives the same tail.
    let head = Builder::from_custom_bytes(bytes).into_uuid();
    bytes = *head.as_bytes();
    let tail = hash(&[space.as_str().as_bytes(), &bytes[..HEAD_BYTES]]);
    bytes[HEAD_BYTES..].copy_from_slice(&tail[..16 - HEAD_BYTES]);
    CommandId::new(Uuid::from_bytes(bytes).to_string())
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_was_given_names_the_same_command() -> Result<(), Fault> {
        let [a, b] = [CatalogGuid::new("a")?, CatalogGuid::new("b")?];
        let random = random(&a)?;
        let named = of_key(&a, "anna", b"order 7")?;

        for id in [random, named] {
            assert_eq!(of_key(&a, "anna", id.as_str().as_bytes())?, id);
            assert_ne!(of_key(&b, "anna", id.as_str().as_bytes())?, id);
        }
        Ok(())
    }

    #[test]
    fn a_key_belongs_to_its_space_and_subject() -> Result<(), Fault> {
        let [a, b] = [CatalogGuid::new("a")?, CatalogGuid::new("b")?];
        let id = of_key(&a, "anna", b"key")?;

        assert_eq!(of_key(&a, "anna", b"key")?, id);
        assert_ne!(of_key(&a, "anna", b"yek")?, id);
        assert_ne!(of_key(&a, "ann", b"akey")?, id);
        assert_ne!(of_key(&b, "anna", b"key")?, id);
        // Any UUID may be somebody's own key.
        let uuid = Uuid::new_v4().to_string();
        assert_ne!(of_key(&a, "anna", uuid.as_bytes())?.as_str(), uuid);
        Ok(())
    }
}
