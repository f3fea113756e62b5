//! From the parser's tree to nodes: everything that can be wrong before a message comes is found here.
//! Must not: evaluate, except what is a literal.

use super::check::{check_count, literal_pattern};
use super::node::{Binary, Each, Kind, Macro, Node, Variable};
use super::parse::parse;
use super::span::Span;
use super::value::{Held, Value};
use super::{Bound, Flaw, flaw};
use crate::functions;
use crate::place::suggest;
use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SourceInfo};

/// Names that an expression may use beside its variables.
const CLIENT: [&str; 3] = ["id", "username", "attributes"];

/// Parses and compiles; `names` are what the chain's topic template captures. With the variables it uses, and whether it calls
/// nothing and goes through no list.
pub(super) fn compile(
    source: &str,
    names: &[&str],
    bound: &[Bound],
) -> Result<(Node, Vec<Variable>, bool), Flaw> {
    let program = parse(source)?;
    let mut compiler = Compiler {
        source,
        names,
        bound,
        places: program.source_info(),
        locals: Vec::new(),
        variables: Vec::new(),
        is_quick: true,
    };
    let node = compiler.node(program.expression())?;
    Ok((node, compiler.variables, compiler.is_quick))
}

struct Compiler<'s> {
    source: &'s str,
    names: &'s [&'s str],
    bound: &'s [Bound],
    places: &'s SourceInfo,
    /// Names of the elements of the macros around.
    locals: Vec<String>,
    /// Variables it uses.
    variables: Vec<Variable>,
    is_quick: bool,
}

impl Compiler<'_> {
    fn token(&self, id: u64) -> Span {
        let (start, end) = self.places.offset_for(id).unwrap_or_default();
        let byte = |offset: u32| usize::try_from(offset).unwrap_or(0).min(self.source.len());
        Span {
            start: byte(start),
            end: (byte(end) + 1).min(self.source.len()),
        }
    }

    fn node(&mut self, expression: &IdedExpr) -> Result<Node, Flaw> {
        let token = self.token(expression.id);
        let bracketed = token.to_closing(self.source, token.start);
        match &expression.expr {
            Expr::Literal(literal) => Ok(self.literal(literal, token)),
            Expr::Ident(name) => self.name(name, token),
            Expr::Select(select) => {
                let before = self.variables.len();
                let of = self.node(&select.operand)?;
                self.check_field(&of, &select.field, token.end)?;
                if matches!(of.kind, Kind::Variable(it) if it.has_at_hand(&select.field)) {
                    self.variables.truncate(before);
                }
                let span = of.span.join(token).balanced(self.source);
                Ok(Node {
                    span: span.with_name_behind(self.source),
                    kind: Kind::Field(Box::new(of), select.field.clone()),
                })
            }
            Expr::List(list) => {
                let items = self.nodes(&list.elements)?;
                Ok(Node {
                    kind: Kind::List(items),
                    span: bracketed,
                })
            }
            Expr::Map(map) => {
                let mut entries = Vec::new();
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else {
                        return Err(flaw(token.start, "a map is written {'key': value, …}"));
                    };
                    entries.push((self.node(&entry.key)?, self.node(&entry.value)?));
                }
                Ok(Node {
                    kind: Kind::Map(entries),
                    span: bracketed,
                })
            }
            Expr::Call(call) => self.call(call, token),
            Expr::Struct(_) => Err(flaw(
                token.start,
                "there are no types to make; a map is written {'key': value, …}",
            )),
            Expr::Comprehension(_) | Expr::Unspecified => {
                Err(flaw(token.start, "the expression cannot be parsed"))
            }
        }
    }

    fn nodes(&mut self, expressions: &[IdedExpr]) -> Result<Vec<Node>, Flaw> {
        expressions.iter().map(|one| self.node(one)).collect()
    }

    fn boxed<const N: usize>(
        &mut self,
        parts: &[IdedExpr],
        at: Span,
    ) -> Result<Box<[Node; N]>, Flaw> {
        let nodes = self.nodes(parts)?.into_boxed_slice();
        nodes
            .try_into()
            .map_err(|_| flaw(at.start, "the expression cannot be parsed"))
    }

    fn literal(&self, literal: &LiteralValue, token: Span) -> Node {
        let value = match literal {
            LiteralValue::Boolean(value) => Value::Bool(*value.inner()),
            LiteralValue::Bytes(bytes) => Value::Bytes(Held::Own(bytes.inner().into())),
            LiteralValue::Double(number) => Value::Float(*number.inner()),
            LiteralValue::Int(number) => Value::Int(*number.inner()),
            LiteralValue::UInt(number) => match i64::try_from(*number.inner()) {
                Ok(number) => Value::Int(number),
                Err(_) => Value::Float(*number.inner() as f64),
            },
            LiteralValue::Null => Value::Null,
            LiteralValue::String(text) => Value::text(text.inner()),
        };
        let is_negative = value.number().is_some_and(|number| number < 0.0);
        Node {
            kind: Kind::Literal(value),
            span: if is_negative {
                token.with_minus_before(self.source)
            } else {
                token
            },
        }
    }

    fn name(&mut self, name: &str, span: Span) -> Result<Node, Flaw> {
        let bound = self.bound.iter().rev().find(|bound| bound.name == name);
        let bound = bound.map(|bound| (name, Variable::Bound(bound.slot)));
        let variable = Variable::ALL.into_iter().find(|(known, _)| *known == name);
        let variable = bound.or(variable);
        let kind = match (
            self.locals.iter().rposition(|local| local == name),
            variable,
        ) {
            (Some(at), _) => Kind::Local(at),
            (None, Some((_, variable))) => {
                self.variables.push(variable);
                Kind::Variable(variable)
            }
            (None, None) => return Err(self.unknown_name(name, span)),
        };
        Ok(Node { kind, span })
    }

    fn unknown_name(&self, name: &str, span: Span) -> Flaw {
        let mut known: Vec<&str> = self.locals.iter().map(String::as_str).collect();
        known.extend(self.bound.iter().map(|bound| bound.name.as_str()));
        for (variable, _) in Variable::ALL {
            known.push(variable);
        }
        let hint = if self.names.contains(&name) {
            format!("; the name from the topic is `topic.{name}`")
        } else if functions::find(name).is_some() {
            format!("; the function is called as `{name}(…)`")
        } else {
            let like = suggest(name, known.iter().copied());
            like.map(|like| format!("; did you mean `{like}`?"))
                .unwrap_or_default()
        };
        let known = known.join(", ");
        flaw(
            span.start,
            format!("`{name}` is unknown{hint} (there are {known})"),
        )
    }

    /// Fields of `topic` and `client` are known before a message comes.
    fn check_field(&self, of: &Node, name: &str, at: usize) -> Result<(), Flaw> {
        let (variable, known) = match of.kind {
            Kind::Variable(Variable::Topic) => {
                ("topic", [self.names, ["name"].as_slice()].concat())
            }
            Kind::Variable(Variable::Client) => ("client", CLIENT.to_vec()),
            _ => return Ok(()),
        };
        if known.contains(&name) {
            return Ok(());
        }
        let like = suggest(name, known.iter().copied());
        let hint = like
            .map(|like| format!("; did you mean `{variable}.{like}`?"))
            .unwrap_or_default();
        let known = known.join(", ");
        let text = format!("`{variable}.{name}` is unknown{hint} (there are {known})");
        Err(flaw(of.span.start.min(at), text))
    }

    fn call(&mut self, call: &CallExpr, token: Span) -> Result<Node, Flaw> {
        let name = call.func_name.as_str();
        if let Some(operator) = self.operator(call, token)? {
            return Ok(operator);
        }
        let is_macro = Macro::ALL.into_iter().find(|(known, _)| *known == name);
        if let (Some((_, what)), Some(target)) = (is_macro, &call.target) {
            return self.each(what, name, target, &call.args, token);
        }
        let bracketed = token.to_closing(self.source, token.start);
        let span = bracketed.with_name_before(self.source);
        if name == "has" {
            return self.has(call, span);
        }
        let Some(function) = functions::find(name) else {
            return Err(self.unknown_function(name, span, token));
        };
        let given = call.target.iter().map(|target| &**target).chain(&call.args);
        let arguments = given
            .map(|one| self.node(one))
            .collect::<Result<Vec<_>, _>>()?;
        let span = match (&call.target, arguments.first()) {
            (Some(_), Some(first)) => bracketed.join(first.span).balanced(self.source),
            _ => span,
        };
        check_count(function, arguments.len(), span)?;
        if name == "default" || name == "coalesce" {
            return Ok(Node {
                kind: Kind::Default(arguments),
                span,
            });
        }
        self.is_quick = false;
        let pattern = literal_pattern(function, &arguments)?;
        Ok(Node {
            kind: Kind::Call {
                function,
                arguments,
                pattern,
            },
            span,
        })
    }

    fn operator(&mut self, call: &CallExpr, token: Span) -> Result<Option<Node>, Flaw> {
        let name = call.func_name.as_str();
        let args = call.args.as_slice();
        let found = Binary::ALL.into_iter().find(|(known, _, _)| *known == name);
        let kind = match (name, found) {
            (_, Some((_, _, binary))) => {
                self.is_quick &= binary != Binary::In;
                Kind::Binary(binary, self.boxed(args, token)?)
            }
            ("_&&_", _) => Kind::And(self.boxed(args, token)?),
            ("_||_", _) => Kind::Or(self.boxed(args, token)?),
            ("_?_:_", _) => Kind::Choose(self.boxed(args, token)?),
            ("_[_]", _) => Kind::Index(self.boxed(args, token)?),
            ("!_" | "-_", _) => {
                let [of] = *self.boxed(args, token)?;
                let span = token.join(of.span).balanced(self.source);
                let of = Box::new(of);
                let kind = if name == "!_" {
                    Kind::Not(of)
                } else {
                    Kind::Negate(of)
                };
                return Ok(Some(Node { kind, span }));
            }
            _ => return Ok(None),
        };
        let spans = match &kind {
            Kind::Binary(_, sides) | Kind::And(sides) | Kind::Or(sides) => {
                sides[0].span.join(sides[1].span)
            }
            Kind::Index(parts) => parts[0]
                .span
                .join(token.to_closing(self.source, token.start)),
            Kind::Choose(parts) => parts[0].span.join(parts[2].span),
            _ => token,
        };
        Ok(Some(Node {
            kind,
            span: spans.balanced(self.source),
        }))
    }

    fn has(&mut self, call: &CallExpr, span: Span) -> Result<Node, Flaw> {
        let text = "has(…) takes one field, as in has(payload.x)";
        let ([of], None) = (call.args.as_slice(), &call.target) else {
            return Err(flaw(span.start, text));
        };
        match self.node(of)?.kind {
            Kind::Field(of, name) => {
                if let Kind::Variable(variable) = of.kind {
                    self.variables.push(variable);
                }
                Ok(Node {
                    kind: Kind::Has(of, name),
                    span,
                })
            }
            _ => Err(flaw(span.start, text)),
        }
    }

    fn each(
        &mut self,
        what: Macro,
        name: &str,
        target: &IdedExpr,
        args: &[IdedExpr],
        token: Span,
    ) -> Result<Node, Flaw> {
        self.is_quick = false;
        let list = self.node(target)?;
        let span = token
            .to_closing(self.source, token.start)
            .join(list.span)
            .balanced(self.source);
        let (local, rest) = match args {
            [
                IdedExpr {
                    expr: Expr::Ident(local),
                    ..
                },
                rest @ ..,
            ] => (local, rest),
            _ => (&String::new(), args),
        };
        let (condition, body) = match (what, rest) {
            (Macro::Map | Macro::SortBy, [body]) => (None, Some(body)),
            (Macro::Map, [condition, body]) => (Some(condition), Some(body)),
            (Macro::Map | Macro::SortBy, _) | (_, [] | [_, _, ..]) => (None, None),
            (_, [condition]) => (Some(condition), None),
        };
        if local.is_empty() || (condition.is_none() && body.is_none()) {
            let usage = functions::usage(name).unwrap_or_default();
            let text = format!("{name} is used as {usage}, where x names an element");
            return Err(flaw(span.start, text));
        }
        let depth = self.locals.len();
        self.locals.push(local.clone());
        let condition = condition.map(|one| self.node(one)).transpose()?;
        let body = body.map(|one| self.node(one)).transpose()?;
        self.locals.truncate(depth);
        Ok(Node {
            kind: Kind::Each(Box::new(Each {
                depth,
                what,
                list,
                condition,
                body,
            })),
            span,
        })
    }

    fn unknown_function(&self, name: &str, span: Span, token: Span) -> Flaw {
        let before = self.source.get(span.start..token.start).unwrap_or_default();
        let at = span.start + before.rfind(name).unwrap_or(0);
        if let Some(usage) = functions::usage(name) {
            return flaw(at, format!("{name} is used as {usage}"));
        }
        let known = functions::all().map(|function| function.name);
        let hint = match functions::elsewhere(name) {
            Some(here) => format!("; here it is `{}`: {}", here.name, here.signature),
            None => suggest(name, known)
                .map(|like| format!("; did you mean `{like}`?"))
                .unwrap_or_default(),
        };
        flaw(at, format!("there is no function `{name}`{hint}"))
    }
}
