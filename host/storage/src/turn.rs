//! What one shard recorded in one turn: operations on tables, committed all or not at all.
//!
//! Owns: [`Turn`], and the translation of [`Record`]s. Runs on the shard's thread.

use crate::format::{self, Pointer, delayed_key, log_key, queue_key, write_message, write_targets};
use crate::wire::Writer;
use fjall::Slice as Value;
use witmq_broker::ports::Record;
use witmq_broker::shard::ClockBase;
use witmq_proto::{Delivery, LogPlace};

/// A table that is written by plain puts and removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Sessions,
    Subscriptions,
    Queue,
    Received,
    Wills,
    Delayed,
}

/// One change.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Put(Table, Value, Value),
    Remove(Table, Value),
    /// A message for the log.
    Log {
        place: LogPlace,
        targets: u64,
        value: Value,
    },
    /// A pointer to the log.
    Queued {
        kept: LogPlace,
        key: Value,
        value: Value,
    },
    /// A pointer is no longer needed.
    Done {
        kept: LogPlace,
        key: Value,
    },
    /// The oldest pointer of a session goes.
    Trimmed {
        session: u64,
        from: u64,
    },
    /// A session goes, with everything under its number.
    SessionEnded {
        session: u64,
    },
    /// Shard `target` has queued everything for it up to `place`.
    Applied {
        target: u16,
        place: LogPlace,
    },
    /// The retained message of a topic, if `version` is the highest.
    Retained {
        topic: Value,
        version: u64,
        value: Option<Value>,
    },
    /// Keys of plugins were changed before this; every commit takes all that were.
    PluginKv,
}

/// What one shard recorded in one turn.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    pub(crate) shard: u16,
    /// The watermark once it is committed.
    pub(crate) position: u64,
    pub(crate) ops: Vec<Op>,
    pub(crate) bytes: usize,
}

/// What an operation counts for beyond its value.
const OP_BYTES: usize = 64;

impl Turn {
    fn push(&mut self, op: Op, bytes: usize) {
        self.bytes += bytes + OP_BYTES;
        self.ops.push(op);
    }

    fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        let bytes = value.len();
        self.push(Op::Put(table, key.into(), value.into()), bytes);
    }

    fn remove(&mut self, table: Table, key: Vec<u8>) {
        self.push(Op::Remove(table, key.into()), 0);
    }

    /// Adds a record.
    pub(crate) fn add(&mut self, record: Record<'_>, shard: u16, clock: &ClockBase) {
        match record {
            Record::Message {
                place,
                message,
                targets,
                groups,
            } => {
                let mut value = Writer::default();
                let picks = groups.iter();
                let picks = picks.map(|(to, key)| (*to, &*key.group, key.filter.as_str()));
                write_targets(&mut value, targets, picks);
                write_message(&mut value, message, clock);
                let owing = groups.iter().fold(targets, |set, (to, _)| set | 1 << to.0);
                self.logged(place, owing, value.finish());
            }
            Record::Applied { place } => {
                let target = shard;
                self.push(Op::Applied { target, place }, 0);
            }
            Record::Queued { session, delivery } => self.queued(session.0, delivery),
            Record::Released {
                session,
                number,
                kept,
            } => self.released(session.0, number, kept),
            Record::Done {
                session,
                number,
                kept,
            } => {
                let key = queue_key(session.0, number).into();
                let kept = kept.unwrap_or_default();
                self.push(Op::Done { kept, key }, 0);
            }
            Record::Trimmed { session, from } => {
                let session = session.0;
                self.push(Op::Trimmed { session, from }, 0);
            }
            Record::Retained {
                topic,
                version,
                message,
            } => self.retained(topic, version, message.map(|message| &**message), clock),
            Record::Delayed { id, message } => {
                let mut value = Writer::default();
                write_message(&mut value, message, clock);
                self.put(Table::Delayed, delayed_key(id), value.finish());
            }
            Record::DelayedGone { id } => self.remove(Table::Delayed, delayed_key(id)),
            Record::PluginKv => self.push(Op::PluginKv, 0),
            other => self.add_state(other),
        }
    }

    /// Adds a record about a session that is neither its queue nor a message.
    fn add_state(&mut self, record: Record<'_>) {
        match record {
            Record::Session { session, state } => {
                let key = Writer::default().u64(session.0).finish();
                self.put(Table::Sessions, key, format::write_session(state));
            }
            Record::SessionEnded { session, .. } => {
                self.push(Op::SessionEnded { session: session.0 }, 0);
            }
            Record::Subscribed {
                session,
                filter,
                options,
                id,
            } => {
                let key = child_key(session.0, filter.as_bytes());
                let value = format::write_subscription(options, id);
                self.put(Table::Subscriptions, key, value);
            }
            Record::Unsubscribed { session, filter } => {
                self.remove(
                    Table::Subscriptions,
                    child_key(session.0, filter.as_bytes()),
                );
            }
            Record::Received { session, packet_id } => {
                let key = child_key(session.0, &packet_id.get().to_be_bytes());
                self.put(Table::Received, key, Vec::new());
            }
            Record::Forgotten { session, packet_id } => {
                let key = child_key(session.0, &packet_id.get().to_be_bytes());
                self.remove(Table::Received, key);
            }
            Record::Will { client_id, will } => {
                let key = client_id.as_bytes().to_vec();
                match will {
                    Some((will, due)) => {
                        self.put(Table::Wills, key, format::write_will(will, due));
                    }
                    None => self.remove(Table::Wills, key),
                }
            }
            other => debug_assert!(false, "{other:?} is added elsewhere"),
        }
    }

    fn logged(&mut self, place: LogPlace, targets: u64, value: Vec<u8>) {
        let bytes = value.len();
        let op = Op::Log {
            place,
            targets,
            value: value.into(),
        };
        self.push(op, bytes);
    }

    fn queued(&mut self, session: u64, delivery: &Delivery) {
        let message = &delivery.message;
        let size = message.payload.len() + message.topic.len();
        let kept = delivery.kept.unwrap_or_default();
        let pointer = Pointer {
            kept,
            is_released: false,
            qos: delivery.qos,
            retain: delivery.retain,
            subscription_ids: delivery.subscription_ids.to_vec(),
            group: delivery.group.as_ref().map(|name| (**name).clone()),
            size: u32::try_from(size).unwrap_or(u32::MAX),
        };
        let op = Op::Queued {
            kept,
            key: queue_key(session, delivery.number).into(),
            value: pointer.write().into(),
        };
        self.push(op, 0);
    }

    fn released(&mut self, session: u64, number: u64, kept: Option<LogPlace>) {
        let pointer = Pointer {
            kept: kept.unwrap_or_default(),
            is_released: true,
            qos: witmq_proto::packet::QoS::ExactlyOnce,
            retain: false,
            subscription_ids: Vec::new(),
            group: None,
            size: 0,
        };
        self.put(Table::Queue, queue_key(session, number), pointer.write());
    }

    fn retained(
        &mut self,
        topic: &str,
        version: u64,
        message: Option<&witmq_proto::Message>,
        clock: &ClockBase,
    ) {
        let value = message.map(|message| {
            let mut value = Writer::default();
            write_message(&mut value, message, clock);
            value.finish()
        });
        let bytes = value.as_ref().map_or(0, Vec::len);
        let op = Op::Retained {
            topic: topic.as_bytes().into(),
            version,
            value: value.map(Value::from),
        };
        self.push(op, bytes);
    }
}

fn child_key(session: u64, rest: &[u8]) -> Vec<u8> {
    Writer::default().u64(session).raw(rest).finish()
}

/// The key of a place in the log.
pub(crate) fn key_of(place: LogPlace) -> Value {
    log_key(place).into()
}
