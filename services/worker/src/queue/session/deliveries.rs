//! Receives deliveries: valid commands wait for a batch, and refused commands are parked.

use std::iter::once;

use futures_util::{FutureExt as _, StreamExt as _};
use lapin::message::Delivery;
use proto::{CommandError, CommandId, Outcome};
use runtime::{broker::BrokerError, traces::trace_id};

use super::{MAX_BUFFERED, Session, SessionEnd, SessionError};
use crate::{
    batch_trace::BatchTrace,
    failpoint, metrics,
    process::OutcomeKind,
    publish::parking::ParkedCopy,
    queue::incoming::{Incoming, Refused},
};

impl Session<'_> {
    /// Receives a delivery, and all further deliveries that have already arrived. Returns whether the session
    /// has to end.
    pub(super) async fn deliver(
        &mut self,
        first: Option<Result<Delivery, lapin::Error>>,
    ) -> Result<Option<SessionEnd>, SessionError> {
        let redelivered = matches!(&first, Some(Ok(delivery)) if delivery.redelivered);
        if redelivered {
            self.load_order().await?;
        }
        self.extend_reserved();
        let refused_new = self.receive(first)?;
        if refused_new && self.leaves_safe_mode(true).await? {
            return Ok(Some(SessionEnd::Promoted));
        }
        self.returns_early_command().await
    }

    /// Receives a delivery, and further deliveries that have already arrived, up to [`MAX_BUFFERED`] and until
    /// as many commands wait. Returns whether a command was refused that is not a redelivery.
    fn receive(
        &mut self,
        first: Option<Result<Delivery, lapin::Error>>,
    ) -> Result<bool, SessionError> {
        let mut refused_new = false;
        let mut next = Some(first);
        let mut received = 0;
        while let Some(delivery) = next {
            received += 1;
            let delivery = delivery.ok_or(SessionError::Ended)?;
            let delivery = delivery.map_err(BrokerError::from)?;
            self.command_arrived(delivery.redelivered);
            let held = self.window.hold(delivery.data.len());
            self.acks.open(delivery.delivery_tag, 1, held);
            match Incoming::read(delivery, &self.context.publishers) {
                Ok(incoming) => {
                    if failpoint::breaks_session(&incoming.envelope) {
                        return Err(SessionError::Ended);
                    }
                    self.place_taken(&incoming.change);
                    self.enqueue(incoming);
                }
                Err(refused) => {
                    if failpoint::breaks_session(&refused.envelope) {
                        return Err(SessionError::Ended);
                    }
                    refused_new |= !refused.redelivered;
                    metrics::processed(OutcomeKind::Refused.as_str(), 1);
                    metrics::redelivered(refused.redelivered.into());
                    let traces = &self.context.traces;
                    if let Some(trace) = BatchTrace::start(traces, once(&refused.envelope)) {
                        trace.end(traces, &[]);
                    }
                    self.refuse(*refused);
                }
            }
            next = if self.waiting.len().max(received) < MAX_BUFFERED {
                self.consumer.next().now_or_never()
            } else {
                None
            };
        }
        Ok(refused_new)
    }

    /// Lets a command wait for a batch, or behind a command whose record is locked.
    pub(super) fn enqueue(&mut self, incoming: Incoming) {
        if self.retries.must_wait(&incoming) {
            self.retries.push(incoming, false);
        } else {
            self.waiting.push_back(incoming);
        }
    }

    /// Replies to a command that no worker can apply, and parks it in a task of its own, because other
    /// commands must not wait for that. Its delivery stays open until the copy is confirmed, so the prefetch
    /// limits the number of these tasks.
    pub(super) fn refuse(&mut self, refused: Refused) {
        let Refused {
            tag,
            envelope,
            body,
            mut errors,
            ..
        } = refused;
        let id = envelope.command_id.as_ref().map(CommandId::as_str);
        if errors.is_empty() {
            tracing::error!(
                command.id = id,
                "a refused command has no error; this is a bug of the worker"
            );
            errors.push(CommandError::internal());
        }
        let first = errors[0].clone();
        tracing::warn!(
            command.id = id,
            trace.id = trace_id(envelope.traceparent.as_deref()),
            reason = first.code.as_str(),
            field = first.field,
            "a command is refused and parked"
        );
        metrics::parked(first.code.as_str());
        let publisher = self.context.publisher.clone();
        publisher.reply(&envelope, Outcome::Refused { errors });
        let copy = ParkedCopy::new(&envelope, &first, &body);
        self.parking.spawn(async move {
            publisher.park(copy).await;
            tag
        });
    }
}
