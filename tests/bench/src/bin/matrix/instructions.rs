//! User instructions for each message, counted by callgrind: a figure that repeats to a percent on a busy machine.
//!
//! Owns: the workloads' lengths, the comparison with `tests/bench/instructions.toml`. `core-load` is what runs.

use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// The committed numbers.
const FILE: &str = "tests/bench/instructions.toml";
/// More than this over the committed number fails.
const TOLERANCE: f64 = 0.05;
/// How often a number that seems to have grown is counted again.
const AGAIN: usize = 2;
/// Functions that a profile names.
const FUNCTIONS: usize = 25;
/// What a QoS 0 pair may take in protocol and broker.
const GOAL: f64 = 1500.0;

/// Copies, comparisons and allocations without the broker: where these count otherwise than they did, by more than this,
/// so does everything, and nothing can be judged.
const MACHINE: &str = "machine";
const SAME_MACHINE: f64 = 0.02;
/// So many of the workloads are the short form: those without a component.
const SHORT: usize = 13;
/// Each workload with the messages of its shorter run.
const WORKLOADS: [(&str, u32); 16] = [
    (MACHINE, 16_000),
    ("pair-q0", 16_000),
    ("pair-q1", 16_000),
    ("pair-q2", 16_000),
    ("fan-out-100", 80_000),
    ("among-10k", 16_000),
    ("chain-filter", 16_000),
    ("chain-expression", 16_000),
    ("decode", 16_000),
    ("encode", 16_000),
    ("match", 16_000),
    ("route", 16_000),
    ("group", 16_000),
    ("plugin-topic", 50_000),
    ("plugin-payload", 50_000),
    ("plugin-patch", 50_000),
];
/// Those that begin so call a component, which is compiled once before anything is counted.
const PLUGIN: &str = "plugin-";

const HEAD: &str = "\
# User instructions for each message in protocol and broker, without sockets: `cargo xtask bench --instructions` counts
# them and fails when one grew by more than 5 %. `--accept` writes this file anew; say in the commit why a number grew.

";

/// Counts all workloads, or those without a component only, and compares. Whether none grew by more than the tolerance.
///
/// # Errors
/// When valgrind is missing or a workload fails.
pub(crate) fn compare(tools: &Path, is_short: bool, accept: bool) -> Result<bool> {
    let known = read(Path::new(FILE))?;
    let mut counted = BTreeMap::new();
    println!("| instructions for each message | counted | committed | change |\n|---|---|---|---|");
    let mut grown = Vec::new();
    let mut is_other_machine = false;
    let many = if is_short { SHORT } else { WORKLOADS.len() };
    for (workload, count) in WORKLOADS.into_iter().take(many) {
        let before = known.get(workload).copied();
        let number = least(|| instructions(tools, workload, count), before)?;
        println!("{}", line(workload, number, before));
        match before {
            Some(before) if workload == MACHINE => {
                is_other_machine = (number / before - 1.0).abs() > SAME_MACHINE;
            }
            Some(before) if !has_grown(number, before) => {}
            _ => grown.push(workload),
        }
        counted.insert(workload.to_owned(), number);
    }
    let pair = counted.get("pair-q0").copied().unwrap_or(f64::INFINITY);
    let verdict = if pair <= GOAL { "met" } else { "missed" };
    println!("\ngoal of pair-q0: {GOAL}, {verdict}");
    if accept {
        std::fs::write(FILE, written(&counted)).with_context(|| format!("cannot write {FILE}"))?;
        println!("written: {FILE}");
        return Ok(true);
    }
    if is_other_machine {
        println!(
            "not judged: this machine's C library or processor takes other instructions for the same copies than the one \
             that {FILE} was counted on"
        );
        return Ok(true);
    }
    if !grown.is_empty() {
        println!(
            "grown by more than {} %, or not in {FILE}: {}\nif that is meant: cargo xtask bench --instructions --accept",
            TOLERANCE * 100.0,
            grown.join(", ")
        );
    }
    Ok(grown.is_empty())
}

/// Prints the functions that most instructions of a workload are in.
///
/// # Errors
/// When valgrind is missing or the workload fails.
pub(crate) fn profile(tools: &Path, workload: &str) -> Result<bool> {
    let Some((_, count)) = WORKLOADS.iter().find(|(name, _)| *name == workload) else {
        let names = WORKLOADS.map(|(name, _)| name).join(", ");
        bail!("no workload is called {workload}; there are {names}");
    };
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let file = folder.path().join("callgrind");
    // Ten times as long, so that the start weighs nothing.
    callgrind(tools, workload, count * 10, &file)?;
    let output = Command::new("callgrind_annotate")
        .args(["--threshold=100", "--auto=no"])
        .arg(&file)
        .output()
        .context("callgrind_annotate is missing: it comes with valgrind")?;
    let messages = f64::from(count * 10);
    println!("instructions for each message, by function:\n");
    let functions = functions(&String::from_utf8_lossy(&output.stdout));
    for (function, total) in functions.iter().take(FUNCTIONS) {
        println!("{:8.1}  {function}", *total as f64 / messages);
    }
    let rest: u64 = functions
        .iter()
        .skip(FUNCTIONS)
        .map(|(_, total)| total)
        .sum();
    println!("{:8.1}  in all others", rest as f64 / messages);
    Ok(true)
}

/// Sums of a listing by function, whatever file a line of it was inlined from; the largest first.
fn functions(listing: &str) -> Vec<(String, u64)> {
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    let lines = listing
        .lines()
        .skip_while(|line| !line.contains("file:function"));
    for line in lines.skip(2) {
        let count: String = line
            .trim_start()
            .chars()
            .take_while(|c| !c.is_whitespace())
            .collect();
        let (Ok(count), Some((_, place))) =
            (count.replace(',', "").parse::<u64>(), line.split_once(')'))
        else {
            continue;
        };
        let name = place.split_once(':').map_or(place, |(_, name)| name);
        let name = name.split(" [").next().unwrap_or(name).trim();
        *sums.entry(name.to_owned()).or_default() += count;
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(_, total)| std::cmp::Reverse(*total));
    sums
}

/// What was counted; where it seems to have grown, the least of a few counts, for tables hash by another seed each time.
fn least(count: impl Fn() -> Result<f64>, before: Option<f64>) -> Result<f64> {
    let mut least = count()?;
    for _ in 0..AGAIN {
        if !before.is_some_and(|before| has_grown(least, before)) {
            break;
        }
        least = least.min(count()?);
    }
    Ok(least)
}

/// Instructions of one message: what twice as many messages take more, divided.
fn instructions(tools: &Path, workload: &str, count: u32) -> Result<f64> {
    let nothing = Path::new("/dev/null");
    if workload.starts_with(PLUGIN) {
        callgrind(tools, workload, 1, nothing)?; // compiles it, for a processor as valgrind has it
    }
    let once = callgrind(tools, workload, count, nothing)?;
    let twice = callgrind(tools, workload, count * 2, nothing)?;
    Ok(twice.saturating_sub(once) as f64 / f64::from(count))
}

fn callgrind(tools: &Path, workload: &str, count: u32, out: &Path) -> Result<u64> {
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(tools.join("core-load"))
        .args([workload, &count.to_string()])
        .output()
        .context("valgrind is missing (Debian package: valgrind)")?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!(
            "core-load {workload} {count} under valgrind: {}: {text}",
            output.status
        );
    }
    collected(&text).with_context(|| format!("callgrind did not say how many: {text}"))
}

/// The number of callgrind's last line.
fn collected(text: &str) -> Option<u64> {
    let line = text.lines().rev().find(|line| line.contains("Collected"))?;
    line.rsplit(':').next()?.trim().parse().ok()
}

fn has_grown(number: f64, before: f64) -> bool {
    number > before * (1.0 + TOLERANCE)
}

fn line(workload: &str, number: f64, before: Option<f64>) -> String {
    match before {
        None => format!("| {workload} | {number:.0} | – | |"),
        Some(before) => {
            let change = (number / before - 1.0) * 100.0;
            format!("| {workload} | {number:.0} | {before:.0} | {change:+.1} % |")
        }
    }
}

/// The committed numbers; none while there is no file.
fn read(file: &Path) -> Result<BTreeMap<String, f64>> {
    if !file.exists() {
        return Ok(BTreeMap::new());
    }
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    toml::from_str(&text).with_context(|| format!("{}", file.display()))
}

fn written(numbers: &BTreeMap<String, f64>) -> String {
    let mut text = HEAD.to_owned();
    for (workload, _) in WORKLOADS {
        if let Some(number) = numbers.get(workload) {
            // Writing to a text cannot fail.
            writeln!(text, "{workload} = {number:.1}").ok();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{AGAIN, collected, functions, has_grown, least, line, read, written};
    use std::collections::BTreeMap;

    #[test]
    fn the_count_is_read_off_callgrinds_last_line() {
        let text =
            "==7== Events    : Ir\n==7== Collected : 30265120\n==7==\n==7== I   refs:      9\n";
        assert_eq!(collected(text), Some(30_265_120));
        assert_eq!(collected("==7== nothing\n"), None);
    }

    #[test]
    fn a_profile_sums_what_was_inlined() {
        let listing = "x\nIr   file:function\n----\n 1,200 (60.00%)  a/b.rs:m::f [/x]\n\
                       500 (25.00%)  c.rs:<m::T as m::U>::g [/x]\n\n   300 (15.00%)  d.rs:m::f\n";
        let wanted = [
            ("m::f".to_owned(), 1500),
            ("<m::T as m::U>::g".to_owned(), 500),
        ];
        assert_eq!(functions(listing), wanted);
    }

    #[test]
    fn five_percent_is_the_end_of_patience() {
        assert!(!has_grown(105.0, 100.0));
        assert!(has_grown(105.1, 100.0));
        assert!(!has_grown(10.0, 100.0));
    }

    #[test]
    fn what_seems_grown_is_counted_again() {
        let counts = std::cell::RefCell::new(vec![104.0, 106.0, 110.0]);
        let next = || Ok(counts.borrow_mut().pop().unwrap());
        assert!((least(next, Some(100.0)).unwrap() - 104.0).abs() < 1e-9);
        let asked = std::cell::Cell::new(0);
        let grown = || {
            asked.set(asked.get() + 1);
            Ok(110.0)
        };
        assert!((least(grown, Some(100.0)).unwrap() - 110.0).abs() < 1e-9);
        assert_eq!(asked.get(), 1 + AGAIN);
        assert!((least(grown, Some(109.0)).unwrap() - 110.0).abs() < 1e-9);
        assert_eq!(asked.get(), 2 + AGAIN, "once is enough where nothing grew");
    }

    #[test]
    fn a_line_shows_the_change() {
        assert_eq!(line("a", 110.0, Some(100.0)), "| a | 110 | 100 | +10.0 % |");
        assert_eq!(line("a", 110.0, None), "| a | 110 | – | |");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("instructions.toml");
        assert!(read(&file).unwrap().is_empty());
        let numbers = BTreeMap::from([("pair-q0".to_owned(), 1234.5), ("match".to_owned(), 7.0)]);
        std::fs::write(&file, written(&numbers)).unwrap();
        assert_eq!(read(&file).unwrap(), numbers);
        std::fs::write(&file, "pair-q0 = \"x\"").unwrap();
        assert!(read(&file).is_err());
    }
}
