//! Patterns that are matched in a time that is known before.
//!
//! Owns: the bound of a pattern, and what a match of it costs. Must not: match what the caller cannot pay for.

use regex_lite::{Regex, RegexBuilder};

/// Most KiB that a compiled pattern may have.
const KIB: usize = 64;
/// Steps of a check that a byte of text costs for each KiB of the pattern.
const STEPS: usize = 6;

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Pattern {
    regex: Regex,
    /// Its size: every byte of a text may be held against all of it.
    kib: usize,
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// What it would have to be.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        // Its size is not told, but whether it is within a limit is.
        let mut kib = 1;
        loop {
            match RegexBuilder::new(text).size_limit(kib * 1024).build() {
                Ok(regex) => return Ok(Self { regex, kib }),
                Err(_) if kib < KIB => kib *= 2,
                Err(error) => {
                    return Err(format!(
                        "a pattern of {KIB} KiB that is matched in linear time: {error}"
                    ));
                }
            }
        }
    }

    /// What a match with a text costs at most.
    pub(crate) fn steps(&self, text: &str) -> usize {
        text.len().saturating_mul(self.kib * STEPS)
    }

    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    pub(crate) fn text(&self) -> &str {
        self.regex.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_costs_what_it_is_large() {
        let steps =
            |pattern: &str| Pattern::new(pattern).map(|pattern| pattern.steps("0123456789"));
        assert_eq!(steps("^a+$"), Ok(60));
        assert!(steps("^[a-z]{100}$").unwrap() > 60);
        assert!(
            steps("([a-z]{1,100}){1,100}")
                .unwrap_err()
                .contains("64 KiB")
        );
        assert!(steps("(?=a)").is_err() && steps("(a)\\1").is_err());
    }
}
