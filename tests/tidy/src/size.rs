//! Files and functions that fit in a head: 600 lines a file (400 is where to think of a second one), 70 a function.
//!
//! Owns: the numbers. There are no exceptions, for tests neither.

use crate::{Finding, source::Source};

/// Lines of a file, comments and blank lines included.
pub const FILE_LINES: usize = 600;
/// A file longer than this is named in the report.
pub const FILE_LINES_GOOD: usize = 400;
/// Lines of code of a function's body.
pub const FUNCTION_LINES: usize = 70;

/// Files and functions that are too long.
#[must_use]
pub fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let lines = text.lines().count();
    if lines > FILE_LINES {
        let text = format!("{lines} lines, at most {FILE_LINES}: split it by what it owns");
        found.push(Finding::of(path, text));
    }
    for function in Source::new(text).functions() {
        if function.lines > FUNCTION_LINES {
            let text = format!(
                "fn {} has {} lines, at most {FUNCTION_LINES}: name its parts",
                function.name, function.lines
            );
            found.push(Finding::at(path, function.line, text));
        }
    }
    found
}

/// Says of a file that it is getting long.
#[must_use]
pub fn long(path: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    (lines > FILE_LINES_GOOD).then(|| Finding::of(path, format!("{lines} lines")))
}
