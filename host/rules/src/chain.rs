//! One chain, compiled: everything that can be wrong is found here, before a message comes.

use crate::expression::{Expression, Limits as ExpressionLimits, position};
use crate::file::{self, File, Mode, OnError};
use crate::place::{RuleError, Source};
use crate::template::{Template, TopicTemplate};
use serde_spanned::Spanned;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use witmq_broker::ports::control::RuleInfo;
use witmq_broker::spread::Spread;
use witmq_proto::packet::QoS;

/// A deployed or tested chain.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) name: String,
    pub(crate) mode: Mode,
    pub(crate) order: i64,
    pub(crate) is_enabled: bool,
    pub(crate) from: Template,
    pub(crate) steps: Vec<Step>,
    pub(crate) revision: u64,
    pub(crate) stats: Arc<Stats>,
}

/// One step.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) kind: Kind,
    pub(crate) on_error: OnError,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Filter(Expression),
    Set(Vec<(Target, Expression)>),
    Plugin(String),
    Sink(String),
    Publish {
        topic: TopicTemplate,
        payload: Option<Expression>,
        qos: Option<QoS>,
        retain: bool,
    },
}

/// What `set` changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A field of a JSON payload, by its path.
    Field(Vec<String>),
    /// `$payload`: the whole of it.
    Payload,
    /// `$topic`.
    Topic,
    /// `$qos`.
    Qos,
    /// `$retain`.
    Retain,
    /// `$user.NAME`: an MQTT 5 user property.
    User(String),
}

/// Numbers of a chain, kept over revisions.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    counts: Spread<[AtomicU64; 4]>,
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
}

impl Stats {
    pub(crate) fn count(&self, what: Count) {
        if let Some(count) = self.counts.mine().get(what as usize) {
            count.fetch_add(1, Ordering::Relaxed);
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
        let from = Template::parse(file.from.get_ref()).map_err(|cause| {
            source.error(
                source.content(&file.from.span()),
                "bad-template",
                format!("from: {cause}"),
            )
        })?;
        let names: Vec<&str> = from.names().collect();
        let steps = file
            .step
            .iter()
            .flatten()
            .map(|step| compile_step(step, file.mode, &names, source))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            name: name.to_owned(),
            mode: file.mode,
            order: file.order,
            is_enabled: file.enabled,
            steps,
            revision: 0,
            stats: Arc::default(),
            from,
        })
    }

    pub(crate) fn info(&self) -> RuleInfo {
        RuleInfo {
            name: self.name.clone(),
            mode: if self.mode == Mode::Transform {
                "transform"
            } else {
                "rule"
            },
            from: self.from.text.clone(),
            revision: self.revision,
            order: self.order,
            matched: self.stats.total(Count::Matched),
            filtered: self.stats.total(Count::Filtered),
            failed: self.stats.total(Count::Failed),
            limited: self.stats.total(Count::Limited),
            last_error: self
                .stats
                .last_error
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }

    /// What an evaluation of its expressions may cost.
    pub(crate) fn limit(&mut self, limits: ExpressionLimits) {
        for step in &mut self.steps {
            match &mut step.kind {
                Kind::Filter(one) => one.limit(limits),
                Kind::Set(targets) => targets.iter_mut().for_each(|(_, one)| one.limit(limits)),
                Kind::Publish { payload, .. } => {
                    payload.iter_mut().for_each(|one| one.limit(limits))
                }
                Kind::Plugin(_) | Kind::Sink(_) => {}
            }
        }
    }

    /// Plugins it calls.
    pub(crate) fn plugins(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| {
            if let Kind::Plugin(name) | Kind::Sink(name) = &step.kind {
                Some(name.as_str())
            } else {
                None
            }
        })
    }
}

fn compile_step(
    step: &Spanned<file::Step>,
    mode: Mode,
    names: &[&str],
    source: Source<'_>,
) -> Result<Step, RuleError> {
    let at = step.span().start;
    let raw = step.get_ref();
    let kinds = [
        raw.filter.is_some(),
        raw.set.is_some(),
        raw.plugin.is_some(),
        raw.publish.is_some(),
        raw.sink.is_some(),
    ];
    if kinds.into_iter().filter(|is_there| *is_there).count() != 1 {
        let text = "a step is exactly one of filter, set, plugin, publish and sink";
        return Err(source
            .error(at, "bad-step", text)
            .hint("make one [[step]] for each"));
    }
    let only_publish = raw
        .payload
        .as_ref()
        .map(Spanned::span)
        .or(raw.qos.as_ref().map(Spanned::span));
    if let (None, Some(span)) = (
        &raw.publish,
        only_publish.or(raw.retain.as_ref().map(Spanned::span)),
    ) {
        let text = "payload, qos and retain belong to a publish step";
        return Err(source
            .error(span.start, "bad-step", text)
            .hint("in a set step use \"$payload\", \"$qos\", \"$retain\""));
    }
    let default = if mode == Mode::Transform {
        OnError::Refuse
    } else {
        OnError::Stop
    };
    let on_error = raw
        .on_error
        .as_ref()
        .map_or(default, |policy| *policy.get_ref());
    if let (Mode::Rule, OnError::Refuse, Some(policy)) = (mode, on_error, &raw.on_error) {
        let text = "a rule chain works on a copy and cannot refuse the message";
        return Err(source
            .error(policy.span().start, "bad-step", text)
            .hint("use mode = \"transform\", or on_error = \"stop\""));
    }
    Ok(Step {
        kind: compile_kind(raw, names, source, at)?,
        on_error,
    })
}

fn compile_kind(
    raw: &file::Step,
    names: &[&str],
    source: Source<'_>,
    at: usize,
) -> Result<Kind, RuleError> {
    let cel = |text: &Spanned<String>| expression(text, names, source);
    if let Some(text) = &raw.filter {
        return Ok(Kind::Filter(cel(text)?));
    }
    if let Some(fields) = &raw.set {
        let mut targets = Vec::new();
        for (name, text) in fields {
            let target =
                target(name).map_err(|cause| source.error(text.span().start, "bad-step", cause))?;
            targets.push((target, cel(text)?));
        }
        return Ok(Kind::Set(targets));
    }
    if let Some(name) = &raw.plugin {
        return Ok(Kind::Plugin(name.get_ref().clone()));
    }
    if let Some(name) = &raw.sink {
        return Ok(Kind::Sink(name.get_ref().clone()));
    }
    let Some(topic) = &raw.publish else {
        return Err(source.error(at, "bad-step", "an empty step"));
    };
    let template =
        TopicTemplate::parse(topic.get_ref(), names.iter().copied()).map_err(|cause| {
            source.error(
                source.content(&topic.span()),
                "bad-template",
                format!("publish: {cause}"),
            )
        })?;
    let qos = match &raw.qos {
        None => None,
        Some(number) => Some(QoS::from_bits(*number.get_ref()).ok_or_else(|| {
            source.error(
                number.span().start,
                "bad-step",
                format!("qos is 0, 1 or 2, not {}", number.get_ref()),
            )
        })?),
    };
    Ok(Kind::Publish {
        topic: template,
        payload: raw.payload.as_ref().map(cel).transpose()?,
        qos,
        retain: raw.retain.as_ref().is_some_and(|retain| *retain.get_ref()),
    })
}

fn expression(
    text: &Spanned<String>,
    names: &[&str],
    source: Source<'_>,
) -> Result<Expression, RuleError> {
    let start = source.content(&text.span());
    let expression = Expression::compile(text.get_ref(), names)
        .map_err(|flaw| source.error(start + flaw.at, "cel-error", flaw.message))?;
    let (line, column) = position(source.text, start);
    Ok(expression.placed(line, column))
}

fn target(name: &str) -> Result<Target, String> {
    match name {
        "$payload" => Ok(Target::Payload),
        "$topic" => Ok(Target::Topic),
        "$qos" => Ok(Target::Qos),
        "$retain" => Ok(Target::Retain),
        _ => match (name.strip_prefix("$user."), name.starts_with('$')) {
            (Some(user), _) if !user.is_empty() => Ok(Target::User(user.to_owned())),
            (_, true) => Err(format!(
                "`{name}`: there are $payload, $topic, $qos, $retain and $user.NAME"
            )),
            _ if name.split('.').any(str::is_empty) => {
                Err(format!("`{name}` is no path of fields"))
            }
            _ => Ok(Target::Field(name.split('.').map(str::to_owned).collect())),
        },
    }
}
