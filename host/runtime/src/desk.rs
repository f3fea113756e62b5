//! The desk of a guest: memory that it lends for messages (ADR 0026).
//!
//! Owns: how it is asked for. Must not: write there; `abi::laid` and `abi::lean` do.

use crate::abi::lean::Desk;
use crate::package::Package;
use crate::state::State;
use wasmtime::Store;
use wasmtime::component::Instance;

/// The desk of a guest, of so many bytes; `None`: it has no memory to lend, or is given no messages one by one.
pub(crate) async fn lent(
    store: &mut Store<State>,
    instance: &Instance,
    package: &Package,
    bytes: u32,
) -> wasmtime::Result<Option<Desk>> {
    let (Some(_), Some(lend), 1..) = (&package.transform, &package.lend, bytes) else {
        return Ok(None);
    };
    let lend = instance.get_typed_func::<(u32,), (u32,)>(&mut *store, lend)?;
    let (at,) = lend.call_async(&mut *store, (bytes,)).await?;
    Ok((at != 0 && at.checked_add(bytes).is_some()).then_some(Desk { at, bytes }))
}
