//! How far a command came.

use proto::{CommandError, Outcome, ledger::LedgerOutcome};

/// How far a command came.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are decided")]
pub enum Progress {
    /// It is decided, now or before.
    Decided {
        /// The answer for its publisher.
        outcome: Outcome,
        /// What it is counted as.
        kind: OutcomeKind,
    },
    /// The database refuses its content, or it makes the worker panic: it is parked.
    Refused(Vec<CommandError>),
    /// Somebody else's open transaction has locked its record, or it stands behind such a command for the
    /// same record or with the same id. Nothing is decided yet.
    Locked,
}

/// What a command is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutcomeKind {
    /// Saved now.
    Saved,
    /// Deleted now, or there was nothing to delete.
    Deleted,
    /// Decided before, and answered the same.
    Repeated,
    /// Its id stands for another command, or the record is not as it expected.
    Conflict,
    /// No worker can apply it.
    Refused,
}

impl OutcomeKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Saved,
        Self::Deleted,
        Self::Repeated,
        Self::Conflict,
        Self::Refused,
    ];

    /// Its name in metrics.
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
    /// What the ledger has for it, from now or from `before`.
    pub(super) fn decided(end: LedgerOutcome, before: bool) -> Self {
        let kind = match &end {
            _ if before => OutcomeKind::Repeated,
            LedgerOutcome::Saved(_) => OutcomeKind::Saved,
            LedgerOutcome::Deleted(_) => OutcomeKind::Deleted,
            LedgerOutcome::Conflict(_) => OutcomeKind::Conflict,
        };
        Self::Decided {
            outcome: end.into(),
            kind,
        }
    }

    /// Its id was used for another command.
    pub(super) fn conflict() -> Self {
        Self::Decided {
            outcome: Outcome::refused(CommandError::conflict()),
            kind: OutcomeKind::Conflict,
        }
    }
}
