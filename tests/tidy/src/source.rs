//! Rust source with comments and the inside of literals taken out, so that rules about code cannot be fooled by text.
//!
//! Owns: the one scanner. Must not: understand more of Rust than a rule needs.

/// A source file, masked.
#[derive(Debug, Clone)]
pub struct Source {
    /// As in the file, but comments are blanks and the inside of literals is `_`. Line ends stay where they were.
    pub code: String,
}

/// A function with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Line of the word `fn`, counted from 1.
    pub line: usize,
    /// Lines of its body that hold code: no blank lines, no comments, as clippy counts.
    pub lines: usize,
}

impl Source {
    /// Masks a file.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut scanner = Scanner {
            rest: text,
            out: String::with_capacity(text.len()),
        };
        while scanner.step() {}
        Self { code: scanner.out }
    }

    /// The part before the first `#[cfg(test)]`.
    #[must_use]
    pub fn without_tests(&self) -> &str {
        self.code.split("#[cfg(test)]").next().unwrap_or_default()
    }

    /// All functions with a body, in order, inner ones too.
    #[must_use]
    pub fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for (at, _) in self.code.match_indices("fn ") {
            let before = self.code.get(..at).unwrap_or_default();
            if before.ends_with(is_word) {
                continue;
            }
            let after = self.code.get(at + 3..).unwrap_or_default().trim_start();
            let name: String = after.chars().take_while(|c| is_word(*c)).collect();
            if let Some(body) = body(after).filter(|_| !name.is_empty()) {
                let lines = body.lines().filter(|line| !line.trim().is_empty()).count();
                found.push(Function {
                    name,
                    line: line_of(&self.code, at),
                    lines,
                });
            }
        }
        found
    }
}

/// The line of a byte, counted from 1.
#[must_use]
pub fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// What is between the braces of the function that starts with its name here. `None` for one without a body.
fn body(function: &str) -> Option<&str> {
    let mut around = 0_i32;
    let mut braces = 0_i32;
    let mut start = 0;
    for (at, c) in function.char_indices() {
        match c {
            '(' | '[' if braces == 0 => around += 1,
            ')' | ']' if braces == 0 => around -= 1,
            ';' if braces == 0 && around == 0 => return None,
            '{' if around == 0 => {
                if braces == 0 {
                    start = at + 1;
                }
                braces += 1;
            }
            '}' if around == 0 && braces > 0 => {
                braces -= 1;
                if braces == 0 {
                    return function.get(start..at);
                }
            }
            _ => {}
        }
    }
    None
}

struct Scanner<'text> {
    rest: &'text str,
    out: String,
}

impl Scanner<'_> {
    /// Takes one piece: a comment, a literal, a word or a character. `false` at the end.
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else {
            return false;
        };
        if self.rest.starts_with("//") {
            self.blank(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("/*") {
            self.blank(block_comment(self.rest));
        } else if let Some(length) = raw_string(self.rest) {
            self.literal(length);
        } else if first == '"' {
            self.literal(quoted(self.rest, '"'));
        } else if first == '\'' && is_character(self.rest) {
            self.literal(quoted(self.rest, '\''));
        } else if is_word(first) {
            // A whole word at once: the `r` of `for` starts no raw string.
            let length = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
            self.keep(length);
        } else {
            self.keep(first.len_utf8());
        }
        true
    }

    fn take(&mut self, length: usize) -> &str {
        let (piece, rest) = self
            .rest
            .split_at_checked(length)
            .unwrap_or((self.rest, ""));
        self.rest = rest;
        piece
    }

    fn keep(&mut self, length: usize) {
        let piece = self.take(length).to_owned();
        self.out.push_str(&piece);
    }

    fn blank(&mut self, length: usize) {
        let piece = self.take(length).to_owned();
        self.out
            .extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
    }

    fn literal(&mut self, length: usize) {
        let piece = self.take(length).to_owned();
        self.out
            .extend(piece.chars().map(|c| if c == '\n' { '\n' } else { '_' }));
    }
}

/// Length of a block comment, which may hold others.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_i32;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Length of a raw string, with its prefix, if one starts here.
fn raw_string(text: &str) -> Option<usize> {
    let prefix = ["r", "br", "cr"].into_iter().find(|prefix| {
        let after = text.strip_prefix(*prefix).unwrap_or_default();
        after.trim_start_matches('#').starts_with('"')
    })?;
    let after = text.get(prefix.len()..)?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let inside = prefix.len() + hashes + 1;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = text.get(inside..)?.find(&end)?;
    Some(inside + length + end.len())
}

/// Length of a literal in quotes, escapes understood.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Whether a quote starts a character, not a lifetime.
fn is_character(text: &str) -> bool {
    let mut after = text.chars().skip(1);
    match after.next() {
        Some('\\') => true,
        Some(_) => after.next() == Some('\''),
        None => false,
    }
}
