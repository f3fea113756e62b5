//! A plugin that misbehaves as its configuration says: for the tests of the plugin host, and of the whole broker.
#![allow(clippy::panic, reason = "that is what it is for")]

mod counted;
mod misdeeds;

pub use counted::Much;

use misdeeds::{Handles, drip, eat, endless, flood, leak, publish_often, recurse};
use serde::Deserialize;
use witmq_sdk::host::{self, kv, payload, secrets, timers};
use witmq_sdk::{
    Applied, Attempt, Authenticate, Authorize, Decision, Delivered, Emit, Event, Events, Failure,
    Grant, Health, Message, Outcome, Place, Plugin, Query, Sink, Step, Timer, Transform, Verdict,
};

/// What to do.
#[derive(Clone, Copy, Debug, Deserialize, witmq_sdk::Config, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Nothing.
    Pass,
    /// Puts `stamp` before the payload; takes another `stamp` in place, but for `unwilling`.
    Stamp,
    /// Says all it was given.
    Echo,
    /// Panics.
    Trap,
    /// Panics on the `nth` call, counted from 1, and works before.
    TrapNth,
    /// Never comes back.
    Loop,
    /// Never comes back, and logs a line now and then.
    Drip,
    /// Calls itself until the stack ends.
    Recurse,
    /// Takes all memory there is.
    Eat,
    /// Opens handles of the host and keeps them.
    Leak,
    /// Answers with a topic that is none.
    GarbageTopic,
    /// Answers with a payload that is too large.
    Huge,
    /// Fails with 1 MiB of text.
    HugeFailure,
    /// Splits into as many messages as the payload's length.
    Split,
    /// Prints to standard output and error.
    Print,
    /// Waits, which no plugin may.
    Sleep,
    /// Returns a failure.
    Fail,
    /// Refuses to start.
    RefuseInit,
    /// Panics when it starts.
    TrapInit,
    /// Prints and sets a timer when it starts.
    TimerInit,
    /// Counts in the key-value store where it is made.
    Place,
    /// Counts in the key-value store and answers with the count.
    Count,
    /// Fills the key-value store and says how far it came.
    KvFlood,
    /// Publishes to `made/by/plugin` and says how that went.
    Publish,
    /// Publishes to the topic `stamp` and says how that went.
    PublishTo,
    /// Publishes a thousand times and says how far it came.
    PublishLoop,
    /// Logs without end.
    Log,
    /// Counts calls in memory and answers with the count; hands it over.
    Carry,
    /// As `carry`, and keeps 256 KiB more with each payload `more`.
    Grow,
    /// As `carry`, but refuses the state of another.
    RefuseAdopt,
    /// As `carry`, but panics at the state of another.
    TrapAdopt,
    /// As `carry`, but panics when it is to go.
    TrapShutdown,
    /// Leaves more state than is taken.
    HugeState,
    /// Says that it can not serve.
    Sick,
    /// Says that it serves badly.
    Unwell,
    /// Panics when it is asked how it is.
    TrapCheck,
    /// Answers with what `host-payload` says of the payload.
    Peek,
    /// Answers with the secret `token`.
    Secret,
    /// Sets a timer after as many milliseconds as the payload says.
    Timer,
    /// Counts in the metric `seen`, and shows the payload's length as `size`.
    Metrics,
    /// Leaves every decision to others.
    Ignore,
    /// Answers for fewer messages than it was given.
    ShortAnswer,
    /// Never comes back when it starts.
    LoopInit,
    /// Leaves `nth` bytes of state, and answers with the number of those that it found.
    LeaveBytes,
    /// Does as much of `much` as the payload says, and answers how that went; `close` closes handles.
    SoMany,
    /// Counts batches by their length in the key-value store.
    Batches,
}

/// The configuration.
#[derive(Debug, Deserialize, witmq_sdk::Config)]
#[serde(deny_unknown_fields)]
pub struct Config {
    mode: Mode,
    #[serde(default)]
    stamp: String,
    #[serde(default)]
    nth: u64,
    #[serde(default)]
    much: Option<Much>,
}

/// Misbehaves as it is told.
#[witmq_sdk::plugin(
    transform,
    authenticate,
    authorize,
    sink,
    events,
    timer,
    needs(payload, properties, client),
    capabilities("publish:made/by/#", "secret:token")
)]
pub struct Guest {
    config: Config,
    calls: u64,
    hoard: Vec<Vec<u8>>,
    handles: Handles,
}

impl Guest {
    fn of(config: Config) -> Self {
        Self {
            config,
            calls: 0,
            hoard: Vec::new(),
            handles: Handles::default(),
        }
    }
}

impl Plugin for Guest {
    type Config = Config;

    fn new(config: Config, place: &Place) -> Result<Self, String> {
        match config.mode {
            Mode::RefuseInit => Err("it does not want to".to_owned()),
            Mode::TrapInit => panic!("trapped in init"),
            Mode::LoopInit => Err(endless().to_string()),
            Mode::TimerInit => {
                eprintln!("it starts");
                timers::after(9, 300).map_err(|error| error.to_string())?;
                Ok(Self::of(config))
            }
            Mode::Place => {
                let key = format!("place/{} of {}", place.instance, place.instances);
                kv::increment(&key, 1).map_err(|error| error.to_string())?;
                Ok(Self::of(config))
            }
            _ => Ok(Self::of(config)),
        }
    }

    fn adopt(&mut self, state: &[u8]) -> Result<(), String> {
        match self.config.mode {
            Mode::RefuseAdopt => return Err("it wants no state".to_owned()),
            Mode::TrapAdopt => panic!("trapped in adopt"),
            Mode::LeaveBytes => {
                self.calls = u64::try_from(state.len()).unwrap_or(0);
                return Ok(());
            }
            _ => {}
        }
        self.calls = u64::from_le_bytes(state.try_into().map_err(|_| "not 8 bytes")?);
        Ok(())
    }

    fn reconfigure(&mut self, config: Config) -> Result<Applied, String> {
        if config.stamp == "unwilling" {
            return Err("it does not want to".to_owned());
        }
        let both_stamp = [self.config.mode, config.mode] == [Mode::Stamp, Mode::Stamp];
        if !both_stamp {
            return Ok(Applied::Restart);
        }
        self.config = config;
        Ok(Applied::InPlace)
    }

    fn check(&mut self) -> Health {
        match self.config.mode {
            Mode::Sick => Health::Failed("it is sick".to_owned()),
            Mode::Unwell => Health::Degraded("it is unwell".to_owned()),
            Mode::TrapCheck => panic!("trapped in check"),
            _ => Health::Ok,
        }
    }

    fn shut_down(&mut self) -> Option<Vec<u8>> {
        match self.config.mode {
            Mode::Carry | Mode::Grow | Mode::RefuseAdopt | Mode::TrapAdopt => {
                Some(self.calls.to_le_bytes().to_vec())
            }
            Mode::TrapShutdown => panic!("trapped in shutdown"),
            Mode::LeaveBytes => Some(vec![1; usize::try_from(self.config.nth).unwrap_or(0)]),
            Mode::HugeState => Some(vec![1; 1024 * 1024 + 1]),
            _ => None,
        }
    }
}

impl Guest {
    /// What every hook does in the modes that break it.
    fn misbehave(&self) -> Result<(), Failure> {
        match self.config.mode {
            Mode::Trap => panic!("asked to"),
            Mode::TrapNth if self.calls == self.config.nth => panic!("asked to at this call"),
            Mode::Loop => host::metrics::count("never", endless()),
            Mode::Drip => host::metrics::count("never", drip()),
            Mode::Recurse => host::metrics::count("never", recurse(1)),
            Mode::Eat => eat(),
            Mode::Leak => leak()?,
            Mode::Sleep => std::thread::sleep(std::time::Duration::from_secs(60)),
            Mode::Fail => return Err(Failure::failed("asked to")),
            Mode::HugeFailure => return Err(Failure::failed("x".repeat(1024 * 1024))),
            Mode::Log => (0..100_000).for_each(|n| witmq_sdk::info!("line {n}")),
            Mode::Print => {
                println!("printed");
                eprintln!("printed as an error");
            }
            _ => {}
        }
        Ok(())
    }
}

impl Guest {
    fn so_many(&mut self, count: &str) -> Result<String, Failure> {
        let Some(much) = self.config.much else {
            return Err(Failure::failed("`much` is missing"));
        };
        if count == "close" {
            self.handles.close();
            return Ok(count.to_owned());
        }
        counted::so_many(much, count.parse()?, &mut self.handles)
    }
}

/// How a publish went.
fn published(topic: &str, message: &Message) -> String {
    match host::publish(&Emit::new(topic, message.payload.clone())) {
        Ok(()) => "published".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

impl Transform for Guest {
    fn on_message(&mut self, message: &Message) -> Result<Outcome, Failure> {
        self.calls += 1;
        self.misbehave()?;
        let answer = match self.config.mode {
            Mode::Stamp => format!("{} {}", self.config.stamp, message.text()?),
            Mode::Echo => [
                &*message.topic,
                &message.client_id,
                &message.username,
                message.properties.user_property("k").unwrap_or("none"),
                message.text()?,
            ]
            .join("|"),
            Mode::GarbageTopic => return Ok(Outcome::topic("no/#/topic")),
            Mode::Huge => return Ok(Outcome::payload(vec![0; 5 * 1024 * 1024])),
            Mode::Split => {
                let parts = 0..message.payload.len();
                let parts = parts.map(|n| Emit::new(format!("part/{n}"), "x"));
                return Ok(Outcome::Split(parts.collect()));
            }
            Mode::Count => kv::increment("count", 1)?.to_string(),
            Mode::KvFlood => flood(),
            Mode::Publish => published("made/by/plugin", message),
            Mode::PublishTo => published(&self.config.stamp, message),
            Mode::PublishLoop => publish_often(),
            Mode::Carry | Mode::RefuseAdopt | Mode::TrapAdopt | Mode::TrapShutdown => {
                self.calls.to_string()
            }
            Mode::Grow => {
                if message.payload == b"more" {
                    self.hoard.push(vec![1; 256 * 1024]);
                }
                self.calls.to_string()
            }
            Mode::LeaveBytes => (self.calls - 1).to_string(),
            Mode::SoMany => self.so_many(message.text()?)?,
            Mode::Peek => format!(
                "{} {}",
                payload::len(),
                String::from_utf8(payload::read(1, 3))?
            ),
            Mode::Secret => match secrets::text("token") {
                Ok(secret) => secret.unwrap_or_else(|| "none".to_owned()),
                Err(error) => error.to_string(),
            },
            Mode::Timer => {
                timers::after(self.calls, message.text()?.parse()?)?;
                return Ok(Outcome::Pass);
            }
            Mode::Metrics => {
                host::metrics::count("seen", 1);
                host::metrics::gauge("size", f64::from(message.payload_len));
                return Ok(Outcome::Pass);
            }
            _ => return Ok(Outcome::Pass),
        };
        Ok(Outcome::payload(answer))
    }
}

impl Authenticate for Guest {
    fn begin(&mut self, _attempt: &Attempt) -> Result<Step, Failure> {
        self.calls += 1;
        self.misbehave()?;
        Ok(match self.config.mode {
            Mode::GarbageTopic => Step::deny(0x86, "wrong"),
            Mode::Ignore => Step::Ignore,
            _ => Step::Allow(Grant::default()),
        })
    }
}

impl Authorize for Guest {
    fn authorize(&mut self, query: &Query) -> Result<Verdict, Failure> {
        self.calls += 1;
        self.misbehave()?;
        Ok(match query.topic.split('/').next() {
            _ if self.config.mode == Mode::Ignore => Decision::Ignore.into(),
            Some("deny") => Decision::Deny.into(),
            Some("ignore") => Decision::Ignore.into(),
            Some("cached") => Verdict {
                decision: Decision::Allow,
                cache_ms: 60_000,
            },
            _ => Decision::Allow.into(),
        })
    }
}

/// Answers as the payload says: `again`, `again MS`, `never`, `fail`; all else is done.
impl Sink for Guest {
    fn deliver_one(&mut self, message: &Message) -> Result<Delivered, Failure> {
        self.calls += 1;
        self.misbehave()?;
        let mut words = message.text()?.split(' ');
        Ok(match words.next() {
            Some("again") => Delivered::Again {
                after_ms: words.next().map_or(Ok(0), str::parse)?,
            },
            Some("never") => Delivered::Never("it was told so".to_owned()),
            Some("fail") => return Err(Failure::failed("it was told so")),
            _ => {
                kv::increment("delivered", 1)?;
                Delivered::Done
            }
        })
    }

    fn deliver(&mut self, batch: &[Message]) -> Result<Vec<Delivered>, Failure> {
        if self.config.mode == Mode::ShortAnswer {
            return Ok(Vec::new());
        }
        if self.config.mode == Mode::Batches {
            kv::increment(&format!("batch/{}", batch.len()), 1)?;
        }
        batch
            .iter()
            .map(|message| self.deliver_one(message))
            .collect()
    }
}

/// Counts what happens in the store, by name.
impl Events for Guest {
    fn observe_one(&mut self, event: &Event) -> Result<(), Failure> {
        self.misbehave()?;
        kv::increment(&format!("event/{}", event.name), 1)?;
        for (name, value) in &event.details {
            kv::increment(&format!("{name}/{value}"), 1)?;
        }
        Ok(())
    }
}

/// Publishes its token to `made/by/timer`.
impl Timer for Guest {
    fn fire(&mut self, token: u64, _due_ms: u64) -> Result<(), Failure> {
        self.misbehave()?;
        Ok(host::publish(&Emit::new(
            "made/by/timer",
            token.to_string(),
        ))?)
    }
}
