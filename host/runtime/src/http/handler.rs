//! `wasi:http/outgoing-handler`, in place of the engine's: that one keeps the options of each request in the table of the
//! instance for ever, so that it would end with its last handle.

use crate::state::State;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::Host as _;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostOutgoingRequest};
use wasmtime_wasi_http::{RequestOptions, WasiHttpView as _};

/// As the engine names it.
const INTERFACE: &str = "wasi:http/outgoing-handler@0.2.12";

type Given = (
    Resource<HostOutgoingRequest>,
    Option<Resource<RequestOptions>>,
);
type Sent = Result<Resource<HostFutureIncomingResponse>, ErrorCode>;

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance(INTERFACE)?.func_wrap("handle", handle)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn handle(
    mut cx: StoreContextMut<'_, State>,
    (request, options): Given,
) -> wasmtime::Result<(Sent,)> {
    let mut view = cx.data_mut().http();
    let given = options
        .as_ref()
        .map(|options| Resource::<RequestOptions>::new_own(options.rep()));
    let sent = view.handle(request, options);
    if let Some(given) = given {
        view.table.delete(given)?;
    }
    match sent {
        Ok(response) => Ok((Ok(response),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}
