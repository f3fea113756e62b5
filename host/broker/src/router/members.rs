//! The members of a shared group: the table's own list of them, and what those who look at it see.
//!
//! Owns: [`Members`], which is cheap to clone and never changes for whoever has it, and [`Roll`], which changes: what
//! is looked at meanwhile is copied, but of very many members two chunks at most. Must not: choose.

use super::groups::{Member, Presence, hash};
use hashbrown::HashTable;
use std::sync::Arc;

/// Members that are copied together when one of them changes while somebody looks at them.
const CHUNK: usize = 64;

/// Members of a group at one moment, in no order that means anything.
#[derive(Clone, Debug, Default)]
pub struct Members {
    /// All full but the last.
    chunks: Arc<Vec<Arc<Vec<Member>>>>,
    len: usize,
}

impl Members {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The one at a place below [`Self::len`].
    #[must_use]
    pub fn get(&self, place: usize) -> Option<&Member> {
        self.chunks.get(place / CHUNK)?.get(place % CHUNK)
    }

    /// All of them by their places.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    fn push(&mut self, member: Member) {
        let chunks = Arc::make_mut(&mut self.chunks);
        match chunks.last_mut().filter(|last| last.len() < CHUNK) {
            Some(last) => Arc::make_mut(last).push(member),
            None => chunks.push(Arc::new(vec![member])),
        }
        self.len += 1;
    }

    fn set(&mut self, place: usize, member: Member) {
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = chunks.get_mut(place / CHUNK).map(Arc::make_mut);
        if let Some(old) = chunk.and_then(|chunk| chunk.get_mut(place % CHUNK)) {
            *old = member;
        }
    }

    fn pop(&mut self) -> Option<Member> {
        let chunks = Arc::make_mut(&mut self.chunks);
        let last = chunks.last_mut()?;
        let member = Arc::make_mut(last).pop()?;
        if last.is_empty() {
            chunks.pop();
        }
        self.len -= 1;
        Some(member)
    }
}

/// Who is in a group, by client id.
#[derive(Debug, Default)]
pub(super) struct Roll {
    members: Members,
    /// Places of members by the hash of their client id.
    places: HashTable<u32>,
    /// Members that must not lose QoS 1 and 2.
    durable: usize,
}

impl Roll {
    /// As they are now.
    pub(super) fn seen(&self) -> &Members {
        &self.members
    }

    /// Whether one of them must not lose QoS 1 and 2.
    pub(super) fn is_durable(&self) -> bool {
        self.durable > 0
    }

    /// One more, or in place of the one with the same client id.
    pub(super) fn join(&mut self, member: Member) {
        self.durable += usize::from(member.is_durable);
        if let Some(place) = self.place(&member.client_id) {
            let old = self.members.get(place);
            self.durable -= usize::from(old.is_some_and(|old| old.is_durable));
            return self.members.set(place, member);
        }
        let Ok(place) = u32::try_from(self.members.len()) else {
            unreachable!("a node has fewer clients");
        };
        let members = &self.members;
        let hash_of = |place: &u32| hash_at(members, *place);
        self.places.insert_unique(member.hash(), place, hash_of);
        self.members.push(member);
    }

    /// One less, if the member of this client id is the one with this presence: the client may have another session by now.
    pub(super) fn leave(&mut self, client_id: &str, presence: &Arc<Presence>) {
        let Some(place) = self.place(client_id) else {
            return;
        };
        let old = self.members.get(place);
        let Some(old) = old.filter(|old| Arc::ptr_eq(&old.presence, presence)) else {
            return;
        };
        self.durable -= usize::from(old.is_durable);
        self.forget(old.hash(), place);
        // The last one takes its place.
        let last = self.members.len() - 1;
        let Some(moved) = self.members.pop().filter(|_| place != last) else {
            return;
        };
        let known = self
            .places
            .find_mut(moved.hash(), |known| at(*known) == last);
        if let (Some(known), Ok(place)) = (known, u32::try_from(place)) {
            *known = place;
        }
        self.members.set(place, moved);
    }

    fn forget(&mut self, hash: u64, place: usize) {
        let entry = self.places.find_entry(hash, |known| at(*known) == place);
        if let Ok(entry) = entry {
            entry.remove();
        }
        // A group that was large once is not for ever.
        if self.places.len() * 4 < self.places.capacity() {
            let members = &self.members;
            let hash_of = |place: &u32| hash_at(members, *place);
            self.places.shrink_to(self.places.len() * 2, hash_of);
        }
    }

    fn place(&self, client_id: &str) -> Option<usize> {
        let is_it = |place: &u32| {
            let member = self.members.get(at(*place));
            member.is_some_and(|member| member.client_id == *client_id)
        };
        self.places
            .find(hash(client_id), is_it)
            .map(|place| at(*place))
    }
}

fn at(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

fn hash_at(members: &Members, place: u32) -> u64 {
    members.get(at(place)).map_or(0, Member::hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::ShardId;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn member(number: u32, presence: &Arc<Presence>, is_durable: bool) -> Member {
        let client_id = format!("client-{number}").into();
        Member::new(client_id, ShardId(0), presence.clone(), is_durable)
    }

    fn numbers(members: &Members) -> Vec<&str> {
        let mut all: Vec<_> = members.iter().map(|member| &*member.client_id).collect();
        all.sort_unstable();
        all
    }

    proptest! {
        /// Whatever comes and goes, it is what a map would have, and what was seen stays as it was.
        #[test]
        fn it_is_a_map_by_client_id(changes in proptest::collection::vec((0..400_u32, any::<bool>(), any::<bool>()), 0..1200)) {
            let mut roll = Roll::default();
            let mut model: BTreeMap<String, (Arc<Presence>, bool)> = BTreeMap::new();
            let mut seen = Vec::new();
            for (step, (number, joins, is_durable)) in changes.into_iter().enumerate() {
                let name = format!("client-{number}");
                if joins {
                    let presence = Arc::default();
                    roll.join(member(number, &presence, is_durable));
                    model.insert(name, (presence, is_durable));
                } else if let Some((presence, _)) = model.remove(&name) {
                    roll.leave(&name, &Arc::default());
                    prop_assert!(roll.place(&name).is_some(), "another session's");
                    roll.leave(&name, &presence);
                } else {
                    roll.leave(&name, &Arc::default());
                }
                prop_assert_eq!(roll.seen().len(), model.len());
                prop_assert_eq!(roll.is_durable(), model.values().any(|(_, durable)| *durable));
                if step % 100 == 0 {
                    let names: Vec<_> = model.keys().cloned().collect();
                    seen.push((roll.seen().clone(), names));
                }
            }
            for (place, member) in roll.seen().iter().enumerate() {
                prop_assert_eq!(roll.place(&member.client_id), Some(place));
                let at_place = roll.seen().get(place).map(|member| &member.client_id);
                prop_assert_eq!(at_place, Some(&member.client_id));
            }
            for (members, mut names) in seen {
                names.sort_unstable();
                prop_assert_eq!(numbers(&members), names);
            }
        }
    }

    #[test]
    fn a_change_copies_a_part_of_a_large_group_and_only_what_is_looked_at() {
        let presences: Vec<Arc<Presence>> = (0..10_000).map(|_| Arc::default()).collect();
        let mut roll = Roll::default();
        for (number, presence) in (0..).zip(&presences) {
            roll.join(member(number, presence, false));
        }
        let pointers = |members: &Members| -> Vec<_> {
            let chunks = members.chunks.iter();
            chunks.map(Arc::as_ptr).collect()
        };
        let seen = roll.seen().clone();
        roll.leave("client-4000", &presences[4000]);
        roll.join(member(4000, &presences[4000], false));
        let (before, after) = (pointers(&seen), pointers(roll.seen()));
        let copied = before
            .iter()
            .zip(&after)
            .filter(|(one, other)| one != other);
        assert_eq!(copied.count(), 2, "where it was, and the last");
        drop(seen);
        roll.leave("client-4000", &presences[4000]);
        roll.join(member(4000, &presences[4000], false));
        assert_eq!(pointers(roll.seen()), after, "in place: nobody looks");
    }

    #[test]
    fn a_group_that_was_large_lets_go_of_what_it_needed() {
        let presence = Arc::default();
        let mut roll = Roll::default();
        (0..10_000).for_each(|number| roll.join(member(number, &presence, false)));
        assert!(roll.places.capacity() >= 10_000);
        (3..10_000).for_each(|number| roll.leave(&format!("client-{number}"), &presence));
        assert!(roll.places.capacity() <= 16, "{}", roll.places.capacity());
        assert_eq!(numbers(roll.seen()), ["client-0", "client-1", "client-2"]);
    }
}
