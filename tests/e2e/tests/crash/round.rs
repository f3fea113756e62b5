//! What is born before a kill and has to be right after it: sessions that run out before, during and after the
//! crash, a will whose delay does, messages that expire, a subscription that was given up, a retained message
//! that was cleared.

use crate::witness::Witness;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use witmq_e2e::PATIENCE;
use witmq_e2e::load::wait_until;
use witmq_e2e::raw::{Incoming, Raw, V5};

/// Session expiry, will delay and message expiry of what is to run out.
const SHORT: u32 = 1;
const LONG: u32 = 3600;
/// The broker counts milliseconds, and reads two clocks.
const ROUNDING: Duration = Duration::from_millis(20);

/// A client that is away for longer than its session lives.
struct Mortal {
    name: String,
    connection: Option<Raw>,
    left: Instant,
}

/// One kill.
pub(crate) struct Round {
    number: u64,
    /// Gone long before the kill, just before it, and with it.
    mortals: [Mortal; 3],
    /// A session that lives on; its will is published after a delay.
    survivor: Mortal,
}

fn connect(broker: SocketAddr, name: &str, expiry: u32, will_delay: u32) -> Raw {
    let topic = format!("will/{name}");
    let how = V5 {
        is_clean: false,
        expiry,
        will: Some((&topic, name, will_delay)),
    };
    let (raw, is_present) = Raw::connect_v5(broker, name, how).unwrap();
    assert!(!is_present, "{name}");
    raw
}

fn expect(raw: &mut Raw, expected: &Incoming) {
    let found = raw.next(PATIENCE).unwrap();
    assert_eq!(found.as_ref(), Some(expected));
}

impl Mortal {
    fn new(name: String, connection: Raw) -> Self {
        Self {
            name,
            connection: Some(connection),
            left: Instant::now(),
        }
    }

    /// Without DISCONNECT: its will counts.
    fn leave(&mut self) {
        self.left = Instant::now();
        self.connection = None;
    }

    /// Its will came once, and not too early [MQTT-3.1.3-9].
    fn check_will(&self, witness: &Witness) {
        let came = witness.wait_for(&self.name);
        let after = came.saturating_duration_since(self.left) + ROUNDING;
        let due = Duration::from_secs(u64::from(SHORT));
        assert!(
            after >= due,
            "the will of {} came after {after:?}",
            self.name
        );
    }
}

impl Round {
    /// Everybody connects and subscribes, one leaves at once; what they are owed is published.
    pub(crate) fn begin(broker: SocketAddr, number: u64) -> Self {
        let mortals = ["early", "late", "with"].map(|when| {
            let name = format!("mortal-{number}-{when}");
            // The end of the session publishes the will, its delay would be longer.
            let mut raw = connect(broker, &name, SHORT, LONG);
            raw.subscribe(&format!("x/{number}"), 1, 1).unwrap();
            expect(&mut raw, &Incoming::Suback(1));
            Mortal::new(name, raw)
        });
        let name = format!("survivor-{number}");
        let mut raw = connect(broker, &name, LONG, SHORT);
        for (id, filter) in (1..).zip(["x", "u"]) {
            raw.subscribe(&format!("{filter}/{number}"), 1, id).unwrap();
            expect(&mut raw, &Incoming::Suback(id));
        }
        raw.unsubscribe(&format!("u/{number}"), 3).unwrap();
        expect(&mut raw, &Incoming::Unsuback(3));
        let mut round = Self {
            number,
            mortals,
            survivor: Mortal::new(name, raw),
        };
        round.mortals[0].leave();
        round
    }

    /// The survivor and one more leave, and messages come for them.
    pub(crate) fn leave(&mut self, broker: SocketAddr) {
        self.mortals[1].leave();
        self.survivor.leave();
        let number = self.number;
        let clean = V5 {
            is_clean: true,
            ..V5::default()
        };
        let (mut raw, _) = Raw::connect_v5(broker, "of-the-round", clean).unwrap();
        let messages: [(&str, &str, bool, u32); 6] = [
            ("x", "expires", false, SHORT),
            ("x", "stays", false, LONG),
            ("u", "unsubscribed", false, LONG),
            ("r/a", "cleared", true, LONG),
            ("r/a", "", true, LONG),
            ("r/b", "kept", true, LONG),
        ];
        for (id, (topic, payload, retain, expiry)) in (1..).zip(messages) {
            let topic = format!("{topic}/{number}");
            let flags = (1, retain, false);
            raw.publish_expiring(&topic, payload.as_bytes(), flags, id, Some(expiry))
                .unwrap();
            expect(&mut raw, &Incoming::Puback(id));
        }
        raw.disconnect().unwrap();
    }

    /// The broker is dead.
    pub(crate) fn killed(&mut self) {
        self.mortals[2].leave();
    }

    /// When everything of this round is due.
    pub(crate) fn due(&self) -> Instant {
        self.mortals[2].left + Duration::from_secs(u64::from(SHORT)) + ROUNDING
    }

    /// The broker is back.
    pub(crate) fn check(&self, broker: SocketAddr, witness: &Witness) {
        for mortal in &self.mortals {
            mortal.check_will(witness);
            let how = V5::default();
            let (_raw, is_present) = Raw::connect_v5(broker, &mortal.name, how).unwrap();
            assert!(!is_present, "the session of {} ran out", mortal.name);
        }
        self.survivor.check_will(witness);
        let due = self.due();
        wait_until("the expiry", || Instant::now() > due);
        self.check_survivor(broker);
    }

    /// It is given what it is owed and nothing else: a last message shows the end.
    fn check_survivor(&self, broker: SocketAddr) {
        let how = V5 {
            expiry: 0,
            ..V5::default()
        };
        let (mut raw, is_present) = Raw::connect_v5(broker, &self.survivor.name, how).unwrap();
        assert!(is_present, "{}", self.survivor.name);
        let number = self.number;
        raw.publish(&format!("u/{number}"), b"again", (1, false, false), 1)
            .unwrap();
        raw.publish(&format!("x/{number}"), b"last", (1, false, false), 2)
            .unwrap();
        let mut found = Vec::new();
        while found.last().is_none_or(|(payload, _)| payload != "last") {
            if let Incoming::Publish {
                payload,
                id,
                expiry,
                ..
            } = raw.next(PATIENCE).unwrap().expect("the last message")
            {
                raw.acknowledge(0x40, id).unwrap();
                found.push((String::from_utf8(payload).unwrap(), expiry));
            }
        }
        let payloads: Vec<_> = found.iter().map(|(payload, _)| &**payload).collect();
        assert_eq!(payloads, ["stays", "last"], "{}", self.survivor.name);
        let left = found[0].1.expect("an expiry");
        assert!((1..LONG).contains(&left), "{left} s left"); // [MQTT-3.3.2-6]
        raw.subscribe("r/+/+", 0, 4).unwrap();
        loop {
            match raw.next(PATIENCE).unwrap().expect("a retained message") {
                Incoming::Publish { topic, payload, .. } => {
                    // In the order of topics, so one that was cleared would come first.
                    assert_eq!((&*topic, &*payload), ("r/b/0", &b"kept"[..]));
                    return;
                }
                Incoming::Suback(_) | Incoming::Puback(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}
