//! The payload of the message of this call, for plugins that look at it rarely and leave `payload` out of their
//! `needs(…)`. Outside of [`crate::Transform::on_message`] it is empty.

use super::broker;

/// Its size in bytes.
#[must_use]
pub fn len() -> u32 {
    broker::payload_len()
}

/// At most `max` bytes of it from `offset` on; fewer at its end.
#[must_use]
pub fn read(offset: u32, max: u32) -> Vec<u8> {
    broker::payload_read(offset, max)
}

/// All of it.
#[must_use]
pub fn all() -> Vec<u8> {
    read(0, len())
}
