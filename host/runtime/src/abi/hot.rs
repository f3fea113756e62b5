//! `transform.on-message` by hand: the message is lowered from where it lies, and the answer's bytes become `Bytes`.
//!
//! Generated bindings copy a message into owned strings and lists first, which costs as much as the call.

use super::laid::Laid;
use super::lean::Lean;
use super::said::Said;
use crate::imports::State;
use bytes::Bytes;
use wasmtime::component::{
    ComponentExportIndex, ComponentType, Func, Instance, Lift, Lower, TypedFunc,
};
use wasmtime::{AsContextMut, Store};

#[derive(Clone, Copy, ComponentType, Debug, Lift, Lower, PartialEq, Eq)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Qos {
    #[component(name = "at-most-once")]
    AtMostOnce,
    #[component(name = "at-least-once")]
    AtLeastOnce,
    #[component(name = "exactly-once")]
    ExactlyOnce,
}

#[derive(Clone, Copy, ComponentType, Debug, Lower)]
#[component(record)]
pub(crate) struct Message<'a> {
    pub(crate) topic: Lean<'a, str>,
    pub(crate) payload: Lean<'a, [u8]>,
    #[component(name = "payload-len")]
    pub(crate) payload_len: u32,
    pub(crate) properties: Lean<'a, [u8]>,
    #[component(name = "client-id")]
    pub(crate) client_id: Lean<'a, str>,
    pub(crate) username: Lean<'a, str>,
    pub(crate) session: u64,
    #[component(name = "received-ms")]
    pub(crate) received_ms: u64,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
}

#[derive(ComponentType, Debug, Lift)]
#[component(record)]
pub(crate) struct Patch {
    pub(crate) topic: Option<String>,
    pub(crate) payload: Option<Bytes>,
    pub(crate) properties: Option<Vec<u8>>,
    pub(crate) qos: Option<Qos>,
    pub(crate) retain: Option<bool>,
}

#[derive(ComponentType, Debug, Lift)]
#[component(record)]
pub(crate) struct Emit {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) properties: Vec<u8>,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
}

#[derive(ComponentType, Debug, Lift)]
#[component(record)]
pub(crate) struct Refusal {
    #[component(name = "reason-code")]
    pub(crate) reason_code: u8,
    pub(crate) text: Option<String>,
}

#[derive(ComponentType, Debug, Lift)]
#[component(variant)]
pub(crate) enum Outcome {
    #[component(name = "pass")]
    Pass,
    #[component(name = "modify")]
    Modify(Patch),
    #[component(name = "split")]
    Split(Vec<Emit>),
    #[component(name = "refuse")]
    Refuse(Refusal),
    #[component(name = "consume")]
    Consume,
    #[component(name = "withhold")]
    Withhold,
    #[component(name = "stop")]
    Stop,
    #[component(name = "jump")]
    Jump(String),
}

#[derive(ComponentType, Debug, Lift)]
#[component(variant)]
pub(crate) enum Failure {
    #[component(name = "bad-input")]
    BadInput(String),
    #[component(name = "failed")]
    Failed(String),
}

pub(crate) type Answer = Result<Outcome, Failure>;

/// The export, its type checked once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnMessage(Func);

impl OnMessage {
    pub(crate) fn load(
        store: &mut Store<State>,
        instance: &Instance,
        index: &ComponentExportIndex,
    ) -> wasmtime::Result<Self> {
        let func = instance
            .get_func(&mut *store, index)
            .ok_or_else(|| wasmtime::Error::msg("transform has no function on-message"))?;
        func.typed::<(Message<'static>,), (Answer,)>(&mut *store)?;
        Ok(Self(func))
    }

    /// SAFETY: `load` has checked this very type, but for a lifetime, which types of components do not have; `Said` has that of an answer.
    fn typed<'a>(self) -> TypedFunc<(&'a Message<'a>,), (Said,)> {
        unsafe { TypedFunc::new_unchecked(self.0) }
    }

    /// The same, for a message that has room on the desk of the guest.
    ///
    /// SAFETY: `Laid` has the type of a message.
    pub(crate) fn call_laid(
        self,
        store: impl AsContextMut<Data = State>,
        message: &Laid<'_>,
    ) -> wasmtime::Result<Said> {
        let func: TypedFunc<(&Laid<'_>,), (Said,)> = unsafe { TypedFunc::new_unchecked(self.0) };
        let (answer,) = func.call(store, (message,))?;
        Ok(answer)
    }

    /// For a store in which nothing waits.
    pub(crate) fn call(
        self,
        store: impl AsContextMut<Data = State>,
        message: &Message<'_>,
    ) -> wasmtime::Result<Said> {
        let (answer,) = self.typed().call(store, (message,))?;
        Ok(answer)
    }

    /// For a store in which something may wait.
    pub(crate) async fn call_async(
        self,
        store: impl AsContextMut<Data = State>,
        message: &Message<'_>,
    ) -> wasmtime::Result<Said> {
        let (answer,) = self.typed().call_async(store, (message,)).await?;
        Ok(answer)
    }
}
