//! Heads, unfinished work, and what a sans-IO crate may not say.
//!
//! Owns: the lists of words. Must not: look into literals and comments for code, nor into code for prose.

use crate::{
    Finding,
    source::{Source, line_of},
};

/// Macros that say that something is not done, or was left behind.
const UNFINISHED: [&str; 3] = ["todo!", "unimplemented!", "dbg!"];

/// Marks in comments that say the same. In two pieces, or this file would be the first finding.
const MARKS: [&str; 4] = [
    concat!("CONTRACT", " SKETCH"),
    concat!("FIX", "ME"),
    concat!("TO", "DO:"),
    concat!("XX", "X:"),
];

/// Crates that take bytes and `now` and yield values.
const PURE: [&str; 2] = ["host/proto/src/", "host/broker/src/"];

/// What such a crate reaches the world with.
const WORLD: [&str; 14] = [
    "Instant::now",
    "SystemTime::now",
    ".elapsed()",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "println!",
    "eprintln!",
    "tracing::",
    "tokio::",
];

/// A file without a head.
#[must_use]
pub fn head(path: &str, text: &str) -> Vec<Finding> {
    if text.trim_start_matches('\u{feff}').starts_with("//!") {
        return Vec::new();
    }
    let text = "a file opens with `//!`: what it owns, what it must not do, who calls it";
    vec![Finding::at(path, 1, text)]
}

/// Unfinished work.
#[must_use]
pub fn unfinished(path: &str, text: &str) -> Vec<Finding> {
    let code = Source::new(text).code;
    let macros = UNFINISHED.into_iter().flat_map(|word| places(&code, word));
    let marks = MARKS.into_iter().flat_map(|word| places(text, word));
    let finding = |(line, word)| {
        Finding::at(
            path,
            line,
            format!("`{word}` is unfinished work: finish it or take it out"),
        )
    };
    macros.chain(marks).map(finding).collect()
}

/// Clocks, files, sockets, tasks and logs in a sans-IO crate. Its tests may use them.
#[must_use]
pub fn pure(path: &str, text: &str) -> Vec<Finding> {
    if !PURE.iter().any(|folder| path.starts_with(folder)) || is_test(path) {
        return Vec::new();
    }
    let source = Source::new(text);
    let code = source.without_tests();
    let finding = |(line, word)| {
        let text =
            format!("`{word}` in a sans-IO crate: take it as an argument, or yield an action");
        Finding::at(path, line, text)
    };
    WORLD
        .into_iter()
        .flat_map(|word| places(code, word))
        .map(finding)
        .collect()
}

/// Tests, and the fakes that only tests are built with.
fn is_test(path: &str) -> bool {
    let parts = path.split('/').map(|part| part.trim_end_matches(".rs"));
    parts
        .into_iter()
        .any(|part| part == "tests" || part == "testing" || part.ends_with("_tests"))
}

/// Lines where a word stands, not as the end of a longer one.
fn places<'word>(text: &str, word: &'word str) -> Vec<(usize, &'word str)> {
    let stands = |at: &usize| {
        let before = text
            .get(..*at)
            .and_then(|before| before.chars().next_back());
        word.starts_with('.') || !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    };
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(stands)
        .map(|at| (line_of(text, at), word))
        .collect()
}
