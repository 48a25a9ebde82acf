//! Bodies that report their end.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper::body::{Body, Frame, SizeHint};

use super::phase::Connection;

/// A body that changes the state of its connection when it ends or is dropped.
pub(super) struct ObservedBody<B> {
    inner: B,
    connection: Arc<Connection>,
    /// Can be called more than once.
    at_end: fn(&Connection),
}

impl<B: Body> ObservedBody<B> {
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

impl<B: Body + Unpin> Body for ObservedBody<B> {
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

impl<B> Drop for ObservedBody<B> {
    fn drop(&mut self) {
        (self.at_end)(&self.connection);
    }
}
