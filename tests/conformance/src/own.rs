//! The broker of this repository as a target: over every transport, with a user of SCRAM-SHA-256.

use crate::stream::{Target, Transport};
use std::time::Duration;
use witmq_e2e::Broker;

/// Name and password of [`broker`]'s user.
#[must_use]
pub fn scram_user() -> (String, String) {
    ("scram".to_owned(), "pencil".to_owned())
}

/// Starts it: who has no name may come in too.
#[must_use]
pub fn broker() -> Broker {
    let broker = Broker::dev(&["--no-demo"]);
    let (name, password) = scram_user();
    drop(broker.ok(&["user", "add", &name, "--password-stdin"], &password));
    broker
}

/// Everywhere it listens.
#[must_use]
pub fn targets(broker: &Broker, patience: Duration) -> Vec<Target> {
    let path = || "/mqtt".to_owned();
    let all = [
        ("tcp", Transport::Tcp),
        ("tls", Transport::Tls(broker.ca())),
        ("ws", Transport::Ws(path())),
        ("wss", Transport::Wss(path(), broker.ca())),
    ];
    let target = |(listener, transport)| Target {
        address: broker.address(listener),
        transport,
        patience,
        login: None,
        scram: Some(scram_user()),
    };
    all.into_iter().map(target).collect()
}
