//! The contract between the services that change connector details and the worker that stores them:
//! commands, replies, events, the masking of secrets, and the exchanges and queues.
//!
//! Both the gateway and the worker decode and validate through this crate. So every
//! [`SaveConnectorDetails`] is valid and holds no secret, also if another service published it. The crate
//! does not depend on HTTP, GraphQL or SQL.

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
