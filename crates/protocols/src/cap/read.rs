//! XML to an alert: first a tree within limits, then its elements in the order of the schema.

use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::Event;
use quick_xml::name::{Namespace, ResolveResult};
use quick_xml::reader::NsReader;

use super::check::is_xml;
use super::{
    Alert, Area, BYTES_MAX, Category, Certainty, Circle, Defect, Info, MsgType, NAMESPACE, Named, Reference, Resource, ResponseType, Scope,
    Severity, Status, Time, Urgency,
};

/// Elements inside each other; an alert has five, a signature some more.
const DEPTH_MAX: usize = 16;
/// Elements of a document.
const ELEMENTS_MAX: usize = 20_000;
const SIGNATURE: &str = "http://www.w3.org/2000/09/xmldsig#";
/// Of the namespace of attributes such as `xsi:schemaLocation`, which every schema allows.
const INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";
/// So many defects are told.
const DEFECTS_MAX: usize = 100;

fn defect(code: &'static str, at: impl Into<String>) -> Defect {
    Defect { code, at: at.into() }
}

/// Whose an element is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Cap,
    Signature,
    Other,
}

struct Element {
    name: String,
    of: Of,
    text: String,
    children: Vec<Element>,
}

impl Alert {
    /// From a document.
    ///
    /// # Errors
    /// Everything that is against the standard, a hundred things at most; of a document that is no XML, or more than is taken, the first one alone.
    pub fn read(bytes: &[u8]) -> Result<Self, Vec<Defect>> {
        if bytes.len() > BYTES_MAX {
            return Err(vec![defect("too_long", "")]);
        }
        let text = decode(bytes).map_err(|code| vec![defect(code, "")])?;
        Self::read_text(&text)
    }

    /// From a document as characters; what its declaration says of bytes does not matter.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_text(text: &str) -> Result<Self, Vec<Defect>> {
        if text.len() > BYTES_MAX {
            return Err(vec![defect("too_long", "")]);
        }
        let root = tree(text.trim_start_matches('\u{feff}')).map_err(|defect| vec![defect])?;
        let mut reader = Reader { defects: Vec::new() };
        let alert = reader.alert(root);
        reader.defects.truncate(DEFECTS_MAX);
        match alert {
            Some(alert) if reader.defects.is_empty() => {
                let mut defects = alert.defects();
                defects.truncate(DEFECTS_MAX);
                if defects.is_empty() { Ok(alert) } else { Err(defects) }
            }
            _ => Err(reader.defects),
        }
    }
}

/// The characters: by their mark, by the declaration, else UTF-8.
fn decode(bytes: &[u8]) -> Result<std::borrow::Cow<'_, str>, &'static str> {
    let encoding = match encoding_rs::Encoding::for_bom(bytes) {
        Some((encoding, _)) => encoding,
        None => declared(bytes).map_or(Ok(encoding_rs::UTF_8), |label| encoding_rs::Encoding::for_label(label).ok_or("encoding"))?,
    };
    let (text, _, is_broken) = encoding.decode(bytes);
    if is_broken { Err("encoding") } else { Ok(text) }
}

/// The encoding that the first line names.
fn declared(bytes: &[u8]) -> Option<&[u8]> {
    let head = &bytes[..bytes.len().min(200)];
    let head = &head[..memchr::memmem::find(head, b"?>")?];
    let at = memchr::memmem::find(head, b"encoding")? + b"encoding".len();
    let rest = head[at..].trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let (quote, rest) = rest.split_first().filter(|(quote, _)| matches!(quote, b'"' | b'\''))?;
    Some(&rest[..memchr::memchr(*quote, rest)?])
}

fn tree(text: &str) -> Result<Element, Defect> {
    let mut reader = NsReader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    let mut n = 0;
    loop {
        let (namespace, event) = reader.read_resolved_event().map_err(|_| defect("xml", path(&open)))?;
        match event {
            Event::Start(start) => {
                let of = match namespace {
                    ResolveResult::Bound(Namespace(NAMESPACE)) => Of::Cap,
                    ResolveResult::Bound(Namespace(SIGNATURE)) => Of::Signature,
                    ResolveResult::Bound(_) | ResolveResult::Unbound => Of::Other,
                    ResolveResult::Unknown(_) => return Err(defect("xml", path(&open))),
                };
                let name = start.local_name().into_inner().to_owned();
                n += 1;
                if open.len() >= DEPTH_MAX || n > ELEMENTS_MAX {
                    return Err(defect("too_much", path(&open)));
                }
                if open.is_empty() && root.is_some() {
                    return Err(defect("xml", name));
                }
                // What stands in a signature is not looked at.
                if of == Of::Cap {
                    for attribute in start.attributes() {
                        let attribute = attribute.map_err(|_| defect("xml", path(&open)))?;
                        let is_allowed = attribute.key.as_namespace_binding().is_some()
                            || reader.resolver().resolve_attribute(attribute.key).0 == ResolveResult::Bound(Namespace(INSTANCE));
                        if !is_allowed {
                            return Err(defect("attribute", path(&open)));
                        }
                    }
                }
                open.push(Element { name, of, text: String::new(), children: Vec::new() });
            }
            Event::End(_) => {
                let Some(done) = open.pop() else { return Err(defect("xml", "")) };
                match open.last_mut() {
                    Some(above) => above.children.push(done),
                    None => root = Some(done),
                }
            }
            Event::Text(piece) => said(&mut open, &piece.xml10_content())?,
            Event::CData(piece) => said(&mut open, &piece.xml10_content())?,
            Event::GeneralRef(reference) => {
                let character = reference.resolve_char_ref().map_err(|_| defect("character", path(&open)))?;
                match (character, resolve_xml_entity(&reference)) {
                    (Some(character), _) => said(&mut open, character.encode_utf8(&mut [0; 4]))?,
                    (None, Some(text)) => said(&mut open, text)?,
                    (None, None) => return Err(defect("entity", path(&open))),
                }
            }
            Event::DocType(_) => return Err(defect("doctype", "")),
            Event::Comment(_) | Event::PI(_) | Event::Decl(_) | Event::Empty(_) => {}
            Event::Eof => break,
        }
    }
    if !open.is_empty() {
        return Err(defect("xml", path(&open)));
    }
    root.ok_or_else(|| defect("xml", ""))
}

fn said(open: &mut [Element], text: &str) -> Result<(), Defect> {
    if !text.chars().all(is_xml) {
        return Err(defect("character", path(open)));
    }
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err(defect("xml", "")),
    }
    Ok(())
}

fn path(open: &[Element]) -> String {
    open.iter().map(|element| element.name.as_str()).collect::<Vec<_>>().join("/")
}

/// Children of one element, each kind taken once, in the order in which it is asked for.
struct Children {
    at: String,
    /// Backwards.
    left: Vec<Element>,
}

struct Reader {
    defects: Vec<Defect>,
}

impl Reader {
    fn say(&mut self, code: &'static str, at: String) {
        if self.defects.len() < DEFECTS_MAX {
            self.defects.push(Defect { code, at });
        }
    }

    /// The children of an element that has nothing but elements.
    fn open(&mut self, element: Element, at: String) -> Children {
        if !element.text.trim().is_empty() {
            self.say("text", at.clone());
        }
        Children { at, left: element.children.into_iter().rev().collect() }
    }

    /// The text of an element that has nothing but text.
    fn text(&mut self, element: Element, at: &str) -> String {
        if !element.children.is_empty() {
            self.say("element", at.to_owned());
        }
        element.text
    }

    /// All of this name that come next, as texts.
    fn all(&mut self, from: &mut Children, name: &str) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(element) = from.next(name) {
            let at = format!("{}/{name}", from.at);
            all.push(self.text(element, &at));
        }
        all
    }

    /// The one of this name; empty counts as absent.
    fn optional(&mut self, from: &mut Children, name: &str) -> Option<String> {
        let all = self.all(from, name);
        if all.len() > 1 {
            self.say("twice", format!("{}/{name}", from.at));
        }
        all.into_iter().next().filter(|text| !text.trim().is_empty())
    }

    fn required(&mut self, from: &mut Children, name: &str) -> Option<String> {
        let text = self.optional(from, name);
        if text.is_none() {
            self.say("missing", format!("{}/{name}", from.at));
        }
        text
    }

    fn word<T>(&mut self, from: &mut Children, name: &str, parse: fn(&str) -> Option<T>) -> Option<T> {
        let text = self.required(from, name)?;
        self.parsed(&text, from, name, "word", parse)
    }

    fn words<T>(&mut self, from: &mut Children, name: &str, parse: fn(&str) -> Option<T>) -> Vec<T> {
        let all = self.all(from, name);
        all.iter().filter_map(|text| self.parsed(text, from, name, "word", parse)).collect()
    }

    fn parsed<T>(
        &mut self,
        text: &str,
        from: &Children,
        name: &str,
        code: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = parse(text.trim());
        if value.is_none() {
            self.say(code, format!("{}/{name}", from.at));
        }
        value
    }

    fn time(&mut self, from: &mut Children, name: &str) -> Option<Time> {
        let text = self.optional(from, name)?;
        self.parsed(&text, from, name, "time", Time::parse)
    }

    fn number(&mut self, from: &mut Children, name: &str) -> Option<f64> {
        let text = self.optional(from, name)?;
        self.parsed(&text, from, name, "number", decimal)
    }

    fn named(&mut self, from: &mut Children, name: &str) -> Vec<Named> {
        let mut all = Vec::new();
        while let Some(element) = from.next(name) {
            let at = format!("{}/{name}[{}]", from.at, all.len());
            let mut inner = self.open(element, at);
            let value_name = self.required(&mut inner, "valueName").unwrap_or_default();
            let values = self.all(&mut inner, "value");
            if values.len() != 1 {
                self.say(if values.is_empty() { "missing" } else { "twice" }, format!("{}/value", inner.at));
            }
            self.end(inner);
            all.push(Named { value_name, value: values.into_iter().next().unwrap_or_default() });
        }
        all
    }

    /// Nothing may be left: what is has no place here, or not this place.
    fn end(&mut self, from: Children) {
        for element in from.left.iter().rev() {
            let code = if element.of == Of::Cap && ORDERED.contains(&element.name.as_str()) { "order" } else { "unknown" };
            self.say(code, format!("{}/{}", from.at, element.name));
        }
    }

    fn alert(&mut self, root: Element) -> Option<Alert> {
        if root.name != "alert" || root.of != Of::Cap {
            self.say(if root.name == "alert" { "namespace" } else { "root" }, root.name);
            return None;
        }
        let mut from = self.open(root, "alert".to_owned());
        let from = &mut from;
        let identifier = self.required(from, "identifier");
        let sender = self.required(from, "sender");
        let sent = self.required(from, "sent").and_then(|text| self.parsed(&text, from, "sent", "time", Time::parse));
        let status = self.word(from, "status", Status::parse);
        let msg_type = self.word(from, "msgType", MsgType::parse);
        let source = self.optional(from, "source");
        let scope = self.word(from, "scope", Scope::parse);
        let restriction = self.optional(from, "restriction");
        let addresses = self.optional(from, "addresses");
        let mut codes = self.all(from, "code");
        codes.retain(|code| !code.trim().is_empty());
        let note = self.optional(from, "note");
        let references = self.optional(from, "references").unwrap_or_default();
        let references: Vec<Reference> =
            references.split_whitespace().filter_map(|one| self.parsed(one, from, "references", "reference", reference)).collect();
        let incidents = self.optional(from, "incidents");
        let mut infos = Vec::new();
        while let Some(element) = from.next("info") {
            let at = format!("alert/info[{}]", infos.len());
            infos.extend(self.info(element, at));
        }
        let n_left = from.left.len();
        from.left.retain(|element| element.of != Of::Signature);
        let is_signed = from.left.len() < n_left;
        self.end(Children { at: "alert".to_owned(), left: std::mem::take(&mut from.left) });
        Some(Alert {
            identifier: identifier?.trim().to_owned(),
            sender: sender?.trim().to_owned(),
            sent: sent?,
            status: status?,
            msg_type: msg_type?,
            source,
            scope: scope?,
            restriction,
            addresses,
            codes,
            note,
            references,
            incidents,
            infos,
            is_signed,
        })
    }

    fn info(&mut self, element: Element, at: String) -> Option<Info> {
        let mut from = self.open(element, at);
        let language = self.optional(&mut from, "language").map(|language| language.trim().to_owned());
        let categories = self.words(&mut from, "category", Category::parse);
        let event = self.required(&mut from, "event");
        let response_types = self.words(&mut from, "responseType", ResponseType::parse);
        let urgency = self.word(&mut from, "urgency", Urgency::parse);
        let severity = self.word(&mut from, "severity", Severity::parse);
        let certainty = self.word(&mut from, "certainty", Certainty::parse);
        let audience = self.optional(&mut from, "audience");
        let event_codes = self.named(&mut from, "eventCode");
        let effective = self.time(&mut from, "effective");
        let onset = self.time(&mut from, "onset");
        let expires = self.time(&mut from, "expires");
        let sender_name = self.optional(&mut from, "senderName");
        let headline = self.optional(&mut from, "headline");
        let description = self.optional(&mut from, "description");
        let instruction = self.optional(&mut from, "instruction");
        let web = self.optional(&mut from, "web").map(|web| web.trim().to_owned());
        let contact = self.optional(&mut from, "contact");
        let parameters = self.named(&mut from, "parameter");
        let mut resources = Vec::new();
        while let Some(element) = from.next("resource") {
            let at = format!("{}/resource[{}]", from.at, resources.len());
            resources.extend(self.resource(element, at));
        }
        let mut areas = Vec::new();
        while let Some(element) = from.next("area") {
            let at = format!("{}/area[{}]", from.at, areas.len());
            areas.extend(self.area(element, at));
        }
        self.end(from);
        Some(Info {
            language,
            categories,
            event: event?,
            response_types,
            urgency: urgency?,
            severity: severity?,
            certainty: certainty?,
            audience,
            event_codes,
            effective,
            onset,
            expires,
            sender_name,
            headline,
            description,
            instruction,
            web,
            contact,
            parameters,
            resources,
            areas,
        })
    }

    fn resource(&mut self, element: Element, at: String) -> Option<Resource> {
        let mut from = self.open(element, at);
        let resource_desc = self.required(&mut from, "resourceDesc");
        let mime_type = self.required(&mut from, "mimeType");
        let size = self.optional(&mut from, "size");
        let size = size.and_then(|size| self.parsed(&size, &from, "size", "number", |text| text.parse().ok()));
        let uri = self.optional(&mut from, "uri").map(|uri| uri.trim().to_owned());
        let deref_uri = self.optional(&mut from, "derefUri");
        let digest = self.optional(&mut from, "digest");
        self.end(from);
        Some(Resource { resource_desc: resource_desc?, mime_type: mime_type?, size, uri, deref_uri, digest })
    }

    fn area(&mut self, element: Element, at: String) -> Option<Area> {
        let mut from = self.open(element, at);
        let area_desc = self.required(&mut from, "areaDesc");
        let polygons = self.all(&mut from, "polygon");
        let polygons = polygons.iter().filter(|text| !text.trim().is_empty());
        let polygons = polygons.filter_map(|text| self.parsed(text, &from, "polygon", "place", pairs)).collect();
        let circles = self.all(&mut from, "circle");
        let circles = circles.iter().filter(|text| !text.trim().is_empty());
        let circles = circles.filter_map(|text| self.parsed(text, &from, "circle", "circle", circle)).collect();
        let geocodes = self.named(&mut from, "geocode");
        let altitude = self.number(&mut from, "altitude");
        let ceiling = self.number(&mut from, "ceiling");
        self.end(from);
        Some(Area { area_desc: area_desc?, polygons, circles, geocodes, altitude, ceiling })
    }
}

impl Children {
    fn next(&mut self, name: &str) -> Option<Element> {
        let is_next = self.left.last().is_some_and(|element| element.of == Of::Cap && element.name == name);
        if is_next { self.left.pop() } else { None }
    }
}

/// Every element of the standard: one that is left over stands in the wrong place.
const ORDERED: &[&str] = &[
    "identifier",
    "sender",
    "sent",
    "status",
    "msgType",
    "source",
    "scope",
    "restriction",
    "addresses",
    "code",
    "note",
    "references",
    "incidents",
    "info",
    "language",
    "category",
    "event",
    "responseType",
    "urgency",
    "severity",
    "certainty",
    "audience",
    "eventCode",
    "effective",
    "onset",
    "expires",
    "senderName",
    "headline",
    "description",
    "instruction",
    "web",
    "contact",
    "parameter",
    "resource",
    "resourceDesc",
    "mimeType",
    "size",
    "uri",
    "derefUri",
    "digest",
    "area",
    "areaDesc",
    "polygon",
    "circle",
    "geocode",
    "altitude",
    "ceiling",
    "valueName",
    "value",
];

/// `xs:decimal`: no exponent, no names of infinities.
fn decimal(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_decimal = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') && digits.bytes().any(|b| b.is_ascii_digit());
    if is_decimal { text.parse().ok().filter(|n: &f64| n.is_finite()) } else { None }
}

fn pair(text: &str) -> Option<(f64, f64)> {
    let (lat, lon) = text.split_once(',')?;
    Some((decimal(lat)?, decimal(lon)?))
}

fn pairs(text: &str) -> Option<Vec<(f64, f64)>> {
    text.split_whitespace().map(pair).collect()
}

fn circle(text: &str) -> Option<Circle> {
    let mut parts = text.split_whitespace();
    let circle = Circle { center: pair(parts.next()?)?, radius_km: decimal(parts.next()?)? };
    parts.next().is_none().then_some(circle)
}

fn reference(text: &str) -> Option<Reference> {
    let mut parts = text.split(',');
    let (sender, identifier, sent) = (parts.next()?, parts.next()?, parts.next()?);
    let reference = Reference { sender: sender.to_owned(), identifier: identifier.to_owned(), sent: Time::parse(sent)? };
    parts.next().is_none().then_some(reference)
}
