//! The hooks of one shard: a `sink` step goes to the connector of its name, everything else to the plugins.
//!
//! Owns: [`Connected`]. Must not: wait for anything but one write to a file.

use crate::queue::{NotKept, Queue};
use crate::record::encode;
use crate::state::{State, count};
use arc_swap::ArcSwap;
use bytes::BytesMut;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use witmq_broker::ports::hooks::Query;
use witmq_broker::ports::{
    Authorize, Publisher, StepAnswer, StepFailure, StepOutcome, Transform, Verdict,
};
use witmq_proto::Message;

/// Bytes of a buffer that is kept for the next message.
const BUFFER_BYTES: usize = 64 * 1024;

/// Where shards put what is for one sink.
pub(crate) struct Intake {
    pub(crate) queue: Arc<Queue>,
    pub(crate) state: Arc<State>,
    /// Whether chains can hand something over: a bridge may only receive.
    pub(crate) takes: AtomicBool,
}

pub(crate) type Table = BTreeMap<String, Arc<Intake>>;

/// A shard's hooks with connectors before its plugins.
pub struct Connected<H> {
    pub(crate) hooks: H,
    pub(crate) table: Arc<ArcSwap<Table>>,
    pub(crate) buffer: BytesMut,
}

impl<H> std::fmt::Debug for Connected<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connected").finish_non_exhaustive()
    }
}

impl Intake {
    fn take(
        &self,
        name: &str,
        publisher: Publisher<'_>,
        message: &Message,
        buffer: &mut BytesMut,
    ) -> Result<(), StepFailure> {
        if !self.takes.load(Ordering::Relaxed) {
            return Err(StepFailure::NoSink(name.to_owned()));
        }
        buffer.clear();
        let kept = match encode(publisher, message, buffer) {
            true => self.queue.push(buffer),
            false => Err(NotKept::Full),
        };
        if buffer.capacity() > BUFFER_BYTES {
            *buffer = BytesMut::new();
        }
        kept.map_err(|error| {
            count(&self.state.dropped, 1);
            match error {
                NotKept::Full => StepFailure::Full(name.to_owned()),
                NotKept::Disk(error) => StepFailure::NotKept {
                    sink: name.to_owned(),
                    cause: error.to_string(),
                },
            }
        })
    }
}

impl<H: Transform> Transform for Connected<H> {
    fn transform(
        &mut self,
        plugin: &str,
        publisher: Publisher<'_>,
        message: &Message,
    ) -> Result<StepOutcome, StepFailure> {
        self.hooks.transform(plugin, publisher, message)
    }

    fn ask(
        &mut self,
        plugin: &str,
        publisher: Publisher<'_>,
        message: &Arc<Message>,
    ) -> Result<StepAnswer, StepFailure> {
        self.hooks.ask(plugin, publisher, message)
    }

    fn deliver(
        &mut self,
        name: &str,
        publisher: Publisher<'_>,
        message: &Arc<Message>,
    ) -> Result<(), StepFailure> {
        if let Some(intake) = self.table.load().get(name) {
            return intake.take(name, publisher, message, &mut self.buffer);
        }
        let delivered = self.hooks.deliver(name, publisher, message);
        delivered.map_err(|failure| match failure {
            StepFailure::Unknown(name) => StepFailure::NoSink(name),
            failure => failure,
        })
    }
}

impl<H: Authorize> Authorize for Connected<H> {
    fn is_bound(&self) -> bool {
        self.hooks.is_bound()
    }

    fn authorize(&mut self, query: &Query<'_>) -> Verdict {
        self.hooks.authorize(query)
    }
}
