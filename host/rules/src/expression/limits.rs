//! What one evaluation may cost, and how it fails.
//!
//! A chain runs on a shard, between other clients' packets: an expression that is cheap on the author's table and
//! dear on a hostile payload must end, with words, before anybody notices. Everything an evaluation does is counted
//! here; there is no part of it that is only bounded by the size of the payload times something.
//! Must not: know nodes or functions.

use super::span::Span;
use std::cell::Cell;

/// Limits of one evaluation of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of any text, list or map that is built; an element of a list counts 32, of a map 64 (default 4 MiB).
    pub output_bytes: usize,
    /// Elements that `all`, `exists`, `map`, `filter` … look at, nested ones together (default
    /// 10 000).
    pub iterations: usize,
    /// Steps: a part of an expression that is evaluated is one, and so is each 32 bytes that are read or built
    /// (default 100 000, which is some milliseconds).
    pub work: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            output_bytes: 4 * 1024 * 1024,
            iterations: 10_000,
            work: 100_000,
        }
    }
}

/// Bytes that are one step of work.
const BYTES_A_STEP: usize = 32;
/// What an element counts among the bytes built.
pub(crate) const ELEMENT_BYTES: usize = 32;
/// What an entry of a map counts.
pub(crate) const ENTRY_BYTES: usize = 64;

/// What is left of the limits.
pub(crate) struct Budget {
    limits: Limits,
    iterations: Cell<usize>,
    work: Cell<usize>,
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            iterations: Cell::new(limits.iterations),
            work: Cell::new(limits.work),
        }
    }

    /// Steps of work.
    #[inline]
    pub(crate) fn spend(&self, steps: usize) -> Done<()> {
        match self.work.get().checked_sub(steps) {
            Some(left) => {
                self.work.set(left);
                Ok(())
            }
            None => {
                self.work.set(0);
                Err(Fail::limit(format!(
                    "it takes more than {} steps (expression_work)",
                    self.limits.work
                )))
            }
        }
    }

    /// Bytes that are looked at.
    #[inline]
    pub(crate) fn read(&self, bytes: usize) -> Done<()> {
        self.spend(bytes / BYTES_A_STEP + 1)
    }

    /// One more element of a macro's list.
    #[inline]
    pub(crate) fn iterate(&self) -> Done<()> {
        match self.iterations.get().checked_sub(1) {
            Some(left) => {
                self.iterations.set(left);
                Ok(())
            }
            None => Err(Fail::limit(format!(
                "more than {} elements looked at, nested ones together (expression_iterations)",
                self.limits.iterations
            ))),
        }
    }

    /// A text, list or map of so many bytes is to be built: asked before it is.
    pub(crate) fn build(&self, bytes: usize) -> Done<()> {
        self.fits(bytes)?;
        self.read(bytes)
    }

    pub(crate) fn fits(&self, bytes: usize) -> Done<()> {
        if bytes > self.limits.output_bytes {
            return Err(Fail::limit(format!(
                "it would build {bytes} bytes, {} are allowed (expression_output_bytes)",
                self.limits.output_bytes
            )));
        }
        Ok(())
    }

    pub(crate) fn build_list(&self, elements: usize) -> Done<()> {
        self.build(elements.saturating_mul(ELEMENT_BYTES))
    }

    pub(crate) fn build_map(&self, entries: usize) -> Done<()> {
        self.build(entries.saturating_mul(ENTRY_BYTES))
    }
}

/// Outcome of a part of an evaluation.
pub(crate) type Done<T> = Result<T, Fail>;

/// Why an evaluation ends early.
#[derive(Debug)]
pub(crate) struct Fail(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: FailKind,
    message: String,
    at: Option<Span>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailKind {
    /// A field or element that is not there: `default` and `has` go on.
    Missing,
    /// `&&` and `||` go on if their other side decides.
    Wrong,
    /// Nothing goes on.
    Limit,
}

impl Fail {
    fn new(kind: FailKind, message: String) -> Self {
        Self(Box::new(Inner {
            kind,
            message,
            at: None,
        }))
    }

    pub(crate) fn missing(message: impl Into<String>) -> Self {
        Self::new(FailKind::Missing, message.into())
    }

    pub(crate) fn wrong(message: impl Into<String>) -> Self {
        Self::new(FailKind::Wrong, message.into())
    }

    pub(crate) fn limit(message: impl Into<String>) -> Self {
        Self::new(FailKind::Limit, message.into())
    }

    pub(crate) fn kind(&self) -> FailKind {
        self.0.kind
    }

    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    /// Where it happened: the innermost part that says so.
    pub(crate) fn span(&self) -> Option<Span> {
        self.0.at
    }

    pub(crate) fn within(mut self, span: Span) -> Self {
        self.locate(span);
        self
    }

    pub(crate) fn locate(&mut self, span: Span) {
        self.0.at.get_or_insert(span);
    }
}
