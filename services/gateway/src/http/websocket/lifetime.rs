//! How long a socket may stay open: a short time without a token, then until its token expires.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message};
use proto::amqp::envelope::since_epoch;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use crate::limits::Share;

/// The time in which `connection_init` must send a valid token.
const INIT_DEADLINE: Duration = Duration::from_secs(10);
/// The time between the expiry of the token and the end of the socket. In this time the subscriptions
/// end with an error.
const AFTER_EXPIRY: Duration = Duration::from_secs(5);

/// The longest life of a socket. An issuer may set an expiry that no clock can hold.
const MAX_LIFETIME: Duration = Duration::from_hours(365 * 24);

/// The payload of a control frame has at most 125 bytes (RFC 6455, 5.5), and two of them are the code.
const MAX_REASON_BYTES: usize = 123;

/// What a socket gets with a valid token.
pub(super) struct Authenticated {
    /// The expiry of the token, in seconds since 1970.
    pub expires: u64,
    /// Counts the socket until it ends.
    #[expect(dead_code, reason = "dropping it releases it")]
    pub share: Share,
}

pub(super) struct Lifetime {
    /// Counts the socket while it has no token.
    unauthenticated: Option<OwnedSemaphorePermit>,
    authenticated: Option<Authenticated>,
    pub until: Instant,
}

impl Lifetime {
    pub fn without_token(permit: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            unauthenticated: permit,
            authenticated: None,
            until: Instant::now() + INIT_DEADLINE,
        }
    }

    pub fn authenticate(&mut self, authenticated: Authenticated) {
        let now = since_epoch().as_secs();
        let left = Duration::from_secs(authenticated.expires.saturating_sub(now));
        self.until = Instant::now() + left.min(MAX_LIFETIME) + AFTER_EXPIRY;
        self.authenticated = Some(authenticated);
        self.unauthenticated = None;
    }

    /// The close message for a socket that reached its end.
    pub fn close_message(&self) -> Message {
        match self.authenticated {
            Some(_) => close(4403, "The token has expired.".to_owned()),
            None => close(4408, "Connection initialisation timeout".to_owned()),
        }
    }
}

pub(super) fn close(code: u16, mut reason: String) -> Message {
    reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
    Message::Close(Some(CloseFrame {
        code,
        reason: reason.into(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Shares;

    #[test]
    fn a_token_that_never_expires_does_not_overflow_the_clock() {
        for expires in [0, u64::MAX] {
            let mut lifetime = Lifetime::without_token(None);
            let share = Shares::new(1, 1).take(1, 1).ok();
            let until = share.map(|share| {
                lifetime.authenticate(Authenticated { expires, share });
                lifetime.until
            });

            let longest = Instant::now() + MAX_LIFETIME + AFTER_EXPIRY;
            assert!(until.is_some_and(|until| until <= longest), "{expires}");
        }
    }

    #[test]
    fn the_reason_of_a_close_fits_into_a_control_frame() {
        let reason = |text: String| match close(1002, text) {
            Message::Close(Some(frame)) => frame.reason.to_string(),
            other => format!("{other:?}"),
        };

        assert_eq!(reason("short".to_owned()), "short");
        assert_eq!(reason("a".repeat(124)), "a".repeat(123));
        // A character is not cut in two.
        assert_eq!(reason("é".repeat(62)), "é".repeat(61));
    }
}
