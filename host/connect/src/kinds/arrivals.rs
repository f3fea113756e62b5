//! What comes from another side is brought into the broker: one after the other is taken, so that their order stays,
//! and several wait at a time until they are kept.
//!
//! Owns: [`Arrivals`], how many may wait, what is said while the broker takes nothing, and [`receive`], which begins
//! sessions at the other side anew. Must not: know protocols.

use crate::keys::Keys;
use crate::place::SinkError;
use crate::settings::Retry;
use crate::state::{State, count};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use witmq_broker::ports::{NotTaken, Take};
use witmq_proto::Message;

/// Messages of one source that the broker took and that are not known to be kept, if its file does not say how many.
pub(super) const UNDER_WAY: u16 = 100;
/// What a file may say at most.
const UNDER_WAY_MOST: u16 = 10_000;
/// The broker takes nothing at present: once more after this.
const BUSY: Duration = Duration::from_millis(10);
/// Doubled each time up to this.
const BUSY_LONGEST: Duration = Duration::from_secs(1);
/// Between two notes in the log that it takes nothing.
const NOTE: Duration = Duration::from_secs(60);

/// A message's token once it is kept; `None`: the broker ends before.
type Waiting<T> = Pin<Box<dyn Future<Output = Option<T>>>>;

/// How many messages may be on their way in, as the table `in` of a file says.
pub(super) fn under_way(keys: &mut Keys<'_>) -> Result<u16, SinkError> {
    let most = keys.number("under_way", UNDER_WAY.into(), 1..=UNDER_WAY_MOST.into())?;
    Ok(u16::try_from(most).unwrap_or(UNDER_WAY_MOST))
}

/// Begins a session at the other side anew whenever it ends. Runs until it is dropped.
pub(super) async fn receive(
    name: &str,
    retry: Retry,
    state: &State,
    mut session: impl AsyncFnMut() -> Result<Infallible, String>,
) {
    let mut pause = retry.first;
    loop {
        let Err(text) = session().await;
        // It had been listening: what ended is a new trouble.
        if state.fail_inward(&text) {
            tracing::warn!(sink = name, "a bridge does not receive: {text}");
            pause = retry.first;
        }
        tokio::time::sleep(retry.with_jitter(pause)).await;
        pause = (pause * 2).min(retry.longest);
    }
}

/// The other side is listened to.
pub(super) fn listens(name: &str, state: &State) {
    if state.recover_inward() {
        tracing::info!(sink = name, "a bridge receives again");
    }
}

/// Messages of one source on their way in. `T`: what acknowledges one.
pub(super) struct Arrivals<T> {
    take: Take,
    state: Arc<State>,
    name: String,
    /// So many at a time.
    most: u16,
    /// In the order they came.
    under_way: FuturesOrdered<Waiting<T>>,
    noted: Option<Instant>,
}

impl<T: 'static> Arrivals<T> {
    /// `most`: so many are on their way at a time.
    pub(super) fn new(name: &str, most: u16, take: &Take, state: &Arc<State>) -> Self {
        Self {
            take: take.clone(),
            state: state.clone(),
            name: name.to_owned(),
            most,
            under_way: FuturesOrdered::new(),
            noted: None,
        }
    }

    /// Whether another one may be offered.
    pub(super) fn has_room(&self) -> bool {
        self.under_way.len() < usize::from(self.most)
    }

    fn push(&mut self, waiting: Waiting<T>) {
        self.under_way.push_back(waiting);
        // Nothing more is read until the first of them is done with.
        count(&self.state.crowded, usize::from(!self.has_room()));
    }

    /// Comes back when the broker took it.
    pub(super) async fn offer(&mut self, token: T, message: Message) {
        let mut pause = BUSY;
        let mut is_held = false;
        loop {
            match (self.take)(message.clone()).await {
                Ok(kept) => {
                    if is_held && self.state.recover_inward() {
                        tracing::info!(sink = self.name, "the broker takes messages again");
                    }
                    let state = self.state.clone();
                    self.push(Box::pin(async move {
                        let is_kept = kept.await;
                        count(&state.received, usize::from(is_kept));
                        is_kept.then_some(token)
                    }));
                    return;
                }
                Err(cause) => {
                    if !std::mem::replace(&mut is_held, true) {
                        count(&self.state.held, 1);
                    }
                    self.note(cause);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(BUSY_LONGEST);
                }
            }
        }
    }

    /// Nothing is to be kept of this one; its turn comes as that of the others.
    pub(super) fn pass(&mut self, token: T) {
        self.push(Box::pin(async { Some(token) }));
    }

    /// The next one that is done with, in order. Waits for ever while none is under way.
    ///
    /// # Errors
    /// The broker ends.
    pub(super) async fn next(&mut self) -> Result<T, String> {
        match self.under_way.next().await {
            Some(token) => token.ok_or_else(|| "the broker ends".to_owned()),
            None => std::future::pending().await,
        }
    }

    /// Who waits behind others is not well while nothing can be kept; being busy passes.
    fn note(&mut self, cause: NotTaken) {
        if cause == NotTaken::Busy {
            return;
        }
        let text = format!("{cause}: what comes waits");
        let is_new = self.state.fail_inward(&text);
        if is_new && self.noted.is_none_or(|at| at.elapsed() >= NOTE) {
            self.noted = Some(Instant::now());
            tracing::warn!(sink = self.name, "{text}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Source;
    use crate::record::tests::message;
    use futures_util::FutureExt as _;
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::sync::atomic::Ordering;
    use tokio::sync::oneshot;
    use witmq_broker::ports::Kept;

    /// What the broker says to the next ones, and who says later that they are kept.
    #[derive(Default)]
    struct Script {
        refusals: VecDeque<NotTaken>,
        taken: Vec<(String, oneshot::Sender<()>)>,
    }

    fn arrivals(script: &Arc<Mutex<Script>>) -> (Arrivals<u32>, Arc<State>) {
        let (state, script) = (Arc::new(State::default()), script.clone());
        let take: Take = Arc::new(move |message| {
            let mut script = script.lock().unwrap();
            let said = match script.refusals.pop_front() {
                Some(refusal) => Err(refusal),
                None => {
                    let (keep, kept) = oneshot::channel();
                    let text = String::from_utf8_lossy(&message.payload).into_owned();
                    script.taken.push((text, keep));
                    let kept: Kept = Box::pin(async { kept.await.is_ok() });
                    Ok(kept)
                }
            };
            Box::pin(async { said })
        });
        (Arrivals::new("in", UNDER_WAY, &take, &state), state)
    }

    fn run<R>(future: impl Future<Output = R>) -> R {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(future)
    }

    #[test]
    fn they_are_done_with_in_the_order_in_which_they_came() {
        let script = Arc::default();
        let (mut arrivals, state) = arrivals(&script);
        run(async {
            arrivals.offer(1, message("t", "one")).await;
            arrivals.pass(2);
            arrivals.offer(3, message("t", "three")).await;
            let mut taken = std::mem::take(&mut script.lock().unwrap().taken);
            let texts: Vec<_> = taken.iter().map(|(text, _)| text.clone()).collect();
            assert_eq!(texts, ["one", "three"], "both are under way");
            taken.pop().unwrap().1.send(()).unwrap();
            let early = arrivals.next().now_or_never();
            assert!(early.is_none(), "the first is not kept yet");
            taken.pop().unwrap().1.send(()).unwrap();
            for number in 1..=3 {
                assert_eq!(arrivals.next().await, Ok(number));
            }
        });
        assert_eq!(state.received.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn what_the_broker_does_not_take_is_held_and_offered_again() {
        let script: Arc<Mutex<Script>> = Arc::default();
        let (mut arrivals, state) = arrivals(&script);
        let refusals = [NotTaken::Busy, NotTaken::Unstored, NotTaken::Unstored];
        script.lock().unwrap().refusals = refusals.into();
        run(arrivals.offer(1, message("t", "one")));
        assert_eq!(state.held.load(Ordering::Relaxed), 1);
        let said = state.last_error();
        assert_eq!(
            said.as_deref(),
            Some("the broker's disk takes nothing: what comes waits")
        );
        assert_eq!(state.word(), "healthy", "it takes again");
        assert_eq!(script.lock().unwrap().taken.len(), 1);
        script.lock().unwrap().taken.clear();
        assert!(run(arrivals.next()).is_err(), "the broker ended");
    }

    #[test]
    fn so_many_are_under_way_and_no_more() {
        let script = Arc::default();
        let (mut arrivals, state) = arrivals(&script);
        let crowded = || state.crowded.load(Ordering::Relaxed);
        run(async {
            for number in 1..u32::from(UNDER_WAY) {
                arrivals.offer(number, message("t", "x")).await;
            }
            assert!(arrivals.has_room());
            assert_eq!(crowded(), 0);
            arrivals.offer(0, message("t", "x")).await;
            assert!(!arrivals.has_room());
            assert_eq!(crowded(), 1, "one more would have to wait");
            let first = script.lock().unwrap().taken.remove(0).1;
            first.send(()).unwrap();
            assert_eq!(arrivals.next().await, Ok(1));
            assert!(arrivals.has_room());
            arrivals.pass(0);
            assert_eq!(crowded(), 2, "what is not kept takes a place, too");
        });
    }

    #[test]
    fn a_file_says_how_many_within_bounds() {
        let said = |text: &str| {
            let source = Source {
                file: "in.toml",
                text,
            };
            let mut keys = Keys::parse(source).unwrap();
            let most = under_way(&mut keys).map_err(|error| error.to_string())?;
            keys.finish()
                .map_err(|error| error.to_string())
                .map(|()| most)
        };
        let wrong = "in.toml:1:13: `under_way` is a number from 1 to 10000";
        for (text, wanted) in [
            ("", Ok(UNDER_WAY)),
            ("under_way = 1", Ok(1)),
            ("under_way = 10_000", Ok(UNDER_WAY_MOST)),
            ("under_way = 0", Err(wrong.to_owned())),
            ("under_way = 10_001", Err(wrong.to_owned())),
        ] {
            assert_eq!(said(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_session_that_ends_is_followed_by_another_one_with_pauses_that_grow() {
        let state = Arc::new(State::default());
        let retry = Retry {
            first: Duration::from_millis(1),
            longest: Duration::from_millis(4),
            jitter_percent: 0,
        };
        let mut sessions = 0;
        let runs = receive("in", retry, &state, async || {
            sessions += 1;
            match sessions {
                1..=3 => Err(format!("trouble {sessions}")),
                _ => std::future::pending().await,
            }
        });
        run(async {
            let third = async {
                while state.last_error().as_deref() != Some("trouble 3") {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                () = runs => panic!("it does not end"),
                () = third => {}
            }
        });
        assert_eq!(state.word(), "failing");
        listens("in", &state);
        assert_eq!(state.word(), "healthy");
    }
}
