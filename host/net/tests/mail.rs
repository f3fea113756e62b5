//! What goes from shard to shard: all of it, in order, however much of it is there at once.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use witmq_broker::ports::{AuthRequest, AuthStep, Authenticate, Transport};
use witmq_broker::shard::{ClockBase, Shard, shard_of};
use witmq_broker::testing::{EventLog, allow_all, connect, ports};
use witmq_broker::{Limits, ShardId, Shared};
use witmq_net::{ListenerConfig, Node, NodeConfig};
use witmq_proto::packet::{Packet, Publish, Version};
use witmq_proto::{BytesMut, codec};

/// Longer than anything here takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);
const SHARDS: u16 = 3;

struct Everybody;

impl Authenticate for Everybody {
    fn authenticate(&self, _: AuthRequest) -> Pin<Box<dyn Future<Output = AuthStep>>> {
        Box::pin(std::future::ready(allow_all()))
    }
}

fn start() -> (Node, SocketAddr) {
    let config = NodeConfig {
        listeners: vec![ListenerConfig {
            name: "it".into(),
            transport: Transport::Tcp,
            bind: ([127, 0, 0, 1], 0).into(),
            path: "/mqtt".into(),
            tls: None,
            max_connections: 100,
        }],
        shards: SHARDS,
        ..NodeConfig::default()
    };
    let (limits, now) = (Arc::new(Limits::default()), Instant::now());
    let shared = Arc::new(Shared::new(SHARDS, &limits, now));
    let clock = ClockBase {
        instant: now,
        unix_ms: 1_700_000_000_000,
    };
    let make = move |id| {
        let ports = ports(EventLog::default());
        let shard = Shard::new(id, SHARDS, limits.clone(), shared.clone(), ports, clock);
        (shard, Arc::default())
    };
    let node = Node::start(config, Arc::new(make), Arc::new(Everybody)).expect("node");
    let address = node.addresses()[0].1;
    (node, address)
}

struct Client {
    socket: TcpStream,
    input: BytesMut,
}

impl Client {
    /// A client of that shard.
    fn of(shard: u16, address: SocketAddr) -> Self {
        let id = (0..)
            .map(|number| format!("id{number}"))
            .find(|id| shard_of(id, SHARDS) == ShardId(shard))
            .expect("some id");
        let socket = TcpStream::connect(address).expect("connects");
        socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
        let input = BytesMut::new();
        let mut client = Self { socket, input };
        client.send(&[Packet::Connect(Box::new(connect(Version::V5, &id)))]);
        assert!(matches!(client.next(), Packet::Connack(_)));
        client
    }

    fn send(&mut self, packets: &[Packet]) {
        let mut bytes = BytesMut::new();
        for packet in packets {
            codec::encode(packet, Version::V5, &mut bytes).expect("encodes");
        }
        self.socket.write_all(&bytes).expect("write");
    }

    fn next(&mut self) -> Packet {
        let mut part = [0; 16 * 1024];
        loop {
            let limits = codec::Limits::default();
            let packet = codec::decode(&mut self.input, Version::V5, &limits);
            if let Some(packet) = packet.expect("valid packet") {
                return packet;
            }
            let count = self.socket.read(&mut part).expect("a packet in time");
            assert!(count > 0, "closed while a packet was expected");
            self.input.extend_from_slice(&part[..count]);
        }
    }
}

/// Each message has a topic of its own, so that none goes with another: a piece of mail each. Those of one read are on
/// both sides of what goes at once.
#[test]
fn mail_is_complete_and_in_order_however_much_comes_at_once() {
    let (node, address) = start();
    let mut readers: Vec<Client> = (0..SHARDS)
        .map(|shard| Client::of(shard, address))
        .collect();
    for reader in &mut readers {
        let filter = [0x82, 9, 0, 7, 0, 0, 3, b't', b'/', b'#', 0];
        reader.socket.write_all(&filter).expect("write");
        assert!(matches!(reader.next(), Packet::Suback(_)));
    }
    let mut number = 0_u32;
    for count in [1, 2, 127, 128, 129, 256, 700] {
        let messages: Vec<Packet> = (number..number + count)
            .map(|number| {
                Packet::Publish(Box::new(Publish {
                    topic: format!("t/{number}").into(),
                    payload: number.to_be_bytes().to_vec().into(),
                    ..Publish::default()
                }))
            })
            .collect();
        readers[0].send(&messages);
        for reader in &mut readers {
            for expected in number..number + count {
                let Packet::Publish(publish) = reader.next() else {
                    panic!("a message was expected");
                };
                assert_eq!(&publish.payload[..], &expected.to_be_bytes());
            }
        }
        number += count;
    }
    node.shutdown(Duration::from_secs(1));
}
