//! End to end: the real programs against the real servers. Each name is a promise.

mod auth;
mod canary;
mod configuration;
mod database;
mod errors;
mod http;
mod model;
mod promises;
mod publishers;
mod worker;
