//! One shard's thread: obeys the shard's actions, carries its mail, watches its clock.
//!
//! Owns: [`Core`], shared by all tasks of the thread. A borrow never lives across an await.

use crate::admission::{Gate, NetCounters};
use crate::config::NodeConfig;
use crate::post::{Batch, Post, Urgency};
use bytes::BytesMut;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;
use tokio::sync::Notify;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::task::AbortHandle;
use witmq_broker::ShardId;
use witmq_broker::ports::{AuthRequest, Authenticate};
use witmq_broker::shard::{Action, CloseCause, ConnectionId, Flow, Shard};

/// What the connection's task must know of its connection.
#[derive(Debug, Default)]
struct Slot {
    id: Option<ConnectionId>,
    waker: Option<Waker>,
    is_woken: bool,
    /// The shard changed something since the task looked.
    is_touched: bool,
    is_paused: bool,
    is_closing: bool,
    /// The authenticator is asked on its behalf.
    asking: Option<AbortHandle>,
}

impl Slot {
    /// Nobody waits for the authenticator any more: it need not be asked.
    fn stop_asking(&mut self) {
        if let Some(asking) = self.asking.take() {
            asking.abort();
        }
    }
}

/// Flags of a connection at the moment its task runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flags {
    /// The shard asked for a transmit since the last time.
    pub(crate) is_woken: bool,
    /// It may have something to transmit and not have said so: before a close, say.
    pub(crate) is_touched: bool,
    pub(crate) is_paused: bool,
    pub(crate) is_closing: bool,
}

/// Everything the tasks of one shard's thread share.
pub(crate) struct Core {
    pub(crate) id: ShardId,
    pub(crate) config: Arc<NodeConfig>,
    pub(crate) counters: Arc<NetCounters>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) shard: RefCell<Shard>,
    /// Scratch for reading; an idle connection owns no buffer.
    pub(crate) input: RefCell<BytesMut>,
    /// Scratch for writing.
    pub(crate) output: RefCell<BytesMut>,
    slots: RefCell<Vec<Slot>>,
    /// Room for what the shard wants done; empty between two calls of [`Self::obey`].
    actions: Cell<VecDeque<Action>>,
    authenticator: Arc<dyn Authenticate + Send + Sync>,
    shards: Vec<Sender<Batch>>,
    post: RefCell<Post>,
    /// Whose task runs, and whether its flags changed since it looked at them.
    running: Cell<Option<ConnectionId>>,
    is_stirred: Cell<bool>,
    /// Of the task that sends the mail.
    postman: Cell<Option<Waker>>,
    timer: Notify,
    turn: Notify,
    sleeping_until: Cell<Option<Instant>>,
}

impl Core {
    pub(crate) fn new(
        shard: Shard,
        config: Arc<NodeConfig>,
        counters: Arc<NetCounters>,
        gate: Arc<Gate>,
        authenticator: Arc<dyn Authenticate + Send + Sync>,
        shards: Vec<Sender<Batch>>,
    ) -> Rc<Self> {
        let post = Post::new(shards.len());
        Rc::new(Self {
            id: shard.id(),
            config,
            counters,
            gate,
            shard: RefCell::new(shard),
            input: RefCell::default(),
            output: RefCell::default(),
            slots: RefCell::default(),
            actions: Cell::default(),
            authenticator,
            shards,
            post: RefCell::new(post),
            running: Cell::new(None),
            is_stirred: Cell::new(false),
            postman: Cell::new(None),
            timer: Notify::new(),
            turn: Notify::new(),
            sleeping_until: Cell::new(None),
        })
    }

    /// Makes room for a connection's flags; paused until the shard says otherwise.
    pub(crate) fn add(&self, id: ConnectionId) {
        let mut slots = self.slots.borrow_mut();
        if slots.len() <= id.index() {
            slots.resize_with(id.index() + 1, Slot::default);
        }
        if let Some(slot) = slots.get_mut(id.index()) {
            *slot = Slot {
                id: Some(id),
                is_paused: true,
                ..Slot::default()
            };
        }
    }

    /// Forgets a connection and tells the shard that it is gone.
    pub(crate) fn remove(self: &Rc<Self>, id: ConnectionId, cause: &CloseCause) {
        self.with_slot(id, |slot| {
            slot.stop_asking();
            *slot = Slot::default();
        });
        self.shard.borrow_mut().closed(Instant::now(), id, cause);
        self.obey();
    }

    fn with_slot<R>(&self, id: ConnectionId, f: impl FnOnce(&mut Slot) -> R) -> Option<R> {
        let mut slots = self.slots.borrow_mut();
        slots
            .get_mut(id.index())
            .filter(|slot| slot.id == Some(id))
            .map(f)
    }

    /// The task of `id` runs: its flags now; `waker` is called when they change, or [`Self::leave`] tells.
    pub(crate) fn enter(&self, id: ConnectionId, waker: &Waker) -> Flags {
        self.running.set(Some(id));
        self.is_stirred.set(false);
        let flags = self.with_slot(id, |slot| {
            match &mut slot.waker {
                Some(known) => known.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
            Flags {
                is_woken: std::mem::take(&mut slot.is_woken),
                is_touched: std::mem::take(&mut slot.is_touched),
                is_paused: slot.is_paused,
                is_closing: slot.is_closing,
            }
        });
        flags.unwrap_or(Flags {
            is_woken: false,
            is_touched: false,
            is_paused: true,
            is_closing: true,
        })
    }

    /// The task that entered last has done what it can: whether its flags changed meanwhile.
    pub(crate) fn leave(&self) -> bool {
        self.running.set(None);
        self.is_stirred.take()
    }

    /// What the shard said after a receive.
    pub(crate) fn note(self: &Rc<Self>, id: ConnectionId, flow: Flow) {
        if flow != Flow::Continue {
            self.with_slot(id, |slot| {
                slot.is_touched = true;
                slot.is_paused |= flow == Flow::Pause;
                slot.is_closing |= flow == Flow::Close;
            });
        }
        self.obey();
    }

    /// Obeys every action of the shard, then sends its mail.
    pub(crate) fn obey(self: &Rc<Self>) {
        let mut actions = self.actions.take();
        let mut urgency = Urgency::default();
        loop {
            if actions.is_empty() {
                self.shard.borrow_mut().take_actions(&mut actions);
            }
            let Some(action) = actions.pop_front() else {
                break;
            };
            match action {
                Action::Wake(id) => self.change(id, |slot| slot.is_woken = true),
                Action::Resume(id) => self.change(id, |slot| slot.is_paused = false),
                Action::Close(id) => self.change(id, |slot| {
                    slot.stop_asking();
                    slot.is_closing = true;
                }),
                Action::Authenticate { id, request } => self.ask(id, *request),
                Action::Events => self.shard.borrow_mut().run_events(Instant::now()),
                Action::Turn => self.turn.notify_one(),
                Action::Ask { ticket, answer } => {
                    let core = self.clone();
                    tokio::task::spawn_local(async move {
                        let answer = answer.await;
                        let mut shard = core.shard.borrow_mut();
                        shard.answered(Instant::now(), ticket, answer);
                        drop(shard);
                        core.obey();
                    });
                }
                Action::Mail { to, mail } => {
                    urgency = urgency.max(self.post.borrow_mut().put(to, mail))
                }
            }
        }
        self.actions.set(actions);
        // First the records, then the mail that refers to them.
        let mut shard = self.shard.borrow_mut();
        shard.flush();
        let next = shard.poll_timeout();
        drop(shard);
        match urgency {
            Urgency::None => {}
            Urgency::Round => self.call_postman(),
            Urgency::Now => self.send_mail(),
        }
        if next.is_some()
            && self
                .sleeping_until
                .get()
                .is_none_or(|until| next < Some(until))
        {
            self.timer.notify_one();
        }
    }

    /// Asks the authenticator for as long as the connection is there.
    fn ask(self: &Rc<Self>, id: ConnectionId, request: AuthRequest) {
        let core = self.clone();
        let answer = self.authenticator.authenticate(request);
        let asking = tokio::task::spawn_local(async move {
            let step = answer.await;
            core.with_slot(id, |slot| slot.asking = None);
            core.shard
                .borrow_mut()
                .authenticated(Instant::now(), id, step);
            core.obey();
        });
        self.with_slot(id, |slot| slot.asking = Some(asking.abort_handle()));
    }

    fn change(&self, id: ConnectionId, f: impl FnOnce(&mut Slot)) {
        let is_running = self.running.get() == Some(id);
        let waker = self.with_slot(id, |slot| {
            f(slot);
            slot.is_touched = true;
            match is_running {
                true => None, // it looks again by itself
                false => slot.waker.take(),
            }
        });
        if is_running {
            self.is_stirred.set(true);
        }
        if let Some(Some(waker)) = waker {
            waker.wake();
        }
    }

    /// The mail goes once all who are ready were heard: the other thread is woken once for all of them.
    fn call_postman(&self) {
        if let Some(postman) = self.postman.take() {
            postman.wake();
        }
    }

    /// Sends what mail there is, whenever it is called.
    pub(crate) async fn send_all_mail(self: Rc<Self>) {
        std::future::poll_fn(|cx| {
            self.send_mail();
            self.postman.set(Some(cx.waker().clone()));
            std::task::Poll::Pending
        })
        .await
    }

    /// Sends the mail that there is, as far as the channels have room.
    pub(crate) fn send_mail(self: &Rc<Self>) {
        for (to, sender) in (0u16..).map(ShardId).zip(&self.shards) {
            let Some(batch) = self.post.borrow_mut().take(to) else {
                continue;
            };
            match sender.try_send(batch) {
                Ok(()) | Err(TrySendError::Closed(_)) => {}
                Err(TrySendError::Full(batch)) => {
                    self.post.borrow_mut().put_back(to, batch);
                    self.shard.borrow_mut().congested(to, true);
                    tokio::task::spawn_local(wait_for_room(self.clone(), to, sender.clone()));
                }
            }
        }
    }

    /// Hands mail of other shards and of the control plane in, until the channel closes.
    pub(crate) async fn take_mail(self: Rc<Self>, mut mail: Receiver<Batch>) {
        while let Some(batch) = mail.recv().await {
            let now = Instant::now();
            self.shard.borrow().expect_mail(&batch);
            for letter in batch {
                self.shard.borrow_mut().handle_mail(now, letter);
            }
            self.obey();
        }
    }

    /// Keeps promises when the store has moved on.
    pub(crate) async fn follow_store(self: Rc<Self>, news: Arc<Notify>) {
        loop {
            news.notified().await;
            self.shard.borrow_mut().stored(Instant::now());
            self.obey();
        }
    }

    /// Gives subscriptions that wait their next turn once all who are ready, and whose bytes are there, were heard.
    pub(crate) async fn take_turns(self: Rc<Self>) {
        loop {
            self.turn.notified().await;
            std::thread::yield_now(); // whoever wants this core has it before more is changed
            tokio::task::yield_now().await; // comes back when the sockets have been looked at
            self.shard.borrow_mut().next_turn(Instant::now());
            self.obey();
        }
    }

    /// Calls the shard when something of it falls due.
    pub(crate) async fn keep_time(self: Rc<Self>) {
        loop {
            let next = self.shard.borrow().poll_timeout();
            self.sleeping_until.set(next);
            match next {
                Some(at) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(at.into()) => {}
                        () = self.timer.notified() => {}
                    }
                }
                None => self.timer.notified().await,
            }
            let now = Instant::now();
            self.shard.borrow_mut().handle_timeout(now);
            self.obey();
            let next = self.shard.borrow().poll_timeout();
            if next.is_some_and(|at| at <= now) {
                tokio::task::yield_now().await; // more is due: everybody else first
            }
        }
    }
}

/// The channel to `to` was full: waits for room, then publishers go on.
async fn wait_for_room(core: Rc<Core>, to: ShardId, sender: Sender<Batch>) {
    let permit = sender.reserve().await;
    let batch = core.post.borrow_mut().has_room(to);
    if let (Ok(permit), Some(batch)) = (permit, batch) {
        permit.send(batch);
    }
    core.shard.borrow_mut().congested(to, false);
    core.obey();
}
