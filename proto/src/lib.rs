//! The contract between everyone who saves connector details and the worker that stores them:
//! the command, its reply, the masking of secrets, and the exchange, queues and bindings between.
//!
//! Both processes decode through this crate, so a [`SaveConnectorDetails`] that exists is valid
//! and holds no secret, whoever published it. It knows nothing of HTTP, GraphQL or SQL.

pub mod amqp;
pub mod command;
pub mod contract;
pub mod details;
pub mod error;
pub mod event;
pub mod fields;
pub mod ledger;
pub mod masking;
pub mod record;
pub mod reply;
pub mod secret;

pub use amqp::envelope::Envelope;
pub use command::{
    Command, DeleteConnectorDetails, ExpectedRevision, Fingerprint, Kind, SaveConnectorDetails,
    SaveInput,
};
pub use details::OauthConnectorDetails;
pub use error::{CommandError, Current, ErrorCode};
pub use event::Event;
pub use fields::{
    CatalogGuid, ClientId, CommandId, ConnectionId, EnvId, IntegrationPackInstanceId, ProcessId,
};
pub use record::{Record, RecordKey};
pub use reply::{Outcome, Reply};
pub use secret::{ClientSecret, MASK};
