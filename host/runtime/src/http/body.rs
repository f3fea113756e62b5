//! Bodies that end when they become too large, or when nothing comes for too long.

use crate::limited::Bound;
use crate::plugin::Shared;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::Error;

/// A body whose bytes are counted.
pub(super) struct Counted<B> {
    body: B,
    maximum: u64,
    left: u64,
    bound: Bound,
    /// What is said of one that is too large.
    too_large: fn(Option<u64>) -> Error,
    plugin: Arc<Shared>,
    /// Ends it when nothing comes for so long.
    pause: Option<(Duration, Pin<Box<Sleep>>)>,
    /// Its place among the requests under way, until it ends.
    permit: Option<Arc<OwnedSemaphorePermit>>,
}

impl<B> Counted<B> {
    /// Sent by a plugin.
    pub(super) fn request(body: B, maximum: u64, plugin: &Arc<Shared>) -> Self {
        Self {
            body,
            maximum,
            left: maximum,
            bound: Bound::HttpRequestBytes,
            too_large: Error::HttpRequestBodySize,
            plugin: plugin.clone(),
            pause: None,
            permit: None,
        }
    }

    /// A request is under way until this has ended.
    pub(super) fn holding(self, permit: Arc<OwnedSemaphorePermit>) -> Self {
        Self {
            permit: Some(permit),
            ..self
        }
    }

    /// Read by a plugin.
    pub(super) fn response(body: B, maximum: u64, plugin: &Arc<Shared>, pause: Duration) -> Self {
        Self {
            too_large: Error::HttpResponseBodySize,
            bound: Bound::HttpResponseBytes,
            pause: Some((pause, Box::pin(tokio::time::sleep(pause)))),
            ..Self::request(body, maximum, plugin)
        }
    }
}

impl<B: Body<Data = Bytes, Error: Into<Error>> + Unpin> Body for Counted<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => {
                self.permit = None;
                return Poll::Ready(None);
            }
            Poll::Pending => {
                let late = self
                    .pause
                    .as_mut()
                    .map(|(_, sleep)| sleep.as_mut().poll(cx));
                return match late {
                    Some(Poll::Ready(())) => Poll::Ready(Some(Err(Error::ConnectionReadTimeout))),
                    _ => Poll::Pending,
                };
            }
        };
        if let Some((pause, sleep)) = &mut self.pause {
            sleep.as_mut().reset(Instant::now() + *pause);
        }
        let length = frame.data_ref().map_or(0, Bytes::len);
        match self
            .left
            .checked_sub(u64::try_from(length).unwrap_or(u64::MAX))
        {
            Some(left) => {
                self.left = left;
                if self.body.is_end_stream() {
                    self.permit = None; // nobody asks for what comes behind the last byte
                }
                Poll::Ready(Some(Ok(frame)))
            }
            None => {
                let count = &self.plugin.requests.too_large;
                count.fetch_add(1, Ordering::Relaxed);
                self.plugin.limited.hit(self.bound);
                Poll::Ready(Some(Err((self.too_large)(Some(self.maximum)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
