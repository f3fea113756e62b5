//! The rules of the house that cargo, rustfmt and clippy cannot keep, as plain functions over text.
//!
//! Owns: one module a rule, each returning findings instead of failing, so that its own test can feed it bad input.
//! Must not: need the network, or keep a list of exceptions; a rule that does not fit is changed for everybody.
//! Called by: `tests/house.rs` on this repository, `tests/rules.rs` on bad snippets.

pub mod arrows;
pub mod frozen;
pub mod layout;
pub mod paths;
pub mod records;
pub mod size;
pub mod source;
pub mod tree;
pub mod wit;
pub mod words;

use std::fmt;

/// What a rule found: where, what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// A path from the workspace root, or a package.
    pub place: String,
    /// Line, counted from 1; 0 when the whole file is meant.
    pub line: usize,
    /// What is wrong and what to do about it.
    pub text: String,
}

impl Finding {
    /// A finding about a line of a file.
    #[must_use]
    pub fn at(place: &str, line: usize, text: impl Into<String>) -> Self {
        Self {
            place: place.to_owned(),
            line,
            text: text.into(),
        }
    }

    /// A finding about a whole file or package.
    #[must_use]
    pub fn of(place: &str, text: impl Into<String>) -> Self {
        Self::at(place, 0, text)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.place, self.text),
            line => write!(f, "{}:{line}: {}", self.place, self.text),
        }
    }
}
