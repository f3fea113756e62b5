//! A `transform` that waits: asked beside the shards, in order, in time, and never on the thread of a shard.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::service::{Service, ok};
use common::{
    Around, NOBODY, config, guest, http_guest, install, message, reaching, stamp, start_with,
    wait_until,
};
use std::sync::Arc;
use std::time::Duration;
use witmq_broker::ports::control::PluginInfo;
use witmq_broker::ports::{PluginControl, StepAnswer, StepFailure, StepOutcome, Transform};
use witmq_runtime::{Runtime, RuntimeConfig, ShardPlugins};

struct Bench {
    runtime: Runtime,
    hooks: ShardPlugins,
    around: Around,
}

impl Bench {
    fn start(config: RuntimeConfig) -> Self {
        let mut config = config;
        config.grants.insert("h".to_owned(), reaching("127.0.0.1"));
        let (runtime, around) = start_with(config);
        install(&runtime, "h", http_guest(), None).unwrap();
        let hooks = runtime.shard_hooks(0);
        Self {
            runtime,
            hooks,
            around,
        }
    }

    fn ask(&mut self, order: &str) -> Result<StepAnswer, StepFailure> {
        let message = Arc::new(message(order));
        let at_once = self.hooks.transform("h", NOBODY, &message);
        let expected = Err(StepFailure::Waits("h".to_owned()));
        assert_eq!(at_once, expected, "it must not be called on a shard");
        self.hooks.ask("h", NOBODY, &message)
    }

    fn transformed(&mut self, order: &str) -> Result<StepOutcome, StepFailure> {
        let answer = self.ask(order).unwrap();
        come(answer)
    }

    fn info(&self) -> PluginInfo {
        let mut all = self.runtime.list().into_iter();
        all.find(|plugin| plugin.name == "h").unwrap()
    }
}

fn come(answer: StepAnswer) -> Result<StepOutcome, StepFailure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(answer)
}

fn payload(outcome: Result<StepOutcome, StepFailure>) -> String {
    let Ok(StepOutcome::Modify(patch)) = outcome else {
        panic!("{outcome:?}")
    };
    String::from_utf8_lossy(&patch.payload.unwrap()).into_owned()
}

fn get(at: std::net::SocketAddr, path: &str) -> String {
    format!("{{\"url\":\"http://{at}/{path}\"}}")
}

#[test]
fn messages_of_a_publisher_are_answered_in_the_order_in_which_they_were_asked_about() {
    let service = Service::start(|head| ok(head.lines().next().unwrap()));
    let mut bench = Bench::start(config());
    let asked: Vec<_> = (0..20)
        .map(|n| bench.ask(&get(service.at, &n.to_string())).unwrap())
        .collect();
    for (n, answer) in asked.into_iter().enumerate() {
        let said = payload(come(answer));
        assert_eq!(said, format!("200 GET /{n} HTTP/1.1"));
    }
    let info = bench.info();
    assert!(info.is_effectful && info.shard_share == 0.0);
    assert_eq!(info.calls, 20);
}

#[test]
fn what_is_not_answered_in_time_fails_and_shards_do_not_wait() {
    let (_silent, at) = Service::silent();
    let timeout = Duration::from_secs(2);
    let mut bench = Bench::start(RuntimeConfig {
        timeout,
        ..config()
    });
    install(&bench.runtime, "g", guest(), stamp("x")).unwrap();
    let answer = bench.ask(&get(at, "")).unwrap();
    let behind = bench.ask(&get(at, "")).unwrap();
    let by_the_way = bench.hooks.transform("g", NOBODY, &message("x"));
    assert!(by_the_way.is_ok(), "{by_the_way:?}");
    for answer in [answer, behind] {
        let late = Err(StepFailure::Deadline("h".to_owned()));
        assert_eq!(come(answer), late);
    }
    // The time of the second counts from when it was asked about: it failed without a call of its own being given up.
    let failures = bench.info().failures.into_iter();
    let given_up: u64 = failures.map(|(_, count)| count).sum();
    assert!(given_up <= 1, "it waited for the one before it");
    assert!(bench.around.on("$dead-letter/h").is_empty());
    let service = Service::start(|_| ok("fine"));
    wait_until("an answer after it", || {
        bench.transformed(&get(service.at, "")).is_ok()
    });
}

#[test]
fn a_full_queue_is_a_failure_at_once() {
    let (_silent, at) = Service::silent();
    let mut bench = Bench::start(RuntimeConfig {
        lane_queue: 2,
        timeout: Duration::from_secs(20),
        ..config()
    });
    let mut asked = Vec::new();
    let full = loop {
        match bench.ask(&get(at, "")) {
            Ok(answer) => asked.push(answer),
            Err(failure) => break failure,
        }
        assert!(asked.len() < 10, "the queue has no bound");
    };
    assert_eq!(full, StepFailure::Full("h".to_owned()));
    assert!(asked.len() >= 2, "the bound came too early");
    assert_eq!(bench.info().limited, [("plugin_lane_queue", 1)]);
}

#[test]
fn a_message_that_ends_it_twice_is_a_dead_letter_and_is_not_asked_about_again() {
    let service = Service::start(|_| ok("fine"));
    let mut bench = Bench::start(config());
    let nowhere = "{\"url\":\"nowhere\"}";
    for _ in 0..2 {
        let failure = bench.transformed(nowhere).unwrap_err();
        assert!(matches!(failure, StepFailure::Trap { .. }), "{failure:?}");
        assert!(bench.transformed(&get(service.at, "")).is_ok());
    }
    let poison = Err(StepFailure::Poison("h".to_owned()));
    assert_eq!(bench.transformed(nowhere), poison);
    assert_eq!(bench.around.on("$dead-letter/h"), [nowhere]);
}

#[test]
fn a_swap_lets_what_was_asked_before_it_end_and_after_removal_it_is_unknown() {
    let service = Service::start(|_| ok("fine"));
    let mut bench = Bench::start(config());
    let before: Vec<_> = (0..10)
        .map(|_| bench.ask(&get(service.at, "")).unwrap())
        .collect();
    install(&bench.runtime, "h", http_guest(), None).unwrap();
    for answer in before {
        assert_eq!(payload(come(answer)), "200 fine");
    }
    assert_eq!(payload(bench.transformed(&get(service.at, ""))), "200 fine");
    bench.runtime.remove("h").unwrap();
    let gone = bench.hooks.transform("h", NOBODY, &message("x"));
    assert_eq!(gone, Err(StepFailure::Unknown("h".to_owned())));
    let gone = bench.hooks.ask("h", NOBODY, &Arc::new(message("x")));
    assert!(matches!(gone, Err(StepFailure::Unknown(_))));
}
