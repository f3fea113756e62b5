//! The export `on-message`: the generated one, but without the second function that gives the memory of an answer back.
//!
//! That would be a call into the component of its own for every message. The next call gives the memory back instead.
//!
//! Owns: the macro that `export_transform!` finds where it looks for the generated one. Must not: know the messages.

pub mod exports {
    pub mod witmq {
        pub mod plugin {
            pub mod transform {
                pub use crate::__witmq_on_message as __export_witmq_plugin_transform_1_0_0_cabi;
            }
        }
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
                use ::core::sync::atomic::{AtomicPtr, Ordering};
                use $crate::transforming::exports::witmq::plugin::transform;
                static ANSWER: AtomicPtr<u8> = AtomicPtr::new(::core::ptr::null_mut());
                // SAFETY: the arguments are those that the ABI gives, and an answer is given back once.
                unsafe {
                    let before = ANSWER.load(Ordering::Relaxed);
                    if !before.is_null() {
                        transform::__post_return_on_message::<$plugin>(before);
                    }
                    let answer = transform::_export_on_message_cabi::<$plugin>(
                        topic,
                        topic_bytes,
                        payload,
                        payload_bytes,
                        payload_len,
                        properties,
                        properties_bytes,
                        client_id,
                        client_id_bytes,
                        username,
                        username_bytes,
                        session,
                        received_ms,
                        qos,
                        retain,
                    );
                    ANSWER.store(answer, Ordering::Relaxed);
                    answer
                }
            }
        };
    };
}
