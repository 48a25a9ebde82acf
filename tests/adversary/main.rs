//! Nobody stops the others.

mod connections;
mod documents;
mod requests;
mod sockets;
