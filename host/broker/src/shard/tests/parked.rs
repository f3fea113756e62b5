//! Messages parked at a step that waits: their order, their acknowledgement, and the end of their connection.

use super::{Q0, Q1, Q2, id, join, join_with, payloads, persistent, publish, subscribed};
use crate::limits::Limits;
use crate::ports::chains::{ChainProgress, ChainRun, Rest, StepAnswer, StepOutcome};
use crate::ports::{ChainOutcome, Chains, Publisher, StepFailure, Transform};
use crate::testing::{Rig, connect};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;
use witmq_proto::packet::{Ack, Packet, PublishProperties, Version, Will};
use witmq_proto::{Bytes, Message, ReasonCode, TopicName};

type Answer = Result<StepOutcome, StepFailure>;

/// Chains that ask about every message below `slow/`, and once more when told to stop.
#[derive(Clone, Default)]
struct Asking {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Asking {
    fn rig(&self) -> Rig {
        let limits = Limits {
            sys_interval: Duration::ZERO,
            ..Limits::default()
        };
        let mut rig = Rig::new(1, limits);
        rig.shards[0].ports.chains = Box::new(self.clone());
        rig
    }

    /// The plugin answers the oldest question.
    fn answer(&self, rig: &mut Rig, answer: Answer) {
        self.answers.lock().unwrap().push_back(answer);
        rig.run();
        assert!(self.answers.lock().unwrap().is_empty(), "nobody was asked");
    }

    /// What was asked about since the last call.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    fn ask(&self, message: &Arc<Message>) -> ChainProgress {
        let (answers, payload) = (self.answers.clone(), message.payload.clone());
        let text = String::from_utf8_lossy(&payload).into_owned();
        self.asked.lock().unwrap().push(text);
        let answer: StepAnswer = Box::pin(std::future::poll_fn(move |_| {
            let answer = answers.lock().unwrap().pop_front();
            answer.map_or(Poll::Pending, Poll::Ready)
        }));
        let rest: Rest = Box::new(message.clone());
        ChainProgress::Waits { answer, rest }
    }
}

impl Chains for Asking {
    fn run(
        &mut self,
        _: &mut dyn Transform,
        _: Publisher<'_>,
        message: &Arc<Message>,
    ) -> ChainProgress {
        match message.topic.starts_with("slow/") {
            true => self.ask(message),
            false => ChainProgress::Done(ChainRun::untouched()),
        }
    }

    fn resume(
        &mut self,
        _: &mut dyn Transform,
        _: Publisher<'_>,
        rest: Rest,
        answer: Answer,
    ) -> ChainProgress {
        let message = rest.downcast::<Arc<Message>>().unwrap();
        let outcome = match answer {
            Ok(StepOutcome::Stop) => return self.ask(&message),
            Ok(StepOutcome::Refuse { reason, text }) => ChainOutcome::Refused { reason, text },
            Ok(StepOutcome::Withhold) => ChainOutcome::Withheld,
            Ok(_) => ChainOutcome::Untouched,
            Err(failure) => ChainOutcome::Refused {
                reason: ReasonCode::ImplementationSpecific,
                text: Some(failure.to_string()),
            },
        };
        ChainProgress::Done(ChainRun {
            outcome,
            emissions: Vec::new(),
        })
    }
}

fn send(rig: &mut Rig, peer: usize, topic: &str, payload: &str, qos: super::QoS, packet_id: u16) {
    let publish = publish(topic, payload, qos, packet_id);
    rig.send(peer, &Packet::Publish(Box::new(publish)));
}

fn puback(packet_id: u16) -> Packet {
    Packet::Puback(Ack::new(id(packet_id), ReasonCode::Success))
}

fn pubrec(packet_id: u16) -> Packet {
    Packet::Pubrec(Ack::new(id(packet_id), ReasonCode::Success))
}

#[test]
fn nothing_overtakes_it_and_others_do_not_wait() {
    let asking = Asking::default();
    let mut rig = asking.rig();
    let subscriber = join(&mut rig, Version::V5, "s");
    subscribed(&mut rig, subscriber, "#", Q0);
    let publisher = join(&mut rig, Version::V5, "p");
    let bystander = join(&mut rig, Version::V5, "b");
    send(&mut rig, publisher, "slow/t", "1", Q1, 1);
    send(&mut rig, publisher, "fast/t", "2", Q1, 2);
    send(&mut rig, publisher, "slow/t", "3", Q2, 3);
    assert!(rig.is_paused(publisher));
    assert!(rig.received(publisher).is_empty(), "acknowledged too early");
    send(&mut rig, bystander, "fast/b", "b", Q1, 1);
    assert_eq!(rig.received(bystander), [puback(1)]);
    assert_eq!(payloads(&mut rig, subscriber), ["b"]);
    asking.answer(&mut rig, Ok(StepOutcome::Pass));
    assert_eq!(payloads(&mut rig, subscriber), ["1", "2"]); // [MQTT-4.6.0-5]
    assert_eq!(rig.received(publisher), [puback(1), puback(2)]);
    asking.answer(&mut rig, Ok(StepOutcome::Pass));
    assert_eq!(payloads(&mut rig, subscriber), ["3"]);
    assert_eq!(rig.received(publisher), [pubrec(3)]);
    assert!(!rig.is_paused(publisher));
    assert_eq!(rig.counters().parked, 2);
}

#[test]
fn refused_withheld_or_failed_it_is_answered_as_at_once() {
    let asking = Asking::default();
    let mut rig = asking.rig();
    let publisher = join(&mut rig, Version::V5, "p");
    let refuse = StepOutcome::Refuse {
        reason: ReasonCode::QuotaExceeded,
        text: None,
    };
    send(&mut rig, publisher, "slow/t", "1", Q1, 1);
    asking.answer(&mut rig, Ok(refuse));
    let refused = Packet::Puback(Ack::new(id(1), ReasonCode::QuotaExceeded));
    assert_eq!(rig.received(publisher), [refused]);
    send(&mut rig, publisher, "slow/t", "2", Q2, 2);
    asking.answer(&mut rig, Err(StepFailure::Deadline("slow".to_owned())));
    let answers = rig.received(publisher);
    let [Packet::Pubrec(ack)] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!(ack.reason, ReasonCode::ImplementationSpecific);
    send(&mut rig, publisher, "slow/t", "3", Q1, 3);
    asking.answer(&mut rig, Ok(StepOutcome::Withhold));
    assert!(rig.received(publisher).is_empty());
    assert!(!rig.is_paused(publisher));
}

#[test]
fn it_can_wait_a_second_time() {
    let asking = Asking::default();
    let mut rig = asking.rig();
    let publisher = join(&mut rig, Version::V311, "p");
    send(&mut rig, publisher, "slow/t", "1", Q1, 1);
    asking.answer(&mut rig, Ok(StepOutcome::Stop));
    assert!(rig.received(publisher).is_empty() && rig.is_paused(publisher));
    asking.answer(&mut rig, Ok(StepOutcome::Pass));
    assert_eq!(rig.received(publisher), [puback(1)]);
    assert_eq!(asking.asked(), ["1", "1"]);
}

#[test]
fn unacknowledged_with_its_connection_gone_it_comes_again_and_is_taken_once() {
    for qos in [Q1, Q2] {
        let asking = Asking::default();
        let mut rig = asking.rig();
        let subscriber = join(&mut rig, Version::V5, "s");
        subscribed(&mut rig, subscriber, "#", Q0);
        let (publisher, _) = join_with(&mut rig, persistent(Version::V5, "p"));
        send(&mut rig, publisher, "slow/t", "1", qos, 7);
        rig.cut(publisher);
        assert_eq!(rig.counters().parked_dropped, 1);
        // The answer to what was dropped comes late, and does nothing.
        asking.answer(&mut rig, Ok(StepOutcome::Pass));
        assert!(payloads(&mut rig, subscriber).is_empty());
        let (publisher, connack) = join_with(&mut rig, persistent(Version::V5, "p"));
        assert!(connack.session_present);
        let mut again = publish("slow/t", "1", qos, 7);
        again.dup = true;
        rig.send(publisher, &Packet::Publish(Box::new(again)));
        assert!(rig.received(publisher).is_empty(), "not taken yet");
        asking.answer(&mut rig, Ok(StepOutcome::Pass));
        assert_eq!(payloads(&mut rig, subscriber), ["1"]);
        let said = if qos == Q1 { puback(7) } else { pubrec(7) };
        assert_eq!(rig.received(publisher), [said]);
    }
}

#[test]
fn at_most_once_it_goes_on_without_its_connection() {
    let asking = Asking::default();
    let mut rig = asking.rig();
    let subscriber = join(&mut rig, Version::V5, "s");
    subscribed(&mut rig, subscriber, "#", Q0);
    let publisher = join(&mut rig, Version::V5, "p");
    send(&mut rig, publisher, "slow/t", "1", Q0, 0);
    rig.cut(publisher);
    asking.answer(&mut rig, Ok(StepOutcome::Pass));
    assert_eq!(payloads(&mut rig, subscriber), ["1"]);
    assert_eq!(rig.counters().parked_dropped, 0);
}

#[test]
fn a_will_waits_too() {
    let asking = Asking::default();
    let mut rig = asking.rig();
    let subscriber = join(&mut rig, Version::V5, "s");
    subscribed(&mut rig, subscriber, "#", Q0);
    let mut connect = connect(Version::V5, "p");
    connect.will = Some(Will {
        topic: TopicName::new("slow/will").unwrap(),
        payload: Bytes::from_static(b"gone"),
        qos: Q0,
        retain: false,
        delay: 0,
        properties: PublishProperties::default(),
    });
    let (publisher, _) = join_with(&mut rig, connect);
    rig.cut(publisher);
    assert!(payloads(&mut rig, subscriber).is_empty());
    asking.answer(&mut rig, Ok(StepOutcome::Pass));
    assert_eq!(payloads(&mut rig, subscriber), ["gone"]);
}

#[test]
fn the_keep_alive_does_not_end_whom_nothing_is_read_from() {
    let asking = Asking::default();
    let mut rig = asking.rig();
    let mut connect = connect(Version::V311, "p");
    connect.keep_alive = 2;
    let (publisher, _) = join_with(&mut rig, connect);
    send(&mut rig, publisher, "slow/t", "1", Q1, 1);
    rig.send(publisher, &Packet::Pingreq); // not read yet
    rig.advance(Duration::from_secs(10));
    assert!(rig.is_open(publisher));
    asking.answer(&mut rig, Ok(StepOutcome::Pass));
    assert_eq!(rig.received(publisher), [puback(1), Packet::Pingresp]);
    rig.advance(Duration::from_secs(10));
    assert!(!rig.is_open(publisher), "[MQTT-3.1.2-22]");
}
