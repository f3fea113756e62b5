//! From an accepted socket to a CONNECT in the right hands: TLS, WebSocket, first packet, hand-over.

use crate::admission::{Admission, NetCounters};
use crate::certificate;
use crate::config::ListenerConfig;
use crate::connection::{Arrival, serve};
use crate::driver::Core;
use crate::node::{HandedIn, Intake};
use crate::socket::Socket;
use crate::stream::Stream;
use crate::ws::{self, WsStream};
use bytes::BytesMut;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use witmq_broker::ports::Transport;
use witmq_broker::ports::hooks::Certificate;
use witmq_broker::shard::{Link, shard_of};
use witmq_proto::codec;
use witmq_proto::packet::Connect;

/// Bytes read at first: a CONNECT is small.
const FIRST_BYTES: usize = 512;

/// Where connections of this thread go.
pub(crate) struct Doors {
    pub(crate) core: Rc<Core>,
    pub(crate) intakes: Vec<Sender<Intake>>,
}

/// Brings an accepted socket to its shard: at once where its CONNECT is there already.
pub(crate) fn accept(
    doors: &Rc<Doors>,
    socket: TcpStream,
    peer: SocketAddr,
    listener: &Arc<ListenerConfig>,
    admission: Admission,
) {
    let link = Link {
        peer,
        listener: listener.name.clone(),
        transport: listener.transport,
        certificate: None,
    };
    let mut input = BytesMut::new();
    if listener.transport == Transport::Tcp {
        let Ok(first) = read_first(&socket) else {
            return; // it is gone again
        };
        let limits = doors.core.shard.borrow().codec_limits();
        let mut rest = first.clone();
        if let Ok(Some(connect)) = codec::decode_connect(&mut rest, &limits) {
            let arrival = Arrival {
                stream: Stream::Tcp(Socket::Detached(socket)),
                connect,
                input: rest,
                link,
                admission,
            };
            return hand_over(doors, arrival);
        }
        input = first;
    }
    let (doors, listener) = (doors.clone(), listener.clone());
    tokio::task::spawn_local(receive(doors, socket, input, link, listener, admission));
}

/// What a new connection has sent already.
fn read_first(mut socket: &TcpStream) -> io::Result<BytesMut> {
    let mut first = [0; FIRST_BYTES];
    match socket.read(&mut first) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(count) => Ok(BytesMut::from(first.get(..count).unwrap_or_default())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(BytesMut::new()),
        Err(error) => Err(error),
    }
}

/// Waits for the CONNECT of an accepted socket.
async fn receive(
    doors: Rc<Doors>,
    socket: TcpStream,
    input: BytesMut,
    mut link: Link,
    listener: Arc<ListenerConfig>,
    admission: Admission,
) {
    let core = &doors.core;
    let within = timeout(core.config.connect_timeout, async {
        match establish(core, socket, &listener).await {
            Ok((stream, certificate)) => {
                link.certificate = certificate.map(Arc::new);
                read_connect(core, stream, input, &link).await
            }
            Err(error) => {
                NetCounters::count(&core.counters.handshake_failed);
                tracing::debug!(peer = %link.peer, listener = &*listener.name, %error, "handshake failed");
                None
            }
        }
    });
    let opened = within.await;
    finish(&doors, opened, link, admission);
}

/// Brings a socket that was upgraded elsewhere to its shard.
pub(crate) async fn take_handed_in(doors: Rc<Doors>, handed: HandedIn) {
    let HandedIn {
        socket,
        leftover,
        peer,
        listener,
    } = handed;
    let core = &doors.core;
    let Some(admission) = Admission::take(&core.gate, None) else {
        return NetCounters::count(&core.counters.refused_full);
    };
    let link = Link {
        peer,
        listener,
        transport: Transport::Ws,
        certificate: None,
    };
    let mut socket = Socket::Detached(socket);
    if socket.attach().is_err() {
        return;
    }
    let within = timeout(core.config.connect_timeout, async {
        let stream = WsStream::new(socket, leftover.to_vec(), core.config.maximum_packet_size);
        let stream = Stream::Ws(Box::new(stream));
        read_connect(core, stream, BytesMut::new(), &link).await
    });
    let opened = within.await;
    finish(&doors, opened, link, admission);
}

/// A stream, the CONNECT read from it, and what was read behind that.
type Opened = Option<(Stream, Connect, BytesMut)>;

fn finish(
    doors: &Rc<Doors>,
    opened: Result<Opened, tokio::time::error::Elapsed>,
    link: Link,
    admission: Admission,
) {
    let core = &doors.core;
    match opened {
        Ok(Some((stream, connect, input))) => {
            hand_over(
                doors,
                Arrival {
                    stream,
                    connect,
                    input,
                    link,
                    admission,
                },
            );
        }
        Ok(None) => {}
        Err(_) => {
            NetCounters::count(&core.counters.connect_timeouts);
            tracing::debug!(peer = %link.peer, listener = &*link.listener, "no CONNECT in time");
        }
    }
}

async fn establish(
    core: &Core,
    socket: TcpStream,
    listener: &ListenerConfig,
) -> io::Result<(Stream, Option<Certificate>)> {
    let mut socket = Socket::Detached(socket);
    socket.attach()?;
    match listener.transport {
        Transport::Tcp => Ok((Stream::Tcp(socket), None)),
        // Boxed: its state has kilobytes, which a connection without it need not have.
        _ => Box::pin(negotiate(core, socket, listener)).await,
    }
}

/// TLS, WebSocket or both.
async fn negotiate(
    core: &Core,
    mut socket: Socket,
    listener: &ListenerConfig,
) -> io::Result<(Stream, Option<Certificate>)> {
    let maximum = core.config.maximum_packet_size;
    let is_secure = matches!(listener.transport, Transport::Tls | Transport::Wss);
    let is_framed = matches!(listener.transport, Transport::Ws | Transport::Wss);
    if !is_secure {
        let leftover = ws::handshake(&mut socket, &listener.path).await?;
        let stream = WsStream::new(socket, leftover, maximum);
        return Ok((Stream::Ws(Box::new(stream)), None));
    }
    let slot = (listener.tls.as_ref()).ok_or_else(|| io::Error::other("no certificate"))?;
    let mut secure = TlsAcceptor::from(slot.config()).accept(socket).await?;
    let certificate = shown(&secure)?;
    if !is_framed {
        return Ok((Stream::Tls(Box::new(secure)), certificate));
    }
    let leftover = ws::handshake(&mut secure, &listener.path).await?;
    let stream = WsStream::new(secure, leftover, maximum);
    Ok((Stream::Wss(Box::new(stream)), certificate))
}

/// The certificate that the client showed. It was verified; one that cannot be read all the same is refused, for a plugin
/// would take its bearer for one without.
fn shown(stream: &TlsStream<Socket>) -> io::Result<Option<Certificate>> {
    let (_, connection) = stream.get_ref();
    let first = connection.peer_certificates().and_then(<[_]>::first);
    let read = first.map(|der| certificate::read(der)).transpose();
    read.map_err(|error| io::Error::other(format!("the client's certificate: {error}")))
}

/// Reads the first packet; refuses what is none in the form its sender understands.
async fn read_connect(core: &Core, mut stream: Stream, mut input: BytesMut, link: &Link) -> Opened {
    let limits = core.shard.borrow().codec_limits();
    loop {
        let before = codec::claimed_level(&input);
        match codec::decode_connect(&mut input, &limits) {
            Ok(Some(connect)) => return Some((stream, connect, input)),
            Ok(None) => {}
            Err(error) => {
                NetCounters::count(&core.counters.bad_connects);
                tracing::debug!(peer = %link.peer, listener = &*link.listener, %error, "no valid CONNECT");
                let is_unsupported =
                    matches!(error, witmq_proto::DecodeError::UnsupportedVersion(_));
                // MQTT 3 closes without a word unless the version is the problem; MQTT 5 may tell why.
                if let Some(level) = before.filter(|level| is_unsupported || *level >= 5) {
                    let mut refusal = BytesMut::new();
                    codec::encode_refusal(level, error.reason(), &mut refusal);
                    if stream.write_all(&refusal).await.is_err() || stream.flush().await.is_err() {
                        return None;
                    }
                }
                let _is_over = stream.shutdown().await.is_ok();
                return None;
            }
        }
        input.reserve(FIRST_BYTES);
        match stream.read_buf(&mut input).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// Gives the connection to the shard its client id belongs to: out of this reactor, into the other one,
/// with TLS and WebSocket state untouched above.
fn hand_over(doors: &Rc<Doors>, mut arrival: Arrival) {
    let core = &doors.core;
    if arrival.input.is_empty() {
        arrival.input = BytesMut::new(); // an idle connection owns no buffer
    }
    let count = u16::try_from(doors.intakes.len()).unwrap_or(1);
    let client_id = &arrival.connect.client_id;
    let target = if client_id.is_empty() {
        core.id
    } else {
        shard_of(client_id, count)
    };
    let moved = match target == core.id {
        true => arrival.stream.socket().attach(),
        false => arrival.stream.socket().detach(),
    };
    if let Err(error) = moved {
        tracing::debug!(%error, "a connection could not change its thread");
        return;
    }
    if target == core.id {
        return serve(core, arrival);
    }
    let Some(intake) = doors.intakes.get(usize::from(target.0)) else {
        return;
    };
    let arrival = Intake::Arrival(Box::new(arrival));
    if let Err(TrySendError::Full(arrival)) = intake.try_send(arrival) {
        let intake = intake.clone();
        tokio::task::spawn_local(async move {
            let _is_stopping = intake.send(arrival).await.is_err();
        });
    }
}
