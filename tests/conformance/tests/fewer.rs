//! The release binary with fewer abilities: what the statements about such servers ask.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::time::Duration;
use witmq_conformance::stream::{Target, Transport};
use witmq_conformance::{report, run};
use witmq_e2e::Broker;

#[test]
fn statements_about_servers_of_fewer_abilities_hold() {
    for maximum_qos in 0..2 {
        let broker = Broker::serve_open(&format!(
            "[mqtt]\nmaximum_qos = {maximum_qos}\nretain_available = false\nwildcard_subscriptions = false\n\
             subscription_identifiers = false\nshared_subscriptions = false\n"
        ));
        let targets = [Target {
            address: broker.address("tcp"),
            transport: Transport::Tcp,
            patience: Duration::from_secs(10),
            login: None,
            scram: None,
        }];
        let outcomes = run::run(&targets, "fewer_", |_| {});
        assert_eq!(outcomes.len(), 5);
        assert!(
            outcomes.iter().all(|outcome| outcome.failure.is_none()),
            "{}",
            report::text(&[], &outcomes)
        );
    }
}
