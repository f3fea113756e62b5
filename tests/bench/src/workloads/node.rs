//! One shard with clients in memory, driven as `witmq-net` drives it: all reads of a round, then one write for each
//! client that has something.
//!
//! Owns: the driver and the clients' answers. Must not: look for a connection by walking over all of them.

use super::Play;
use crate::floor::sort;
use crate::wire::{Stamp, Template};
use anyhow::{Context as _, Result, bail};
use std::sync::Arc;
use std::time::{Duration, Instant};
use witmq_broker::Limits;
use witmq_broker::memory::Memory;
use witmq_broker::ports::{BrokerEvent, Chains, Events, RuleControl as _, Transport};
use witmq_broker::router::ShardId;
use witmq_broker::shard::{Action, ClockBase, ConnectionId, Flow, Link, Shard, ShardPorts};
use witmq_broker::shared::Shared;
use witmq_broker::testing::{NoHooks, allow_all, connect};
use witmq_proto::BytesMut;
use witmq_proto::packet::Version;
use witmq_rules::{Rules, RulesConfig};

/// A native step that lets every message pass.
pub(super) const FILTER: &str = r#"
mode = "transform"
from = "bench/{pair}"

[[step]]
filter = "true"
"#;

/// One that looks at the topic first.
pub(super) const EXPRESSION: &str = r#"
mode = "transform"
from = "bench/{pair}"

[[step]]
filter = "topic.pair != 'none' && qos < 3"
"#;

/// Who talks to whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Publishers, each with a topic of its own.
    pub(super) pairs: u32,
    /// Subscribers of each topic.
    pub(super) subscribers: u32,
    pub(super) qos: u8,
    /// Messages that a publisher sends in a round.
    pub(super) window: u32,
    /// Subscriptions that match nothing.
    pub(super) others: u32,
}

/// Nobody listens.
struct Deaf;

impl Events for Deaf {
    fn emit(&mut self, _: BrokerEvent) {}
}

/// A client's end of a connection.
struct Client {
    id: ConnectionId,
    /// To the broker.
    input: BytesMut,
    /// From the broker.
    output: BytesMut,
}

struct Node {
    now: Instant,
    shard: Shard,
    clients: Vec<Client>,
    /// The client of each place in the shard's table.
    places: Vec<usize>,
    /// Clients with something to say.
    speaking: Vec<usize>,
    answers: Vec<u8>,
    delivered: u32,
}

/// Messages through a node of this shape, all of which pass this chain.
pub(super) fn play(shape: Shape, chain: Option<&str>) -> Result<Play> {
    let mut node = Node::new(chain)?;
    let publishers = node.set_up(shape)?;
    let templates: Vec<Template> = (0..shape.pairs)
        .map(|pair| Template::new(&format!("bench/{pair}"), shape.qos, 16, false))
        .collect();
    Ok(Box::new(move |count| {
        node.deliver(shape, count, &publishers, &templates)
    }))
}

impl Node {
    /// Delivers `count` messages; how many came.
    fn deliver(
        &mut self,
        shape: Shape,
        count: u32,
        publishers: &[usize],
        templates: &[Template],
    ) -> Result<u32> {
        self.delivered = 0;
        let mut sequence = 0;
        while self.delivered < count {
            let before = self.delivered;
            for ((publisher, template), number) in publishers.iter().zip(templates).zip(0..) {
                let sent = sequence * shape.pairs + number * shape.window;
                let left = (count / shape.subscribers).saturating_sub(sent);
                self.answers.clear();
                for place in 0..shape.window.min(left) {
                    let stamp = Stamp {
                        due_ns: 0,
                        publisher: number,
                        sequence: sequence + place,
                    };
                    template.emit(&mut self.answers, stamp);
                }
                let answers = std::mem::take(&mut self.answers);
                self.say(*publisher, &answers);
                self.answers = answers;
            }
            sequence += shape.window;
            self.settle()?;
            if self.delivered == before {
                bail!("nothing came after {before}");
            }
        }
        Ok(self.delivered)
    }

    fn new(chain: Option<&str>) -> Result<Self> {
        let now = Instant::now();
        let limits = Arc::new(Limits {
            subscriptions: 100_000,
            sys_interval: Duration::ZERO,
            ..Limits::default()
        });
        let chains: Box<dyn Chains> = match chain {
            None => Box::new(Rules::new(RulesConfig::default()).0.shard_chains()),
            Some(text) => {
                let (rules, _) = Rules::new(RulesConfig::default());
                rules.apply("bench.toml", text, false).context("chain")?;
                Box::new(rules.shard_chains())
            }
        };
        let ports = ShardPorts {
            hooks: Box::new(NoHooks),
            chains,
            store: Box::new(Memory::default()),
            events: Box::new(Deaf),
        };
        let clock = ClockBase {
            instant: now,
            unix_ms: 1_700_000_000_000,
        };
        let shared = Arc::new(Shared::new(1, &limits, now));
        Ok(Self {
            now,
            shard: Shard::new(ShardId(0), 1, limits, shared, ports, clock),
            clients: Vec::new(),
            places: Vec::new(),
            speaking: Vec::new(),
            answers: Vec::new(),
            delivered: 0,
        })
    }

    /// Connects and subscribes everybody; the publishers.
    fn set_up(&mut self, shape: Shape) -> Result<Vec<usize>> {
        for pair in 0..shape.pairs {
            for _ in 0..shape.subscribers {
                let subscriber = self.join()?;
                let filter = format!("bench/{pair}");
                let bytes = crate::wire::subscribe(1, [filter.as_str()], shape.qos);
                self.say(subscriber, &bytes);
            }
        }
        if shape.others > 0 {
            let other = self.join()?;
            for number in 0..shape.others {
                let filter = format!("other/{number}/+");
                let bytes = crate::wire::subscribe(1, [filter.as_str()], 0);
                self.say(other, &bytes);
                self.settle()?;
            }
        }
        let publishers = (0..shape.pairs).map(|_| self.join()).collect();
        self.settle()?;
        publishers
    }

    fn join(&mut self) -> Result<usize> {
        let index = self.clients.len();
        let link = Link {
            peer: ([127, 0, 0, 1], 40_000).into(),
            listener: "tcp".into(),
            transport: Transport::Tcp,
            certificate: None,
        };
        let name = format!("client-{index}");
        let id = self
            .shard
            .connect(self.now, link, connect(Version::V311, &name));
        let places = self.places.len().max(id.index() + 1);
        self.places.resize(places, usize::MAX);
        if let Some(place) = self.places.get_mut(id.index()) {
            *place = index;
        }
        self.clients.push(Client {
            id,
            input: BytesMut::new(),
            output: BytesMut::new(),
        });
        self.settle()?;
        Ok(index)
    }

    fn say(&mut self, client: usize, bytes: &[u8]) {
        if let Some(client) = self.clients.get_mut(client) {
            client.input.extend_from_slice(bytes);
        }
        self.speaking.push(client);
    }

    /// Rounds until nobody has anything to say.
    fn settle(&mut self) -> Result<()> {
        loop {
            for index in std::mem::take(&mut self.speaking) {
                let Some(client) = self.clients.get_mut(index) else {
                    continue;
                };
                if self.shard.receive(self.now, client.id, &mut client.input) == Flow::Close {
                    bail!("the shard closed client {index}");
                }
            }
            self.shard.flush();
            self.shard.stored(self.now);
            while let Some(action) = self.shard.poll_action() {
                self.obey(action)?;
            }
            if self.speaking.is_empty() {
                return Ok(());
            }
        }
    }

    fn obey(&mut self, action: Action) -> Result<()> {
        match action {
            Action::Wake(id) => self.write(id),
            Action::Resume(id) => {
                self.speaking.extend(self.places.get(id.index()).copied());
                Ok(())
            }
            Action::Turn => {
                self.shard.next_turn(self.now);
                Ok(())
            }
            Action::Events => {
                self.shard.run_events(self.now);
                Ok(())
            }
            Action::Authenticate { id, .. } => {
                self.shard.authenticated(self.now, id, allow_all());
                Ok(())
            }
            _ => bail!("an action that this node does not know"),
        }
    }

    /// What a client is told, and what it answers.
    fn write(&mut self, id: ConnectionId) -> Result<()> {
        let index = self.places.get(id.index()).copied().unwrap_or(usize::MAX);
        let client = self
            .clients
            .get_mut(index)
            .context("an unknown connection")?;
        client.output.clear();
        self.shard.transmit(self.now, id, &mut client.output);
        while self.shard.has_more(id) {
            self.shard.transmit(self.now, id, &mut client.output);
        }
        self.answers.clear();
        let mut bytes = 0;
        sort(&client.output, &mut self.answers, |run| bytes += run.len())?;
        if bytes > 0 {
            self.delivered += count(&client.output)?;
        }
        if !self.answers.is_empty() {
            client.input.extend_from_slice(&self.answers);
            self.speaking.push(index);
        }
        Ok(())
    }
}

/// PUBLISH packets among whole packets.
fn count(bytes: &[u8]) -> Result<u32> {
    let (mut found, mut rest) = (0, bytes);
    while let Some(frame) = crate::wire::frame(rest)? {
        found += u32::from(rest.first().is_some_and(|first| first >> 4 == 3));
        rest = rest.get(frame.whole..).unwrap_or_default();
    }
    Ok(found)
}
