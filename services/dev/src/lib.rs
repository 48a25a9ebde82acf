//! The dev stack: Postgres, RabbitMQ, gateway and worker in one command, with or without Docker.
//!
//! ```text
//! up ──▶ servers (environment | docker | native | apt) ──▶ supervisor ──▶ one process each
//!  └───▶ database (schema, logins), broker (queues) ──▶ services (gateway, worker) ──▶ stack_env
//! test ──▶ test_servers (containers | native) ──▶ cargo test
//! ```
//!
//! It stops only programs that it started, and finds them by pid, never by name.

#![expect(clippy::print_stderr, reason = "a program for a terminal")]

pub mod broker;
mod container;
pub mod database;
pub mod docker;
pub mod graphiql;
pub mod install;
pub mod native_servers;
pub mod orphans;
pub mod paths;
pub mod process;
pub mod run_folder;
pub mod servers;
pub mod services;
pub mod signals;
pub mod stack_env;
pub mod state;
pub mod supervisor;
pub mod test_servers;
pub mod up;
