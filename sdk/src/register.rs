//! Behind `plugin!`: from the exports of a component to the traits of its author.

use crate::abi::authenticating::exports::witmq::plugin::authenticate as authn;
use crate::abi::authenticating::witmq::plugin::types as authn_types;
use crate::abi::authorizing::exports::witmq::plugin::authorize as authz;
use crate::abi::authorizing::witmq::plugin::types as authz_types;
use crate::abi::base::exports::witmq::plugin::lifecycle;
use crate::abi::transforming::exports::witmq::plugin::transform;
use crate::abi::transforming::witmq::plugin::types;
use crate::auth::{Action, Attempt, Decision, Query, Step};
use crate::message::{Failure, Message, Outcome, QoS};
use crate::plugin::{Authenticate, Authorize, Place, Plugin, Transform};
use crate::properties::Properties;
use std::marker::PhantomData;

/// Where the one instance of a component lives; implemented by `plugin!`.
pub trait Slot: Plugin {
    /// Gives access to it.
    fn with<R>(f: impl FnOnce(&mut Option<Self>) -> R) -> R;
}

/// The exports of a component around `P`.
#[derive(Debug)]
pub struct Exports<P>(PhantomData<P>);

/// Registers a plugin and the hooks it has, once per component: `plugin!(MyPlugin: transform)`, or several of
/// `authenticate`, `authorize` and `transform` with commas.
#[macro_export]
macro_rules! plugin {
    ($plugin:ty: $($hook:ident),+ $(,)?) => {
        const _: () = {
            ::std::thread_local! {
                static INSTANCE: ::std::cell::RefCell<::std::option::Option<$plugin>> =
                    const { ::std::cell::RefCell::new(::std::option::Option::None) };
            }

            impl $crate::register::Slot for $plugin {
                fn with<R>(f: impl ::std::ops::FnOnce(&mut ::std::option::Option<Self>) -> R) -> R {
                    INSTANCE.with_borrow_mut(f)
                }
            }
        };

        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, missing_docs, unused_qualifications, reason = "generated: the exports of a component")]
        const _: () = {
            type Adapter = $crate::register::Exports<$plugin>;
            $crate::base::export_lifecycle!(Adapter with_types_in $crate::base);
            $($crate::__export_hook!($hook);)+
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_hook {
    (authenticate) => {
        $crate::authenticating::export_authenticate!(Adapter with_types_in $crate::authenticating);
    };
    (authorize) => {
        $crate::authorizing::export_authorize!(Adapter with_types_in $crate::authorizing);
    };
    (transform) => {
        $crate::transforming::export_transform!(Adapter with_types_in $crate::transforming);
    };
}

impl<P: Slot> lifecycle::Guest for Exports<P> {
    fn init(at: lifecycle::Place, config: String) -> Result<lifecycle::Needs, String> {
        let config =
            serde_json::from_str(&config).map_err(|error| format!("configuration: {error}"))?;
        let place = Place {
            plugin: at.plugin,
            generation: at.generation,
            shard: at.shard,
            shards: at.shards,
        };
        let plugin = P::new(config, &place)?;
        P::with(|slot| *slot = Some(plugin));
        let flag = |is_set: bool, needs| {
            if is_set {
                needs
            } else {
                lifecycle::Needs::empty()
            }
        };
        let needs = flag(P::NEEDS.payload, lifecycle::Needs::PAYLOAD)
            | flag(P::NEEDS.properties, lifecycle::Needs::PROPERTIES)
            | flag(P::NEEDS.client_id, lifecycle::Needs::CLIENT_ID);
        Ok(needs)
    }

    fn reconfigure(_config: String) -> Result<(), String> {
        Err("a new instance is needed".to_owned())
    }

    fn check() -> Result<(), String> {
        P::with(|slot| {
            slot.as_mut()
                .map_or_else(|| Err(NO_INIT.to_owned()), P::check)
        })
    }

    fn shutdown() {
        P::with(|slot| {
            if let Some(plugin) = slot {
                plugin.shut_down();
            }
            *slot = None;
        });
    }
}

const NO_INIT: &str = "called before init";

/// Runs a hook of the instance.
fn run<P: Slot, R>(f: impl FnOnce(&mut P) -> Result<R, Failure>) -> Result<R, Failure> {
    P::with(|slot| {
        slot.as_mut()
            .map_or_else(|| Err(Failure::Failed(NO_INIT.to_owned())), f)
    })
}

impl<P: Slot + Transform> transform::Guest for Exports<P> {
    fn on_message(message: transform::Message) -> Result<transform::Outcome, transform::Failure> {
        let message = Message {
            topic: message.topic,
            payload: message.payload,
            payload_len: message.payload_len,
            properties: Properties::decode(&message.properties),
            client_id: message.client_id,
            session: message.session,
            received_ms: message.received_ms,
            qos: match message.qos {
                types::Qos::AtMostOnce => QoS::AtMostOnce,
                types::Qos::AtLeastOnce => QoS::AtLeastOnce,
                types::Qos::ExactlyOnce => QoS::ExactlyOnce,
            },
            retain: message.retain,
        };
        run::<P, _>(|plugin| plugin.on_message(&message))
            .map(outcome)
            .map_err(|failure| match failure {
                Failure::BadInput(text) => types::Failure::BadInput(text),
                Failure::Failed(text) => types::Failure::Failed(text),
            })
    }
}

fn qos(qos: QoS) -> types::Qos {
    match qos {
        QoS::AtMostOnce => types::Qos::AtMostOnce,
        QoS::AtLeastOnce => types::Qos::AtLeastOnce,
        QoS::ExactlyOnce => types::Qos::ExactlyOnce,
    }
}

fn outcome(outcome: Outcome) -> transform::Outcome {
    match outcome {
        Outcome::Pass => transform::Outcome::Pass,
        Outcome::Modify(patch) => transform::Outcome::Modify(types::Patch {
            topic: patch.topic,
            payload: patch.payload,
            properties: patch.properties.map(|properties| properties.encode()),
            qos: patch.qos.map(qos),
            retain: patch.retain,
        }),
        Outcome::Split(parts) => transform::Outcome::Split(
            parts
                .into_iter()
                .map(|part| types::Emit {
                    topic: part.topic,
                    payload: part.payload,
                    properties: part.properties.encode(),
                    qos: qos(part.qos),
                    retain: part.retain,
                })
                .collect(),
        ),
        Outcome::Refuse { reason_code, text } => {
            transform::Outcome::Refuse(types::Refusal { reason_code, text })
        }
        Outcome::Consume => transform::Outcome::Consume,
        Outcome::Withhold => transform::Outcome::Withhold,
        Outcome::Stop => transform::Outcome::Stop,
        Outcome::Jump(chain) => transform::Outcome::Jump(chain),
    }
}

fn attempt(attempt: authn::Attempt) -> Attempt {
    Attempt {
        client_id: attempt.client_id,
        username: attempt.username,
        password: attempt.password,
        method: attempt.method,
        data: attempt.data,
        peer: attempt.peer,
        listener: attempt.listener,
        transport: attempt.transport,
        protocol: attempt.protocol,
    }
}

fn step(step: Step) -> authn::Step {
    match step {
        Step::Allow(grant) => authn::Step::Allow(authn::Grant {
            username: grant.username,
            superuser: grant.superuser,
            acl: grant
                .acl
                .into_iter()
                .map(|rule| authn::Rule {
                    allow: rule.allow,
                    publish: rule.publish,
                    subscribe: rule.subscribe,
                    filter: rule.filter,
                })
                .collect(),
            acl_complete: grant.acl_complete,
            expires_ms: grant.expires_ms,
            attributes: grant.attributes,
            data: grant.data,
        }),
        Step::Deny { reason_code, text } => authn::Step::Deny(authn::Denial { reason_code, text }),
        Step::Challenge { data, state } => authn::Step::Challenge(authn::Challenge { data, state }),
    }
}

fn authn_failure(failure: Failure) -> authn_types::Failure {
    match failure {
        Failure::BadInput(text) => authn_types::Failure::BadInput(text),
        Failure::Failed(text) => authn_types::Failure::Failed(text),
    }
}

impl<P: Slot + Authenticate> authn::Guest for Exports<P> {
    fn begin(tried: authn::Attempt) -> Result<authn::Step, authn::Failure> {
        let tried = attempt(tried);
        run::<P, _>(|plugin| plugin.begin(&tried))
            .map(step)
            .map_err(authn_failure)
    }

    fn proceed(
        tried: authn::Attempt,
        state: Vec<u8>,
        data: Vec<u8>,
    ) -> Result<authn::Step, authn::Failure> {
        let tried = attempt(tried);
        run::<P, _>(|plugin| plugin.proceed(&tried, &state, &data))
            .map(step)
            .map_err(authn_failure)
    }
}

impl<P: Slot + Authorize> authz::Guest for Exports<P> {
    fn check(query: authz::Query) -> Result<authz::Verdict, authz::Failure> {
        let query = Query {
            client_id: query.client_id,
            username: query.username,
            action: match query.action {
                authz::Action::Publish => Action::Publish,
                authz::Action::Subscribe => Action::Subscribe,
                authz::Action::Will => Action::Will,
            },
            topic: query.topic,
            qos: match query.qos {
                authz_types::Qos::AtMostOnce => QoS::AtMostOnce,
                authz_types::Qos::AtLeastOnce => QoS::AtLeastOnce,
                authz_types::Qos::ExactlyOnce => QoS::ExactlyOnce,
            },
            retain: query.retain,
        };
        let verdict =
            run::<P, _>(|plugin| plugin.authorize(&query)).map_err(|failure| match failure {
                Failure::BadInput(text) => authz_types::Failure::BadInput(text),
                Failure::Failed(text) => authz_types::Failure::Failed(text),
            })?;
        let decision = match verdict.decision {
            Decision::Allow => authz::Decision::Allow,
            Decision::Deny => authz::Decision::Deny,
            Decision::Ignore => authz::Decision::Ignore,
        };
        Ok(authz::Verdict {
            decision,
            cache_ms: verdict.cache_ms,
        })
    }
}
