//! Behind `#[plugin]`: the exports of a component around the traits of its author. Types are converted in `convert`.

use crate::abi::authenticating::exports::witmq::plugin::authenticate;
use crate::abi::authorizing::exports::witmq::plugin::authorize;
use crate::abi::base::exports::witmq::plugin::lifecycle;
use crate::abi::base::witmq::plugin::types;
use crate::abi::lending::exports::witmq::guest::desk as lending;
use crate::abi::observing::exports::witmq::plugin::events;
use crate::abi::sinking::exports::witmq::plugin::sink;
use crate::abi::timing::exports::witmq::plugin::timer;
use crate::answering::Answering;
use crate::auth::{Attempt, Step};
use crate::desk;
use crate::failure::Failure;
use crate::message::{Delivered, Message, Outcome};
use crate::plugin::{
    Applied, Authenticate, Authorize, Events, Health, Place, Plugin, Sink, Timer, Transform,
};
use std::marker::PhantomData;

pub use crate::config::{Field, Schema, Writer};

/// A plugin that carries the attribute `#[witmq_sdk::plugin(…)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not registered as a plugin",
    note = "put `#[witmq_sdk::plugin(HOOKS)]` on the struct"
)]
pub trait Registered: Plugin {
    /// Its manifest, JSON.
    const MANIFEST: &'static str;
    /// Names of its hooks.
    const HOOKS: &'static [&'static str];

    /// Gives access to the one instance of the component.
    fn with<R>(f: impl FnOnce(&mut Option<Self>) -> R) -> R;

    /// The hook `transform`, if it is there.
    fn transform(&mut self, message: &Message) -> Option<Result<Outcome, Failure>> {
        let _ = message;
        None
    }

    /// The hook `sink`, if it is there.
    fn sink(&mut self, batch: &[Message]) -> Option<Result<Vec<Delivered>, Failure>> {
        let _ = batch;
        None
    }

    /// The hook `authenticate`, if it is there; with a state and data, the next round of an exchange.
    fn authenticate(
        &mut self,
        attempt: &Attempt,
        round: Option<(&[u8], &[u8])>,
    ) -> Option<Result<Step, Failure>> {
        let _ = (attempt, round);
        None
    }

    /// The hook `timer`, if it is there.
    fn timer(&mut self, token: u64, due_ms: u64) -> Option<Result<(), Failure>> {
        let _ = (token, due_ms);
        None
    }
}

/// The exports of a component around `P`.
#[derive(Debug)]
pub struct Exports<P>(PhantomData<P>);

const NO_INIT: &str = "called before init";

/// The configuration from its JSON text.
pub(crate) fn config<P: Plugin>(text: &str) -> Result<P::Config, String> {
    serde_json::from_str(text).map_err(|error| format!("configuration: {error}"))
}

/// Runs a method of the instance that says in words what is wrong.
fn run<P: Registered, R>(f: impl FnOnce(&mut P) -> Result<R, String>) -> Result<R, String> {
    P::with(|slot| slot.as_mut().map_or_else(|| Err(NO_INIT.to_owned()), f))
}

/// Runs a hook of the instance.
fn hook<P: Registered, R>(
    f: impl FnOnce(&mut P) -> Result<R, Failure>,
) -> Result<R, types::Failure> {
    P::with(|slot| match slot {
        Some(plugin) => f(plugin).map_err(types::Failure::from),
        None => Err(types::Failure::Failed(NO_INIT.to_owned())),
    })
}

impl<P: Registered> lifecycle::Guest for Exports<P> {
    fn init(at: lifecycle::Place, text: String) -> Result<(), String> {
        let place = Place {
            plugin: at.plugin,
            generation: at.generation,
            instance: at.instance,
            instances: at.instances,
        };
        let plugin = P::new(config::<P>(&text)?, &place)?;
        P::with(|slot| *slot = Some(plugin));
        Ok(())
    }

    fn adopt(carried: Vec<u8>) -> Result<(), String> {
        run::<P, _>(|plugin| plugin.adopt(&carried))
    }

    fn reconfigure(text: String) -> Result<lifecycle::Applied, String> {
        let applied = run::<P, _>(|plugin| plugin.reconfigure(config::<P>(&text)?))?;
        Ok(match applied {
            Applied::InPlace => lifecycle::Applied::InPlace,
            Applied::Restart => lifecycle::Applied::Restart,
        })
    }

    fn check() -> lifecycle::Health {
        match run::<P, _>(|plugin| Ok(plugin.check())) {
            Ok(Health::Ok) => lifecycle::Health::Ok,
            Ok(Health::Degraded(text)) => lifecycle::Health::Degraded(text),
            Ok(Health::Failed(text)) | Err(text) => lifecycle::Health::Failed(text),
        }
    }

    fn shutdown() -> Option<Vec<u8>> {
        // The instance stays where it is: dropping it would only cost time, for all memory goes with it.
        P::with(|slot| slot.as_mut().and_then(Plugin::shut_down))
    }
}

impl<P: Registered + Transform> Answering for Exports<P> {
    #[inline(always)]
    fn on_message(message: &Message) -> Result<Outcome, types::Failure> {
        hook::<P, _>(|plugin| plugin.on_message(message))
    }
}

impl<P: Registered + Transform> lending::Guest for Exports<P> {
    fn lend(bytes: u32) -> u32 {
        desk::lend(bytes)
    }
}

impl<P: Registered + Sink> sink::Guest for Exports<P> {
    fn deliver(batch: Vec<types::Message>) -> Result<Vec<sink::Delivered>, types::Failure> {
        let batch: Vec<_> = batch.into_iter().map(Into::into).collect();
        let answers = hook::<P, _>(|plugin| plugin.deliver(&batch))?;
        Ok(answers.into_iter().map(Into::into).collect())
    }
}

impl<P: Registered + Events> events::Guest for Exports<P> {
    fn observe(batch: Vec<events::Event>) -> Result<(), types::Failure> {
        let batch: Vec<_> = batch.into_iter().map(Into::into).collect();
        hook::<P, _>(|plugin| plugin.observe(&batch))
    }
}

impl<P: Registered + Timer> timer::Guest for Exports<P> {
    fn fire(token: u64, due_ms: u64) -> Result<(), types::Failure> {
        hook::<P, _>(|plugin| plugin.fire(token, due_ms))
    }
}

impl<P: Registered + Authenticate> authenticate::Guest for Exports<P> {
    fn begin(attempt: authenticate::Attempt) -> Result<authenticate::Step, types::Failure> {
        let attempt = attempt.into();
        hook::<P, _>(|plugin| plugin.begin(&attempt)).map(Into::into)
    }

    fn proceed(
        attempt: authenticate::Attempt,
        state: Vec<u8>,
        data: Vec<u8>,
    ) -> Result<authenticate::Step, types::Failure> {
        let attempt = attempt.into();
        hook::<P, _>(|plugin| plugin.proceed(&attempt, &state, &data)).map(Into::into)
    }
}

impl<P: Registered + Authorize> authorize::Guest for Exports<P> {
    fn check(query: authorize::Query) -> Result<authorize::Verdict, types::Failure> {
        let query = query.into();
        hook::<P, _>(|plugin| plugin.authorize(&query)).map(Into::into)
    }
}
