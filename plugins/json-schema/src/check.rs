//! A value held against a compiled schema.
//!
//! Owns: what each keyword asks of a value, the words for what does not fit, and the bound on the work. Must not: repeat
//! what was sent; words name places and what the schema wants.

use crate::schema::{Id, Members, Rule, Schema, Type};
use crate::value::{self, Place};
use serde_json::{Map, Value};
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// Schemas that may be asked about one payload, and its members and items: a schema with many alternatives in each other
/// takes a time that grows with every level.
const STEPS: u32 = 200_000;
/// Schemas within schemas while one payload is checked: each needs a piece of the stack.
const LEVELS: u32 = 256;

/// Why a value does not fit, in words with places, so many of them at most; none if it does.
pub(crate) fn errors(schema: &Schema, value: &Value, max_errors: usize) -> Vec<String> {
    let mut check = Check {
        schema,
        max_errors,
        errors: Vec::new(),
        is_quiet: false,
        is_over: false,
        steps: 0,
        level: 0,
    };
    let fits = check.node(0, value, &Place::Root);
    if check.is_over {
        return vec![format!(
            "/: checking it takes more than {STEPS} steps or {LEVELS} levels"
        )];
    }
    if fits { Vec::new() } else { check.errors }
}

struct Check<'s> {
    schema: &'s Schema,
    max_errors: usize,
    errors: Vec<String>,
    /// Only whether it fits is asked, not why not.
    is_quiet: bool,
    /// The bound on the work is reached: no answer counts any more.
    is_over: bool,
    steps: u32,
    level: u32,
}

impl<'s> Check<'s> {
    fn is_done(&self) -> bool {
        self.is_quiet || self.is_over || self.errors.len() >= self.max_errors
    }

    fn works(&mut self, steps: usize) {
        self.steps = self
            .steps
            .saturating_add(u32::try_from(steps).unwrap_or(u32::MAX));
        self.is_over |= self.steps > STEPS;
    }

    fn rules(&self, id: Id) -> &'s [Rule] {
        self.schema.nodes.get(id).map_or(&[], Vec::as_slice)
    }

    fn node(&mut self, id: Id, value: &Value, place: &Place<'_>) -> bool {
        self.works(1);
        self.is_over |= self.level == LEVELS;
        if self.is_over {
            return false;
        }
        self.level += 1;
        let fits = self.every(self.rules(id), |check, rule| {
            check.rule(id, rule, value, place)
        });
        self.level -= 1;
        fits
    }

    /// Whether all of them hold; goes on behind the first that does not as long as more words are asked for.
    fn every<T>(
        &mut self,
        all: impl IntoIterator<Item = T>,
        mut holds: impl FnMut(&mut Self, T) -> bool,
    ) -> bool {
        let mut fits = true;
        for one in all {
            fits &= holds(self, one);
            if !fits && self.is_done() {
                break;
            }
        }
        fits
    }

    /// Whether a value fits, without words.
    fn fits(&mut self, id: Id, value: &Value) -> bool {
        let was_quiet = std::mem::replace(&mut self.is_quiet, true);
        let fits = self.node(id, value, &Place::Root);
        self.is_quiet = was_quiet;
        fits
    }

    fn holds(&mut self, holds: bool, place: &Place<'_>, words: impl FnOnce() -> String) -> bool {
        if !holds && !self.is_quiet && self.errors.len() < self.max_errors {
            self.errors
                .push(value::cut(format!("{}: {}", place.pointer(), words())));
        }
        holds
    }

    fn rule(&mut self, id: Id, rule: &'s Rule, value: &Value, place: &Place<'_>) -> bool {
        match rule {
            Rule::Never => self.holds(false, place, || "nothing is allowed here".to_owned()),
            Rule::Type(types) => {
                let fits = types.iter().any(|one| value::is_of(value, *one));
                self.holds(fits, place, || {
                    let names: Vec<_> = types.iter().map(|one: &Type| one.name()).collect();
                    format!("has to be of type {}", names.join(" or "))
                })
            }
            Rule::Enum(values) => {
                let fits = values.iter().any(|one| value::same(one, value));
                self.holds(fits, place, || {
                    format!("has to be one of {}", Value::from(values.clone()))
                })
            }
            Rule::Const(only) => self.holds(value::same(only, value), place, || {
                format!("has to be {only}")
            }),
            Rule::All(all) => self.every(all, |check, id| check.node(*id, value, place)),
            Rule::Any(all) => {
                let fits = all.iter().any(|id| self.fits(*id, value));
                self.holds(fits, place, || {
                    "fits none of the schemas of `anyOf`".to_owned()
                })
            }
            Rule::One(all) => {
                let count = all
                    .iter()
                    .filter(|id| self.fits(**id, value))
                    .take(2)
                    .count();
                self.holds(count == 1, place, || {
                    let which = if count == 0 { "none" } else { "more than one" };
                    format!("fits {which} of the schemas of `oneOf`")
                })
            }
            Rule::Not(id) => {
                let fits = !self.fits(*id, value);
                self.holds(fits, place, || "fits the schema of `not`".to_owned())
            }
            Rule::If {
                condition,
                then,
                otherwise,
            } => {
                let next = if self.fits(*condition, value) {
                    then
                } else {
                    otherwise
                };
                next.is_none_or(|id| self.node(id, value, place))
            }
            Rule::Ref(id) => self.node(*id, value, place),
            _ => match value {
                Value::Number(_) => self.number(rule, value, place),
                Value::String(text) => self.text(rule, text, place),
                Value::Array(items) => self.array(id, rule, items, place),
                Value::Object(members) => self.object(id, rule, members, value, place),
                _ => true,
            },
        }
    }

    fn number(&mut self, rule: &Rule, number: &Value, place: &Place<'_>) -> bool {
        let order = |bound| value::order(number, bound);
        match rule {
            Rule::MultipleOf(by) => self.holds(value::is_multiple(number, by), place, || {
                format!("has to be a multiple of {by}")
            }),
            Rule::Minimum(bound) => {
                let fits = order(bound) != Some(Ordering::Less);
                self.holds(fits, place, || format!("has to be at least {bound}"))
            }
            Rule::Maximum(bound) => {
                let fits = order(bound) != Some(Ordering::Greater);
                self.holds(fits, place, || format!("has to be at most {bound}"))
            }
            Rule::ExclusiveMinimum(bound) => {
                let fits = order(bound) == Some(Ordering::Greater);
                self.holds(fits, place, || format!("has to be more than {bound}"))
            }
            Rule::ExclusiveMaximum(bound) => {
                let fits = order(bound) == Some(Ordering::Less);
                self.holds(fits, place, || format!("has to be less than {bound}"))
            }
            _ => true,
        }
    }

    fn text(&mut self, rule: &Rule, text: &str, place: &Place<'_>) -> bool {
        match rule {
            Rule::MinLength(bound) => {
                let fits = text.chars().count() >= *bound;
                self.holds(fits, place, || {
                    format!("has to have at least {bound} characters")
                })
            }
            Rule::MaxLength(bound) => {
                let fits = text.chars().count() <= *bound;
                self.holds(fits, place, || {
                    format!("has to have at most {bound} characters")
                })
            }
            Rule::Pattern(pattern) => {
                self.works(pattern.steps(text));
                let fits = !self.is_over && pattern.is_match(text);
                self.holds(fits, place, || format!("has to match `{}`", pattern.text()))
            }
            Rule::Format(format) => self.holds(format.fits(text), place, || {
                format!("has to be of the format {}", format.name())
            }),
            _ => true,
        }
    }

    fn array(&mut self, id: Id, rule: &Rule, items: &[Value], place: &Place<'_>) -> bool {
        match rule {
            Rule::MinItems(bound) => self.holds(items.len() >= *bound, place, || {
                format!("has to have at least {bound} items")
            }),
            Rule::MaxItems(bound) => self.holds(items.len() <= *bound, place, || {
                format!("has to have at most {bound} items")
            }),
            Rule::Unique => {
                self.works(items.len());
                let mut seen = BTreeSet::new();
                let twice = items
                    .iter()
                    .position(|item| !seen.insert(value::canonical(item)));
                self.holds(twice.is_none(), place, || {
                    format!("the item at {} is there before", twice.unwrap_or_default())
                })
            }
            Rule::Prefix(all) => self.items(items.iter().enumerate().zip(all), place),
            Rule::Items(from, id) => {
                let rest = items.iter().enumerate().skip(*from);
                self.items(rest.map(|item| (item, id)), place)
            }
            Rule::Contains { schema, min, max } => {
                let count = items.iter().filter(|item| self.fits(*schema, item)).count();
                let fits = (*min..=*max).contains(&count);
                self.holds(fits, place, || {
                    format!(
                        "{count} items fit the schema of `contains`, which are too few or too many"
                    )
                })
            }
            Rule::UnevaluatedItems(schema) => {
                let mut seen = vec![false; items.len()];
                self.seen_items(id, items, &mut seen);
                let rest = items
                    .iter()
                    .enumerate()
                    .zip(&seen)
                    .filter(|(_, seen)| !**seen);
                self.items(rest.map(|(item, _)| (item, schema)), place)
            }
            _ => true,
        }
    }

    fn items<'v, 'i>(
        &mut self,
        items: impl Iterator<Item = ((usize, &'v Value), &'i Id)>,
        place: &Place<'_>,
    ) -> bool {
        self.every(items, |check, ((index, item), id)| {
            check.node(*id, item, &Place::Item(place, index))
        })
    }

    /// Marks the items that the rules of a node looked at.
    fn seen_items(&mut self, id: Id, items: &[Value], seen: &mut [bool]) {
        self.works(items.len());
        if self.is_over {
            return;
        }
        let value = Value::Array(items.to_vec());
        for rule in self.rules(id) {
            match rule {
                Rule::Prefix(all) => seen
                    .iter_mut()
                    .take(all.len())
                    .for_each(|seen| *seen = true),
                Rule::Items(..) => seen.fill(true),
                Rule::Contains { schema, .. } => {
                    for (item, seen) in items.iter().zip(seen.iter_mut()) {
                        *seen |= self.fits(*schema, item);
                    }
                }
                _ => {}
            }
            for other in self.followed(rule, &value) {
                self.seen_items(other, items, seen);
                if self
                    .rules(other)
                    .iter()
                    .any(|rule| matches!(rule, Rule::UnevaluatedItems(_)))
                {
                    seen.fill(true);
                }
            }
        }
    }

    /// Schemas that a rule applied to the same value, and that it fits.
    fn followed(&mut self, rule: &Rule, value: &Value) -> Vec<Id> {
        match rule {
            Rule::Ref(id) => vec![*id],
            Rule::All(all) => all.clone(),
            Rule::Any(all) | Rule::One(all) => all
                .iter()
                .copied()
                .filter(|id| self.fits(*id, value))
                .collect(),
            Rule::If {
                condition,
                then,
                otherwise,
            } => match self.fits(*condition, value) {
                true => [Some(*condition), *then].into_iter().flatten().collect(),
                false => otherwise.iter().copied().collect(),
            },
            Rule::DependentSchemas(all) => {
                let there = all
                    .iter()
                    .filter(|(name, _)| value.get(name.as_str()).is_some());
                there.map(|(_, id)| *id).collect()
            }
            _ => Vec::new(),
        }
    }

    fn object(
        &mut self,
        id: Id,
        rule: &Rule,
        members: &Map<String, Value>,
        value: &Value,
        place: &Place<'_>,
    ) -> bool {
        match rule {
            Rule::MinProperties(bound) => self.holds(members.len() >= *bound, place, || {
                format!("has to have at least {bound} members")
            }),
            Rule::MaxProperties(bound) => self.holds(members.len() <= *bound, place, || {
                format!("has to have at most {bound} members")
            }),
            Rule::Required(names) => self.required(names, members, place),
            Rule::DependentRequired(all) => {
                let there = all.iter().filter(|(name, _)| members.contains_key(*name));
                self.every(there, |check, (_, names)| {
                    check.required(names, members, place)
                })
            }
            Rule::DependentSchemas(all) => {
                let there = all.iter().filter(|(name, _)| members.contains_key(*name));
                self.every(there, |check, (_, id)| check.node(*id, value, place))
            }
            Rule::Names(id) => self.every(members.keys(), |check, name| {
                let is_legal = check.fits(*id, &Value::from(name.as_str()));
                check.holds(is_legal, &Place::Member(place, name), || {
                    "is no name that is allowed".to_owned()
                })
            }),
            Rule::Members(rules) => self.members(rules, members, place),
            Rule::UnevaluatedProperties(schema) => {
                let mut seen = BTreeSet::new();
                self.seen_members(id, members, value, &mut seen);
                let rest = members
                    .iter()
                    .filter(|(name, _)| !seen.contains(name.as_str()));
                self.every(rest, |check, (name, member)| {
                    check.node(*schema, member, &Place::Member(place, name))
                })
            }
            _ => true,
        }
    }

    fn required(
        &mut self,
        names: &[String],
        members: &Map<String, Value>,
        place: &Place<'_>,
    ) -> bool {
        self.every(names, |check, name| {
            check.holds(members.contains_key(name), place, || {
                format!("`{name}` is missing")
            })
        })
    }

    fn members(
        &mut self,
        rules: &Members,
        members: &Map<String, Value>,
        place: &Place<'_>,
    ) -> bool {
        self.every(members, |check, (name, member)| {
            let place = Place::Member(place, name);
            let named = rules.named.get(name);
            let mut fits = named.is_none_or(|id| check.node(*id, member, &place));
            let mut is_known = named.is_some();
            for (pattern, id) in &rules.patterns {
                check.works(pattern.steps(name));
                if !check.is_over && pattern.is_match(name) {
                    is_known = true;
                    fits &= check.node(*id, member, &place);
                }
            }
            match rules.others.filter(|_| !is_known) {
                Some(id) => check.node(id, member, &place),
                None => fits,
            }
        })
    }

    /// Collects the names that the rules of a node looked at.
    fn seen_members<'v>(
        &mut self,
        id: Id,
        members: &'v Map<String, Value>,
        value: &Value,
        seen: &mut BTreeSet<&'v str>,
    ) {
        self.works(members.len());
        if self.is_over {
            return;
        }
        for rule in self.rules(id) {
            if let Rule::Members(rules) = rule {
                let is_seen = |name: &&String| {
                    rules.others.is_some()
                        || rules.named.contains_key(name.as_str())
                        || rules
                            .patterns
                            .iter()
                            .any(|(pattern, _)| pattern.is_match(name))
                };
                seen.extend(members.keys().filter(is_seen).map(String::as_str));
            }
            for other in self.followed(rule, value) {
                self.seen_members(other, members, value, seen);
                if self
                    .rules(other)
                    .iter()
                    .any(|rule| matches!(rule, Rule::UnevaluatedProperties(_)))
                {
                    seen.extend(members.keys().map(String::as_str));
                }
            }
        }
    }
}
