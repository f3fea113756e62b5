//! What is known of the topics of late, so that a topic that comes again is looked up once and walks through nothing.
//!
//! Owns: [`Known`], one per shard, bounded in topics and in what it remembers of each. Exact: what is remembered
//! is of one version of the index that said it, and is asked for again when that has changed. The first topics are
//! remembered at once; where there are many, one is when it comes a second time before many others have, for to remember
//! each for once costs more than the walk. A topic takes two cache lines, and to find it a third ([`places::Places`]).

mod places;

use super::interest::{Interest, Matches};
use super::trie::{Trie, Walk};
use crate::ports::Named;
use crate::short::Short;
use foldhash::fast::RandomState;
use places::{MOST, Places};
use std::hash::BuildHasher as _;

/// Matches of one topic that are remembered; with more of them the walk is the smaller part of the work.
const MATCHES: usize = 16;

/// So many topics are remembered when they come first: 20 megabytes, if there are so many at all.
const AT_ONCE: usize = 131_072;

/// Marks of topics that came once: at about this many topics between two of the same it is not remembered.
const SEEN: usize = 131_072;

/// When there are as many topics as may be, one of so many that came lately takes the place of another: where there are far more, to
/// exchange them costs more than the walk.
const PATIENCE: u32 = 8;

/// Topics of one block: what is remembered grows without being moved.
const BLOCK: usize = 256;

/// Topics that are looked at ahead, all at once.
const AHEAD: usize = 64;

/// With fewer topics than this, what is known of them lies in a cache near the core anyway.
const FAR: usize = 4_096;

/// The place of a topic that is not remembered.
const PASSING: u32 = u32::MAX;

/// Of nothing that was said so far.
const NEVER: u32 = 0;

/// A topic's place. It holds until the next topic is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u32);

/// The topics of late.
#[derive(Debug)]
pub struct Known<V> {
    capacity: usize,
    places: Places,
    hasher: RandomState,
    /// In blocks of [`BLOCK`].
    topics: Vec<Vec<Topic<V>>>,
    len: usize,
    /// Of a topic that another one took the slot of.
    free: Option<u32>,
    /// Which one goes next when there are as many as may be.
    oldest: u32,
    /// Topics that might have taken its place since one did.
    waited: u32,
    forgotten: u64,
    /// The topic that came last: messages of one publisher come together.
    last: u32,
    /// Of a hash, who came last: whether a topic comes again soon.
    seen: Vec<u16>,
    /// The topic of [`PASSING`].
    passing: Topic<V>,
    interest: Version,
    trie: Version,
    chains: Version,
    /// Filled during a walk.
    walked: Vec<(u32, V)>,
    walk: Walk,
    none: Matches,
}

/// Of an index: the version that was asked for last, and which one that is, counted from 1: so short that it is kept with every topic.
#[derive(Clone, Copy, Debug)]
struct Version {
    full: u64,
    short: u32,
}

impl Version {
    const NONE: Self = Self {
        full: u64::MAX,
        short: NEVER,
    };

    /// How topics are marked of which an index of this version says something; `None`: there were too many.
    #[inline]
    fn at(&mut self, full: u64) -> Option<u32> {
        if self.full != full {
            self.short = self.short.checked_add(1)?;
            self.full = full;
        }
        Some(self.short)
    }
}

/// Two cache lines.
#[derive(Debug)]
#[repr(align(64))]
struct Topic<V> {
    name: Short<46>,
    wanted: Matches,
    matched: Matched<V>,
    /// Of the interest that said `wanted`.
    wanted_at: u32,
    /// Of the trie that said `matched`.
    matched_at: u32,
    /// Of the chains that said `named`.
    chained_at: u32,
    named: Named,
}

/// Subscriptions of this shard. One takes no allocation.
#[derive(Debug)]
enum Matched<V> {
    Few(Option<(u32, V)>),
    Several(Box<[(u32, V)]>),
    /// More than are remembered.
    Many,
}

impl<V> Topic<V> {
    fn new(name: &str) -> Self {
        Self {
            name: Short::new(name.as_bytes()),
            wanted: Matches::default(),
            matched: Matched::Many,
            wanted_at: NEVER,
            matched_at: NEVER,
            chained_at: NEVER,
            named: Named::SOME,
        }
    }

    /// Is another topic from here on.
    fn become_another(&mut self, name: &str) {
        self.name = Short::new(name.as_bytes());
        self.forget();
    }

    fn forget(&mut self) {
        (self.wanted_at, self.matched_at, self.chained_at) = (NEVER, NEVER, NEVER);
    }
}

/// Whether two topics are the same, where they most often differ near the end.
#[inline]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.last_chunk::<8>() == other.last_chunk() && one == other
}

/// Block of a place, and where in it.
fn split(place: u32) -> (usize, usize) {
    let place = usize::try_from(place).unwrap_or(usize::MAX);
    (place / BLOCK, place % BLOCK)
}

impl<V: Copy> Known<V> {
    /// Remembers at most `capacity` topics, one at least and [`MOST`] at most.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.clamp(1, MOST),
            places: Places::default(),
            hasher: RandomState::default(),
            topics: Vec::new(),
            len: 0,
            free: None,
            oldest: 0,
            waited: 0,
            forgotten: 0,
            last: PASSING,
            seen: Vec::new(),
            passing: Topic::new(""),
            interest: Version::NONE,
            trie: Version::NONE,
            chains: Version::NONE,
            walked: Vec::new(),
            walk: Walk::default(),
            none: Matches::default(),
        }
    }

    /// Topics that were forgotten for others.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Topics that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len - usize::from(self.free.is_some())
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The place of a topic, which is known from here on.
    #[inline]
    pub fn place(&mut self, topic: &str) -> Place {
        match self.at(Place(self.last)) {
            Some(last) if is_same(last.name.as_bytes(), topic.as_bytes()) => {}
            _ => self.last = self.find_or_add(topic),
        }
        Place(self.last)
    }

    /// Whether there are so many topics that [`Self::look_ahead`] is worth its while.
    #[inline]
    #[must_use]
    pub fn is_far(&self) -> bool {
        self.len >= FAR
    }

    /// Some of the next topics, so that what is known of them comes near while others are waited for too: one by one
    /// each would be waited for alone. Nothing changes but the time that the next look-ups take. One topic many times is looked
    /// at once.
    pub fn look_ahead<'a>(&self, topics: impl Iterator<Item = &'a [u8]>) {
        let (mut hashes, mut count, mut before) = ([0; AHEAD], 0, &[][..]);
        let mut touched = 0;
        for (slot, topic) in hashes.iter_mut().zip(topics) {
            if topic == before {
                break; // it goes on like that
            }
            *slot = self.hasher.hash_one(topic);
            touched ^= self.places.touch(*slot);
            (count, before) = (count + 1, topic);
        }
        for hash in hashes.iter().take(count) {
            let place = self.places.find(*hash, |_| true);
            if let Some(topic) = place.and_then(|place| self.at(Place(place))) {
                touched ^= topic.wanted_at ^ u32::from(topic.name.is_empty());
            }
        }
        std::hint::black_box(touched);
    }

    #[inline]
    fn at(&self, place: Place) -> Option<&Topic<V>> {
        if place.0 == PASSING {
            return Some(&self.passing);
        }
        let (block, place) = split(place.0);
        self.topics.get(block)?.get(place)
    }

    #[inline]
    fn at_mut(&mut self, place: Place) -> Option<&mut Topic<V>> {
        if place.0 == PASSING {
            return Some(&mut self.passing);
        }
        let (block, place) = split(place.0);
        self.topics.get_mut(block)?.get_mut(place)
    }

    /// Whether the topic of a hash came lately; it did from here on.
    fn came_lately(&mut self, hash: u64) -> bool {
        if self.seen.is_empty() {
            self.seen.resize(SEEN, 0);
        }
        let place = usize::try_from(hash >> 32).unwrap_or(0) % SEEN;
        let mark = u16::try_from(hash >> 48).unwrap_or(0) | 1; // not that of nobody
        let seen = self.seen.get_mut(place);
        seen.is_some_and(|seen| std::mem::replace(seen, mark) == mark)
    }

    fn find_or_add(&mut self, topic: &str) -> u32 {
        let hash = self.hasher.hash_one(topic.as_bytes());
        let found = self.places.find(hash, |place| {
            let known = self.at(Place(place));
            known.is_some_and(|known| known.name.as_bytes() == topic.as_bytes())
        });
        match found {
            Some(place) => place,
            None if self.is_remembered(hash) => self.add(topic, hash),
            None => {
                self.passing.become_another(topic);
                PASSING
            }
        }
    }

    /// Whether a topic that came now is remembered.
    fn is_remembered(&mut self, hash: u64) -> bool {
        let len = self.len();
        if len < AT_ONCE.min(self.capacity) {
            return true;
        }
        if !self.came_lately(hash) {
            return false;
        }
        self.waited += u32::from(len >= self.capacity);
        if len >= self.capacity && self.waited < PATIENCE {
            return false;
        }
        self.waited = 0;
        true
    }

    fn add(&mut self, topic: &str, hash: u64) -> u32 {
        let place = self.room();
        match self.at_mut(Place(place)) {
            Some(known) => known.become_another(topic),
            None => {
                if self.topics.last().is_none_or(|last| last.len() == BLOCK) {
                    self.topics.push(Vec::new());
                }
                if let Some(last) = self.topics.last_mut() {
                    last.push(Topic::new(topic));
                    self.len += 1;
                }
            }
        }
        self.free = self.places.insert(hash, place);
        self.forgotten += u64::from(self.free.is_some());
        place
    }

    /// A place for a topic: the next one, or if there are as many as may be that of the one that has been there longest.
    fn room(&mut self) -> u32 {
        if let Some(free) = self.free.take() {
            return free;
        }
        if self.len < self.capacity {
            return u32::try_from(self.len).unwrap_or(0);
        }
        let place = self.oldest;
        let next = usize::try_from(place).unwrap_or(0) + 1;
        self.oldest = u32::try_from(next % self.len).unwrap_or(0);
        self.places.remove(place);
        self.forgotten += 1;
        place
    }

    /// Nothing that was said of any topic is true any more.
    #[cold]
    fn ask_anew(&mut self) {
        let topics = self.topics.iter_mut().flatten();
        topics.for_each(Topic::forget);
        self.passing.forget();
        (self.interest, self.trie, self.chains) = (Version::NONE, Version::NONE, Version::NONE);
    }

    /// Marks of what is said now: by the interest, by the trie, and by the chains.
    #[inline]
    fn version(&mut self, of: impl Fn(&mut Self) -> &mut Version, full: u64) -> u32 {
        match of(self).at(full) {
            Some(short) => short,
            None => {
                self.ask_anew();
                of(self).at(full).unwrap_or(NEVER)
            }
        }
    }

    /// Who wants it: as [`Interest::find`] says, which is the same one at every call.
    #[inline]
    pub fn wanted(&mut self, interest: &Interest, place: Place) -> &Matches {
        let now = self.version(|known| &mut known.interest, interest.version());
        let Self {
            passing, topics, ..
        } = self;
        let topic = match place.0 {
            PASSING => passing,
            place => {
                let (block, place) = split(place);
                match topics.get_mut(block).and_then(|block| block.get_mut(place)) {
                    Some(topic) => topic,
                    None => return &self.none,
                }
            }
        };
        if topic.wanted_at != now {
            let name = topic.name.as_str();
            interest.find_into(name, &mut self.walk, &mut topic.wanted);
            topic.wanted_at = now;
        }
        &topic.wanted
    }

    /// Which chains name it, as `names` says, which says the same of a topic while `version` is the same.
    #[inline]
    pub fn named(
        &mut self,
        place: Place,
        version: u64,
        names: impl FnOnce(&str) -> Named,
    ) -> Named {
        let now = self.version(|known| &mut known.chains, version);
        let Some(topic) = self.at_mut(place) else {
            return Named::SOME;
        };
        if topic.chained_at != now {
            topic.named = names(topic.name.as_str());
            topic.chained_at = now;
        }
        topic.named
    }

    /// The one match of a topic that has no more; `None` if it has, or if [`Self::for_each_match`] was not asked yet.
    #[inline]
    pub fn single(&self, trie: &Trie<V>, place: Place) -> Option<(u32, V)> {
        let topic = self.at(place)?;
        let is_now = self.trie.full == trie.version() && topic.matched_at == self.trie.short;
        match topic.matched {
            Matched::Few(one) if is_now => one,
            _ => None,
        }
    }

    /// As [`Trie::for_each_match`] of `trie`, which is the same one at every call.
    #[inline]
    pub fn for_each_match(
        &mut self,
        trie: &Trie<V>,
        place: Place,
        walk: &mut Walk,
        mut found: impl FnMut(u32, &V),
    ) {
        let now = self.version(|known| &mut known.trie, trie.version());
        let mut list = std::mem::take(&mut self.walked);
        if let Some(topic) = self.at_mut(place) {
            if topic.matched_at != now {
                topic.matched = walked(trie, topic.name.as_str(), walk, &mut list);
                topic.matched_at = now;
            }
            match &topic.matched {
                Matched::Few(one) => {
                    if let Some((key, value)) = one {
                        found(*key, value);
                    }
                }
                Matched::Several(all) => all.iter().for_each(|(key, value)| found(*key, value)),
                Matched::Many => trie.for_each_match(topic.name.as_str(), walk, found),
            }
        }
        self.walked = list;
    }
}

/// What the trie says of a topic; `list` is scratch.
fn walked<V: Copy>(
    trie: &Trie<V>,
    topic: &str,
    walk: &mut Walk,
    list: &mut Vec<(u32, V)>,
) -> Matched<V> {
    list.clear();
    let mut count = 0;
    trie.for_each_match(topic, walk, |key, value| {
        count += 1;
        if count <= MATCHES {
            list.push((key, *value));
        }
    });
    match count {
        0 | 1 => Matched::Few(list.first().copied()),
        2..=MATCHES => Matched::Several(list.as_slice().into()),
        _ => Matched::Many,
    }
}

#[cfg(test)]
mod tests;
