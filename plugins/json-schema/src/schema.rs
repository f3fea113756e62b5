//! A schema, compiled: what is looked up and parsed once.
//!
//! Owns: the keywords of 2020-12 and draft 7, and whether each has the form that it must have. Must not: see a payload;
//! find out what a reference means (`refs` does).

use crate::config::Draft;
use crate::format::Format;
use crate::pattern::Pattern;
use crate::refs::{Refs, child};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Levels of a schema.
pub(crate) const SCHEMA_DEPTH: usize = 64;
/// Keywords that are refused rather than passed over: without them a schema would allow more than it says.
const UNSUPPORTED: [&str; 2] = ["$dynamicRef", "$recursiveRef"];

/// The place of a schema in [`Schema`].
pub(crate) type Id = usize;

/// All schemas of a document, the whole one first.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) nodes: Vec<Vec<Rule>>,
}

/// One thing that a value has to satisfy.
#[derive(Debug)]
pub(crate) enum Rule {
    /// The schema `false`.
    Never,
    Type(Vec<Type>),
    Enum(Vec<Value>),
    Const(Value),
    MultipleOf(Value),
    Minimum(Value),
    Maximum(Value),
    ExclusiveMinimum(Value),
    ExclusiveMaximum(Value),
    MinLength(usize),
    MaxLength(usize),
    Pattern(Pattern),
    Format(Format),
    MinItems(usize),
    MaxItems(usize),
    Unique,
    Prefix(Vec<Id>),
    /// Items behind the first so many.
    Items(usize, Id),
    Contains {
        schema: Id,
        min: usize,
        max: usize,
    },
    MinProperties(usize),
    MaxProperties(usize),
    Required(Vec<String>),
    DependentRequired(BTreeMap<String, Vec<String>>),
    DependentSchemas(BTreeMap<String, Id>),
    Members(Members),
    Names(Id),
    All(Vec<Id>),
    Any(Vec<Id>),
    One(Vec<Id>),
    Not(Id),
    If {
        condition: Id,
        then: Option<Id>,
        otherwise: Option<Id>,
    },
    Ref(Id),
    /// Comes last: what no other rule looked at.
    UnevaluatedItems(Id),
    /// Comes last as well.
    UnevaluatedProperties(Id),
}

/// `properties`, `patternProperties` and `additionalProperties`, which only make sense together.
#[derive(Debug, Default)]
pub(crate) struct Members {
    pub(crate) named: BTreeMap<String, Id>,
    pub(crate) patterns: Vec<(Pattern, Id)>,
    pub(crate) others: Option<Id>,
}

/// The types of JSON, and integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

impl Type {
    const ALL: [(&str, Self); 7] = [
        ("null", Self::Null),
        ("boolean", Self::Boolean),
        ("integer", Self::Integer),
        ("number", Self::Number),
        ("string", Self::String),
        ("array", Self::Array),
        ("object", Self::Object),
    ];

    fn parse(value: &Value) -> Option<Self> {
        let name = value.as_str()?;
        let found = Self::ALL.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, this)| this)
    }

    pub(crate) fn name(self) -> &'static str {
        let found = Self::ALL.into_iter().find(|(_, this)| *this == self);
        found.map_or("", |(name, _)| name)
    }
}

impl Schema {
    /// Compiles a document.
    ///
    /// # Errors
    /// Which keyword cannot be used, by JSON Pointer, and why.
    pub(crate) fn compile(document: &Value, draft: Draft, formats: bool) -> Result<Self, String> {
        if crate::depth(document) > SCHEMA_DEPTH {
            return Err(format!("it has more than {SCHEMA_DEPTH} levels"));
        }
        let draft = named_draft(document)?.unwrap_or(draft);
        let mut compiler = Compiler {
            refs: Refs::new(document, draft),
            known: BTreeMap::new(),
            nodes: Vec::new(),
            wanted: Vec::new(),
            draft,
            formats,
        };
        compiler.want(String::new());
        while let Some((id, place)) = compiler.wanted.pop() {
            let rules = compiler.rules(&place)?;
            if let Some(node) = compiler.nodes.get_mut(id) {
                *node = rules;
            }
        }
        let schema = Self {
            nodes: compiler.nodes,
        };
        match schema.endless(&compiler.known) {
            Some(place) => Err(format!(
                "{place}: it refers to itself without looking into the value: it would never end"
            )),
            None => Ok(schema),
        }
    }

    /// A schema that leads back to itself at the same place of a value.
    fn endless<'a>(&self, known: &'a BTreeMap<String, Id>) -> Option<&'a str> {
        // 0: not seen, 1: on the way, 2: ends.
        let mut states = vec![0_u8; self.nodes.len()];
        for start in 0..self.nodes.len() {
            let mut way = vec![(start, false)];
            while let Some((id, is_left)) = way.pop() {
                let state = states.get_mut(id)?;
                match (*state, is_left) {
                    (_, true) => *state = 2,
                    (0, false) => {
                        *state = 1;
                        way.push((id, true));
                        let next = self
                            .nodes
                            .get(id)
                            .into_iter()
                            .flatten()
                            .flat_map(same_place);
                        way.extend(next.map(|id| (id, false)));
                    }
                    (1, false) => {
                        return known
                            .iter()
                            .find(|(_, known)| **known == id)
                            .map(|(place, _)| &**place);
                    }
                    _ => {}
                }
            }
        }
        None
    }
}

/// The version that a document says it has.
fn named_draft(document: &Value) -> Result<Option<Draft>, String> {
    let Some(named) = document.get("$schema") else {
        return Ok(None);
    };
    match named.as_str().unwrap_or_default().trim_end_matches('#') {
        "https://json-schema.org/draft/2020-12/schema" => Ok(Some(Draft::Draft202012)),
        "http://json-schema.org/draft-07/schema" => Ok(Some(Draft::Draft7)),
        _ => Err(format!(
            "/$schema: {named} is neither draft 2020-12 nor draft 7"
        )),
    }
}

/// Schemas that a rule asks about the same value.
fn same_place(rule: &Rule) -> Vec<Id> {
    match rule {
        Rule::All(all) | Rule::Any(all) | Rule::One(all) => all.clone(),
        Rule::Not(id) | Rule::Ref(id) => vec![*id],
        Rule::If {
            condition,
            then,
            otherwise,
        } => [Some(*condition), *then, *otherwise]
            .into_iter()
            .flatten()
            .collect(),
        Rule::DependentSchemas(all) => all.values().copied().collect(),
        _ => Vec::new(),
    }
}

struct Compiler<'d> {
    refs: Refs<'d>,
    /// Places that have a node.
    known: BTreeMap<String, Id>,
    nodes: Vec<Vec<Rule>>,
    /// Nodes without their rules.
    wanted: Vec<(Id, String)>,
    draft: Draft,
    formats: bool,
}

type Compiled<T> = Result<T, String>;

impl Compiler<'_> {
    /// The node of a place.
    fn want(&mut self, place: String) -> Id {
        if let Some(id) = self.known.get(&place) {
            return *id;
        }
        let id = self.nodes.len();
        self.nodes.push(Vec::new());
        self.known.insert(place.clone(), id);
        self.wanted.push((id, place));
        id
    }

    fn rules(&mut self, place: &str) -> Compiled<Vec<Rule>> {
        let bad = || format!("{place}: a schema is an object or a boolean");
        let object = match self.refs.at(place).ok_or_else(bad)? {
            Value::Bool(true) => return Ok(Vec::new()),
            Value::Bool(false) => return Ok(vec![Rule::Never]),
            Value::Object(object) => object,
            _ => return Err(bad()),
        };
        if let Some(keyword) = UNSUPPORTED
            .iter()
            .find(|keyword| object.contains_key(**keyword))
        {
            return Err(format!("{place}: `{keyword}` is not supported here"));
        }
        let reference = object.get("$ref");
        if let (Draft::Draft7, Some(reference)) = (self.draft, reference) {
            return Ok(vec![self.reference(place, reference)?]); // draft 7 sees nothing beside it
        }
        let mut rules = Vec::new();
        if let Some(reference) = reference {
            rules.push(self.reference(place, reference)?);
        }
        for (keyword, value) in object {
            let place = child(place, keyword);
            let wrong = |what: &str| format!("{place}: it has to be {what}");
            if let Some(rule) =
                assertion(keyword, value, self.formats).map_err(|what| wrong(&what))?
            {
                rules.push(rule);
            } else if let Some(rule) = self
                .applicator(keyword, value, &place)
                .map_err(|what| wrong(&what))?
            {
                rules.push(rule);
            }
        }
        self.together(place, object, &mut rules)?;
        Ok(rules)
    }

    fn reference(&mut self, place: &str, value: &Value) -> Compiled<Rule> {
        let wrong = |what: String| format!("{place}/$ref: {what}");
        let text = value
            .as_str()
            .ok_or_else(|| wrong("it has to be a text".to_owned()))?;
        let target = self.refs.resolve(place, text).map_err(wrong)?;
        Ok(Rule::Ref(self.want(target)))
    }

    /// Keywords with schemas that stand by themselves.
    fn applicator(&mut self, keyword: &str, value: &Value, place: &str) -> Compiled<Option<Rule>> {
        Ok(Some(match keyword {
            "allOf" => Rule::All(self.list(value, place)?),
            "anyOf" => Rule::Any(self.list(value, place)?),
            "oneOf" => Rule::One(self.list(value, place)?),
            "not" => Rule::Not(self.want(place.to_owned())),
            "propertyNames" => Rule::Names(self.want(place.to_owned())),
            "dependentSchemas" if self.draft == Draft::Draft202012 => {
                Rule::DependentSchemas(self.map(value, place)?.into_iter().collect())
            }
            _ => return Ok(None),
        }))
    }

    /// Keywords that change each other's meaning.
    fn together(
        &mut self,
        place: &str,
        object: &Map<String, Value>,
        rules: &mut Vec<Rule>,
    ) -> Compiled<()> {
        let at = |keyword: &str| child(place, keyword);
        let has = |keyword: &str| object.contains_key(keyword);
        let wrong = |keyword: &str, what: String| format!("{}: it has to be {what}", at(keyword));
        if has("if") {
            // Alone it decides nothing, yet what it looked at counts for `unevaluated…`.
            rules.push(Rule::If {
                condition: self.want(at("if")),
                then: has("then").then(|| self.want(at("then"))),
                otherwise: has("else").then(|| self.want(at("else"))),
            });
        }
        let (first, others) = match self.draft {
            Draft::Draft202012 => ("prefixItems", "items"),
            Draft::Draft7 => ("items", "additionalItems"),
        };
        let mut count = 0;
        match object.get(first) {
            // Draft 7 has one keyword for both.
            Some(value) if self.draft == Draft::Draft7 && !value.is_array() => {
                rules.push(Rule::Items(0, self.want(at(first))));
            }
            Some(value) => {
                let all = self
                    .list(value, &at(first))
                    .map_err(|what| wrong(first, what))?;
                count = all.len();
                rules.push(Rule::Prefix(all));
            }
            None => {}
        }
        let is_list =
            self.draft == Draft::Draft202012 || object.get(first).is_some_and(Value::is_array);
        if has(others) && is_list {
            rules.push(Rule::Items(count, self.want(at(others))));
        }
        if has("contains") {
            let bound = |keyword: &str, default| match object.get(keyword) {
                Some(value) if self.draft == Draft::Draft202012 => {
                    size(value).map_err(|what| wrong(keyword, what))
                }
                _ => Ok(default),
            };
            let (min, max) = (bound("minContains", 1)?, bound("maxContains", usize::MAX)?);
            rules.push(Rule::Contains {
                schema: self.want(at("contains")),
                min,
                max,
            });
        }
        self.members(place, object, rules)?;
        if self.draft == Draft::Draft202012 {
            if has("unevaluatedItems") {
                rules.push(Rule::UnevaluatedItems(self.want(at("unevaluatedItems"))));
            }
            if has("unevaluatedProperties") {
                rules.push(Rule::UnevaluatedProperties(
                    self.want(at("unevaluatedProperties")),
                ));
            }
        }
        Ok(())
    }

    fn members(
        &mut self,
        place: &str,
        object: &Map<String, Value>,
        rules: &mut Vec<Rule>,
    ) -> Compiled<()> {
        let at = |keyword: &str| child(place, keyword);
        let wrong = |keyword: &str, what: String| format!("{}: it has to be {what}", at(keyword));
        let mut members = Members::default();
        let mut map = |keyword: &str| match object.get(keyword) {
            Some(value) => self
                .map(value, &at(keyword))
                .map_err(|what| wrong(keyword, what)),
            None => Ok(Vec::new()),
        };
        members.named = map("properties")?.into_iter().collect();
        for (text, id) in map("patternProperties")? {
            let pattern = Pattern::new(&text).map_err(|what| wrong("patternProperties", what))?;
            members.patterns.push((pattern, id));
        }
        let others = "additionalProperties";
        members.others = object.contains_key(others).then(|| self.want(at(others)));
        if !members.named.is_empty() || !members.patterns.is_empty() || members.others.is_some() {
            rules.push(Rule::Members(members));
        }
        if let (Draft::Draft7, Some(value)) = (self.draft, object.get("dependencies")) {
            let (mut schemas, mut names) = (BTreeMap::new(), BTreeMap::new());
            let all = value
                .as_object()
                .ok_or_else(|| wrong("dependencies", "an object".to_owned()))?;
            for (name, value) in all {
                if value.is_array() {
                    names.insert(
                        name.clone(),
                        texts(value).map_err(|what| wrong("dependencies", what))?,
                    );
                } else {
                    schemas.insert(name.clone(), self.want(child(&at("dependencies"), name)));
                }
            }
            rules.push(Rule::DependentRequired(names));
            rules.push(Rule::DependentSchemas(schemas));
        }
        Ok(())
    }

    fn list(&mut self, value: &Value, place: &str) -> Compiled<Vec<Id>> {
        let items = value.as_array().filter(|items| !items.is_empty());
        let items = items.ok_or("a list of schemas that is not empty")?;
        let places = (0..items.len()).map(|index| child(place, &index.to_string()));
        Ok(places.map(|place| self.want(place)).collect())
    }

    fn map(&mut self, value: &Value, place: &str) -> Compiled<Vec<(String, Id)>> {
        let object = value.as_object().ok_or("an object of schemas")?;
        let names = object
            .keys()
            .map(|name| (name.clone(), self.want(child(place, name))));
        Ok(names.collect())
    }
}

/// Keywords without schemas; an error says what the value has to be.
fn assertion(keyword: &str, value: &Value, formats: bool) -> Compiled<Option<Rule>> {
    Ok(Some(match keyword {
        "type" => Rule::Type(types(value)?),
        "enum" => Rule::Enum(value.as_array().ok_or("a list")?.clone()),
        "const" => Rule::Const(value.clone()),
        "multipleOf" => {
            let is_above_0 = value.as_f64().is_some_and(|by| by > 0.0);
            Rule::MultipleOf(
                is_above_0
                    .then(|| value.clone())
                    .ok_or("a number above 0")?,
            )
        }
        "minimum" => Rule::Minimum(number(value)?),
        "maximum" => Rule::Maximum(number(value)?),
        "exclusiveMinimum" => Rule::ExclusiveMinimum(number(value)?),
        "exclusiveMaximum" => Rule::ExclusiveMaximum(number(value)?),
        "minLength" => Rule::MinLength(size(value)?),
        "maxLength" => Rule::MaxLength(size(value)?),
        "pattern" => Rule::Pattern(Pattern::new(value.as_str().ok_or("a text")?)?),
        "format" => {
            let format = Format::parse(value.as_str().ok_or("a text")?).filter(|_| formats);
            return Ok(format.map(Rule::Format));
        }
        "minItems" => Rule::MinItems(size(value)?),
        "maxItems" => Rule::MaxItems(size(value)?),
        "uniqueItems" => {
            let is_unique = value.as_bool().ok_or("true or false")?;
            return Ok(is_unique.then_some(Rule::Unique));
        }
        "minProperties" => Rule::MinProperties(size(value)?),
        "maxProperties" => Rule::MaxProperties(size(value)?),
        "required" => Rule::Required(texts(value)?),
        "dependentRequired" => {
            let all = value
                .as_object()
                .ok_or("an object of lists of texts")?
                .iter();
            let all = all.map(|(name, value)| Ok((name.clone(), texts(value)?)));
            Rule::DependentRequired(all.collect::<Compiled<_>>()?)
        }
        _ => return Ok(None),
    }))
}

fn types(value: &Value) -> Compiled<Vec<Type>> {
    let one = std::slice::from_ref(value);
    let names = value.as_array().map_or(one, Vec::as_slice);
    let types: Option<Vec<_>> = names.iter().map(Type::parse).collect();
    let types = types.filter(|types| !types.is_empty());
    types.ok_or_else(|| {
        "null, boolean, integer, number, string, array, object, or a list of them".to_owned()
    })
}

fn number(value: &Value) -> Compiled<Value> {
    value
        .is_number()
        .then(|| value.clone())
        .ok_or_else(|| "a number".to_owned())
}

fn size(value: &Value) -> Compiled<usize> {
    let whole = value.as_u64().or_else(|| {
        let number = value
            .as_f64()
            .filter(|number| number.fract() == 0.0 && (0.0..1e15).contains(number))?;
        number.to_string().parse().ok() // 2.0 is 2
    });
    whole
        .map(|whole| usize::try_from(whole).unwrap_or(usize::MAX))
        .ok_or_else(|| "a whole number from 0".to_owned())
}

fn texts(value: &Value) -> Compiled<Vec<String>> {
    let texts = value
        .as_array()
        .map(|items| items.iter().map(|item| item.as_str().map(str::to_owned)));
    texts
        .and_then(Iterator::collect)
        .ok_or_else(|| "a list of texts".to_owned())
}
