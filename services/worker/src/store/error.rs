//! Why a statement had no effect.

/// Why a statement had no effect, as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away, busy, read-only, full or not migrated yet. Waiting may help.
    #[error("the database could not take the statement")]
    Transient(#[source] sqlx::Error),
    /// Another worker decided one of the commands at the same moment. Running it again helps.
    #[error("another worker decided a command at the same time")]
    Race(#[source] sqlx::Error),
    /// A command is neither stored nor decided before. No known cause; running it again decides.
    #[error("a command was neither stored nor decided before")]
    Undecided,
    /// Somebody's open transaction has locked a record, or the table. The others can go on without it.
    #[error("a record is locked by somebody else's transaction")]
    Locked(#[source] sqlx::Error),
    /// One of the commands can't be stored. Waiting will not help.
    #[error("the database refused the content of a command")]
    Content(#[source] sqlx::Error),
    /// The statement was given up half way; it may or may not have taken effect, and the ledger
    /// makes running it again safe.
    #[error("the database did not answer in time")]
    Deadline,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .unwrap_or_default();
        match code.as_ref() {
            "23505" => Self::Race(error),
            "55P03" => Self::Locked(error),
            // Data exceptions, broken constraints, and rows over a limit are about the content.
            // Everything else - a missing table or privilege, too - is about the database.
            code if ["22", "23", "54"]
                .iter()
                .any(|class| code.starts_with(class)) =>
            {
                Self::Content(error)
            }
            _ => Self::Transient(error),
        }
    }
}
