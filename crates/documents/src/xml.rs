//! One part of a container as XML events: no entities, no document type, no depth, no event of any length.

use std::borrow::Cow;
use std::cell::Cell;
use std::io::{self, BufReader, Read};
use std::rc::Rc;

use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesEnd, BytesStart, Event};

use crate::SheetError;

/// Elements inside each other; the schema of a worksheet has about ten.
const DEPTH_MAX: usize = 100;
/// Bytes read for one tag or text: a longer one has no place in a worksheet and would have to be held in memory whole.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// What comes next.
pub(crate) enum Node<'a> {
    /// An element opens; `<a/>` opens and closes.
    Open(Element<'a>),
    /// It closes.
    Close(Closing<'a>),
    /// A piece of text; several may follow each other.
    Text(Cow<'a, str>),
    /// Comments and the like.
    Other,
    /// The end of the part.
    End,
}

/// An opening element.
pub(crate) struct Element<'a>(BytesStart<'a>);

impl Element<'_> {
    /// Name without prefix.
    pub(crate) fn name(&self) -> &str {
        self.0.local_name().into_inner()
    }

    /// Value of the attribute of this name without prefix.
    pub(crate) fn attribute(&self, name: &str) -> Result<Option<String>, String> {
        let [value] = self.attributes([name])?;
        Ok(value.map(Cow::into_owned))
    }

    /// The same for several names in one pass.
    pub(crate) fn attributes<const N: usize>(&self, names: [&str; N]) -> Result<[Option<Cow<'_, str>>; N], String> {
        let mut values = [const { None }; N];
        for attribute in self.0.attributes().with_checks(false) {
            let attribute = attribute.map_err(|e| e.to_string())?;
            if let Some(i) = names.iter().position(|name| *name == attribute.key.local_name().into_inner()) {
                values[i] = Some(attribute.normalized_value(quick_xml::XmlVersion::Implicit1_0).map_err(|e| e.to_string())?);
            }
        }
        Ok(values)
    }
}

/// A closing element.
pub(crate) struct Closing<'a>(BytesEnd<'a>);

impl Closing<'_> {
    /// Name without prefix.
    pub(crate) fn name(&self) -> &str {
        self.0.local_name().into_inner()
    }
}

/// Stops a reader that takes too much for one event.
struct Metered<R> {
    inner: R,
    left: Rc<Cell<usize>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 {
            return Err(io::Error::other("a tag or text is too long"));
        }
        let n_wanted = buffer.len().min(left);
        let n = self.inner.read(&mut buffer[..n_wanted])?;
        self.left.set(left - n);
        Ok(n)
    }
}

/// The events of a part.
pub(crate) struct Xml<R> {
    part: String,
    reader: Reader<BufReader<Metered<R>>>,
    left: Rc<Cell<usize>>,
    buffer: Vec<u8>,
    depth: usize,
}

impl<R: Read> Xml<R> {
    pub(crate) fn new(part: &str, inner: R) -> Self {
        let left = Rc::new(Cell::new(EVENT_BYTES_MAX));
        let mut reader = Reader::from_reader(BufReader::with_capacity(32 << 10, Metered { inner, left: Rc::clone(&left) }));
        reader.config_mut().expand_empty_elements = true;
        Self { part: part.to_owned(), reader, left, buffer: Vec::new(), depth: 0 }
    }

    /// The next event.
    pub(crate) fn next(&mut self) -> Result<Node<'_>, SheetError> {
        self.buffer.clear();
        self.left.set(EVENT_BYTES_MAX);
        let damaged = |reason: String| SheetError::Damaged { part: self.part.clone(), reason };
        let event = self.reader.read_event_into(&mut self.buffer).map_err(|e| damaged(e.to_string()))?;
        Ok(match event {
            Event::Start(element) | Event::Empty(element) => {
                self.depth += 1;
                if self.depth > DEPTH_MAX {
                    return Err(damaged("elements are nested too deep".to_owned()));
                }
                Node::Open(Element(element))
            }
            Event::End(element) => {
                self.depth = self.depth.saturating_sub(1);
                Node::Close(Closing(element))
            }
            Event::Text(text) => Node::Text(text.xml10_content()),
            Event::CData(text) => Node::Text(text.xml10_content()),
            Event::GeneralRef(reference) => {
                let character = reference.resolve_char_ref().map_err(|e| damaged(e.to_string()))?;
                match (character, resolve_xml_entity(&reference)) {
                    (Some(character), _) => Node::Text(Cow::Owned(character.to_string())),
                    (None, Some(text)) => Node::Text(Cow::Borrowed(text)),
                    (None, None) => return Err(damaged("an entity is not known".to_owned())),
                }
            }
            Event::DocType(_) => return Err(SheetError::Entities { part: self.part.clone() }),
            Event::Comment(_) | Event::PI(_) | Event::Decl(_) => Node::Other,
            Event::Eof if self.depth > 0 => return Err(damaged("it ends too early".to_owned())),
            Event::Eof => Node::End,
        })
    }

    /// An error of this part.
    pub(crate) fn damaged(&self, reason: impl Into<String>) -> SheetError {
        SheetError::Damaged { part: self.part.clone(), reason: reason.into() }
    }
}
