//! What a message looks like on RabbitMQ: exchanges and queues, the properties of a command, and the
//! copy that is parked.

pub mod envelope;
pub mod parked;
mod properties;
pub mod topology;
