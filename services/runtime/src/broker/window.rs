//! Bounds what a consumer has in memory, in bytes.
//!
//! A prefetch counts messages, and RabbitMQ has none that counts bytes. So the guard counts the bodies
//! that it lets through, the consumer says when it is done with one, and while there are too many the
//! guard reads nothing more from the socket.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
};

use futures_util::task::AtomicWaker;

/// What a message takes beside its body, roughly.
const MESSAGE_BYTES: usize = 4 * 1024;

/// How many bytes of messages a consumer may have in hand.
#[derive(Debug)]
pub struct Window {
    limit: usize,
    used: AtomicUsize,
    reader: AtomicWaker,
}

/// A message in hand. Dropped, it makes room for another.
#[derive(Debug)]
pub struct Held {
    window: Arc<Window>,
    bytes: usize,
}

impl Window {
    /// A window of so many bytes. One message more than fits is let through.
    #[must_use]
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: bytes,
            used: AtomicUsize::new(0),
            reader: AtomicWaker::new(),
        })
    }

    /// The consumer's part of a message that the guard has counted, with a body of so many bytes.
    #[must_use]
    pub fn hold(self: &Arc<Self>, body_bytes: usize) -> Held {
        Held {
            window: self.clone(),
            bytes: body_bytes + MESSAGE_BYTES,
        }
    }

    /// How many bytes are in hand, or on their way.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    pub(super) fn add(&self, body_bytes: u64) {
        let bytes = usize::try_from(body_bytes).unwrap_or(usize::MAX / 2) + MESSAGE_BYTES;
        self.used.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(super) fn is_full(&self) -> bool {
        self.used() >= self.limit
    }

    /// Registers who reads, before it looks once more whether there is room.
    pub(super) fn wake_when_there_is_room(&self, reader: &Waker) {
        self.reader.register(reader);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let used = &self.window.used;
        let _ = used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            Some(used.saturating_sub(self.bytes))
        });
        self.window.reader.wake();
    }
}
