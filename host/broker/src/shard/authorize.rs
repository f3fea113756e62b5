//! May this client do that: its grant's own rules first, then the `authorize` hook, else no.

use super::Shard;
use super::client::CachedVerdict;
use crate::ports::hooks::Query;
use crate::ports::raised::EVENTS;
use crate::ports::{AuthorizeAction, BrokerEvent, Decision};
use bytestring::ByteString;
use std::time::Instant;
use witmq_proto::TopicFilter;
use witmq_proto::packet::QoS;

/// A question about one topic or filter.
pub(super) struct Question<'a> {
    pub(super) action: AuthorizeAction,
    pub(super) topic: &'a ByteString,
    pub(super) qos: QoS,
    pub(super) retain: bool,
}

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    /// By its grant, whatever else is asked, as long as it has that grant.
    Always,
    /// By the `authorize` hook, this once.
    Now,
    Denied,
}

impl Shard {
    /// Whether the client may publish there. `$SYS/` and `$events/` are the broker's own, whatever the grant says.
    pub(super) fn may_publish(
        &mut self,
        now: Instant,
        key: u32,
        question: &Question<'_>,
    ) -> Permission {
        let topic = question.topic;
        if topic.starts_with('$') && (topic.starts_with("$SYS/") || topic.starts_with(EVENTS)) {
            return Permission::Denied;
        }
        let Some(client) = self.client(key) else {
            return Permission::Denied;
        };
        match client.identity.check_publish(question.topic) {
            Some(true) => Permission::Always,
            None if self.ask(now, key, question) => Permission::Now,
            _ => Permission::Denied,
        }
    }

    /// Whether the client may subscribe to `filter` (of a shared subscription: the filter behind it).
    pub(super) fn may_subscribe(
        &mut self,
        now: Instant,
        key: u32,
        filter: &TopicFilter,
        qos: QoS,
    ) -> bool {
        let Some(client) = self.client(key) else {
            return false;
        };
        if let Some(is_allowed) = client.identity.check_subscribe(filter) {
            return is_allowed;
        }
        let topic = filter.as_byte_string();
        self.ask(
            now,
            key,
            &Question {
                action: AuthorizeAction::Subscribe,
                topic,
                qos,
                retain: false,
            },
        )
    }

    fn ask(&mut self, now: Instant, key: u32, question: &Question<'_>) -> bool {
        if !self.ports.hooks.is_bound() {
            return false;
        }
        let (verdicts, shard) = (self.limits.verdicts, self.id);
        let Ok(index) = usize::try_from(key) else {
            return false;
        };
        let Some(client) = self.clients.get_mut(index) else {
            return false;
        };
        let cached = client
            .identity
            .verdicts
            .iter()
            .find(|verdict| verdict.fits(question) && verdict.until > now);
        if let Some(verdict) = cached {
            return verdict.is_allowed;
        }
        let verdict = self.ports.hooks.authorize(&Query {
            client_id: &client.id,
            username: client.identity.username.as_deref(),
            session: (client.connection).map_or(0, |connection| connection.number(shard)),
            action: question.action,
            topic: question.topic,
            qos: question.qos,
            retain: question.retain,
        });
        let is_allowed = verdict.decision == Decision::Allow;
        if verdict.cache.is_zero() || verdicts == 0 {
            return is_allowed;
        }
        let cache = &mut client.identity.verdicts;
        cache.retain(|kept| kept.until > now && !kept.fits(question));
        if cache.len() >= verdicts {
            cache.remove(0);
        }
        cache.push(CachedVerdict {
            action: question.action,
            topic: question.topic.clone(),
            qos: question.qos,
            retain: question.retain,
            is_allowed,
            until: now + verdict.cache,
        });
        is_allowed
    }

    pub(super) fn denied(&mut self, key: u32, action: &'static str, topic: &ByteString) {
        self.counters.denied += 1;
        let Some(client) = self.client(key) else {
            return;
        };
        let event = BrokerEvent::Denied {
            client_id: client.id.clone(),
            action,
            topic: topic.clone(),
        };
        self.ports.events.emit(event);
    }
}

impl CachedVerdict {
    fn fits(&self, question: &Question<'_>) -> bool {
        self.action == question.action
            && self.qos == question.qos
            && self.retain == question.retain
            && self.topic == *question.topic
    }
}
