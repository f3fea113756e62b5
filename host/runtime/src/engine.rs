//! The engine all components share, its clock, and the linker with everything a component may import.

use crate::abi;
use crate::imports::State;
use crate::pulse;
use std::thread::JoinHandle;
use std::time::Duration;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Engine, OptLevel};

/// One step of the epoch: deadlines are multiples of it, and end at most one step late.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// The settings that were measured, and no others.
pub(crate) fn engine() -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    // On by default in 48, and three times the price of a call.
    config.concurrency_support(false);
    config.epoch_interruption(true);
    config.cranelift_opt_level(OptLevel::Speed);
    Engine::new(&config)
}

/// Moves the epoch and the coarse time on while components are called ([`pulse`]), from a thread of its own: on a busy machine a
/// task would come late. It ends with the engine.
pub(crate) fn start_ticker(engine: &Engine) -> std::io::Result<JoinHandle<()>> {
    let weak = engine.weak();
    std::thread::Builder::new()
        .name("plugin-clock".to_owned())
        .spawn(move || {
            while let Some(engine) = weak.upgrade() {
                engine.increment_epoch();
                pulse::tick();
                drop(engine);
                pulse::pause(TICK);
            }
        })
}

/// A call begins: its deadline in steps of the epoch, which moves on until `timeout` at least, as what yields at its deadline may
/// go on until then. The present step counts for nothing, so at least two.
pub(crate) fn ticks(deadline: Duration, timeout: Duration) -> u64 {
    const TICK_NANOS: u64 = 5_000_000;
    const { assert!(TICK.as_nanos() == TICK_NANOS as u128) };
    pulse::keep(deadline.max(timeout));
    // On the way of every message: in 64 bits, and by a constant.
    let nanos = u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX);
    nanos.div_ceil(TICK_NANOS).clamp(1, 1 << 32) + 1
}

/// The capabilities of `witmq:plugin`. What a guest needs of WASI is added in the version it asks for.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    macro_rules! add {
        ($($interface:ident),+) => {
            $(abi::witmq::plugin::$interface::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;)+
        };
    }
    add!(host_log, host_metrics, host_clock, host_kv, host_publish);
    add!(host_timers, host_secrets, host_payload, host_clients);
    Ok(linker)
}
