//! Listening sockets: one per shard and address, sharing the port.

use crate::config::ListenerConfig;
use rustix::net::SocketFlags;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};

/// A node could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Somebody else has the address.
    #[error(
        "listener `{name}` cannot use {bind}: another program listens there; stop it or choose another \
         address"
    )]
    Taken {
        /// Listener.
        name: String,
        /// Address.
        bind: SocketAddr,
    },
    /// The address cannot be used.
    #[error("listener `{name}` cannot use {bind}: {cause}")]
    Bind {
        /// Listener.
        name: String,
        /// Address.
        bind: SocketAddr,
        /// Why.
        cause: io::Error,
    },
    /// TLS or WSS without a certificate.
    #[error("listener `{0}` speaks TLS and has no certificate")]
    NoCertificate(String),
    /// A thread could not be started.
    #[error("a shard thread could not be started: {0}")]
    Thread(io::Error),
}

/// One socket per shard for a listener, and the address they have. On each of them the kernel keeps `backlog` connections for us
/// while we are busy: what comes beyond tries again after a second, or is ended by the kernel.
pub(crate) fn bind(
    config: &ListenerConfig,
    shards: u16,
    backlog: u32,
) -> Result<(SocketAddr, Vec<TcpListener>), StartError> {
    let failed = |cause: io::Error| match cause.kind() {
        io::ErrorKind::AddrInUse => StartError::Taken {
            name: config.name.to_string(),
            bind: config.bind,
        },
        _ => StartError::Bind {
            name: config.name.to_string(),
            bind: config.bind,
            cause,
        },
    };
    if config.bind.port() != 0 {
        // Shards share the port, and so could a stranger that also shares: ask for it alone first.
        open(config.bind, false, backlog).map_err(failed)?;
    }
    let first = open(config.bind, true, backlog).map_err(failed)?;
    let address = first.local_addr().map_err(failed)?;
    let mut sockets = vec![first];
    for _ in 1..shards {
        sockets.push(open(address, true, backlog).map_err(failed)?);
    }
    Ok((address, sockets))
}

/// The next connection that waits, in no reactor yet: half of them belong to another thread's.
pub(crate) fn take(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, peer) = rustix::net::acceptfrom_with(listener, flags)?;
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    let peer = peer.ok_or_else(|| io::Error::other("a peer without an address"))?;
    Ok((socket.into(), peer))
}

fn open(address: SocketAddr, is_shared: bool, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if is_shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?; // what is accepted from it inherits that
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    /// Linux keeps one more than it was asked for. Without an answer to its SYN a client tries again after a second.
    #[test]
    fn so_many_wait_to_be_taken_and_the_next_is_not_answered() {
        let backlog = 3;
        let listener = open((Ipv4Addr::LOCALHOST, 0).into(), true, backlog).unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(300));
        let kept: Vec<_> = (0..=backlog).map(|_| connect().unwrap()).collect();
        let beyond = connect().map(|_| ()).map_err(|error| error.kind());
        assert_eq!(beyond, Err(io::ErrorKind::TimedOut));
        take(&listener).unwrap();
        connect().unwrap();
        drop(kept);
    }
}
