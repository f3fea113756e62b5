//! The words of the command line.
//!
//! Owns: names and defaults, where a default depends on the scenario too.

use clap::{Parser, ValueEnum};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;
use witmq_bench::wire::STAMP;

/// What is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Publishers with a topic each, few subscribers with a wildcard; each message is delivered once
    Fanin,
    /// One publisher, many subscribers of its topic
    Fanout,
    /// As many publishers as subscribers, a topic for each two
    Pair,
    /// Connections, one subscription each if asked for, then silence
    Conns,
    /// Many subscriptions of four shapes, then messages that match one each
    Subs,
    /// Many subscriptions, a message at a fixed rate, and clients that subscribe and unsubscribe all the time
    Churn,
    /// Retained messages, then new clients that subscribe to all
    Retained,
    /// A session that goes away, messages that queue up, and its return
    Session,
}

/// Loads an MQTT 3.1.1 broker on loopback and checks what it delivers.
#[derive(Debug, Parser)]
#[command(name = "mqload")]
pub(crate) struct Options {
    pub(crate) scenario: Scenario,
    /// The broker
    #[arg(long, default_value_t = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1883))]
    pub(crate) addr: SocketAddrV4,
    /// Its process, whose CPU time and memory are read
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// Speak MQTT over WebSocket at this path
    #[arg(long, value_name = "PATH")]
    pub(crate) ws: Option<String>,
    /// The other side is a floor, not a broker
    #[arg(long)]
    pub(crate) floor: bool,
    /// User name
    #[arg(long, requires = "password")]
    pub(crate) user: Option<String>,
    /// Password
    #[arg(long)]
    pub(crate) password: Option<String>,
    /// Source addresses, 127.0.0.2 and on, so that ports do not run short; 0: the system's choice
    #[arg(long, default_value_t = 200)]
    pub(crate) sources: u32,
    /// Bytes of a payload
    #[arg(long, default_value_t = 16)]
    payload: usize,
    /// Of publishers and subscribers; `retained`: of the subscriber
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(crate) qos: u8,
    /// Publishers
    #[arg(long)]
    pubs: Option<usize>,
    /// Subscribers
    #[arg(long)]
    subs: Option<usize>,
    /// `fanout`: so many subscribers more, who never read; what they are not sent is not counted as lost
    #[arg(long, default_value_t = 0)]
    pub(crate) slow: usize,
    /// `fanin`, `fanout`, `pair`: subscribers whose sessions outlive their connections (clean session 0)
    #[arg(long)]
    pub(crate) persistent: bool,
    /// Unanswered messages of each publisher; without it 64 at QoS 0, 16 beyond
    #[arg(long)]
    window: Option<u64>,
    /// Send when so many of the window are free; without it half of it
    #[arg(long)]
    batch: Option<u64>,
    /// Open loop: messages a second, all publishers together, each stamped with when it was due
    #[arg(long)]
    pub(crate) rate: Option<u64>,
    /// Seconds before anything is measured
    #[arg(long, default_value_t = 1.0)]
    pub(crate) warm: f64,
    /// Seconds that are measured
    #[arg(long, default_value_t = 4.0)]
    pub(crate) secs: f64,
    /// Connections, subscriptions, retained or queued messages
    #[arg(long)]
    n: Option<u64>,
    /// `conns`: a subscription for each
    #[arg(long)]
    pub(crate) subscribe: bool,
    /// `conns`: seconds of silence
    #[arg(long, default_value_t = 1.0)]
    pub(crate) hold: f64,
    /// `subs`, `churn`: connections that subscribe
    #[arg(long, default_value_t = 100)]
    pub(crate) conns: usize,
    /// `churn`: connections that subscribe and unsubscribe; 0: nobody
    #[arg(long, default_value_t = 50)]
    pub(crate) storm: usize,
    /// `retained`: how often all are retrieved
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: u64,
    /// Handshakes under way at once
    #[arg(long, default_value_t = 64)]
    pub(crate) handshakes: u64,
    /// Give up after so many seconds
    #[arg(long, default_value_t = 120.0)]
    pub(crate) limit: f64,
    /// Written into the result as it is
    #[arg(long, default_value = "")]
    pub(crate) label: String,
    /// The same
    #[arg(long, default_value = "")]
    pub(crate) case: String,
}

impl Options {
    /// Bytes of a payload, its stamp at least.
    pub(crate) fn payload(&self) -> usize {
        self.payload.max(STAMP)
    }

    /// Publishers.
    pub(crate) fn publishers(&self) -> usize {
        let default = match self.scenario {
            Scenario::Fanin | Scenario::Pair => 50,
            Scenario::Subs => 8,
            _ => 1,
        };
        self.pubs.unwrap_or(default).max(1)
    }

    /// Subscribers.
    pub(crate) fn subscribers(&self) -> usize {
        match self.scenario {
            Scenario::Pair => self.publishers(),
            Scenario::Fanout => self.subs.unwrap_or(100).max(1),
            _ => self.subs.unwrap_or(1).max(1),
        }
    }

    /// Unanswered messages of a publisher.
    pub(crate) fn window(&self) -> u64 {
        let default = match (self.scenario, self.qos) {
            (Scenario::Retained | Scenario::Session, _) | (_, 1..) => 16,
            _ => 64,
        };
        self.window.unwrap_or(default).max(1)
    }

    /// How many of the window have to be free before it is filled.
    pub(crate) fn batch(&self) -> u64 {
        self.batch
            .unwrap_or(self.window() / 2)
            .clamp(1, self.window())
    }

    /// Connections, subscriptions, retained or queued messages.
    pub(crate) fn count(&self) -> u64 {
        let default = if self.scenario == Scenario::Conns {
            10_000
        } else {
            100_000
        };
        self.n.unwrap_or(default).max(1)
    }

    /// User and password.
    pub(crate) fn login(&self) -> Option<(String, String)> {
        Some((self.user.clone()?, self.password.clone()?))
    }
}

/// Nanoseconds of a number of seconds; none of what is no time.
pub(crate) fn nanoseconds(seconds: f64) -> u64 {
    let duration = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Options, nanoseconds};
    use clap::{CommandFactory as _, Parser as _};

    #[test]
    fn the_options_are_well_formed() {
        Options::command().debug_assert();
    }

    #[test]
    fn defaults_follow_the_scenario() {
        let of = |words: &[&str]| Options::try_parse_from([&["mqload"], words].concat()).unwrap();
        let fanout = of(&["fanout"]);
        assert_eq!(
            (fanout.publishers(), fanout.subscribers(), fanout.window()),
            (1, 100, 64)
        );
        let pair = of(&["pair", "--pubs", "7", "--qos", "1"]);
        assert_eq!(
            (pair.subscribers(), pair.window(), pair.batch()),
            (7, 16, 8)
        );
        assert_eq!(of(&["pair", "--window", "1"]).batch(), 1);
        assert_eq!(of(&["conns"]).count(), 10_000);
        assert_eq!(of(&["session", "--payload", "1"]).payload(), 16);
    }

    #[test]
    fn qos_3_is_refused() {
        assert!(Options::try_parse_from(["mqload", "pair", "--qos", "3"]).is_err());
    }

    #[test]
    fn seconds_become_nanoseconds() {
        assert_eq!(nanoseconds(1.5), 1_500_000_000);
        assert_eq!(nanoseconds(-1.0), 0);
    }
}
