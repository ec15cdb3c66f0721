//! One connection to an origin: opening it, one exchange on it, closing it.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::connect::connect;
use super::error::UpstreamError;
use super::io::{HEAD_SIZE, Io, Wire};
use super::request::{Outgoing, RequestBody};
use super::slots::Slot;
use crate::config::snapshot::Upstream;
use crate::observe::metrics::Metrics;

/// An open connection. Dropping it closes it at once, whatever is under way on it.
pub(super) struct Connection {
    sender: SendRequest<Outgoing>,
    wire: Arc<Wire>,
    driver: AbortHandle,
    /// It has carried an exchange before.
    used: bool,
    /// The exchange under way is its last.
    last: bool,
    /// It has become a tunnel, which closes it.
    released: bool,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("used", &self.used).finish_non_exhaustive()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.released {
            self.wire.close();
            self.driver.abort();
        }
    }
}

/// An exchange that brought no head.
pub(super) struct Failed {
    pub(super) error: UpstreamError,
    /// The request, where hyper had not begun with it.
    pub(super) unsent: Option<Request<RequestBody>>,
    /// Some of the request was written.
    pub(super) wrote: bool,
    /// Some of an answer was read.
    pub(super) received: bool,
}

impl Connection {
    /// Connects and takes `slot` for as long as the connection is open.
    pub(super) async fn open(
        to: &Upstream,
        slot: Slot,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, UpstreamError> {
        let stream = connect(to).await?;
        metrics.upstream.connects.inc();
        let wire = Wire::new(stream, slot, Arc::clone(metrics));
        let (sender, connection) = Builder::new()
            // Room for the largest head that the scanner lets pass.
            .max_buf_size(HEAD_SIZE + 8 * 1024)
            .handshake(TokioIo::new(Io(Arc::clone(&wire))))
            .await
            .map_err(|_| UpstreamError::Closed)?;
        let driven = connection.with_upgrades();
        let driver = tokio::spawn(async move {
            // What goes wrong is told to whoever waits for the exchange.
            let _ = driven.await;
        });
        let driver = driver.abort_handle();
        Ok(Self { sender, wire, driver, used: false, last: false, released: false })
    }

    /// Has it carried an exchange before?
    pub(super) fn is_used(&self) -> bool {
        self.used
    }

    /// May the next request go out on it?
    pub(super) fn is_usable(&self) -> bool {
        self.sender.is_ready() && self.wire.is_quiet()
    }

    /// Has the origin closed it?
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(super) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Closes it and keeps its slot for another.
    pub(super) fn into_slot(self) -> Option<Slot> {
        self.wire.close_keeping_slot()
    }

    /// Lets the exchange under way be its last. To an origin that once answered with HTTP/1.0
    /// hyper speaks 1.0, too, and would drop the body of a request of unknown length.
    pub(super) fn use_no_more(&mut self) {
        self.last = true;
    }

    /// Leaves it to the tunnel that a 101 has made of it.
    pub(super) fn release(mut self) {
        self.released = true;
    }

    /// Both messages have ended: waits (only as long as hyper's driver needs) until the next
    /// request could go out. False: it may not be used again.
    pub(super) async fn ended(&mut self) -> bool {
        self.sender.ready().await.is_ok() && self.wire.is_reusable() && !self.last
    }

    /// As [`Self::ended`], without waiting; `None`: not known yet.
    pub(super) fn has_ended(&self) -> Option<bool> {
        if self.last || self.sender.is_closed() || self.wire.violation().is_some() {
            Some(false)
        } else if self.sender.is_ready() {
            Some(self.wire.is_reusable())
        } else {
            None
        }
    }

    /// Sends a request and waits for the head of its answer: at most `patience` after the last
    /// of the request has gone out, or after it last moved on. Dropping this midway leaves the
    /// connection in no state to be used: drop it, too.
    pub(super) async fn exchange(
        &mut self,
        request: Request<RequestBody>,
        patience: Duration,
    ) -> Result<Response<Incoming>, Failed> {
        self.used = true;
        self.wire.expect(&request);
        let (parts, body) = request.into_parts();
        let body = Outgoing::new(body, &parts.headers, Arc::clone(&self.wire));
        let mut answer = pin!(self.sender.try_send_request(Request::from_parts(parts, body)));
        let mut timer = pin!(sleep(patience));
        let wire = &self.wire;
        let answered = std::future::poll_fn(|cx| {
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                return Poll::Ready(Some(answer));
            }
            loop {
                ready!(timer.as_mut().poll(cx));
                match wire.waited() {
                    Some(waited) if waited >= patience => return Poll::Ready(None),
                    // While it is the client that keeps us waiting, its own timeout counts.
                    waited => {
                        let left = patience.saturating_sub(waited.unwrap_or_default());
                        timer.as_mut().reset(Instant::now() + left);
                    }
                }
            }
        })
        .await;
        let (error, unsent) = match answered {
            Some(Ok(response)) => return Ok(response),
            None => (UpstreamError::FirstByteTimeout, None),
            Some(Err(mut failed)) => {
                let unsent = failed.take_message().map(|request| request.map(Outgoing::into_body));
                (wire.explain(failed.error()), unsent)
            }
        };
        let (wrote, received) = wire.touched();
        Err(Failed { error, unsent, wrote, received })
    }
}
