//! The commands that went back to the broker, as one session knows them.

use std::time::Instant;

use crate::{
    change::Change,
    store::{Redelivery, UndecidedCommand},
};

/// What a session knows about the commands that went back to the broker.
#[derive(Default)]
pub(super) struct ReturnedOrder {
    /// Whether the commands are loaded.
    pub is_loaded: bool,
    /// The commands that went back and have no outcome. With the full prefetch, without those that have arrived.
    pub undecided: Vec<UndecidedCommand>,
    /// In safe mode, the position of the current command, if it was looked up.
    pub redelivery: Option<Redelivery>,
    /// When to release the places that are reserved in `retries`.
    pub reserved_until: Option<Instant>,
}

impl ReturnedOrder {
    /// Whether one of the commands is for this record.
    pub fn has_record(&self, change: &Change) -> bool {
        let key = change.command.key();
        self.undecided.iter().any(|other| other.key == *key)
    }

    /// Whether one of the commands has this id in the same Space.
    pub fn has_id(&self, change: &Change) -> bool {
        self.undecided
            .iter()
            .any(|other| has_same_id(other, change))
    }

    /// Removes the command with this id.
    pub fn remove(&mut self, change: &Change) {
        self.undecided.retain(|other| !has_same_id(other, change));
    }
}

fn has_same_id(undecided: &UndecidedCommand, change: &Change) -> bool {
    let space = &change.command.key().catalog_guid;
    (&undecided.key.catalog_guid, &undecided.command_id) == (space, &change.command_id)
}
