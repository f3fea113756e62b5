//! Runs cases against a target, some at a time, each on a thread of its own.

use crate::cases::{self, Case, Needs};
use crate::stream::{Target, Transport};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Cases at a time.
const THREADS: usize = 8;

/// One case, run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its name.
    pub case: &'static str,
    /// tcp, tls, ws or wss.
    pub transport: &'static str,
    /// 3, 4 or 5.
    pub level: u8,
    /// What was wrong; `None` if nothing was.
    pub failure: Option<String>,
    /// Not run: the target lacks what the case needs.
    pub is_skipped: bool,
    /// How long it took.
    pub took: Duration,
}

/// Runs every case whose name contains `filter` at every level and target; `progress` hears of each.
pub fn run(targets: &[Target], filter: &str, progress: impl Fn(&Outcome) + Sync) -> Vec<Outcome> {
    let mut work: Vec<(&Target, Case, u8)> = Vec::new();
    for target in targets {
        for case in cases::all() {
            let is_ws = matches!(target.transport, Transport::Ws(_) | Transport::Wss(..));
            let fits = case.needs != Needs::WebSocket || is_ws;
            if fits && case.name.contains(filter) {
                work.extend(case.levels.iter().map(|level| (target, case, *level)));
            }
        }
    }
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((target, case, level)) =
                    work.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let outcome = run_one(target, *case, *level);
                    progress(&outcome);
                    done.lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .push(outcome);
                }
            });
        }
    });
    let mut outcomes = done
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    outcomes.sort_by_key(|outcome| (outcome.case, outcome.level, outcome.transport));
    outcomes
}

fn run_one(target: &Target, case: Case, level: u8) -> Outcome {
    let start = Instant::now();
    let is_skipped = case.needs == Needs::Scram && target.scram.is_none();
    // An answer nobody thought of may break a case; it must not end the run.
    let verdict = catch_unwind(AssertUnwindSafe(|| {
        if is_skipped {
            return Ok(());
        }
        (case.run)(target, level)
    }));
    let failure = match verdict {
        Ok(verdict) => verdict.err(),
        Err(_) => Some("the case itself broke on an answer".to_owned()),
    };
    Outcome {
        case: case.name,
        transport: target.name(),
        level,
        failure,
        is_skipped,
        took: start.elapsed(),
    }
}
