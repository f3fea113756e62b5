//! A node: its shard threads, and what the rest of the process may ask of them.

use crate::admission::{Admission, Gate, NetCounters};
use crate::config::{ListenerConfig, NodeConfig};
use crate::connection::{Arrival, serve};
use crate::driver::Core;
use crate::handshake::{Doors, accept, take_handed_in};
use crate::listen::{self, StartError};
use crate::post::Batch;
use bytes::Bytes;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::Notify;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use witmq_broker::ShardId;
use witmq_broker::ports::{Authenticate, Transport};
use witmq_broker::shard::{Mail, Shard, shard_of};
use witmq_proto::Message;

/// Batches of mail waiting for one shard.
const MAIL_BATCHES: usize = 1024;
/// Connections waiting to be taken by their shard.
const ARRIVALS: usize = 1024;
/// Stack of a shard's thread: expressions of chains and guests recurse on it, within their own bounds.
const STACK_BYTES: usize = 8 * 1024 * 1024;
/// How long a question to a shard may take.
const INSPECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed accept (out of descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A socket whose peer speaks WebSocket frames already.
#[derive(Debug)]
pub struct HandedIn {
    /// Non-blocking, in no reactor.
    pub socket: std::net::TcpStream,
    /// Read behind the handshake.
    pub leftover: Bytes,
    /// Address of the peer.
    pub peer: SocketAddr,
    /// Name of the listener.
    pub listener: Arc<str>,
}

/// What a shard's thread takes in.
pub(crate) enum Intake {
    Arrival(Box<Arrival>),
    HandedIn(HandedIn),
    Stop,
}

struct Thread {
    mail: Sender<Batch>,
    intake: Sender<Intake>,
    handle: Mutex<Option<JoinHandle<()>>>,
}

/// Makes the shard of a thread, on that thread. The second is told when the shard's store has moved on.
pub type MakeShard = Arc<dyn Fn(ShardId) -> (Shard, Arc<Notify>) + Send + Sync>;

/// A running node.
pub struct Node {
    threads: Vec<Thread>,
    addresses: Vec<(Arc<str>, SocketAddr)>,
    counters: Arc<NetCounters>,
    gate: Arc<Gate>,
    next: AtomicUsize,
}

/// One listener on one thread.
type Door = (std::net::TcpListener, Arc<ListenerConfig>, Arc<Gate>);

impl Node {
    /// Binds every listener, then starts the shard threads.
    ///
    /// # Errors
    /// An address cannot be used; nothing is started then.
    pub fn start(
        config: NodeConfig,
        make_shard: MakeShard,
        authenticator: Arc<dyn Authenticate + Send + Sync>,
    ) -> Result<Self, StartError> {
        let config = Arc::new(config);
        let shards = config.shards.clamp(1, 64);
        let mut doors: Vec<Vec<Door>> = (0..shards).map(|_| Vec::new()).collect();
        let mut addresses = Vec::new();
        for listener in &config.listeners {
            if matches!(listener.transport, Transport::Tls | Transport::Wss)
                && listener.tls.is_none()
            {
                return Err(StartError::NoCertificate(listener.name.to_string()));
            }
            let (address, sockets) = listen::bind(listener, shards, config.backlog)?;
            addresses.push((listener.name.clone(), address));
            let gate = Gate::new(listener.max_connections);
            let shared = Arc::new(listener.clone());
            for (doors, socket) in doors.iter_mut().zip(sockets) {
                doors.push((socket, shared.clone(), gate.clone()));
            }
        }
        let counters = Arc::new(NetCounters::default());
        let gate = Gate::new(config.max_connections);
        let (mails, mail_inputs): (Vec<_>, Vec<_>) =
            (0..shards).map(|_| channel::<Batch>(MAIL_BATCHES)).unzip();
        let (intakes, inputs): (Vec<_>, Vec<_>) =
            (0..shards).map(|_| channel::<Intake>(ARRIVALS)).unzip();
        let mut threads = Vec::new();
        let ready = Arc::new(Barrier::new(usize::from(shards) + 1));
        for (id, ((doors, mail), intake)) in
            (0..shards).zip(doors.into_iter().zip(mail_inputs).zip(inputs))
        {
            let start = Start {
                id: ShardId(id),
                config: config.clone(),
                counters: counters.clone(),
                gate: gate.clone(),
                make_shard: make_shard.clone(),
                authenticator: authenticator.clone(),
                mails: mails.clone(),
                intakes: intakes.clone(),
                ready: ready.clone(),
            };
            let handle = start
                .spawn(doors, mail, intake)
                .map_err(StartError::Thread)?;
            let index = usize::from(id);
            if let (Some(mail), Some(intake)) = (mails.get(index), intakes.get(index)) {
                threads.push(Thread {
                    mail: mail.clone(),
                    intake: intake.clone(),
                    handle: Mutex::new(Some(handle)),
                });
            }
        }
        ready.wait();
        Ok(Self {
            threads,
            addresses,
            counters,
            gate,
            next: AtomicUsize::new(0),
        })
    }

    /// Listeners by name with the address they really have.
    #[must_use]
    pub fn addresses(&self) -> &[(Arc<str>, SocketAddr)] {
        &self.addresses
    }

    /// Counted at the door.
    #[must_use]
    pub fn counters(&self) -> &NetCounters {
        &self.counters
    }

    /// Sockets open now, with or without a session.
    #[must_use]
    pub fn open_sockets(&self) -> usize {
        self.gate.open()
    }

    /// Shards of this node.
    #[must_use]
    pub fn shards(&self) -> u16 {
        u16::try_from(self.threads.len()).unwrap_or(u16::MAX)
    }

    /// Takes a socket that was upgraded to WebSocket elsewhere; false if the node is busy or stopping.
    pub fn hand_in(&self, handed: HandedIn) -> bool {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.threads.len().max(1);
        let Some(thread) = self.threads.get(turn) else {
            return false;
        };
        let is_taken = thread.intake.try_send(Intake::HandedIn(handed)).is_ok();
        if !is_taken {
            NetCounters::count(&self.counters.refused_full);
        }
        is_taken
    }

    /// A function that publishes the broker's own messages from any thread without waiting; it gives
    /// false while the shard's queue is full.
    pub fn publisher(&self) -> impl Fn(Message) -> bool + Send + Sync + use<> {
        let mails: Vec<_> = self
            .threads
            .iter()
            .map(|thread| thread.mail.clone())
            .collect();
        let count = self.shards();
        move |message: Message| {
            let shard = usize::from(shard_of(&message.topic, count).0);
            let mail = vec![Mail::Inject(Box::new(message))];
            mails
                .get(shard)
                .is_some_and(|sender| sender.try_send(mail).is_ok())
        }
    }

    /// Asks one shard, on its thread; blocks the caller for at most five seconds. `None` if it did not
    /// answer.
    pub fn inspect<R: Send + 'static>(
        &self,
        shard: ShardId,
        question: impl FnOnce(&mut Shard, Instant) -> R + Send + 'static,
    ) -> Option<R> {
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        let mail = Mail::Inspect(Box::new(move |shard, now| {
            let _is_late = answer.try_send(question(shard, now)).is_err();
        }));
        self.threads
            .get(usize::from(shard.0))?
            .mail
            .try_send(vec![mail])
            .ok()?;
        answered.recv_timeout(INSPECT_TIMEOUT).ok()
    }

    /// Asks one shard, on its thread, and does not wait; false if its queue is full.
    pub fn ask(
        &self,
        shard: ShardId,
        question: impl FnOnce(&mut Shard, Instant) + Send + 'static,
    ) -> bool {
        let mail = Mail::Inspect(Box::new(question));
        (self.threads.get(usize::from(shard.0)))
            .is_some_and(|thread| thread.mail.try_send(vec![mail]).is_ok())
    }

    /// Says DISCONNECT to everybody, waits up to `grace` for connections to end, then stops the threads.
    pub fn shutdown(&self, grace: Duration) {
        for id in 0..self.shards() {
            let asked = self.inspect(ShardId(id), Shard::shut_down);
            if asked.is_none() {
                tracing::warn!(shard = id, "the shard did not answer the shutdown");
            }
        }
        let end = Instant::now() + grace;
        while self.gate.open() > 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        for thread in &self.threads {
            let _is_stopped = thread.intake.blocking_send(Intake::Stop).is_err();
        }
        for thread in &self.threads {
            let handle = thread
                .handle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if handle.is_some_and(|handle| handle.join().is_err()) {
                tracing::error!("a shard thread ended by a panic");
            }
        }
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

/// What a shard's thread starts from.
struct Start {
    id: ShardId,
    config: Arc<NodeConfig>,
    counters: Arc<NetCounters>,
    gate: Arc<Gate>,
    make_shard: MakeShard,
    authenticator: Arc<dyn Authenticate + Send + Sync>,
    mails: Vec<Sender<Batch>>,
    intakes: Vec<Sender<Intake>>,
    ready: Arc<Barrier>,
}

impl Start {
    /// Starts the thread; waits until it has its runtime, which cannot leave it.
    fn spawn(
        self,
        doors: Vec<Door>,
        mail: Receiver<Batch>,
        intake: Receiver<Intake>,
    ) -> io::Result<JoinHandle<()>> {
        let (built, is_built) = std::sync::mpsc::sync_channel(1);
        let handle = std::thread::Builder::new()
            .name(format!("shard-{}", self.id.0))
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let runtime = Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default());
                let (runtime, outcome) = match runtime {
                    Ok(runtime) => (Some(runtime), Ok(())),
                    Err(error) => (None, Err(error)),
                };
                let _is_heard = built.send(outcome).is_ok();
                if let Some(runtime) = runtime {
                    runtime.block_on(self.run(doors, mail, intake));
                }
            })?;
        is_built.recv().map_err(io::Error::other)??;
        Ok(handle)
    }

    async fn run(self, doors: Vec<Door>, mail: Receiver<Batch>, mut intake: Receiver<Intake>) {
        let (shard, news) = (self.make_shard)(self.id);
        // Nobody is let in before every shard has its sessions and routes again.
        self.ready.wait();
        let core = Core::new(
            shard,
            self.config,
            self.counters,
            self.gate,
            self.authenticator,
            self.mails,
        );
        let way_in = Rc::new(Doors {
            core: core.clone(),
            intakes: self.intakes,
        });
        tokio::task::spawn_local(core.clone().take_mail(mail));
        tokio::task::spawn_local(core.clone().send_all_mail());
        tokio::task::spawn_local(core.clone().keep_time());
        tokio::task::spawn_local(core.clone().take_turns());
        tokio::task::spawn_local(core.clone().follow_store(news));
        // What ran out while the node was down, before anybody is let in.
        core.shard.borrow_mut().handle_timeout(Instant::now());
        core.obey();
        for door in doors {
            tokio::task::spawn_local(answer(way_in.clone(), door));
        }
        while let Some(next) = intake.recv().await {
            match next {
                Intake::Arrival(mut arrival) => match arrival.stream.socket().attach() {
                    Ok(()) => serve(&core, *arrival),
                    Err(error) => {
                        tracing::debug!(%error, "a connection could not change its thread")
                    }
                },
                Intake::HandedIn(handed) => {
                    tokio::task::spawn_local(take_handed_in(way_in.clone(), handed));
                }
                Intake::Stop => return core.send_mail(), // what waits for those who are ready
            }
        }
    }
}

/// Accepts connections of one listener.
async fn answer(doors: Rc<Doors>, (socket, config, gate): Door) {
    #[allow(
        deprecated,
        reason = "its successor is unsafe, for descriptors that may close behind it: this one is owned, and never changed"
    )]
    let listener = AsyncFd::with_interest(socket, Interest::READABLE);
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => {
            return tracing::error!(listener = &*config.name, %error, "the listener cannot be used");
        }
    };
    loop {
        match listener.async_io(Interest::READABLE, listen::take).await {
            Ok((socket, peer)) => {
                let core = &doors.core;
                NetCounters::count(&core.counters.accepted);
                let Some(admission) = Admission::take(&core.gate, Some(&gate)) else {
                    NetCounters::count(&core.counters.refused_full);
                    continue;
                };
                accept(&doors, socket, peer, &config, admission);
            }
            Err(error) => {
                tracing::warn!(listener = &*config.name, %error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
