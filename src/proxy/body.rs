//! The body of an answer, wherever it comes from, and the tally that is made when it is done.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::request;
use http_body::{Frame, SizeHint};

use crate::clock::Moment;
use crate::observe::record::Record;
use crate::proxy::assembly::Assembly;
use crate::proxy::compress::EncodedBody;
use crate::proxy::conn::Conn;
use crate::proxy::decode::DecodedBody;
use crate::proxy::flight_reader::FlightReader;
use crate::proxy::worker::Worker;
use crate::upstream::ResponseBody;

/// Why an answer broke off. The client sees broken framing, never a clean end.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off: {0}")]
pub struct Broken(pub(super) &'static str);

/// Where the bytes come from. What a hit in memory does not need is boxed: a body is moved a dozen
/// times on its way to hyper.
pub enum Source {
    /// There are none.
    Empty,
    /// Here they are.
    Full(Bytes),
    /// From a fetch under way.
    Flight(Box<FlightReader>),
    /// From several places, one after the other.
    Assembly(Box<Assembly>),
    /// From the origin to this client alone.
    Upstream(Box<ResponseBody>),
    /// The same, coded on the way.
    Encoded(Box<EncodedBody>),
    /// From any of these, decoded on the way.
    Decoded(Box<DecodedBody>),
}

impl Source {
    /// Bytes to come, where that is known.
    fn len(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Full(bytes) => Some(bytes.len() as u64),
            Self::Flight(flight) => flight.len(),
            Self::Assembly(assembly) => Some(assembly.len()),
            Self::Upstream(body) => http_body::Body::size_hint(body.as_ref()).exact(),
            Self::Encoded(_) | Self::Decoded(_) => None,
        }
    }

    /// The next frame.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = match self {
            Self::Empty => None,
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                (!bytes.is_empty()).then(|| Ok(Frame::data(bytes)))
            }
            Self::Flight(flight) => ready!(flight.poll(cx)),
            Self::Assembly(assembly) => ready!(assembly.poll(cx)),
            Self::Upstream(body) => {
                ready!(http_body::Body::poll_frame(Pin::new(body.as_mut()), cx))
                    .map(|frame| frame.map_err(|_| Broken("the origin broke off")))
            }
            Self::Encoded(body) => ready!(body.poll_frame(cx))
                .map(|frame| frame.map_err(|_| Broken("the origin broke off"))),
            Self::Decoded(body) => ready!(body.poll_frame(cx)),
        };
        Poll::Ready(frame)
    }
}

/// One request's account, from its head to its record, which is made when its answer has been sent
/// or given up. In one place from the beginning, so that only a pointer walks along.
pub struct Tally {
    /// Counts and writes the record.
    pub worker: Arc<Worker>,
    /// When the request's head was complete.
    pub began: Moment,
    /// The record, but for what only the end tells.
    pub record: Record,
    /// Body bytes that the client sent, where it sent any.
    pub received: Option<Arc<AtomicU64>>,
    /// Length of the answer's body, where that is known.
    expected: Option<u64>,
    ended: bool,
    sent: u64,
}

impl Tally {
    /// Of a request whose head is complete now.
    pub fn begin(worker: &Arc<Worker>, conn: &Conn, head: &request::Parts) -> Box<Self> {
        let began = Moment::now();
        let noted = worker.house.log.note(head, conn.peer);
        Box::new(Self {
            worker: worker.clone(),
            began,
            record: Record::new(noted, head.method.clone()),
            received: None,
            expected: None,
            ended: false,
            sent: 0,
        })
    }
}

/// An answer's body. Its drop ends the request's record. Small, as hyper moves it a dozen times.
pub struct Body {
    source: Source,
    tally: Box<Tally>,
}

impl Body {
    /// A body from `source`; `tally` is completed when it ends.
    pub fn new(source: Source, mut tally: Box<Tally>) -> Self {
        tally.expected = source.len();
        Self { source, tally }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        let polled = ready!(this.source.poll(cx));
        match &polled {
            Some(Ok(frame)) => {
                this.tally.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            Some(Err(_)) => {}
            None => this.tally.ended = true,
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty => true,
            Source::Full(bytes) => bytes.is_empty(),
            _ => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.tally.expected {
            Some(len) => SizeHint::with_exact(len.saturating_sub(self.tally.sent)),
            None => SizeHint::default(),
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let tally = &mut *self.tally;
        let (record, now) = (&mut tally.record, Moment::now());
        record.bytes_out = tally.sent;
        record.bytes_in = tally.received.as_ref().map_or(0, |count| count.load(Ordering::Relaxed));
        record.aborted = !tally.ended && tally.expected != Some(tally.sent);
        record.duration_ns = now.ns_since(tally.began);
        record.ended = now.timestamp();
        tally.worker.finish(record);
    }
}
