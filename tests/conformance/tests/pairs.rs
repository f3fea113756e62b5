//! Publishers and subscribers of every version over every transport, each with each.
#![allow(clippy::panic, reason = "tests")]

use std::time::Duration;
use witmq_conformance::own;
use witmq_conformance::pairs::{End, meet};

const LEVELS: [u8; 3] = [3, 4, 5];

#[test]
fn every_version_and_transport_meets_every_other() {
    let broker = own::broker();
    let targets = own::targets(&broker, Duration::from_secs(10));
    let mut count = 0;
    for publisher in &targets {
        for subscriber in &targets {
            for (from, to) in LEVELS.iter().flat_map(|from| LEVELS.map(|to| (*from, to))) {
                let publisher = End {
                    target: publisher,
                    level: from,
                };
                let subscriber = End {
                    target: subscriber,
                    level: to,
                };
                if let Err(error) = meet(publisher, subscriber) {
                    panic!(
                        "level {from} over {} to level {to} over {}: {error}",
                        publisher.target.name(),
                        subscriber.target.name()
                    );
                }
                count += 1;
            }
        }
    }
    assert_eq!(count, 4 * 4 * 3 * 3);
}
