//! A seat: one thread's instances, one per plugin, called without locks; new ones arrive in a mailbox.
//!
//! A shard looks at one atomic number per call. When it has changed, it takes the boxes that a control thread
//! built and warmed, and sends the old ones to the reaper: no message sees two versions.

use crate::instance::{Failed, Instance, at_once};
use crate::lane::Publication;
use crate::mailbox::{Handover, Mailbox};
use crate::plugin::{Alarm, Shared};
use crate::pulse;
use crate::pump::Pump;
use crate::shadow::{Shade, Shadow};
use crate::strikes::Strikes;
use crate::template::{Post, Template};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};
use witmq_broker::ports::hooks::{AuthRequest, Query};
use witmq_broker::ports::{
    AuthStep, Authorize, Decision, Publisher, StepAnswer, StepFailure, StepOutcome, Transform,
    Verdict,
};
use witmq_proto::Message;

/// An instance that a seat asks for, in place of a worn one.
pub(crate) struct Renewal {
    template: Arc<Template>,
    post: Post,
    mailbox: Arc<Mailbox>,
}

impl Renewal {
    /// Makes it and sends it to the seat. Takes its time.
    pub(crate) fn make(self) {
        match at_once(Instance::new(&self.template, self.post)) {
            Ok(instance) => self.mailbox.put(Handover::Renew(Box::new(instance))),
            Err(error) => {
                let plugin = &self.template.plugin;
                tracing::warn!(plugin = %plugin.name, %error, "a worn instance goes on: none can be made in its place");
                plugin.note_error(error.to_string());
            }
        }
    }
}

/// A plugin as one seat has it.
struct Local {
    template: Arc<Template>,
    /// `None` after a trap, until the next call makes a new one.
    instance: Option<Box<Instance>>,
    /// Failed since it last answered: the breaker is asked before it is called.
    is_suspect: bool,
    strikes: Strikes,
    /// When an instance was asked for in place of the worn one.
    asked: Option<Instant>,
    /// Sees what it sees.
    shade: Option<Shade>,
}

/// How long until a worn instance asks again.
const ASK_AGAIN: Duration = Duration::from_secs(10);

impl Local {
    /// Calls the instance, making a new one if the last trapped.
    fn call<R>(
        &mut self,
        post: Post,
        mailbox: &Arc<Mailbox>,
        reaper: &SyncSender<Box<Instance>>,
        call: impl FnOnce(&mut Instance) -> Result<R, Failed>,
    ) -> Result<R, StepFailure> {
        let shared = &self.template.plugin;
        if self.is_suspect && shared.is_resting() {
            return Err(StepFailure::BreakerOpen(shared.name.clone()));
        }
        let instance = match &mut self.instance {
            Some(instance) => instance,
            none => {
                shared.count_restart();
                let made = at_once(Instance::new(&self.template, post));
                none.insert(Box::new(made.map_err(|error| {
                    let failure = error.into_failure(&shared.name);
                    shared.count_failure(&failure, true);
                    failure
                })?))
            }
        };
        match call(instance) {
            Ok(value) => {
                self.is_suspect = false;
                if instance.worn_by().is_some() {
                    self.ask_for_another(post, mailbox);
                }
                Ok(value)
            }
            Err(Failed { failure, is_fatal }) => {
                if is_fatal {
                    // The whole store is poisoned by a trap: it is never called again.
                    self.is_suspect = true;
                    reap(reaper, self.instance.take());
                }
                Err(failure)
            }
        }
    }

    /// In place of a worn instance.
    fn ask_for_another(&mut self, post: Post, mailbox: &Arc<Mailbox>) {
        if self.asked.is_some_and(|at| at.elapsed() < ASK_AGAIN) {
            return;
        }
        self.asked = Some(Instant::now());
        let renewal = Renewal {
            template: self.template.clone(),
            post,
            mailbox: mailbox.clone(),
        };
        // While the control thread is behind it is asked again later.
        let _is_full = !self.template.plugin.alarm(Alarm::Renew(renewal));
    }
}

/// Old instances are dropped elsewhere: unmapping memory takes longer than a call.
fn reap(reaper: &SyncSender<Box<Instance>>, instance: Option<Box<Instance>>) {
    match instance.map(|instance| reaper.try_send(instance)) {
        None => {}
        Some(Ok(())) => pulse::keep(Duration::ZERO),
        Some(Err(unsent)) => drop(unsent), // the reaper is behind: its bound is worth a stall
    }
}

/// Why a shard has no instance of this plugin.
fn unknown(waiting: &BTreeMap<String, Arc<Shared>>, plugin: &str) -> StepFailure {
    match waiting.contains_key(plugin) {
        true => StepFailure::Waits(plugin.to_owned()),
        false => StepFailure::Unknown(plugin.to_owned()),
    }
}

/// One thread's instances.
pub(crate) struct Seat {
    post: Post,
    mailbox: Arc<Mailbox>,
    seen: u64,
    plugins: BTreeMap<String, Local>,
    sinks: BTreeMap<String, Arc<Pump>>,
    /// Plugins whose `transform` is asked beside the shards.
    waiting: BTreeMap<String, Arc<Shared>>,
    has_authorizer: bool,
    reaper: SyncSender<Box<Instance>>,
}

impl Seat {
    pub(crate) fn new(
        post: Post,
        mailbox: Arc<Mailbox>,
        reaper: SyncSender<Box<Instance>>,
    ) -> Self {
        Self {
            post,
            mailbox,
            seen: 0,
            plugins: BTreeMap::new(),
            sinks: BTreeMap::new(),
            waiting: BTreeMap::new(),
            has_authorizer: false,
            reaper,
        }
    }

    /// Takes what was handed over since the last call.
    fn refresh(&mut self) {
        let version = self.mailbox.version();
        if version == self.seen {
            return;
        }
        self.seen = version;
        for handover in self.mailbox.take() {
            match handover {
                Handover::Serve { template, instance } => self.serve(template, instance),
                Handover::Renew(instance) => self.renew(instance),
                Handover::Sink(name, Some(pump)) => drop(self.sinks.insert(name, pump)),
                Handover::Sink(name, None) => drop(self.sinks.remove(&name)),
                Handover::Waits(name, Some(shared)) => drop(self.waiting.insert(name, shared)),
                Handover::Waits(name, None) => drop(self.waiting.remove(&name)),
                Handover::Shadow(name, begun) => self.cast(&name, begun),
                Handover::Remove(name) => {
                    self.sinks.remove(&name);
                    self.waiting.remove(&name);
                    let left = self.plugins.remove(&name);
                    drop(self.end(left.and_then(|local| local.instance)));
                }
            }
        }
        self.has_authorizer = self
            .plugins
            .values()
            .any(|local| local.template.package.authorize.is_some());
    }

    /// The new instance takes over what the old one leaves, between two messages.
    fn serve(&mut self, template: Arc<Template>, mut instance: Box<Instance>) {
        debug_assert_eq!(instance.generation, template.generation);
        let name = template.plugin.name.clone();
        let mut old = self.plugins.remove(&name);
        if let Some(local) = &mut old
            && Arc::ptr_eq(&local.template.package, &template.package)
            && let Some(running) = &mut local.instance
            && at_once(running.reconfigure(&template))
        {
            (local.template, local.shade) = (template, None);
            self.plugins.extend(old.map(|local| (name, local)));
            return self.reap(instance); // it was only made to try the configuration
        }
        let left = self.end(old.and_then(|local| local.instance));
        let is_well = left.is_none_or(|left| at_once(instance.adopt(&left)));
        let local = Local {
            template,
            instance: is_well.then_some(instance),
            is_suspect: !is_well,
            strikes: Strikes::default(),
            asked: None,
            shade: None,
        };
        self.plugins.insert(name, local);
    }

    /// A shadow begins or ends.
    fn cast(&mut self, name: &str, begun: Option<(Arc<Shadow>, Box<Instance>)>) {
        let (post, reaper) = (self.post, &self.reaper);
        let shade =
            begun.map(|(shadow, instance)| Shade::new(shadow, instance, post, reaper.clone()));
        if let Some(local) = self.plugins.get_mut(name) {
            local.shade = shade;
        }
    }

    /// What the shadow of a plugin makes of it, if there is one.
    fn shaded<R>(
        &mut self,
        plugin: &str,
        call: impl FnOnce(&mut Instance) -> Result<R, Failed>,
    ) -> Option<(Arc<Shadow>, Result<R, StepFailure>)> {
        let shade = self.plugins.get_mut(plugin)?.shade.as_mut()?;
        let answer = shade.call(call)?;
        Some((shade.shadow.clone(), answer))
    }

    /// A fresh instance takes over what the worn one leaves, unless that is gone already.
    fn renew(&mut self, mut fresh: Box<Instance>) {
        let template = fresh.template().clone();
        let local = self.plugins.get_mut(&template.plugin.name);
        let worn = local
            .filter(|local| Arc::ptr_eq(&local.template, &template))
            .and_then(|local| {
                local.asked = None;
                local.instance.take()
            });
        let Some(worn) = worn else {
            return self.reap(fresh);
        };
        if let Some(bound) = worn.worn_by() {
            template.plugin.count_retired(bound);
        }
        let left = self.end(Some(worn));
        let is_well = left.is_none_or(|left| at_once(fresh.adopt(&left)));
        if let Some(local) = self.plugins.get_mut(&template.plugin.name) {
            (local.is_suspect, local.instance) = (!is_well, is_well.then_some(fresh));
        }
    }

    /// Ends an instance that can still run; what it leaves.
    fn end(&self, instance: Option<Box<Instance>>) -> Option<Vec<u8>> {
        let mut instance = instance?;
        let left = at_once(instance.shut_down());
        self.reap(instance);
        left
    }

    fn reap(&self, instance: Box<Instance>) {
        reap(&self.reaper, Some(instance));
    }

    /// Calls a plugin's instance, making a new one if the last trapped.
    fn with<R>(
        &mut self,
        plugin: &str,
        call: impl FnOnce(&mut Instance) -> Result<R, Failed>,
    ) -> Result<R, StepFailure> {
        match self.plugins.get_mut(plugin) {
            Some(local) => local.call(self.post, &self.mailbox, &self.reaper, call),
            None => Err(unknown(&self.waiting, plugin)),
        }
    }

    /// `None`: not its client.
    pub(crate) fn authenticate(
        &mut self,
        plugin: &str,
        request: &AuthRequest,
    ) -> Result<Option<AuthStep>, StepFailure> {
        self.refresh();
        self.with(plugin, |instance| at_once(instance.authenticate(request)))
    }
}

/// The hooks of one shard. Made anywhere, then moved to the shard's thread.
pub struct ShardPlugins {
    pub(crate) seat: Seat,
}

impl std::fmt::Debug for ShardPlugins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardPlugins")
            .field("seat", &self.seat.post)
            .finish_non_exhaustive()
    }
}

impl Transform for ShardPlugins {
    fn transform(
        &mut self,
        plugin: &str,
        publisher: Publisher<'_>,
        message: &Message,
    ) -> Result<StepOutcome, StepFailure> {
        self.seat.refresh();
        let seat = &mut self.seat;
        let Some(local) = seat.plugins.get_mut(plugin) else {
            return Err(unknown(&seat.waiting, plugin));
        };
        if local.strikes.is_poison(message) {
            return Err(StepFailure::Poison(plugin.to_owned()));
        }
        // Before the version that serves: both find the same keys.
        let shaded = (local.shade.as_mut()).and_then(|shade| {
            let answer = shade.call(|instance| instance.transform(publisher, message))?;
            Some((shade.shadow.clone(), answer))
        });
        let outcome = local.call(seat.post, &seat.mailbox, &seat.reaper, |instance| {
            instance.transform(publisher, message)
        });
        if let Err(StepFailure::Trap { .. } | StepFailure::Deadline(_) | StepFailure::Memory(_)) =
            &outcome
        {
            (local.strikes).strike(&local.template.plugin, message);
        }
        if let Some((shadow, answer)) = shaded {
            shadow.compare(&message.topic, &outcome, &answer);
        }
        outcome
    }

    fn ask(
        &mut self,
        plugin: &str,
        publisher: Publisher<'_>,
        message: &Arc<Message>,
    ) -> Result<StepAnswer, StepFailure> {
        let waiting = self.seat.waiting.get(plugin);
        let lane = waiting.and_then(|shared| shared.lane());
        let lane = lane.ok_or_else(|| StepFailure::Unknown(plugin.to_owned()))?;
        lane.ask(Publication::new(publisher, message))
    }

    fn deliver(
        &mut self,
        plugin: &str,
        publisher: Publisher<'_>,
        message: &Arc<Message>,
    ) -> Result<(), StepFailure> {
        self.seat.refresh();
        let Some(pump) = self.seat.sinks.get(plugin) else {
            return Err(StepFailure::Unknown(plugin.to_owned()));
        };
        let is_taken = pump.push(Publication::new(publisher, message));
        is_taken
            .then_some(())
            .ok_or_else(|| StepFailure::Full(plugin.to_owned()))
    }
}

impl Authorize for ShardPlugins {
    fn is_bound(&self) -> bool {
        // What waits in the mailbox counts: a question asked too often costs little, one not asked denies.
        self.seat.has_authorizer || self.seat.mailbox.version() != self.seat.seen
    }

    /// Plugins in the order of their names; the first that has an opinion decides, a failing one denies.
    fn authorize(&mut self, query: &Query<'_>) -> Verdict {
        self.seat.refresh();
        let names: Vec<String> = self
            .seat
            .plugins
            .iter()
            .filter(|(_, local)| local.template.package.authorize.is_some())
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            let shaded = (self.seat).shaded(&name, |instance| at_once(instance.authorize(query)));
            let verdict = (self.seat).with(&name, |instance| at_once(instance.authorize(query)));
            if let Some((shadow, answer)) = shaded {
                shadow.compare(query.topic, &verdict, &answer);
            }
            match verdict {
                Ok(Verdict {
                    decision: Decision::Ignore,
                    ..
                }) => {}
                Ok(verdict) => return verdict,
                Err(_) => {
                    return Verdict {
                        decision: Decision::Deny,
                        cache: Duration::ZERO,
                    };
                }
            }
        }
        Verdict {
            decision: Decision::Ignore,
            cache: Duration::ZERO,
        }
    }
}
