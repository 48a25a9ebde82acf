//! The heartbeat row of this worker. Writing it shows that the database accepts writes.

use sqlx::PgConnection;

/// Identifies a worker in the heartbeat table.
#[derive(Debug)]
pub(super) struct Identity {
    host: String,
    pid: i32,
}

impl Identity {
    /// The identity of this process.
    pub fn of_process() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = host.trim();
        Self {
            host: if host.is_empty() { "unknown" } else { host }.to_owned(),
            pid: i32::try_from(std::process::id()).unwrap_or_default(),
        }
    }
}

/// Writes the row of this worker, and deletes rows that were not updated for a day.
pub(super) async fn write(
    connection: &mut PgConnection,
    identity: &Identity,
    has_decided: bool,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        with gone as (
            delete from connector_details_heartbeat
            where at < now() - interval '1 day' and (host, pid) <> ($1, $2)
        )
        insert into connector_details_heartbeat as h (host, pid, version, decided_at)
        values ($1, $2, $3, case when $4 then now() end)
        on conflict (host, pid) do update set
            version = excluded.version,
            at = excluded.at,
            decided_at = coalesce(excluded.decided_at, h.decided_at)
        "#,
        identity.host,
        identity.pid,
        env!("CARGO_PKG_VERSION"),
        has_decided,
    )
    .execute(connection)
    .await
    .map(drop)
}
