//! What an author implements: [`Plugin`] once, and a trait per hook.

use crate::auth::{Attempt, Query, Step, Verdict};
use crate::message::{Failure, Message, Outcome};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The configuration of a plugin that has none: `{}`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// Where an instance runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Name the plugin is installed under.
    pub plugin: String,
    /// Counts installations and configurations of it, from 1.
    pub generation: u64,
    /// Number of the shard this instance serves.
    pub shard: u32,
    /// How many shards there are; each has an instance of its own.
    pub shards: u32,
}

/// Which parts of a message the plugin reads. What it does not ask for stays empty and costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// `Message::payload`.
    pub payload: bool,
    /// `Message::properties`.
    pub properties: bool,
    /// `Message::client_id`.
    pub client_id: bool,
}

impl Needs {
    /// The payload and nothing else.
    pub const PAYLOAD: Self = Self {
        payload: true,
        properties: false,
        client_id: false,
    };
    /// Topic, QoS and RETAIN only.
    pub const TOPIC: Self = Self {
        payload: false,
        properties: false,
        client_id: false,
    };
    /// Everything.
    pub const ALL: Self = Self {
        payload: true,
        properties: true,
        client_id: true,
    };
}

/// A plugin: what every instance has, whatever its hooks.
pub trait Plugin: Sized + 'static {
    /// Its configuration, read from JSON. Give the type `#[serde(deny_unknown_fields)]`, so that a typo is an error.
    type Config: DeserializeOwned;

    /// What it reads of a message.
    const NEEDS: Needs = Needs::PAYLOAD;

    /// Makes an instance.
    ///
    /// # Errors
    /// The configuration cannot be used: the installation is refused with these words.
    fn new(config: Self::Config, place: &Place) -> Result<Self, String>;

    /// Is it well? An error is shown to the operator.
    ///
    /// # Errors
    /// In words.
    fn check(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// Called before the instance goes.
    fn shut_down(&mut self) {}
}

/// A step of a chain: one message in, one outcome out.
pub trait Transform: Plugin {
    /// Called for each message.
    ///
    /// # Errors
    /// The step's failure policy applies.
    fn on_message(&mut self, message: &Message) -> Result<Outcome, Failure>;
}

/// Decides who connects. Runs off the message path; it may take its time (two seconds by default).
pub trait Authenticate: Plugin {
    /// One CONNECT, or the beginning of a re-authentication: then `data` is the client's new one.
    ///
    /// # Errors
    /// The client is denied.
    fn begin(&mut self, attempt: &Attempt) -> Result<Step, Failure>;

    /// A later round of an exchange: the state given with the last challenge, and the client's data.
    ///
    /// # Errors
    /// The client is denied.
    fn proceed(&mut self, attempt: &Attempt, state: &[u8], data: &[u8]) -> Result<Step, Failure> {
        let _ = (attempt, state, data);
        Ok(Step::deny(
            0x8C,
            "this authenticator knows no exchange of several rounds",
        ))
    }
}

/// Decides what a client's grant leaves open.
pub trait Authorize: Plugin {
    /// One question.
    ///
    /// # Errors
    /// The client is denied.
    fn authorize(&mut self, query: &Query) -> Result<Verdict, Failure>;
}
