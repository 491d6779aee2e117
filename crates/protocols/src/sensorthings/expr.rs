//! Filters: text to a checked tree. The grammar is OData's (OGC 18-088, 9.3.3.5), with `not` over a whole comparison, as FROST reads it.

use super::path::{Part, checked, push_parts};
use super::value::{Value, duration, literal, shape};
use super::{DEPTH_MAX, Entity, HOPS_MAX, Link, Refusal, TERMS_MAX, TEXT_MAX};

/// Comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
}

/// Arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient.
    Div,
    /// Remainder.
    Mod,
}

/// A way from the entity that is looked at, or from a variable of `any`, to a property or to entities.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Which variable, counted from the outermost; `None` = the entity itself.
    pub variable: Option<usize>,
    /// Along which links.
    pub hops: Vec<&'static Link>,
    /// What of the entity there; empty only for `any`.
    pub property: Vec<Part>,
}

/// A function, by its name in the standard.
pub type Function = &'static str;

/// A filter, or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A constant.
    Literal(Value),
    /// A property.
    Path(Route),
    /// Negation.
    Not(Box<Expr>),
    /// Both.
    And(Box<Expr>, Box<Expr>),
    /// One of both.
    Or(Box<Expr>, Box<Expr>),
    /// Comparison.
    Compare(Comparison, Box<Expr>, Box<Expr>),
    /// The left one is in the list on the right.
    In(Box<Expr>, Box<Expr>),
    /// Arithmetic.
    Arithmetic(Arithmetic, Box<Expr>, Box<Expr>),
    /// A function.
    Call(Function, Vec<Expr>),
    /// Some entity at the end of the way fits.
    Any(Route, Box<Expr>),
}

/// Functions, with the least and greatest number of arguments. Source: OGC 18-088, table 22 and 9.3.3.5.3.
const FUNCTIONS: &[(&str, usize, usize)] = &[
    ("substringof", 2, 2),
    ("contains", 2, 2),
    ("endswith", 2, 2),
    ("startswith", 2, 2),
    ("length", 1, 1),
    ("indexof", 2, 2),
    ("substring", 2, 3),
    ("tolower", 1, 1),
    ("toupper", 1, 1),
    ("trim", 1, 1),
    ("concat", 2, 2),
    ("year", 1, 1),
    ("month", 1, 1),
    ("day", 1, 1),
    ("hour", 1, 1),
    ("minute", 1, 1),
    ("second", 1, 1),
    ("fractionalseconds", 1, 1),
    ("date", 1, 1),
    ("time", 1, 1),
    ("totaloffsetminutes", 1, 1),
    ("now", 0, 0),
    ("mindatetime", 0, 0),
    ("maxdatetime", 0, 0),
    ("before", 2, 2),
    ("after", 2, 2),
    ("meets", 2, 2),
    ("during", 2, 2),
    ("overlaps", 2, 2),
    ("starts", 2, 2),
    ("finishes", 2, 2),
    ("round", 1, 1),
    ("floor", 1, 1),
    ("ceiling", 1, 1),
    ("geo.distance", 2, 2),
    ("geo.length", 1, 1),
    ("geo.intersects", 2, 2),
    ("st_equals", 2, 2),
    ("st_disjoint", 2, 2),
    ("st_touches", 2, 2),
    ("st_within", 2, 2),
    ("st_overlaps", 2, 2),
    ("st_crosses", 2, 2),
    ("st_intersects", 2, 2),
    ("st_contains", 2, 2),
    ("st_relate", 3, 3),
];

impl Expr {
    /// Reads a filter over `entity`.
    ///
    /// # Errors
    /// What is not in the grammar, names the model does not have, and more than is looked at.
    pub fn parse(entity: Entity, text: &str) -> Result<Self, Refusal> {
        let mut parser = Parser::new(entity, text)?;
        let found = parser.or()?;
        parser.end()?;
        Ok(found)
    }
    /// The parts that must all hold.
    pub fn conjuncts(&self) -> Vec<&Self> {
        let (mut open, mut found) = (vec![self], Vec::new());
        while let Some(expr) = open.pop() {
            match expr {
                Self::And(a, b) => open.extend([b.as_ref(), a.as_ref()]),
                other => found.push(other),
            }
        }
        found
    }
    /// The same over what lies at the end of `link`, if every way in it begins there.
    pub fn through(&self, link: &Link) -> Option<Self> {
        let both = |a: &Self, b: &Self| Some((Box::new(a.through(link)?), Box::new(b.through(link)?)));
        Some(match self {
            Self::Literal(value) => Self::Literal(value.clone()),
            Self::Path(route) => Self::Path(route.through(link)?),
            Self::Not(a) => Self::Not(Box::new(a.through(link)?)),
            Self::And(a, b) => both(a, b).map(|(a, b)| Self::And(a, b))?,
            Self::Or(a, b) => both(a, b).map(|(a, b)| Self::Or(a, b))?,
            Self::Compare(op, a, b) => both(a, b).map(|(a, b)| Self::Compare(*op, a, b))?,
            Self::In(a, b) => both(a, b).map(|(a, b)| Self::In(a, b))?,
            Self::Arithmetic(op, a, b) => both(a, b).map(|(a, b)| Self::Arithmetic(*op, a, b))?,
            Self::Call(function, args) => Self::Call(function, args.iter().map(|a| a.through(link)).collect::<Option<_>>()?),
            Self::Any(route, body) => Self::Any(route.through(link)?, Box::new(body.through(link)?)),
        })
    }
    /// Whether nothing of an entity is asked for: its value is the same for all.
    pub fn is_constant(&self) -> bool {
        match self {
            Self::Literal(_) => true,
            Self::Path(_) | Self::Any(..) => false,
            Self::Not(a) => a.is_constant(),
            Self::And(a, b) | Self::Or(a, b) | Self::Compare(_, a, b) | Self::In(a, b) | Self::Arithmetic(_, a, b) => {
                a.is_constant() && b.is_constant()
            }
            Self::Call(_, args) => args.iter().all(Self::is_constant),
        }
    }
    /// Whether some way leads along a link to `entity`.
    pub fn goes_to(&self, entity: Entity) -> bool {
        let by = |route: &Route| route.hops.iter().any(|link| link.to == entity);
        match self {
            Self::Literal(_) => false,
            Self::Path(route) => by(route),
            Self::Any(route, body) => by(route) || body.goes_to(entity),
            Self::Not(a) => a.goes_to(entity),
            Self::And(a, b) | Self::Or(a, b) | Self::Compare(_, a, b) | Self::In(a, b) | Self::Arithmetic(_, a, b) => {
                a.goes_to(entity) || b.goes_to(entity)
            }
            Self::Call(_, args) => args.iter().any(|a| a.goes_to(entity)),
        }
    }
}

impl Route {
    fn through(&self, link: &Link) -> Option<Self> {
        if self.variable.is_some() {
            return Some(self.clone());
        }
        let (first, rest) = self.hops.split_first()?;
        (*first == link).then(|| Self { variable: None, hops: rest.to_vec(), property: self.property.clone() })
    }
    /// The name of the property, if it is one of the entity itself and nothing inside it.
    pub fn own(&self) -> Option<&str> {
        match (self.variable, self.hops.as_slice(), self.property.as_slice()) {
            (None, [], [Part::Name(name)]) => Some(name),
            _ => None,
        }
    }
}

/// Reads one text from left to right; shared with `$orderby`.
pub(super) struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    terms: usize,
    entity: Entity,
    /// Variables of `any` in force, outermost first, and what they stand for.
    variables: Vec<(&'a str, Entity)>,
}

impl<'a> Parser<'a> {
    pub(super) fn new(entity: Entity, text: &'a str) -> Result<Self, Refusal> {
        if text.len() > TEXT_MAX {
            return Err(Refusal::TooMuch { what: "bytes of an option", most: TEXT_MAX as u64 });
        }
        Ok(Self { text, at: 0, depth: 0, terms: 0, entity, variables: Vec::new() })
    }
    pub(super) fn end(&mut self) -> Result<(), Refusal> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { self.expected("an operator, or the end") }
    }
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }
    fn expected<T>(&self, expected: &'static str) -> Result<T, Refusal> {
        Err(Refusal::Syntax { at: self.at, expected })
    }
    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }
    pub(super) fn takes(&mut self, token: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }
    fn must(&mut self, token: &'static str) -> Result<(), Refusal> {
        if self.takes(token) { Ok(()) } else { self.expected(token) }
    }
    /// A word that stands alone.
    pub(super) fn keyword(&mut self, word: &str) -> bool {
        self.space();
        let rest = self.rest();
        let alone = rest.strip_prefix(word).is_some_and(|r| r.is_empty() || r.starts_with([' ', '\t', '\n', '\r', '(', ')', ',']));
        if alone {
            self.at += word.len();
        }
        alone
    }
    fn term(&mut self) -> Result<(), Refusal> {
        self.terms += 1;
        if self.terms > TERMS_MAX { Err(Refusal::TooMuch { what: "terms of a filter", most: TERMS_MAX as u64 }) } else { Ok(()) }
    }
    fn deeper(&mut self) -> Result<(), Refusal> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(Refusal::TooMuch { what: "brackets within brackets", most: DEPTH_MAX as u64 }) } else { Ok(()) }
    }

    fn or(&mut self) -> Result<Expr, Refusal> {
        let mut left = self.and()?;
        while self.keyword("or") {
            self.term()?;
            left = Expr::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }
    fn and(&mut self) -> Result<Expr, Refusal> {
        let mut left = self.not()?;
        while self.keyword("and") {
            self.term()?;
            left = Expr::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }
    fn not(&mut self) -> Result<Expr, Refusal> {
        if !self.keyword("not") {
            return self.comparison();
        }
        self.term()?;
        self.deeper()?;
        let inner = self.not()?;
        self.depth -= 1;
        Ok(Expr::Not(Box::new(inner)))
    }
    fn comparison(&mut self) -> Result<Expr, Refusal> {
        const WORDS: [(&str, Comparison); 6] = [
            ("eq", Comparison::Eq),
            ("ne", Comparison::Ne),
            ("gt", Comparison::Gt),
            ("ge", Comparison::Ge),
            ("lt", Comparison::Lt),
            ("le", Comparison::Le),
        ];
        let left = self.sum()?;
        if self.keyword("in") {
            self.term()?;
            return Ok(Expr::In(Box::new(left), Box::new(self.sum()?)));
        }
        for (word, comparison) in WORDS {
            if self.keyword(word) {
                self.term()?;
                return Ok(Expr::Compare(comparison, Box::new(left), Box::new(self.sum()?)));
            }
        }
        Ok(left)
    }
    pub(super) fn sum(&mut self) -> Result<Expr, Refusal> {
        let mut left = self.product()?;
        loop {
            let op = match () {
                () if self.keyword("add") => Arithmetic::Add,
                () if self.keyword("sub") => Arithmetic::Sub,
                () => return Ok(left),
            };
            self.term()?;
            left = Expr::Arithmetic(op, Box::new(left), Box::new(self.product()?));
        }
    }
    fn product(&mut self) -> Result<Expr, Refusal> {
        let mut left = self.primary()?;
        loop {
            let op = match () {
                () if self.keyword("mul") => Arithmetic::Mul,
                () if self.keyword("div") => Arithmetic::Div,
                () if self.keyword("mod") => Arithmetic::Mod,
                () => return Ok(left),
            };
            self.term()?;
            left = Expr::Arithmetic(op, Box::new(left), Box::new(self.primary()?));
        }
    }
    fn primary(&mut self) -> Result<Expr, Refusal> {
        self.term()?;
        if self.takes("(") {
            self.deeper()?;
            let inner = self.or()?;
            self.must(")")?;
            self.depth -= 1;
            return Ok(inner);
        }
        if self.rest().starts_with('\'') {
            return Ok(Expr::Literal(Value::Text(self.quoted()?)));
        }
        let from = self.at;
        let word = self.word();
        if word.is_empty() {
            return self.expected("a value, a name or a bracket");
        }
        if self.rest().starts_with('\'') {
            let text = self.quoted()?;
            let value = match word {
                "duration" => duration(&text),
                "geography" | "geometry" => shape(&text).map(Value::Shape),
                _ => None,
            };
            return value.map(Expr::Literal).ok_or(Refusal::Syntax { at: from, expected: "duration'P1D' or geography'POINT(8 53)'" });
        }
        if self.rest().starts_with('(') {
            return self.call(word, from);
        }
        match word {
            "true" => return Ok(Expr::Literal(Value::Bool(true))),
            "false" => return Ok(Expr::Literal(Value::Bool(false))),
            "null" => return Ok(Expr::Literal(Value::Null)),
            _ => {}
        }
        let is_interval = word.starts_with('P') && word.split_once('/').is_some_and(|(_, to)| to.starts_with(|c: char| c.is_ascii_digit()));
        if is_interval || word.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.')) {
            return literal(&word.replace(' ', "+"))
                .map(Expr::Literal)
                .ok_or(Refusal::Syntax { at: from, expected: "a number, or a time with its offset" });
        }
        let route = self.route(word, from)?;
        if route.property.is_empty() {
            return Err(Refusal::Syntax { at: self.at, expected: "a property behind the last step" });
        }
        Ok(Expr::Path(route))
    }
    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let mut end = rest.find(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',' | ';' | '\'')).unwrap_or(rest.len());
        // `2015-10-14T23:30:00+02:00` in an address means a space for the plus: who forgot to escape it is understood all the same.
        let behind = rest.as_bytes().get(end..end + 6);
        let is_time = rest.get(..end).is_some_and(|w| w.starts_with(|c: char| c.is_ascii_digit()) && w.contains('T') && w.contains(':'));
        if is_time && matches!(behind, Some([b' ', a, b, b':', c, d]) if [a, b, c, d].iter().all(|d| d.is_ascii_digit())) {
            end += 6;
        }
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }
    fn quoted(&mut self) -> Result<String, Refusal> {
        let mut text = String::new();
        let mut rest = self.rest().get(1..).unwrap_or_default();
        loop {
            let Some(end) = rest.find('\'') else { return self.expected("a closing quote") };
            text.push_str(&rest[..end]);
            rest = &rest[end + 1..];
            match rest.strip_prefix('\'') {
                Some(more) => {
                    text.push('\'');
                    rest = more;
                }
                None => break,
            }
        }
        self.at = self.text.len() - rest.len();
        Ok(text)
    }
    fn call(&mut self, word: &'a str, from: usize) -> Result<Expr, Refusal> {
        self.must("(")?;
        self.deeper()?;
        let found = if let Some(way) = word.strip_suffix("/any") {
            self.any(way, from)?
        } else if word.ends_with("/all") {
            return Err(Refusal::unsupported("all(…)"));
        } else {
            let Some((name, least, most)) = FUNCTIONS.iter().find(|(name, ..)| *name == word) else {
                return Err(Refusal::unsupported(format!("{word}(…)")));
            };
            let mut args = Vec::new();
            if !self.takes(")") {
                loop {
                    args.push(self.or()?);
                    if self.takes(")") {
                        break;
                    }
                    self.must(",")?;
                }
            }
            if args.len() < *least || args.len() > *most {
                return Err(Refusal::Type { function: name, given: format!("{} arguments", args.len()) });
            }
            Expr::Call(name, args)
        };
        self.depth -= 1;
        Ok(found)
    }
    fn any(&mut self, way: &'a str, from: usize) -> Result<Expr, Refusal> {
        let route = self.route(way, from)?;
        let Some(last) = route.hops.last().filter(|link| link.many && route.property.is_empty()) else {
            return Err(Refusal::Syntax { at: from, expected: "a way to a collection before any(…)" });
        };
        self.space();
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        if end == 0 {
            return self.expected("a variable");
        }
        let name = &rest[..end];
        self.at += end;
        self.must(":")?;
        self.variables.push((name, last.to));
        let body = self.or()?;
        self.variables.pop();
        self.must(")")?;
        Ok(Expr::Any(route, Box::new(body)))
    }
    /// A way, every name of it checked.
    fn route(&self, word: &'a str, from: usize) -> Result<Route, Refusal> {
        let mut segments = word.split('/').peekable();
        let (mut entity, mut variable) = (self.entity, None);
        if let Some(found) = self.variables.iter().rposition(|(name, _)| segments.peek() == Some(name)) {
            variable = Some(found);
            entity = self.variables[found].1;
            segments.next();
        }
        let (mut hops, mut property) = (Vec::new(), Vec::new());
        for segment in segments {
            match entity.link(segment).filter(|_| property.is_empty()) {
                Some(_) if hops.len() == HOPS_MAX => return Err(Refusal::TooMuch { what: "steps of a path", most: HOPS_MAX as u64 }),
                Some(link) => {
                    hops.push(link);
                    entity = link.to;
                }
                None => push_parts(&mut property, segment, from)?,
            }
        }
        if !property.is_empty() {
            checked(entity, &property)?;
        }
        Ok(Route { variable, hops, property })
    }
}
