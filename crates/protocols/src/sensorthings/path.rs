//! Paths: `/Things(1)/Datastreams(2)/Observations`, `/Things(1)/properties/a[2]/$value`, `/Things/$ref`.

use super::{Entity, HOPS_MAX, Link, Refusal, TEXT_MAX};

/// An id as written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Id {
    /// A whole number.
    Number(i64),
    /// Text in quotes.
    Text(String),
}

impl std::fmt::Display for Id {
    /// As in paths, with the quotes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(n) => write!(f, "{n}"),
            Self::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
        }
    }
}

/// One part of the way into a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A field; of a list, if it is a number, a place.
    Name(String),
    /// A place in a list, from 0.
    Index(usize),
}

/// A step along a link, to one of what lies there if a key is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Which link.
    pub link: &'static Link,
    /// Which one.
    pub key: Option<Id>,
}

/// What of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tail {
    /// The entity or collection itself.
    Whole,
    /// Addresses only.
    Ref,
    /// One property.
    Property {
        /// At least a name.
        path: Vec<Part>,
        /// As plain text.
        value: bool,
    },
}

/// What an address asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// Where it begins.
    pub root: Entity,
    /// Which one; `None` = the collection.
    pub key: Option<Id>,
    /// From there.
    pub hops: Vec<Hop>,
    /// What of that.
    pub tail: Tail,
}

impl Path {
    /// The entity, or kind of the collection, at the end.
    pub fn entity(&self) -> Entity {
        self.hops.last().map_or(self.root, |hop| hop.link.to)
    }
    /// Whether many things lie at the end.
    pub fn is_collection(&self) -> bool {
        self.hops.last().map_or(self.key.is_none(), |hop| hop.link.many && hop.key.is_none())
    }
    /// Reads a path behind the version, with percent signs already resolved; a slash at either end does not matter.
    ///
    /// # Errors
    /// Names and ways that the model does not have, keys where there is nothing to choose, and more than [`HOPS_MAX`] hops.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.len() > TEXT_MAX {
            return Err(Refusal::TooMuch { what: "bytes of a path", most: TEXT_MAX as u64 });
        }
        let mut segments = segments(text)?.into_iter().peekable();
        let Some((at, first)) = segments.next() else { return Err(Refusal::Syntax { at: 0, expected: "a collection" }) };
        let (name, key) = keyed(first, at)?;
        let root = Entity::of_set(name).ok_or_else(|| Refusal::unknown("the service", name))?;
        let mut path = Self { root, key, hops: Vec::new(), tail: Tail::Whole };
        while let Some((at, segment)) = segments.next() {
            if segment == "$ref" {
                path.tail = Tail::Ref;
                return segments.next().map_or(Ok(path), |(at, _)| Err(Refusal::Syntax { at, expected: "nothing behind $ref" }));
            }
            if segment.starts_with('$') {
                return Err(Refusal::unsupported(segment));
            }
            if path.is_collection() {
                return Err(Refusal::Syntax { at, expected: "a key, such as (1), before the next step" });
            }
            let (name, key) = keyed(segment, at)?;
            let Some(link) = path.entity().link(name) else {
                path.tail = property(path.entity(), segment, at, segments)?;
                return Ok(path);
            };
            if key.is_some() && !link.many {
                return Err(Refusal::Syntax { at, expected: "no key where there is only one" });
            }
            if path.hops.len() == HOPS_MAX {
                return Err(Refusal::TooMuch { what: "steps of a path", most: HOPS_MAX as u64 });
            }
            path.hops.push(Hop { link, key });
        }
        Ok(path)
    }
}

/// Pieces between slashes, with where they begin; a slash in quotes divides nothing.
fn segments(text: &str) -> Result<Vec<(usize, &str)>, Refusal> {
    let (mut all, mut from, mut quoted) = (Vec::new(), 0, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\'' => quoted = !quoted,
            b'/' if !quoted => {
                all.push((from, &text[from..at]));
                from = at + 1;
            }
            _ => {}
        }
    }
    if quoted {
        return Err(Refusal::Syntax { at: text.len(), expected: "a closing quote" });
    }
    all.push((from, &text[from..]));
    if all.first().is_some_and(|(_, s)| s.is_empty()) {
        all.remove(0);
    }
    if all.last().is_some_and(|(_, s)| s.is_empty()) {
        all.pop();
    }
    Ok(all)
}

/// `Things(1)` as name and key.
fn keyed(segment: &str, at: usize) -> Result<(&str, Option<Id>), Refusal> {
    let Some((name, rest)) = segment.split_once('(') else { return Ok((segment, None)) };
    let inside = rest.strip_suffix(')').ok_or(Refusal::Syntax { at: at + segment.len(), expected: "a closing bracket" })?;
    let at = at + name.len() + 1;
    if let Some(text) = inside.strip_prefix('\'') {
        let text = text.strip_suffix('\'').ok_or(Refusal::Syntax { at, expected: "a closing quote" })?;
        return Ok((name, Some(Id::Text(text.replace("''", "'")))));
    }
    let number = inside.trim().parse().map_err(|_| Refusal::Syntax { at, expected: "a whole number or text in quotes" })?;
    Ok((name, Some(Id::Number(number))))
}

fn property<'a>(entity: Entity, first: &'a str, at: usize, rest: impl Iterator<Item = (usize, &'a str)>) -> Result<Tail, Refusal> {
    let (mut path, mut value) = (Vec::new(), false);
    for (at, segment) in std::iter::once((at, first)).chain(rest) {
        if value {
            return Err(Refusal::Syntax { at, expected: "nothing behind $value" });
        }
        match segment {
            "$value" => value = true,
            _ if segment.starts_with('$') => return Err(Refusal::unsupported(segment)),
            _ => push_parts(&mut path, segment, at)?,
        }
    }
    checked(entity, &path)?;
    Ok(Tail::Property { path, value })
}

/// `name[1][2]` as parts.
pub(super) fn push_parts(path: &mut Vec<Part>, segment: &str, at: usize) -> Result<(), Refusal> {
    let (name, mut rest) = segment.find('[').map_or((segment, ""), |i| segment.split_at(i));
    if name.is_empty() || name.contains(['(', ')', '\'', ']']) {
        return Err(Refusal::Syntax { at, expected: "a name" });
    }
    path.push(Part::Name(name.to_owned()));
    while !rest.is_empty() {
        let inside = rest.strip_prefix('[').and_then(|r| r.split_once(']'));
        let (index, behind) = inside.ok_or(Refusal::Syntax { at, expected: "a place such as [1]" })?;
        path.push(Part::Index(index.parse().map_err(|_| Refusal::Syntax { at, expected: "a place such as [1]" })?));
        rest = behind;
    }
    if path.len() > HOPS_MAX {
        return Err(Refusal::TooMuch { what: "steps of a path", most: HOPS_MAX as u64 });
    }
    Ok(())
}

/// That the entity has the property, and that it has an inside if parts follow.
pub(super) fn checked(entity: Entity, path: &[Part]) -> Result<(), Refusal> {
    let Some(Part::Name(name)) = path.first() else { return Err(Refusal::unknown(entity.name(), "")) };
    if !entity.has(name) {
        return Err(Refusal::unknown(entity.name(), name));
    }
    if path.len() > 1 && !Entity::is_open(name) {
        return Err(Refusal::Unknown { entity: entity.name(), name: super::short(&format!("{name}/…")) });
    }
    Ok(())
}
