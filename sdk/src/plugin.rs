//! What an author implements: [`Plugin`] once, and a trait per hook.

use crate::Config;
use crate::auth::{Attempt, Query, Step, Verdict};
use crate::failure::Failure;
use crate::message::{Delivered, Event, Message, Outcome};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The configuration of a plugin that has none: `{}`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Config)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// Where an instance runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Name the plugin is installed under.
    pub plugin: String,
    /// Counts new versions and configurations of it, from 1 at each start of the broker.
    pub generation: u64,
    /// Number of the instance among all of its generation, from 0. One that takes the place of another has its number.
    pub instance: u32,
    /// How many of them there are.
    pub instances: u32,
}

/// How a plugin is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Well.
    #[default]
    Ok,
    /// It serves, but not as it should; in words for the operator.
    Degraded(String),
    /// It can not serve, so it is not installed; in words for the operator.
    Failed(String),
}

/// What came of a new configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// This instance goes on with it.
    InPlace,
    /// A new instance is needed.
    Restart,
}

/// A plugin: what every instance has, whatever its hooks.
///
/// ```
/// use witmq_sdk::{Failure, Health, Message, Outcome, Place, Plugin, Transform};
///
/// /// Numbers messages, and goes on counting after an update.
/// #[witmq_sdk::plugin(transform, needs())]
/// struct Count(u64);
///
/// impl Plugin for Count {
///     type Config = witmq_sdk::NoConfig;
///
///     fn new(_config: Self::Config, _place: &Place) -> Result<Self, String> {
///         Ok(Self(0))
///     }
///     fn adopt(&mut self, state: &[u8]) -> Result<(), String> {
///         self.0 = u64::from_le_bytes(state.try_into().map_err(|_| "8 bytes are expected")?);
///         Ok(())
///     }
///     fn shut_down(&mut self) -> Option<Vec<u8>> {
///         Some(self.0.to_le_bytes().to_vec())
///     }
/// }
///
/// impl Transform for Count {
///     fn on_message(&mut self, _message: &Message) -> Result<Outcome, Failure> {
///         self.0 += 1;
///         Ok(Outcome::payload(self.0.to_string()))
///     }
/// }
///
/// let mut broker = witmq_sdk::testing::TestBroker::<Count>::start("{}").unwrap();
/// assert_eq!(broker.send(("t", "x")), Ok(Outcome::payload("1")));
/// broker.swap("{}").unwrap();
/// assert_eq!(broker.send(("t", "x")), Ok(Outcome::payload("2")));
/// ```
pub trait Plugin: Sized + 'static {
    /// Its configuration, read from JSON. Give the type `#[serde(deny_unknown_fields)]`, so that a typo is an error.
    type Config: DeserializeOwned + Config;

    /// Makes an instance.
    ///
    /// # Errors
    /// The configuration cannot be used: the installation is refused with these words.
    fn new(config: Self::Config, place: &Place) -> Result<Self, String>;

    /// Takes over the state of the instance that this one replaces: what its [`Plugin::shut_down`] gave. Not called if
    /// there is none.
    ///
    /// # Errors
    /// They are logged; the instance serves without that state.
    fn adopt(&mut self, state: &[u8]) -> Result<(), String> {
        let _ = state;
        Ok(())
    }

    /// A new configuration, once another instance was made with it. As long as this is not implemented, that one takes the
    /// place of this one. Instances beside the shards (of sinks, events, timers, and of plugins that wait) are not asked.
    ///
    /// # Errors
    /// As [`Applied::Restart`], with these words in the log. What refuses a configuration is [`Plugin::new`].
    fn reconfigure(&mut self, config: Self::Config) -> Result<Applied, String> {
        let _ = config;
        Ok(Applied::Restart)
    }

    /// Is it well? Asked before it serves; the broker may ask at other times too.
    fn check(&mut self) -> Health {
        Health::Ok
    }

    /// Called before the instance goes. What it gives, at most 1 MiB, is for the instance that takes its place; what
    /// must outlive the broker belongs into [`crate::host::kv`].
    fn shut_down(&mut self) -> Option<Vec<u8>> {
        None
    }
}

/// A step of a chain: one message in, one outcome out.
///
/// ```
/// use witmq_sdk::{Failure, Message, NoConfig, Outcome, Place, Plugin, Transform};
///
/// /// Doubles the number in `n`.
/// #[witmq_sdk::plugin(transform)]
/// struct Double;
///
/// impl Plugin for Double {
///     type Config = NoConfig;
///     fn new(_config: NoConfig, _place: &Place) -> Result<Self, String> {
///         Ok(Self)
///     }
/// }
///
/// impl Transform for Double {
///     fn on_message(&mut self, message: &Message) -> Result<Outcome, Failure> {
///         let mut object: serde_json::Value = message.json()?;
///         let n = object["n"].as_f64().ok_or_else(|| Failure::bad_input("no number in `n`"))?;
///         object["n"] = (n * 2.0).into();
///         Outcome::json(&object)
///     }
/// }
///
/// let mut broker = witmq_sdk::testing::TestBroker::<Double>::start("{}").unwrap();
/// assert_eq!(broker.send(("t", r#"{"n":4.5}"#)), Ok(Outcome::payload(r#"{"n":9.0}"#)));
/// assert!(broker.send(("t", "no json")).is_err());
/// ```
pub trait Transform: Plugin {
    /// Called for each message.
    ///
    /// # Errors
    /// The step's failure policy applies.
    fn on_message(&mut self, message: &Message) -> Result<Outcome, Failure>;
}

/// Decides who connects. Runs off the message path; it may take its time (5 s by default).
///
/// ```
/// use witmq_sdk::{Attempt, Authenticate, Failure, Grant, NoConfig, Place, Plugin, Rule, Step};
///
/// /// Everybody gets a corner of their own.
/// #[witmq_sdk::plugin(authenticate)]
/// struct Corners;
///
/// impl Plugin for Corners {
///     type Config = NoConfig;
///     fn new(_config: NoConfig, _place: &Place) -> Result<Self, String> {
///         Ok(Self)
///     }
/// }
///
/// impl Authenticate for Corners {
///     fn begin(&mut self, attempt: &Attempt) -> Result<Step, Failure> {
///         if attempt.username.is_none() {
///             return Ok(Step::deny(0x86, "say who you are"));
///         }
///         let acl = vec![Rule::allow("corner/{user}/#")];
///         Ok(Step::Allow(Grant { acl, acl_complete: true, ..Grant::default() }))
///     }
/// }
///
/// let mut broker = witmq_sdk::testing::TestBroker::<Corners>::start("{}").unwrap();
/// let step = broker.authenticate(&Attempt::default()).unwrap();
/// assert_eq!(step, Step::deny(0x86, "say who you are"));
/// ```
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
///
/// ```
/// use witmq_sdk::{Action, Authorize, Decision, Failure, NoConfig, Place, Plugin, Query, Verdict};
///
/// /// Nobody subscribes to everything.
/// #[witmq_sdk::plugin(authorize)]
/// struct NotAll;
///
/// impl Plugin for NotAll {
///     type Config = NoConfig;
///     fn new(_config: NoConfig, _place: &Place) -> Result<Self, String> {
///         Ok(Self)
///     }
/// }
///
/// impl Authorize for NotAll {
///     fn authorize(&mut self, query: &Query) -> Result<Verdict, Failure> {
///         let is_all = query.action == Action::Subscribe && query.topic == "#";
///         Ok(if is_all { Decision::Deny } else { Decision::Ignore }.into())
///     }
/// }
///
/// let mut broker = witmq_sdk::testing::TestBroker::<NotAll>::start("{}").unwrap();
/// let query = Query { action: Action::Subscribe, topic: "#".into(), ..Query::default() };
/// assert_eq!(broker.authorize(&query).unwrap().decision, Decision::Deny);
/// ```
pub trait Authorize: Plugin {
    /// One question.
    ///
    /// # Errors
    /// The client is denied.
    fn authorize(&mut self, query: &Query) -> Result<Verdict, Failure>;
}

/// The end of a chain: messages that leave the broker. Implement `deliver_one`, or `deliver` where what is on the other
/// side takes many at once.
///
/// ```
/// use witmq_sdk::{Delivered, Failure, Message, NoConfig, Place, Plugin, Sink, host};
///
/// /// Writes messages into the log.
/// #[witmq_sdk::plugin(sink)]
/// struct Lines;
///
/// impl Plugin for Lines {
///     type Config = NoConfig;
///     fn new(_config: NoConfig, _place: &Place) -> Result<Self, String> {
///         Ok(Self)
///     }
/// }
///
/// impl Sink for Lines {
///     fn deliver_one(&mut self, message: &Message) -> Result<Delivered, Failure> {
///         witmq_sdk::info!("{}: {}", message.topic, message.text()?);
///         Ok(Delivered::Done)
///     }
/// }
///
/// let mut broker = witmq_sdk::testing::TestBroker::<Lines>::start("{}").unwrap();
/// let answers = broker.deliver([("a", "1").into(), ("b", b"\xFF".to_vec()).into()]).unwrap();
/// assert_eq!(answers[0], Delivered::Done);
/// assert!(matches!(&answers[1], Delivered::Never(text) if text.contains("utf-8")));
/// assert_eq!(broker.logged()[0].text, "a: 1");
/// ```
pub trait Sink: Plugin {
    /// Takes one message.
    ///
    /// # Errors
    /// [`Failure::BadInput`] means [`Delivered::Never`], [`Failure::Failed`] means [`Delivered::Again`] with the
    /// broker's own backoff.
    fn deliver_one(&mut self, message: &Message) -> Result<Delivered, Failure> {
        let _ = message;
        Err(Failure::failed(
            "this sink implements neither `deliver_one` nor `deliver`",
        ))
    }

    /// Takes a batch of 1 to 256 messages, in order; one answer per message, in order. By itself it asks `deliver_one`
    /// until a message has to come again: those behind it then come again too, so their order stays.
    ///
    /// # Errors
    /// All of them come again.
    fn deliver(&mut self, batch: &[Message]) -> Result<Vec<Delivered>, Failure> {
        let mut answers = Vec::with_capacity(batch.len());
        for message in batch {
            let answer = match self.deliver_one(message) {
                Ok(answer) => answer,
                Err(Failure::BadInput(text)) => Delivered::Never(text),
                Err(Failure::Failed(text)) => {
                    crate::warn!("{}: comes again: {text}", message.topic);
                    Delivered::Again { after_ms: 0 }
                }
            };
            let is_again = matches!(answer, Delivered::Again { .. });
            answers.push(answer);
            if is_again {
                break;
            }
        }
        if let Some(Delivered::Again { after_ms }) = answers.last() {
            let rest = Delivered::Again {
                after_ms: *after_ms,
            };
            answers.resize(batch.len(), rest);
        }
        Ok(answers)
    }
}

/// Looks on. Implement `observe_one`, or `observe` for whole batches.
///
/// ```
/// use witmq_sdk::{Event, Events, Failure, NoConfig, Place, Plugin, host};
///
/// /// Counts who comes.
/// #[witmq_sdk::plugin(events)]
/// struct Door;
///
/// impl Plugin for Door {
///     type Config = NoConfig;
///     fn new(_config: NoConfig, _place: &Place) -> Result<Self, String> {
///         Ok(Self)
///     }
/// }
///
/// impl Events for Door {
///     fn observe_one(&mut self, event: &Event) -> Result<(), Failure> {
///         if event.name == "connected" {
///             host::metrics::count("came", 1);
///         }
///         Ok(())
///     }
/// }
///
/// let mut broker = witmq_sdk::testing::TestBroker::<Door>::start("{}").unwrap();
/// broker.observe([Event::new("connected"), Event::new("denied")]).unwrap();
/// assert_eq!(broker.counter("came"), 1);
/// ```
pub trait Events: Plugin {
    /// Takes one event. Names that are not known are to be ignored: later versions of the broker add some.
    ///
    /// # Errors
    /// It is counted, and nothing else.
    fn observe_one(&mut self, event: &Event) -> Result<(), Failure> {
        let _ = event;
        Err(Failure::failed(
            "this plugin implements neither `observe_one` nor `observe`",
        ))
    }

    /// Takes a batch of 1 to 256 events, in order. By itself it gives each to `observe_one`, failures notwithstanding.
    ///
    /// # Errors
    /// It is counted, and nothing else; the first failure of a batch is the one that is told.
    fn observe(&mut self, batch: &[Event]) -> Result<(), Failure> {
        let mut result = Ok(());
        for event in batch {
            result = result.and(self.observe_one(event));
        }
        result
    }
}

/// Called when a timer of [`crate::host::timers`] falls due.
///
/// ```
/// use witmq_sdk::{Emit, Failure, NoConfig, Place, Plugin, Timer, host};
///
/// /// A beat every second.
/// #[witmq_sdk::plugin(timer, capabilities("publish:beat"))]
/// struct Beat;
///
/// impl Plugin for Beat {
///     type Config = NoConfig;
///     fn new(_config: NoConfig, place: &Place) -> Result<Self, String> {
///         if place.instance == 0 {
///             host::timers::after(1, 1000).map_err(|error| error.to_string())?;
///         }
///         Ok(Self)
///     }
/// }
///
/// impl Timer for Beat {
///     fn fire(&mut self, token: u64, _due_ms: u64) -> Result<(), Failure> {
///         host::publish(&Emit::new("beat", "x"))?;
///         Ok(host::timers::after(token, 1000)?)
///     }
/// }
///
/// let mut broker = witmq_sdk::testing::TestBroker::<Beat>::start("{}").unwrap();
/// broker.advance_ms(2500).unwrap();
/// assert_eq!(broker.published().len(), 2);
/// ```
pub trait Timer: Plugin {
    /// `token` is the one the timer was set with, `due_ms` when it was due (milliseconds since 1970). Called on one
    /// instance of the plugin.
    ///
    /// # Errors
    /// It is counted, and nothing else.
    fn fire(&mut self, token: u64, due_ms: u64) -> Result<(), Failure>;
}
