//! The engine all components share, its clock, and the linker with everything a component may import.

use crate::abi;
use crate::imports::State;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
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

/// Milliseconds since the first engine of this process began, as of its last tick.
static TICKED_MS: AtomicU64 = AtomicU64::new(0);

/// Milliseconds since the first runtime of this process began, as of the last tick of its clock, which is a few milliseconds ago: a
/// load, where the system's clock is two dozen nanoseconds. It stands still where no runtime is.
#[must_use]
pub fn coarse_ms() -> u64 {
    TICKED_MS.load(Ordering::Relaxed)
}

fn tick() {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    let passed = BEGAN.get_or_init(Instant::now).elapsed().as_millis();
    let passed = u64::try_from(passed).unwrap_or(u64::MAX);
    TICKED_MS.fetch_max(passed, Ordering::Relaxed);
}

/// Moves the epoch and the coarse time on from a thread of its own: on a busy machine a task would come late. It ends with the engine.
pub(crate) fn start_ticker(engine: &Engine) -> std::io::Result<JoinHandle<()>> {
    let weak = engine.weak();
    std::thread::Builder::new()
        .name("plugin-clock".to_owned())
        .spawn(move || {
            while let Some(engine) = weak.upgrade() {
                engine.increment_epoch();
                tick();
                drop(engine);
                std::thread::sleep(TICK);
            }
        })
}

/// The deadline of a call in steps of the epoch. The present step counts for nothing, so at least two.
pub(crate) fn ticks(deadline: Duration) -> u64 {
    const TICK_NANOS: u64 = 5_000_000;
    const { assert!(TICK.as_nanos() == TICK_NANOS as u128) };
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
