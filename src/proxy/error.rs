//! What Larder answers itself when there is nothing else to send. The only place where errors of
//! other rooms become status codes (DESIGN D11).

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};

use crate::proxy::conn::Fault;
use crate::semantics::request;
use crate::upstream::UpstreamError;

/// Why Larder answers a request itself. Nothing of the request is echoed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The request is malformed.
    #[error("{reason}")]
    BadRequest {
        /// The status that fits best.
        status: u16,
        /// What is wrong.
        reason: &'static str,
    },
    /// The request has come through this very process already.
    #[error("the request has passed this proxy before")]
    Loop,
    /// The method is never forwarded.
    #[error("the method is not supported")]
    Method,
    /// The request's body is larger than `limits.body_size`.
    #[error("the request body is larger than this proxy takes")]
    TooLarge,
    /// A purge was taken in, but may not last (PURGE).
    #[error("the purge could not be recorded")]
    NotPurged,
    /// `only-if-cached`, and it is not (RFC 9111 §5.2.1.7).
    #[error("not in the cache")]
    NotCached,
    /// The origin gave nothing that can be sent.
    #[error("{reason}")]
    Upstream {
        /// The status that fits best.
        status: u16,
        /// What went wrong.
        reason: &'static str,
        /// The error type of RFC 9209.
        proxy_error: &'static str,
        /// The origin could not be reached: a stale answer may do.
        unreachable: bool,
    },
}

impl From<Fault> for ProxyError {
    fn from(fault: Fault) -> Self {
        Self::BadRequest { status: fault.status(), reason: fault.reason() }
    }
}

impl From<request::BadRequest> for ProxyError {
    fn from(bad: request::BadRequest) -> Self {
        match bad.status() {
            405 => Self::Method,
            status => Self::BadRequest { status, reason: bad.as_str() },
        }
    }
}

impl From<&UpstreamError> for ProxyError {
    fn from(error: &UpstreamError) -> Self {
        let reason = match error {
            UpstreamError::Connect(_) => "no connection to the origin",
            UpstreamError::ConnectTimeout => "no connection to the origin in time",
            UpstreamError::FirstByteTimeout => "the origin began no answer in time",
            UpstreamError::BetweenBytesTimeout => "the origin's answer paused for too long",
            UpstreamError::Closed => "the origin closed the connection before its answer's end",
            UpstreamError::Malformed(_) => "the origin's answer is malformed",
            UpstreamError::Saturated => "all connections to the origin are busy",
            UpstreamError::RequestBody(_) => "the request body broke off",
        };
        Self::Upstream {
            status: error.status(),
            reason,
            proxy_error: error.proxy_error(),
            unreachable: error.unreachable(),
        }
    }
}

static PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

impl ProxyError {
    /// The status code of the answer.
    pub fn status(self) -> StatusCode {
        let code = match self {
            Self::BadRequest { status, .. } | Self::Upstream { status, .. } => status,
            Self::Loop => 508,
            Self::Method => 405,
            Self::TooLarge => 413,
            Self::NotPurged => 500,
            Self::NotCached => 504,
        };
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The request itself may have made the origin fail: it broke off at once, or answered no HTTP.
    pub fn may_be_provoked(self) -> bool {
        let Self::Upstream { proxy_error, .. } = self else { return false };
        matches!(proxy_error, "http_response_incomplete" | "http_protocol_error")
    }

    /// A word for Cache-Status and the access log.
    pub fn detail(self) -> &'static str {
        match self {
            Self::BadRequest { .. } => "bad-request",
            Self::Loop => "loop",
            Self::Method => "method",
            Self::TooLarge => "body-too-large",
            Self::NotPurged => "not-purged",
            Self::NotCached => "only-if-cached",
            Self::Upstream { proxy_error, .. } => proxy_error,
        }
    }

    /// The answer: a problem document (RFC 9457) with Proxy-Status (RFC 9209). Never stored by
    /// anybody.
    pub fn response(self) -> Response<bytes::Bytes> {
        let status = self.status();
        let title = status.canonical_reason().unwrap_or("Error");
        let body = format!(
            "{{\"type\":\"about:blank\",\"title\":\"{title}\",\"status\":{},\"detail\":\"{self}\"}}\n",
            status.as_u16()
        );
        let mut response = Response::new(body.into());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(self.proxy_status())) {
            headers.insert(PROXY_STATUS.clone(), value);
        }
        match self {
            Self::Upstream { .. } if status == StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Self::Method => {
                let value =
                    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
                headers.insert(ALLOW, value);
            }
            _ => {}
        }
        response
    }

    fn proxy_status(self) -> String {
        let error = match self {
            Self::BadRequest { .. } | Self::Method | Self::TooLarge => "http_request_error",
            Self::Loop => "proxy_loop_detected",
            Self::NotPurged => "proxy_internal_error",
            Self::Upstream { proxy_error, .. } => proxy_error,
            // The client asked for this answer: nothing went wrong.
            Self::NotCached => return format!("larder; details=\"{self}\""),
        };
        format!("larder; error={error}; details=\"{self}\"")
    }
}
