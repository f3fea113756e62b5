//! What is known of a cluster: its brokers, who leads which partition, and the connections to them.
//!
//! Owns: [`Cluster`]. Nothing of it is kept that an error made doubtful: it is asked for anew.

use super::Bridge;
use super::entry::partition;
use super::link::{Link, open};
use rand::seq::SliceRandom as _;
use rskafka::messenger::RequestError;
use rskafka::protocol::error::Error as Code;
use rskafka::protocol::messages::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic,
    WriteVersionedError,
};
use rskafka::protocol::primitives::{Boolean, String_};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Topics whose leaders are known at a time; with one more, all are asked for anew.
const TOPICS: usize = 1000;
/// As old as what is known of a topic may be: partitions are added without a word.
const AGE: Duration = Duration::from_secs(300);

/// Why a record has no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// There is no such topic.
    Topic(String),
    /// It will have one.
    Leader(String),
}

/// What the cluster says of a topic.
#[derive(Debug)]
struct Topic {
    /// Of each partition, if it has one.
    leaders: Vec<Option<i32>>,
    error: Option<Code>,
    since: Instant,
}

#[derive(Default)]
pub(super) struct Cluster {
    /// The one that is asked about the others.
    entry: Option<Link>,
    places: BTreeMap<i32, (String, u16)>,
    links: BTreeMap<i32, Link>,
    topics: BTreeMap<String, Topic>,
}

fn question(names: &[String], create: Option<bool>) -> MetadataRequest {
    let names = names.iter().map(|name| MetadataRequestTopic {
        name: String_(name.clone()),
    });
    MetadataRequest {
        topics: Some(names.collect()),
        allow_auto_topic_creation: create.map(Boolean),
    }
}

async fn ask(link: &Link, names: &[String], create: bool) -> Result<MetadataResponse, String> {
    let answer = match link.request(question(names, Some(create))).await {
        // Before Kafka 0.11 the broker alone decides about it.
        Err(RequestError::WriteError(WriteVersionedError::FieldNotAvailable { .. })) => {
            link.request(question(names, None)).await
        }
        answer => answer,
    };
    answer.map_err(|error| format!("the cluster does not say who leads what: {error}"))
}

/// Who leads each partition; their numbers begin with 0 and have no gaps.
fn leaders(topic: &MetadataResponseTopic) -> Vec<Option<i32>> {
    let mut leaders = vec![None; topic.partitions.len()];
    for partition in &topic.partitions {
        let place = usize::try_from(partition.partition_index.0).ok();
        if let Some(place) = place.and_then(|place| leaders.get_mut(place)) {
            *place = Some(partition.leader_id.0).filter(|leader| *leader >= 0);
        }
    }
    leaders
}

impl Cluster {
    /// Asks about these topics, all of which are needed now.
    ///
    /// # Errors
    /// No broker answers, in words.
    pub(super) async fn learn(&mut self, bridge: &Bridge, names: &[String]) -> Result<(), String> {
        let create = bridge.settings.creates;
        let mut answer = None;
        if let Some(link) = &self.entry {
            // One that was not used for long may have been closed by the other side.
            answer = ask(link, names, create).await.ok();
        }
        let answer = match answer {
            Some(answer) => answer,
            None => {
                let link = self.enter(bridge).await?;
                let answer = ask(&link, names, create).await?;
                self.entry = Some(link);
                answer
            }
        };
        self.take(answer);
        Ok(())
    }

    async fn enter(&mut self, bridge: &Bridge) -> Result<Link, String> {
        self.entry = None;
        let mut places = bridge.settings.brokers.clone();
        places.shuffle(&mut rand::rng());
        places.extend(self.places.values().cloned());
        let mut said = Vec::new();
        for (host, port) in places {
            match open(bridge, &host, port).await {
                Ok(link) => return Ok(link),
                Err(text) => said.push(text),
            }
        }
        said.dedup();
        Err(said.join("; "))
    }

    fn take(&mut self, answer: MetadataResponse) {
        let places: BTreeMap<_, _> = (answer.brokers.into_iter())
            .filter_map(|broker| {
                let port = u16::try_from(broker.port.0).ok()?;
                Some((broker.node_id.0, (broker.host.0, port)))
            })
            .collect();
        // Who moved is connected anew.
        let known = &self.places;
        self.links
            .retain(|number, _| known.get(number) == places.get(number));
        self.places = places;
        if self.topics.len() + answer.topics.len() > TOPICS {
            self.topics.clear();
        }
        for topic in answer.topics {
            let known = Topic {
                leaders: leaders(&topic),
                error: topic.error,
                since: Instant::now(),
            };
            self.topics.insert(topic.name.0, known);
        }
    }

    /// Whether there is something to learn of it.
    pub(super) fn knows(&self, topic: &str) -> bool {
        self.topics
            .get(topic)
            .is_some_and(|topic| topic.error.is_none() && topic.since.elapsed() < AGE)
    }

    pub(super) fn forget(&mut self, topic: &str) {
        self.topics.remove(topic);
    }

    /// Its connection broke.
    pub(super) fn lose(&mut self, broker: i32) {
        self.links.remove(&broker);
    }

    /// The partition that a record goes to: its key's, or `turn` chooses among those with a leader.
    pub(super) fn place(&self, topic: &str, key: Option<&str>, turn: usize) -> Result<usize, Lack> {
        let known = self.topics.get(topic);
        let known = known.ok_or_else(|| Lack::Leader(format!("nothing is said of `{topic}`")))?;
        match known.error {
            Some(Code::UnknownTopicOrPartition | Code::InvalidTopicException) => {
                return Err(Lack::Topic(format!("there is no topic `{topic}`")));
            }
            Some(Code::TopicAuthorizationFailed) => {
                let text = format!("this user has no right to the topic `{topic}`");
                return Err(Lack::Leader(text));
            }
            // A topic that is being made says so; one whose brokers are away has partitions.
            Some(error) if known.leaders.is_empty() => {
                return Err(Lack::Leader(format!("the topic `{topic}`: {error}")));
            }
            _ => {}
        }
        let led = || (0..).zip(&known.leaders).filter(|(_, led)| led.is_some());
        match key {
            Some(key) => {
                let number = partition(key.as_bytes(), known.leaders.len());
                match self.leader(topic, number) {
                    Some(_) => Ok(number),
                    None => Err(Lack::Leader(format!(
                        "partition {number} of the topic `{topic}` has no leader"
                    ))),
                }
            }
            None => {
                let chosen = turn.checked_rem(led().count());
                let chosen = chosen.and_then(|chosen| led().nth(chosen));
                chosen.map(|(number, _)| number).ok_or_else(|| {
                    Lack::Leader(format!("no partition of the topic `{topic}` has a leader"))
                })
            }
        }
    }

    pub(super) fn leader(&self, topic: &str, partition: usize) -> Option<i32> {
        let known = self.topics.get(topic)?;
        known.leaders.get(partition).copied().flatten()
    }

    /// The partitions of a topic, and those without a leader.
    pub(super) fn health(&self, topic: &str) -> (usize, Vec<usize>) {
        let leaders = self.topics.get(topic).map(|topic| topic.leaders.as_slice());
        let leaders = leaders.unwrap_or_default();
        let lost = (0..).zip(leaders).filter(|(_, led)| led.is_none());
        (leaders.len(), lost.map(|(number, _)| number).collect())
    }

    /// How many there are.
    pub(super) fn brokers(&self) -> usize {
        self.places.len()
    }

    /// Connects to a broker, unless that is done.
    ///
    /// # Errors
    /// It is not there, in words.
    pub(super) async fn reach(&mut self, bridge: &Bridge, broker: i32) -> Result<(), String> {
        if self.links.contains_key(&broker) {
            return Ok(());
        }
        let place = self.places.get(&broker);
        let (host, port) = place.ok_or_else(|| format!("broker {broker} is nowhere"))?;
        let link = open(bridge, host, *port).await?;
        self.links.insert(broker, link);
        Ok(())
    }

    pub(super) fn link(&self, broker: i32) -> Option<&Link> {
        self.links.get(&broker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rskafka::protocol::messages::{MetadataResponseBroker, MetadataResponsePartition};
    use rskafka::protocol::primitives::{Array, Int32};

    fn partitions(leaders: &[i32]) -> Vec<MetadataResponsePartition> {
        let partition = |(number, leader): (i32, &i32)| MetadataResponsePartition {
            error: None,
            partition_index: Int32(number),
            leader_id: Int32(*leader),
            replica_nodes: Array(None),
            isr_nodes: Array(None),
        };
        let mut partitions: Vec<_> = (0..).zip(leaders).map(partition).collect();
        partitions.reverse(); // servers say them in any order
        partitions
    }

    fn answer(topics: &[(&str, Option<Code>, &[i32])]) -> MetadataResponse {
        let topics = topics.iter();
        let topics = topics.map(|(name, error, leaders)| MetadataResponseTopic {
            error: *error,
            name: String_((*name).to_owned()),
            is_internal: None,
            partitions: partitions(leaders),
        });
        MetadataResponse {
            throttle_time_ms: None,
            brokers: vec![MetadataResponseBroker {
                node_id: Int32(1),
                host: String_("h".to_owned()),
                port: Int32(9092),
                rack: None,
            }],
            cluster_id: None,
            controller_id: None,
            topics: topics.collect(),
        }
    }

    #[test]
    fn a_key_waits_for_its_partition_and_what_has_none_goes_where_it_can() {
        let mut cluster = Cluster::default();
        cluster.take(answer(&[("t", None, &[1, -1, 1])]));
        assert_eq!(cluster.health("t"), (3, vec![1]));
        for (turn, wanted) in [(0, 0), (1, 2), (2, 0)] {
            assert_eq!(cluster.place("t", None, turn), Ok(wanted));
        }
        let places = ["a", "b", "c", "d", "e", "f"].map(|key| cluster.place("t", Some(key), 0));
        let lost = Lack::Leader("partition 1 of the topic `t` has no leader".to_owned());
        assert!(
            places.contains(&Err(lost)) && places.contains(&Ok(0)),
            "{places:?}"
        );
        cluster.take(answer(&[("t", None, &[-1])]));
        let lost = Lack::Leader("no partition of the topic `t` has a leader".to_owned());
        assert_eq!(cluster.place("t", None, 7), Err(lost));
    }

    #[test]
    fn a_topic_that_is_not_there_is_told_apart_from_one_that_is_away() {
        let mut cluster = Cluster::default();
        cluster.take(answer(&[
            ("gone", Some(Code::UnknownTopicOrPartition), &[]),
            ("shut", Some(Code::TopicAuthorizationFailed), &[]),
            ("new", Some(Code::LeaderNotAvailable), &[]),
        ]));
        let gone = Lack::Topic("there is no topic `gone`".to_owned());
        assert_eq!(cluster.place("gone", None, 0), Err(gone));
        for name in ["shut", "new", "other"] {
            assert!(matches!(cluster.place(name, None, 0), Err(Lack::Leader(_))));
            assert!(!cluster.knows(name), "it is asked about again");
        }
    }

    #[test]
    fn what_is_known_of_topics_has_a_bound() {
        let mut cluster = Cluster::default();
        for number in 0..TOPICS {
            cluster.take(answer(&[(&number.to_string(), None, &[1])]));
        }
        assert!(cluster.knows("0") && cluster.topics.len() == TOPICS);
        cluster.take(answer(&[("more", None, &[1])]));
        assert!(!cluster.knows("0") && cluster.knows("more"));
        cluster.forget("more");
        assert!(!cluster.knows("more"));
    }
}
