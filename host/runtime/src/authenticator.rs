//! Threads that run `authenticate`: it may take tens of milliseconds (hashes), so never on a shard.

use crate::seat::Seat;
use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;
use witmq_broker::ports::hooks::AuthRequest;
use witmq_broker::ports::{AuthStep, Authenticate};
use witmq_proto::ReasonCode;

struct Job {
    request: AuthRequest,
    answer: oneshot::Sender<AuthStep>,
}

/// Asks the bound authenticator. Cheap to clone.
#[derive(Clone)]
pub struct Authenticator {
    jobs: SyncSender<Job>,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator").finish_non_exhaustive()
    }
}

impl Authenticator {
    /// One thread per seat; they end when the last clone is gone.
    pub(crate) fn start(seats: Vec<Seat>, plugin: &str, queue: usize) -> std::io::Result<Self> {
        let (jobs, receiver) = sync_channel(queue);
        let receiver = Arc::new(Mutex::new(receiver));
        for (number, seat) in seats.into_iter().enumerate() {
            let (receiver, plugin) = (receiver.clone(), plugin.to_owned());
            std::thread::Builder::new()
                .name(format!("authenticate-{number}"))
                .spawn(move || work(seat, &receiver, &plugin))?;
        }
        Ok(Self { jobs })
    }
}

fn work(mut seat: Seat, jobs: &Mutex<Receiver<Job>>, plugin: &str) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        if job.answer.is_closed() {
            continue; // the client is gone already
        }
        let step = seat.authenticate(plugin, &job.request);
        let _is_gone = job.answer.send(step).is_err();
    }
}

fn denied(reason: ReasonCode, text: &str) -> AuthStep {
    AuthStep::Deny {
        reason,
        text: Some(text.to_owned()),
    }
}

impl Authenticate for Authenticator {
    fn authenticate(&self, request: AuthRequest) -> Pin<Box<dyn Future<Output = AuthStep>>> {
        let (answer, answered) = oneshot::channel();
        match self.jobs.try_send(Job { request, answer }) {
            Ok(()) => Box::pin(async {
                answered.await.unwrap_or_else(|_| {
                    denied(ReasonCode::ServerUnavailable, "the authenticator ended")
                })
            }),
            Err(TrySendError::Full(_)) => Box::pin(async {
                denied(
                    ReasonCode::ServerBusy,
                    "too many clients are connecting; try again later",
                )
            }),
            Err(TrySendError::Disconnected(_)) => {
                Box::pin(async { denied(ReasonCode::ServerUnavailable, "the authenticator ended") })
            }
        }
    }
}
