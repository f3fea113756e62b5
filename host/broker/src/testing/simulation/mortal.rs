//! Clients whose sessions end: each connection brings a will, and both have to end once and in time, also when
//! the node is not there at that moment.

use super::{RECEIVE_MAXIMUM, SUBSCRIBERS, World, subscribe};
use crate::ports::store::Health;
use std::time::{Duration, Instant};
use witmq_proto::packet::{Disconnect, Packet, PublishProperties, QoS, Will};
use witmq_proto::{Bytes, ReasonCode, TopicName};

/// Will delays, seconds.
const DELAYS: [u32; 4] = [0, 5, 20, 90];
/// Session expiries, seconds.
const EXPIRIES: [u32; 2] = [15, 60];
/// What each of them subscribes to: more than a turn has in some runs, so that the end of its session is divided.
const FILTERS: [&str; 4] = ["t/#", "x/0", "x/+", "x/1/#"];

/// What is known of the will of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its connection is there, or nobody knows.
    May,
    /// To be published once.
    Must,
    /// Not to be published, once so many turns are committed.
    Never(u64),
}

#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) payload: String,
    pub(super) verdict: Verdict,
    pub(super) not_before: Instant,
    /// It is published by then, if the node is there.
    due_by: Instant,
    wait: Duration,
    /// Turns that have to be committed for it to outlive a crash.
    need: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Away,
    /// CONNACK is outstanding.
    Joining,
    Joined {
        is_subscribed: bool,
    },
}

#[derive(Debug)]
pub(super) struct Mortal {
    name: usize,
    expiry: u32,
    state: State,
    pub(super) wills: Vec<Sealed>,
    /// The session lives at least so long, if it was made at all …
    lives_until: Option<Instant>,
    /// … and at most so long.
    ends_by: Option<Instant>,
    /// Turns that have to be committed for what CONNACK said to outlive a crash.
    need: u64,
    /// When the CONNECT of this connection was sent.
    joined_at: Option<Instant>,
    /// Messages of each publisher from these on are owed to it.
    pub(super) owed_from: Option<Vec<usize>>,
}

impl Mortal {
    pub(super) fn new(name: usize) -> Self {
        Self {
            name,
            expiry: EXPIRIES[name % EXPIRIES.len()],
            state: State::Away,
            wills: Vec::new(),
            lives_until: None,
            ends_by: None,
            need: 0,
            joined_at: None,
            owed_from: None,
        }
    }

    pub(super) fn client_id(name: usize) -> String {
        format!("mortal-{name}")
    }

    /// Its place among the subscribers.
    pub(super) fn subscriber(&self) -> usize {
        SUBSCRIBERS.len() + self.name
    }

    fn session_expiry(&self) -> Duration {
        Duration::from_secs(self.expiry.into())
    }

    fn is_joined(&self) -> bool {
        matches!(self.state, State::Joined { .. })
    }

    /// Its connection ended at `at`, at the latest `until` for the node.
    fn left(&mut self, at: Instant, until: Instant) {
        let (was_joined, expiry) = (self.is_joined(), self.session_expiry());
        if let (true, Some(will)) = (was_joined, self.wills.last_mut()) {
            will.verdict = Verdict::Must;
            will.not_before = at + will.wait;
            will.due_by = until + will.wait;
        }
        if was_joined {
            self.lives_until = Some(at + expiry);
        }
        self.ends_by = Some(until + expiry).max(self.ends_by);
        self.state = State::Away;
    }
}

impl World {
    pub(super) fn step_mortal(&mut self, name: usize) {
        let place = self.mortals[name].subscriber();
        match self.mortals[name].state {
            State::Away => {
                if self.random.below(3) == 0 {
                    self.join(name);
                }
                return;
            }
            State::Joining => self.hear_mortal(name),
            State::Joined { .. } => match self.random.below(12) {
                0 => return self.leave_mortal(name),
                1 => return self.say_goodbye(name),
                2 => return self.join(name), // takes its own session over
                _ => self.hear_mortal(name),
            },
        }
        self.answer(place);
        if self.subscribers[place].peer != usize::MAX
            && !self.rig.is_open(self.subscribers[place].peer)
        {
            self.leave_mortal(name);
        }
    }

    fn join(&mut self, name: usize) {
        let now = self.rig.now;
        let delay = DELAYS[self.random.index(DELAYS.len())];
        let is_well = self.backend.borrow().health == Health::Well;
        let mortal = &mut self.mortals[name];
        let (expiry, place) = (mortal.expiry, mortal.subscriber());
        let was_here = mortal.state != State::Away;
        if was_here {
            mortal.left(now, now);
            self.listen(place);
        }
        let mortal = &mut self.mortals[name];
        let payload = format!("{name}:{}", mortal.wills.len());
        let will = Will {
            topic: TopicName::new(format!("will/{name}")).unwrap_or_else(|_| panic!("a topic")),
            payload: Bytes::from(payload.clone()),
            qos: QoS::ExactlyOnce,
            retain: false,
            delay,
            properties: PublishProperties::default(),
        };
        let peer = self.connect(&Mortal::client_id(name), expiry, Some(will));
        let need = self.backend.borrow().submitted;
        let mortal = &mut self.mortals[name];
        let last = mortal.wills.len().saturating_sub(1);
        let due = mortal.wills.iter_mut().enumerate();
        for (place, earlier) in due.filter(|(_, will)| will.verdict == Verdict::Must) {
            // The session goes on before the will is due: it is not published [MQTT-3.1.3-9].
            earlier.verdict = match earlier.due_by <= now {
                true if is_well || !was_here => Verdict::Must,
                false if now < earlier.not_before && place == last => Verdict::Never(need),
                _ => Verdict::May,
            };
        }
        let wait = Duration::from_secs(delay.min(expiry).into());
        mortal.wills.push(Sealed {
            payload,
            verdict: Verdict::May,
            not_before: now + wait,
            due_by: now + wait,
            wait,
            need,
        });
        if mortal.lives_until.is_none_or(|at| at <= now) {
            // So is its client's part of the session (section 4.1).
            mortal.owed_from = None;
            self.subscribers[place].forget();
        }
        let mortal = &mut self.mortals[name];
        mortal.state = State::Joining;
        mortal.joined_at = Some(now);
        mortal.need = need;
        self.attach(place, peer);
    }

    fn hear_mortal(&mut self, name: usize) {
        let place = self.mortals[name].subscriber();
        self.listen(place);
        let peer = self.subscribers[place].peer;
        if self.mortals[name].state == State::Joining {
            let Some(is_present) = self.subscribers[place].session_present else {
                return;
            };
            self.joined(name, is_present);
            self.send(peer, &subscribe(&FILTERS, QoS::AtLeastOnce));
        }
        let verdict = self.subscribers[place].verdict.take();
        if verdict == Some(ReasonCode::GrantedQos1) {
            let counts = self.publishers.iter();
            let counts = counts.map(|publisher| publisher.sent.len()).collect();
            let mortal = &mut self.mortals[name];
            mortal.owed_from.get_or_insert(counts);
            mortal.state = State::Joined {
                is_subscribed: true,
            };
        }
    }

    fn joined(&mut self, name: usize, is_present: bool) {
        let mortal = &mut self.mortals[name];
        let place = mortal.subscriber();
        let at = mortal.joined_at.unwrap_or(self.rig.now);
        if mortal.lives_until.is_some_and(|until| at < until) {
            assert!(is_present, "the session of mortal {name} ended too early");
        }
        if mortal.ends_by.is_none_or(|by| at >= by) {
            assert!(!is_present, "the session of mortal {name} did not end");
        }
        mortal.state = State::Joined {
            is_subscribed: false,
        };
        if !is_present {
            mortal.owed_from = None;
            let kept = (
                self.subscribers[place].session_present,
                self.subscribers[place].verdict,
            );
            self.subscribers[place].forget();
            (
                self.subscribers[place].session_present,
                self.subscribers[place].verdict,
            ) = kept;
        }
    }

    /// Its connection breaks.
    pub(super) fn leave_mortal(&mut self, name: usize) {
        let now = self.rig.now;
        let is_well = self.backend.borrow().health == Health::Well;
        let place = self.mortals[name].subscriber();
        self.leave(place);
        if self.mortals[name].state == State::Joining
            && let Some(is_present) = self.subscribers[place].session_present
        {
            self.joined(name, is_present);
        }
        let mortal = &mut self.mortals[name];
        mortal.left(now, now);
        // A store that refuses refuses a will as well.
        if let Some(will) = mortal.wills.last_mut().filter(|_| !is_well) {
            will.verdict = Verdict::May;
        }
    }

    /// DISCONNECT: the will is not to be published [MQTT-3.14.4-3].
    fn say_goodbye(&mut self, name: usize) {
        let place = self.mortals[name].subscriber();
        let peer = self.subscribers[place].peer;
        if !self.rig.is_open(peer) {
            return;
        }
        let now = self.rig.now;
        let goodbye = Disconnect::new(ReasonCode::Success);
        self.rig.send(peer, &Packet::Disconnect(Box::new(goodbye)));
        let is_paused = self.rig.is_paused(peer);
        self.rig.cut(peer);
        let need = self.backend.borrow().submitted;
        let mortal = &mut self.mortals[name];
        mortal.left(now, now);
        if let Some(will) = mortal.wills.last_mut() {
            // Not read while publishers wait for a congested store: the connection broke before.
            will.verdict = if is_paused {
                Verdict::May
            } else {
                Verdict::Never(need)
            };
        }
    }

    /// The node ended at `left`, with so many turns committed; it is back now.
    pub(super) fn mortals_crashed(&mut self, left: Instant, committed: u64) {
        let now = self.rig.now;
        for name in 0..self.mortals.len() {
            let place = self.mortals[name].subscriber();
            if self.mortals[name].state == State::Joining
                && let Some(is_present) = self.subscribers[place].session_present
            {
                self.joined(name, is_present);
            }
            let mortal = &mut self.mortals[name];
            let is_kept = mortal.need <= committed;
            if mortal.state != State::Away {
                mortal.left(left, now);
            }
            mortal.ends_by = mortal.ends_by.map(|_| now + mortal.session_expiry());
            if !is_kept {
                mortal.lives_until = None;
                mortal.owed_from = None;
            }
            for will in &mut mortal.wills {
                will.due_by = will.due_by.max(now + will.wait);
                let need = match will.verdict {
                    Verdict::Never(need) => need,
                    Verdict::Must | Verdict::May => will.need,
                };
                if need > committed {
                    will.verdict = Verdict::May;
                }
            }
        }
    }

    /// Everybody is here and has everything; whether nothing happened.
    pub(super) fn settle_mortals(&mut self) -> bool {
        let mut is_idle = true;
        for name in 0..self.mortals.len() {
            let place = self.mortals[name].subscriber();
            match self.mortals[name].state {
                State::Away => {
                    self.join(name);
                    is_idle = false;
                }
                State::Joining => {
                    self.hear_mortal(name);
                    is_idle = false;
                }
                State::Joined { .. } => self.hear_mortal(name),
            }
            while self.answer(place) {
                is_idle = false;
            }
            if !self.rig.is_open(self.subscribers[place].peer) {
                self.leave_mortal(name);
            }
        }
        is_idle
    }

    /// All of them leave; time passes until every session and will is over.
    pub(super) fn end_mortals(&mut self) {
        for name in 0..self.mortals.len() {
            self.leave_mortal(name);
        }
        for _ in 0..10 {
            self.rig.jump(Duration::from_secs(10));
            self.settle_witness();
        }
        for name in 0..self.mortals.len() {
            let client_id = Mortal::client_id(name);
            let peer = self.connect(&client_id, 0, None);
            self.commit_all();
            let place = self.mortals[name].subscriber();
            self.attach(place, peer);
            self.listen(place);
            let is_present = self.subscribers[place].session_present;
            assert_eq!(is_present, Some(false), "{client_id} lives for ever");
        }
    }

    fn settle_witness(&mut self) {
        for _ in 0..6 + usize::from(RECEIVE_MAXIMUM) {
            self.commit_all();
            for route in self.rig.mail_routes() {
                self.rig.take_mail(route);
            }
            self.hear_subscriber(super::WITNESS);
            while self.answer(super::WITNESS) {}
        }
    }
}
