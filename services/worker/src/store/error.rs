//! The errors of a statement.

/// The reason why a statement failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is unreachable, busy, read-only, full or not migrated yet. A later retry may succeed.
    #[error("the database could not take the statement")]
    Transient(#[source] sqlx::Error),
    /// Another worker processed one of the commands at the same time. A retry finds its outcome in the ledger.
    #[error("another worker decided a command at the same time")]
    Race(#[source] sqlx::Error),
    /// A command was not stored, and the ledger has no entry for it. There is no known cause. A retry processes
    /// the command.
    #[error("a command was neither stored nor decided before")]
    Undecided,
    /// Another open transaction has locked a record or the table. Commands for other records can be stored
    /// without waiting for a locked record.
    #[error("a record is locked by somebody else's transaction")]
    Locked(#[source] sqlx::Error),
    /// The database refuses the content of one of the commands. A retry fails in the same way.
    #[error("the database refused the content of a command")]
    Content(#[source] sqlx::Error),
    /// The statement was cancelled at its deadline and may have been committed. A retry is safe, because
    /// commands that are in the ledger are not applied again.
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
            // Data exceptions, violated constraints and exceeded row limits are errors of the content.
            // All other errors, such as a missing table or privilege, are errors of the database.
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
