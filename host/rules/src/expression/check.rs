//! What can be told of a call before any message comes.
//! Must not: evaluate.

use super::node::{Kind, Node};
use super::span::Span;
use super::value::Value;
use super::{Flaw, flaw};
use crate::functions::{self, Function, Pattern};

pub(super) fn check_count(function: &Function, given: usize, span: Span) -> Result<(), Flaw> {
    let (least, most) = function.arguments;
    if (least..=most).contains(&given) {
        return Ok(());
    }
    let takes = match (least, most) {
        (0, 0) => "no argument".to_owned(),
        (1, 1) => "1 argument".to_owned(),
        (least, most) if least == most => format!("{least} arguments"),
        (least, functions::ANY) => format!("{least} or more arguments"),
        (least, most) => format!("{least} to {most} arguments"),
    };
    Err(flaw(
        span.start,
        format!(
            "`{}` takes {takes}, not {given}: {}",
            function.name, function.signature
        ),
    ))
}

/// A pattern that is written down is built now, and wrong now.
pub(super) fn literal_pattern(
    function: &Function,
    arguments: &[Node],
) -> Result<Option<Pattern>, Flaw> {
    let at = function.pattern.and_then(|at| arguments.get(at));
    let Some(Node {
        kind: Kind::Literal(Value::String(text)),
        span,
    }) = at
    else {
        return Ok(None);
    };
    Pattern::new(text)
        .map(Some)
        .map_err(|cause| flaw(span.start, cause))
}
