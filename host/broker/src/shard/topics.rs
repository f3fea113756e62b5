//! Where a publish, a will or a subscription really goes: what the operator's rules and `$delayed/` make of the
//! topic that a client names. Before anybody is asked for rights: those of the real topic count.

use super::Shard;
use super::client::Identity;
use crate::delayed::{self, PREFIX};
use crate::rewrite::{Names, Unusable};
use bytestring::ByteString;
use witmq_proto::TopicName;
use witmq_proto::packet::{SubscribeFilter, Will};
use witmq_proto::topic::Filter;

/// Where and when a message is published.
pub(super) struct Place {
    /// Seconds from now; 0: at once.
    pub(super) delay_s: u64,
    pub(super) topic: TopicName,
}

/// The place of a will whose topic was settled when its client connected.
pub(super) fn placed_before(topic: &TopicName) -> Place {
    let delayed = delayed::parse(topic).ok().flatten();
    let (delay_s, topic) = delayed.unwrap_or_else(|| (0, topic.clone()));
    Place { delay_s, topic }
}

fn names<'a>(client_id: &'a str, identity: &'a Identity) -> Names<'a> {
    Names {
        client: client_id,
        user: identity.username.as_deref(),
    }
}

impl Shard {
    /// Where a publish of a client goes, or why it cannot.
    pub(super) fn place(&self, key: u32, topic: &ByteString) -> Result<Place, String> {
        let whole = || TopicName::new(topic.clone()).map_err(|error| error.to_string());
        let (delay_s, topic) = match delayed::parse(topic) {
            Ok(Some(delayed)) => delayed,
            Ok(None) => (0, whole()?),
            Err(error) => return Err(error.to_string()),
        };
        let client = self.client(key);
        let rewritten = client.and_then(|client| {
            let names = names(&client.id, &client.identity);
            self.shared.rewrites.topic(&topic, &names)
        });
        let topic = match rewritten {
            None => topic,
            Some(rewritten) => rewritten.map_err(|error| error.to_string())?,
        };
        Ok(Place { delay_s, topic })
    }

    /// Puts the topic of a will right, or says why it cannot be used.
    pub(super) fn settle_will(
        &self,
        will: &mut Will,
        client_id: &str,
        identity: &Identity,
    ) -> Result<(), String> {
        let (delay_s, topic) = match delayed::parse(&will.topic) {
            Ok(Some((delay_s, topic))) => (Some(delay_s), topic),
            Ok(None) => (None, will.topic.clone()),
            Err(error) => return Err(error.to_string()),
        };
        let rewritten = self
            .shared
            .rewrites
            .topic(&topic, &names(client_id, identity));
        let Some(rewritten) = rewritten else {
            return Ok(());
        };
        let topic = rewritten.map_err(|error| error.to_string())?;
        will.topic = match delay_s {
            None => topic,
            Some(delay_s) => TopicName::new(format!("{PREFIX}{delay_s}/{topic}"))
                .map_err(|error| error.to_string())?,
        };
        Ok(())
    }

    /// What a client subscribes to or unsubscribes from; `None`: what it names.
    pub(super) fn rewrite_filter(
        &self,
        key: u32,
        filter: &str,
    ) -> Option<Result<ByteString, Unusable>> {
        let client = self.client(key)?;
        let names = names(&client.id, &client.identity);
        self.shared.rewrites.filter(filter, &names)
    }

    /// Makes the subscriptions that the operator wants every client to have, as if it had asked for them. Not
    /// again if the session has them.
    pub(super) fn auto_subscribe(&mut self, key: u32) {
        let shared = self.shared.clone();
        for entry in &shared.auto_subscribe {
            let Some(client) = self.client(key) else {
                return;
            };
            let wanted = entry.of(&client.id, client.identity.username.as_deref());
            let is_made = wanted.is_some_and(|wanted| self.auto_subscribe_one(key, &wanted));
            self.counters.auto_subscriptions_refused += u64::from(!is_made);
        }
    }

    fn auto_subscribe_one(&mut self, key: u32, wanted: &SubscribeFilter) -> bool {
        let Ok(filter) = Filter::parse(&wanted.filter) else {
            return false; // longer than a filter can be
        };
        if self.has_subscription(key, &filter, wanted.options) {
            return true;
        }
        let reason = self.add_subscription(key, filter, wanted, None);
        !reason.is_failure()
    }
}
