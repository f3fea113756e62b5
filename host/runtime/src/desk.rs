//! The desk of a guest: memory that it lends for messages (ADR 0026).
//!
//! Owns: how much is asked for. Must not: write there; `abi::lean` does.

use crate::abi::lean::Desk;
use crate::package::Package;
use crate::state::State;
use wasmtime::Store;
use wasmtime::component::Instance;

/// Bytes of a desk: what `on-message` is given beside these, the guest is asked for memory for.
const DESK_BYTES: u32 = 16 * 1024;

/// The desk of a guest; `None`: it has no memory to lend, or is given no messages one by one.
pub(crate) async fn lent(
    store: &mut Store<State>,
    instance: &Instance,
    package: &Package,
) -> wasmtime::Result<Option<Desk>> {
    let (Some(_), Some(lend)) = (&package.transform, &package.lend) else {
        return Ok(None);
    };
    let lend = instance.get_typed_func::<(u32,), (u32,)>(&mut *store, lend)?;
    let (at,) = lend.call_async(&mut *store, (DESK_BYTES,)).await?;
    let bytes = DESK_BYTES;
    Ok((at != 0 && at.checked_add(bytes).is_some()).then_some(Desk { at, bytes }))
}
