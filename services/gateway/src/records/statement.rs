//! What can be read, each in a file of its own.

use sqlx::{Connection as _, PgConnection};

/// One statement. It may be run twice: a connection that was idle may turn out to be dead.
pub(super) trait Statement: Sync {
    /// What comes of it.
    type Answer: Send;

    /// What its span is called.
    const NAME: &'static str;

    fn run(
        &self,
        connection: &mut PgConnection,
    ) -> impl Future<Output = sqlx::Result<Self::Answer>> + Send;
}

/// Reads nothing: whether the database answers.
pub(super) struct Ping;

impl Statement for Ping {
    type Answer = ();

    const NAME: &'static str = "ping";

    async fn run(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        connection.ping().await
    }
}
