//! A request on its way to the origin: its body, its framing, and whether it may be sent again.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request, Uri, Version};
use http_body::{Body, Frame, SizeHint};

use super::error::BoxError;
use super::io::{Sent, Wire};
use crate::config::snapshot::Upstream;

/// The body of a request to the origin.
#[derive(Default)]
pub enum RequestBody {
    /// None.
    #[default]
    Empty,
    /// All of it, at hand: such a request can be repeated.
    Full(Bytes),
    /// As it comes from the client: can be sent once.
    Stream(Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>),
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Full(bytes) => write!(f, "Full({} bytes)", bytes.len()),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl RequestBody {
    /// Wraps a body that comes piece by piece.
    pub fn stream<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self::Stream(Box::pin(http_body_util::BodyExt::map_err(body, Into::into)))
    }

    /// The same body again; `None` for a stream.
    pub(super) fn again(&self) -> Option<Self> {
        match self {
            Self::Empty => Some(Self::Empty),
            Self::Full(bytes) => Some(Self::Full(bytes.clone())),
            Self::Stream(_) => None,
        }
    }
}

/// Makes the head fit the body and the origin: origin-form, HTTP/1.1, the configured Host, and
/// framing fields that follow from the body alone, never from what a client wrote in them.
pub(super) fn prepare(request: &mut Request<RequestBody>, to: &Upstream) {
    *request.version_mut() = Version::HTTP_11;
    if request.uri().authority().is_some() {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    }
    if let Some(host) = &to.host {
        request.headers_mut().insert(HOST, host.clone());
    }
    let (head, body) = (request.method().clone(), request.body());
    let length = match body {
        RequestBody::Empty => Some(0),
        RequestBody::Full(bytes) => Some(bytes.len() as u64),
        RequestBody::Stream(body) => {
            body.size_hint().exact().or_else(|| declared_length(request.headers()))
        }
    };
    let bodiless = length == Some(0) && !matches!(head, Method::POST | Method::PUT | Method::PATCH);
    let headers = request.headers_mut();
    headers.remove(TRANSFER_ENCODING);
    headers.remove(CONTENT_LENGTH);
    match length {
        Some(_) if bodiless => {}
        Some(length) => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        // Said aloud: hyper would send no body at all with a GET of unknown length.
        None => {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
}

/// The one valid Content-Length, if there is exactly one field and no Transfer-Encoding.
fn declared_length(headers: &HeaderMap) -> Option<u64> {
    let mut fields = headers.get_all(CONTENT_LENGTH).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return None };
    let text = field.to_str().ok()?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits && !headers.contains_key(TRANSFER_ENCODING)).then(|| text.parse().ok()).flatten()
}

/// A second copy, for the case that a pooled connection turns out closed; `None` where the
/// request may not be sent twice (RFC 9110 §9.2.2: idempotent methods only; a stream is gone).
pub(super) fn spare(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let body = request.body().again()?;
    let mut copy = Request::new(body);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy.extensions_mut().clone_from(request.extensions());
    Some(copy)
}

/// The body as hyper pulls it: tells the connection's [`Wire`] how far the request has come.
pub(super) struct Outgoing {
    body: RequestBody,
    /// Bytes that the framing still lets through; `None`: chunked.
    left: Option<u64>,
    wire: Arc<Wire>,
}

impl Outgoing {
    pub(super) fn new(body: RequestBody, headers: &HeaderMap, wire: Arc<Wire>) -> Self {
        let left = match &body {
            RequestBody::Stream(_) => declared_length(headers)
                .or_else(|| (!headers.contains_key(TRANSFER_ENCODING)).then_some(0)),
            RequestBody::Full(bytes) => Some(bytes.len() as u64),
            RequestBody::Empty => Some(0),
        };
        let outgoing = Self { body, left, wire };
        outgoing.wire.sent(if outgoing.is_end_stream() { Sent::All } else { Sent::Some });
        outgoing
    }

    pub(super) fn into_body(self) -> RequestBody {
        self.body
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let polled = match &mut this.body {
            RequestBody::Empty => Poll::Ready(None),
            RequestBody::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                this.body = RequestBody::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            RequestBody::Stream(body) => body.as_mut().poll_frame(cx),
        };
        match polled {
            Poll::Pending => {
                this.wire.sent(Sent::AwaitingClient);
                Poll::Pending
            }
            Poll::Ready(None) => {
                if this.left.is_some_and(|left| left > 0) {
                    this.wire.request_failed("it is shorter than its Content-Length".into());
                    return Poll::Ready(Some(Err("the request's body is too short".into())));
                }
                this.wire.sent(Sent::All);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(left), Some(data)) = (&mut this.left, frame.data_ref()) {
                    *left = left.saturating_sub(data.len() as u64);
                }
                // hyper does not poll again once the length is reached or after trailers.
                let last = frame.is_trailers() || this.is_end_stream();
                this.wire.sent(if last { Sent::All } else { Sent::Some });
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.wire.request_failed(error);
                Poll::Ready(Some(Err("the request's body broke off".into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
            || match &self.body {
                RequestBody::Empty => true,
                RequestBody::Full(bytes) => bytes.is_empty(),
                RequestBody::Stream(body) => body.is_end_stream(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::{Full, StreamBody};

    use super::*;
    use crate::config::snapshot::Address;

    fn upstream(host: Option<&'static str>) -> Upstream {
        Upstream {
            name: "default".into(),
            url: "http://127.0.0.1:1".into(),
            address: Address::Tcp { host: "127.0.0.1".into(), port: 1 },
            host: host.map(HeaderValue::from_static),
            max_connections: 1,
            connect_timeout: Duration::from_secs(1),
            first_byte_timeout: Duration::from_secs(1),
            between_bytes_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(1),
        }
    }

    fn prepared(method: Method, lies: bool, body: RequestBody) -> HeaderMap {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        if lies {
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("77"));
            request.headers_mut().append(CONTENT_LENGTH, HeaderValue::from_static("5"));
        }
        prepare(&mut request, &upstream(None));
        request.into_parts().0.headers
    }

    fn unknown_length() -> RequestBody {
        struct Never;
        impl futures_core::Stream for Never {
            type Item = Result<Frame<Bytes>, BoxError>;
            fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
                Poll::Pending
            }
        }
        RequestBody::stream(StreamBody::new(Never))
    }

    #[test]
    fn framing_follows_from_the_body_alone() {
        let bytes = || Bytes::from_static(b"12345");
        let length = |headers: &HeaderMap| {
            headers.get(CONTENT_LENGTH).map(|value| value.to_str().unwrap().to_owned())
        };
        for lies in [false, true] {
            let none = prepared(Method::GET, lies, RequestBody::Empty);
            assert_eq!((length(&none), none.get(TRANSFER_ENCODING)), (None, None));
            let zero = prepared(Method::POST, lies, RequestBody::Empty);
            assert_eq!(length(&zero).as_deref(), Some("0"));
            let full = prepared(Method::PUT, lies, RequestBody::Full(bytes()));
            assert_eq!(length(&full).as_deref(), Some("5"));
            let sized = prepared(Method::GET, lies, RequestBody::stream(Full::new(bytes())));
            assert_eq!(length(&sized).as_deref(), Some("5"));
            let chunked = prepared(Method::GET, lies, unknown_length());
            assert_eq!(length(&chunked), None);
            assert_eq!(chunked.get(TRANSFER_ENCODING).unwrap(), "chunked");
        }
    }

    #[test]
    fn only_what_can_be_sent_again_has_a_spare() {
        assert!(spare(&Request::new(RequestBody::Empty)).is_some());
        assert!(spare(&Request::new(RequestBody::Full(Bytes::from_static(b"x")))).is_some());
        assert!(spare(&Request::new(unknown_length())).is_none());
    }

    #[test]
    fn the_target_is_origin_form_and_the_host_as_configured() {
        let mut request = Request::new(RequestBody::Empty);
        *request.uri_mut() = Uri::from_static("http://elsewhere:99/a?b");
        request.headers_mut().insert(HOST, HeaderValue::from_static("shop"));
        prepare(&mut request, &upstream(None));
        assert_eq!(
            (request.uri().to_string().as_str(), &request.headers()[HOST]),
            ("/a?b", &HeaderValue::from_static("shop"))
        );
        prepare(&mut request, &upstream(Some("app.internal")));
        assert_eq!(request.headers()[HOST], "app.internal");
        *request.uri_mut() = Uri::from_static("*");
        prepare(&mut request, &upstream(None));
        assert_eq!(request.uri().to_string(), "*");
    }
}
