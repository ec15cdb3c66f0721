//! QUERY (draft-ietf-httpbis-safe-method-w-body): a read whose question is its content. What is
//! small enough to be part of the key is answered like a GET; the rest is passed on.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

use hyper::body::Incoming;

use crate::proxy::ask::Ask;
use crate::proxy::error::ProxyError;
use crate::proxy::forward::Upload;
use crate::upstream::{BoxError, RequestBody};

/// The content of a QUERY, read as far as it may be part of the key.
pub enum Content {
    /// All of it.
    Whole(Bytes),
    /// More than that, or with trailers: what was read, and the rest of it; and a flag that it is
    /// larger than any body may be.
    More(RequestBody, Arc<AtomicBool>),
}

/// Begins to read the content of `ask`, as far as `cache.query_body` goes; and the count of the
/// bytes that have come.
///
/// # Errors
/// The client's body broke off, or is larger than any may be.
pub fn content(
    ask: &mut Ask,
    incoming: Incoming,
) -> (Arc<AtomicU64>, impl Future<Output = Result<Content, ProxyError>> + Send + use<>) {
    let snapshot = &ask.view.snapshot;
    let upload = Upload::new(incoming, snapshot.limits.body_size, None);
    let (received, too_large, limit) =
        (upload.received(), upload.too_large(), snapshot.cache.query_body);
    ask.expects = None; // the client is asked for it now, whatever the origin would say
    let conn = ask.conn.clone();
    let content = async move {
        match read(upload, limit).await {
            Ok((front, None)) => {
                let whole = front.into_iter().fold(BytesMut::new(), joined);
                Ok(Content::Whole(whole.freeze()))
            }
            Ok((front, Some(rest))) => {
                Ok(Content::More(RequestBody::stream(Replay { front, rest }), too_large))
            }
            Err(_) => {
                conn.close_after_answer();
                if too_large.load(Ordering::Relaxed) {
                    return Err(ProxyError::TooLarge);
                }
                Err(conn.body_fault().map_or(BROKEN_OFF, ProxyError::from))
            }
        }
    };
    (received, content)
}

const BROKEN_OFF: ProxyError =
    ProxyError::BadRequest { status: 400, reason: "the request body broke off" };

fn joined(mut whole: BytesMut, frame: Frame<Bytes>) -> BytesMut {
    whole.extend(frame.into_data().ok());
    whole
}

/// At most `limit` bytes and a frame, and what there is beyond.
async fn read(
    mut upload: Upload,
    limit: u64,
) -> Result<(VecDeque<Frame<Bytes>>, Option<Upload>), BoxError> {
    let mut front = VecDeque::new();
    let mut len: u64 = 0;
    while let Some(frame) = upload.frame().await {
        let frame = frame?;
        let data = frame.data_ref().map_or(u64::MAX, |data| data.len() as u64);
        len = len.saturating_add(data);
        front.push_back(frame);
        if len > limit {
            return Ok((front, Some(upload)));
        }
    }
    Ok((front, None))
}

/// A body of which some has been read: that first, then the rest.
struct Replay {
    front: VecDeque<Frame<Bytes>>,
    rest: Upload,
}

impl Body for Replay {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.front.pop_front() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.front.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let data = self.front.iter().filter_map(Frame::data_ref);
        let read: u64 = data.map(|data| data.len() as u64).sum();
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(read));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(read));
        }
        hint
    }
}
