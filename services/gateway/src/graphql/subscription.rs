//! The subscription to changes in a Space.

use async_graphql::{Context, Enum, SimpleObject, Subscription};
use futures_util::{Stream, StreamExt as _};
use proto::Event;

use super::types::ConnectorDetails;
use crate::{
    auth::caller::Caller,
    events::{Change, Changes},
};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum ConnectorDetailsEventKind {
    /// A record was saved.
    Saved,
    /// A record was deleted.
    Deleted,
    /// Changes may have been missed, as after a restart of the broker: read again what is shown.
    Missed,
}

/// Something that happened in a Space.
#[derive(SimpleObject)]
pub struct ConnectorDetailsEvent {
    /// What it was.
    kind: ConnectorDetailsEventKind,
    /// The record as it was saved, or as it was before it was deleted. Null where changes were missed.
    record: Option<ConnectorDetails>,
}

/// What happens.
#[derive(Debug, Default)]
pub struct Subscriptions;

/// What happens.
#[Subscription]
impl Subscriptions {
    /// The changes in the header's Space, from now on: at least once, and in order for each record. A
    /// repeat has the same record id and revision. Begins with MISSED when changes are told again
    /// after they could not be. Ends when the token expires.
    async fn connector_details_changed(
        &self,
        context: &Context<'_>,
    ) -> impl Stream<Item = ConnectorDetailsEvent> + use<> {
        let caller: &Caller = context.data_unchecked();
        let changes: &Changes = context.data_unchecked();
        changes
            .in_space(caller.space.clone())
            .map(ConnectorDetailsEvent::from)
    }
}

impl From<Change> for ConnectorDetailsEvent {
    fn from(change: Change) -> Self {
        let (kind, record) = match &change {
            Change::Event(event) => {
                let kind = match **event {
                    Event::Saved(_) => ConnectorDetailsEventKind::Saved,
                    Event::Deleted(_) => ConnectorDetailsEventKind::Deleted,
                };
                (kind, Some(event.record().clone().into()))
            }
            Change::Missed => (ConnectorDetailsEventKind::Missed, None),
        };
        Self { kind, record }
    }
}
