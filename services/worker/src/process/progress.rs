//! The result of an attempt to apply a command.

use proto::{CommandError, Outcome, ledger::LedgerOutcome};

/// The result of an attempt to apply a command.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all values are `Decided`")]
pub enum Progress {
    /// The ledger has the command's outcome, from now or from an earlier delivery.
    Decided {
        /// The outcome for the reply.
        outcome: Outcome,
        /// The outcome's kind, for logs and metrics.
        kind: OutcomeKind,
    },
    /// The database refuses the command's content, or the command makes the worker panic. It has to be
    /// parked.
    Refused(Vec<CommandError>),
    /// Another transaction has locked the command's record; or the command has the record or the id of an
    /// earlier command that waits for such a lock. It has no outcome yet.
    Locked,
}

/// The kind of an outcome, for logs and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutcomeKind {
    /// The record was saved.
    Saved,
    /// The record was deleted, or did not exist.
    Deleted,
    /// The command had an outcome already. Its reply has the same outcome.
    Repeated,
    /// The command's id was used for another command, or the record has another revision than expected.
    Conflict,
    /// No worker can apply the command.
    Refused,
}

impl OutcomeKind {
    /// All kinds, in the order of their declaration: code uses `kind as usize` as an index.
    pub const ALL: [Self; 5] = [
        Self::Saved,
        Self::Deleted,
        Self::Repeated,
        Self::Conflict,
        Self::Refused,
    ];

    /// The value of the label `outcome` in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Saved => "saved",
            Self::Deleted => "deleted",
            Self::Repeated => "repeated",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
        }
    }
}

impl Progress {
    /// A command with this outcome in the ledger. `repeated`: from an earlier delivery.
    pub(super) fn from_ledger(outcome: LedgerOutcome, repeated: bool) -> Self {
        let kind = match &outcome {
            _ if repeated => OutcomeKind::Repeated,
            LedgerOutcome::Saved(_) => OutcomeKind::Saved,
            LedgerOutcome::Deleted(_) => OutcomeKind::Deleted,
            LedgerOutcome::Conflict(_) => OutcomeKind::Conflict,
        };
        Self::Decided {
            outcome: outcome.into(),
            kind,
        }
    }

    /// A command whose id was used for another command.
    pub(super) fn id_conflict() -> Self {
        Self::Decided {
            outcome: Outcome::refused(CommandError::conflict()),
            kind: OutcomeKind::Conflict,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(progress: &Progress) -> Option<OutcomeKind> {
        match progress {
            Progress::Decided { kind, .. } => Some(*kind),
            Progress::Refused(_) | Progress::Locked => None,
        }
    }

    #[test]
    fn a_repeated_command_is_counted_as_repeated_whatever_its_outcome_was() {
        let deletion = || LedgerOutcome::Deleted(None);

        let new = Progress::from_ledger(deletion(), false);
        let repeated = Progress::from_ledger(deletion(), true);

        assert_eq!(kind(&new), Some(OutcomeKind::Deleted));
        assert_eq!(kind(&repeated), Some(OutcomeKind::Repeated));
        assert_eq!(kind(&Progress::id_conflict()), Some(OutcomeKind::Conflict));
    }

    #[test]
    fn a_kind_is_the_index_of_itself_in_the_list_of_all_kinds() {
        for (index, kind) in OutcomeKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
        }
    }
}
