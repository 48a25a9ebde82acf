//! The dev stack: Postgres, RabbitMQ, gateway and worker in one command, with or without Docker. The
//! tests and the benchmark start their servers and services in the same way.
//!
//! ```text
//! cargo dev    up ──▶ servers ──▶ broker (queues) ──▶ database (schema, logins) ──▶ services ──▶ stack_env
//! fault tests  run_folder ──▶ servers ──▶ database ──▶ services
//! benchmark    run_folder ──▶ test_servers ──▶ database ──▶ services
//! other tests  run_folder ──▶ test_servers ──▶ cargo test ──▶ broker (virtual hosts), database, services
//!
//! servers       environment | docker | native_servers, after install (apt) if they are missing
//! test_servers  testcontainers | servers
//! services      build, and configure gateway and worker
//! supervisor    runs each server and service, as a process or a container, and restarts it
//! orphans       writes what the supervisor runs to a file, and stops it at the next start
//! ```
//!
//! It stops only what it started: a process or its group by its pid and its start time, a container by
//! a name that no other run uses.

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
