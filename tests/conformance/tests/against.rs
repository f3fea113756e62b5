//! The release binary against every case, over every transport.
#![allow(clippy::expect_used, reason = "tests")]

use std::time::Duration;
use witmq_conformance::{manifest, own, report, run};

#[test]
fn every_statement_holds_over_tcp_tls_and_websocket() {
    let broker = own::broker();
    let targets = own::targets(&broker, Duration::from_secs(10));
    let outcomes = run::run(&targets, "", |_| {});
    let statements = manifest::read().expect("a manifest");
    let text = report::text(&statements, &outcomes);
    println!("{text}");
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.failure.is_none() && !outcome.is_skipped),
        "{text}"
    );
}
