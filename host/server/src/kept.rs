//! Waiting until what the admin API changed on a shard is on disk.
//!
//! Owns: how long that may take. The shard calls when its store kept it; nothing is asked again and again.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use witmq_broker::shard::Waiter;

/// How long a change may take to become durable.
const COMMIT: Duration = Duration::from_secs(5);

/// What a shard calls.
#[derive(Clone)]
pub(crate) struct Notice(SyncSender<()>);

impl Notice {
    pub(crate) fn waiter(self) -> Waiter {
        Box::new(move || {
            let _nobody_waits_any_more = self.0.try_send(()).is_err();
        })
    }
}

/// Who waits for it.
pub(crate) struct Pending {
    notice: Notice,
    kept: Receiver<()>,
}

impl Pending {
    pub(crate) fn new() -> Self {
        let (keep, kept) = sync_channel(1);
        Self {
            notice: Notice(keep),
            kept,
        }
    }

    pub(crate) fn notice(&self) -> Notice {
        self.notice.clone()
    }

    /// False: it is not kept yet, or there is nobody left who would say so.
    pub(crate) fn wait(self) -> bool {
        self.within(COMMIT)
    }

    fn within(self, most: Duration) -> bool {
        drop(self.notice);
        self.kept.recv_timeout(most).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_called_once_it_is_kept_and_not_kept_waiting_for_ever() {
        let pending = Pending::new();
        let (notice, another) = (pending.notice(), pending.notice());
        drop(another.waiter());
        let shard = std::thread::spawn(move || notice.waiter()());
        assert!(pending.within(Duration::from_secs(60)));
        shard.join().unwrap();

        let pending = Pending::new();
        let waiter = pending.notice().waiter();
        assert!(!pending.within(Duration::ZERO), "it is not kept in time");
        waiter(); // late, and nobody minds

        let pending = Pending::new();
        drop(pending.notice().waiter());
        let most = Duration::from_secs(3600);
        assert!(!pending.within(most), "nobody is left to wait for");
    }
}
