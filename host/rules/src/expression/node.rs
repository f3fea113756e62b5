//! An expression, compiled: names are places, functions are found, patterns are built.
//! Must not: evaluate.

use super::span::Span;
use super::value::Value;
use crate::functions::{Function, Pattern};

/// What an expression may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    Payload,
    Topic,
    Client,
    Qos,
    Retain,
    ReceivedMs,
    Raw,
    /// User properties.
    User,
    /// Name of this node.
    Node,
    /// What a step before has named: its slot.
    Bound(u8),
}

impl Variable {
    pub(crate) const ALL: [(&'static str, Self); 9] = [
        ("payload", Self::Payload),
        ("topic", Self::Topic),
        ("client", Self::Client),
        ("qos", Self::Qos),
        ("retain", Self::Retain),
        ("received_ms", Self::ReceivedMs),
        ("raw", Self::Raw),
        ("user", Self::User),
        ("node", Self::Node),
    ];

    /// One of sixteen, for a set of them.
    pub(crate) fn bit(self) -> u16 {
        let place = match self {
            Self::Payload => 0,
            Self::Topic => 1,
            Self::Client => 2,
            Self::Qos => 3,
            Self::Retain => 4,
            Self::ReceivedMs => 5,
            Self::Raw => 6,
            Self::User => 7,
            Self::Node => 8,
            Self::Bound(_) => 9,
        };
        1 << place
    }

    /// Whether this field of it needs nothing of the others. Of a payload that has it that is so too.
    pub(crate) fn has_at_hand(self, name: &str) -> bool {
        match self {
            Self::Topic => true,
            Self::Client => matches!(name, "id" | "username"),
            _ => false,
        }
    }
}

pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
}

pub(crate) enum Kind {
    Literal(Value<'static>),
    Variable(Variable),
    /// The element of a macro around it, counted from the outermost.
    Local(usize),
    Field(Box<Node>, String),
    Has(Box<Node>, String),
    Index(Box<[Node; 2]>),
    Not(Box<Node>),
    Negate(Box<Node>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    /// Condition, then, else.
    Choose(Box<[Node; 3]>),
    Binary(Binary, Box<[Node; 2]>),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    /// The first that is there and not null.
    Default(Vec<Node>),
    Call {
        function: &'static Function,
        arguments: Vec<Node>,
        /// A regular expression that is a literal.
        pattern: Option<Pattern>,
    },
    Each(Box<Each>),
}

/// `list.all(x, …)` and its kin.
pub(crate) struct Each {
    /// Macros around it.
    pub(crate) depth: usize,
    pub(crate) what: Macro,
    pub(crate) list: Node,
    /// `map` with three arguments, and `filter`, look at it first.
    pub(crate) condition: Option<Node>,
    pub(crate) body: Option<Node>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Macro {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
    SortBy,
}

impl Macro {
    pub(crate) const ALL: [(&'static str, Self); 7] = [
        ("all", Self::All),
        ("exists", Self::Exists),
        ("exists_one", Self::ExistsOne),
        ("existsOne", Self::ExistsOne),
        ("map", Self::Map),
        ("filter", Self::Filter),
        ("sortBy", Self::SortBy),
    ];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
}

impl Binary {
    /// The parser's name, and the operator as it is written.
    pub(crate) const ALL: [(&'static str, &'static str, Self); 12] = [
        ("_+_", "+", Self::Add),
        ("_-_", "-", Self::Subtract),
        ("_*_", "*", Self::Multiply),
        ("_/_", "/", Self::Divide),
        ("_%_", "%", Self::Modulo),
        ("_==_", "==", Self::Equal),
        ("_!=_", "!=", Self::NotEqual),
        ("_<_", "<", Self::Less),
        ("_<=_", "<=", Self::LessEqual),
        ("_>_", ">", Self::Greater),
        ("_>=_", ">=", Self::GreaterEqual),
        ("@in", "in", Self::In),
    ];

    pub(crate) fn written(self) -> &'static str {
        Self::ALL
            .into_iter()
            .find(|(_, _, binary)| *binary == self)
            .map_or("", |(_, written, _)| written)
    }
}
