//! End to end: the real programs against the real servers. Each name is a promise.

mod auth;
mod canary;
mod clients;
mod configuration;
mod database;
mod door;
mod errors;
mod http;
mod limits;
mod model;
mod permissions;
mod promises;
mod publishers;
mod worker;
