//! `core-load WORKLOAD COUNT`: moves so many messages through protocol and broker in memory, for callgrind to count.
//!
//! Owns: the workloads. No socket, thread or clock, so two runs execute nearly the same instructions; the difference
//! between COUNT and twice of it is the messages' own. Must not: measure time.
//! Called by: `cargo xtask bench --instructions`, through valgrind.

mod node;
mod parts;

use anyhow::{Result, bail};
use node::Shape;

/// The broker's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// QoS 0 to 2, then what a chain adds, then single parts.
fn run(workload: &str, count: u32) -> Result<u32> {
    let pair = Shape {
        pairs: 50,
        subscribers: 1,
        qos: 0,
        window: 32,
        others: 0,
    };
    match workload {
        "pair-q0" => node::run(pair, None, count),
        "pair-q1" => node::run(
            Shape {
                qos: 1,
                window: 8,
                ..pair
            },
            None,
            count,
        ),
        "pair-q2" => node::run(
            Shape {
                qos: 2,
                window: 8,
                ..pair
            },
            None,
            count,
        ),
        "fan-out-100" => {
            let shape = Shape {
                pairs: 1,
                subscribers: 100,
                window: 8,
                ..pair
            };
            node::run(shape, None, count)
        }
        "among-10k" => node::run(
            Shape {
                others: 10_000,
                ..pair
            },
            None,
            count,
        ),
        "chain-filter" => node::run(pair, Some(node::FILTER), count),
        "chain-expression" => node::run(pair, Some(node::EXPRESSION), count),
        "machine" => parts::machine(count),
        "decode" => parts::decode(count),
        "encode" => parts::encode(count),
        "match" => parts::find(count),
        "route" => parts::route(count),
        _ => bail!("no workload is called {workload}"),
    }
}

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let (Some(workload), Some(count)) = (words.next(), words.next()) else {
        bail!("usage: core-load WORKLOAD COUNT");
    };
    let count = count.parse()?;
    let done = run(&workload, count)?;
    if done != count {
        bail!("{workload}: {done} of {count} came");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::run;

    #[test]
    fn every_workload_delivers_everything() {
        for workload in [
            "pair-q0",
            "pair-q1",
            "pair-q2",
            "among-10k",
            "chain-filter",
            "chain-expression",
            "machine",
            "decode",
            "encode",
            "match",
            "route",
        ] {
            assert_eq!(run(workload, 3200).unwrap(), 3200, "{workload}");
        }
        assert_eq!(run("fan-out-100", 800).unwrap(), 800);
        assert!(run("other", 1).is_err());
    }
}
