//! The export `on-message`, by hand: the ABI of components in as few steps as it has.
//!
//! The generated one has a second function that gives the memory of an answer back, a call of its own for every message: here the
//! next call does that. It also makes a message and an outcome twice, in its own types and in those of authors. Here a message
//! is made once, and the two outcomes that nearly all messages have are written where they lie; all others are left to what is
//! generated.
//!
//! Owns: [`answer`], and the macro that `export_transform!` finds where it looks for the generated one. Must not: know plugins.
#![allow(
    unsafe_code,
    reason = "texts and lists are taken over from where the host put them"
)]

use crate::abi::base::witmq::plugin::types;
use crate::abi::transforming::exports::witmq::plugin::transform;
use crate::desk;
use crate::message::{Message, Outcome, Patch, QoS};
use crate::properties::Properties;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

pub mod exports {
    pub mod witmq {
        pub mod plugin {
            pub mod transform {
                pub use crate::__witmq_on_message as __export_witmq_plugin_transform_1_0_0_cabi;
            }
        }
    }
}

/// A component with `transform`.
pub trait Answering {
    /// Its hook.
    fn on_message(message: &Message) -> Result<Outcome, types::Failure>;
}

/// A text or list as it lies.
#[derive(Clone, Copy, Debug)]
pub struct Part(pub *mut u8, pub usize);

impl Part {
    /// # Safety
    /// The host put it there for whoever takes it, once.
    #[inline(always)]
    unsafe fn bytes(self) -> Vec<u8> {
        unsafe { Vec::from_raw_parts(self.0, self.1, self.1) }
    }

    /// # Safety
    /// See [`Self::bytes`], and it is UTF-8.
    #[inline(always)]
    unsafe fn text(self) -> String {
        unsafe { String::from_raw_parts(self.0, self.1, self.1) }
    }
}

/// The parameters of `on-message`.
#[derive(Clone, Copy, Debug)]
pub struct Parameters {
    /// Topic, payload, properties, client id, user name.
    pub parts: [Part; 5],
    /// As they are in the record.
    pub payload_len: i32,
    /// See there.
    pub session: i64,
    /// See there.
    pub received_ms: i64,
    /// 0 to 2.
    pub qos: i32,
    /// 0 or 1.
    pub retain: i32,
}

/// Words of an answer: whether it failed, the outcome, and the fields of a patch, each behind whether it is there.
const WORDS: usize = 12;
/// Passed.
static PASS: [u32; WORDS] = [0; WORDS];
/// With another payload.
static PATCH: [AtomicU32; WORDS] = [const { AtomicU32::new(0) }; WORDS];

/// The payload of the last answer, if it had one: where it lies, and what it has room for.
static LENT: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static LENT_ROOM: AtomicUsize = AtomicUsize::new(0);
/// The last answer, if it was generated.
static GENERATED: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());

thread_local! {
    /// What the generated function answers with.
    static GIVEN: RefCell<Option<Result<Outcome, types::Failure>>> = const { RefCell::new(None) };
}

/// Answers with what is given.
struct Given<A>(PhantomData<A>);

impl<A> transform::Guest for Given<A> {
    fn on_message(_nothing: types::Message) -> Result<transform::Outcome, types::Failure> {
        let given = GIVEN.take();
        given.map_or(Ok(transform::Outcome::Pass), |given| given.map(Into::into))
    }
}

/// Answers with another payload, which stays until the next call.
#[inline(always)]
fn patched(payload: Vec<u8>) -> *mut u8 {
    let word = |word: usize| u32::try_from(word).unwrap_or_default();
    let room = payload.capacity();
    let payload = payload.leak();
    let [_, kind, _, _, _, is_there, at, bytes, ..] = &PATCH;
    kind.store(1, Ordering::Relaxed);
    is_there.store(1, Ordering::Relaxed);
    at.store(word(payload.as_ptr().addr()), Ordering::Relaxed);
    bytes.store(word(payload.len()), Ordering::Relaxed);
    LENT_ROOM.store(room, Ordering::Relaxed);
    LENT.store(payload.as_mut_ptr(), Ordering::Relaxed);
    PATCH.as_ptr().cast_mut().cast()
}

/// Answers with anything, as the generated function does, which is given a message that is nothing.
#[cold]
fn generated<A>(outcome: Result<Outcome, types::Failure>) -> *mut u8 {
    GIVEN.set(Some(outcome));
    let none = std::ptr::dangling_mut::<u8>();
    // SAFETY: texts and lists of no bytes lie anywhere.
    let answer = unsafe {
        transform::_export_on_message_cabi::<Given<A>>(
            none, 0, none, 0, 0, none, 0, none, 0, none, 0, 0, 0, 0, 0,
        )
    };
    GENERATED.store(answer, Ordering::Relaxed);
    answer
}

/// What the answer before had is given back.
///
/// # Safety
/// The host has read it.
#[inline(always)]
unsafe fn give_back<A>() {
    let lent = LENT.load(Ordering::Relaxed);
    if !lent.is_null() {
        LENT.store(std::ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: it was leaked with so much room, and bytes need no drop.
        drop(unsafe { Vec::from_raw_parts(lent, 0, LENT_ROOM.load(Ordering::Relaxed)) });
    }
    let before = GENERATED.load(Ordering::Relaxed);
    if !before.is_null() {
        GENERATED.store(std::ptr::null_mut(), Ordering::Relaxed);
        unsafe { transform::__post_return_on_message::<Given<A>>(before) };
    }
}

/// One call of `on-message`: where the answer lies, until the next one.
///
/// # Safety
/// The parameters are those that the ABI gives, and the host reads the answer before it calls again.
#[inline(always)]
pub unsafe fn answer<A: Answering>(given: Parameters) -> *mut u8 {
    let [topic, payload, properties, client_id, username] = given.parts;
    // SAFETY: as promised.
    let message = unsafe {
        give_back::<A>();
        Message {
            topic: topic.text(),
            payload: payload.bytes(),
            payload_len: given.payload_len.cast_unsigned(),
            properties: match properties.1 {
                0 => Properties::default(),
                _ => desk::read(properties.bytes(), Properties::decode),
            },
            client_id: client_id.text(),
            username: username.text(),
            session: given.session.cast_unsigned(),
            received_ms: given.received_ms.cast_unsigned(),
            qos: match given.qos {
                0 => QoS::AtMostOnce,
                1 => QoS::AtLeastOnce,
                _ => QoS::ExactlyOnce,
            },
            retain: given.retain != 0,
        }
    };
    let outcome = A::on_message(&message);
    desk::clear(message);
    match outcome {
        Ok(Outcome::Pass) => PASS.as_ptr().cast_mut().cast(),
        Ok(Outcome::Modify(Patch {
            topic: None,
            payload: Some(payload),
            properties: None,
            qos: None,
            retain: None,
        })) if payload.capacity() > 0 => patched(payload),
        outcome => generated::<A>(outcome),
    }
}

/// The core function of `on-message`: parameters and answer lie flat, as the ABI of components wants it.
#[doc(hidden)]
#[macro_export]
macro_rules! __witmq_on_message {
    ($plugin:ident with_types_in $($path:tt)*) => {
        const _: () = {
            #[unsafe(export_name = "witmq:plugin/transform@1.0.0#on-message")]
            unsafe extern "C" fn on_message(
                topic: *mut u8,
                topic_bytes: usize,
                payload: *mut u8,
                payload_bytes: usize,
                payload_len: i32,
                properties: *mut u8,
                properties_bytes: usize,
                client_id: *mut u8,
                client_id_bytes: usize,
                username: *mut u8,
                username_bytes: usize,
                session: i64,
                received_ms: i64,
                qos: i32,
                retain: i32,
            ) -> *mut u8 {
                use $crate::answering::{Parameters, Part, answer};
                let given = Parameters {
                    parts: [
                        Part(topic, topic_bytes),
                        Part(payload, payload_bytes),
                        Part(properties, properties_bytes),
                        Part(client_id, client_id_bytes),
                        Part(username, username_bytes),
                    ],
                    payload_len,
                    session,
                    received_ms,
                    qos,
                    retain,
                };
                // SAFETY: the arguments are those that the ABI gives.
                unsafe { answer::<$plugin>(given) }
            }
        };
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the host reads.
    fn words(at: *mut u8) -> Vec<u32> {
        // SAFETY: both areas that are written here have so many words.
        unsafe { std::slice::from_raw_parts(at.cast::<u32>(), WORDS) }.to_vec()
    }

    struct Echo;

    impl Answering for Echo {
        fn on_message(message: &Message) -> Result<Outcome, types::Failure> {
            assert_eq!((message.session, message.received_ms), (7, 8));
            assert_eq!((message.qos, message.retain), (QoS::ExactlyOnce, true));
            Ok(match message.topic.as_str() {
                "pass" => Outcome::Pass,
                _ => Outcome::payload(message.payload.clone()),
            })
        }
    }

    fn part(text: &str) -> Part {
        let bytes = text.as_bytes().to_vec().into_boxed_slice();
        let length = bytes.len();
        Part(Box::leak(bytes).as_mut_ptr(), length)
    }

    #[test]
    fn what_nearly_all_messages_come_to_is_written_as_the_abi_has_it() {
        let call = |topic, payload| {
            let parts = [part(topic), part(payload), part(""), part("c"), part("")];
            let given = Parameters {
                parts,
                payload_len: 3,
                session: 7,
                received_ms: 8,
                qos: 2,
                retain: 1,
            };
            // SAFETY: each part is one's own, and the answer is read at once.
            words(unsafe { answer::<Echo>(given) })
        };
        for _ in 0..3 {
            assert_eq!(call("pass", "abc"), [0; WORDS]);
            let patch = call("patch", "abc");
            assert_eq!(patch[..6], [0, 1, 0, 0, 0, 1]);
            assert_eq!(patch[7..], [3, 0, 0, 0, 0]);
        }
    }
}
