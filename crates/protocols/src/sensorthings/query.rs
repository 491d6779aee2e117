//! Query options: `$filter`, `$orderby`, `$top`, `$skip`, `$count`, `$select`, `$expand` with options of its own in brackets.

use super::expr::Parser;
use super::path::{checked, push_parts};
use super::{DEPTH_MAX, Entity, Expr, LIST_MAX, Link, Part, Refusal, TEXT_MAX, TOP_DEFAULT, TOP_MAX};

/// How a collection is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    /// Only those that fit.
    pub filter: Option<Expr>,
    /// First criterion first.
    pub orderby: Vec<Order>,
    /// Most entities, as asked for.
    pub top: Option<u64>,
    /// How many to leave out.
    pub skip: u64,
    /// Say how many fit.
    pub count: bool,
    /// What of them; empty = everything.
    pub select: Vec<Selected>,
    /// What to put inside.
    pub expand: Vec<Expand>,
    /// Where a page before ended; only what this service itself wrote.
    pub skiptoken: Option<String>,
    /// The options as given, for the address of the next page.
    pub raw: Vec<(String, String)>,
}

/// One criterion.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// By what.
    pub by: Expr,
    /// Greatest first.
    pub descending: bool,
}

/// Something to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selected {
    /// A property, or a part of one.
    Property(Vec<Part>),
    /// The address behind a link.
    Link(&'static Link),
}

/// Something to put inside.
#[derive(Clone, Debug, PartialEq)]
pub struct Expand {
    /// Along which link.
    pub link: &'static Link,
    /// What of it.
    pub query: Query,
}

impl Query {
    /// Most entities of the answer.
    pub fn size(&self) -> u64 {
        self.top.unwrap_or(TOP_DEFAULT).min(TOP_MAX)
    }

    /// Reads the options of an address, names and values with their escapes resolved.
    ///
    /// # Errors
    /// Options that are unknown, given twice, or that this service does not support; and whatever their values are refused for.
    pub fn read<'a>(entity: Entity, options: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Refusal> {
        Self::at(entity, options, 0)
    }

    fn at<'a>(entity: Entity, options: impl IntoIterator<Item = (&'a str, &'a str)>, depth: usize) -> Result<Self, Refusal> {
        let mut query = Self::default();
        for (name, value) in options {
            if value.len() > TEXT_MAX {
                return Err(Refusal::TooMuch { what: "bytes of an option", most: TEXT_MAX as u64 });
            }
            if query.raw.iter().any(|(known, _)| known == name) {
                return Err(Refusal::Twice { option: super::short(name) });
            }
            match name {
                "$filter" => query.filter = Some(Expr::parse(entity, value)?),
                "$orderby" => query.orderby = orderby(entity, value)?,
                "$top" => query.top = Some(number(value)?),
                "$skip" => query.skip = number(value)?,
                "$count" => query.count = truth(value)?,
                "$select" => query.select = select(entity, value)?,
                "$expand" => query.expand = expand(entity, value, depth)?,
                "$skiptoken" if depth == 0 => query.skiptoken = Some(value.to_owned()),
                other => return Err(Refusal::unsupported(other)),
            }
            query.raw.push((name.to_owned(), value.to_owned()));
        }
        Ok(query)
    }
}

fn number(text: &str) -> Result<u64, Refusal> {
    text.trim().parse().map_err(|_| Refusal::Syntax { at: 0, expected: "a whole number from 0" })
}

fn truth(text: &str) -> Result<bool, Refusal> {
    match text.trim() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Refusal::Syntax { at: 0, expected: "true or false" }),
    }
}

fn orderby(entity: Entity, text: &str) -> Result<Vec<Order>, Refusal> {
    let mut parser = Parser::new(entity, text)?;
    let mut found = Vec::new();
    loop {
        let by = parser.sum()?;
        // FROST's own client writes them in capitals.
        let descending = parser.keyword("desc") || parser.keyword("DESC");
        if !descending {
            let _ = parser.keyword("asc") || parser.keyword("ASC");
        }
        few(&found)?;
        found.push(Order { by, descending });
        if !parser.takes(",") {
            parser.end()?;
            return Ok(found);
        }
    }
}

fn few<T>(list: &[T]) -> Result<(), Refusal> {
    if list.len() >= LIST_MAX { Err(Refusal::TooMuch { what: "parts of an option", most: LIST_MAX as u64 }) } else { Ok(()) }
}

fn select(entity: Entity, text: &str) -> Result<Vec<Selected>, Refusal> {
    let mut found = Vec::new();
    if text.trim_start().starts_with("distinct:") {
        return Err(Refusal::unsupported("$select=distinct:"));
    }
    for (at, item) in divided(text, b',')? {
        few(&found)?;
        let item = item.trim();
        if let Some(link) = entity.link(item) {
            found.push(Selected::Link(link));
            continue;
        }
        let mut path = Vec::new();
        for segment in item.split('/') {
            push_parts(&mut path, segment, at)?;
        }
        checked(entity, &path)?;
        found.push(Selected::Property(path));
    }
    Ok(found)
}

fn expand(entity: Entity, text: &str, depth: usize) -> Result<Vec<Expand>, Refusal> {
    if depth == DEPTH_MAX {
        return Err(Refusal::TooMuch { what: "$expand within $expand", most: DEPTH_MAX as u64 });
    }
    let mut found: Vec<Expand> = Vec::new();
    for (at, item) in divided(text, b',')? {
        few(&found)?;
        let item = item.trim();
        let (way, options) = match item.split_once('(') {
            Some((way, rest)) => {
                (way, rest.strip_suffix(')').ok_or(Refusal::Syntax { at: at + item.len(), expected: "a closing bracket" })?)
            }
            None => (item, ""),
        };
        let (first, rest) = way.split_once('/').map_or((way, None), |(first, rest)| (first, Some(rest)));
        let link = entity.link(first).ok_or_else(|| Refusal::unknown(entity.name(), first))?;
        let query = if let Some(rest) = rest {
            // `Datastreams/Observations(…)` is `Datastreams($expand=Observations(…))`.
            let inner = if item.contains('(') { format!("{rest}({options})") } else { rest.to_owned() };
            Query { raw: vec![("$expand".to_owned(), inner.clone())], expand: expand(link.to, &inner, depth + 1)?, ..Query::default() }
        } else {
            let pairs = divided(options, b';')?.into_iter().filter(|(_, option)| !option.trim().is_empty());
            let pairs = pairs.map(|(at, option)| option.trim().split_once('=').ok_or(Refusal::Syntax { at, expected: "an option with =" }));
            Query::at(link.to, pairs.collect::<Result<Vec<_>, _>>()?, depth + 1)?
        };
        if found.iter().any(|known| known.link == link) {
            return Err(Refusal::Twice { option: format!("$expand={}", link.name) });
        }
        found.push(Expand { link, query });
    }
    Ok(found)
}

/// Pieces between `by`, with where they begin; what is in brackets or quotes stays together.
fn divided(text: &str, by: u8) -> Result<Vec<(usize, &str)>, Refusal> {
    let (mut all, mut from, mut depth, mut quoted) = (Vec::new(), 0, 0_usize, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\'' => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth = depth.checked_sub(1).ok_or(Refusal::Syntax { at, expected: "an opening bracket before" })?,
            _ if byte == by && !quoted && depth == 0 => {
                all.push((from, &text[from..at]));
                from = at + 1;
            }
            _ => {}
        }
    }
    if quoted || depth > 0 {
        return Err(Refusal::Syntax { at: text.len(), expected: "a closing quote or bracket" });
    }
    all.push((from, &text[from..]));
    Ok(all)
}
