//! Delayed messages of all shards, for the admin API: in the order in which they fall due, whichever shard has them.

use crate::kept::Pending;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;
use witmq_admin::DelayedControl;
use witmq_broker::delayed::DelayedId;
use witmq_broker::ports::ControlError;
use witmq_broker::shard::Shard;
use witmq_broker::{ShardId, Shared};
use witmq_net::Node;
use witmq_proto::Message;

/// Asks the shards.
pub(crate) struct Delayed {
    pub(crate) node: Arc<Node>,
    pub(crate) shared: Arc<Shared>,
}

impl Delayed {
    /// The answer of every shard.
    ///
    /// # Errors
    /// One does not answer.
    fn ask<R: Send + 'static>(
        &self,
        question: impl Fn(&mut Shard, Instant) -> R + Clone + Send + 'static,
    ) -> Result<Vec<R>, ControlError> {
        let shards = (0..self.node.shards()).map(ShardId);
        let answers = shards.map(|shard| self.node.inspect(shard, question.clone()));
        answers
            .collect::<Option<_>>()
            .ok_or_else(|| ControlError::Internal("a shard did not answer in time".to_owned()))
    }
}

fn parse(id: &str) -> Result<DelayedId, ControlError> {
    id.parse().map_err(|error| ControlError::Invalid {
        code: "not-an-id",
        message: format!("`{id}`: {error}"),
        hint: Some("`witmq delayed ls` shows them".to_owned()),
    })
}

impl DelayedControl for Delayed {
    fn list(&self, after: Option<&str>, limit: usize) -> Result<Value, ControlError> {
        let after = after.map(parse).transpose()?;
        let pages = self.ask(move |shard, _| shard.delayed(after, limit))?;
        let mut found: Vec<_> = pages.into_iter().flatten().collect();
        found.sort_by_key(|(id, _)| *id);
        found.truncate(limit);
        // A full page may be the last one; the next is empty then.
        let next = found.last().filter(|_| found.len() == limit);
        Ok(json!({
            "messages": self.shared.delayed.messages(),
            "bytes": self.shared.delayed.bytes(),
            "delayed": found.iter().map(|(id, message)| entry(*id, message)).collect::<Vec<_>>(),
            "next": next.map(|(id, _)| id.to_string()),
        }))
    }

    fn cancel(&self, id: &str) -> Result<(), ControlError> {
        let known = parse(id)?;
        let pending = Pending::new();
        let notice = pending.notice();
        let found = self.ask(move |shard, now| {
            let is_here = shard.cancel_delayed(now, known);
            if is_here {
                shard.when_stored(notice.clone().waiter());
            }
            is_here
        })?;
        if !found.contains(&true) {
            return Err(ControlError::NotFound(format!(
                "no delayed message `{id}`: it was published, expired or taken back"
            )));
        }
        match pending.wait() {
            true => Ok(()),
            false => Err(ControlError::Internal(format!(
                "`{id}` is taken back, but the disk does not take that: it comes back if the broker ends now"
            ))),
        }
    }
}

fn entry(id: DelayedId, message: &Message) -> Value {
    json!({
        "id": id.to_string(),
        "due_ms": id.due_ms,
        "received_ms": message.received_ms,
        "topic": message.topic.as_str(),
        "publisher": &*message.publisher,
        "qos": message.qos as u8,
        "retain": message.retain,
        "payload_bytes": message.payload.len(),
    })
}
