//! A node on real sockets: its bounds from both sides, and connections that change their thread.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step is the failure of the test"
)]

use std::future::Future;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_rustls::rustls;
use tokio_tungstenite::tungstenite::{self, Message as Frame};
use witmq_broker::ports::{AuthRequest, AuthStep, Authenticate, Transport};
use witmq_broker::shard::{ClockBase, Shard, shard_of};
use witmq_broker::testing::{EventLog, allow_all, connect, ports};
use witmq_broker::{Limits, ShardId, Shared};
use witmq_net::{ListenerConfig, Node, NodeConfig, TlsFiles, TlsSlot};
use witmq_proto::packet::{Packet, Publish, QoS, Version};
use witmq_proto::{BytesMut, codec};

/// Longer than anything here takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

struct Everybody;

impl Authenticate for Everybody {
    fn authenticate(&self, _: AuthRequest) -> Pin<Box<dyn Future<Output = AuthStep>>> {
        Box::pin(std::future::ready(allow_all()))
    }
}

fn listener(transport: Transport, tls: Option<TlsSlot>) -> ListenerConfig {
    ListenerConfig {
        name: "it".into(),
        transport,
        bind: ([127, 0, 0, 1], 0).into(),
        path: "/mqtt".into(),
        tls,
        max_connections: 1000,
    }
}

fn start(config: NodeConfig, limits: Limits) -> (Node, SocketAddr) {
    let (shards, limits, now) = (config.shards, Arc::new(limits), Instant::now());
    let shared = Arc::new(Shared::new(shards, &limits, now));
    let clock = ClockBase {
        instant: now,
        unix_ms: 1_700_000_000_000,
    };
    let make = move |id| {
        let ports = ports(EventLog::default());
        let shard = Shard::new(id, shards, limits.clone(), shared.clone(), ports, clock);
        (shard, Arc::default())
    };
    let node = Node::start(config, Arc::new(make), Arc::new(Everybody)).expect("node");
    let address = node.addresses()[0].1;
    (node, address)
}

fn bytes_of(packets: &[Packet]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    for packet in packets {
        codec::encode(packet, Version::V5, &mut bytes).expect("encodes");
    }
    bytes.to_vec()
}

fn open(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("connects");
    socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
    socket.set_nodelay(true).expect("nodelay");
    socket
}

/// The next packet of a stream.
fn next(stream: &mut impl Read, input: &mut BytesMut) -> Packet {
    let mut part = [0; 4096];
    loop {
        if let Some(packet) =
            codec::decode(input, Version::V5, &codec::Limits::default()).expect("valid packet")
        {
            return packet;
        }
        let count = stream.read(&mut part).expect("a packet in time");
        assert!(count > 0, "closed while a packet was expected");
        input.extend_from_slice(&part[..count]);
    }
}

/// Waits until the broker has closed the connection.
fn wait_for_end(stream: &mut TcpStream) {
    let mut part = [0; 65_536];
    loop {
        match stream.read(&mut part) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            Err(error) => panic!("the connection stayed open: {error}"),
        }
    }
}

/// Waits until a counter has a value; it is set on another thread just after what the test saw.
fn wait_for(counter: &AtomicU64, value: u64) {
    let end = Instant::now() + PATIENCE;
    while counter.load(Ordering::Relaxed) != value {
        assert!(
            Instant::now() < end,
            "{counter:?} where {value} was expected"
        );
        std::thread::yield_now();
    }
}

fn publish(topic: &str, payload: &[u8]) -> Packet {
    Packet::Publish(Box::new(Publish {
        topic: topic.into(),
        payload: payload.to_vec().into(),
        ..Publish::default()
    }))
}

fn subscribe(filter: &str) -> Vec<u8> {
    let mut bytes = vec![0x82, 0, 0, 7, 0];
    bytes.extend_from_slice(&u16::try_from(filter.len()).expect("short").to_be_bytes());
    bytes.extend_from_slice(filter.as_bytes());
    bytes.push(0);
    bytes[1] = u8::try_from(bytes.len() - 2).expect("short");
    bytes
}

#[test]
fn a_socket_without_connect_is_closed_in_time_and_one_with_it_stays() {
    let config = NodeConfig {
        listeners: vec![listener(Transport::Tcp, None)],
        connect_timeout: Duration::from_millis(300),
        ..NodeConfig::default()
    };
    let (node, address) = start(config, Limits::default());
    let (mut silent, mut partial, mut good) = (open(address), open(address), open(address));
    let hello = bytes_of(&[Packet::Connect(Box::new(connect(Version::V5, "good")))]);
    good.write_all(&hello).expect("write");
    partial.write_all(&hello[..hello.len() - 1]).expect("write");
    let mut input = BytesMut::new();
    assert!(matches!(next(&mut good, &mut input), Packet::Connack(_)));
    wait_for_end(&mut silent);
    wait_for_end(&mut partial);
    wait_for(&node.counters().connect_timeouts, 2);
    good.write_all(&bytes_of(&[Packet::Pingreq]))
        .expect("write");
    assert!(matches!(next(&mut good, &mut input), Packet::Pingresp));
    node.shutdown(Duration::from_secs(1));
}

#[test]
fn a_listener_that_is_full_closes_the_next_and_takes_one_again_when_one_has_left() {
    let config = NodeConfig {
        listeners: vec![ListenerConfig {
            max_connections: 2,
            ..listener(Transport::Tcp, None)
        }],
        ..NodeConfig::default()
    };
    let (node, address) = start(config, Limits::default());
    let mut inside: Vec<_> = (0..2)
        .map(|number| {
            let mut socket = open(address);
            let name = format!("c{number}");
            let hello = Packet::Connect(Box::new(connect(Version::V5, &name)));
            socket.write_all(&bytes_of(&[hello])).expect("write");
            let packet = next(&mut socket, &mut BytesMut::new());
            assert!(matches!(packet, Packet::Connack(_)));
            socket
        })
        .collect();
    wait_for_end(&mut open(address));
    wait_for(&node.counters().refused_full, 1);
    drop(inside.pop());
    let end = Instant::now() + PATIENCE;
    while node.open_sockets() > 1 {
        assert!(Instant::now() < end, "the place was not given back");
        std::thread::yield_now();
    }
    let mut socket = open(address);
    let hello = Packet::Connect(Box::new(connect(Version::V5, "c9")));
    socket.write_all(&bytes_of(&[hello])).expect("write");
    let packet = next(&mut socket, &mut BytesMut::new());
    assert!(matches!(packet, Packet::Connack(_)));
    node.shutdown(Duration::from_secs(1));
}

#[test]
fn a_reader_that_takes_nothing_is_cut_off_and_delays_nobody() {
    let config = NodeConfig {
        listeners: vec![listener(Transport::Tcp, None)],
        write_timeout: Duration::from_millis(500),
        ..NodeConfig::default()
    };
    let (node, address) = start(config, Limits::default());
    let (mut stuck, mut well) = (open(address), open(address));
    let (mut stuck_input, mut well_input) = (BytesMut::new(), BytesMut::new());
    for (socket, input, name) in [
        (&mut stuck, &mut stuck_input, "stuck"),
        (&mut well, &mut well_input, "well"),
    ] {
        let hello = Packet::Connect(Box::new(connect(Version::V5, name)));
        socket.write_all(&bytes_of(&[hello])).expect("write");
        assert!(matches!(next(socket, input), Packet::Connack(_)));
        socket.write_all(&subscribe("t/#")).expect("write");
        assert!(matches!(next(socket, input), Packet::Suback(_)));
    }
    // The well one publishes and reads its own; the stuck one reads nothing from here on.
    let packet = bytes_of(&[publish("t/1", &[7; 60_000])]);
    let end = Instant::now() + PATIENCE;
    while node.counters().write_timeouts.load(Ordering::Relaxed) == 0 {
        assert!(Instant::now() < end, "the stuck reader was not cut off");
        well.write_all(&packet).expect("write");
        assert!(matches!(
            next(&mut well, &mut well_input),
            Packet::Publish(_)
        ));
    }
    wait_for_end(&mut stuck);
    well.write_all(&packet).expect("write");
    assert!(matches!(
        next(&mut well, &mut well_input),
        Packet::Publish(_)
    ));
    assert_eq!(node.counters().write_timeouts.load(Ordering::Relaxed), 1);
    node.shutdown(Duration::from_secs(1));
}

/// CONNECT, SUBSCRIBE and PUBLISH of one client, and what must come back.
/// Among thousands that do not match: it is looked for in parts, and each goes on behind the one before.
#[test]
fn the_last_of_what_is_retained_comes_when_all_were_looked_at() {
    const RETAINED: usize = 5_000;
    let config = NodeConfig {
        shards: 1,
        listeners: vec![listener(Transport::Tcp, None)],
        ..NodeConfig::default()
    };
    let (node, address) = start(config, Limits::default());
    let retain = |number: usize| {
        let packet = publish(&format!("r/{number:05}"), b"x");
        let Packet::Publish(mut packet) = packet else {
            panic!("{packet:?}")
        };
        packet.retain = true;
        Packet::Publish(packet)
    };
    let mut packets = vec![Packet::Connect(Box::new(connect(Version::V5, "publisher")))];
    packets.extend((0..RETAINED).map(retain));
    packets.push(Packet::Pingreq);
    let (mut publisher, mut input) = (open(address), BytesMut::new());
    publisher.write_all(&bytes_of(&packets)).expect("sends");
    while next(&mut publisher, &mut input) != Packet::Pingresp {}
    let (mut listener, mut input) = (open(address), BytesMut::new());
    let hello = bytes_of(&[Packet::Connect(Box::new(connect(Version::V5, "listener")))]);
    listener.write_all(&hello).expect("sends");
    let last = format!("+/{:05}", RETAINED - 1);
    for filter in ["+/none", &last] {
        listener.write_all(&subscribe(filter)).expect("sends");
    }
    loop {
        match next(&mut listener, &mut input) {
            Packet::Connack(_) | Packet::Suback(_) => {}
            Packet::Publish(found) => break assert_eq!(&*found.topic, &last.replace('+', "r")),
            other => panic!("{other:?}"),
        }
    }
    node.shutdown(Duration::from_secs(1));
}

fn conversation(client_id: &str) -> Vec<u8> {
    let topic = format!("own/{client_id}");
    let mut bytes = bytes_of(&[Packet::Connect(Box::new(connect(Version::V5, client_id)))]);
    bytes.extend(subscribe(&topic));
    bytes.extend(bytes_of(&[publish(&topic, client_id.as_bytes())]));
    bytes
}

fn expect_conversation(stream: &mut impl Read, client_id: &str) {
    let mut input = BytesMut::new();
    assert!(matches!(next(stream, &mut input), Packet::Connack(_)));
    let (mut is_subscribed, mut is_delivered) = (false, false);
    while !(is_subscribed && is_delivered) {
        match next(stream, &mut input) {
            Packet::Suback(_) => is_subscribed = true,
            Packet::Publish(publish) => {
                assert_eq!(&publish.payload[..], client_id.as_bytes());
                assert_eq!(publish.qos, QoS::AtMostOnce);
                is_delivered = true;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// One client id for each of three shards.
fn ids_of_all_shards() -> Vec<String> {
    (0..3)
        .map(|shard| {
            (0..)
                .map(|number| format!("id{number}"))
                .find(|id| shard_of(id, 3) == ShardId(shard))
                .expect("some id")
        })
        .collect()
}

/// Whatever thread accepted it, a connection reaches its shard with every byte that came behind CONNECT,
/// wherever the stream was cut.
#[test]
fn a_tcp_connection_changes_its_thread_at_every_cut_of_the_stream() {
    let config = NodeConfig {
        listeners: vec![listener(Transport::Tcp, None)],
        shards: 3,
        ..NodeConfig::default()
    };
    let (node, address) = start(config, Limits::default());
    for client_id in ids_of_all_shards() {
        let bytes = conversation(&client_id);
        for cut in 1..=bytes.len() {
            let mut socket = open(address);
            let (first, second) = bytes.split_at(cut);
            socket.write_all(first).expect("write");
            std::thread::yield_now();
            socket.write_all(second).expect("write");
            expect_conversation(&mut socket, &client_id);
        }
    }
    node.shutdown(Duration::from_secs(1));
}

/// Reads binary frames as a stream of bytes.
struct FrameReader<'a, S>(&'a mut tungstenite::WebSocket<S>);

impl<S: Read + Write> Read for FrameReader<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read().map_err(std::io::Error::other)? {
            Frame::Binary(bytes) => {
                buffer[..bytes.len()].copy_from_slice(&bytes);
                Ok(bytes.len())
            }
            other => panic!("{other:?}"),
        }
    }
}

fn websocket<S: Read + Write>(scheme: &str, stream: S) -> tungstenite::WebSocket<S> {
    use tungstenite::client::IntoClientRequest;
    let mut request = format!("{scheme}://localhost/mqtt")
        .into_client_request()
        .expect("request");
    let protocol = "mqtt".parse().expect("header");
    request
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", protocol);
    let Ok((socket, response)) = tungstenite::client(request, stream) else {
        panic!("no WebSocket");
    };
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "mqtt");
    socket
}

/// A certificate for localhost, and a client that trusts it.
fn certificate() -> (TlsSlot, Arc<rustls::ClientConfig>) {
    let dir = tempfile::tempdir().expect("folder");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("certificate");
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).expect("write");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("write");
    let slot = TlsSlot::load(TlsFiles {
        cert,
        key,
        clients: None,
    })
    .expect("loads");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (slot, Arc::new(client))
}

type Secure = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

fn secure(address: SocketAddr, client: &Arc<rustls::ClientConfig>) -> Secure {
    let name = "localhost".try_into().expect("name");
    let tls = rustls::ClientConnection::new(client.clone(), name).expect("client");
    rustls::StreamOwned::new(tls, open(address))
}

/// TLS records and WebSocket frames that were read with CONNECT, and what is left in the state above the
/// socket, travel with the connection.
#[test]
fn tls_and_websocket_connections_change_their_thread_with_what_was_read() {
    for transport in [Transport::Tls, Transport::Ws, Transport::Wss] {
        let (slot, client) = certificate();
        let config = NodeConfig {
            listeners: vec![listener(transport, Some(slot))],
            shards: 3,
            ..NodeConfig::default()
        };
        let (node, address) = start(config, Limits::default());
        for client_id in ids_of_all_shards() {
            let bytes = conversation(&client_id);
            for cut in (1..=bytes.len()).step_by(3) {
                let (first, second) = bytes.split_at(cut);
                match transport {
                    Transport::Ws => {
                        let mut socket = websocket("ws", open(address));
                        converse(&mut socket, first, second, &client_id);
                    }
                    Transport::Wss => {
                        let mut socket = websocket("wss", secure(address, &client));
                        converse(&mut socket, first, second, &client_id);
                    }
                    _ => {
                        let mut stream = secure(address, &client);
                        stream.write_all(first).expect("write");
                        stream.write_all(second).expect("write");
                        expect_conversation(&mut stream, &client_id);
                    }
                }
            }
        }
        node.shutdown(Duration::from_secs(1));
    }
}

/// Two frames in one flush, so that the second is often read with the first.
fn converse<S: Read + Write>(
    socket: &mut tungstenite::WebSocket<S>,
    first: &[u8],
    second: &[u8],
    client_id: &str,
) {
    for part in [first, second] {
        socket
            .write(Frame::Binary(part.to_vec().into()))
            .expect("write");
    }
    socket.flush().expect("flush");
    expect_conversation(&mut FrameReader(socket), client_id);
}

/// More clients than rustls would remember sessions of.
#[test]
fn clients_resume_their_tls_sessions_however_many_came_meanwhile() {
    use rustls::HandshakeKind;
    const CLIENTS: u32 = 300;
    let (slot, trusting) = certificate();
    let config = NodeConfig {
        listeners: vec![listener(Transport::Tls, Some(slot))],
        ..NodeConfig::default()
    };
    let (node, address) = start(config, Limits::default());
    let own_store = |_| {
        let mut config = (*trusting).clone();
        config.resumption = rustls::client::Resumption::in_memory_sessions(8);
        Arc::new(config)
    };
    let clients: Vec<_> = (0..CLIENTS).map(own_store).collect();
    let kind = |client: &Arc<rustls::ClientConfig>| {
        let mut stream = secure(address, client);
        stream.write_all(&conversation("resuming")).expect("write");
        expect_conversation(&mut stream, "resuming");
        stream.conn.handshake_kind().expect("shaken hands")
    };
    for client in &clients {
        assert_eq!(kind(client), HandshakeKind::Full);
    }
    for client in &clients {
        assert_eq!(kind(client), HandshakeKind::Resumed);
    }
    node.shutdown(Duration::from_secs(1));
}
