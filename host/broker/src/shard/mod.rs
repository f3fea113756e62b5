//! CONTRACT SKETCH for shard::Shard. Signatures are relied on by witmq-net, witmq-admin (through server) and tests.
//!
//! One shard = one single-threaded, sans-IO broker. The driver (witmq-net) calls in, then drains `poll_action`.
//!
//! pub struct ShardId(pub u16);            // Copy, Eq, Hash
//! pub struct ConnectionId(pub u64);       // slab index + generation, never reused
//! pub fn shard_of(client_id: &str, shards: u16) -> ShardId;       // stable hash (foldhash with fixed seed)
//!
//! pub struct ShardPorts {                 // per shard, owned
//!     pub authorize: Box<dyn Authorize>, pub transform: Box<dyn Transform>, pub chains: Box<dyn Chains>,
//!     pub store: Box<dyn Store>, pub events: Box<dyn Events>,
//! }
//! // authorize and transform may be the same runtime object: then `pub hooks: Box<dyn ShardHooks>` where
//! // `pub trait ShardHooks: Authorize + Transform {}` (blanket impl). USE THIS ONE: `hooks: Box<dyn ShardHooks>`.
//!
//! pub struct Limits { .. }                // every bound of the broker with its default; `Default`. Includes endpoint::Settings,
//!     session_expiry_max, sessions_max, subscriptions_per_session, outbox_messages (1000), outbox_bytes (8 MiB), overflow: Overflow
//!     { DropNewest | DropOldest | Disconnect }, retained_messages, retained_bytes, max_hops (8), acl_cache, sys_interval, connect_timeout, ...
//!
//! pub struct Link { pub peer: SocketAddr, pub listener: Arc<str>, pub transport: Transport }   // of one connection
//!
//! impl Shard {
//!   pub fn new(id: ShardId, shards: u16, limits: Arc<Limits>, shared: Arc<Shared>, ports: ShardPorts, clock: ClockBase /* (Instant, unix_ms) pair */) -> Self;
//!   // Shared = what all shards of a node read: interest index, retained store, node-wide counters, node name, start time.
//!   pub fn connect(&mut self, now: Instant, link: Link, connect: Connect) -> ConnectionId;
//!   pub fn receive(&mut self, now: Instant, id: ConnectionId, input: &mut BytesMut) -> Flow;   // consumes whole packets, one batch
//!   pub fn transmit(&mut self, now: Instant, id: ConnectionId, out: &mut BytesMut);            // acks + deliveries from the outbox, up to ~64 KiB; check `has_more(id)`
//!   pub fn has_more(&self, id: ConnectionId) -> bool;
//!   pub fn closed(&mut self, now: Instant, id: ConnectionId, cause: CloseCause);               // the network connection is gone (idempotent)
//!   pub fn authenticated(&mut self, now: Instant, id: ConnectionId, step: AuthStep);           // answer to Action::Authenticate (late ones ignored)
//!   pub fn handle_mail(&mut self, now: Instant, mail: Mail);
//!   pub fn poll_timeout(&self) -> Option<Instant>;
//!   pub fn handle_timeout(&mut self, now: Instant);
//!   pub fn poll_action(&mut self) -> Option<Action>;
//!   pub fn publish(&mut self, now: Instant, message: Message);      // the broker's own ($SYS, plugins' publish import, admin API): retain + route, no hooks
//!   pub fn counters(&self) -> Counters;                              // plain u64 sums: connections, sessions, subscriptions, received, sent, dropped{cause}, bytes in/out...
//!   pub fn client ids / disconnect_client(client_id, ReasonCode) for admin
//! }
//! pub enum Flow { Continue, Pause, Close }
//!   Pause = do not read this connection until Action::Resume(id) (mail to a peer is congested, or authentication is pending)
//!   Close = transmit what is pending, then close the socket (at most 2 s), then call `closed`.
//! pub enum Action {
//!   Wake(ConnectionId),                       // bytes or deliveries wait: call transmit. Emitted once until transmit is called.
//!   Resume(ConnectionId),
//!   Close(ConnectionId),                      // as Flow::Close, for a connection that is not the one being received (takeover, admin, timeout)
//!   Authenticate { id: ConnectionId, request: AuthRequest },
//!   Mail { to: ShardId, mail: Mail },         // driver batches; when the channel is full it calls shard.congested(to, true) / (to, false) later
//! }
//! pub enum Mail {                             // Send
//!   Publish { message: Arc<Message>, groups: Vec<GroupPick> /* shared groups whose turn fell on the receiving shard */ , plain: bool },
//!   Local publish from outside a shard:  Inject(Message)   // full publish without authorization: admin API, plugin `publish` import
//!   Inspect(Box<dyn FnOnce(&mut Shard, Instant) + Send>),  // control plane questions; runs on the shard's thread
//! }
