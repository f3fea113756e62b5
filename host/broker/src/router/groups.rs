//! Shared groups: who is in one, and which member a message goes to.
//!
//! Owns: [`Strategy`], [`Presence`] (what a member tells all shards of itself, without a lock), and [`Picker`], one
//! per shard. Must not: know sessions or outboxes; a shard tells them by [`Presence::set`].

use super::ShardId;
use super::interest::{GroupKey, GroupMatch};
use super::members::Members;
use bytestring::ByteString;
use foldhash::HashMap;
use foldhash::quality::FixedState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use witmq_proto::Message;
use witmq_proto::packet::QoS;

/// Members that [`Strategy::LeastInflight`] compares for one message; of a larger group a window that moves on.
pub const COMPARED_MEMBERS: usize = 64;

/// How a shared group chooses among its members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// In turn.
    #[default]
    RoundRobin,
    /// The member with the fewest messages waiting and unacknowledged.
    LeastInflight,
    /// A publisher keeps its member as long as that is ready.
    Sticky,
    /// By the client id of the publisher.
    HashClient,
    /// By the topic.
    HashTopic,
}

/// The strategies of a node.
#[derive(Clone, Debug, Default)]
pub struct Strategies {
    /// Of every group not named below.
    pub default: Strategy,
    /// By ShareName.
    pub groups: HashMap<ByteString, Strategy>,
}

impl Strategies {
    /// That of a group.
    #[must_use]
    pub fn of(&self, group: &str) -> Strategy {
        self.groups.get(group).copied().unwrap_or(self.default)
    }
}

const ONLINE: u32 = 1 << 31;
const FULL: u32 = 1 << 30;
const OVER: u32 = 1 << 29;
const LOAD: u32 = OVER - 1;

/// How ready a client is, written by its own shard and read by every shard. What another shard reads is as old as
/// the last turn of the client's shard: the client's shard judges again when the message arrives.
#[derive(Debug, Default)]
pub struct Presence(AtomicU32);

impl Presence {
    /// As it is now: `load` messages are waiting or unacknowledged.
    pub fn set(&self, is_online: bool, is_full: bool, load: usize) {
        let load = u32::try_from(load).unwrap_or(LOAD).min(LOAD);
        let flags = if is_online { ONLINE } else { 0 } | if is_full { FULL } else { 0 };
        self.0.store(flags | load, Ordering::Relaxed);
    }

    /// Its session is over: no message is for it any more, though it is a member until somebody takes it out.
    pub fn end(&self) {
        self.0.store(OVER, Ordering::Relaxed);
    }

    /// One more is on its way to it, until [`Self::set`] says what is true.
    fn expect_one(&self) {
        if self.0.load(Ordering::Relaxed) & LOAD < LOAD {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_online(&self) -> bool {
        self.0.load(Ordering::Relaxed) & ONLINE != 0
    }

    fn has_room(&self) -> bool {
        self.0.load(Ordering::Relaxed) & FULL == 0
    }

    fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed) & OVER != 0
    }

    fn load(&self) -> u32 {
        self.0.load(Ordering::Relaxed) & LOAD
    }
}

/// A member of a group.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its client id.
    pub client_id: ByteString,
    /// Where it lives.
    pub shard: ShardId,
    /// How ready it is.
    pub presence: Arc<Presence>,
    /// Its session outlives a connection, and it wants QoS 1 or 2.
    pub is_durable: bool,
    hash: u64,
}

impl Member {
    /// A member on `shard`.
    #[must_use]
    pub fn new(
        client_id: ByteString,
        shard: ShardId,
        presence: Arc<Presence>,
        is_durable: bool,
    ) -> Self {
        Self {
            hash: hash(&client_id),
            client_id,
            shard,
            presence,
            is_durable,
        }
    }

    /// Of its client id.
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }
}

/// The member a message goes to.
#[derive(Clone, Debug)]
pub struct Pick {
    /// Of which group.
    pub key: Arc<GroupKey>,
    /// Its client id.
    pub client_id: ByteString,
    /// Where it lives.
    pub shard: ShardId,
    /// It had room.
    pub has_room: bool,
    /// Some member of the group must not lose QoS 1 and 2.
    pub is_durable: bool,
    /// It was chosen in place of a member that had none: it is not passed on again for that.
    pub is_passed_on: bool,
}

/// In this order, the first that any member fits. The choice is the server's (section 4.8.2).
const READINESS: [fn(&Member, QoS) -> bool; 4] = [
    |member, _| member.presence.is_online() && member.presence.has_room(),
    |member, qos| keeps(member, qos) && member.presence.has_room(),
    |member, _| member.presence.is_online(),
    keeps,
];

fn keeps(member: &Member, qos: QoS) -> bool {
    member.is_durable && qos > QoS::AtMostOnce && !member.presence.is_over()
}

pub(super) fn hash(text: &str) -> u64 {
    FixedState::with_seed(0x5749_544D_5121).hash_one(text)
}

/// The weight of a member for a key: the highest wins, so a member that joins or leaves moves its own share only.
fn weight(member: &Member, key: u64) -> u64 {
    FixedState::with_seed(key).hash_one(member.hash)
}

/// Whose turn it is, as one shard sees it.
#[derive(Debug)]
pub struct Picker {
    /// By [`GroupMatch::number`].
    turns: Vec<usize>,
    sticky: Sticky,
}

impl Picker {
    /// Remembers the members of at most `publishers` publishers and groups ([`Strategy::Sticky`]).
    #[must_use]
    pub fn new(publishers: usize) -> Self {
        Self {
            turns: Vec::new(),
            sticky: Sticky::new(publishers),
        }
    }

    /// Publishers forgotten because there were too many, since the start.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.sticky.forgotten
    }

    /// The member that gets `message`; `None` if none could ever be given it.
    pub fn pick(&mut self, group: &GroupMatch, message: &Message) -> Option<Pick> {
        let members = &group.members;
        let place = READINESS.iter().find_map(|fits| {
            let fits = |member: &Member| fits(member, message.qos);
            match group.strategy {
                Strategy::RoundRobin => self.next(group.number, members, fits),
                Strategy::LeastInflight => self.least(group.number, members, fits),
                Strategy::Sticky => self.stick(group.number, members, &message.publisher, fits),
                Strategy::HashClient => heaviest(members, hash(&message.publisher), fits),
                Strategy::HashTopic => heaviest(members, hash(&message.topic), fits),
            }
        })?;
        let member = members.get(place)?;
        if group.strategy == Strategy::LeastInflight {
            member.presence.expect_one();
        }
        Some(Pick {
            key: group.key.clone(),
            client_id: member.client_id.clone(),
            shard: member.shard,
            has_room: member.presence.has_room(),
            is_durable: group.is_durable,
            is_passed_on: false,
        })
    }

    fn turn(&mut self, group: usize) -> Option<&mut usize> {
        if self.turns.len() <= group {
            self.turns.resize(group + 1, 0);
        }
        self.turns.get_mut(group)
    }

    fn next(
        &mut self,
        group: usize,
        members: &Members,
        fits: impl Fn(&Member) -> bool,
    ) -> Option<usize> {
        let turn = self.turn(group)?;
        let start = *turn;
        let place =
            round(members.len(), start).find(|place| members.get(*place).is_some_and(&fits))?;
        *turn = place + 1;
        Some(place)
    }

    fn least(
        &mut self,
        group: usize,
        members: &Members,
        fits: impl Fn(&Member) -> bool,
    ) -> Option<usize> {
        let turn = self.turn(group)?;
        let start = *turn;
        *turn = (start + 1) % members.len().max(1); // among equals, in turn
        round(members.len(), start)
            .filter_map(|place| Some((place, members.get(place)?)))
            .filter(|(_, member)| fits(member))
            .take(COMPARED_MEMBERS)
            .min_by_key(|(_, member)| member.presence.load())
            .map(|(place, _)| place)
    }

    fn stick(
        &mut self,
        group: usize,
        members: &Members,
        publisher: &str,
        fits: impl Fn(&Member) -> bool,
    ) -> Option<usize> {
        let key = (group, hash(publisher));
        if let Some(known) = self.sticky.member(key) {
            let is_it = |place: usize| (members.get(place)).is_some_and(|m| m.hash == known.hash);
            let place = match is_it(known.place) {
                true => Some(known.place),
                false => members.iter().position(|member| member.hash == known.hash),
            };
            let is_ready = |place: &usize| members.get(*place).is_some_and(&fits);
            if let Some(place) = place.filter(is_ready) {
                if place != known.place {
                    self.sticky.keep(key, Stuck { place, ..known });
                }
                return Some(place);
            }
        }
        // The same choice on every shard, so that what is delivered again follows its publisher.
        let place = heaviest(members, key.1, fits)?;
        let hash = members.get(place)?.hash;
        self.sticky.keep(key, Stuck { hash, place });
        Some(place)
    }
}

/// Every place once, beginning with `start`.
fn round(count: usize, start: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |step| (start + step) % count)
}

fn heaviest(members: &Members, key: u64, fits: impl Fn(&Member) -> bool) -> Option<usize> {
    let mut best = None;
    for (place, member) in members.iter().enumerate() {
        let weight = weight(member, key);
        // Whether it fits is asked of few: each presence lies elsewhere.
        if best.is_none_or(|(heaviest, _)| weight >= heaviest) && fits(member) {
            best = Some((weight, place));
        }
    }
    best.map(|(_, place)| place)
}

/// A member that a publisher keeps.
#[derive(Clone, Copy, Debug)]
struct Stuck {
    hash: u64,
    /// Where it was; others come and go.
    place: usize,
}

/// Who keeps whom: two generations, the older one thrown away when the younger is full.
#[derive(Debug)]
struct Sticky {
    capacity: usize,
    young: HashMap<(usize, u64), Stuck>,
    old: HashMap<(usize, u64), Stuck>,
    forgotten: u64,
}

impl Sticky {
    fn new(capacity: usize) -> Self {
        Self {
            capacity: (capacity / 2).max(1),
            young: HashMap::default(),
            old: HashMap::default(),
            forgotten: 0,
        }
    }

    fn member(&mut self, key: (usize, u64)) -> Option<Stuck> {
        if let Some(known) = self.young.get(&key) {
            return Some(*known);
        }
        let known = self.old.remove(&key)?;
        self.keep(key, known);
        Some(known)
    }

    fn keep(&mut self, key: (usize, u64), member: Stuck) {
        self.old.remove(&key);
        if self.young.len() >= self.capacity && !self.young.contains_key(&key) {
            let young = std::mem::take(&mut self.young);
            let old = std::mem::replace(&mut self.old, young);
            self.forgotten += u64::try_from(old.len()).unwrap_or(u64::MAX);
        }
        self.young.insert(key, member);
    }
}
