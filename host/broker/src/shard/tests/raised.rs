//! Events that chains begin with: which are raised, their bound, and the end of loops.

use super::{Q0, Q1, Q2, id, join, join_with, payloads, persistent, publish, subscribed};
use crate::limits::Limits;
use crate::ports::chains::{ChainProgress, ChainRun, Rest, StepOutcome};
use crate::ports::raised::{Detail, EventKind, PluginAlarm, Raised, Wanted};
use crate::ports::{ChainOutcome, Chains, Publisher, StepFailure, Transform};
use crate::testing::Rig;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use witmq_proto::packet::{Ack, Packet, Version};
use witmq_proto::{Message, ReasonCode, TopicName};

/// Chains that ask for some kinds, note what they are shown, and publish to `said` if told to.
#[derive(Clone, Default)]
struct Watching {
    wanted: Wanted,
    says: bool,
    shown: Arc<Mutex<Vec<String>>>,
}

impl Watching {
    fn rig(kinds: &[EventKind], says: bool, limits: Limits) -> (Self, Rig) {
        let mut wanted = Wanted::default();
        kinds.iter().for_each(|kind| wanted.add(*kind));
        let watching = Self {
            wanted,
            says,
            ..Self::default()
        };
        let limits = Limits {
            sys_interval: Duration::ZERO,
            ..limits
        };
        let mut rig = Rig::new(1, limits);
        rig.shards[0].ports.chains = Box::new(watching.clone());
        (watching, rig)
    }

    /// What was shown since the last call.
    fn shown(&self) -> Vec<String> {
        std::mem::take(&mut *self.shown.lock().unwrap())
    }
}

fn words(raised: &Raised) -> String {
    let more = match &raised.detail {
        Detail::Connection {
            session_present, ..
        } => session_present.to_string(),
        Detail::End { text, .. } => text.clone(),
        Detail::Subscription { filter, .. } => filter.to_string(),
        Detail::Message {
            message,
            qos,
            reason,
            cause,
        } => {
            let text = String::from_utf8_lossy(&message.payload);
            let reason = reason.map_or("", ReasonCode::as_str);
            format!(
                "{text} {} {reason}{}",
                *qos as u8,
                cause.unwrap_or_default()
            )
        }
        Detail::Alarm(alarm) => format!("{} {} {}", alarm.plugin, alarm.version, alarm.text),
        Detail::Nothing => String::new(),
    };
    let name = raised.kind.topic().rsplit('/').next().unwrap();
    format!("{name} {} {more}", raised.client_id)
        .trim_end()
        .to_owned()
}

impl Chains for Watching {
    fn wanted(&mut self) -> Wanted {
        self.wanted
    }

    fn present(&mut self, raised: &Raised, _: u64) -> Option<Message> {
        self.shown.lock().unwrap().push(words(raised));
        Some(Message {
            topic: TopicName::new(raised.kind.topic()).unwrap(),
            payload: "event".into(),
            qos: Q0,
            retain: false,
            properties: Default::default(),
            expires_at: None,
            publisher: raised.client_id.clone(),
            received_ms: 0,
            hops: 0,
        })
    }

    fn run(
        &mut self,
        _: &mut dyn Transform,
        _: Publisher<'_>,
        message: &Arc<Message>,
    ) -> ChainProgress {
        let mut run = ChainRun::untouched();
        if self.says && message.topic.starts_with("$events/") {
            let said = Message {
                topic: TopicName::new("said").unwrap(),
                hops: message.hops + 1,
                ..(**message).clone()
            };
            run.emissions.push(Arc::new(said));
        }
        ChainProgress::Done(run)
    }

    fn resume(
        &mut self,
        _: &mut dyn Transform,
        _: Publisher<'_>,
        _: Rest,
        _: Result<StepOutcome, StepFailure>,
    ) -> ChainProgress {
        ChainProgress::Done(ChainRun {
            outcome: ChainOutcome::Untouched,
            emissions: Vec::new(),
        })
    }
}

fn send(rig: &mut Rig, peer: usize, topic: &str, text: &str, qos: super::QoS, packet_id: u16) {
    let packet = publish(topic, text, qos, packet_id);
    rig.send(peer, &Packet::Publish(Box::new(packet)));
}

#[test]
fn the_life_of_a_client_is_told_as_it_happens() {
    use EventKind::{Connected, Disconnected, SessionExpired, Subscribed, Unsubscribed};
    let kinds = [
        Connected,
        Disconnected,
        SessionExpired,
        Subscribed,
        Unsubscribed,
    ];
    let (watching, mut rig) = Watching::rig(&kinds, false, Limits::default());
    let mut wanted = persistent(Version::V5, "c");
    wanted.properties.session_expiry = Some(60);
    let (first, _) = join_with(&mut rig, wanted.clone());
    subscribed(&mut rig, first, "t", Q1);
    assert_eq!(watching.shown(), ["connected c false", "subscribed c t"]);
    let second = rig.connect(wanted);
    assert_eq!(
        watching.shown().len(),
        2,
        "the old connection and the new one"
    );
    rig.cut(second);
    let shown = watching.shown();
    assert!(shown[0].starts_with("disconnected c"), "{shown:?}");
    rig.advance(Duration::from_secs(59));
    assert_eq!(watching.shown(), [""; 0]);
    rig.advance(Duration::from_secs(2));
    assert_eq!(watching.shown(), ["expired c"]);
}

#[test]
fn a_message_is_told_of_when_it_is_written_and_when_it_is_taken_over() {
    use EventKind::{Acked, Delivered};
    let (watching, mut rig) = Watching::rig(&[Delivered, Acked], false, Limits::default());
    let subscriber = join(&mut rig, Version::V5, "s");
    subscribed(&mut rig, subscriber, "t", Q2);
    let publisher = join(&mut rig, Version::V5, "p");
    send(&mut rig, publisher, "t", "zero", Q0, 0);
    send(&mut rig, publisher, "t", "one", Q1, 1);
    assert_eq!(
        watching.shown(),
        ["delivered s zero 0", "delivered s one 1"]
    );
    rig.send(
        subscriber,
        &Packet::Puback(Ack::new(id(1), ReasonCode::Success)),
    );
    assert_eq!(watching.shown(), ["acked s one 1 success"]);
    send(&mut rig, publisher, "t", "two", Q2, 2);
    drop(watching.shown());
    rig.send(
        subscriber,
        &Packet::Pubrec(Ack::new(id(2), ReasonCode::Success)),
    );
    assert_eq!(watching.shown(), ["acked s two 2 success"]);
    rig.send(
        subscriber,
        &Packet::Pubcomp(Ack::new(id(2), ReasonCode::Success)),
    );
    assert_eq!(watching.shown(), [""; 0], "once");
}

#[test]
fn a_message_that_is_dropped_is_told_of_with_the_cause() {
    let limits = Limits {
        outbox_messages: 1,
        ..Limits::default()
    };
    let (watching, mut rig) = Watching::rig(&[EventKind::Dropped], false, limits);
    let (subscriber, _) = join_with(&mut rig, persistent(Version::V5, "s"));
    subscribed(&mut rig, subscriber, "t", Q1);
    rig.cut(subscriber);
    let publisher = join(&mut rig, Version::V5, "p");
    send(&mut rig, publisher, "t", "kept", Q1, 1);
    assert_eq!(watching.shown(), [""; 0]);
    send(&mut rig, publisher, "t", "lost", Q1, 2);
    assert_eq!(watching.shown(), ["dropped s lost 1 queue-full"]);
}

/// Every subscriber of everything would double what is said, for ever.
#[test]
fn what_a_chain_says_of_a_delivery_begins_no_chain() {
    let (watching, mut rig) = Watching::rig(&[EventKind::Delivered], true, Limits::default());
    let one = join(&mut rig, Version::V5, "one");
    subscribed(&mut rig, one, "#", Q0);
    let other = join(&mut rig, Version::V5, "other");
    subscribed(&mut rig, other, "#", Q0);
    let publisher = join(&mut rig, Version::V5, "p");
    send(&mut rig, publisher, "t", "x", Q0, 0);
    assert_eq!(watching.shown().len(), 2, "two deliveries");
    assert_eq!(payloads(&mut rig, one), ["x", "event", "event"]);
    assert_eq!(rig.counters().dropped_loop, 0);
    assert_eq!(rig.counters().events_raised, 2);
}

#[test]
fn events_wait_up_to_their_bound() {
    for (bound, given_up) in [(3, 0), (2, 1)] {
        let limits = Limits {
            chain_events: bound,
            ..Limits::default()
        };
        let (watching, mut rig) = Watching::rig(&[EventKind::Subscribed], false, limits);
        let client = join(&mut rig, Version::V5, "c");
        let filters = ["a", "b", "c"].map(|filter| witmq_proto::packet::SubscribeFilter {
            filter: filter.into(),
            options: Default::default(),
        });
        let subscribe = witmq_proto::packet::Subscribe {
            packet_id: id(1),
            subscription_id: None,
            user: Default::default(),
            filters: filters.to_vec(),
        };
        rig.send(client, &Packet::Subscribe(Box::new(subscribe)));
        assert_eq!(watching.shown().len(), 3 - given_up);
        let counted = rig.counters().events_given_up;
        assert_eq!(usize::try_from(counted).unwrap(), given_up);
    }
}

#[test]
fn alarms_of_plugins_wait_like_other_events_and_are_nobodys() {
    let alarm = || PluginAlarm {
        plugin: "p".to_owned(),
        version: 3,
        kind: "breaker-open",
        text: "why".to_owned(),
    };
    for (bound, given_up) in [(2, 0), (1, 1)] {
        let limits = Limits {
            chain_events: bound,
            ..Limits::default()
        };
        let (watching, mut rig) = Watching::rig(&[EventKind::PluginAlarm], false, limits);
        (0..2).for_each(|_| rig.shards[0].raise_alarm(alarm()));
        join(&mut rig, Version::V5, "c"); // lets the driver turn
        let shown = watching.shown();
        assert_eq!(shown.len(), 2 - given_up);
        assert_eq!(shown[0], "alarm  p 3 why");
        let counted = rig.counters().events_given_up;
        assert_eq!(usize::try_from(counted).unwrap(), given_up);
    }
    let (watching, mut rig) = Watching::rig(&[EventKind::Connected], false, Limits::default());
    rig.shards[0].raise_alarm(alarm());
    join(&mut rig, Version::V5, "c");
    assert_eq!(watching.shown().len(), 1, "the client alone");
}

#[test]
fn nobody_publishes_an_event_and_nothing_is_raised_that_nobody_wants() {
    let (watching, mut rig) = Watching::rig(&[], true, Limits::default());
    let client = join(&mut rig, Version::V5, "c");
    subscribed(&mut rig, client, "#", Q0);
    send(&mut rig, client, "$events/client/connected", "x", Q1, 1);
    let came = rig.received(client);
    let is_denied = |packet: &Packet| match packet {
        Packet::Puback(ack) => ack.reason == ReasonCode::NotAuthorized,
        _ => false,
    };
    assert!(came.iter().any(is_denied), "{came:?}");
    send(&mut rig, client, "t", "x", Q0, 0);
    assert_eq!(payloads(&mut rig, client), ["x"]);
    assert_eq!(watching.shown(), [""; 0]);
    assert_eq!(rig.counters().events_raised, 0);
}
