//! Asks the bound authenticators in their order, never on a shard: pure components on threads of their own, because a
//! password hash takes tens of milliseconds; those that wait on their lanes.

use crate::directory::Directory;
use crate::jobs::{Jobs, Refused};
use crate::lane::{Job as LaneJob, NotTaken};
use crate::limited::Bound;
use crate::seat::Seat;
use bytes::{BufMut, Bytes, BytesMut};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::oneshot;
use witmq_broker::ports::hooks::AuthRequest;
use witmq_broker::ports::{AuthStep, Authenticate, StepFailure};
use witmq_proto::ReasonCode;

type Said = Result<Option<AuthStep>, StepFailure>;

struct Job {
    plugin: Arc<str>,
    request: AuthRequest,
    answer: oneshot::Sender<Said>,
}

/// Asks the bound authenticators. Cheap to clone.
#[derive(Clone)]
pub struct Authenticator {
    jobs: Arc<Jobs<Job>>,
    plugins: Arc<[Arc<str>]>,
    directory: Arc<Directory>,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator").finish_non_exhaustive()
    }
}

impl Authenticator {
    /// One thread per seat; they end when the last clone is gone.
    pub(crate) fn start(
        seats: Vec<Seat>,
        plugins: &[String],
        queue: usize,
        directory: Arc<Directory>,
    ) -> std::io::Result<Self> {
        let jobs = Arc::new(Jobs::new(queue));
        for (number, seat) in seats.into_iter().enumerate() {
            let worker = jobs.worker();
            std::thread::Builder::new()
                .name(format!("authenticate-{number}"))
                .spawn(move || work(seat, || worker.next()))?;
        }
        Ok(Self {
            jobs,
            plugins: plugins.iter().map(|name| name.as_str().into()).collect(),
            directory,
        })
    }

    /// The first that knows the client decides; its number goes before the state of an exchange.
    async fn ask(&self, request: AuthRequest) -> AuthStep {
        let (first, only) = match &request {
            AuthRequest::Begin(_) => (0, None),
            AuthRequest::Proceed { state, .. } => {
                let number = state
                    .first()
                    .map_or(usize::MAX, |first| usize::from(*first));
                (number, Some(number))
            }
        };
        for (number, plugin) in self.plugins.iter().enumerate().skip(first) {
            match self.ask_one(plugin, stripped(&request)).await {
                Ok(Some(step)) => return marked(step, number),
                Ok(None) if only.is_none() => {}
                Ok(None) => break,
                Err(step) => return step,
            }
        }
        let text = match self.plugins.len() {
            1 => "the authenticator does not know this client",
            _ => "no authenticator knows this client",
        };
        denied(ReasonCode::NotAuthorized, text)
    }

    /// `Err`: what the client is told where there is no answer.
    async fn ask_one(
        &self,
        plugin: &Arc<str>,
        request: AuthRequest,
    ) -> Result<Option<AuthStep>, AuthStep> {
        let (answer, answered) = oneshot::channel();
        let busy = || {
            if let Some(shared) = self.directory.find(plugin) {
                shared.limited.hit(Bound::AuthQueue);
            }
            let text = "too many clients are connecting; try again later";
            denied(ReasonCode::ServerBusy, text)
        };
        let ended = || denied(ReasonCode::ServerUnavailable, "the authenticator ended");
        let lane = (self.directory.find(plugin))
            .and_then(|shared| shared.lane())
            .filter(|lane| lane.authenticates());
        match lane {
            Some(lane) => {
                let key = match &request {
                    AuthRequest::Begin(attempt) | AuthRequest::Proceed { attempt, .. } => {
                        attempt.client_id.clone()
                    }
                };
                let request = Box::new(request);
                let job = LaneJob::Authenticate { request, answer };
                lane.send(&key, job).map_err(|error| match error {
                    NotTaken::Full => busy(),
                    NotTaken::Ended => ended(),
                })?;
            }
            None => {
                let plugin = plugin.clone();
                let job = Job {
                    plugin,
                    request,
                    answer,
                };
                let is_gone = |job: &Job| job.answer.is_closed();
                self.jobs.push(job, is_gone).map_err(|error| match error {
                    Refused::Full => busy(),
                    Refused::NoWorker => ended(),
                })?;
            }
        }
        let said = answered.await.map_err(|_| ended())?;
        said.map_err(|failure| failed(plugin, &failure))
    }
}

/// A failing hook denies, always. The client is not told why; the operator's log is.
fn failed(plugin: &str, failure: &StepFailure) -> AuthStep {
    if matches!(failure, StepFailure::Unknown(_)) {
        let text = format!("no authenticator `{plugin}` is installed");
        return denied(ReasonCode::NotAuthorized, &text);
    }
    tracing::warn!(plugin, %failure, "authentication failed, the client is denied");
    denied(ReasonCode::ServerUnavailable, "the authenticator failed")
}

/// Without the number before the state.
fn stripped(request: &AuthRequest) -> AuthRequest {
    match request {
        AuthRequest::Begin(attempt) => AuthRequest::Begin(attempt.clone()),
        AuthRequest::Proceed {
            attempt,
            state,
            data,
        } => AuthRequest::Proceed {
            attempt: attempt.clone(),
            state: state.slice(1.min(state.len())..),
            data: data.clone(),
        },
    }
}

/// With the number of the plugin before the state.
fn marked(step: AuthStep, number: usize) -> AuthStep {
    match step {
        AuthStep::Challenge { data, state } => {
            let mut marked = BytesMut::with_capacity(state.len() + 1);
            marked.put_u8(u8::try_from(number).unwrap_or(u8::MAX));
            marked.put(state);
            AuthStep::Challenge {
                data,
                state: Bytes::from(marked),
            }
        }
        other => other,
    }
}

fn work(mut seat: Seat, next: impl Fn() -> Option<Job>) {
    while let Some(job) = next() {
        if job.answer.is_closed() {
            continue; // the client is gone already
        }
        let said = seat.authenticate(&job.plugin, &job.request);
        let _is_gone = job.answer.send(said).is_err();
    }
}

fn denied(reason: ReasonCode, text: &str) -> AuthStep {
    AuthStep::Deny {
        reason,
        text: Some(text.to_owned()),
        server_reference: None,
    }
}

impl Authenticate for Authenticator {
    fn authenticate(&self, request: AuthRequest) -> Pin<Box<dyn Future<Output = AuthStep>>> {
        let this = self.clone();
        Box::pin(async move { this.ask(request).await })
    }
}
