//! Members of shared groups on one shard, and whose turn it is.

use super::interest::GroupKey;
use foldhash::HashMap;
use witmq_proto::topic::SharedFilter;

/// The groups of one shard.
#[derive(Debug, Default)]
pub struct SharedGroups {
    groups: HashMap<GroupKey, Group>,
}

#[derive(Debug, Default)]
struct Group {
    members: Vec<u32>,
    turn: usize,
}

fn key(shared: &SharedFilter) -> GroupKey {
    GroupKey {
        group: shared.group.clone(),
        filter: shared.filter.clone(),
    }
}

impl SharedGroups {
    /// Adds a member; whether the group is new on this shard.
    pub fn insert(&mut self, shared: &SharedFilter, member: u32) -> bool {
        let group = self.groups.entry(key(shared)).or_default();
        if !group.members.contains(&member) {
            group.members.push(member);
        }
        group.members.len() == 1
    }

    /// Takes a member out; whether it was one.
    pub fn remove(&mut self, shared: &SharedFilter, member: u32) -> bool {
        let key = key(shared);
        let Some(group) = self.groups.get_mut(&key) else {
            return false;
        };
        let before = group.members.len();
        group.members.retain(|known| *known != member);
        let is_removed = group.members.len() < before;
        if group.members.is_empty() {
            self.groups.remove(&key);
        }
        is_removed
    }

    /// The next member, in turn, that is `ready`; each is asked at most once.
    pub fn next(&mut self, key: &GroupKey, ready: impl Fn(u32) -> bool) -> Option<u32> {
        let group = self.groups.get_mut(key)?;
        let count = group.members.len();
        for step in 0..count {
            let place = (group.turn + step) % count;
            let member = group.members.get(place).copied()?;
            if ready(member) {
                group.turn = (place + 1) % count;
                return Some(member);
            }
        }
        None
    }

    /// The members of a group here.
    #[must_use]
    pub fn members(&self, key: &GroupKey) -> &[u32] {
        self.groups.get(key).map_or(&[], |group| &group.members)
    }
}
