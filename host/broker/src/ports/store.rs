//! Where what must outlive the process goes. In memory here; the seam is a watermark, so that an
//! acknowledgement can wait for a group commit without the shard waiting.

use bytestring::ByteString;
use std::sync::Arc;
use witmq_proto::{Delivery, Message};

/// A place in the shard's log; grows by one per record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// One change of durable state.
#[derive(Debug)]
#[allow(missing_docs, reason = "the variants say what their fields are")]
pub enum Record<'a> {
    /// A session that outlives its connection exists (or changed its expiry, seconds).
    Session {
        client_id: &'a ByteString,
        expiry: u32,
    },
    /// The session is gone with all it owned.
    SessionEnded { client_id: &'a ByteString },
    /// A subscription was made or replaced.
    Subscribed {
        client_id: &'a ByteString,
        filter: &'a ByteString,
    },
    /// A subscription was removed.
    Unsubscribed {
        client_id: &'a ByteString,
        filter: &'a ByteString,
    },
    /// A message is owed to a session.
    Queued {
        client_id: &'a ByteString,
        delivery: &'a Delivery,
    },
    /// A QoS 2 packet id was taken from a publisher.
    Received {
        client_id: &'a ByteString,
        packet_id: u16,
    },
    /// The retained message of a topic (`None`: cleared).
    Retained {
        topic: &'a str,
        message: Option<&'a Arc<Message>>,
    },
}

/// One shard's store. Plain owned data behind a port.
pub trait Store {
    /// Takes a record; it is durable once `stored() >=` the position returned.
    fn append(&mut self, record: Record<'_>) -> Position;
    /// Everything up to here is durable. Acknowledgements wait for it.
    fn stored(&self) -> Position;
}
