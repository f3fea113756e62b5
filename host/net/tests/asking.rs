//! The authenticator is asked for as long as somebody waits for what it says.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step is the failure of the test"
)]

use std::future::Future;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use witmq_broker::ports::{AuthRequest, AuthStep, Authenticate, Transport};
use witmq_broker::shard::{ClockBase, Shard};
use witmq_broker::testing::{EventLog, allow_all, connect, ports};
use witmq_broker::{Limits, Shared};
use witmq_net::{ListenerConfig, Node, NodeConfig};
use witmq_proto::packet::{Packet, Publish, Version};
use witmq_proto::{BytesMut, codec};

/// Longer than anything here takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Begun,
    Answered,
    GivenUp,
}

/// Says yes, but not before it is told to.
struct Slow {
    told: Arc<Notify>,
    news: Sender<Asked>,
}

/// Says what became of a question.
struct Question {
    news: Sender<Asked>,
    is_answered: bool,
}

impl Drop for Question {
    fn drop(&mut self) {
        let end = match self.is_answered {
            true => Asked::Answered,
            false => Asked::GivenUp,
        };
        self.news.send(end).ok();
    }
}

impl Authenticate for Slow {
    fn authenticate(&self, _: AuthRequest) -> Pin<Box<dyn Future<Output = AuthStep>>> {
        let (told, news) = (self.told.clone(), self.news.clone());
        news.send(Asked::Begun).unwrap();
        let question = Question {
            news,
            is_answered: false,
        };
        Box::pin(async move {
            let mut question = question; // the whole of it goes with the future
            told.notified().await;
            question.is_answered = true;
            allow_all()
        })
    }
}

/// A node that asks [`Slow`], where it listens, how to make it say yes, and what becomes of its questions.
fn start(authentication: Duration) -> (Node, SocketAddr, Arc<Notify>, Receiver<Asked>) {
    let config = NodeConfig {
        listeners: vec![ListenerConfig {
            name: "it".into(),
            transport: Transport::Tcp,
            bind: ([127, 0, 0, 1], 0).into(),
            path: "/mqtt".into(),
            tls: None,
            max_connections: 1000,
        }],
        shards: 1,
        ..NodeConfig::default()
    };
    let limits = Limits {
        authentication,
        ..Limits::default()
    };
    let (limits, now) = (Arc::new(limits), Instant::now());
    let shared = Arc::new(Shared::new(1, &limits, now));
    let clock = ClockBase {
        instant: now,
        unix_ms: 1_700_000_000_000,
    };
    let make = move |id| {
        let ports = ports(EventLog::default());
        let shard = Shard::new(id, 1, limits.clone(), shared.clone(), ports, clock);
        (shard, Arc::default())
    };
    let (news, asked) = channel();
    let told = Arc::new(Notify::new());
    let slow = Slow {
        told: told.clone(),
        news,
    };
    let node = Node::start(config, Arc::new(make), Arc::new(slow)).unwrap();
    let address = node.addresses()[0].1;
    (node, address, told, asked)
}

fn bytes_of(packets: &[Packet]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    for packet in packets {
        codec::encode(packet, Version::V5, &mut bytes).unwrap();
    }
    bytes.to_vec()
}

fn hello() -> Packet {
    Packet::Connect(Box::new(connect(Version::V5, "c")))
}

fn open(address: SocketAddr, packets: &[Packet]) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(&bytes_of(packets)).unwrap();
    socket
}

#[test]
fn who_leaves_before_the_answer_is_asked_about_no_longer() {
    let (_node, address, _told, asked) = start(PATIENCE * 10);
    let socket = open(address, &[hello()]);
    assert_eq!(asked.recv_timeout(PATIENCE), Ok(Asked::Begun));
    drop(socket);
    assert_eq!(asked.recv_timeout(PATIENCE), Ok(Asked::GivenUp));
}

#[test]
fn who_is_refused_for_the_time_it_takes_is_asked_about_no_longer() {
    let (_node, address, _told, asked) = start(Duration::from_millis(20));
    let mut socket = open(address, &[hello()]);
    assert_eq!(asked.recv_timeout(PATIENCE), Ok(Asked::Begun));
    assert_eq!(asked.recv_timeout(PATIENCE), Ok(Asked::GivenUp));
    let mut refusal = Vec::new();
    socket.read_to_end(&mut refusal).unwrap();
    assert_eq!(
        (refusal.first(), refusal.get(3)),
        (Some(&0x20), Some(&0x89))
    );
}

#[test]
fn what_was_sent_before_the_end_is_taken_once_the_answer_is_there() {
    let (_node, address, told, asked) = start(PATIENCE * 10);
    let message = Packet::Publish(Box::new(Publish {
        topic: "t".into(),
        retain: true,
        payload: "x".into(),
        ..Publish::default()
    }));
    let mut socket = open(address, &[hello()]);
    assert_eq!(asked.recv_timeout(PATIENCE), Ok(Asked::Begun));
    socket.write_all(&bytes_of(&[message])).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    told.notify_one();
    assert_eq!(asked.recv_timeout(PATIENCE), Ok(Asked::Answered));
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    assert_eq!(
        (answer.first(), answer.get(3)),
        (Some(&0x20), Some(&0)),
        "CONNACK: success"
    );
}
