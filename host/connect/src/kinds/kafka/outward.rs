//! A batch goes to the leaders of its partitions. It is done when each has said that all in-sync replicas have it.
//!
//! Owns: the rounds of one batch, and what an error means for the records that it is about. Within a partition one
//! request is on its way at a time, so that order is kept.

use super::Bridge;
use super::cluster::{Cluster, Lack};
use super::entry::{Entry, batch as written};
use crate::outlet::{Answer, Later, Outlet, Trouble};
use crate::record::Record;
use futures_util::future::join_all;
use rskafka::messenger::RequestError;
use rskafka::protocol::error::Error as Code;
use rskafka::protocol::messages::{
    ProduceRequest, ProduceRequestPartitionData, ProduceRequestTopicData, ProduceResponse,
};
use rskafka::protocol::primitives::{Int16, Int32, NullableString, Records, String_};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Bytes of a request for one partition, unless a single record has more: brokers take 1 MiB where nobody says otherwise.
const CHUNK_BYTES: usize = 900_000;
/// So often a batch looks for who leads now, before it waits as a whole.
const MOVES: u32 = 3;
/// Before it does so; longer each time.
const MOVE: Duration = Duration::from_millis(100);
/// The longest pause that a broker asks for and that is waited for here; a longer one is told.
const QUIET: Duration = Duration::from_secs(2);

/// Records of one partition that are not done.
struct Lane {
    topic: String,
    partition: usize,
    /// Numbers within the batch, in order; the first is sent next.
    chunks: VecDeque<Vec<usize>>,
}

/// What became of the first chunk of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Done,
    /// Some record of it: alone, it is known which.
    Refused(String),
    /// Another broker may take it.
    Moved(String),
    /// Later.
    Away(String),
}

pub(crate) struct Outward {
    bridge: Bridge,
    /// Of a batch.
    timeout: Duration,
    /// Taken while it is used: one that was given up in its middle is not used again.
    cluster: Option<Cluster>,
    /// Batches so far: records without a key go to one partition after the other.
    turn: usize,
    /// A broker asked for a pause until then.
    quiet: Option<Instant>,
}

/// One batch on its way.
struct Sending<'a> {
    bridge: &'a Bridge,
    cluster: &'a mut Cluster,
    entries: Vec<Option<Entry>>,
    answers: Vec<Option<Answer>>,
    lanes: Vec<Lane>,
    /// Why the first of those that wait does.
    held: Option<String>,
    until: Instant,
    throttle: Duration,
}

fn fate(code: Option<Code>) -> Fate {
    let Some(code) = code else {
        return Fate::Done;
    };
    let text = format!("the cluster said: {code}");
    match code {
        Code::MessageTooLarge
        | Code::RecordListTooLarge
        | Code::InvalidRecord
        | Code::InvalidTimestamp
        | Code::InvalidTopicException
        | Code::PolicyViolation => Fate::Refused(text),
        Code::NotLeaderOrFollower
        | Code::LeaderNotAvailable
        | Code::UnknownTopicOrPartition
        | Code::FencedLeaderEpoch
        | Code::UnknownLeaderEpoch
        | Code::ReplicaNotAvailable
        | Code::BrokerNotAvailable
        | Code::KafkaStorageError
        | Code::NetworkException => Fate::Moved(text),
        _ => Fate::Away(text),
    }
}

/// The answers as far as they are settled from the first on.
fn settled(answers: Vec<Option<Answer>>, held: Option<String>) -> Result<Vec<Answer>, Trouble> {
    let is_some_settled = answers.iter().any(Option::is_some);
    let size = answers.len();
    let first: Vec<Answer> = answers.into_iter().map_while(|answer| answer).collect();
    if !first.is_empty() || size == 0 {
        return Ok(first);
    }
    let text = held.unwrap_or_else(|| "the cluster took nothing".to_owned());
    Err(match is_some_settled {
        // One by one, those that do not wait are sent once more only.
        true => Trouble::Refused(text),
        false => Trouble::away(text),
    })
}

impl Sending<'_> {
    /// Gives each record its partition, up to the first that has none.
    async fn plan(&mut self, batch: &[Record], turn: usize) -> Result<(), String> {
        let settings = &self.bridge.settings;
        for record in batch {
            let entry = Entry::of(record, settings);
            self.answers
                .push(entry.as_ref().err().cloned().map(Answer::Never));
            self.entries.push(entry.ok());
        }
        let names = self.entries.iter().flatten().map(|entry| &entry.topic);
        let mut names: Vec<String> = names
            .filter(|name| !self.cluster.knows(name))
            .cloned()
            .collect();
        names.sort_unstable();
        names.dedup();
        if !names.is_empty() {
            self.cluster.learn(self.bridge, &names).await?;
        }
        let mut lanes: BTreeMap<(&str, usize), Vec<usize>> = BTreeMap::new();
        for (number, (entry, answer)) in self.entries.iter().zip(&mut self.answers).enumerate() {
            let Some(entry) = entry else { continue };
            let place = self.cluster.place(&entry.topic, entry.key.as_deref(), turn);
            match place {
                Ok(partition) => {
                    let lane = lanes.entry((&entry.topic, partition)).or_default();
                    lane.push(number);
                }
                Err(Lack::Topic(text)) if settings.buries => *answer = Some(Answer::Never(text)),
                Err(Lack::Topic(text) | Lack::Leader(text)) => {
                    // What comes behind it is not sent: it would be sent again with it.
                    self.held = Some(text);
                    break;
                }
            }
        }
        let lanes = lanes.into_iter().map(|((topic, partition), numbers)| Lane {
            topic: topic.to_owned(),
            partition,
            chunks: self.chunks(&numbers),
        });
        self.lanes = lanes.collect();
        Ok(())
    }

    fn chunks(&self, numbers: &[usize]) -> VecDeque<Vec<usize>> {
        let mut chunks: VecDeque<Vec<usize>> = VecDeque::new();
        let mut bytes = 0;
        for number in numbers {
            let entry = self.entries.get(*number).and_then(Option::as_ref);
            let more = entry.map_or(0, Entry::bytes);
            match chunks.back_mut() {
                Some(last) if bytes + more <= CHUNK_BYTES => {
                    last.push(*number);
                    bytes += more;
                }
                _ => {
                    chunks.push_back(vec![*number]);
                    bytes = more;
                }
            }
        }
        chunks
    }

    /// Until nothing is left that could be sent now.
    async fn go(&mut self) {
        let mut moves = 0;
        while !self.lanes.is_empty() {
            let fates = self.round().await;
            let mut moved = Vec::new();
            let mut lanes = std::mem::take(&mut self.lanes);
            for (lane, fate) in lanes.iter_mut().zip(fates) {
                if let Some(text) = self.judge(lane, fate, moves) {
                    tracing::debug!(topic = lane.topic, "a partition is looked for: {text}");
                    moved.push(lane.topic.clone());
                }
            }
            lanes.retain(|lane| !lane.chunks.is_empty());
            self.lanes = lanes;
            if !moved.is_empty() {
                moves += 1;
                tokio::time::sleep(MOVE * moves).await;
                moved.sort_unstable();
                moved.dedup();
                moved.iter().for_each(|topic| self.cluster.forget(topic));
                // Not learnt, it has no leader in the next round.
                if let Err(text) = self.cluster.learn(self.bridge, &moved).await {
                    self.held.get_or_insert(text);
                }
            }
        }
    }

    /// What it means for a lane; words if it is to be looked for anew.
    fn judge(&mut self, lane: &mut Lane, fate: Fate, moves: u32) -> Option<String> {
        let first = lane.chunks.pop_front()?;
        match fate {
            Fate::Done => self.answer(&first, &Answer::Done),
            Fate::Refused(text) if first.len() == 1 => self.answer(&first, &Answer::Never(text)),
            Fate::Refused(_) => {
                let (one, other) = first.split_at(first.len() / 2);
                lane.chunks.push_front(other.to_vec());
                lane.chunks.push_front(one.to_vec());
            }
            Fate::Moved(text) if moves < MOVES && Instant::now() < self.until => {
                lane.chunks.push_front(first);
                return Some(text);
            }
            Fate::Moved(text) | Fate::Away(text) => {
                self.cluster.forget(&lane.topic);
                lane.chunks.clear();
                self.held.get_or_insert(text);
            }
        }
        None
    }

    fn answer(&mut self, numbers: &[usize], answer: &Answer) {
        for number in numbers {
            if let Some(place) = self.answers.get_mut(*number) {
                *place = Some(answer.clone());
            }
        }
    }

    /// One request to each leader, at the same time: what became of the first chunk of each lane.
    async fn round(&mut self) -> Vec<Fate> {
        let mut fates = Vec::new();
        let mut requests: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
        for (number, lane) in self.lanes.iter().enumerate() {
            let (topic, partition) = (&lane.topic, lane.partition);
            let Some(leader) = self.cluster.leader(topic, partition) else {
                let text = format!("partition {partition} of the topic `{topic}` has no leader");
                fates.push(Fate::Moved(text));
                continue;
            };
            fates.push(match self.cluster.reach(self.bridge, leader).await {
                Ok(()) => {
                    requests.entry(leader).or_default().push(number);
                    Fate::Away("the leader said nothing of it".to_owned())
                }
                Err(text) => Fate::Moved(text),
            });
        }
        let asked = requests
            .iter()
            .map(|(leader, lanes)| self.ask(*leader, lanes));
        let answers = join_all(asked).await;
        for ((leader, lanes), answer) in requests.iter().zip(answers) {
            let (said, is_lost) = match answer {
                Ok(answer) => (self.heard(lanes, answer), false),
                Err(fate) => (vec![fate; lanes.len()], true),
            };
            if is_lost {
                self.cluster.lose(*leader);
            }
            for (lane, said) in lanes.iter().zip(said) {
                if let Some(place) = fates.get_mut(*lane) {
                    *place = said;
                }
            }
        }
        fates
    }

    async fn ask(&self, leader: i32, lanes: &[usize]) -> Result<ProduceResponse, Fate> {
        let lost = || Fate::Moved(format!("the connection to broker {leader} ended"));
        let link = self.cluster.link(leader).ok_or_else(lost)?;
        let left = self.until.saturating_duration_since(Instant::now());
        let request = self.request(lanes, left);
        match tokio::time::timeout(left, link.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(RequestError::NoVersionMatch { .. })) => {
                let text = format!(
                    "broker {leader} is too old, or too new: it does not take records of version 2"
                );
                Err(Fate::Away(text))
            }
            Ok(Err(error)) => Err(Fate::Moved(format!(
                "the connection to broker {leader} ended: {error}"
            ))),
            Err(_) => Err(Fate::Away(format!("broker {leader} does not answer"))),
        }
    }

    fn request(&self, lanes: &[usize], left: Duration) -> ProduceRequest {
        let mut topics: Vec<ProduceRequestTopicData> = Vec::new();
        for lane in lanes.iter().filter_map(|lane| self.lanes.get(*lane)) {
            let numbers = lane.chunks.front().into_iter().flatten();
            let entries = numbers.filter_map(|number| self.entries.get(*number)?.as_ref());
            let data = ProduceRequestPartitionData {
                index: Int32(i32::try_from(lane.partition).unwrap_or(i32::MAX)),
                records: Records(vec![written(entries)]),
            };
            // Lanes are in the order of their topics.
            match topics.last_mut() {
                Some(topic) if topic.name.0 == lane.topic => topic.partition_data.push(data),
                _ => topics.push(ProduceRequestTopicData {
                    name: String_(lane.topic.clone()),
                    partition_data: vec![data],
                }),
            }
        }
        ProduceRequest {
            transactional_id: NullableString(None),
            acks: Int16(-1), // all
            timeout_ms: Int32(i32::try_from(left.as_millis()).unwrap_or(i32::MAX)),
            topic_data: topics,
        }
    }

    /// What an answer says of each of these lanes. A pause that it asks for says nothing about the records: they are
    /// where they belong.
    fn heard(&mut self, lanes: &[usize], answer: ProduceResponse) -> Vec<Fate> {
        let throttle = answer.throttle_time_ms.map_or(0, |time| time.0);
        let throttle = Duration::from_millis(u64::try_from(throttle).unwrap_or(0));
        self.throttle = self.throttle.max(throttle);
        let mut said = BTreeMap::new();
        for topic in answer.responses {
            for partition in topic.partition_responses {
                let place = (topic.name.0.clone(), partition.index.0);
                said.insert(place, fate(partition.error));
            }
        }
        let lanes = lanes.iter().map(|lane| {
            let lane = self.lanes.get(*lane)?;
            let partition = i32::try_from(lane.partition).ok()?;
            said.remove(&(lane.topic.clone(), partition))
        });
        let nothing = || Fate::Away("the leader said nothing of it".to_owned());
        lanes.map(|said| said.unwrap_or_else(nothing)).collect()
    }
}

impl Outward {
    pub(in crate::kinds) fn new(bridge: Bridge, timeout: Duration) -> Self {
        Self {
            bridge,
            timeout,
            cluster: None,
            turn: 0,
            quiet: None,
        }
    }

    /// Waits until a broker wants to hear of us again, or says that this is long.
    async fn keep_quiet(&mut self) -> Result<(), Trouble> {
        let Some(until) = self.quiet else {
            return Ok(());
        };
        let left = until.saturating_duration_since(Instant::now());
        if left > QUIET {
            return Err(Trouble::Away {
                text: format!(
                    "the cluster asks for a pause of {left:?}: this user is beyond its quota"
                ),
                after: Some(left),
            });
        }
        tokio::time::sleep(left).await;
        self.quiet = None;
        Ok(())
    }
}

impl Outlet for Outward {
    fn check(&mut self) -> Later<'_, Result<String, String>> {
        Box::pin(async {
            let mut cluster = Cluster::default();
            let fixed = self.bridge.settings.topic.fixed();
            let names: Vec<String> = fixed.iter().cloned().collect();
            cluster.learn(&self.bridge, &names).await?;
            let there = match cluster.brokers() {
                1 => "1 broker lets this one in".to_owned(),
                many => format!("a cluster of {many} brokers lets this one in"),
            };
            let Some(topic) = fixed else {
                return Ok(format!("{there}; topics are made of messages"));
            };
            match cluster.place(&topic, None, 0) {
                Err(Lack::Topic(text)) if self.bridge.settings.creates => {
                    return Ok(format!("{there}; {text} yet"));
                }
                Err(Lack::Topic(text)) => return Err(format!("{text}: make it")),
                Err(Lack::Leader(text)) => return Err(text),
                Ok(_) => {}
            }
            match cluster.health(&topic) {
                (count, lost) if lost.is_empty() => {
                    Ok(format!("{there}; `{topic}` has {count} partitions"))
                }
                (count, lost) => Err(format!(
                    "of the {count} partitions of `{topic}` these have no leader: {lost:?}"
                )),
            }
        })
    }

    fn send<'a>(&'a mut self, batch: &'a [Record]) -> Later<'a, Result<Vec<Answer>, Trouble>> {
        Box::pin(async move {
            self.keep_quiet().await?;
            let mut cluster = self.cluster.take().unwrap_or_default();
            self.turn = self.turn.wrapping_add(1);
            let mut sending = Sending {
                bridge: &self.bridge,
                cluster: &mut cluster,
                entries: Vec::new(),
                answers: Vec::new(),
                lanes: Vec::new(),
                held: None,
                // A leader that says nothing must not take what the others said with it.
                until: Instant::now() + self.timeout * 3 / 4,
                throttle: Duration::ZERO,
            };
            let planned = sending.plan(batch, self.turn).await;
            planned.map_err(Trouble::away)?;
            sending.go().await;
            let Sending {
                answers,
                held,
                throttle,
                ..
            } = sending;
            self.cluster = Some(cluster);
            self.quiet = (!throttle.is_zero()).then(|| Instant::now() + throttle);
            settled(answers, held)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_about_a_record_or_a_place_or_the_moment() {
        let said = |text: &str| format!("the cluster said: {text}");
        for (code, wanted) in [
            (None, Fate::Done),
            (
                Some(Code::MessageTooLarge),
                Fate::Refused(said("MessageTooLarge")),
            ),
            (
                Some(Code::NotLeaderOrFollower),
                Fate::Moved(said("NotLeaderOrFollower")),
            ),
            (
                Some(Code::RequestTimedOut),
                Fate::Away(said("RequestTimedOut")),
            ),
            // For the operator.
            (
                Some(Code::TopicAuthorizationFailed),
                Fate::Away(said("TopicAuthorizationFailed")),
            ),
            (
                Some(Code::NotEnoughReplicas),
                Fate::Away(said("NotEnoughReplicas")),
            ),
            (Some(Code::Unknown(999)), Fate::Away(said("Unknown(999)"))),
        ] {
            assert_eq!(fate(code), wanted);
        }
    }

    #[test]
    fn a_batch_is_settled_up_to_the_first_that_waits() {
        let done = || Some(Answer::Done);
        let why = || Some("w".to_owned());
        assert_eq!(
            settled(vec![done(), done(), None, done()], why()),
            Ok(vec![Answer::Done; 2])
        );
        let refused = Err(Trouble::Refused("w".to_owned()));
        assert_eq!(settled(vec![None, done()], why()), refused);
        assert_eq!(settled(vec![None, None], why()), Err(Trouble::away("w")));
        assert_eq!(settled(Vec::new(), None), Ok(Vec::new()));
    }
}
