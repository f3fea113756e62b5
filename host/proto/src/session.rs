//! What may outlive a connection: packet identifiers and messages in flight both ways. Moved, never shared.
//! CONTRACT SKETCH.
//!
//! impl Session {
//!   pub fn new() -> Self;                                   // Default too
//!   pub fn inflight(&self) -> usize;                        // outbound
//!   pub fn deliveries(&self) -> impl Iterator<Item = (PacketId, &Delivery)>   // outbound, not yet PUBREC'ed, in order sent
//!   pub fn into_deliveries(self) -> impl Iterator<Item = Delivery>            // for redelivery to another shared member when the session ends
//! }
