//! Which part of a source text a part of an expression is.
//!
//! The parser says at which byte its decisive token is: the operator, the dot, the bracket. From there a part is
//! widened until its brackets are balanced, so an error can quote it as its author wrote it.
//! Must not: know values.

use std::ops::Range;

/// Bytes of a source that an error quotes.
const QUOTED: usize = 80;

/// From and to a byte of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Span {
    pub(crate) fn join(self, other: Self) -> Self {
        Self {
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        }
    }

    fn range(self) -> Range<usize> {
        self.start..self.end
    }

    /// Widened to the bracket that closes the one at `open`.
    pub(crate) fn to_closing(self, source: &str, open: usize) -> Self {
        let mut depth = 0usize;
        for (at, c) in code(source, open) {
            match c {
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return self.join(Self {
                    start: open,
                    end: at + c.len_utf8(),
                });
            }
        }
        self
    }

    /// Widened by the name in front of it.
    pub(crate) fn with_name_before(mut self, source: &str) -> Self {
        let before = source.get(..self.start).unwrap_or_default().trim_end();
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        self.start = before.trim_end_matches(is_name).len();
        self
    }

    /// Widened by the minus in front of it.
    pub(crate) fn with_minus_before(mut self, source: &str) -> Self {
        let before = source.get(..self.start).unwrap_or_default().trim_end();
        if let Some(rest) = before.strip_suffix('-') {
            self.start = rest.len();
        }
        self
    }

    /// Widened by the name behind it.
    pub(crate) fn with_name_behind(mut self, source: &str) -> Self {
        let behind = source.get(self.end..).unwrap_or_default();
        let name = behind.trim_start();
        let space = behind.len() - name.len();
        let rest = name.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
        self.end += space + name.len() - rest.len();
        self
    }

    /// Widened until every bracket within it has its partner.
    pub(crate) fn balanced(mut self, source: &str) -> Self {
        let (mut depth, mut missing) = (0usize, 0usize);
        let until = source.get(..self.end).unwrap_or_default();
        for (_, c) in code(until, self.start) {
            match c {
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' if depth == 0 => missing += 1,
                ')' | ']' | '}' => depth -= 1,
                _ => {}
            }
        }
        for _ in 0..missing {
            if let Some(open) = source
                .get(..self.start)
                .and_then(|before| before.rfind(['(', '[', '{']))
            {
                self.start = open;
            }
        }
        for _ in 0..depth {
            let behind = source.get(self.end..).unwrap_or_default();
            if let Some(close) = behind.find([')', ']', '}']) {
                self.end += close + 1;
            }
        }
        self
    }

    /// The text of it, cut.
    pub(crate) fn quote(self, source: &str) -> String {
        let text = source.get(self.range()).unwrap_or(source).trim();
        let end = text.floor_char_boundary(QUOTED);
        let dots = if end < text.len() { "…" } else { "" };
        let text = text.get(..end).unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ") + dots
    }
}

/// Line and column of a byte, both from 1; the column in characters.
pub(crate) fn position(source: &str, at: usize) -> (usize, usize) {
    let before = source
        .get(..source.floor_char_boundary(at))
        .unwrap_or_default();
    let line = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(line..).unwrap_or_default().chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}

/// The characters from a byte on that are not within quotes.
fn code(source: &str, from: usize) -> impl Iterator<Item = (usize, char)> + '_ {
    let (mut quote, mut is_escaped) = (None, false);
    let rest = source.get(from..).unwrap_or_default();
    rest.char_indices().filter_map(move |(at, c)| {
        match quote {
            Some(_) if is_escaped => is_escaped = false,
            Some(_) if c == '\\' => is_escaped = true,
            Some(end) if c == end => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None => return Some((from + at, c)),
        }
        None
    })
}

/// How many operators, calls, fields and brackets a source has: each is a level of recursion at worst.
pub(crate) fn operators(source: &str) -> impl Iterator<Item = usize> + '_ {
    code(source, 0)
        .filter(|(_, c)| "+-*/%<>=!&|?:.([{,".contains(*c))
        .map(|(at, _)| at)
}
