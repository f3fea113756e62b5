//! The steps of a file, those of its named chains behind the others, each with the place of the next.

use crate::expression::Bound;
use crate::file::{self, File};
use crate::place::{RuleError, Source, suggest};
use crate::step::{self, Names, Step};
use serde_spanned::Spanned;
use std::cell::RefCell;

/// Behind the last step of a chain there is none.
const END: usize = usize::MAX;

/// All steps, and where the named chains begin.
pub(super) struct Laid {
    pub(super) steps: Vec<Step>,
    pub(super) named: Vec<(String, usize)>,
    /// The first step.
    pub(super) start: usize,
}

/// Steps between which one leads to the next.
struct Block<'f> {
    /// None for the file's own.
    name: Option<&'f Spanned<String>>,
    steps: &'f [Spanned<file::Step>],
    begins: usize,
}

/// Compiles the steps of a file. `topic` are the names of its topic template.
pub(super) fn lay(file: &File, topic: &[&str], source: Source<'_>) -> Result<Laid, RuleError> {
    let mut blocks = vec![Block {
        name: None,
        steps: file.step.as_deref().unwrap_or_default(),
        begins: 0,
    }];
    let mut begins = blocks.iter().map(|block| block.steps.len()).sum();
    for (name, chain) in &file.chain {
        blocks.push(Block {
            name: Some(name),
            steps: &chain.step,
            begins,
        });
        begins += chain.step.len();
    }
    let order = order(&blocks, source)?;
    let named: Vec<(String, usize)> = blocks
        .iter()
        .filter_map(|block| Some((block.name?.get_ref().clone(), block.begins)))
        .collect();
    let on_error = step::on_error(file, source)?;
    let slots = RefCell::new(Vec::new());
    // What is named on every way to a block that `then` leads to it.
    let mut known: Vec<Option<Vec<Bound>>> = blocks.iter().map(|_| None).collect();
    let mut laid = Vec::new();
    for at in order {
        let (Some(block), Some(known_here)) = (blocks.get(at), known.get_mut(at)) else {
            continue;
        };
        let names = Names {
            topic,
            bound: RefCell::new(known_here.take().unwrap_or_default()),
            tables: &file.table,
            slots: &slots,
            named: &named,
            on_error,
        };
        for (number, raw) in block.steps.iter().enumerate() {
            let here = block.begins + number;
            let is_last = number + 1 == block.steps.len();
            let next = if is_last { END } else { here + 1 };
            laid.push((here, step::compile(raw, file, &names, next, source)?));
            if let Some(known_there) = then(raw, &blocks).and_then(|there| known.get_mut(there)) {
                let bound = names.bound.borrow();
                match known_there {
                    Some(both) => both.retain(|one| bound.contains(one)),
                    None => *known_there = Some(bound.clone()),
                }
            }
        }
    }
    laid.sort_by_key(|(here, _)| *here);
    let mut steps: Vec<Step> = laid.into_iter().map(|(_, step)| step).collect();
    let mut start = 0;
    if file.decode.may_fail() {
        start = steps.len();
        let format = file.decode.clone();
        steps.push(Step {
            word: "decode",
            kind: step::Kind::Decode(step::Decode { format }),
            on_error,
            next: 0,
            is_quick: true,
        });
    }
    Ok(Laid {
        steps,
        named,
        start,
    })
}

/// The block that a step leads to, if it does.
fn then(raw: &Spanned<file::Step>, blocks: &[Block<'_>]) -> Option<usize> {
    let then = raw.get_ref().then.as_ref()?.get_ref();
    let is_it = |block: &Block<'_>| block.name.is_some_and(|name| name.get_ref() == then);
    blocks.iter().position(is_it)
}

/// The blocks in an order in which `then` only leads forward. There is one unless they go in a circle.
fn order(blocks: &[Block<'_>], source: Source<'_>) -> Result<Vec<usize>, RuleError> {
    let mut order = Vec::new();
    for at in 0..blocks.len() {
        visit(at, blocks, &mut Vec::new(), &mut order, source)?;
    }
    order.reverse();
    Ok(order)
}

/// `way` leads to the block `at`; when all behind it are in `order`, it is.
fn visit(
    at: usize,
    blocks: &[Block<'_>],
    way: &mut Vec<usize>,
    order: &mut Vec<usize>,
    source: Source<'_>,
) -> Result<(), RuleError> {
    let Some(block) = blocks.get(at).filter(|_| !order.contains(&at)) else {
        return Ok(());
    };
    way.push(at);
    for raw in block.steps {
        let Some(there) = then(raw, blocks) else {
            continue;
        };
        if let Some(from) = way.iter().position(|been| *been == there) {
            let circle = way.get(from..).unwrap_or_default().iter().chain([&there]);
            let names = circle.filter_map(|at| Some(blocks.get(*at)?.name?.get_ref().as_str()));
            let names = names.collect::<Vec<_>>().join(" -> ");
            let at = raw
                .get_ref()
                .then
                .as_ref()
                .map_or(0, |then| then.span().start);
            let text = format!("named chains go in a circle: {names}");
            let error = source.error(at, "chain-circle", text);
            return Err(error.hint("let one of them end, or repeat its steps in another"));
        }
        visit(there, blocks, way, order, source)?;
    }
    way.pop();
    order.push(at);
    Ok(())
}

/// The place of a named chain, or what to say when there is none.
pub(crate) fn find(named: &[(String, usize)], name: &str) -> Result<usize, (String, String)> {
    if let Some((_, place)) = named.iter().find(|(known, _)| known == name) {
        return Ok(*place);
    }
    let known: Vec<&str> = named.iter().map(|(known, _)| known.as_str()).collect();
    let hint = match suggest(name, known.iter().copied()) {
        Some(like) => format!("did you mean `{like}`?"),
        None if known.is_empty() => format!("write its steps under [[chain.{name}.step]]"),
        None => format!("there are {}", step::listed(known.into_iter())),
    };
    Err((format!("there is no chain `{name}` in this file"), hint))
}
