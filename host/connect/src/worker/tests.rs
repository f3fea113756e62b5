//! A worker with a service that does as the test says.

use super::*;
use crate::hooks::Intake;
use crate::outlet::Later;
use crate::queue::Bounds;
use crate::record::encode;
use crate::record::tests::{message, publisher};
use bytes::BytesMut;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

const PATIENCE: Duration = Duration::from_secs(20);

type Says = Box<dyn FnMut(&[String]) -> Result<Vec<Answer>, Trouble> + Send>;

/// Tells the test what it was given, and answers as the test says.
struct Told {
    says: Says,
    given: Sender<Vec<String>>,
}

impl Outlet for Told {
    fn check(&mut self) -> Later<'_, Result<String, String>> {
        Box::pin(async { Ok(String::new()) })
    }

    fn send<'a>(&'a mut self, batch: &'a [Record]) -> Later<'a, Result<Vec<Answer>, Trouble>> {
        Box::pin(async move {
            let text = |record: &Record| String::from_utf8_lossy(&record.payload).into_owned();
            let batch: Vec<String> = batch.iter().map(text).collect();
            let said = (self.says)(&batch);
            self.given.send(batch).unwrap();
            said
        })
    }
}

struct Bench {
    intake: Intake,
    running: Option<Running>,
    given: Receiver<Vec<String>>,
    letters: Receiver<Message>,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new(
        keys: &str,
        first: &[&str],
        says: impl FnMut(&[String]) -> Result<Vec<Answer>, Trouble> + Send + 'static,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("kind = \"file\"\nretry = {{ first_ms = 1, longest_ms = 2 }}\n{keys}");
        let settings = Settings::parse("s.toml", &text).unwrap();
        let (queue, _) = Queue::open(
            folder.path(),
            Bounds {
                messages: 100,
                bytes: 1 << 20,
            },
        )
        .unwrap();
        let intake = Intake {
            queue: Arc::new(queue),
            state: Arc::default(),
            takes: true.into(),
        };
        push(&intake, first);
        let (given, was_given) = channel();
        let (letter, letters) = channel();
        let letter = Mutex::new(letter);
        let is_busy = std::sync::atomic::AtomicBool::new(true);
        let work = Work {
            settings,
            queue: intake.queue.clone(),
            state: intake.state.clone(),
            publish: Arc::new(move |message| {
                // Busy every other time.
                let is_taken = !is_busy.fetch_xor(true, Ordering::SeqCst);
                if is_taken {
                    letter.lock().unwrap().send(message).unwrap();
                }
                is_taken
            }),
        };
        let says: Says = Box::new(says);
        let outlet = move || Box::new(Told { says, given }) as Box<dyn Outlet>;
        Self {
            running: Some(Running::start(work, outlet, || None).unwrap()),
            intake,
            given: was_given,
            letters,
            _folder: folder,
        }
    }

    fn given(&self) -> Vec<String> {
        self.given.recv_timeout(PATIENCE).expect("a batch in time")
    }

    /// Ends it; what it still gave.
    fn end(mut self) -> (Intake, Vec<Vec<String>>) {
        let running = self.running.take().unwrap();
        running.stop();
        assert!(running.wait());
        let rest = self.given.try_iter().collect();
        (self.intake, rest)
    }

    fn wait_until_empty(&self) {
        let end = Instant::now() + PATIENCE;
        while self.intake.queue.messages() > 0 {
            assert!(
                Instant::now() < end,
                "{} are left",
                self.intake.queue.messages()
            );
            std::thread::yield_now();
        }
    }
}

fn push(intake: &Intake, payloads: &[&str]) {
    for payload in payloads {
        let mut out = BytesMut::new();
        assert!(encode(publisher(), &message("t", payload), &mut out));
        intake.queue.push(&out).unwrap();
    }
}

fn done(batch: &[String]) -> Result<Vec<Answer>, Trouble> {
    Ok(vec![Answer::Done; batch.len()])
}

#[test]
fn messages_go_in_order_and_in_batches() {
    let bench = Bench::new("batch = { messages = 2 }", &["1", "2", "3"], done);
    assert_eq!(
        (bench.given(), bench.given()),
        (vec!["1".into(), "2".into()], vec!["3".to_owned()])
    );
    push(&bench.intake, &["4"]);
    assert_eq!(bench.given(), ["4"]);
    bench.wait_until_empty();
    let (intake, rest) = bench.end();
    assert_eq!(
        (rest.len(), intake.state.delivered.load(Ordering::SeqCst)),
        (0, 4)
    );
}

#[test]
fn what_is_not_taken_comes_again_before_what_came_later() {
    let mut calls = 0;
    let keys = "give_up_s = 0\nbatch = { messages = 2 }";
    let bench = Bench::new(keys, &["1", "2", "3"], move |batch| {
        calls += 1;
        match calls {
            1 | 2 => Err(Trouble::away("not now")),
            _ => done(batch),
        }
    });
    let twice = ["1".to_owned(), "2".to_owned()];
    assert_eq!(
        (bench.given(), bench.given(), bench.given()),
        (twice.to_vec(), twice.to_vec(), twice.to_vec())
    );
    assert_eq!(bench.given(), ["3"]);
    bench.wait_until_empty();
    let (intake, _) = bench.end();
    assert_eq!(intake.state.retried.load(Ordering::SeqCst), 4);
    assert_eq!(
        (intake.state.word(), intake.state.last_error().as_deref()),
        ("healthy", Some("not now"))
    );
}

#[test]
fn the_one_that_is_refused_is_a_dead_letter_and_the_others_arrive() {
    let bench = Bench::new("", &["1", "bad", "3"], |batch| {
        match batch.iter().any(|one| one == "bad") {
            true => Err(Trouble::Refused("it is bad".to_owned())),
            false => done(batch),
        }
    });
    let letter = bench.letters.recv_timeout(PATIENCE).unwrap();
    assert_eq!(
        (&*letter.topic, &letter.payload[..]),
        ("$dead-letter/sink/s", &b"bad"[..])
    );
    let user = &letter.properties.user;
    assert!(user.contains(&("topic".into(), "t".into())));
    assert!(user.contains(&("reason".into(), "it is bad".into())));
    bench.wait_until_empty();
    let (intake, _) = bench.end();
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::SeqCst);
    assert_eq!(
        (count(&intake.state.delivered), count(&intake.state.dead)),
        (2, 1)
    );
}

#[test]
fn what_is_too_old_is_given_up_after_it_was_tried() {
    // The message was received in 1970.
    let bench = Bench::new("give_up_s = 1", &["1"], |_| Err(Trouble::away("not now")));
    assert_eq!(bench.given(), ["1"]);
    let letter = bench.letters.recv_timeout(PATIENCE).unwrap();
    let (_, reason) = letter.properties.user.last().unwrap();
    assert_eq!(&**reason, "not taken within 1s: not now");
    bench.wait_until_empty();
    drop(bench.end());
    let bench = Bench::new("give_up_s = 0", &["1"], |_| Err(Trouble::away("not now")));
    for _ in 0..3 {
        assert_eq!(bench.given(), ["1"]);
    }
    assert!(bench.letters.try_recv().is_err());
}

#[test]
fn nothing_is_sent_while_it_is_paused_and_everything_afterwards() {
    let bench = Bench::new("", &[], done);
    bench.intake.state.is_paused.store(true, Ordering::SeqCst);
    bench.running.as_ref().unwrap().pause(true);
    push(&bench.intake, &["1"]);
    push(&bench.intake, &["2"]);
    assert_eq!(
        (bench.intake.state.word(), bench.intake.queue.messages()),
        ("paused", 2)
    );
    bench.running.as_ref().unwrap().pause(false);
    // Together: the first one was not sent before.
    assert_eq!(bench.given(), ["1", "2"]);
    bench.wait_until_empty();
}

#[test]
fn a_batch_waits_for_more_and_not_for_ever() {
    let bench = Bench::new("batch = { messages = 2, wait_ms = 60000 }", &["1"], done);
    push(&bench.intake, &["2"]);
    assert_eq!(bench.given(), ["1", "2"]);
    drop(bench.end());
    let bench = Bench::new("batch = { messages = 2, wait_ms = 20 }", &["1"], done);
    assert_eq!(bench.given(), ["1"]);
}
