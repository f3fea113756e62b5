//! Steps that chains have in common: a fleet has one chain for each site, made from one text.
//!
//! Owns: [`Shape`], what tells steps apart, and [`Shapes`], the steps of each that are in use. Must not: share what remembers something.
//! Why: a message that meets another chain than the one before waits for the memory of its steps, unless they are the same memory.

use crate::file::File;
use crate::step::Step;
use serde_spanned::Spanned;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Digest of all that steps are made of: a file without what they do not see, each line where it was, because errors say lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shape([u8; 32]);

impl Shape {
    /// The shape of the steps of a file; `names` are those of its topic templates.
    pub(super) fn of(file: &File, text: &str, names: &[&str]) -> Self {
        let from = std::iter::once(&file.from.first).chain(&file.from.others);
        let mut unseen: Vec<Range<usize>> = from.map(Spanned::span).collect();
        unseen.extend(file.description.iter().map(Spanned::span));
        unseen.extend(tests(file, text.len()));
        unseen.sort_by_key(|span| span.start);
        let mut digest = Sha256::new();
        for name in names {
            digest.update(name.as_bytes());
            digest.update([0]);
        }
        let mut at = 0;
        for span in unseen {
            digest.update(text.get(at..span.start).unwrap_or_default());
            let within = text.get(span.start.max(at)..span.end).unwrap_or_default();
            digest.update("\n".repeat(within.matches('\n').count()));
            at = at.max(span.end);
        }
        digest.update(text.get(at..).unwrap_or_default());
        Self(digest.finalize().into())
    }
}

/// Where tests are: each from its header to that of the next step.
fn tests(file: &File, end: usize) -> impl Iterator<Item = Range<usize>> {
    let named = file.chain.values().flat_map(|chain| &chain.step);
    let steps = file.step.iter().flatten().chain(named);
    let mut headers: Vec<usize> = steps.map(|step| step.span().start).collect();
    headers.sort_unstable();
    file.test.iter().map(move |test| {
        let begins = test.span().start;
        let next = headers.iter().find(|header| **header > begins);
        begins..next.copied().unwrap_or(end)
    })
}

/// Steps of the chains that are deployed, by shape: no more than there are chains.
#[derive(Debug, Default)]
pub(crate) struct Shapes(Mutex<HashMap<Shape, Weak<[Step]>>>);

impl Shapes {
    /// Those that another chain of this shape has, or else these, for the next one.
    pub(super) fn shared(&self, shape: Shape, steps: Arc<[Step]>) -> Arc<[Step]> {
        if steps.iter().any(|step| step.kind.remembers()) {
            return steps;
        }
        let mut shapes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shapes.get(&shape).and_then(Weak::upgrade) {
            return known;
        }
        shapes.retain(|_, steps| steps.strong_count() > 0);
        shapes.insert(shape, Arc::downgrade(&steps));
        steps
    }
}
