//! Expressions of a statement as CEL.
//! Must not: know clauses and actions.

use super::Wrong;
use super::calls::{self, Want};
use super::output::{Found, Output};
use super::parse::{Kind, Node};

/// Bytes of an expression; what aliases stand for may grow without an end.
const BYTES: usize = 4000;

/// Words of CEL that cannot stand behind a point.
const RESERVED: [&str; 22] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
    "has",
];

/// What names stand for.
pub(super) struct Names {
    /// Columns that the statement has named.
    pub(super) aliases: Output,
    /// The name of an element, within a FOREACH.
    pub(super) item: Option<String>,
    /// Whether the statement is about events: their fields are in the payload.
    pub(super) is_event: bool,
}

/// A text as CEL writes it.
pub(super) fn text(text: &str) -> String {
    let mut quoted = String::from("'");
    for c in text.chars() {
        match c {
            '\\' => quoted.push_str("\\\\"),
            '\'' => quoted.push_str("\\'"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

/// A field of something.
pub(super) fn field(of: &str, name: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(is_word)
        && !RESERVED.contains(&name);
    match is_plain {
        true => format!("{of}.{name}"),
        false => format!("{of}[{}]", text(name)),
    }
}

/// The number that a node writes down.
fn number(node: &Node) -> Option<i64> {
    match &node.kind {
        Kind::Number(text) => text.parse().ok(),
        Kind::Negate(of) => number(of).map(|number| -number),
        _ => None,
    }
}

impl Names {
    /// An expression; a field that is not there is null.
    pub(super) fn value(&self, node: &Node, want: Want) -> Result<String, Wrong> {
        let written = self.write(node, want)?;
        let is_path = matches!(node.kind, Kind::Field(..) | Kind::At(_));
        match is_path && !written.starts_with("default(") {
            true => Ok(format!("default({written}, null)")),
            false => Ok(written),
        }
    }

    /// A condition, or what is computed with.
    pub(super) fn write(&self, node: &Node, want: Want) -> Result<String, Wrong> {
        let written = self.part(node, want)?;
        match written.len() > BYTES {
            true => Err(Wrong::new(
                node.at,
                format!("it is longer than {BYTES} bytes as CEL"),
            )),
            false => Ok(written),
        }
    }

    fn part(&self, node: &Node, want: Want) -> Result<String, Wrong> {
        Ok(match &node.kind {
            Kind::Number(text) => whole_number(text)
                .ok_or_else(|| Wrong::new(node.at, format!("the number {text} is too large")))?,
            Kind::Text(content) => text(content),
            Kind::Word(_) | Kind::Field(..) => return self.path(node, want),
            Kind::At(parts) => {
                let [of, at] = &**parts;
                let list = self.write(of, Want::Value)?;
                match number(at) {
                    Some(0) => return Err(Wrong::new(at.at, "elements count from 1")),
                    Some(at) if at > 0 => format!("{list}[{}]", at - 1),
                    Some(at) => format!("slice({list}, {at})[0]"),
                    None => format!("{list}[{} - 1]", self.write(at, Want::Value)?),
                }
            }
            Kind::Slice(parts) => self.slice(parts)?,
            Kind::Call(name, arguments) => return self.call(node, name, arguments),
            Kind::Binary(operator, sides) => self.binary(operator, sides)?,
            Kind::Not(of) => format!("(!{})", self.write(of, Want::Value)?),
            Kind::Negate(of) => format!("(-{})", self.write(of, Want::Value)?),
            Kind::Case {
                of,
                arms,
                otherwise,
            } => self.case(of.as_deref(), arms, otherwise.as_deref())?,
            Kind::List(items) => {
                let items = items.iter().map(|item| self.value(item, Want::Text));
                format!("[{}]", items.collect::<Result<Vec<_>, _>>()?.join(", "))
            }
            Kind::All => return Err(Wrong::new(node.at, "`*` is no value")),
        })
    }

    fn binary(&self, operator: &str, sides: &[Node; 2]) -> Result<String, Wrong> {
        let [left, right] = sides;
        let is_equality = matches!(operator, "==" | "!=" | "=~");
        let side = |node: &Node| match (is_equality, operator) {
            (true, _) => self.value(node, Want::Text),
            (false, _) => self.write(node, Want::Value),
        };
        let (left, right) = (side(left)?, side(right)?);
        Ok(match operator {
            "div" | "mod" => format!("{operator}({left}, {right})"),
            "=~" => format!("matchesFilter({left}, {right})"),
            _ => format!("({left} {operator} {right})"),
        })
    }

    fn case(
        &self,
        of: Option<&Node>,
        arms: &[(Node, Node)],
        otherwise: Option<&Node>,
    ) -> Result<String, Wrong> {
        let mut written = match otherwise {
            Some(node) => self.value(node, Want::Text)?,
            None => "null".to_owned(),
        };
        for (condition, then) in arms.iter().rev() {
            let condition = match of {
                Some(of) => {
                    let (of, is) = (
                        self.value(of, Want::Text)?,
                        self.value(condition, Want::Text)?,
                    );
                    format!("{of} == {is}")
                }
                None => self.write(condition, Want::Value)?,
            };
            let then = self.value(then, Want::Text)?;
            written = format!("({condition} ? {then} : {written})");
            if written.len() > BYTES {
                break; // refused by whoever asked
            }
        }
        Ok(written)
    }

    fn slice(&self, parts: &[Node; 3]) -> Result<String, Wrong> {
        let [of, from, to] = parts;
        let list = self.write(of, Want::Value)?;
        let (Some(from), Some(to)) = (number(from), number(to)) else {
            return Err(Wrong::new(from.at, "a range whose ends are computed"));
        };
        let from = if from > 0 { from - 1 } else { from };
        Ok(match to {
            -1 => format!("slice({list}, {from})"),
            to if to < 0 => format!("slice({list}, {from}, {})", to + 1),
            to => format!("slice({list}, {from}, {to})"),
        })
    }

    fn call(&self, node: &Node, name: &str, arguments: &[Node]) -> Result<String, Wrong> {
        let Some((ours, want)) = calls::find(name, arguments.len()) else {
            let text = match calls::is_known(name) {
                true => format!("`{name}` with {} arguments", arguments.len()),
                false => format!("the function `{name}`"),
            };
            return Err(Wrong::new(node.at, format!("{text} is not there")));
        };
        // The payload is decoded already.
        if name == "json_decode"
            && let [
                Node {
                    kind: Kind::Word(word),
                    ..
                },
            ] = arguments
            && word == "payload"
            && self.aliases.find(&["payload"], Want::Value).is_none()
        {
            return Ok("payload".to_owned());
        }
        let literal = |kind: char, at: usize| {
            let argument = arguments.get(at);
            let written = match argument.map(|node| &node.kind) {
                Some(Kind::Text(text)) => calls::literal(kind, text),
                Some(Kind::Number(text)) if kind == '#' => (text == "0").then(|| "UTC".to_owned()),
                _ => None,
            };
            let at = argument.map_or(node.at, |node| node.at);
            written
                .map(|written| text(&written))
                .ok_or_else(|| Wrong::new(at, format!("`{name}` with this argument is not there")))
        };
        let given = arguments.iter().map(|argument| self.value(argument, want));
        let given = given.collect::<Result<Vec<_>, _>>()?;
        if ours == "~" {
            let mut all = vec![literal('~', 0)?];
            all.extend(given.into_iter().skip(1));
            return Ok(format!("format({})", all.join(", ")));
        }
        if name == "tokens" || name == "split" {
            let separator = arguments.get(1).map(|node| &node.kind);
            if name == "tokens"
                && !matches!(separator, Some(Kind::Text(text)) if text.chars().count() == 1)
            {
                return Err(Wrong::new(
                    node.at,
                    "`tokens` with several separators is not there",
                ));
            }
        }
        fill(&ours, &given, literal)
    }

    /// A column, and fields of it.
    fn path(&self, node: &Node, want: Want) -> Result<String, Wrong> {
        let (mut names, mut at) = (Vec::new(), node);
        while let Kind::Field(of, name) = &at.kind {
            names.push(name.as_str());
            at = of;
        }
        let Kind::Word(base) = &at.kind else {
            let of = self.write(at, Want::Value)?;
            return Ok(names.iter().rev().fold(of, |of, name| field(&of, name)));
        };
        names.push(base);
        names.reverse();
        self.column(&names, want)
            .map_err(|text| Wrong::new(at.at, text))
    }

    /// What a path of names is, those of the statement before those of the message.
    pub(super) fn column(&self, names: &[&str], want: Want) -> Result<String, String> {
        if let Some(Found { text, rest }) = self.aliases.find(names, want) {
            return Ok(rest.iter().fold(text, |of, name| field(&of, name)));
        }
        let (base, rest) = names.split_first().unwrap_or((&"", &[]));
        if self.item.as_deref() == Some(*base) {
            return Ok(rest
                .iter()
                .fold("item".to_owned(), |of, name| field(&of, name)));
        }
        if let Some(of) = event_column(base).filter(|_| self.is_event) {
            let written = rest.iter().fold(of.to_owned(), |of, name| field(&of, name));
            // What one event has, another lacks.
            return Ok(match want {
                Want::Value => written,
                Want::Text | Want::Bytes => format!("default({written}, null)"),
            });
        }
        let of = match (*base, rest) {
            ("true" | "false" | "null", []) => return Ok((*base).to_owned()),
            ("undefined", []) => return Ok("null".to_owned()),
            ("payload", []) => {
                return Ok(match want {
                    Want::Text => "string(raw)",
                    Want::Value => "payload",
                    Want::Bytes => "raw",
                }
                .to_owned());
            }
            ("payload", rest) => {
                return Ok(rest
                    .iter()
                    .fold("payload".to_owned(), |of, name| field(&of, name)));
            }
            ("clientid", []) => "client.id",
            ("username", []) => "client.username",
            ("topic", []) => "topic.name",
            ("qos", []) => "qos",
            ("retain", []) | ("flags", ["retain"]) => "retain",
            ("flags", []) => "{'retain': retain}",
            ("timestamp" | "publish_received_at", []) => "received_ms",
            ("node", []) => "node",
            ("event", []) => "'message.publish'",
            ("pub_props", []) => "{'User-Property': user}",
            ("pub_props", ["User-Property"]) => "user",
            ("pub_props", ["User-Property", rest @ ..]) => {
                return Ok(rest
                    .iter()
                    .fold("user".to_owned(), |of, name| field(&of, name)));
            }
            ("client_attrs", rest) => {
                let of = "client.attributes".to_owned();
                return Ok(rest.iter().fold(of, |of, name| field(&of, name)));
            }
            _ => return Err(format!("the column `{}` is not there", names.join("."))),
        };
        Ok(of.to_owned())
    }
}

/// What a column of an event is; those that are called here as in messages are not among them.
fn event_column(name: &str) -> Option<&'static str> {
    Some(match name {
        "event" => "payload.event",
        "topic" => "payload.topic",
        "qos" => "payload.qos",
        "payload" => "payload.payload",
        "reason" => "payload.reason",
        "from_clientid" => "payload.from",
        "peername" => "payload.peer",
        "proto_ver" => "payload.protocol",
        "publish_received_at" => "payload.published_ms",
        "connected_at" | "disconnected_at" => "payload.at_ms",
        _ => return None,
    })
}

/// `007` and numbers of more than 64 bits are none to CEL.
fn whole_number(text: &str) -> Option<String> {
    match (text.parse::<i64>(), text.parse::<f64>()) {
        (Ok(number), _) => Some(number.to_string()),
        (Err(_), Ok(number)) if number.is_finite() => Some(format!("{number:?}")),
        _ => None,
    }
}

/// What a function is here, with its arguments; `literal` translates those that have to be literals.
fn fill(
    ours: &str,
    given: &[String],
    literal: impl Fn(char, usize) -> Result<String, Wrong>,
) -> Result<String, Wrong> {
    let mut written = String::new();
    let mut rest = ours.chars().peekable();
    while let Some(c) = rest.next() {
        let digit = rest.peek().and_then(|digit| digit.to_digit(10));
        let at = digit.and_then(|digit| usize::try_from(digit).ok()?.checked_sub(1));
        match (c, at, rest.peek().copied()) {
            ('$', Some(at), _) => {
                written.push_str(given.get(at).map_or("null", String::as_str));
                rest.next();
            }
            ('$', None, Some('*')) => {
                written.push_str(&given.join(", "));
                rest.next();
            }
            ('%' | '#' | '&', Some(at), _) => {
                written.push_str(&literal(c, at)?);
                rest.next();
            }
            _ => written.push(c),
        }
    }
    Ok(written)
}
