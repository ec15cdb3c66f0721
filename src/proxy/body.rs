//! The body of an answer, wherever it comes from, and the tally that is made when it is done.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::cache::flight::stream::{End, Next, StreamReader};
use crate::cache::tiers::Tiers;
use crate::clock;
use crate::observe::record::Record;
use crate::proxy::compress::EncodedBody;
use crate::proxy::decode::DecodedBody;
use crate::proxy::segments::{Extent, SegmentReader};
use crate::proxy::worker::Worker;
use crate::upstream::ResponseBody;

/// Why an answer broke off. The client sees broken framing, never a clean end.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off: {0}")]
pub struct Broken(pub(super) &'static str);

/// A reader of a fetch under way, with the way back to the store for when it falls behind.
pub struct FlightReader {
    reader: StreamReader,
    len: Option<u64>,
    /// Where the store keeps the body, if it does; `to` is not used.
    stored: Option<(Arc<Tiers>, Extent)>,
    behind: Option<SegmentReader>,
}

impl FlightReader {
    /// Reads a flight's body from its beginning. `len`: its length, where the head tells it.
    pub fn new(
        reader: StreamReader,
        len: Option<u64>,
        stored: Option<(Arc<Tiers>, Extent)>,
    ) -> Self {
        Self { reader, len, stored, behind: None }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            if let Some(behind) = &mut self.behind {
                match ready!(behind.poll_next(cx)) {
                    Some(Ok(bytes)) => {
                        self.reader.skip(bytes.len() as u64);
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                    Some(Err(_)) => return Poll::Ready(Some(Err(Broken("fell too far behind")))),
                    None => self.behind = None,
                }
            }
            return Poll::Ready(match ready!(self.reader.poll_next(cx)) {
                Next::Chunk(chunk) => Some(Ok(Frame::data(chunk))),
                Next::End(End::Complete(None)) => None,
                Next::End(End::Complete(Some(trailers))) => {
                    // Asked once: the end is all that is left.
                    self.reader.finish();
                    Some(Ok(Frame::trailers(trailers.as_ref().clone())))
                }
                Next::End(End::Broken) => Some(Err(Broken("the origin broke off"))),
                Next::Behind => {
                    let Some((tiers, extent)) = &self.stored else {
                        return Poll::Ready(Some(Err(Broken("fell too far behind"))));
                    };
                    // The segment at hand is whole: the window is never smaller than one.
                    let mut extent = *extent;
                    let size = u64::from(extent.segment.max(1));
                    extent.from = self.reader.offset();
                    extent.to = (extent.from / size + 1) * size;
                    self.behind = Some(SegmentReader::new(tiers.clone(), extent));
                    continue;
                }
            });
        }
    }
}

/// Where the bytes come from. What a hit in memory does not need is boxed: a body is moved a dozen
/// times on its way to hyper.
pub enum Source {
    /// There are none.
    Empty,
    /// Here they are.
    Full(Bytes),
    /// From a fetch under way.
    Flight(Box<FlightReader>),
    /// From the store, piece by piece.
    Segments(Box<SegmentReader>),
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
            Self::Flight(flight) => flight.len,
            Self::Segments(reader) => Some(reader.remaining()),
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
            Self::Segments(reader) => ready!(reader.poll_next(cx)).map(|piece| {
                piece.map(Frame::data).map_err(|_| Broken("a part of the stored body is gone"))
            }),
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

/// Makes the record of a request when its answer has been sent or given up.
pub struct Tally {
    /// Counts and writes the record.
    pub worker: Arc<Worker>,
    /// The record, but for what only the end tells.
    pub record: Record,
    /// When the request's head was complete, by [`clock::monotonic_ns`].
    pub began_ns: u64,
    /// Body bytes that the client sent, where it sent any.
    pub received: Option<Arc<AtomicU64>>,
}

/// An answer's body. Its drop ends the request's record.
pub struct Body {
    source: Source,
    expected: Option<u64>,
    ended: bool,
    sent: u64,
    tally: Option<Box<Tally>>,
}

impl Body {
    /// A body from `source`; `tally` is completed when it ends.
    pub fn new(source: Source, tally: Box<Tally>) -> Self {
        let expected = source.len();
        Self { source, expected, ended: false, sent: 0, tally: Some(tally) }
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
                this.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            Some(Err(_)) => {}
            None => this.ended = true,
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
        match self.expected {
            Some(len) => SizeHint::with_exact(len.saturating_sub(self.sent)),
            None => SizeHint::default(),
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let Some(tally) = self.tally.take() else { return };
        let Tally { worker, mut record, began_ns, received } = *tally;
        record.bytes_out = self.sent;
        record.bytes_in = received.map_or(0, |count| count.load(Ordering::Relaxed));
        record.aborted = !self.ended && self.expected != Some(self.sent);
        record.duration_ns = clock::monotonic_ns().saturating_sub(began_ns);
        worker.finish(&record);
    }
}
