//! Chains: what becomes of a published message, and the plugin steps they call.

use super::raised::{Raised, Wanted};
use bytes::Bytes;
use bytestring::ByteString;
use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use witmq_proto::packet::{PublishProperties, QoS};
use witmq_proto::{Message, ReasonCode};

/// The publisher as chains and plugins see it.
#[derive(Clone, Copy, Debug)]
pub struct Publisher<'a> {
    /// Client id; empty for the broker's own messages.
    pub client_id: &'a str,
    /// User name.
    pub username: Option<&'a str>,
    /// Attributes of the grant.
    pub attributes: &'a [(String, String)],
    /// Stable number of the publishing connection.
    pub session: u64,
}

/// What a message became after all transform chains.
#[derive(Clone, Debug)]
pub enum ChainOutcome {
    /// No chain, or none changed it: route the original.
    Untouched,
    /// Route this instead.
    Replaced(Arc<Message>),
    /// Route these instead, in this order.
    Split(Vec<Arc<Message>>),
    /// Do not route; tell the publisher (v5: in PUBACK/PUBREC; MQTT 3: acknowledged, dropped).
    Refused {
        /// The code.
        reason: ReasonCode,
        /// Text for the reason string.
        text: Option<String>,
    },
    /// Acknowledge, do not route.
    Consumed,
    /// Do not acknowledge: the client will send again.
    Withheld,
}

/// The result of running every chain that matches a message.
#[derive(Clone, Debug)]
pub struct ChainRun {
    /// What to route.
    pub outcome: ChainOutcome,
    /// What rule chains publish besides; `hops` is already raised. Route after the outcome.
    pub emissions: Vec<Arc<Message>>,
}

impl ChainRun {
    /// Nothing happened.
    #[must_use]
    pub fn untouched() -> Self {
        Self {
            outcome: ChainOutcome::Untouched,
            emissions: Vec::new(),
        }
    }

    /// Whether nothing happened.
    #[must_use]
    #[inline]
    pub fn is_untouched(&self) -> bool {
        matches!(self.outcome, ChainOutcome::Untouched) && self.emissions.is_empty()
    }
}

/// What a step that waits comes to, later. Bounded in time by whoever gives it.
pub type StepAnswer = Pin<Box<dyn Future<Output = Result<StepOutcome, StepFailure>> + Send>>;

/// Where a message stands in the chains while a step waits; known to the chains alone.
pub type Rest = Box<dyn Any + Send>;

/// How far a message came.
pub enum ChainProgress {
    /// Through all chains.
    Done(ChainRun),
    /// To a step that waits: [`Chains::resume`] goes on with its answer.
    Waits {
        /// The answer, later.
        answer: StepAnswer,
        /// What `resume` is given.
        rest: Rest,
    },
}

/// Which chains do something with messages of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named(u32);

impl Named {
    /// None.
    pub const NONE: Self = Self(u32::MAX);
    /// Some, or who knows: they are to be looked for with each message.
    pub const SOME: Self = Self(u32::MAX - 1);

    /// The chain of this number alone; what it is the number of is the chains' business.
    #[must_use]
    pub fn only(number: u32) -> Self {
        Self(number.min(u32::MAX - 1))
    }

    /// That chain.
    #[must_use]
    #[inline]
    pub fn single(self) -> Option<u32> {
        (self.0 < u32::MAX - 1).then_some(self.0)
    }

    /// Whether there are any.
    #[must_use]
    #[inline]
    pub fn is_some(self) -> bool {
        self != Self::NONE
    }
}

/// The chain table of one shard. Implemented by the rule engine; one per shard, plain owned data.
pub trait Chains {
    /// Runs transform chains, then rule chains on what left them. Must cost next to nothing when no
    /// chain is deployed. Never panics, bounded in steps and emissions.
    fn run(
        &mut self,
        steps: &mut dyn Transform,
        publisher: Publisher<'_>,
        message: &Arc<Message>,
    ) -> ChainProgress;

    /// Takes what is deployed now, as the next message would.
    fn refresh(&mut self) {}

    /// Says what is deployed now: another number means that [`Self::names`] may say something else. `None`: every message has to be
    /// run, whatever its topic. Asked for every message: two loads, no more.
    fn version(&mut self) -> Option<u64> {
        None
    }

    /// Which chains may do something with messages of this topic. What it said at a version is remembered.
    fn names(&mut self, topic: &str) -> Named {
        let _ = topic;
        Named::SOME
    }

    /// The message that is [`Self::run`] next is of a topic of which [`Self::names`] said this at this version: it need not be
    /// looked for again.
    fn expect(&mut self, version: u64, named: Named) {
        let _ = (version, named);
    }

    /// Kinds of events that chains which are deployed now begin with. Asked once a batch: one load, no more.
    fn wanted(&mut self) -> Wanted {
        Wanted::default()
    }

    /// An event as the message that [`Self::run`] takes; `None` if nobody asks for it any more.
    fn present(&mut self, raised: &Raised, now_ms: u64) -> Option<Message> {
        let _ = (raised, now_ms);
        None
    }

    /// What comes out of chains by itself because its time has come, some of it if that is much; `now_ms` is in
    /// milliseconds since 1970. Route it. One shard is asked, for all.
    fn due(&mut self, steps: &mut dyn Transform, now_ms: u64) -> Vec<Arc<Message>> {
        let _ = (steps, now_ms);
        Vec::new()
    }

    /// Goes on where a step waited, in the chains as they were when the message came in.
    fn resume(
        &mut self,
        steps: &mut dyn Transform,
        publisher: Publisher<'_>,
        rest: Rest,
        answer: Result<StepOutcome, StepFailure>,
    ) -> ChainProgress;
}

/// Puts a message of the broker's own into it from any thread; false while it is busy.
pub type Inject = Arc<dyn Fn(Message) -> bool + Send + Sync>;

/// The plugin steps chains can call. Implemented by the plugin runtime; one per shard.
pub trait Transform {
    /// Runs `plugin` on `message`. The plugin's own failure policy is applied by the chain.
    ///
    /// # Errors
    /// Unknown plugin, trap, deadline, memory or output bound, breaker open.
    fn transform(
        &mut self,
        plugin: &str,
        publisher: Publisher<'_>,
        message: &Message,
    ) -> Result<StepOutcome, StepFailure>;

    /// Asks a plugin that waits, when `transform` gave [`StepFailure::Waits`]. Messages of one publisher are answered in
    /// the order in which they were asked about.
    ///
    /// # Errors
    /// It is gone, or its queue is full.
    fn ask(
        &mut self,
        plugin: &str,
        publisher: Publisher<'_>,
        message: &Arc<Message>,
    ) -> Result<StepAnswer, StepFailure> {
        let _ = (publisher, message);
        Err(StepFailure::Unknown(plugin.to_owned()))
    }

    /// Hands a message to the sink of this name, which takes it from a bounded queue: a connector, or a plugin.
    ///
    /// # Errors
    /// There is none, its queue is full, or the disk does not take it.
    fn deliver(
        &mut self,
        plugin: &str,
        publisher: Publisher<'_>,
        message: &Arc<Message>,
    ) -> Result<(), StepFailure> {
        let _ = (publisher, message);
        Err(StepFailure::Unknown(plugin.to_owned()))
    }
}

/// What a plugin made of a message.
#[allow(
    clippy::large_enum_variant,
    reason = "lives for one step; a box would be an allocation per message"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// Unchanged.
    Pass,
    /// Changed fields only.
    Modify(Patch),
    /// Several messages instead of it.
    Split(Vec<Emit>),
    /// Refused with a reason.
    Refuse {
        /// The code.
        reason: ReasonCode,
        /// Text for the reason string.
        text: Option<String>,
    },
    /// Acknowledge but do not route.
    Consume,
    /// Do not acknowledge.
    Withhold,
    /// End this chain here; the message goes on as it is.
    Stop,
    /// Go on in another chain of the same file.
    Jump(String),
}

/// Fields a plugin changed; `None` keeps the old one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// New topic; checked as a topic name.
    pub topic: Option<ByteString>,
    /// New payload.
    pub payload: Option<Bytes>,
    /// New properties.
    pub properties: Option<PublishProperties>,
    /// New QoS.
    pub qos: Option<QoS>,
    /// New RETAIN flag.
    pub retain: Option<bool>,
}

/// A message a plugin made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emit {
    /// Topic; checked as a topic name.
    pub topic: ByteString,
    /// Payload.
    pub payload: Bytes,
    /// Properties.
    pub properties: PublishProperties,
    /// QoS.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
}

/// Why a plugin step gave no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepFailure {
    /// No plugin of that name is installed (or it has no `transform`).
    #[error("no plugin `{0}` with this hook is installed")]
    Unknown(String),
    /// The guest trapped.
    #[error("plugin `{plugin}` trapped: {cause}")]
    Trap {
        /// Which.
        plugin: String,
        /// First line of the trap.
        cause: String,
    },
    /// The guest ran into its deadline.
    #[error("plugin `{0}` ran past its deadline")]
    Deadline(String),
    /// The guest wanted more memory than it may have.
    #[error("plugin `{0}` ran past its memory limit")]
    Memory(String),
    /// The answer is too large or not valid (a wildcard in a topic, a bad property).
    #[error("plugin `{plugin}` answered badly: {cause}")]
    BadAnswer {
        /// Which.
        plugin: String,
        /// What was wrong.
        cause: String,
    },
    /// The plugin returned a failure.
    #[error("plugin `{plugin}` failed: {cause}")]
    Failed {
        /// Which.
        plugin: String,
        /// Its words.
        cause: String,
    },
    /// This very message ended several calls: the plugin is not called with it any more.
    #[error("plugin `{0}` ended at this message before: it is in the dead-letter topic")]
    Poison(String),
    /// Its queue is full.
    #[error("the queue of `{0}` is full")]
    Full(String),
    /// Neither a connector nor a plugin.
    #[error("there is no sink `{0}`: no connector of that name, and no plugin with a sink")]
    NoSink(String),
    /// The disk does not take it.
    #[error("the queue of sink `{sink}` cannot be written: {cause}")]
    NotKept {
        /// Which.
        sink: String,
        /// What the system says.
        cause: String,
    },
    /// It waits: it cannot be called at once, only asked ([`Transform::ask`]).
    #[error("plugin `{0}` waits for something, which cannot be done here")]
    Waits(String),
    /// Too many failures lately; the plugin rests.
    #[error("plugin `{0}` is resting after too many failures")]
    BreakerOpen(String),
}
