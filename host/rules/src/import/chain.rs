//! A statement and its actions as a chain file.
//! Must not: know how expressions are written.

use super::action::{self, Publish};
use super::calls::Want;
use super::cel::Names;
use super::output::Output;
use super::parse::{Column, Kind, Node, Statement, parse};
use super::{Imported, Remark, Rule, Wrong};
use crate::check::compile_here;
use crate::expression::{Bound, Expression};
use crate::place::Source;
use crate::template::Template;
use witmq_broker::ports::raised::{EVENTS, EventKind};

/// Topics that one chain listens on.
const TOPICS: usize = 16;

/// Columns of `*`.
const ALL: [&[&str]; 11] = [
    &["clientid"],
    &["username"],
    &["topic"],
    &["qos"],
    &["payload"],
    &["flags", "retain"],
    &["timestamp"],
    &["publish_received_at"],
    &["node"],
    &["event"],
    &["pub_props"],
];

struct Making<'a> {
    name: &'a str,
    source: Source<'a>,
    names: Names,
    remarks: Vec<(usize, String)>,
    from: Vec<String>,
    steps: Vec<String>,
}

/// A chain of a rule.
pub(super) fn make(name: &str, rule: &Rule, source: Source<'_>) -> Result<Imported, Wrong> {
    let statement = parse(&rule.sql)?;
    let mut making = Making {
        name,
        source,
        names: Names {
            aliases: Output::default(),
            item: None,
            is_event: false,
        },
        remarks: Vec::new(),
        from: Vec::new(),
        steps: Vec::new(),
    };
    making.topics(&statement)?;
    let output = match statement.is_foreach {
        true => making.foreach(&statement)?,
        false => {
            let output = making.columns(&statement.columns);
            making.filter(statement.condition.as_ref());
            output
        }
    };
    making.actions(rule, &output);
    Ok(making.written(rule))
}

/// What an event of EMQX, by its old name or its new one, is here.
fn event(topic: &str) -> Option<&'static str> {
    let kind = match topic.strip_prefix(EVENTS)? {
        "client_connected" | "client/connected" => EventKind::Connected,
        "client_disconnected" | "client/disconnected" => EventKind::Disconnected,
        "session_subscribed" | "session/subscribed" => EventKind::Subscribed,
        "session_unsubscribed" | "session/unsubscribed" => EventKind::Unsubscribed,
        "message_delivered" | "message/delivered" => EventKind::Delivered,
        "message_acked" | "message/acked" => EventKind::Acked,
        "delivery_dropped" | "message/delivery_dropped" => EventKind::Dropped,
        _ => return None,
    };
    Some(kind.topic())
}

/// A text as TOML.
fn toml_text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// In one line, for a comment.
fn in_line(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(plain).collect()
}

/// The names of a path like `payload.a`.
fn path_of(node: &Node) -> Option<Vec<String>> {
    match &node.kind {
        Kind::Word(name) => Some(vec![name.clone()]),
        Kind::Field(of, name) => {
            let mut path = path_of(of)?;
            path.push(name.clone());
            Some(path)
        }
        _ => None,
    }
}

impl Making<'_> {
    fn remark(&mut self, at: usize, text: impl Into<String>) {
        self.remarks.push((at, text.into()));
    }

    fn topics(&mut self, statement: &Statement) -> Result<(), Wrong> {
        let mut last = 0;
        for (topic, at) in &statement.from {
            last = *at;
            if let Some(topic) = event(topic) {
                if !self.from.iter().any(|known| known == topic) {
                    self.from.push(topic.to_owned());
                }
                self.names.is_event = true;
                continue;
            }
            if topic.starts_with('$') && !topic.starts_with("$SYS/") {
                let text = format!("messages from `{topic}`: no chain can listen there");
                self.remark(*at, text);
                continue;
            }
            Template::parse(topic)
                .map_err(|cause| Wrong::new(*at, format!("`{topic}` is no topic: {cause}")))?;
            if !self.from.contains(topic) {
                self.from.push(topic.clone());
            }
        }
        let is_mixed = self.from.iter().any(|topic| !topic.starts_with(EVENTS));
        if self.names.is_event && is_mixed {
            let text = "events and messages in one FROM: columns are read as those of events";
            self.remark(last, text);
        }
        match self.from.len() {
            0 => Err(Wrong::new(
                last,
                "there is no topic here that a chain can listen on",
            )),
            count if count > TOPICS => {
                let text = format!("{count} topics, a chain listens on at most {TOPICS}");
                Err(Wrong::new(last, text))
            }
            _ => Ok(()),
        }
    }

    /// Whether an expression compiles.
    fn compiles(&self, text: &str, at: usize) -> Result<(), Wrong> {
        let bound = ["item", "index"].map(|name| Bound {
            name: name.to_owned(),
            slot: 0,
        });
        let bound = match self.names.item {
            Some(_) => &bound[..],
            None => &[],
        };
        match Expression::compile(text, &[], bound) {
            Ok(_) => Ok(()),
            Err(flaw) => Err(Wrong::new(at, format!("`{}`", flaw.message))),
        }
    }

    /// A step, if the chain is one with it.
    fn push(&mut self, step: String) -> Result<(), String> {
        self.steps.push(step);
        let file = format!("{}.toml", self.name);
        match compile_here(&file, &self.body()) {
            Ok(_) => Ok(()),
            Err(error) => {
                self.steps.pop();
                Err(error.message)
            }
        }
    }

    fn filter(&mut self, condition: Option<&Node>) {
        let Some(node) = condition else {
            return;
        };
        let step = |text: &str| format!("filter = {}", toml_text(text));
        let written = self.names.write(node, Want::Value);
        let written = written.and_then(|text| self.compiles(&text, node.at).map(|()| text));
        let lost = match written {
            Ok(text) => match self.push(step(outer(&text))) {
                Ok(()) => return,
                Err(cause) => Wrong::new(node.at, cause),
            },
            Err(wrong) => wrong,
        };
        self.steps.push(step("false"));
        let text = format!(
            "{} in a condition; the filter is false and passes nothing",
            lost.text
        );
        self.remark(lost.at, text);
    }

    /// What columns select; those with a name are known to what is behind them.
    fn columns(&mut self, columns: &[Column]) -> Output {
        let mut output = Output::default();
        for (number, column) in (1..).zip(columns) {
            if matches!(column.node.kind, Kind::All) {
                self.all(&mut output);
            } else if let Err(wrong) = self.column(number, column, &mut output) {
                self.remark(wrong.at, wrong.text);
            }
        }
        output
    }

    fn all(&self, output: &mut Output) {
        for path in ALL {
            let value = |want| {
                self.names
                    .column(path, want)
                    .unwrap_or_else(|_| "null".to_owned())
            };
            let path: Vec<String> = path.iter().map(|name| (*name).to_owned()).collect();
            let put = output.put(&path, value(Want::Text), value(Want::Value));
            debug_assert!(put.is_ok(), "columns of `*` do not overlap");
        }
    }

    fn column(&mut self, number: usize, column: &Column, output: &mut Output) -> Result<(), Wrong> {
        let node = &column.node;
        let own = path_of(node);
        let is_named = column.alias.is_some();
        let path = match (&column.alias, own) {
            (Some(alias), _) => path_of(alias).ok_or_else(|| {
                Wrong::new(
                    alias.at,
                    "a name that is no path of fields; the column is left out",
                )
            })?,
            (None, Some(path)) => path,
            (None, None) => {
                let name = match &node.kind {
                    Kind::Call(name, _) => name.clone(),
                    _ => format!("column_{number}"),
                };
                let text = format!("a column without AS; it is called `{name}`");
                self.remark(node.at, text);
                vec![name]
            }
        };
        let value = self.names.value(node, Want::Text);
        let value = value.and_then(|text| self.compiles(&text, node.at).map(|()| text));
        let (text, inner) = match (value, self.names.write(node, Want::Value)) {
            (Ok(text), Ok(inner)) => (text, inner),
            (Err(wrong), _) | (_, Err(wrong)) => {
                let text = format!("{}; the column `{}` is null", wrong.text, path.join("."));
                self.remark(wrong.at, text);
                ("null".to_owned(), "null".to_owned())
            }
        };
        let bad = |text| Wrong::new(node.at, text);
        if is_named {
            let aliases = &mut self.names.aliases;
            aliases
                .put(&path, text.clone(), inner.clone())
                .map_err(bad)?;
        }
        output.put(&path, text, inner).map_err(bad)
    }

    fn foreach(&mut self, statement: &Statement) -> Result<Output, Wrong> {
        let Some((list, before)) = statement.columns.split_last() else {
            return Err(Wrong::new(0, "FOREACH needs a list"));
        };
        let selected = self.columns(before);
        let text = self.names.write(&list.node, Want::Value)?;
        self.compiles(&text, list.node.at)?;
        let item = match list.alias.as_ref().map(path_of) {
            None => "item".to_owned(),
            Some(Some(path)) if path.len() == 1 => path.concat(),
            Some(_) => {
                let at = list.alias.as_ref().map_or(0, |alias| alias.at);
                return Err(Wrong::new(at, "an element needs a plain name"));
            }
        };
        let whole = [item.clone()];
        let bad = |text| Wrong::new(list.node.at, text);
        (self.names.aliases.put(&whole, text.clone(), text.clone())).map_err(bad)?;
        self.filter(statement.condition.as_ref());
        self.names.aliases.remove(&item);
        let step = format!("foreach = {}", toml_text(outer(&text)));
        self.push(step)
            .map_err(|cause| Wrong::new(list.node.at, cause))?;
        self.names.item = Some(item.clone());
        self.filter(statement.incase.as_ref());
        if !statement.each.is_empty() {
            return Ok(self.columns(&statement.each));
        }
        let mut output = Output::default();
        self.all(&mut output);
        output.add(selected);
        (output.put(&whole, "item".to_owned(), "item".to_owned())).map_err(bad)?;
        Ok(output)
    }

    fn actions(&mut self, rule: &Rule, output: &Output) {
        let mut is_done = false;
        for action in &rule.actions {
            let (publish, remarks) = action::publish(action, output);
            for text in remarks {
                self.remark(0, text);
            }
            let Some(publish) = publish else {
                continue;
            };
            match self.push(publish_step(&publish)) {
                Ok(()) => is_done = true,
                Err(cause) => {
                    let text = format!("a republish to `{}` is left out: {cause}", publish.topic);
                    self.remark(0, text);
                }
            }
        }
        if is_done {
            return;
        }
        let topic = format!("rules/{}", self.name);
        let publish = |payload| Publish {
            topic: topic.clone(),
            payload,
            qos: None,
            retain: false,
        };
        let whole = match output.is_empty() {
            true => None,
            false => Some(output.written()),
        };
        if self.push(publish_step(&publish(whole))).is_err() {
            self.steps.push(publish_step(&publish(None)));
            self.remark(
                0,
                "more columns than one expression can have; the payload is published as it is",
            );
        }
    }

    /// Without comments.
    fn body(&self) -> String {
        let topics: Vec<String> = self.from.iter().map(|topic| toml_text(topic)).collect();
        let from = match &topics[..] {
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        let mut text = format!("mode = \"rule\"\nfrom = {from}\n");
        for step in &self.steps {
            text.push_str(&format!("\n[[step]]\n{step}\n"));
        }
        text
    }

    fn written(mut self, rule: &Rule) -> Imported {
        let mut text = String::from("# A rule of EMQX:\n#\n");
        for line in rule.sql.trim().lines() {
            text.push_str(&format!("#     {}\n", in_line(line).trim_end()));
        }
        self.remarks.sort_by_key(|(at, _)| *at);
        let remarks: Vec<Remark> = self
            .remarks
            .iter()
            .map(|(at, text)| {
                let (line, column) = crate::expression::position(self.source.text, *at);
                let text = in_line(text);
                Remark { line, column, text }
            })
            .collect();
        if !remarks.is_empty() {
            text.push_str("#\n# Not carried over:\n");
        }
        for Remark {
            line,
            column,
            text: words,
        } in &remarks
        {
            text.push_str(&format!("# {line}:{column}: {words}\n"));
        }
        text.push('\n');
        if !rule.description.is_empty() {
            text.push_str(&format!("description = {}\n", toml_text(&rule.description)));
        }
        if !rule.is_enabled {
            text.push_str("enabled = false\n");
        }
        text.push_str(&self.body());
        Imported {
            name: self.name.to_owned(),
            text,
            remarks,
        }
    }
}

/// Without the brackets around the whole.
fn outer(text: &str) -> &str {
    let Some(inner) = text
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
    else {
        return text;
    };
    let mut depth = 0usize;
    for c in inner.chars() {
        match c {
            '\'' => return text, // brackets in texts are not told apart here
            '(' => depth += 1,
            ')' if depth == 0 => return text,
            ')' => depth -= 1,
            _ => {}
        }
    }
    inner
}

fn publish_step(publish: &Publish) -> String {
    let mut step = format!("publish = {}", toml_text(&publish.topic));
    if let Some(payload) = &publish.payload {
        step.push_str(&format!("\npayload = {}", toml_text(payload)));
    }
    if let Some(qos) = publish.qos {
        step.push_str(&format!("\nqos = {qos}"));
    }
    if publish.retain {
        step.push_str("\nretain = true");
    }
    step
}
