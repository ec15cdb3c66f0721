//! One request after the other through the running Larder, on connections that are kept.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::source::MOST_BYTES;
use crate::cli::url::Url;

static PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is stored now.
    Stored,
    /// It was stored and fresh already, or has been validated.
    Held,
    /// It came, and is not kept: for this reason, if one was told.
    Passed(Option<String>),
    /// No answer, or an error.
    Failed(String),
}

/// Where and how it is asked.
pub(super) struct Fetcher {
    via: SocketAddr,
    fields: HeaderMap,
    limit: Duration,
    idle: Mutex<Vec<Connection>>,
}

type Connection = SendRequest<Empty<Bytes>>;

impl Fetcher {
    pub(super) fn new(via: SocketAddr, fields: HeaderMap, limit: Duration) -> Self {
        Self { via, fields, limit, idle: Mutex::default() }
    }

    /// Fetches `url`, with `more` header fields, and leaves its content alone.
    pub(super) async fn fetch(&self, url: &Url, more: &HeaderMap) -> Outcome {
        let exchange = async {
            let (connection, response) = self.send(url, more).await?;
            let status = response.status();
            let told = status_of(response.headers());
            drain(response.into_body()).await?;
            self.idle.lock().push(connection);
            Ok(if status.is_client_error() || status.is_server_error() {
                Outcome::Failed(status.to_string())
            } else {
                told
            })
        };
        match timeout(self.limit, exchange).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(Broken(why))) => Outcome::Failed(why),
            Err(_) => Outcome::Failed(format!("no whole answer within {:?}", self.limit)),
        }
    }

    /// The content of `url`, of a sitemap for example.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn content(&self, url: &Url) -> Result<Bytes, String> {
        let exchange = async {
            let (connection, response) = self.send(url, &HeaderMap::new()).await?;
            let status = response.status();
            let limited = http_body_util::Limited::new(response.into_body(), MOST_BYTES as usize);
            let body = limited.collect().await.map_err(|error| Broken(error.to_string()))?;
            self.idle.lock().push(connection);
            if status.is_success() { Ok(body.to_bytes()) } else { Err(Broken(status.to_string())) }
        };
        match timeout(self.limit, exchange).await {
            Ok(content) => content.map_err(|Broken(why)| why),
            Err(_) => Err(format!("no whole answer within {:?}", self.limit)),
        }
    }

    async fn send(
        &self,
        url: &Url,
        more: &HeaderMap,
    ) -> Result<(Connection, Response<Incoming>), Broken> {
        loop {
            let kept = self.idle.lock().pop();
            let is_kept = kept.is_some();
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            let sent = async {
                connection.ready().await?;
                connection.send_request(self.request(url, more)?).await.map_err(Broken::from)
            };
            match sent.await {
                Ok(response) => return Ok((connection, response)),
                Err(_) if is_kept => {} // closed while it was idle
                Err(broken) => return Err(broken),
            }
        }
    }

    async fn connect(&self) -> Result<Connection, Broken> {
        let stream = TcpStream::connect(self.via)
            .await
            .map_err(|error| Broken(format!("no Larder listens at {}: {error}", self.via)))?;
        stream.set_nodelay(true).map_err(|error| Broken(error.to_string()))?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection); // it ends with its sender; what goes wrong is told there
        Ok(sender)
    }

    fn request(&self, url: &Url, more: &HeaderMap) -> Result<Request<Empty<Bytes>>, Broken> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = url.target.parse().map_err(Broken::of)?;
        let fields = request.headers_mut();
        *fields = self.fields.clone();
        fields.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
        fields.remove(CONTENT_LENGTH);
        let host = HeaderValue::from_str(&url.authority).map_err(Broken::of)?;
        fields.entry(HOST).or_insert(host);
        if url.https {
            fields.insert(PROTO.clone(), HeaderValue::from_static("https"));
        }
        Ok(request)
    }
}

async fn drain(mut body: Incoming) -> Result<(), Broken> {
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(())
}

/// What Cache-Status says of it.
fn status_of(fields: &HeaderMap) -> Outcome {
    let mut lines = fields.get_all(&CACHE_STATUS).iter().filter_map(|line| line.to_str().ok());
    let Some(ours) = lines.next_back() else { return Outcome::Passed(None) };
    let said = |what: &str| ours.split(';').skip(1).any(|part| part.trim() == what);
    if said("stored") {
        return Outcome::Stored;
    }
    if said("hit") || said("fwd-status=304") {
        return Outcome::Held;
    }
    let detail = ours.split(';').find_map(|part| part.trim().strip_prefix("detail="));
    Outcome::Passed(detail.map(|detail| detail.trim_matches('"').to_owned()))
}

/// Why an exchange broke off.
struct Broken(String);

impl Broken {
    fn of(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}

impl From<hyper::Error> for Broken {
    fn from(error: hyper::Error) -> Self {
        Self(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cache_status_tells() {
        for (line, want) in [
            ("larder; fwd=uri-miss; stored; ttl=5", Outcome::Stored),
            ("larder; hit; ttl=5", Outcome::Held),
            ("larder; fwd=stale; fwd-status=304; ttl=5", Outcome::Held),
            ("larder; fwd=uri-miss; detail=private", Outcome::Passed(Some("private".into()))),
            ("larder; fwd=method", Outcome::Passed(None)),
        ] {
            let mut fields = HeaderMap::new();
            fields.insert(&CACHE_STATUS, HeaderValue::from_static(line));
            assert_eq!(status_of(&fields), want, "{line}");
        }
        assert_eq!(status_of(&HeaderMap::new()), Outcome::Passed(None));
    }
}
