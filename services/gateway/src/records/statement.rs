//! The interface of all statements. Each statement is in a file of its own.

use sqlx::{Connection as _, PgConnection};

/// One read. It may run twice, because an idle connection may be broken.
pub(super) trait Statement: Sync {
    /// The result of the statement.
    type Answer: Send;

    /// The name of its span.
    const NAME: &'static str;

    fn run(
        &self,
        connection: &mut PgConnection,
    ) -> impl Future<Output = sqlx::Result<Self::Answer>> + Send;
}

/// Checks that the database answers.
pub(super) struct Ping;

impl Statement for Ping {
    type Answer = ();

    const NAME: &'static str = "ping";

    async fn run(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        connection.ping().await
    }
}
