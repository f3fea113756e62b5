//! From the tables to what the shards of a new life begin with.
//!
//! Owns: the reading, the removal of what belongs to nobody, and the catching up: a message that was logged
//! for another shard and not queued there when the node ended is queued now, before anything else happens.
//! So a message is durable with its log entry alone, and is queued exactly once.

mod index;

use crate::commit::applied_key;
use crate::format::{self, Picks, Pointer, queue_key, read_log_key, read_message, read_targets};
use crate::slices::{LogState, bits};
use crate::tables::Tables;
use crate::wire::{Damaged, Reader};
use crate::{Found, OpenError, StorageConfig};
use bytestring::ByteString;
use index::{Hit, Index};
use std::collections::BTreeMap;
use witmq_broker::delayed::DelayedId;
use witmq_broker::kv::Spaces;
use witmq_broker::ports::Past;
use witmq_broker::ports::store::{Restored, SessionNumber};
use witmq_broker::shard::{ClockBase, shard_of};
use witmq_proto::packet::PacketId;
use witmq_proto::{LogPlace, Message};

const SHARDS_KEY: &str = "shards";

/// What committer and shards go on from.
pub(crate) struct State {
    pub(crate) log: LogState,
    /// Number of the next session.
    pub(crate) sessions: u64,
}

struct Recovery<'a> {
    tables: &'a Tables,
    clock: &'a ClockBase,
    sessions: BTreeMap<u64, Restored>,
    log: LogState,
    damaged: Vec<String>,
    batch: fjall::OwnedWriteBatch,
}

pub(crate) fn recover(
    tables: &Tables,
    config: &StorageConfig,
    shards: u16,
    clock: &ClockBase,
    kv: &Spaces,
) -> Result<(Found, State), OpenError> {
    let mut recovery = Recovery::new(tables, clock);
    let done = recovery.run(shards, kv);
    let read = done.map_err(|error| OpenError::of(&config.dir, error))?;
    let next_delayed = read.delayed.iter().map(|(id, _)| id.number + 1).max();
    let mut pasts: Vec<Past> = (0..shards)
        .map(|shard| Past {
            next_log_number: recovery.log.next.get(&shard).copied().unwrap_or(0),
            next_delayed_number: next_delayed.unwrap_or(0),
            ..Past::default()
        })
        .collect();
    let next = recovery
        .sessions
        .keys()
        .next_back()
        .map_or(1, |last| last + 1);
    for restored in std::mem::take(&mut recovery.sessions).into_values() {
        let shard = shard_of(&restored.state.client_id, shards);
        if let Some(past) = pasts.get_mut(usize::from(shard.0)) {
            past.sessions.push(restored);
        }
    }
    for (id, message) in read.delayed {
        let shard = shard_of(&message.publisher, shards);
        if let Some(past) = pasts.get_mut(usize::from(shard.0)) {
            past.delayed.push((id, message));
        }
    }
    for will in read.wills {
        let shard = shard_of(&will.0, shards);
        if let Some(past) = pasts.get_mut(usize::from(shard.0)) {
            past.wills.push(will);
        }
    }
    let found = Found {
        pasts,
        retained: read.retained,
        caught_up: read.caught_up,
        damaged: recovery.damaged,
        cut: Vec::new(),
    };
    let state = State {
        log: recovery.log,
        sessions: next,
    };
    Ok((found, state))
}

/// Reads everything and changes nothing: entries that are not what this version writes.
pub(crate) fn unreadable(tables: &Tables, clock: &ClockBase) -> Result<Vec<String>, fjall::Error> {
    let mut recovery = Recovery::new(tables, clock);
    recovery.read_sessions()?;
    recovery.read_subscriptions()?;
    recovery.read_received()?;
    recovery.read_log()?;
    recovery.read_queues()?;
    recovery.read_retained()?;
    recovery.read_wills()?;
    recovery.read_delayed()?;
    recovery.read_kv(&Spaces::default())?;
    for slice in tables.slices().iter() {
        for item in slice.log.iter() {
            let (key, value) = item.into_inner()?;
            if let Err(error) = recovery.read_entry(&key, &value) {
                recovery.damage(slice.log.name(), &key, error);
            }
        }
    }
    Ok(recovery.damaged)
}

type Wills = Vec<(ByteString, witmq_proto::packet::Will, Option<u64>)>;

/// What was read beside sessions and the log.
struct Read {
    caught_up: u64,
    retained: Vec<Message>,
    wills: Wills,
    delayed: Vec<(DelayedId, Message)>,
}

impl<'a> Recovery<'a> {
    fn new(tables: &'a Tables, clock: &'a ClockBase) -> Self {
        Self {
            tables,
            clock,
            sessions: BTreeMap::new(),
            log: LogState::default(),
            damaged: Vec::new(),
            batch: tables.db.batch(),
        }
    }

    fn run(&mut self, shards: u16, kv: &Spaces) -> Result<Read, fjall::Error> {
        self.read_sessions()?;
        self.read_subscriptions()?;
        self.read_received()?;
        self.read_log()?;
        self.read_queues()?;
        let read = Read {
            caught_up: self.catch_up()?,
            retained: self.read_retained()?,
            wills: self.read_wills()?,
            delayed: self.read_delayed()?,
        };
        self.read_kv(kv)?;
        self.settle(shards)?;
        Ok(read)
    }

    fn damage(&mut self, table: &str, key: &[u8], error: Damaged) {
        self.damaged
            .push(format!("{table} {}: {error}", key.escape_ascii()));
    }

    fn read_sessions(&mut self) -> Result<(), fjall::Error> {
        for item in self.tables.sessions.iter() {
            let (key, value) = item.into_inner()?;
            let read = Reader::new(&key)
                .u64()
                .and_then(|number| Ok((number, format::read_session(&value)?)));
            match read {
                Ok((number, state)) => {
                    let restored = Restored {
                        session: SessionNumber(number),
                        state,
                        subscriptions: Vec::new(),
                        received: Vec::new(),
                        queue: None,
                    };
                    self.sessions.insert(number, restored);
                }
                Err(error) => self.damage("sessions", &key, error),
            }
        }
        Ok(())
    }

    fn read_subscriptions(&mut self) -> Result<(), fjall::Error> {
        for item in self.tables.subscriptions.iter() {
            let (key, value) = item.into_inner()?;
            let mut input = Reader::new(&key);
            let read = input.u64().and_then(|number| {
                let at = input.damaged();
                let filter = ByteString::try_from(input.rest()).map_err(|_| at)?;
                let (options, id) = format::read_subscription(&value)?;
                Ok((number, (filter, options, id)))
            });
            match read {
                Ok((number, subscription)) => match self.sessions.get_mut(&number) {
                    Some(session) => session.subscriptions.push(subscription),
                    None => self.batch.remove(&self.tables.subscriptions, key),
                },
                Err(error) => self.damage("subscriptions", &key, error),
            }
        }
        Ok(())
    }

    fn read_received(&mut self) -> Result<(), fjall::Error> {
        for item in self.tables.received.iter() {
            let key = item.key()?;
            let mut input = Reader::new(&key);
            let read = input.u64().and_then(|number| Ok((number, input.u16()?)));
            match read {
                Ok((number, id)) => match (self.sessions.get_mut(&number), PacketId::new(id)) {
                    (Some(session), Some(id)) => session.received.push(id),
                    _ => self.batch.remove(&self.tables.received, key),
                },
                Err(error) => self.damage("received", &key, error),
            }
        }
        Ok(())
    }

    /// How far each shard's log goes, and what others have queued of it.
    fn read_log(&mut self) -> Result<(), fjall::Error> {
        for item in self.tables.meta.prefix("applied") {
            let (key, value) = item.into_inner()?;
            let mut input = Reader::new(key.get(7..).unwrap_or_default());
            let read = input
                .u16()
                .and_then(|target| Ok((target, input.u16()?, Reader::new(&value).u64()?)));
            match read {
                Ok((target, source, next)) => {
                    self.log.applied.insert((target, source), next);
                    let known = self.log.next.entry(source).or_default();
                    *known = next.max(*known);
                }
                Err(error) => self.damage("meta", &key, error),
            }
        }
        for slice in self.tables.slices().iter() {
            let bytes = slice.log.disk_space();
            self.log.weights.entry(slice.id).or_default().bytes = bytes;
            for (shard, first) in &slice.first {
                let known = self.log.next.entry(*shard).or_default();
                *known = (*first).max(*known);
                let last = slice.log.prefix(shard.to_be_bytes()).next_back();
                if let Some(Ok(place)) = last.map(|item| item.key().map(|key| read_log_key(&key))) {
                    let next = place.map_or(0, |place| place.number + 1);
                    *known = next.max(*known);
                }
            }
        }
        Ok(())
    }

    fn read_queues(&mut self) -> Result<(), fjall::Error> {
        let slices = self.tables.slices();
        for item in self.tables.queue.iter() {
            let (key, value) = item.into_inner()?;
            let read = format::read_queue_key(&key)
                .and_then(|(session, number)| Ok((session, number, Pointer::read(&value)?)));
            let (session, number, pointer) = match read {
                Ok(read) => read,
                Err(error) => {
                    let text = format!("queue {}: {error}", key.escape_ascii());
                    self.damaged.push(text);
                    self.batch.remove(&self.tables.queue, key);
                    continue;
                }
            };
            let Some(restored) = self.sessions.get_mut(&session) else {
                self.batch.remove(&self.tables.queue, key);
                continue;
            };
            self.log.point(&slices, pointer.kept);
            note_entry(restored, number, pointer.size);
        }
        Ok(())
    }

    /// Queues what was logged for a shard and not queued there.
    fn catch_up(&mut self) -> Result<u64, fjall::Error> {
        let old_shards = self.tables.meta.get(SHARDS_KEY)?;
        let old_shards = old_shards.and_then(|value| Reader::new(&value).u16().ok());
        let Some(old_shards) = old_shards else {
            return Ok(0); // a new database
        };
        let mut index = None;
        let mut caught_up = 0;
        let sources: Vec<u16> = self.log.next.keys().copied().collect();
        for source in sources {
            let applied = |target| {
                self.log
                    .applied
                    .get(&(target, source))
                    .copied()
                    .unwrap_or(0)
            };
            let from: Vec<u64> = (0..old_shards).map(applied).collect();
            let lowest = from.iter().min().copied().unwrap_or(0);
            let logs: Vec<_> = self.tables.slices().iter().map(|s| s.log.clone()).collect();
            for log in logs {
                let key = |number| {
                    format::log_key(LogPlace {
                        shard: source,
                        number,
                    })
                };
                for item in log.range(key(lowest)..=key(u64::MAX)) {
                    let (key, value) = item.into_inner()?;
                    let read = self.read_entry(&key, &value);
                    let (place, targets, picks, message) = match read {
                        Ok(read) => read,
                        Err(error) => {
                            self.damage("log", &key, error);
                            continue;
                        }
                    };
                    let is_open = |target: &u16| {
                        let next = from.get(usize::from(*target)).copied();
                        next.is_some_and(|next| place.number >= next)
                    };
                    let owing = picks.iter().fold(targets, |set, (to, _, _)| set | 1 << to);
                    for target in bits(owing).filter(is_open) {
                        let index =
                            index.get_or_insert_with(|| Index::new(&self.sessions, old_shards));
                        let hits = index.find(target, targets, &message, &picks);
                        for hit in hits {
                            self.queue(place, &message, hit);
                            caught_up += 1;
                        }
                    }
                }
            }
        }
        Ok(caught_up)
    }

    fn read_entry(
        &self,
        key: &[u8],
        value: &[u8],
    ) -> Result<(LogPlace, u64, Picks, Message), Damaged> {
        let place = read_log_key(key)?;
        let mut input = Reader::new(value);
        let (targets, picks) = read_targets(&mut input)?;
        Ok((place, targets, picks, read_message(&mut input, self.clock)?))
    }

    fn queue(&mut self, kept: LogPlace, message: &Message, hit: Hit) {
        let Some(restored) = self.sessions.get_mut(&hit.session) else {
            return;
        };
        let last = restored.queue.map_or(0, |(_, last, _, _)| last + 1);
        let number = last.max(restored.state.next_number.unwrap_or(0));
        let size = message.payload.len() + message.topic.len();
        let pointer = Pointer {
            kept,
            is_released: false,
            qos: message.qos.min(hit.options.qos),
            retain: message.retain && hit.options.retain_as_published,
            subscription_ids: hit.ids,
            group: hit.group,
            size: u32::try_from(size).unwrap_or(u32::MAX),
        };
        let key = queue_key(hit.session, number);
        self.batch.insert(&self.tables.queue, key, pointer.write());
        note_entry(restored, number, pointer.size);
        self.log.point(&self.tables.slices(), kept);
    }

    fn read_retained(&mut self) -> Result<Vec<Message>, fjall::Error> {
        let mut messages = Vec::new();
        for item in self.tables.retained.iter() {
            let (key, value) = item.into_inner()?;
            match read_message(&mut Reader::new(&value), self.clock) {
                Ok(message) => messages.push(message),
                Err(error) => self.damage("retained", &key, error),
            }
        }
        Ok(messages)
    }

    fn read_wills(&mut self) -> Result<Wills, fjall::Error> {
        let mut wills = Vec::new();
        for item in self.tables.wills.iter() {
            let (key, value) = item.into_inner()?;
            let client_id = ByteString::try_from(&key[..]).map_err(|_| Damaged(0));
            let read = client_id.and_then(|id| Ok((id, format::read_will(&value)?)));
            match read {
                Ok((client_id, (will, due))) => wills.push((client_id, will, due)),
                Err(error) => self.damage("wills", &key, error),
            }
        }
        Ok(wills)
    }

    fn read_delayed(&mut self) -> Result<Vec<(DelayedId, Message)>, fjall::Error> {
        let mut messages = Vec::new();
        for item in self.tables.delayed.iter() {
            let (key, value) = item.into_inner()?;
            let read = format::read_delayed_key(&key)
                .and_then(|id| Ok((id, read_message(&mut Reader::new(&value), self.clock)?)));
            match read {
                Ok(read) => messages.push(read),
                Err(error) => self.damage("delayed", &key, error),
            }
        }
        Ok(messages)
    }

    fn read_kv(&mut self, kv: &Spaces) -> Result<(), fjall::Error> {
        for item in self.tables.kv.iter() {
            let (key, value) = item.into_inner()?;
            match crate::kv::read(&key, &value) {
                Ok((plugin, name, entry)) => kv.restore(plugin, name, entry),
                Err(error) => self.damage("kv", &key, error),
            }
        }
        Ok(())
    }

    /// Everything is queued: from here on each shard of the new life owes nothing of the old one.
    fn settle(&mut self, shards: u16) -> Result<(), fjall::Error> {
        self.log.owed.clear();
        self.log.applied.clear();
        for shard in 0..shards {
            self.log.next.entry(shard).or_default();
        }
        for (source, next) in &self.log.next {
            for target in 0..shards {
                self.log.applied.insert((target, *source), *next);
                let key = applied_key(target, *source);
                self.batch
                    .insert(&self.tables.meta, key, next.to_be_bytes());
            }
        }
        self.batch
            .insert(&self.tables.meta, SHARDS_KEY, shards.to_be_bytes());
        let batch = std::mem::replace(&mut self.batch, self.tables.db.batch());
        batch
            .durability(Some(fjall::PersistMode::SyncData))
            .commit()
    }
}

/// Counts an entry of a session's queue.
fn note_entry(restored: &mut Restored, number: u64, size: u32) {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let (first, _, count, bytes) = restored.queue.unwrap_or((number, number, 0, 0));
    restored.queue = Some((first, number, count + 1, bytes + size));
}
