//! One listening socket a worker, all on one address (SO_REUSEPORT).
//!
//! The kernel spreads new connections over them. Two processes of one user may share such an
//! address in silence (PITFALLS 38), so a probe without SO_REUSEPORT comes first.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait in a socket's queue at most (the kernel's `somaxconn` bounds it, too).
const BACKLOG: i32 = 4096;

/// Why the proxy could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Somebody else listens there.
    #[error("{addr} is already in use: is another Larder (or another server) running there?")]
    AddressInUse {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// A worker's thread or runtime could not be made.
    #[error("cannot start worker {worker}")]
    Worker {
        /// Its number.
        worker: usize,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Listening sockets, one a worker.
#[derive(Debug)]
pub struct Listeners {
    addr: SocketAddr,
    sockets: Vec<TcpListener>,
}

impl Listeners {
    /// Listens on `addr` with one socket for each of `workers` (at least one). Port 0 takes one
    /// free port for all of them.
    pub fn bind(addr: SocketAddr, workers: usize) -> Result<Self, ServerError> {
        let failed = |source: io::Error| {
            if source.kind() == io::ErrorKind::AddrInUse {
                ServerError::AddressInUse { addr }
            } else {
                ServerError::Listen { addr, source }
            }
        };
        // The probe stays bound, but does not listen, until the others do: nobody else can slip
        // in between, and SO_REUSEADDR on both sides lets ours pass.
        let probe = bound(addr, false).map_err(failed)?;
        let addr = local_addr(&probe).map_err(failed)?;
        let mut sockets = Vec::with_capacity(workers.max(1));
        for _ in 0..workers.max(1) {
            let socket = bound(addr, true).map_err(failed)?;
            socket.listen(BACKLOG).map_err(failed)?;
            sockets.push(TcpListener::from(socket));
        }
        Ok(Self { addr, sockets })
    }

    /// Where they listen, with the port that was taken for port 0.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The sockets, non-blocking.
    pub(super) fn into_sockets(self) -> Vec<TcpListener> {
        self.sockets
    }
}

fn bound(addr: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // Else a restart fails for as long as old connections are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        // Accepted sockets inherit it on Linux: one system call less a connection.
        socket.set_tcp_nodelay(true)?;
    }
    socket.bind(&addr.into())?;
    Ok(socket)
}

fn local_addr(socket: &Socket) -> io::Result<SocketAddr> {
    let addr = socket.local_addr()?.as_socket();
    addr.ok_or_else(|| io::Error::other("the socket has no internet address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn a_second_bind_of_the_same_address_is_refused() {
        let first = Listeners::bind(ANY, 4).unwrap();
        assert_ne!(first.addr().port(), 0);
        assert_eq!(first.sockets.len(), 4);
        for socket in &first.sockets {
            assert_eq!(socket.local_addr().unwrap(), first.addr());
        }
        let second = Listeners::bind(first.addr(), 4);
        assert!(matches!(second, Err(ServerError::AddressInUse { addr }) if addr == first.addr()));
        let addr = first.addr();
        drop(first);
        Listeners::bind(addr, 2).unwrap();
    }

    /// What a restart meets: connections that this side has closed first (TIME_WAIT).
    #[test]
    fn an_address_is_free_again_as_soon_as_nobody_listens() {
        let first = Listeners::bind(ANY, 1).unwrap();
        let addr = first.addr();
        let mut client = std::net::TcpStream::connect(addr).unwrap();
        let accepted = loop {
            match first.sockets[0].accept() {
                Ok((stream, _)) => break stream,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        };
        drop((accepted, first));
        assert_eq!(io::Read::read(&mut client, &mut [0]).unwrap(), 0);
        drop(client);
        let plain = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let taken = plain.bind(&addr.into()).map_err(|error| error.kind());
        assert_eq!(taken, Err(io::ErrorKind::AddrInUse), "the connection is remembered");
        Listeners::bind(addr, 4).unwrap();
    }

    #[test]
    fn an_address_of_another_machine_is_told_as_such() {
        let elsewhere: SocketAddr = "203.0.113.7:0".parse().unwrap();
        assert!(matches!(Listeners::bind(elsewhere, 1), Err(ServerError::Listen { .. })));
    }
}
