//! Limits the bytes of the messages that a consumer has in memory.
//!
//! RabbitMQ's prefetch counts messages, not bytes. So the guard adds each message that it passes on, and
//! the consumer drops its [`Held`] when it is done with the message. While the window is full, the
//! guard reads nothing more from the socket.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
};

use futures_util::task::AtomicWaker;

/// Roughly how many bytes a message takes besides its body.
const MESSAGE_BYTES: usize = 4 * 1024;

/// Counts the bytes of the messages that a consumer has.
#[derive(Debug)]
pub struct Window {
    limit: usize,
    used: AtomicUsize,
    /// The task that reads the socket, while it waits for room.
    reader: AtomicWaker,
}

/// A message that the consumer has. Dropping it makes room for another.
#[derive(Debug)]
pub struct Held {
    window: Arc<Window>,
    bytes: usize,
}

impl Window {
    /// A window of this many bytes. The message that exceeds the limit is the last one that passes.
    #[must_use]
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: bytes,
            used: AtomicUsize::new(0),
            reader: AtomicWaker::new(),
        })
    }

    /// Takes over a message that the guard has added, with a body of this length.
    #[must_use]
    pub fn hold(self: &Arc<Self>, body_bytes: usize) -> Held {
        Held {
            window: self.clone(),
            bytes: body_bytes + MESSAGE_BYTES,
        }
    }

    /// How many bytes the consumer has, or the guard has passed on to lapin.
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

    /// Registers the task that reads the socket. It has to call [`Window::is_full`] once more after
    /// this: room that was made before would not wake it.
    pub(super) fn wake_when_there_is_room(&self, reader: &Waker) {
        self.reader.register(reader);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let used = &self.window.used;
        // The closure always returns a value, so the update can't fail.
        let _ = used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            Some(used.saturating_sub(self.bytes))
        });
        self.window.reader.wake();
    }
}
