//! A disk in memory: the least that keeps what `ports::store` promises, and finds it again.

use super::store::{Disk, Kept, Turn};
use crate::ports::Past;
use crate::ports::store::{Entry, Fetch, Fetched, Restored, SessionNumber, SessionState};
use crate::router::ShardId;
use crate::router::interest::GroupKey;
use crate::shard::shard_of;
use bytestring::ByteString;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use witmq_proto::packet::{PacketId, QoS, SubscribeOptions, Will};
use witmq_proto::topic::Filter;
use witmq_proto::{Delivery, LogPlace, Message};

/// A message in the log.
#[derive(Debug)]
struct Logged {
    message: Arc<Message>,
    targets: u64,
    groups: Vec<(ShardId, Arc<GroupKey>)>,
}

/// Everything that is durable.
#[derive(Debug, Default)]
pub struct Ram {
    sessions: BTreeMap<SessionNumber, SessionState>,
    subscriptions: BTreeMap<(SessionNumber, ByteString), (SubscribeOptions, Option<u32>)>,
    queues: BTreeMap<(SessionNumber, u64), Entry>,
    received: BTreeSet<(SessionNumber, PacketId)>,
    wills: BTreeMap<ByteString, (Will, Option<u64>)>,
    /// With the version of the change; versions begin anew with each life.
    retained: BTreeMap<String, (u64, Option<Arc<Message>>)>,
    log: BTreeMap<LogPlace, Logged>,
    /// By target and source: the next entry of the source that the target has not queued.
    applied: BTreeMap<(u16, u16), u64>,
    next_session: u64,
}

/// A session a logged message is owed to.
struct Hit {
    session: SessionNumber,
    options: SubscribeOptions,
    ids: Vec<u32>,
    group: Option<Arc<(ByteString, ByteString)>>,
}

impl Ram {
    fn apply(&mut self, shard: u16, record: &Kept) {
        match record {
            Kept::Session(session, state) => {
                self.sessions.insert(*session, state.clone());
            }
            Kept::SessionEnded(session, _) => self.forget(*session),
            Kept::Subscribed(session, filter, options, id) => {
                let key = (*session, filter.clone());
                self.subscriptions.insert(key, (*options, *id));
            }
            Kept::Unsubscribed(session, filter) => {
                self.subscriptions.remove(&(*session, filter.clone()));
            }
            Kept::Message {
                place,
                message,
                targets,
                groups,
            } => {
                let logged = Logged {
                    message: message.clone(),
                    targets: *targets,
                    groups: groups.clone(),
                };
                self.log.insert(*place, logged);
            }
            Kept::Applied(place) => {
                self.applied.insert((shard, place.shard), place.number + 1);
            }
            Kept::Queued(session, delivery) => {
                let key = (*session, delivery.number);
                self.queues.insert(key, Entry::Queued(delivery.clone()));
            }
            Kept::Released(session, number, kept) => {
                self.queues
                    .insert((*session, *number), Entry::Released(*kept));
            }
            Kept::Done(session, number, _) => {
                self.queues.remove(&(*session, *number));
            }
            Kept::Trimmed(session, from) => {
                let mut rest = self.queues.range((*session, *from)..=(*session, u64::MAX));
                if let Some(key) = rest.next().map(|(key, _)| *key) {
                    self.queues.remove(&key);
                }
            }
            Kept::Received(session, id) => {
                self.received.insert((*session, *id));
            }
            Kept::Forgotten(session, id) => {
                self.received.remove(&(*session, *id));
            }
            Kept::Retained(topic, version, message) => {
                let known = self.retained.get(topic).map_or(0, |(version, _)| *version);
                if *version >= known {
                    self.retained
                        .insert(topic.clone(), (*version, message.clone()));
                }
            }
            Kept::Will(client_id, Some(will)) => {
                self.wills.insert(client_id.clone(), will.clone());
            }
            Kept::Will(client_id, None) => {
                self.wills.remove(client_id);
            }
        }
    }

    fn forget(&mut self, session: SessionNumber) {
        self.sessions.remove(&session);
        self.subscriptions.retain(|(of, _), _| *of != session);
        self.queues.retain(|(of, _), _| *of != session);
        self.received.retain(|(of, _)| *of != session);
    }

    /// Queues what was logged for a shard and not queued there.
    fn catch_up(&mut self, shards: u16) {
        let log = std::mem::take(&mut self.log);
        for (place, logged) in log {
            for target in 0..shards {
                let applied = self.applied.get(&(target, place.shard)).copied();
                if place.number < applied.unwrap_or(0) {
                    continue;
                }
                for hit in self.hits(target, shards, &logged) {
                    self.queue(place, &logged.message, hit);
                }
            }
            for target in 0..shards {
                let key = (target, place.shard);
                let next = self.applied.get(&key).copied().unwrap_or(0);
                self.applied.insert(key, next.max(place.number + 1));
            }
        }
    }

    fn hits(&self, target: u16, shards: u16, logged: &Logged) -> Vec<Hit> {
        let mut hits: Vec<Hit> = Vec::new();
        let mut served = BTreeSet::new();
        for ((session, text), (options, id)) in &self.subscriptions {
            let Some(state) = self.sessions.get(session) else {
                continue;
            };
            let is_here = shard_of(&state.client_id, shards).0 == target;
            if !is_here || options.qos == QoS::AtMostOnce {
                continue;
            }
            let group = match Filter::parse(text) {
                Ok(Filter::Plain(filter))
                    if logged.targets & 1 << target != 0
                        && filter.matches(&logged.message.topic) =>
                {
                    None
                }
                Ok(Filter::Shared(shared)) => {
                    let pick = logged.groups.iter().find(|(shard, key)| {
                        shard.0 == target
                            && key.group == shared.group
                            && key.filter == shared.filter
                    });
                    let Some((_, key)) = pick else { continue };
                    let name = (key.group.clone(), key.filter.as_byte_string().clone());
                    if !served.insert(name.clone()) {
                        continue;
                    }
                    Some(Arc::new(name))
                }
                _ => continue,
            };
            let known = hits.iter_mut();
            let known = known.filter(|hit| group.is_none() && hit.group.is_none());
            match known.last().filter(|hit| hit.session == *session) {
                Some(hit) => {
                    hit.options.qos = hit.options.qos.max(options.qos);
                    hit.ids.extend(id);
                }
                None => hits.push(Hit {
                    session: *session,
                    options: *options,
                    ids: id.iter().copied().collect(),
                    group,
                }),
            }
        }
        hits
    }

    fn queue(&mut self, kept: LogPlace, message: &Arc<Message>, hit: Hit) {
        let queue = (hit.session, 0)..=(hit.session, u64::MAX);
        let last = self.queues.range(queue).next_back();
        let next = last.map_or(0, |((_, number), _)| number + 1);
        let state = self.sessions.get(&hit.session);
        let number = next.max(state.and_then(|state| state.next_number).unwrap_or(0));
        let delivery = Delivery {
            message: message.clone(),
            qos: message.qos.min(hit.options.qos),
            retain: message.retain && hit.options.retain_as_published,
            subscription_ids: hit.ids.into(),
            group: hit.group,
            number,
            kept: Some(kept),
        };
        let entry = Entry::Queued(delivery);
        self.queues.insert((hit.session, number), entry);
    }

    fn restored(&self, session: SessionNumber, state: &SessionState) -> Restored {
        let subscriptions = self.subscriptions.iter();
        let subscriptions = subscriptions.filter(|((of, _), _)| *of == session);
        let received = self.received.iter().filter(|(of, _)| *of == session);
        let mut queue = None;
        for ((_, number), entry) in self.queues.range((session, 0)..=(session, u64::MAX)) {
            let bytes = match entry {
                Entry::Queued(delivery) => {
                    delivery.message.payload.len() + delivery.message.topic.len()
                }
                Entry::Released(_) | Entry::Lost(_) => 0,
            };
            let (first, _, count, before) = queue.unwrap_or((*number, *number, 0, 0));
            queue = Some((first, *number, count + 1, before + bytes));
        }
        Restored {
            session,
            state: state.clone(),
            subscriptions: subscriptions
                .map(|((_, filter), (options, id))| (filter.clone(), *options, *id))
                .collect(),
            received: received.map(|(_, id)| *id).collect(),
            queue,
        }
    }
}

impl Disk for Ram {
    fn commit(&mut self, turns: &[Turn]) {
        for turn in turns {
            for record in &turn.records {
                self.apply(turn.shard, record);
            }
        }
    }

    fn page(&mut self, _shard: u16, fetch: Fetch) -> Fetched {
        let range = (fetch.session, fetch.from)..=(fetch.session, u64::MAX);
        let mut rest = self.queues.range(range);
        // Pages of a few entries, so that there are many.
        let entries = rest.by_ref().take(fetch.limit.min(4));
        let entries = entries.map(|((_, number), entry)| (*number, entry.clone()));
        Fetched {
            fetch,
            entries: entries.collect(),
            is_last: rest.next().is_none(),
        }
    }

    fn new_session(&mut self) -> SessionNumber {
        self.next_session += 1;
        SessionNumber(self.next_session)
    }

    fn recover(&mut self, shards: u16) -> (Vec<Past>, Vec<Message>) {
        let mut next = vec![0; shards.into()];
        for place in self.log.keys() {
            next[usize::from(place.shard)] = place.number + 1;
        }
        for ((_, source), applied) in &self.applied {
            let known = &mut next[usize::from(*source)];
            *known = (*known).max(*applied);
        }
        self.catch_up(shards);
        let mut pasts: Vec<Past> = next
            .into_iter()
            .map(|next_log_number| Past {
                next_log_number,
                ..Past::default()
            })
            .collect();
        for (session, state) in &self.sessions {
            let shard = shard_of(&state.client_id, shards);
            pasts[usize::from(shard.0)]
                .sessions
                .push(self.restored(*session, state));
        }
        for (client_id, (will, due)) in &self.wills {
            let shard = shard_of(client_id, shards);
            let will = (client_id.clone(), will.clone(), *due);
            pasts[usize::from(shard.0)].wills.push(will);
        }
        self.retained.retain(|_, (_, message)| message.is_some());
        let mut retained = Vec::new();
        for (version, message) in self.retained.values_mut() {
            *version = 0;
            retained.extend(message.as_deref().cloned());
        }
        (pasts, retained)
    }
}
