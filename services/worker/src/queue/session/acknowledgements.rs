//! Acknowledges settled deliveries.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use lapin::options::BasicAckOptions;
use runtime::broker::within_deadline;
use tokio::time::timeout;

use super::{SAFE_PREFETCH, Session, SessionError};

/// How long a worker that has to stop waits until the broker has confirmed the parked copies.
const PARKING_TIMEOUT: Duration = Duration::from_secs(15);

impl Session<'_> {
    /// Whether safe mode is on and ends now. `promotes`: whether the last batch or delivery was not a
    /// redelivery.
    ///
    /// If safe mode goes on, deliveries are acknowledged at once. With a prefetch of 1 the broker sends
    /// nothing more until then.
    pub(super) async fn leaves_safe_mode(&mut self, promotes: bool) -> Result<bool, SessionError> {
        if self.prefetch != SAFE_PREFETCH {
            return Ok(false);
        }
        // A worker that has to stop acknowledges nothing more. Otherwise the broker would deliver another
        // command, which would go back behind the others when the connection is closed.
        if !promotes && !self.context.stop.is_cancelled() {
            self.acknowledge().await?;
        }
        Ok(promotes)
    }

    /// Sends the acknowledgements of all settled deliveries.
    pub(super) async fn acknowledge(&mut self) -> Result<(), SessionError> {
        while let Some(parked) = self.parking.try_join_next() {
            self.acks.settle(parked?, Instant::now());
        }
        let acks = self.acks.take().into_iter().map(|ack| {
            let options = BasicAckOptions {
                multiple: ack.multiple,
            };
            self.channel.basic_ack(ack.tag, options)
        });
        within_deadline(try_join_all(acks)).await?;
        Ok(())
    }

    /// Acknowledges all settled deliveries at the end of a session, and waits for parked copies to be
    /// confirmed. After a failure the broker delivers the commands again, and the ledger has their outcomes.
    pub(super) async fn acknowledge_rest(&mut self) {
        if self.prefetch == SAFE_PREFETCH && self.context.stop.is_cancelled() {
            return;
        }
        let result = async {
            self.acknowledge().await?;
            let parked = async {
                while let Some(parked) = self.parking.join_next().await {
                    self.acks.settle(parked?, Instant::now());
                }
                Ok::<(), SessionError>(())
            };
            let parked = timeout(PARKING_TIMEOUT, parked).await;
            if let Ok(result) = parked {
                result?;
            } else {
                tracing::warn!(
                    commands = self.parking.len(),
                    "refused commands could not be parked in time; they will be delivered again"
                );
            }
            self.acknowledge().await
        };
        if let Err(error) = result.await {
            tracing::warn!(
                %error,
                "the last commands could not be acknowledged; they will be delivered again"
            );
        }
    }
}
