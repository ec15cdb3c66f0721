//! Sockets to an origin, and opening them.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::error::{Unresolved, UpstreamError};
use crate::config::snapshot::{Address, Upstream};

/// A socket to the origin.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }

    pub(super) fn as_writer(&mut self) -> Pin<&mut (dyn AsyncWrite + Send + Unpin)> {
        match self {
            Self::Tcp(stream) => Pin::new(stream),
            Self::Unix(stream) => Pin::new(stream),
        }
    }

    pub(super) fn socket(&self) -> SockRef<'_> {
        match self {
            Self::Tcp(stream) => SockRef::from(stream),
            Self::Unix(stream) => SockRef::from(stream),
        }
    }
}

/// An address that does not answer gets at least this much of the whole, where there is so much.
const FAIR_SHARE: Duration = Duration::from_secs(1);

/// Connects within `connect_timeout`, name lookup included. A name's addresses are tried in
/// turn, each for its share of the time that is left.
pub(super) async fn connect(to: &Upstream) -> Result<Stream, UpstreamError> {
    let deadline = Instant::now() + to.connect_timeout;
    match &to.address {
        Address::Unix(path) => match timeout_at(deadline, UnixStream::connect(path)).await {
            Ok(connected) => connected.map(Stream::Unix).map_err(UpstreamError::Connect),
            Err(_) => Err(UpstreamError::ConnectTimeout),
        },
        Address::Tcp { host, port } => {
            let addresses: Vec<SocketAddr> =
                match timeout_at(deadline, lookup_host((host.as_str(), *port))).await {
                    Ok(Ok(addresses)) => addresses.collect(),
                    Ok(Err(error)) => {
                        let name = host.clone();
                        return Err(Unresolved { name, source: Some(error) }.into());
                    }
                    Err(_) => return Err(UpstreamError::ConnectTimeout),
                };
            let stream = first_of(host, &addresses, deadline).await?;
            // A request or its last piece must not wait for an acknowledgement (Nagle).
            stream.set_nodelay(true).map_err(UpstreamError::Connect)?;
            Ok(Stream::Tcp(stream))
        }
    }
}

async fn first_of(
    host: &str,
    addresses: &[SocketAddr],
    deadline: Instant,
) -> Result<TcpStream, UpstreamError> {
    let mut error = None;
    for (tried, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let to_try = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = (left / to_try).max(FAIR_SHARE).min(left);
        match timeout_at(Instant::now() + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(refused)) => error = Some(UpstreamError::Connect(refused)),
            Err(_) => error = Some(UpstreamError::ConnectTimeout),
        }
    }
    Err(error.unwrap_or_else(|| Unresolved { name: host.to_owned(), source: None }.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_refuses() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let closed = {
            let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            gone.local_addr().unwrap()
        };
        let deadline = Instant::now() + Duration::from_secs(5);
        let stream = first_of("app", &[closed, open], deadline).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
        let refused = first_of("app", &[closed], deadline).await.unwrap_err();
        assert_eq!(refused.proxy_error(), "connection_refused");
        let nothing = first_of("app", &[], deadline).await.unwrap_err();
        assert_eq!(nothing.proxy_error(), "dns_error");
    }
}
