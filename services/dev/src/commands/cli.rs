//! The command line of `cargo dev`.

use std::{ffi::OsString, time::Duration};

use clap::{Parser, Subcommand};
use dev::{servers::Source, up::UpArgs};
use runtime::settings;

/// Starts Postgres, RabbitMQ, gateway and worker, and restarts them until Ctrl-C.
#[derive(Parser)]
#[command(
    name = "cargo dev",
    bin_name = "cargo dev",
    version,
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Subcommands>,

    #[command(flatten)]
    pub up: UpArgs,
}

#[derive(Subcommand)]
pub enum Subcommands {
    /// Print a token that the stack accepts.
    Token {
        /// The Space of the token.
        #[arg(long, value_name = "GUID")]
        space: String,

        /// How long it is valid: 30s, 5m, 12h, 1d.
        #[arg(long, default_value = "5m", value_parser = settings::duration)]
        expires_in: Duration,

        /// The subject of the token.
        #[arg(long, value_name = "NAME", default_value = "developer")]
        subject: String,
    },
    /// Start servers for the tests, run all tests, stop the servers.
    Test {
        #[command(flatten)]
        servers: ServersArgs,

        /// Also run the tests that need external tools: Python and Node with packages, Prometheus,
        /// kubectl, and Docker if an engine is available.
        #[arg(long)]
        all: bool,

        /// Passed on to cargo test.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Kill, freeze and disconnect each part under load, and print the results: fifteen minutes. The
    /// last test needs root, to mount a file system that it can fill.
    Faults {
        #[command(flatten)]
        servers: ServersArgs,

        /// Passed on to the tests: a part of a name, such as broker.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Compare the speed with a plain service that writes each row itself: fifteen minutes, or less than
    /// one with --quick.
    #[command(disable_help_flag = true)]
    Bench {
        #[command(flatten)]
        servers: ServersArgs,

        /// --help lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Update .sqlx, which holds the types of all queries for the schema of migrations/. After a query
    /// was changed, cargo can't compile until this has run: use target/debug/dev prepare.
    Prepare,
    /// Generate the published contract from proto's types: proto/asyncapi.yaml and proto/schemas.
    Contract,
    /// Start servers for the tests, print their addresses, and stop them when the input ends.
    #[command(hide = true)]
    Servers,
}

#[derive(clap::Args)]
pub struct ServersArgs {
    /// Where Postgres and RabbitMQ come from. Default: that of DEV_SERVERS; without it, docker if an
    /// engine is available.
    #[arg(long, value_name = "SOURCE", ignore_case = true)]
    servers: Option<Source>,
}

impl ServersArgs {
    /// The option, or else the variable, which every program reads in the same way.
    pub fn source(&self) -> anyhow::Result<Option<Source>> {
        match self.servers {
            Some(source) => Ok(Some(source)),
            None => Source::from_environment(),
        }
    }
}
