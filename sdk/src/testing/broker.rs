//! The test broker: one instance of a plugin, and what it sees.
//!
//! Owns: calls of hooks as the broker makes them (only what is needed is filled in, answers are checked). Must not: be
//! kinder than the broker.

use super::answers;
use super::schema;
use super::stand_in::{Line, State, Swapped};
use crate::auth::{Attempt, Query, Step, Verdict};
use crate::failure::Failure;
use crate::host::clients::Client;
use crate::message::{Delivered, Emit, Event, Message, Outcome};
use crate::plugin::{Applied, Authenticate, Authorize, Events, Health, Place, Sink, Transform};
use crate::register::{self, Registered};
use serde_json::Value;
use std::fmt::{self, Display};

/// Bytes of the state that one instance leaves to the next.
const STATE_BYTES: usize = 1024 * 1024;
/// Messages or events of a batch.
const BATCH: usize = 256;
/// Timers that fire in one move of the clock, so that one that sets itself anew without a delay ends.
const FIRED: usize = 100_000;
/// Where the clock begins: the first of January 2026.
const BEGIN_MS: u64 = 1_767_225_600_000;

/// A broker with one instance of `P`. It grants what the manifest asks for, checks the configuration against the schema,
/// fills in what is needed of a message, and refuses answers that the broker would refuse.
pub struct TestBroker<P> {
    plugin: P,
    state: State,
    place: Place,
    needs: Vec<String>,
}

/// Without the plugin, so that it need not be `Debug` for `unwrap_err` of a start.
impl<P> fmt::Debug for TestBroker<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestBroker")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// What a plugin finds when it starts; see [`TestBroker::setup`].
#[derive(Debug)]
pub struct Setup<P> {
    state: State,
    place: Place,
    plugin: std::marker::PhantomData<P>,
}

impl<P: Registered> Setup<P> {
    /// A capability that the manifest does not ask for, as an operator grants one that the configuration names.
    #[must_use]
    pub fn grant(mut self, capability: &str) -> Self {
        self.state
            .granted
            .get_or_insert_default()
            .push(capability.to_owned());
        self
    }

    /// A secret. The manifest has to ask for it, `capabilities("secret:NAME")`, or it is granted with [`Self::grant`].
    #[must_use]
    pub fn secret(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.state.secrets.insert(name.to_owned(), value.into());
        self
    }

    /// A client with a session.
    #[must_use]
    pub fn client(mut self, client_id: &str, client: Client) -> Self {
        self.state.clients.insert(client_id.to_owned(), client);
        self
    }

    /// Where the clock begins, milliseconds since 1970.
    #[must_use]
    pub fn now_ms(mut self, now_ms: u64) -> Self {
        self.state.now_ms = now_ms;
        self
    }

    /// Which instance it is, of how many.
    #[must_use]
    pub fn instance(mut self, instance: u32, instances: u32) -> Self {
        self.place = Place {
            instance,
            instances,
            ..self.place
        };
        self
    }

    /// The answer to requests of this method and URL.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn answers(mut self, method: &str, url: &str, answer: crate::host::http::Response) -> Self {
        self.state.http.answer(method, url, answer);
        self
    }

    /// Nobody answers requests of this method and URL.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn silent(mut self, method: &str, url: &str) -> Self {
        self.state.http.silence(method, url);
        self
    }

    /// Starts the plugin with a configuration, JSON text or a [`serde_json::Value`].
    ///
    /// # Errors
    /// What the operator would be told.
    pub fn start(self, config: impl Display) -> Result<TestBroker<P>, String> {
        let Self {
            mut state, place, ..
        } = self;
        let manifest: Value = serde_json::from_str(P::MANIFEST)
            .map_err(|error| format!("the manifest is no JSON, is the file of tests? {error}"))?;
        let texts = |key: &str| {
            let list = manifest[key].as_array().into_iter().flatten();
            list.filter_map(Value::as_str)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        state
            .granted
            .get_or_insert_default()
            .extend(texts("capabilities"));
        state.has_timer = P::HOOKS.contains(&"timer");
        let plugin = Swapped::new(&mut state).run(|| make::<P>(&config.to_string(), &place))?;
        let mut broker = TestBroker {
            plugin,
            state,
            place,
            needs: texts("needs"),
        };
        match broker.check() {
            Health::Failed(text) => Err(text),
            Health::Ok | Health::Degraded(_) => Ok(broker),
        }
    }
}

/// The configuration, if it fits the schema.
fn config<P: Registered>(text: &str) -> Result<P::Config, String> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| format!("configuration: {error}"))?;
    let manifest: Value = serde_json::from_str(P::MANIFEST).map_err(|error| error.to_string())?;
    schema::check(&manifest["config"], &value).map_err(|text| format!("configuration: {text}"))?;
    register::config::<P>(text)
}

fn make<P: Registered>(text: &str, place: &Place) -> Result<P, String> {
    P::new(config::<P>(text)?, place)
}

impl<P: Registered> TestBroker<P> {
    /// Starts the plugin with a configuration, JSON text or a [`serde_json::Value`].
    ///
    /// # Errors
    /// What the operator would be told.
    pub fn start(config: impl Display) -> Result<Self, String> {
        Self::setup().start(config)
    }

    /// A broker that gives the plugin more than its configuration: finish it with [`Setup::start`].
    #[must_use]
    pub fn setup() -> Setup<P> {
        Setup {
            state: State {
                now_ms: BEGIN_MS,
                ..State::default()
            },
            place: Place {
                plugin: "test".to_owned(),
                generation: 1,
                instance: 0,
                instances: 1,
            },
            plugin: std::marker::PhantomData,
        }
    }

    /// One call into the plugin.
    fn call<R>(&mut self, f: impl FnOnce(&mut P) -> R) -> R {
        self.state.published_now = 0;
        let plugin = &mut self.plugin;
        Swapped::new(&mut self.state).run(|| f(plugin))
    }

    /// Calls the plugin with the broker in place, for methods of its own.
    pub fn with<R>(&mut self, f: impl FnOnce(&mut P) -> R) -> R {
        self.call(f)
    }

    /// How it is.
    pub fn check(&mut self) -> Health {
        self.call(P::check)
    }

    /// Gives a new configuration to the instance, and takes a new one if it asks for that.
    ///
    /// # Errors
    /// What the operator would be told; the old configuration stays in force.
    pub fn reconfigure(&mut self, text: impl Display) -> Result<Applied, String> {
        let text = text.to_string();
        let new = config::<P>(&text)?;
        let applied = self.call(|plugin| plugin.reconfigure(new))?;
        if applied == Applied::Restart {
            self.swap(text)?;
        }
        Ok(applied)
    }

    /// Puts a new instance in place of this one, as an update does: it is made, and then given the old one's state.
    ///
    /// # Errors
    /// What the operator would be told; the old instance stays.
    pub fn swap(&mut self, text: impl Display) -> Result<(), String> {
        let place = Place {
            generation: self.place.generation + 1,
            ..self.place.clone()
        };
        let text = text.to_string();
        let new = Swapped::new(&mut self.state).run(|| make::<P>(&text, &place))?;
        let carried = self.call(P::shut_down);
        self.plugin = new;
        self.place = place;
        match carried {
            Some(state) if state.len() > STATE_BYTES => {
                crate::host::log::log(crate::host::log::Level::Warn, "the state is too large");
                Ok(())
            }
            Some(state) => self.call(|plugin| plugin.adopt(&state)),
            None => Ok(()),
        }
    }

    /// Moves the clock on; timers fire when it passes them.
    ///
    /// # Errors
    /// The first failure of a timer; those after it fire all the same.
    pub fn advance_ms(&mut self, ms: u64) -> Result<(), Failure> {
        let end = self.state.now_ms.saturating_add(ms);
        let mut result = Ok(());
        for _ in 0..FIRED {
            let timers = self.state.timers.iter();
            let next = timers.map(|(token, due)| (*due, *token)).min();
            let Some((due, token)) = next.filter(|(due, _)| *due <= end) else {
                self.state.now_ms = end;
                return result;
            };
            self.state.timers.remove(&token);
            self.state.now_ms = self.state.now_ms.max(due);
            result = result.and(
                self.call(|plugin| plugin.timer(token, due))
                    .unwrap_or(Ok(())),
            );
        }
        Err(Failure::failed(format!("more than {FIRED} timers fired")))
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.state.now_ms
    }

    /// Changes a secret, as an operator may at any time.
    pub fn set_secret(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.state.secrets.insert(name.to_owned(), value.into());
    }

    /// Changes the answer to requests of this method and URL.
    #[cfg(feature = "http")]
    pub fn set_answer(&mut self, method: &str, url: &str, answer: crate::host::http::Response) {
        self.state.http.answer(method, url, answer);
    }

    /// Lets each request take so many milliseconds (none otherwise): the clock moves on, and one with less time fails.
    #[cfg(feature = "http")]
    pub fn set_http_takes_ms(&mut self, takes_ms: u64) {
        self.state.http.takes_ms = takes_ms;
    }

    /// Lines logged since the last call.
    #[must_use]
    pub fn logged(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.state.lines)
    }

    /// Messages published since the last call.
    #[must_use]
    pub fn published(&mut self) -> Vec<Emit> {
        std::mem::take(&mut self.state.published)
    }

    /// Clients disconnected since the last call, with their reason codes.
    #[must_use]
    pub fn disconnected(&mut self) -> Vec<(String, u8)> {
        std::mem::take(&mut self.state.disconnected)
    }

    /// Requests made since the last call.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn requests(&mut self) -> Vec<crate::host::http::Request> {
        self.state.http.take()
    }

    /// A counter of the plugin's own; 0 if it never counted.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        self.state.counters.get(name).copied().unwrap_or(0)
    }

    /// A gauge of the plugin's own.
    #[must_use]
    pub fn gauge(&self, name: &str) -> Option<f64> {
        self.state.gauges.get(name).copied()
    }

    /// A message as the manifest asks for it.
    fn filled(&self, message: &mut Message) {
        let needs = |name: &str| self.needs.iter().any(|need| need == name);
        if !needs("payload") {
            message.payload.clear();
        }
        if !needs("properties") {
            message.properties = crate::Properties::default();
        }
        if !needs("client") {
            message.client_id.clear();
            message.username.clear();
        }
        if message.received_ms == 0 {
            message.received_ms = self.state.now_ms;
        }
    }

    pub(super) fn transform(
        &mut self,
        message: Message,
        f: impl FnOnce(&mut P, &Message) -> Result<Outcome, Failure>,
    ) -> Result<Outcome, Failure> {
        let mut message = message;
        self.state.payload.clone_from(&message.payload);
        self.filled(&mut message);
        let outcome = self.call(|plugin| f(plugin, &message));
        self.state.payload.clear();
        let outcome = outcome?;
        answers::check_outcome(&outcome)
            .map_err(|text| Failure::failed(format!("answered badly: {text}")))?;
        Ok(match outcome {
            // What is no refusal becomes the one for an implementation's own reasons.
            Outcome::Refuse {
                reason_code: ..0x80,
                text,
            } => Outcome::Refuse {
                reason_code: 0x83,
                text,
            },
            other => other,
        })
    }
}

impl<P: Registered + Transform> TestBroker<P> {
    /// Gives a message to `transform`.
    ///
    /// # Errors
    /// The plugin's, or `answered badly` if the broker would not take the outcome.
    pub fn send(&mut self, message: impl Into<Message>) -> Result<Outcome, Failure> {
        self.transform(message.into(), P::on_message)
    }
}

impl<P: Registered + Sink> TestBroker<P> {
    /// Gives a batch to `sink`.
    ///
    /// # Errors
    /// The plugin's, or `answered badly` if it does not answer for each message.
    pub fn deliver(
        &mut self,
        batch: impl IntoIterator<Item = Message>,
    ) -> Result<Vec<Delivered>, Failure> {
        let batch: Vec<Message> = batch.into_iter().take(BATCH).collect();
        self.sink(batch, P::deliver)
    }
}

impl<P: Registered> TestBroker<P> {
    pub(super) fn sink(
        &mut self,
        mut batch: Vec<Message>,
        f: impl FnOnce(&mut P, &[Message]) -> Result<Vec<Delivered>, Failure>,
    ) -> Result<Vec<Delivered>, Failure> {
        batch.iter_mut().for_each(|message| self.filled(message));
        let answers = self.call(|plugin| f(plugin, &batch))?;
        if answers.len() == batch.len() {
            return Ok(answers);
        }
        let text = format!(
            "answered badly: {} answers for {} messages",
            answers.len(),
            batch.len()
        );
        Err(Failure::failed(text))
    }
}

impl<P: Registered + Events> TestBroker<P> {
    /// Gives a batch to `events`.
    ///
    /// # Errors
    /// The plugin's.
    pub fn observe(&mut self, batch: impl IntoIterator<Item = Event>) -> Result<(), Failure> {
        let batch: Vec<Event> = batch.into_iter().take(BATCH).collect();
        self.call(|plugin| plugin.observe(&batch))
    }
}

impl<P: Registered + Authenticate> TestBroker<P> {
    /// The first round of an attempt.
    ///
    /// # Errors
    /// The plugin's.
    pub fn authenticate(&mut self, attempt: &Attempt) -> Result<Step, Failure> {
        self.call(|plugin| plugin.begin(attempt))
    }

    /// A later round of an attempt.
    ///
    /// # Errors
    /// The plugin's.
    pub fn proceed(
        &mut self,
        attempt: &Attempt,
        state: &[u8],
        data: &[u8],
    ) -> Result<Step, Failure> {
        self.call(|plugin| plugin.proceed(attempt, state, data))
    }
}

impl<P: Registered + Authorize> TestBroker<P> {
    /// One question.
    ///
    /// # Errors
    /// The plugin's.
    pub fn authorize(&mut self, query: &Query) -> Result<Verdict, Failure> {
        self.call(|plugin| plugin.authorize(query))
    }
}
