//! A statement as a tree.
//! Must not: know what columns and functions there are.

use super::Wrong;
use super::token::{Token, tokens};

/// How deep expressions may be nested: reading and writing them recurse.
const DEPTH: usize = 48;
/// Columns, topics, arguments and arms of one list.
const LIST: usize = 256;

pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) at: usize,
}

pub(super) enum Kind {
    Number(String),
    Text(String),
    /// A column, `true`, `false` or `null`.
    Word(String),
    Field(Box<Node>, String),
    At(Box<[Node; 2]>),
    /// From and to, both included.
    Slice(Box<[Node; 3]>),
    Call(String, Vec<Node>),
    Binary(&'static str, Box<[Node; 2]>),
    Not(Box<Node>),
    Negate(Box<Node>),
    Case {
        of: Option<Box<Node>>,
        arms: Vec<(Node, Node)>,
        otherwise: Option<Box<Node>>,
    },
    List(Vec<Node>),
    /// `*`: every column.
    All,
}

/// `expression AS a.b`.
pub(super) struct Column {
    pub(super) node: Node,
    pub(super) alias: Option<Node>,
}

pub(super) struct Statement {
    /// Of SELECT or FOREACH.
    pub(super) columns: Vec<Column>,
    pub(super) is_foreach: bool,
    /// What DO makes of an element; empty without.
    pub(super) each: Vec<Column>,
    pub(super) incase: Option<Node>,
    pub(super) from: Vec<(String, usize)>,
    pub(super) condition: Option<Node>,
}

/// Words that end an expression.
const RESERVED: [&str; 14] = [
    "select", "foreach", "do", "incase", "from", "where", "as", "and", "or", "case", "when",
    "then", "else", "end",
];

struct Parser {
    tokens: Vec<(Token, usize)>,
    next: usize,
    depth: usize,
}

pub(super) fn parse(text: &str) -> Result<Statement, Wrong> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        next: 0,
        depth: 0,
    };
    parser.statement()
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens
            .get(self.next)
            .map_or(&Token::End, |(token, _)| token)
    }

    fn at(&self) -> usize {
        let place = self.tokens.get(self.next).or(self.tokens.last());
        place.map_or(0, |(_, at)| *at)
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Word(found) if found.eq_ignore_ascii_case(word))
    }

    fn word(&mut self, word: &str) -> bool {
        let is_there = self.is_word(word);
        self.next += usize::from(is_there);
        is_there
    }

    fn sign(&mut self, sign: &str) -> bool {
        let is_there = matches!(self.peek(), Token::Sign(found) if *found == sign);
        self.next += usize::from(is_there);
        is_there
    }

    fn wrong(&self, wanted: &str) -> Wrong {
        let found = match self.peek() {
            Token::End => "the statement ends".to_owned(),
            Token::Word(text) | Token::Number(text) => format!("`{text}` stands"),
            Token::Text(text) => format!("'{text}' stands"),
            Token::Quoted(text) => format!("\"{text}\" stands"),
            Token::Sign(text) => format!("`{text}` stands"),
        };
        Wrong::new(self.at(), format!("{found} where {wanted} is needed"))
    }

    fn need_sign(&mut self, sign: &str) -> Result<(), Wrong> {
        match self.sign(sign) {
            true => Ok(()),
            false => Err(self.wrong(&format!("`{sign}`"))),
        }
    }

    fn need_word(&mut self, word: &str) -> Result<(), Wrong> {
        match self.word(word) {
            true => Ok(()),
            false => Err(self.wrong(word)),
        }
    }

    fn statement(&mut self) -> Result<Statement, Wrong> {
        let is_foreach = self.word("foreach");
        if !is_foreach && !self.word("select") {
            return Err(self.wrong("SELECT or FOREACH"));
        }
        let columns = self.columns()?;
        let each = match is_foreach && self.word("do") {
            true => self.columns()?,
            false => Vec::new(),
        };
        let incase = match is_foreach && self.word("incase") {
            true => Some(self.expression()?),
            false => None,
        };
        self.need_word("from")?;
        let from = self.topics()?;
        let condition = match self.word("where") {
            true => Some(self.expression()?),
            false => None,
        };
        match self.peek() {
            Token::End => {}
            _ => return Err(self.wrong("the end of the statement")),
        }
        Ok(Statement {
            columns,
            is_foreach,
            each,
            incase,
            from,
            condition,
        })
    }

    fn topics(&mut self) -> Result<Vec<(String, usize)>, Wrong> {
        let mut topics = Vec::new();
        loop {
            let at = self.at();
            match self.take() {
                Token::Quoted(text) | Token::Text(text) => topics.push((text, at)),
                _ => {
                    self.next -= 1;
                    return Err(self.wrong("a topic in double quotes"));
                }
            }
            if !self.sign(",") || topics.len() >= LIST {
                return Ok(topics);
            }
        }
    }

    fn columns(&mut self) -> Result<Vec<Column>, Wrong> {
        let mut columns = Vec::new();
        loop {
            let at = self.at();
            let node = match self.sign("*") {
                true => Node {
                    kind: Kind::All,
                    at,
                },
                false => self.expression()?,
            };
            let alias = match self.word("as") {
                true => Some(self.postfix()?),
                false => None,
            };
            columns.push(Column { node, alias });
            if !self.sign(",") {
                return Ok(columns);
            }
            if columns.len() >= LIST {
                return Err(Wrong::new(at, format!("more than {LIST} columns")));
            }
        }
    }

    fn expression(&mut self) -> Result<Node, Wrong> {
        self.deeper(Self::either)
    }

    fn deeper(&mut self, of: fn(&mut Self) -> Result<Node, Wrong>) -> Result<Node, Wrong> {
        if self.depth >= DEPTH {
            let text = format!("an expression within {DEPTH} others");
            return Err(Wrong::new(self.at(), text));
        }
        self.depth += 1;
        let node = of(self);
        self.depth -= 1;
        node
    }

    fn either(&mut self) -> Result<Node, Wrong> {
        self.chained(
            |one| one.word("or").then_some("||"),
            |one| one.chained(|one| one.word("and").then_some("&&"), |one| one.negated()),
        )
    }

    /// Operands with operators of one rank between them.
    fn chained(
        &mut self,
        operator: impl Fn(&mut Self) -> Option<&'static str>,
        operand: impl Fn(&mut Self) -> Result<Node, Wrong>,
    ) -> Result<Node, Wrong> {
        let mut left = operand(self)?;
        let mut count = 0;
        loop {
            let at = self.at();
            let Some(operator) = operator(self) else {
                return Ok(left);
            };
            count += 1;
            if count > DEPTH {
                let text = format!("more than {DEPTH} operators of one rank; use brackets");
                return Err(Wrong::new(at, text));
            }
            let right = operand(self)?;
            left = Node {
                kind: Kind::Binary(operator, Box::new([left, right])),
                at,
            };
        }
    }

    fn negated(&mut self) -> Result<Node, Wrong> {
        let at = self.at();
        if self.word("not") {
            let of = Box::new(self.deeper(Self::negated)?);
            let kind = Kind::Not(of);
            return Ok(Node { kind, at });
        }
        self.compared()
    }

    fn compared(&mut self) -> Result<Node, Wrong> {
        const SIGNS: [(&str, &str); 8] = [
            ("=", "=="),
            ("<>", "!="),
            ("!=", "!="),
            ("<=", "<="),
            (">=", ">="),
            ("<", "<"),
            (">", ">"),
            ("=~", "=~"),
        ];
        self.chained(
            |one| {
                let found = SIGNS.into_iter().find(|(sign, _)| one.sign(sign));
                found.map(|(_, operator)| operator)
            },
            |one| one.sum(),
        )
    }

    fn sum(&mut self) -> Result<Node, Wrong> {
        self.chained(
            |one| ["+", "-"].into_iter().find(|sign| one.sign(sign)),
            |one| one.product(),
        )
    }

    fn product(&mut self) -> Result<Node, Wrong> {
        self.chained(
            |one| {
                let sign = ["*", "/"].into_iter().find(|sign| one.sign(sign));
                sign.or_else(|| ["div", "mod"].into_iter().find(|word| one.word(word)))
            },
            |one| one.signed(),
        )
    }

    fn signed(&mut self) -> Result<Node, Wrong> {
        let at = self.at();
        if self.sign("-") {
            let of = Box::new(self.deeper(Self::signed)?);
            let kind = Kind::Negate(of);
            return Ok(Node { kind, at });
        }
        self.postfix()
    }

    fn postfix(&mut self) -> Result<Node, Wrong> {
        let mut node = self.primary()?;
        let mut count = 0;
        loop {
            let at = self.at();
            count += 1;
            if count > DEPTH {
                return Err(Wrong::new(at, format!("more than {DEPTH} fields")));
            }
            if self.sign(".") {
                let (Token::Word(name) | Token::Text(name) | Token::Quoted(name)) = self.take()
                else {
                    self.next -= 1;
                    return Err(self.wrong("a field"));
                };
                let kind = Kind::Field(Box::new(node), name);
                node = Node { kind, at };
            } else if self.sign("[") {
                let first = self.expression()?;
                let kind = match self.sign("..") {
                    true => Kind::Slice(Box::new([node, first, self.expression()?])),
                    false => Kind::At(Box::new([node, first])),
                };
                self.need_sign("]")?;
                node = Node { kind, at };
            } else {
                return Ok(node);
            }
        }
    }

    fn primary(&mut self) -> Result<Node, Wrong> {
        let at = self.at();
        if self.word("case") {
            return self.case(at);
        }
        if self.sign("(") {
            let node = self.expression()?;
            self.need_sign(")")?;
            return Ok(node);
        }
        if self.sign("[") {
            let kind = Kind::List(self.list("]")?);
            return Ok(Node { kind, at });
        }
        let kind = match self.take() {
            Token::Number(text) => Kind::Number(text),
            Token::Text(text) | Token::Quoted(text) => Kind::Text(text),
            Token::Word(word)
                if !RESERVED
                    .iter()
                    .any(|known| word.eq_ignore_ascii_case(known)) =>
            {
                match self.sign("(") {
                    true => Kind::Call(word.to_ascii_lowercase(), self.list(")")?),
                    false => Kind::Word(word),
                }
            }
            _ => {
                self.next -= 1;
                return Err(self.wrong("an expression"));
            }
        };
        Ok(Node { kind, at })
    }

    fn list(&mut self, end: &str) -> Result<Vec<Node>, Wrong> {
        let mut items = Vec::new();
        if self.sign(end) {
            return Ok(items);
        }
        loop {
            items.push(self.expression()?);
            if !self.sign(",") || items.len() >= LIST {
                self.need_sign(end)?;
                return Ok(items);
            }
        }
    }

    fn case(&mut self, at: usize) -> Result<Node, Wrong> {
        let of = match self.is_word("when") {
            true => None,
            false => Some(Box::new(self.expression()?)),
        };
        let mut arms = Vec::new();
        while self.word("when") && arms.len() < DEPTH {
            let condition = self.expression()?;
            self.need_word("then")?;
            arms.push((condition, self.expression()?));
        }
        if arms.is_empty() {
            return Err(self.wrong("WHEN"));
        }
        let otherwise = match self.word("else") {
            true => Some(Box::new(self.expression()?)),
            false => None,
        };
        self.need_word("end")?;
        let kind = Kind::Case {
            of,
            arms,
            otherwise,
        };
        Ok(Node { kind, at })
    }
}
