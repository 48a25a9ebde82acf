//! The contract on RabbitMQ: exchanges and queues, the properties of a command, and the copy of a
//! command that is parked.

pub mod envelope;
pub mod parked;
mod properties;
pub mod topology;
