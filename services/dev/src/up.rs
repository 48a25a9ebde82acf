//! `cargo dev`: starts the stack, keeps it running, and stops it.

mod stack;
mod summary;

use std::{fs, path::PathBuf};

use anyhow::ensure;
pub use gateway::http::pages::graphiql::SPACE;

use self::stack::Stack;
use crate::{paths, signals::stop_signal, stack_env};

/// What to start.
#[derive(Debug, Clone, clap::Args)]
pub struct UpArgs {
    /// Build and run gateway and worker with optimisations.
    #[arg(long)]
    pub release: bool,

    /// The number of workers. One is active, the others are on standby.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub workers: u16,

    /// The number of gateways. Each has a port of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub gateways: u16,

    /// The first gateway's port. If it is taken, nothing starts. Default: 8080, or another port if
    /// 8080 is taken.
    #[arg(long)]
    pub port: Option<u16>,
}

/// The folder of the stack's files.
#[must_use]
pub fn folder() -> PathBuf {
    paths::repository().join(".dev")
}

/// Runs the stack until a stop signal comes.
///
/// # Errors
/// Something can't be started, or another stack is running in this folder. Everything that was
/// started is stopped again.
pub async fn up(args: UpArgs) -> anyhow::Result<()> {
    let folder = folder();
    fs::create_dir_all(&folder)?;
    let lock = fs::File::create(folder.join("lock"))?;
    ensure!(
        lock.try_lock().is_ok(),
        "a stack is already running here (see .dev/stack.env)"
    );
    let stopped = stop_signal()?;
    let mut stack = Stack::new(folder.clone(), args.workers, args.gateways)?;
    let result = tokio::select! {
        result = stack.run(args.port, args.release) => result,
        () = stopped => Ok(()),
    };
    eprintln!("stopping");
    let _ = fs::remove_file(stack_env::path(&folder));
    stack.stop().await;
    result
}
