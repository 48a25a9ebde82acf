//! `cargo dev prepare`: updates `.sqlx`.

use std::process::ExitCode;

use anyhow::ensure;
use dev::{paths, servers::Source, services::cargo, test_servers::TestServers};

/// Compiles the checked queries against a database that has the current schema.
pub async fn prepare() -> anyhow::Result<ExitCode> {
    TestServers::during(Source::from_environment()?, async |servers| {
        prepare_against(&servers.servers.database_url).await?;
        Ok(ExitCode::SUCCESS)
    })
    .await
}

async fn prepare_against(database_url: &str) -> anyhow::Result<()> {
    // The migrations are read from disk, because this program may have been built before a change.
    let pool = sqlx::PgPool::connect(database_url).await?;
    let migrations = sqlx::migrate::Migrator::new(paths::repository().join("migrations")).await?;
    migrations.run(&pool).await?;
    pool.close().await;
    let folder = paths::repository().join(".sqlx");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    for crate_root in ["services/gateway/src/lib.rs", "services/worker/src/lib.rs"] {
        // Cargo compiles a crate again if one of its files is newer than the last build.
        let file = std::fs::File::options()
            .append(true)
            .open(paths::repository().join(crate_root))?;
        file.set_modified(std::time::SystemTime::now())?;
    }
    let status = cargo()
        .args(["check", "--workspace", "--quiet"])
        .env("SQLX_OFFLINE", "false")
        .env("SQLX_OFFLINE_DIR", &folder)
        .env("DATABASE_URL", database_url)
        .kill_on_drop(true)
        .status()
        .await?;
    ensure!(status.success(), "the queries don't fit the schema");
    Ok(())
}
