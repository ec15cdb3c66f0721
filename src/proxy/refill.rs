//! Bytes of a stored response that are held nowhere any more, asked for again at the origin by
//! Range and If-Range (DESIGN D3), and put back into the store.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{IF_RANGE, RANGE};
use http::{HeaderMap, Request, StatusCode};
use http_body::Body as _;
use tokio::task::JoinHandle;

use crate::cache::pieces::Segments;
use crate::cache::tiers::Tiers;
use crate::config::snapshot::Upstream;
use crate::proxy::ask::Ask;
use crate::proxy::forward;
use crate::proxy::worker::Worker;
use crate::semantics::content_range::ContentRange;
use crate::semantics::range::{Strong, range_value};
use crate::semantics::spans::Span;
use crate::semantics::stored::Stored;
use crate::upstream::ResponseBody;

/// How parts of one response are asked for again.
pub struct Refill {
    worker: Arc<Worker>,
    upstream: Arc<Upstream>,
    /// The request without Range and If-Range.
    request: Request<()>,
    /// What it asks, where it is a QUERY.
    content: Option<Bytes>,
    validator: Strong,
    /// Length of the whole.
    len: u64,
}

impl Refill {
    /// For `stored`, which answers `ask` and is `len` bytes long. `None`: it has no strong
    /// validator, so that what came might be of another representation.
    pub fn of(worker: &Arc<Worker>, ask: &Ask, stored: &Stored, len: u64) -> Option<Arc<Self>> {
        let validator = Strong::of(stored).filter(|_| stored.status == 200)?;
        let mut request = Request::new(());
        request.uri_mut().clone_from(&ask.head.uri);
        *request.headers_mut() = forward::fields_to_fill(ask, &worker.house.via, None);
        let (worker, upstream) = (worker.clone(), ask.view.snapshot.upstream.clone());
        let content = ask.query.clone();
        Some(Arc::new(Self { worker, upstream, request, content, validator, len }))
    }

    /// Asks for `span`. `None`: the origin does not give exactly that of the same representation.
    /// Dropping it midway closes the connection.
    pub async fn get(&self, span: Span) -> Option<ResponseBody> {
        let mut fields = self.request.headers().clone();
        ask_for_part(&mut fields, span, self.len, Some(&self.validator));
        let (method, body) = forward::read_of(self.content.as_ref());
        let mut request = Request::new(body);
        *request.method_mut() = method;
        request.uri_mut().clone_from(self.request.uri());
        *request.headers_mut() = fields;
        let response = self.worker.pool.send(&self.upstream, request).await;
        let response =
            response.inspect_err(|error| tracing::debug!(%error, "no part came")).ok()?;
        let whole = ContentRange { span, complete: self.len };
        let (head, body) = response.into_parts();
        let fits = head.status == StatusCode::PARTIAL_CONTENT
            && ContentRange::of(&head.headers) == Some(whole)
            && body.size_hint().exact().is_none_or(|len| len == span.len())
            && Strong::of_fields(&head.headers).as_ref() == Some(&self.validator);
        fits.then_some(body)
    }
}

/// Makes a request ask for `span` of a whole of `len` bytes, on condition that it is still the one
/// with this validator.
pub fn ask_for_part(fields: &mut HeaderMap, span: Span, len: u64, validator: Option<&Strong>) {
    fields.insert(RANGE, range_value(span, len));
    match validator.and_then(Strong::condition) {
        Some(condition) => fields.insert(IF_RANGE, condition),
        None => fields.remove(IF_RANGE),
    };
}

type Asking = Pin<Box<dyn Future<Output = Option<ResponseBody>> + Send>>;

enum Stage {
    Asking(Asking),
    Sending(ResponseBody),
}

/// A run of segments on its way from the origin again.
pub struct Refilling {
    stage: Stage,
    /// Bytes that come before those wanted: it is asked from a segment's beginning.
    skip: u64,
    /// Bytes wanted that are still to come.
    left: u64,
    mend: Mend,
}

/// It did not come, or not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotRefilled;

impl Refilling {
    /// Asks for `run`, of which the bytes from `at` on are wanted. It begins where a segment does.
    pub fn begin(refill: &Arc<Refill>, run: Span, at: u64, mend: Mend) -> Self {
        let asked = refill.clone();
        let stage = Stage::Asking(Box::pin(async move { asked.get(run).await }));
        let skip = at.saturating_sub(run.from());
        Self { stage, skip, left: run.len().saturating_sub(skip), mend }
    }

    /// The next bytes that are wanted; `None` at the end.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, NotRefilled>>> {
        while self.left > 0 {
            let body = match &mut self.stage {
                Stage::Asking(asking) => match ready!(asking.as_mut().poll(cx)) {
                    Some(body) => {
                        self.stage = Stage::Sending(body);
                        continue;
                    }
                    None => return Poll::Ready(Some(Err(NotRefilled))),
                },
                Stage::Sending(body) => body,
            };
            let Some(Ok(frame)) = ready!(Pin::new(body).poll_frame(cx)) else {
                return Poll::Ready(Some(Err(NotRefilled)));
            };
            let Ok(mut data) = frame.into_data() else { continue };
            let most = self.skip.saturating_add(self.left);
            data.truncate(usize::try_from(most).unwrap_or(usize::MAX));
            self.mend.take(&data);
            let skipped = self.skip.min(data.len() as u64);
            data.advance(usize::try_from(skipped).unwrap_or(usize::MAX)); // at most its length
            self.skip -= skipped;
            self.left -= data.len() as u64;
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(data)));
            }
        }
        Poll::Ready(None)
    }
}

/// Puts segments that came again where they were. One at a time waits for the disk: those that
/// come meanwhile are left out, and will be asked for again.
pub struct Mend {
    tiers: Arc<Tiers>,
    segments: Segments,
    in_memory: bool,
    /// Number of the segment that is being gathered.
    index: u32,
    buffer: BytesMut,
    storing: Option<JoinHandle<()>>,
}

impl Mend {
    /// From segment number `index` of `segments` on.
    pub fn new(tiers: Arc<Tiers>, segments: Segments, in_memory: bool, index: u32) -> Self {
        Self { tiers, segments, in_memory, index, buffer: BytesMut::new(), storing: None }
    }

    fn take(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let Some(span) = self.segments.span_of(self.index) else { return };
            let whole = usize::try_from(span.len()).unwrap_or(usize::MAX);
            let room = whole.saturating_sub(self.buffer.len()).min(data.len());
            let (now, later) = data.split_at(room); // room <= data.len()
            self.buffer.extend_from_slice(now);
            data = later;
            if self.buffer.len() == whole {
                self.store();
                self.index = self.index.saturating_add(1);
            }
        }
    }

    fn store(&mut self) {
        let bytes = Bytes::copy_from_slice(&self.buffer);
        self.buffer.clear();
        if self.storing.as_ref().is_some_and(|storing| !storing.is_finished()) {
            return;
        }
        let (tiers, id, index, in_memory) =
            (self.tiers.clone(), self.segments.id, self.index, self.in_memory);
        self.storing = Some(tokio::spawn(async move {
            tiers.store_segment(&id, index, bytes, in_memory).await;
        }));
    }
}
