//! Jobs for a few threads, bounded in number.
//!
//! Owns: [`Jobs`]. A thread is woken only if one sleeps: a job that comes while all of them work costs no system call, and
//! none of them wakes another to hand it the end of a queue.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Why a job is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// As many wait as may.
    Full,
    /// Nobody is left to do it.
    NoWorker,
}

/// A full queue is looked through for jobs in vain no more than once for this part of it that was refused: who is refused
/// must not pay for a long one.
const LOOKS: usize = 16;

/// The end at which jobs come in, first come first served. When it is dropped the workers do what waits, and end.
pub(crate) struct Jobs<J>(Arc<Queue<J>>);

/// A thread's end.
pub(crate) struct Worker<J>(Arc<Queue<J>>);

struct Queue<J> {
    waiting: Mutex<Waiting<J>>,
    news: Condvar,
    maximum: usize,
}

struct Waiting<J> {
    jobs: VecDeque<J>,
    workers: usize,
    /// Jobs to be refused before it is looked again whether some of a full queue are in vain.
    unlooked: usize,
    /// Workers that sleep and were not woken. One too many after a spurious wake-up, never one too few.
    idle: usize,
    is_over: bool,
}

impl<J> Queue<J> {
    fn waiting(&self) -> MutexGuard<'_, Waiting<J>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<J> Jobs<J> {
    /// At most `maximum` jobs wait.
    pub(crate) fn new(maximum: usize) -> Self {
        let waiting = Mutex::new(Waiting {
            jobs: VecDeque::new(),
            workers: 0,
            unlooked: 0,
            idle: 0,
            is_over: false,
        });
        let news = Condvar::new();
        Self(Arc::new(Queue {
            waiting,
            news,
            maximum,
        }))
    }

    /// The end of one more thread.
    pub(crate) fn worker(&self) -> Worker<J> {
        self.0.waiting().workers += 1;
        Worker(self.0.clone())
    }

    /// Hands a job to whoever is free next. Where the queue is full, jobs that are `in_vain` make room.
    pub(crate) fn push(&self, job: J, in_vain: impl Fn(&J) -> bool) -> Result<(), Refused> {
        let mut waiting = self.0.waiting();
        if waiting.workers == 0 {
            return Err(Refused::NoWorker);
        }
        if waiting.jobs.len() >= self.0.maximum && waiting.unlooked == 0 {
            waiting.jobs.retain(|job| !in_vain(job));
            waiting.unlooked = self.0.maximum / LOOKS;
        }
        if waiting.jobs.len() >= self.0.maximum {
            waiting.unlooked = waiting.unlooked.saturating_sub(1);
            return Err(Refused::Full);
        }
        waiting.jobs.push_back(job);
        let is_asleep = waiting.idle > 0;
        waiting.idle = waiting.idle.saturating_sub(1);
        drop(waiting);
        if is_asleep {
            self.0.news.notify_one();
        }
        Ok(())
    }
}

impl<J> Drop for Jobs<J> {
    fn drop(&mut self) {
        self.0.waiting().is_over = true;
        self.0.news.notify_all();
    }
}

impl<J> Worker<J> {
    /// The next job, when there is one; `None`: there will be none.
    pub(crate) fn next(&self) -> Option<J> {
        let mut waiting = self.0.waiting();
        loop {
            if let Some(job) = waiting.jobs.pop_front() {
                return Some(job);
            }
            if waiting.is_over {
                return None;
            }
            waiting.idle = (waiting.idle + 1).min(waiting.workers);
            waiting = (self.0.news.wait(waiting)).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<J> Drop for Worker<J> {
    fn drop(&mut self) {
        self.0.waiting().workers -= 1;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    /// Longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn as_many_jobs_wait_as_may_and_they_come_in_order() {
        let jobs = Jobs::new(2);
        assert_eq!(jobs.push(0, |_| false), Err(Refused::NoWorker));
        let worker = jobs.worker();
        assert_eq!(
            (jobs.push(1, |_| false), jobs.push(2, |_| false)),
            (Ok(()), Ok(()))
        );
        assert_eq!(jobs.push(3, |_| false), Err(Refused::Full));
        assert_eq!(worker.next(), Some(1));
        assert_eq!(jobs.push(4, |_| false), Ok(()));
        assert_eq!((worker.next(), worker.next()), (Some(2), Some(4)));
        drop(worker);
        assert_eq!(jobs.push(5, |_| false), Err(Refused::NoWorker));
    }

    #[test]
    fn a_full_queue_is_looked_through_for_jobs_in_vain() {
        let jobs = Jobs::new(4);
        let worker = jobs.worker();
        let is_odd = |job: &i32| job % 2 == 1;
        (0..4).for_each(|job| jobs.push(job, is_odd).unwrap());
        assert_eq!(
            (jobs.push(4, is_odd), jobs.push(6, is_odd)),
            (Ok(()), Ok(()))
        );
        assert_eq!(jobs.push(8, is_odd), Err(Refused::Full));
        assert_eq!([(); 4].map(|()| worker.next()), [0, 2, 4, 6].map(Some));
    }

    #[test]
    fn a_long_queue_is_looked_through_now_and_then() {
        let (jobs, looks) = (Jobs::new(160), std::cell::Cell::new(0));
        let _worker = jobs.worker();
        let look = |_: &i32| {
            looks.set(looks.get() + 1);
            false
        };
        (0..160).for_each(|job| jobs.push(job, look).unwrap());
        (0..20).for_each(|job| assert_eq!(jobs.push(job, look), Err(Refused::Full)));
        assert_eq!(looks.get(), 2 * 160, "once for every ten that are refused");
    }

    #[test]
    fn what_waits_is_done_before_the_end() {
        let jobs = Jobs::new(8);
        let worker = jobs.worker();
        jobs.push(1, |_| false).unwrap();
        drop(jobs);
        assert_eq!((worker.next(), worker.next()), (Some(1), None));
    }

    #[test]
    fn sleeping_workers_are_woken_each_time() {
        let jobs = Jobs::new(1000);
        let (done, answers) = channel();
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (worker, done) = (jobs.worker(), done.clone());
                thread::spawn(move || {
                    while let Some(job) = worker.next() {
                        done.send(job).unwrap();
                    }
                })
            })
            .collect();
        // One at a time, so that all sleep in between, then many at once.
        for job in 0..200 {
            jobs.push(job, |_| false).unwrap();
            assert_eq!(answers.recv_timeout(PATIENCE).unwrap(), job);
        }
        for job in 0..1000 {
            jobs.push(job, |_| false).unwrap();
        }
        let mut all: Vec<_> = (0..1000)
            .map(|_| answers.recv_timeout(PATIENCE).unwrap())
            .collect();
        all.sort_unstable();
        assert_eq!(all, Vec::from_iter(0..1000));
        drop(jobs);
        for thread in threads {
            thread.join().unwrap();
        }
    }
}
