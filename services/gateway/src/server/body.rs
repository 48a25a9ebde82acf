//! Bodies whose end is noted.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper::body::{Body, Frame, SizeHint};

use super::phase::Connection;

/// A body that notes in its connection's state when it ends, or when nobody wants more of it.
pub(super) struct Watched<B> {
    inner: B,
    connection: Arc<Connection>,
    /// May be called more than once.
    at_end: fn(&Connection),
}

impl<B: Body> Watched<B> {
    pub fn new(inner: B, connection: Arc<Connection>, at_end: fn(&Connection)) -> Self {
        if inner.is_end_stream() {
            at_end(&connection);
        }
        Self {
            inner,
            connection,
            at_end,
        }
    }
}

impl<B: Body + Unpin> Body for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        let ended = match &polled {
            Poll::Ready(Some(Ok(_))) => self.inner.is_end_stream(),
            Poll::Ready(Some(Err(_)) | None) => true,
            Poll::Pending => false,
        };
        if ended {
            (self.at_end)(&self.connection);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> Drop for Watched<B> {
    fn drop(&mut self) {
        (self.at_end)(&self.connection);
    }
}
