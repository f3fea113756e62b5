//! Mail to other shards, gathered until it goes.
//!
//! Owns: [`Post`]: for each shard a batch that is small, unless the channel to it is full. Must not: send, or wake anybody.

use witmq_broker::ShardId;
use witmq_broker::shard::Mail;

/// Mail of all connections that were ready, to one shard.
pub(crate) type Batch = Vec<Mail>;

/// So much mail to one shard does not wait for the others that are ready: what its channel holds is bounded by that.
const BATCH_MAIL: usize = 128;
/// Or so many bytes.
const BATCH_BYTES: usize = 64 * 1024;

/// When mail has to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// There is none.
    #[default]
    None,
    /// When all who are ready were heard.
    Round,
    /// There is a batch of it.
    Now,
}

/// Mail to one shard.
#[derive(Default)]
struct Outgoing {
    batch: Batch,
    /// Payload of its messages.
    bytes: usize,
    /// Its channel has no room: publishers are paused.
    is_full: bool,
}

/// Mail to all shards.
pub(crate) struct Post(Vec<Outgoing>);

impl Post {
    pub(crate) fn new(shards: usize) -> Self {
        Self((0..shards).map(|_| Outgoing::default()).collect())
    }

    /// Puts mail to that for the same shard.
    pub(crate) fn put(&mut self, to: ShardId, mail: Mail) -> Urgency {
        let Some(outgoing) = self.0.get_mut(usize::from(to.0)) else {
            return Urgency::None;
        };
        outgoing.bytes = outgoing.bytes.saturating_add(weight(&mail));
        outgoing.batch.push(mail);
        match outgoing.batch.len() >= BATCH_MAIL || outgoing.bytes >= BATCH_BYTES {
            true => Urgency::Now,
            false => Urgency::Round,
        }
    }

    /// What there is for a shard, unless its channel is full.
    pub(crate) fn take(&mut self, to: ShardId) -> Option<Batch> {
        let outgoing = self.0.get_mut(usize::from(to.0))?;
        if outgoing.is_full || outgoing.batch.is_empty() {
            return None;
        }
        outgoing.bytes = 0;
        Some(std::mem::take(&mut outgoing.batch))
    }

    /// The channel had no room for it.
    pub(crate) fn put_back(&mut self, to: ShardId, batch: Batch) {
        if let Some(outgoing) = self.0.get_mut(usize::from(to.0)) {
            outgoing.batch = batch;
            outgoing.is_full = true;
        }
    }

    /// The channel has room again: what has gathered.
    pub(crate) fn has_room(&mut self, to: ShardId) -> Option<Batch> {
        let outgoing = self.0.get_mut(usize::from(to.0))?;
        outgoing.is_full = false;
        self.take(to)
    }
}

/// Bytes that a piece of mail keeps.
fn weight(mail: &Mail) -> usize {
    match mail {
        Mail::Publish { message, .. } => message.payload.len(),
        Mail::Burst(burst) => burst.packets().bytes().len(),
        Mail::Inject(message) => message.payload.len(),
        Mail::Inspect(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Instant;
    use witmq_proto::packet::Publish;
    use witmq_proto::{Message, TopicName};

    fn mail(bytes: usize) -> Mail {
        let publish = Publish {
            payload: vec![0; bytes].into(),
            ..Publish::default()
        };
        let topic = TopicName::judged("t".into());
        let message = Message::from_publish(publish, topic, "c".into(), Instant::now(), 0);
        Mail::Publish {
            message: Arc::new(message),
            picks: Vec::new(),
            plain: true,
            kept: None,
        }
    }

    #[test]
    fn a_batch_is_urgent_from_so_many_pieces_or_bytes_on() {
        let (first, second) = (ShardId(0), ShardId(1));
        let mut post = Post::new(2);
        for _ in 1..BATCH_MAIL {
            assert_eq!(post.put(first, mail(1)), Urgency::Round);
        }
        assert_eq!(post.put(second, mail(BATCH_BYTES - 1)), Urgency::Round);
        assert_eq!(post.put(first, mail(1)), Urgency::Now);
        assert_eq!(post.put(second, mail(1)), Urgency::Now);
        assert_eq!(post.take(first).map(|batch| batch.len()), Some(BATCH_MAIL));
        assert_eq!(post.take(second).map(|batch| batch.len()), Some(2));
        assert_eq!(post.put(second, mail(1)), Urgency::Round, "counted anew");
        assert!(post.take(first).is_none());
        assert_eq!(post.put(ShardId(2), mail(1)), Urgency::None);
    }

    #[test]
    fn nothing_goes_while_a_channel_is_full_and_then_all_of_it() {
        let to = ShardId(0);
        let mut post = Post::new(1);
        post.put(to, mail(1));
        let batch = post.take(to).unwrap_or_default();
        post.put_back(to, batch);
        post.put(to, mail(2));
        assert!(post.take(to).is_none());
        let sizes =
            |batch: Option<Batch>| -> Vec<usize> { batch.iter().flatten().map(weight).collect() };
        assert_eq!(sizes(post.has_room(to)), [1, 2]);
        post.put(to, mail(3));
        assert_eq!(sizes(post.take(to)), [3]);
    }
}
