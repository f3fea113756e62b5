//! The desk: memory that is lent to the broker once, so that it asks for none for each message.
//!
//! Asking is a call into the component for every text and list of a message, and giving it back another piece of work.
//!
//! Owns: where the desk lies. What lies on it is read, and neither kept nor given back: the next message comes to lie there.

use crate::message::Message;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The desk of this component: its first address, and the first after it.
static BEGIN: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);

/// Lends so many bytes: their address, or 0 where it cannot be said in 32 bits.
pub(crate) fn lend(bytes: u32) -> u32 {
    let Ok(length) = usize::try_from(bytes) else {
        return 0;
    };
    let lent: &'static mut [MaybeUninit<u8>] = Box::leak(Box::new_uninit_slice(length));
    let begin = lent.as_ptr().addr();
    BEGIN.store(begin, Ordering::Relaxed);
    END.store(begin + length, Ordering::Relaxed);
    u32::try_from(begin).unwrap_or(0)
}

fn is_lent<T>(at: *const T) -> bool {
    let desk = BEGIN.load(Ordering::Relaxed)..END.load(Ordering::Relaxed);
    desk.contains(&at.addr())
}

fn leave_text(text: String) {
    if is_lent(text.as_ptr()) {
        let _stays = text.leak();
    }
}

fn leave_bytes(bytes: Vec<u8>) {
    if is_lent(bytes.as_ptr()) {
        let _stays = bytes.leak();
    }
}

/// What `read` makes of bytes that may lie on the desk.
#[inline(always)]
pub(crate) fn read<R>(bytes: Vec<u8>, read: impl FnOnce(&[u8]) -> R) -> R {
    let made = read(&bytes);
    leave_bytes(bytes);
    made
}

/// A message was handled: what of it lies on the desk stays there, the rest is given back.
#[inline(always)]
pub(crate) fn clear(message: Message) {
    leave_text(message.topic);
    leave_bytes(message.payload);
    leave_text(message.client_id);
    leave_text(message.username);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_lent_is_given_back() {
        assert!(!is_lent("topic".as_ptr()));
        clear(Message::new("topic", "payload"));
        assert_eq!(read(vec![1, 2], <[u8]>::len), 2);
    }
}
