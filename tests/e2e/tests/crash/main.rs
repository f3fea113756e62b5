//! kill -9 at random moments under load: what was acknowledged is delivered, QoS 2 once, in order, under the
//! same packet identifiers; retained messages are the last acknowledged; wills, sessions and messages end when
//! they should, whether the broker was there at that moment or not.
//!
//! `cargo xtask crash --kills 120` for the long form; `--seed` repeats the choices of a run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod round;
mod witness;

use round::Round;
use std::time::Instant;
use witmq_e2e::Broker;
use witmq_e2e::load::{Load, Random, setting, wait_until};
use witness::Witness;

/// Kills in the gate, with the default durability and with the weaker one, which survives the end of the
/// process as well.
const KILLS: [u64; 2] = [8, 3];

const LIMITS: &str = "shards = 3\n[limits]\nqueue_messages = 1000000\nqueue_bytes = 1000000000\n";

fn kill_again_and_again(durability: &str, kills: u64) {
    let kills = setting("WITMQ_TEST_CRASHES").unwrap_or(kills);
    let mut random = Random::seeded();
    let config = format!("{LIMITS}[storage]\ndurability = \"{durability}\"\n");
    let mut broker = Broker::serve_open(&config);
    let address = broker.address("tcp");
    let witness = Witness::start(address);
    let load = Load::start(address);
    for kill in 0..kills {
        let mut round = Round::begin(address, kill);
        load.wait_for_acknowledgements(50 + random.below(1500));
        round.leave(address);
        load.wait_for_acknowledgements(random.below(100));
        broker.kill_9();
        round.killed();
        // In some rounds everything falls due while the broker is down, in the others when it is back.
        if random.below(2) == 0 {
            let due = round.due();
            wait_until("the moment", || Instant::now() > due);
        }
        broker.start_again();
        round.check(address, &witness);
    }
    let report = load.finish();
    let wills = witness.finish();
    println!("durability {durability}: {kills} kills; {report}; {wills} wills published once");
    assert_eq!(broker.stop(), Some(0));
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    kill_again_and_again("fsync", KILLS[0]);
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9_without_fsync_either() {
    kill_again_and_again("os", KILLS[1]);
}
