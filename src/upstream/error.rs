//! Why an exchange with the origin failed.

use std::io;

use crate::observe::metrics::UpstreamErrorKind;

/// Any error of a body that somebody else gives us.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why an exchange with the origin failed.
///
/// [`Pool::send`](super::Pool::send) and [`ResponseBody`](super::ResponseBody) have counted it
/// already when they give it out.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection: refused, unroutable, no such socket, no address for the name.
    #[error("no connection to the origin")]
    Connect(#[source] io::Error),
    /// No connection within `connect_timeout`.
    #[error("no connection to the origin in time")]
    ConnectTimeout,
    /// No head within `first_byte_timeout` of the request's end.
    #[error("the origin began no answer in time")]
    FirstByteTimeout,
    /// No more of the body within `between_bytes_timeout`.
    #[error("the origin's answer paused for too long")]
    BetweenBytesTimeout,
    /// The connection was closed or reset before the answer's end.
    #[error("the origin closed the connection before the end of its answer")]
    Closed,
    /// What came is no valid HTTP/1.1 message (RFC 9112); the text says what is wrong.
    #[error("the origin's answer is malformed: {0}")]
    Malformed(&'static str),
    /// All `max_connections` stayed busy for as long as a request waits for one.
    #[error("all connections to the origin are busy")]
    Saturated,
    /// The request's own body broke off; the source is the body's error.
    #[error("the request's body broke off")]
    RequestBody(#[source] BoxError),
}

impl UpstreamError {
    /// The label it is counted by; `None` where the client is at fault.
    pub fn kind(&self) -> Option<UpstreamErrorKind> {
        Some(match self {
            Self::Connect(_) => UpstreamErrorKind::Connect,
            Self::ConnectTimeout => UpstreamErrorKind::ConnectTimeout,
            Self::FirstByteTimeout => UpstreamErrorKind::FirstByteTimeout,
            Self::BetweenBytesTimeout => UpstreamErrorKind::BetweenBytesTimeout,
            Self::Closed => UpstreamErrorKind::Closed,
            Self::Malformed(_) => UpstreamErrorKind::Malformed,
            Self::Saturated => UpstreamErrorKind::Saturated,
            Self::RequestBody(_) => return None,
        })
    }

    /// Could the origin not be reached (RFC 9111 §4.2.4: "disconnected")? Then a stale response
    /// may be used. A malformed answer was an answer; a client's fault says nothing.
    pub fn unreachable(&self) -> bool {
        !matches!(self, Self::Malformed(_) | Self::RequestBody(_))
    }

    /// The status code that tells the client.
    pub fn status(&self) -> u16 {
        match self {
            Self::Connect(_) | Self::Closed | Self::Malformed(_) => 502,
            Self::ConnectTimeout | Self::FirstByteTimeout | Self::BetweenBytesTimeout => 504,
            Self::Saturated => 503,
            Self::RequestBody(_) => 400,
        }
    }

    /// The error type for Proxy-Status (RFC 9209 §2.3).
    pub fn proxy_error(&self) -> &'static str {
        match self {
            Self::Connect(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => "connection_refused",
                io::ErrorKind::ConnectionReset => "connection_terminated",
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                    "destination_ip_unroutable"
                }
                _ if error
                    .get_ref()
                    .is_some_and(<dyn std::error::Error + Send + Sync>::is::<Unresolved>) =>
                {
                    "dns_error"
                }
                _ => "destination_unavailable",
            },
            Self::ConnectTimeout => "connection_timeout",
            Self::FirstByteTimeout => "http_response_timeout",
            Self::BetweenBytesTimeout => "connection_read_timeout",
            Self::Closed => "http_response_incomplete",
            Self::Malformed(_) => "http_protocol_error",
            Self::Saturated => "connection_limit_reached",
            Self::RequestBody(_) => "http_request_error",
        }
    }
}

/// The origin's name has no address.
#[derive(Debug, thiserror::Error)]
#[error("the name {name:?} does not resolve{}", .source.as_ref().map(|e| format!(": {e}")).unwrap_or_default())]
pub(super) struct Unresolved {
    pub(super) name: String,
    pub(super) source: Option<io::Error>,
}

impl From<Unresolved> for UpstreamError {
    fn from(error: Unresolved) -> Self {
        Self::Connect(io::Error::new(io::ErrorKind::NotFound, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_answer() {
        let unresolved = Unresolved { name: "nowhere".into(), source: None };
        let cases: [(UpstreamError, u16, &str, bool); 9] = [
            (
                UpstreamError::Connect(io::ErrorKind::ConnectionRefused.into()),
                502,
                "connection_refused",
                true,
            ),
            (unresolved.into(), 502, "dns_error", true),
            (UpstreamError::ConnectTimeout, 504, "connection_timeout", true),
            (UpstreamError::FirstByteTimeout, 504, "http_response_timeout", true),
            (UpstreamError::BetweenBytesTimeout, 504, "connection_read_timeout", true),
            (UpstreamError::Closed, 502, "http_response_incomplete", true),
            (UpstreamError::Malformed("x"), 502, "http_protocol_error", false),
            (UpstreamError::Saturated, 503, "connection_limit_reached", true),
            (UpstreamError::RequestBody("gone".into()), 400, "http_request_error", false),
        ];
        for (error, status, proxy_error, unreachable) in cases {
            assert_eq!(error.status(), status, "{error}");
            assert_eq!(error.proxy_error(), proxy_error, "{error}");
            assert_eq!(error.unreachable(), unreachable, "{error}");
        }
    }
}
