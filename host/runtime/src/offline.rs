//! A component without a broker, for the tools of its author: what it is, whether it would be taken, and what its calls
//! cost under the limits that it would have there.
//!
//! Must not: reach anything. What the component publishes goes nowhere, its keys are thrown away, it finds no secret and no
//! client.

use crate::capability;
use crate::compiled::Compiled;
use crate::config::{Grants, Outside, RuntimeConfig};
use crate::engine;
use crate::imports::State;
use crate::instance::{Instance, InstanceError, at_once};
use crate::manifest::Vector;
use crate::package::{self, Package};
use crate::plugin::Shared;
use crate::pool::Pool;
use crate::registry::StartError;
use crate::template::{Post, Template};
use crate::timers::Timers;
use crate::{vectors, vetting};
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::Engine;
use wasmtime::component::Linker;
use witmq_broker::kv::{KvBounds, Spaces};
use witmq_broker::ports::clients::{Answered, Busy, ClientInfo, Clients};
use witmq_broker::ports::{ControlError, Publisher, StepFailure, StepOutcome};
use witmq_proto::{Message, ReasonCode};

/// Loads components to look at them.
pub struct Offline {
    engine: Engine,
    linker: Linker<State>,
    limits: Arc<RuntimeConfig>,
    compiled: Compiled,
}

impl std::fmt::Debug for Offline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offline").finish_non_exhaustive()
    }
}

/// No client anywhere.
struct Nobody;

impl Clients for Nobody {
    fn find(&self, _: &str) -> Answered<Option<ClientInfo>> {
        Box::pin(async { Err(Busy) })
    }

    fn disconnect(&self, _: &str, _: ReasonCode) -> Answered<bool> {
        Box::pin(async { Err(Busy) })
    }
}

impl Offline {
    /// Starts the engine with the limits of a broker. What is compiled is kept below `data_dir`, if there is one.
    ///
    /// # Errors
    /// The engine cannot start on this machine.
    pub fn new(limits: RuntimeConfig) -> Result<Self, StartError> {
        let unusable = |error: wasmtime::Error| StartError::Engine(format!("{error:#}"));
        let engine = engine::engine().map_err(unusable)?;
        let linker = engine::linker(&engine).map_err(unusable)?;
        engine::start_ticker(&engine)?;
        let compiled = Compiled::new(&engine, limits.data_dir.as_deref(), limits.compiled_bytes);
        Ok(Self {
            engine,
            linker,
            limits: Arc::new(limits),
            compiled,
        })
    }

    /// Checks and compiles a component.
    ///
    /// # Errors
    /// As an installation refuses it: no component, unknown interface, missing import, bad manifest.
    pub fn open(&self, wasm: &[u8]) -> Result<Opened<'_>, ControlError> {
        let start = Instant::now();
        let (before, _) = self.compiled.counts();
        let loaded = package::load(
            &self.engine,
            &self.linker,
            wasm,
            &self.limits,
            &self.compiled,
        );
        let package = Arc::new(loaded?);
        let took = start.elapsed();
        let is_new = self.compiled.counts().0 > before;
        Ok(Opened {
            offline: self,
            package,
            compile: is_new.then_some(took),
            bytes: wasm.len(),
        })
    }
}

/// What a component says and shows of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    /// Name, version and description of its manifest; may be empty.
    pub about: [String; 3],
    /// sha256 of the component, hex.
    pub digest: String,
    /// Its size, bytes.
    pub bytes: usize,
    /// How long it took to compile; `None` if that was kept from before.
    pub compile: Option<Duration>,
    /// Hooks that it exports.
    pub hooks: Vec<String>,
    /// Capabilities that it imports, without `host-`.
    pub imports: Vec<String>,
    /// Capabilities that it asks to be granted.
    pub asks: Vec<String>,
    /// What its messages are filled with.
    pub needs: Vec<&'static str>,
    /// JSON Schema of its configuration.
    pub schema: Option<Value>,
    /// It runs beside the shards, because it imports something that waits.
    pub is_effectful: bool,
    /// Tests of its own.
    pub tests: usize,
}

/// A component that was checked and compiled.
#[derive(Clone)]
pub struct Opened<'a> {
    offline: &'a Offline,
    package: Arc<Package>,
    compile: Option<Duration>,
    bytes: usize,
}

impl std::fmt::Debug for Opened<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("digest", &self.package.digest)
            .finish_non_exhaustive()
    }
}

/// A test of a component, run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// Its name.
    pub name: String,
    /// What is wrong, in words.
    pub result: Result<(), String>,
    /// How long the call took.
    pub took: Duration,
    /// Memory of the instance after it, bytes.
    pub memory_bytes: usize,
    /// Bytes of the payloads that came out.
    pub output_bytes: usize,
}

impl<'a> Opened<'a> {
    /// Everything that can be said without running it.
    #[must_use]
    pub fn about(&self) -> About {
        use crate::manifest::Need;
        let manifest = &self.package.manifest;
        let needs = [
            (Need::Payload, "payload"),
            (Need::Properties, "properties"),
            (Need::Client, "client"),
        ];
        About {
            about: [&manifest.name, &manifest.version, &manifest.description].map(String::clone),
            digest: self.package.digest.clone(),
            bytes: self.bytes,
            compile: self.compile,
            hooks: self.package.hooks(),
            imports: self.package.capabilities.clone(),
            asks: manifest.capabilities.clone(),
            needs: (needs.iter().filter(|(need, _)| manifest.needs(*need)))
                .map(|(_, name)| *name)
                .collect(),
            schema: manifest.config.clone(),
            is_effectful: self.package.is_effectful,
            tests: manifest.tests.len(),
        }
    }

    /// Whether a configuration fits its schema.
    ///
    /// # Errors
    /// Where it does not.
    pub fn check_config(&self, config: &str) -> Result<(), ControlError> {
        vetting::check_config(self.name(), &self.package.manifest, config)
    }

    /// Runs its own tests, and more of the same form.
    ///
    /// # Errors
    /// One of `more` is no test, or the component asks for a capability that there is not.
    pub fn run_tests(&self, config: &str, more: &[Value]) -> Result<Vec<TestRun>, ControlError> {
        let more = more.iter().map(|test| {
            serde_json::from_value::<Vector>(test.clone()).map_err(|error| ControlError::Invalid {
                code: "bad-test",
                message: format!("{test} is no test: {error}"),
                hint: Some(
                    r#"a test is {"name": …, "given": {"topic": …, "payload": …}, "expect": …}"#
                        .to_owned(),
                ),
            })
        });
        let more: Vec<Vector> = more.collect::<Result<_, _>>()?;
        let template = self.template(config)?;
        let own = self.package.manifest.tests.iter();
        let run = |test| vectors::run_one(&template, test, template.limits.tests);
        let runs = own.chain(&more).map(run).collect::<Result<_, _>>();
        runs.map_err(|error| ControlError::Internal(format!("tests cannot be run: {error}")))
    }

    /// An instance, with everything granted that it asks for.
    ///
    /// # Errors
    /// Its `init` refuses the configuration or fails; it has no `transform`, or one that waits.
    pub fn start(&self, config: &str) -> Result<Trial, ControlError> {
        let invalid = |code, message| ControlError::Invalid {
            code,
            message,
            hint: None,
        };
        if self.package.is_effectful {
            let text = format!(
                "`{}` waits for something (host-clients or wasi:http), so its calls take what that takes",
                self.name()
            );
            return Err(invalid("waits", text));
        }
        if self.package.transform.is_none() {
            let text = format!(
                "`{}` has no hook `transform`, which is what is called here",
                self.name()
            );
            return Err(invalid("no-hook", text));
        }
        let template = self.template(config)?;
        let made = at_once(Instance::new(&template, Post::Alone));
        made.map(Trial).map_err(|error| {
            let code = match error {
                InstanceError::Refused(_) => "init-refused",
                InstanceError::Crowded(_) => "no-memory",
                InstanceError::Failed(_) => "trap-in-init",
            };
            invalid(code, format!("`{}` cannot serve: {error}", self.name()))
        })
    }

    fn name(&self) -> &str {
        match &*self.package.manifest.name {
            "" => "plugin",
            name => name,
        }
    }

    fn template(&self, config: &str) -> Result<Arc<Template>, ControlError> {
        let asked = capability::parse(&self.package.manifest.capabilities);
        let asked = asked.map_err(|error| ControlError::Invalid {
            code: "bad-manifest",
            message: error.to_string(),
            hint: Some("correct the `capabilities` of its manifest".to_owned()),
        })?;
        let limits = self.offline.limits.clone();
        let outside = Outside {
            publish: Arc::new(|_| true),
            secret: Arc::new(|_| None),
            clients: Arc::new(Nobody),
            kv: Arc::new(Spaces::new(KvBounds::default())),
            alarm: Arc::new(|_| {}),
            is_sink: Arc::new(|_| false),
        };
        let (alarm, _) = std::sync::mpsc::sync_channel(1);
        let grants = Grants::default().with(&asked);
        let timers = Timers::none();
        let shared = Shared::new(
            self.name(),
            &limits,
            Arc::new(outside),
            timers,
            grants,
            alarm,
            Arc::new(Pool::new(limits.memory_total_bytes)),
        );
        Ok(Arc::new(Template::new(
            Arc::new(shared),
            self.package.clone(),
            config.to_owned(),
            1,
            limits,
            self.offline.engine.clone(),
        )))
    }
}

/// An instance to call.
pub struct Trial(Instance);

impl std::fmt::Debug for Trial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trial").finish_non_exhaustive()
    }
}

impl Trial {
    /// Calls `transform`.
    ///
    /// # Errors
    /// As on a shard. After a trap, a deadline or too much memory every further call fails.
    pub fn call(&mut self, message: &Message) -> Result<StepOutcome, StepFailure> {
        let publisher = Publisher {
            client_id: "client",
            username: None,
            attributes: &[],
            session: 1,
        };
        let outcome = self.0.transform(publisher, message);
        outcome.map_err(|failed| failed.failure)
    }

    /// Memory of the instance, bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }
}
