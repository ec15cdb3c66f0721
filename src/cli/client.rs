//! How commands speak to the running Larder: its admin port over HTTP/1.1.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::snapshot::Secret;
use crate::config::value::{Listen, Raw, Setting};
use crate::config::{ConfigError, Flags, Mistake, Place};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_LIMIT: usize = 64 << 20;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there, or nobody answers.
    #[error(
        "no Larder answers at {address} ({reason}); name its admin port by --admin or LARDER_ADMIN__LISTEN"
    )]
    Connect {
        /// Where.
        address: SocketAddr,
        /// What happened.
        reason: String,
    },
    /// The exchange broke off.
    #[error("{address} gave no whole answer: {reason}")]
    Exchange {
        /// Where.
        address: SocketAddr,
        /// What happened.
        reason: String,
    },
}

/// An answer of the admin port.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// The body as text.
    pub body: String,
}

impl Answer {
    /// What a problem document (RFC 9457) says, or the body.
    pub fn reason(&self) -> String {
        let problem = serde_json::from_str::<serde_json::Value>(&self.body).ok();
        let said = |key: &str| problem.as_ref()?.get(key)?.as_str().map(ToOwned::to_owned);
        said("detail").or_else(|| said("title")).unwrap_or_else(|| self.body.trim_end().to_owned())
    }
}

/// Where the running Larder's proxy is: by `--listen`, `LARDER_LISTEN` or the default.
///
/// # Errors
/// What is given is no address.
pub fn proxy_of_process(flags: &Flags) -> Result<SocketAddr, ConfigError> {
    address(flags.listen.as_ref(), "--listen", "LARDER_LISTEN", 8080).map(to_connect)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn refuse(place: Place, what: String) -> ConfigError {
    ConfigError::one(Mistake::new(place, what))
}

/// What a flag or the environment says, or this machine's `port`.
fn address(
    flag: Option<&String>,
    name: &'static str,
    environment: &str,
    port: u16,
) -> Result<SocketAddr, ConfigError> {
    let (given, place) = match (flag, variable(environment)) {
        (Some(flag), _) => (flag.clone(), Place::Flag(name)),
        (None, Some(listen)) => (listen, Place::Environment(environment.to_owned())),
        (None, None) => return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
    };
    Ok(Listen::read(&Raw::Text(&given)).map_err(|what| refuse(place, what))?.0)
}

/// "Every address" is where one listens, not where one connects.
fn to_connect(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Knows where the running Larder is and what lets one in.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    token: Option<Secret>,
}

impl Client {
    /// By `--admin`, `LARDER_ADMIN__LISTEN` or the default; with `LARDER_ADMIN__TOKEN` or
    /// `LARDER_ADMIN__TOKEN_FILE`.
    pub fn of_process(flags: &Flags) -> Result<Self, ConfigError> {
        let address = address(flags.admin.as_ref(), "--admin", "LARDER_ADMIN__LISTEN", 9180)?;
        let (token, name) = match variable("LARDER_ADMIN__TOKEN_FILE") {
            Some(file) if variable("LARDER_ADMIN__TOKEN").is_none() => {
                let place = Place::Environment("LARDER_ADMIN__TOKEN_FILE".to_owned());
                let text = std::fs::read_to_string(&file)
                    .map_err(|error| refuse(place, format!("{file}: {error}")))?;
                (Some(text), "LARDER_ADMIN__TOKEN_FILE")
            }
            _ => (variable("LARDER_ADMIN__TOKEN"), "LARDER_ADMIN__TOKEN"),
        };
        let token = token
            .map(|token| Secret::read(&Raw::Text(&token)))
            .transpose()
            .map_err(|what| refuse(Place::Environment(name.to_owned()), what))?;
        Ok(Self::new(address, token))
    }

    /// The Larder whose admin port listens at `address`.
    pub fn new(address: SocketAddr, token: Option<Secret>) -> Self {
        Self { address: to_connect(address), token }
    }

    /// Where it asks.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it has a token to show.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// GET.
    pub fn get(&self, path: &str) -> Result<Answer, ClientError> {
        self.ask(Method::GET, path, Bytes::new())
    }

    /// POST of a JSON document.
    pub fn post(&self, path: &str, document: &serde_json::Value) -> Result<Answer, ClientError> {
        self.ask(Method::POST, path, document.to_string().into())
    }

    fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, ClientError> {
        let failed = |reason: String| ClientError::Exchange { address: self.address, reason };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| failed(error.to_string()))?;
        runtime.block_on(async {
            let stream = self.connect().await?;
            match timeout(ANSWER_TIMEOUT, self.exchange(stream, method, path, body)).await {
                Ok(answer) => answer.map_err(|error| failed(error.to_string())),
                Err(_) => Err(failed(format!("none within {ANSWER_TIMEOUT:?}"))),
            }
        })
    }

    async fn connect(&self) -> Result<TcpStream, ClientError> {
        let failed = |reason: String| ClientError::Connect { address: self.address, reason };
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(self.address)).await {
            Ok(stream) => stream.map_err(|error| failed(error.to_string())),
            Err(_) => Err(failed(format!("no connection within {CONNECT_TIMEOUT:?}"))),
        }
    }

    async fn exchange(
        &self,
        stream: TcpStream,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(HOST, self.address.to_string());
        if let Some(token) = &self.token {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.reveal()))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let response = sender.send_request(request.body(Full::new(body))?).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await?.to_bytes();
        connection.abort();
        Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    #[test]
    fn an_answer_comes_with_status_and_body_and_the_token_is_shown() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"{\"all\":true}") {
                let mut chunk = [0; 1024];
                let n = stream.read(&mut chunk).unwrap();
                assert!(n > 0, "the request ended early: {}", String::from_utf8_lossy(&asked));
                asked.extend_from_slice(&chunk[..n]);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
            String::from_utf8(asked).unwrap().to_lowercase()
        });
        let client = Client::new(address, Some(Secret::new("hunter2")));
        let answer = client.post("/api/purge", &serde_json::json!({ "all": true })).unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
        let asked = server.join().unwrap();
        assert!(asked.starts_with("post /api/purge http/1.1\r\n"), "{asked}");
        assert!(asked.contains("authorization: bearer hunter2\r\n"), "{asked}");
        assert!(asked.contains("content-type: application/json\r\n"), "{asked}");
    }

    #[test]
    fn nobody_there_says_where_and_what_to_do() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = Client::new(address, None).get("/readyz").unwrap_err().to_string();
        assert!(error.starts_with(&format!("no Larder answers at {address}")), "{error}");
        assert!(error.contains("--admin"), "{error}");
    }

    #[test]
    fn every_address_is_asked_on_this_machine() {
        let address = |text: &str| Client::new(text.parse().unwrap(), None).address().to_string();
        assert_eq!(address("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(address("[::]:1"), "[::1]:1");
        assert_eq!(address("10.0.0.1:1"), "10.0.0.1:1");
    }
}
