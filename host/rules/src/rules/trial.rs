//! A new revision beside the one that runs: a canary, which runs for a share of the clients, or a shadow, which runs for
//! nobody and is compared (ADR 0019).
//!
//! Owns: [`Trial`], [`Share`], [`Compared`], and [`Shaded`], one message on its way with a shadow behind it.
//! Must not: apply anything that a shadow makes.

use crate::breaker::{Entry, Fared};
use crate::chain::Chain;
use crate::file::Mode;
use crate::run::{End, Sinks, run};
use crate::trace::shown;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use witmq_broker::ports::control::TrialInfo;
use witmq_broker::ports::{Publisher, StepAnswer, StepFailure, StepOutcome, Transform};
use witmq_proto::Message;

/// A share is so many of these.
pub(super) const WHOLE: u16 = 10_000;
/// Differences that are remembered.
const DIFFERENCES: usize = 8;
/// Characters of an outcome in one of them.
const OUTCOME_CHARS: usize = 160;

/// Clients that run a canary, of ten thousand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share(pub(super) u16);

impl Share {
    /// Whether a client is among them: always the same, on every shard, node and after every restart. Whoever is in a share
    /// is in each larger one.
    pub(super) fn takes(self, chain: &str, client: &str) -> bool {
        place(chain, client) < u64::from(self.0)
    }

    pub(super) fn percent(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

/// FNV-1a of both, mixed as splitmix64 does: plain and the same for ever.
fn place(chain: &str, client: &str) -> u64 {
    let bytes = chain.bytes().chain([0]).chain(client.bytes());
    let add = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325, add);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (hash ^ (hash >> 31)) % u64::from(WHOLE)
}

/// What a revision beside another is there for.
#[derive(Clone, Debug)]
pub(super) enum Role {
    Canary(Share),
    Shadow(Arc<Compared>),
}

/// A revision beside the one that runs.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    pub(super) chain: Arc<Chain>,
    pub(super) role: Role,
    pub(super) began_ms: u64,
}

impl Trial {
    pub(super) fn is_canary(&self) -> bool {
        matches!(self.role, Role::Canary(_))
    }

    /// Whether it runs for this client.
    pub(super) fn takes(&self, client: &str) -> bool {
        match self.role {
            Role::Canary(share) => share.takes(&self.chain.name, client),
            Role::Shadow(_) => false,
        }
    }

    pub(super) fn compared(&self) -> Option<&Arc<Compared>> {
        match &self.role {
            Role::Canary(_) => None,
            Role::Shadow(compared) => Some(compared),
        }
    }

    pub(super) fn info(&self) -> TrialInfo {
        let rule = self.chain.info();
        let mut info = TrialInfo {
            began_ms: self.began_ms,
            ..TrialInfo::default()
        };
        match &self.role {
            Role::Canary(share) => {
                info.kind = "canary";
                info.percent = Some(share.percent());
            }
            Role::Shadow(compared) => {
                let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
                info.kind = "shadow";
                (info.same, info.different) = (load(&compared.same), load(&compared.different));
                info.failed_alone = load(&compared.failed);
                info.differences = compared.differences();
            }
        }
        info.rule = Box::new(rule);
        info
    }
}

/// How a shadow's outcomes compare with those of the revision that runs, on all shards.
#[derive(Debug, Default)]
pub(super) struct Compared {
    same: AtomicU64,
    different: AtomicU64,
    /// It failed where the one that runs did not.
    failed: AtomicU64,
    differences: Mutex<VecDeque<String>>,
}

impl Compared {
    /// The last differences in words, oldest first.
    fn differences(&self) -> Vec<String> {
        let differences = self.differences.lock();
        let differences = differences.unwrap_or_else(PoisonError::into_inner);
        differences.iter().cloned().collect()
    }

    /// What both made of a message. Failures count as the same if both fail, whatever they say.
    fn compare(&self, who: (&str, &Message), running: &Came, shadow: &Came) {
        let counter = match (&running.failed, &shadow.failed) {
            (None, Some(_)) => &self.failed,
            (Some(_), Some(_)) => &self.same,
            (Some(_), None) => &self.different,
            (None, None) if running.is_same(shadow) => &self.same,
            (None, None) => &self.different,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if std::ptr::eq(counter, &raw const self.same) {
            return;
        }
        let (client, message) = who;
        let text = format!(
            "{} {} {}: what runs {}, the shadow {}",
            shown(client.as_bytes()),
            message.topic,
            cut(&shown(&message.payload)),
            running.words(),
            shadow.words()
        );
        let differences = self.differences.lock();
        let mut differences = differences.unwrap_or_else(PoisonError::into_inner);
        if differences.len() >= DIFFERENCES {
            differences.pop_front();
        }
        differences.push_back(text);
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(OUTCOME_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// What a revision made of one message.
#[derive(Debug, Default)]
pub(crate) struct Came {
    /// What a transform chain lets go on, or what else it does in words.
    pub(crate) on: Vec<Arc<Message>>,
    pub(crate) ends: Option<String>,
    pub(crate) published: Vec<Arc<Message>>,
    pub(crate) handed: Vec<(String, Arc<Message>)>,
    /// The last error.
    pub(crate) failed: Option<String>,
}

fn is_same_message(one: &Message, other: &Message) -> bool {
    (&one.topic, &one.payload, one.qos, one.retain)
        == (&other.topic, &other.payload, other.qos, other.retain)
        && one.properties == other.properties
}

fn are_same(ones: &[Arc<Message>], others: &[Arc<Message>]) -> bool {
    let mut pairs = ones.iter().zip(others);
    ones.len() == others.len() && pairs.all(|(one, other)| is_same_message(one, other))
}

impl Came {
    pub(crate) fn new(
        chain: &Chain,
        end: &End,
        published: &[Arc<Message>],
        failed: Option<String>,
    ) -> Self {
        let (on, ends) = match (chain.mode, end) {
            // The message goes on as it was, whatever the chain made of its copy.
            (Mode::Rule, _) => (Vec::new(), None),
            (_, End::On(messages)) => (messages.clone(), None),
            (_, End::Refused { reason, text }) => {
                let text = text.as_deref().unwrap_or_default();
                (Vec::new(), Some(format!("refuses it: {reason} {text}")))
            }
            (_, End::Consumed) => (Vec::new(), Some("consumes it".to_owned())),
            (_, End::Withheld) => (Vec::new(), Some("withholds it".to_owned())),
        };
        Self {
            on,
            ends,
            published: published.to_vec(),
            handed: Vec::new(),
            failed,
        }
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let handed = self.handed.iter().zip(&other.handed);
        self.ends == other.ends
            && are_same(&self.on, &other.on)
            && are_same(&self.published, &other.published)
            && self.handed.len() == other.handed.len()
            && { handed }.all(|(one, other)| one.0 == other.0 && is_same_message(&one.1, &other.1))
    }

    pub(crate) fn words(&self) -> String {
        if let Some(error) = &self.failed {
            return cut(&format!("fails ({error})"));
        }
        let mut all = Vec::new();
        all.extend(self.ends.clone());
        let one = |word: &str, message: &Message| {
            format!("{word} {} {}", message.topic, shown(&message.payload))
        };
        all.extend(self.on.iter().map(|message| one("lets go on", message)));
        all.extend(self.published.iter().map(|it| one("publishes", it)));
        let handed = self.handed.iter();
        all.extend(handed.map(|(sink, it)| one(&format!("hands to {sink}"), it)));
        match all.is_empty() {
            true => "does nothing".to_owned(),
            false => cut(&all.join(", ")),
        }
    }
}

/// One message on its way through the revision that runs, for the shadow to be told of.
#[derive(Debug, Default)]
pub(super) struct Shaded {
    /// What plugins said to which message: the shadow is told the same, and asks nobody.
    answers: Vec<(String, Message, Result<StepOutcome, StepFailure>)>,
    handed: Vec<(String, Arc<Message>)>,
    /// Messages that were published before this one came into the chain.
    pub(super) published_before: usize,
}

impl Shaded {
    /// So many messages were published before.
    pub(super) fn begun(published_before: usize) -> Self {
        Self {
            published_before,
            ..Self::default()
        }
    }

    /// What a plugin that was waited for said.
    pub(super) fn answered(
        &mut self,
        (plugin, message): (&str, &Message),
        answer: &Result<StepOutcome, StepFailure>,
    ) {
        let note = (plugin.to_owned(), message.clone(), answer.clone());
        self.answers.push(note);
    }

    /// The shadow's turn.
    pub(super) fn compare(
        self,
        trial: &Trial,
        (publisher, message): (Publisher<'_>, &Arc<Message>),
        mut running: Came,
    ) {
        let (shadow, Some(compared)) = (&trial.chain, trial.compared()) else {
            return;
        };
        let entry = shadow.breaker.enter(message.received_ms);
        if entry == Entry::Rests {
            shadow.rested();
            return;
        }
        let mut emissions = Vec::new();
        let mut sinks = Sinks {
            emissions: &mut emissions,
            trace: None,
            failed: None,
            fared: Fared::Well,
        };
        let mut apart = Apart {
            answers: &self.answers,
            handed: Vec::new(),
        };
        let mut came = Came::default();
        if shadow.is_enabled && shadow.from.matches(&message.topic) {
            let began = std::time::Instant::now();
            let end = run(shadow, &mut apart, publisher, message, &mut sinks);
            let (failed, mut fared) = (sinks.failed.map(|(_, error)| error), sinks.fared);
            if shadow.breaker.is_too_long(began.elapsed()) {
                fared = Fared::Overran;
            }
            shadow.fares(entry, fared, message.received_ms);
            came = Came::new(shadow, &end, &emissions, failed);
        } else if shadow.mode == Mode::Transform {
            came.on.push(message.clone());
        }
        came.handed = apart.handed;
        running.handed = self.handed;
        compared.compare((publisher.client_id, message), &running, &came);
    }
}

/// The steps of the revision that runs, with an ear at the door.
pub(super) struct Noting<'a> {
    pub(super) steps: &'a mut dyn Transform,
    pub(super) shaded: &'a mut Shaded,
}

impl Transform for Noting<'_> {
    fn transform(
        &mut self,
        plugin: &str,
        publisher: Publisher<'_>,
        message: &Message,
    ) -> Result<StepOutcome, StepFailure> {
        let answer = self.steps.transform(plugin, publisher, message);
        if !matches!(answer, Err(StepFailure::Waits(_))) {
            self.shaded.answered((plugin, message), &answer);
        }
        answer
    }

    fn ask(
        &mut self,
        plugin: &str,
        publisher: Publisher<'_>,
        message: &Arc<Message>,
    ) -> Result<StepAnswer, StepFailure> {
        self.steps.ask(plugin, publisher, message)
    }

    fn deliver(
        &mut self,
        plugin: &str,
        publisher: Publisher<'_>,
        message: &Arc<Message>,
    ) -> Result<(), StepFailure> {
        let delivered = self.steps.deliver(plugin, publisher, message);
        self.shaded
            .handed
            .push((plugin.to_owned(), message.clone()));
        delivered
    }
}

/// What a shadow calls: answers that are known, and nobody.
pub(crate) struct Apart<'a> {
    answers: &'a [(String, Message, Result<StepOutcome, StepFailure>)],
    pub(crate) handed: Vec<(String, Arc<Message>)>,
}

impl Apart<'_> {
    /// Where no plugin has said anything.
    pub(crate) fn alone() -> Self {
        Self {
            answers: &[],
            handed: Vec::new(),
        }
    }
}

impl Transform for Apart<'_> {
    fn transform(
        &mut self,
        plugin: &str,
        _: Publisher<'_>,
        message: &Message,
    ) -> Result<StepOutcome, StepFailure> {
        let known = |(name, asked, _): &&(String, Message, _)| {
            name == plugin && is_same_message(asked, message)
        };
        let known = self.answers.iter().find(known);
        known.map_or(Ok(StepOutcome::Pass), |(.., answer)| answer.clone())
    }

    fn deliver(
        &mut self,
        plugin: &str,
        _: Publisher<'_>,
        message: &Arc<Message>,
    ) -> Result<(), StepFailure> {
        self.handed.push((plugin.to_owned(), message.clone()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_share_and_stays_within_each_larger_one() {
        let clients: Vec<String> = (0..20_000).map(|n| format!("client-{n}")).collect();
        let of = |share: u16| -> Vec<&String> {
            let share = Share(share);
            clients
                .iter()
                .filter(|client| share.takes("c", client))
                .collect()
        };
        let (small, large) = (of(500), of(2000));
        assert!((900..1100).contains(&small.len()), "{}", small.len());
        assert!((3800..4200).contains(&large.len()), "{}", large.len());
        assert!(small.iter().all(|client| large.contains(client)));
        assert!(of(0).is_empty() && of(WHOLE).len() == clients.len());
        let elsewhere = |client: &&&String| Share(500).takes("other", client);
        let both = small.iter().filter(elsewhere).count();
        assert!(both < 120, "not the same clients for every chain: {both}");
        // Known answers: a client must not change sides with a version of the broker.
        assert_eq!(place("c", "client-1"), 1015);
    }
}
