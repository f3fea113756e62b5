//! What the admin API asks of the connectors.
//!
//! Blocking calls: run them on a thread that may block, never on a shard.

use super::ControlError;
use std::pin::Pin;
use std::sync::Arc;
use witmq_proto::Message;

/// Why a message is not taken at present; it may be offered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// As publishers wait: the store or a shard has enough to do.
    #[error("the broker is busy")]
    Busy,
    /// The store cannot commit, so nothing that is taken could be kept.
    #[error("the broker's disk takes nothing")]
    Unstored,
}

/// True when it is kept; false when the broker ends before that.
pub type Kept = Pin<Box<dyn Future<Output = bool> + Send>>;

/// First whether it is taken: retained and routed, in the order of calls that waited for this. Then when it is kept.
pub type Taking = Pin<Box<dyn Future<Output = Result<Kept, NotTaken>> + Send>>;

/// Puts a message into the broker from any thread.
pub type Take = Arc<dyn Fn(Message) -> Taking + Send + Sync>;

/// A sink as `witmq sink ls` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkInfo {
    /// Name: the file's stem.
    pub name: String,
    /// For example `webhook`.
    pub kind: &'static str,
    /// `healthy`, `failing` or `paused`.
    pub state: &'static str,
    /// The last failure in words.
    pub last_error: Option<String>,
    /// Messages that wait.
    pub queued_messages: u64,
    /// Their bytes.
    pub queued_bytes: u64,
    /// Messages the service took.
    pub delivered: u64,
    /// Messages that were sent once more.
    pub retried: u64,
    /// Batches that were not taken.
    pub failed: u64,
    /// Messages that were not taken into the queue: it was full, or the disk failed.
    pub dropped: u64,
    /// Messages that went to the dead-letter topic.
    pub dead: u64,
    /// Messages that came from the other side.
    pub received: u64,
    /// Messages from the other side that had to wait because the broker took nothing.
    pub held: u64,
    /// Times that as many messages were on their way in as may be, so that the next ones had to wait.
    pub crowded: u64,
    /// Messages that a bridge did not carry: they passed this broker before, or too many.
    pub looped: u64,
    /// Messages that expired in the queue.
    pub expired: u64,
}

/// The control side of connectors.
pub trait SinkControl: Send + Sync {
    /// Parses, checks and starts or changes the sink that is called as the stem of `file`. Its queue stays.
    /// `dry_run` stops before anything changes.
    ///
    /// # Errors
    /// `Invalid` with `file:line:column: …` in the message.
    fn apply(&self, file: &str, source: &str, dry_run: bool) -> Result<SinkInfo, ControlError>;
    /// Connects as the file says, without applying it: what the other side said.
    ///
    /// # Errors
    /// As `apply`, or the service is not there or refuses.
    fn check(&self, file: &str, source: &str) -> Result<String, ControlError>;
    /// Everything applied, by name.
    fn list(&self) -> Vec<SinkInfo>;
    /// The file as it was applied.
    ///
    /// # Errors
    /// No such sink.
    fn source(&self, name: &str) -> Result<String, ControlError>;
    /// Sends nothing until it is resumed; what comes waits.
    ///
    /// # Errors
    /// No such sink, or this cannot be kept.
    fn pause(&self, name: &str, is_paused: bool) -> Result<SinkInfo, ControlError>;
    /// Takes a sink out. Messages that wait are lost, which has to be said.
    ///
    /// # Errors
    /// No such sink, or messages wait and `discard` is not said.
    fn remove(&self, name: &str, discard: bool) -> Result<(), ControlError>;
}
