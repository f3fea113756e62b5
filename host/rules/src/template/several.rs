//! What a chain listens on: one template, or several that name the same.

use super::Template;
use witmq_proto::{TopicFilter, TopicName};

/// Templates of one chain.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)] // what is looked at comes first
pub(crate) struct Templates {
    others: Vec<Template>,
    first: Template,
}

impl From<Template> for Templates {
    fn from(first: Template) -> Self {
        Self {
            first,
            others: Vec::new(),
        }
    }
}

impl Templates {
    /// One more; it has to name what the first one names.
    pub(crate) fn add(&mut self, other: Template) -> Result<(), String> {
        let lacks = |one: &Template, other: &Template| {
            let lacking = one
                .names()
                .find(|name| !other.names().any(|known| known == *name));
            lacking.map(str::to_owned)
        };
        let (first, text) = (&self.first, &other.text);
        if let Some(name) = lacks(first, &other) {
            return Err(format!(
                "`{text}` has no `{{{name}}}`, but `{}` has",
                first.text
            ));
        }
        if let Some(name) = lacks(&other, first) {
            return Err(format!(
                "`{text}` has `{{{name}}}`, but `{}` has not",
                first.text
            ));
        }
        self.others.push(other);
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = &Template> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// What to subscribe to.
    pub(crate) fn filters(&self) -> impl Iterator<Item = &TopicFilter> {
        self.all().map(|template| &template.filter)
    }

    pub(crate) fn matches(&self, topic: &TopicName) -> bool {
        self.filters().any(|filter| filter.matches(topic))
    }

    /// Names that all of them capture.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.first.names()
    }

    /// What the names stand for, by the first template that matches.
    pub(crate) fn capture<'t>(&self, topic: &'t TopicName) -> Vec<(&str, &'t str)> {
        self.matching(topic).capture(topic)
    }

    /// What one of the names stands for, alike.
    pub(crate) fn captured<'t>(&self, name: &str, topic: &'t TopicName) -> Option<&'t str> {
        self.matching(topic).captured(name, topic)
    }

    fn matching(&self, topic: &TopicName) -> &Template {
        let matching = match self.others.is_empty() {
            true => None,
            false => self.all().find(|template| template.filter.matches(topic)),
        };
        matching.unwrap_or(&self.first)
    }

    /// As written, for people.
    pub(crate) fn text(&self) -> String {
        let texts: Vec<&str> = self.all().map(|template| template.text.as_str()).collect();
        texts.join(", ")
    }
}
