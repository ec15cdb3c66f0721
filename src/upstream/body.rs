//! The body of an origin's answer.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use super::connection::Connection;
use super::error::UpstreamError;
use super::pool::Inner;
use crate::config::snapshot::Upstream;
use crate::observe::metrics::Metrics;

/// How long a request may go on after its answer has ended before its connection is reset.
const EARLY_ANSWER_GRACE: Duration = Duration::from_secs(1);

/// The body of an origin's answer, piece by piece, trailers last.
///
/// It ends cleanly (`None`) only where the origin's framing did; anything else is an error.
/// Dropping it before its end closes the connection; at its end the connection goes back to its
/// pool, if the request has ended, too.
pub struct ResponseBody {
    incoming: Incoming,
    lease: Option<Lease>,
    failed: bool,
    patience: Duration,
    /// Since when the origin keeps us waiting, and until when it may.
    deadline: Option<Instant>,
    /// One a body: it is left to run out and then set anew, not set at each piece.
    timer: Option<Pin<Box<Sleep>>>,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("incoming", &self.incoming).finish_non_exhaustive()
    }
}

/// A connection on loan from its pool.
pub(super) struct Lease {
    pub(super) connection: Box<Connection>,
    pub(super) pool: Weak<Inner>,
    pub(super) to: Arc<Upstream>,
}

impl Lease {
    /// The answer has ended.
    fn end(self) {
        let Self { mut connection, pool, to } = self;
        match connection.has_ended() {
            Some(true) => give_back(&pool, &to, connection),
            Some(false) => {}
            // hyper's driver comes to it in a moment, or the request is still being sent.
            None => {
                let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
                runtime.spawn(async move {
                    let ended = tokio::time::timeout(EARLY_ANSWER_GRACE, connection.ended()).await;
                    if ended == Ok(true) {
                        give_back(&pool, &to, connection);
                    }
                });
            }
        }
    }
}

fn give_back(pool: &Weak<Inner>, to: &Arc<Upstream>, connection: Box<Connection>) {
    if let Some(pool) = pool.upgrade() {
        pool.give_back(to, connection);
    }
}

impl ResponseBody {
    pub(super) fn new(incoming: Incoming, lease: Option<Lease>, metrics: Arc<Metrics>) -> Self {
        let patience = lease.as_ref().map_or(Duration::MAX, |lease| lease.to.between_bytes_timeout);
        let mut body =
            Self { incoming, lease, failed: false, patience, deadline: None, timer: None, metrics };
        if body.incoming.is_end_stream() {
            body.end(); // HEAD, 204, 304, Content-Length: 0
        }
        body
    }

    /// Lets the origin pause for so long from now on: an event stream has a bound of its own.
    pub fn set_between_bytes_timeout(&mut self, patience: Duration) {
        self.patience = patience;
        self.deadline = None;
        self.timer = None;
    }

    fn end(&mut self) {
        self.timer = None;
        if let Some(lease) = self.lease.take() {
            lease.end();
        }
    }

    fn fail(&mut self, error: UpstreamError) -> UpstreamError {
        if let Some(kind) = error.kind() {
            self.metrics.upstream_error(kind);
        }
        self.failed = true;
        self.timer = None;
        self.lease = None; // closes
        error
    }

    /// Has the origin paused for too long?
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let patience = self.patience;
        let deadline = *self.deadline.get_or_insert_with(|| later(patience));
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        loop {
            std::task::ready!(timer.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}

fn later(patience: Duration) -> Instant {
    let now = Instant::now();
    // A bound beyond what the clock can express is as good as a day.
    now.checked_add(patience).unwrap_or(now + Duration::from_hours(24))
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let this = &mut *self;
        if this.failed {
            return Poll::Ready(None);
        }
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(frame) => {
                this.deadline = None;
                match frame {
                    Some(Ok(frame)) => {
                        if this.incoming.is_end_stream() {
                            this.end();
                        }
                        Poll::Ready(Some(Ok(frame)))
                    }
                    Some(Err(error)) => {
                        let error = match &this.lease {
                            Some(lease) => lease.connection.wire().explain(&error),
                            None => UpstreamError::Closed,
                        };
                        Poll::Ready(Some(Err(this.fail(error))))
                    }
                    None => {
                        let wire = this.lease.as_ref().map(|lease| lease.connection.wire());
                        if let Some(reason) = wire.and_then(super::io::Wire::violation) {
                            let error = this.fail(UpstreamError::Malformed(reason));
                            return Poll::Ready(Some(Err(error)));
                        }
                        this.end();
                        Poll::Ready(None)
                    }
                }
            }
            Poll::Pending => {
                if this.poll_patience(cx).is_ready() {
                    let error = this.fail(UpstreamError::BetweenBytesTimeout);
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        !self.failed && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
