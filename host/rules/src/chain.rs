//! One chain, compiled: everything that can be wrong is found here, before a message comes.

mod lay;
mod shape;

use crate::breaker::{Breaker, BreakerLimits, Entry, Fared, Teller, Turn};
use crate::expression::Limits as ExpressionLimits;
use crate::file::{File, From, Mode, OnError};
use crate::payload::Format;
use crate::place::{RuleError, Source};
use crate::state::{Alarm, Bounds};
use crate::step::{self, Step};
use crate::tables::Tables;
use crate::tally::{Came, Tallies};
use crate::tap::{Misses, Tap};
use crate::template::{Template, Templates};
pub(crate) use lay::find;
use serde_spanned::Spanned;
use shape::Shape;
pub(crate) use shape::Shapes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use witmq_broker::ports::control::{RuleInfo, StepInfo};
use witmq_broker::spread::Spread;

/// A deployed or tested chain.
///
/// What nearly every message looks at comes first, so that it is three cache lines: where there are a thousand chains, each message
/// may find another one.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Chain {
    /// Those of the named chains too; each knows the place of the next. Other chains may have the same ones.
    pub(crate) steps: Arc<[Step]>,
    /// Place of the first step.
    pub(crate) start: usize,
    pub(crate) stats: Arc<Stats>,
    pub(crate) breaker: Breaker,
    /// Milliseconds of a clock that costs a load and is a few of them late.
    pub(crate) coarse_ms: Option<fn() -> u64>,
    pub(crate) mode: Mode,
    pub(crate) is_enabled: bool,
    /// Whether a failure may make a dead letter.
    pub(crate) buries: bool,
    /// What a payload that cannot be read does, a step that says nothing itself, and a message while it rests.
    pub(crate) on_error: OnError,
    /// How payloads are read and written.
    pub(crate) decode: Format,
    pub(crate) encode: Format,
    pub(crate) from: Templates,
    /// Name of this node.
    pub(crate) node: Arc<str>,
    /// Numbers of each step, since this revision runs.
    pub(crate) tallies: Tallies,
    pub(crate) name: String,
    pub(crate) revision: u64,
    pub(crate) order: i64,
    /// What its steps are made of.
    shape: Shape,
    /// Named chains and where they begin.
    pub(crate) named: Vec<(String, usize)>,
    /// Told when its windows end by themselves.
    pub(crate) alarm: Arc<Alarm>,
    /// Told when it rests, and when it runs again.
    pub(crate) teller: Arc<Teller>,
}

/// Numbers of a chain, kept over revisions.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    counts: Spread<[AtomicU64; 7]>,
    pub(crate) tap: Arc<Tap>,
    pub(crate) misses: Arc<Misses>,
    last_error: Mutex<Option<String>>,
}

/// What is counted.
#[derive(Clone, Copy)]
pub(crate) enum Count {
    Matched,
    Filtered,
    Failed,
    /// Evaluations that a limit ended.
    Limited,
    /// Keys and values that steps had to give up.
    Evicted,
    /// Times that it was given a rest.
    Rests,
    /// Messages that came meanwhile.
    Rested,
}

impl Stats {
    /// Numbers of their own, for a revision that is looked at together with this one.
    pub(crate) fn beside(&self) -> Self {
        Self {
            tap: self.tap.clone(),
            misses: self.misses.clone(),
            ..Self::default()
        }
    }

    /// Goes on with what was counted elsewhere.
    pub(crate) fn absorb(&self, other: &Self) {
        for counts in other.counts.all() {
            for (mine, count) in self.counts.mine().iter().zip(counts) {
                mine.fetch_add(count.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn count(&self, what: Count) {
        self.add(what, 1);
    }

    pub(crate) fn add(&self, what: Count, more: usize) {
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        if let (Some(count), true) = (self.counts.mine().get(what as usize), more > 0) {
            count.fetch_add(more, Ordering::Relaxed);
        }
    }

    fn total(&self, what: Count) -> u64 {
        let counts = self
            .counts
            .all()
            .filter_map(|counts| counts.get(what as usize));
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn fail(&self, error: &str) {
        self.count(Count::Failed);
        *self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(error.to_owned());
    }
}

impl Chain {
    /// Compiles a parsed file. `name` is the file's stem.
    pub(crate) fn compile(name: &str, file: &File, source: Source<'_>) -> Result<Self, RuleError> {
        let from = templates(&file.from, source)?;
        crate::events::check(file, source)?;
        let names: Vec<&str> = from.names().collect();
        let laid = lay::lay(file, &names, source)?;
        Ok(Self {
            name: name.to_owned(),
            mode: file.mode,
            order: file.order,
            is_enabled: file.enabled,
            buries: (laid.steps.iter()).any(|step| step.on_error == OnError::DeadLetter),
            tallies: Tallies::of(laid.steps.len()),
            steps: laid.steps.into(),
            shape: Shape::of(file, source.text, &names),
            named: laid.named,
            start: laid.start,
            on_error: step::on_error(file, source)?,
            decode: file.decode.clone(),
            encode: file.encode.clone(),
            node: Arc::from("local"),
            coarse_ms: None,
            alarm: Arc::default(),
            teller: Arc::default(),
            breaker: Breaker::default(),
            revision: 0,
            stats: Arc::default(),
            from,
        })
    }

    pub(crate) fn info(&self) -> RuleInfo {
        let sizes = self.steps.iter().map(|step| step.kind.size());
        let (entries, bytes) = sizes.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        RuleInfo {
            name: self.name.clone(),
            mode: if self.mode == Mode::Transform {
                "transform"
            } else {
                "rule"
            },
            from: self.from.text(),
            revision: self.revision,
            order: self.order,
            matched: self.stats.total(Count::Matched),
            filtered: self.stats.total(Count::Filtered),
            failed: self.stats.total(Count::Failed),
            limited: self.stats.total(Count::Limited),
            evicted: self.stats.total(Count::Evicted),
            rests: self.stats.total(Count::Rests),
            rested: self.stats.total(Count::Rested),
            resting: self.breaker.rests(),
            state_entries: entries,
            state_bytes: bytes,
            last_error: self
                .stats
                .last_error
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
            steps: self.step_infos(),
            ..RuleInfo::default()
        }
    }

    /// What was counted so far is nobody's.
    pub(crate) fn recount(&mut self) {
        self.stats = Arc::default();
        self.tallies = Tallies::of(self.steps.len());
    }

    /// All steps with their numbers and where each leads.
    pub(crate) fn step_infos(&self) -> Vec<StepInfo> {
        let place = |at: usize| self.steps.get(at).map(|_| at + 1);
        let named = |at: usize| {
            let begun = self.named.iter().filter(|(_, begins)| *begins <= at);
            let last = begun.max_by_key(|(_, begins)| *begins);
            last.map(|(name, _)| name.clone())
        };
        let infos = self.steps.iter().enumerate();
        let infos = infos.map(|(at, step)| {
            let tallies = &self.tallies;
            let (errors, last_error) = tallies.errors(at);
            StepInfo {
                index: at + 1,
                chain: named(at),
                kind: step.word,
                plugin: step.kind.plugin().map(str::to_owned),
                next: place(step.next),
                then: step.kind.then().and_then(place),
                passed: tallies.total(at, Came::On),
                ended: tallies.total(at, Came::Ended),
                failed: tallies.total(at, Came::Failed),
                quantiles_us: [tallies.micros(at, 500), tallies.micros(at, 990)],
                errors,
                last_error,
            }
        });
        infos.collect()
    }

    /// Its steps, to be changed. None where other chains have the same ones: those remember nothing, and there is nothing to change.
    fn own_steps(&mut self) -> &mut [Step] {
        Arc::get_mut(&mut self.steps).unwrap_or_default()
    }

    /// It has everything that it needs: its steps may be those of other chains.
    pub(crate) fn share(&mut self, shapes: &Shapes) {
        self.steps = shapes.shared(self.shape, self.steps.clone());
    }

    /// What an evaluation of its expressions may cost.
    pub(crate) fn limit(&mut self, limits: ExpressionLimits) {
        for step in self.own_steps() {
            step.kind.limit(limits);
        }
    }

    /// A message that was let in so came through so.
    pub(crate) fn fares(&self, entry: Entry, fared: Fared, now_ms: u64) {
        let came_in = || self.stats.total(Count::Matched);
        if let Some(turn) = self.breaker.left(entry, fared, now_ms, came_in) {
            if matches!(turn, Turn::Rests { .. }) {
                self.stats.count(Count::Rests);
            }
            self.teller.tell(&self.name, self.revision, &turn);
        }
    }

    /// Its past is forgotten; whoever hears of rests hears if that ends one.
    pub(crate) fn forgive(&self) {
        if self.breaker.forgive() {
            self.teller.tell(&self.name, self.revision, &Turn::Runs);
        }
    }

    /// When it rests.
    pub(crate) fn rest_by(&mut self, limits: BreakerLimits) {
        self.breaker = Breaker::new(limits);
    }

    /// Its steps begin anew with what they remember, within these bounds.
    pub(crate) fn forget(&mut self, bounds: &Bounds) {
        for step in self.own_steps() {
            step.kind.forget(bounds);
        }
    }

    /// Steps that are the same as in an earlier revision go on with what they remembered there.
    /// Those from which messages come by themselves begin anew if the earlier revision goes on.
    pub(crate) fn adopt(&mut self, old: &Self, goes_on: bool) {
        let mut left: Vec<&Step> = old.steps.iter().collect();
        let may = |step: &Step| !goes_on || !step.kind.is_timed();
        for step in self.own_steps().iter_mut().filter(|step| may(step)) {
            let same = left.iter().position(|old| step.kind.adopt(&old.kind));
            if let Some(place) = same {
                left.remove(place);
            }
        }
    }

    /// Tables of its steps are among these.
    pub(crate) fn attach(&mut self, tables: &Tables) {
        for step in self.own_steps() {
            step.kind.attach(tables);
        }
    }

    /// It changes no table.
    pub(crate) fn only_read(&mut self) {
        (self.own_steps().iter_mut()).for_each(|step| step.kind.only_read());
    }

    /// A message came while it rests.
    pub(crate) fn rested(&self) {
        self.stats.count(Count::Rested);
    }

    /// Whether messages come out of it by themselves, at a time.
    pub(crate) fn is_timed(&self) -> bool {
        self.steps.iter().any(|step| step.kind.is_timed())
    }

    /// Plugins it calls.
    pub(crate) fn plugins(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| step.kind.plugin())
    }
}

fn templates(from: &From, source: Source<'_>) -> Result<Templates, RuleError> {
    let wrong = |text: &Spanned<String>, cause: String| {
        let at = source.content(&text.span());
        source.error(at, "bad-template", format!("from: {cause}"))
    };
    let parse = |text: &Spanned<String>| {
        Template::parse(text.get_ref()).map_err(|cause| wrong(text, cause))
    };
    let mut templates = Templates::from(parse(&from.first)?);
    for text in &from.others {
        let added = templates.add(parse(text)?);
        added
            .map_err(|cause| wrong(text, cause).hint("every topic of `from` has the same names"))?;
    }
    Ok(templates)
}
