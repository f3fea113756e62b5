//! So many messages through protocol, broker and chains, single parts of them, or a component, in memory.
//!
//! Owns: what each workload is, for those who count its instructions (`core-load`) and who time it
//! (`benches/micro.rs`). No socket, thread or clock, so two runs do nearly the same. Must not: measure.

mod node;
mod parts;
mod plugin;

use anyhow::{Result, bail};
use node::Shape;

/// Moves so many messages, and says how many came. It may be called again.
pub type Play = Box<dyn FnMut(u32) -> Result<u32>>;

/// QoS 0 to 2, then what a chain adds, then single parts.
pub const CORE: [&str; 13] = [
    "machine",
    "pair-q0",
    "pair-q1",
    "pair-q2",
    "fan-out-100",
    "among-10k",
    "chain-filter",
    "chain-expression",
    "decode",
    "encode",
    "match",
    "route",
    "group",
];

/// Calls of a component, which `cargo xtask guests` builds.
pub const PLUGIN: [&str; 3] = ["plugin-topic", "plugin-payload", "plugin-patch"];

/// A workload, all set up.
///
/// # Errors
/// When there is none of the name, or a component was not built.
pub fn set_up(workload: &str) -> Result<Play> {
    let pair = Shape {
        pairs: 50,
        subscribers: 1,
        qos: 0,
        window: 32,
        others: 0,
    };
    let acknowledged = |qos| Shape {
        qos,
        window: 8,
        ..pair
    };
    match workload {
        "machine" => Ok(parts::machine()),
        "pair-q0" => node::play(pair, None),
        "pair-q1" => node::play(acknowledged(1), None),
        "pair-q2" => node::play(acknowledged(2), None),
        "fan-out-100" => {
            let shape = Shape {
                pairs: 1,
                subscribers: 100,
                window: 8,
                ..pair
            };
            node::play(shape, None)
        }
        "among-10k" => {
            let shape = Shape {
                others: 10_000,
                ..pair
            };
            node::play(shape, None)
        }
        "chain-filter" => node::play(pair, Some(node::FILTER)),
        "chain-expression" => node::play(pair, Some(node::EXPRESSION)),
        "decode" => Ok(parts::decode()),
        "encode" => Ok(parts::encode()),
        "match" => parts::find(),
        "route" => parts::route(),
        "group" => parts::group(),
        plugin if PLUGIN.contains(&plugin) => plugin::play(plugin),
        _ => bail!("no workload is called {workload}"),
    }
}

/// What the command line of a measuring program says: `WORKLOAD COUNT`, which is played once.
///
/// # Errors
/// When the words are others, or not everything came.
pub fn play_once(program: &str, words: impl IntoIterator<Item = String>) -> Result<()> {
    let mut words = words.into_iter();
    let (Some(workload), Some(count)) = (words.next(), words.next()) else {
        bail!("usage: {program} WORKLOAD COUNT");
    };
    let count = count.parse()?;
    let done = set_up(&workload)?(count)?;
    if done != count {
        bail!("{workload}: {done} of {count} came");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{CORE, play_once, set_up};

    #[test]
    fn every_workload_delivers_everything_and_does_so_again() {
        for workload in CORE {
            let count = if workload == "fan-out-100" { 800 } else { 3200 };
            let mut play = set_up(workload).unwrap();
            for _ in 0..2 {
                assert_eq!(play(count).unwrap(), count, "{workload}");
            }
        }
        assert!(set_up("other").is_err());
        assert!(play_once("core-load", ["decode".to_owned()]).is_err());
    }
}
