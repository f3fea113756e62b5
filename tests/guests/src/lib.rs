//! A plugin that misbehaves as its configuration says: for the tests of the plugin host, and of the whole broker.
#![allow(clippy::panic, reason = "that is what it is for")]

use serde::Deserialize;
use std::hint::black_box;
use witmq_sdk::host::{self, Level, kv};
use witmq_sdk::{
    Attempt, Authenticate, Emit, Failure, Grant, Message, Outcome, Place, Plugin, Step, Transform,
};

/// What to do.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Nothing.
    Pass,
    /// Puts `stamp` before the payload.
    Stamp,
    /// Panics.
    Trap,
    /// Never comes back.
    Loop,
    /// Takes all memory there is.
    Eat,
    /// Answers with a topic that is none.
    GarbageTopic,
    /// Answers with a payload that is too large.
    Huge,
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
    /// Counts in the key-value store and answers with the count.
    Count,
    /// Publishes to `made/by/plugin` and says how that went.
    Publish,
    /// Logs without end.
    Log,
}

/// The configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    mode: Mode,
    #[serde(default)]
    stamp: String,
}

/// The plugin.
pub struct Guest(Config);

impl Plugin for Guest {
    type Config = Config;

    fn new(config: Config, _place: &Place) -> Result<Self, String> {
        match config.mode {
            Mode::RefuseInit => Err("it does not want to".to_owned()),
            Mode::TrapInit => panic!("trapped in init"),
            _ => Ok(Self(config)),
        }
    }
}

/// Never comes back, and the compiler cannot know.
fn endless() -> u64 {
    let mut count = 0u64;
    while black_box(true) {
        count = black_box(count.wrapping_add(1));
    }
    count
}

fn eat() -> usize {
    let mut all = Vec::new();
    while black_box(true) {
        all.push(black_box(vec![1u8; 1024 * 1024]));
    }
    all.len()
}

impl Transform for Guest {
    fn on_message(&mut self, message: &Message) -> Result<Outcome, Failure> {
        Ok(match self.0.mode {
            Mode::Pass | Mode::RefuseInit | Mode::TrapInit => Outcome::Pass,
            Mode::Stamp => Outcome::payload(format!("{} {}", self.0.stamp, message.text()?)),
            Mode::Trap => panic!("asked to"),
            Mode::Loop => Outcome::payload(endless().to_string()),
            Mode::Eat => Outcome::payload(eat().to_string()),
            Mode::GarbageTopic => Outcome::topic("no/#/topic"),
            Mode::Huge => Outcome::payload(vec![0; 5 * 1024 * 1024]),
            Mode::Split => Outcome::Split(
                (0..message.payload.len())
                    .map(|n| Emit::new(format!("part/{n}"), "x"))
                    .collect(),
            ),
            Mode::Print => {
                println!("printed");
                eprintln!("printed as an error");
                Outcome::Pass
            }
            Mode::Sleep => {
                std::thread::sleep(std::time::Duration::from_secs(60));
                Outcome::Pass
            }
            Mode::Fail => return Err(Failure::Failed("asked to".to_owned())),
            Mode::Count => {
                let count = kv::increment("count", 1)
                    .map_err(|error| Failure::Failed(format!("{error:?}")))?;
                Outcome::payload(count.to_string())
            }
            Mode::Publish => {
                let said = host::publish(&Emit::new("made/by/plugin", message.payload.clone()));
                Outcome::payload(if said.is_ok() {
                    "published".to_owned()
                } else {
                    format!("{said:?}")
                })
            }
            Mode::Log => {
                (0..100_000).for_each(|n| host::log(Level::Info, &format!("line {n}")));
                Outcome::Pass
            }
        })
    }
}

impl Authenticate for Guest {
    fn begin(&mut self, _attempt: &Attempt) -> Result<Step, Failure> {
        match self.0.mode {
            Mode::Trap => panic!("asked to"),
            Mode::Loop => Ok(Step::deny(0x87, endless().to_string())),
            Mode::Fail => Err(Failure::Failed("asked to".to_owned())),
            Mode::GarbageTopic => Ok(Step::deny(0x86, "wrong")),
            _ => Ok(Step::Allow(Grant::default())),
        }
    }
}

witmq_sdk::plugin!(Guest: transform, authenticate);
