//! What the standard says beyond its schema, asked of an alert that is read and of one that is to be written.

use super::{Alert, Area, Defect, Info, MsgType, Scope, Time};

/// The smallest polygon is a triangle, whose first point comes again at the end.
const PAIRS_LEAST: usize = 4;

struct Found(Vec<Defect>);

impl Found {
    fn say(&mut self, is_wrong: bool, code: &'static str, at: impl FnOnce() -> String) {
        if is_wrong {
            self.0.push(Defect { code, at: at() });
        }
    }

    /// A text that must be there and can stand in XML.
    fn text(&mut self, text: &str, at: impl Fn() -> String) {
        self.say(text.trim().is_empty(), "missing", &at);
        self.say(!text.chars().all(is_xml), "character", &at);
    }

    fn optional(&mut self, text: Option<&String>, at: impl Fn() -> String) {
        if let Some(text) = text {
            self.text(text, at);
        }
    }

    fn time(&mut self, time: Option<Time>, at: impl Fn() -> String) {
        self.say(time.is_some_and(|time| Time::parse(&time.to_string()) != Some(time)), "time", at);
    }
}

/// A character of XML 1.0.
pub(super) fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// 3.2.1: no blanks, commas, < and &.
pub(super) fn is_identity(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || matches!(c, ',' | '<' | '&'))
}

/// `xs:language`.
fn is_language(text: &str) -> bool {
    let mut parts = text.split('-');
    let fits = |part: &str| (1..=8).contains(&part.len());
    parts.next().is_some_and(|first| fits(first) && first.bytes().all(|b| b.is_ascii_alphabetic()))
        && parts.all(|part| fits(part) && part.bytes().all(|b| b.is_ascii_alphanumeric()))
}

fn is_place((lat, lon): (f64, f64)) -> bool {
    (-90.0..=90.0).contains(&lat) && (-180.0..=180.0).contains(&lon)
}

impl Alert {
    /// Everything that is against the standard; nothing of one that was read.
    pub fn defects(&self) -> Vec<Defect> {
        let mut found = Found(Vec::new());
        let f = &mut found;
        for (text, name) in [(&self.identifier, "identifier"), (&self.sender, "sender")] {
            f.text(text, || format!("alert/{name}"));
            f.say(!text.trim().is_empty() && !is_identity(text), "identity", || format!("alert/{name}"));
        }
        f.time(Some(self.sent), || "alert/sent".to_owned());
        let optional = [
            (&self.source, "source"),
            (&self.restriction, "restriction"),
            (&self.addresses, "addresses"),
            (&self.note, "note"),
            (&self.incidents, "incidents"),
        ];
        for (text, name) in optional {
            f.optional(text.as_ref(), || format!("alert/{name}"));
        }
        for (i, code) in self.codes.iter().enumerate() {
            f.text(code, || format!("alert/code[{i}]"));
        }
        f.say(self.scope == Scope::Restricted && self.restriction.is_none(), "missing", || "alert/restriction".to_owned());
        f.say(self.scope == Scope::Private && self.addresses.is_none(), "missing", || "alert/addresses".to_owned());
        f.say(self.msg_type != MsgType::Alert && self.references.is_empty(), "missing", || "alert/references".to_owned());
        for reference in &self.references {
            let is_whole = is_identity(&reference.sender) && is_identity(&reference.identifier);
            f.say(!is_whole, "reference", || "alert/references".to_owned());
            f.time(Some(reference.sent), || "alert/references".to_owned());
        }
        for (i, info) in self.infos.iter().enumerate() {
            info.check(f, &format!("alert/info[{i}]"));
        }
        found.0
    }
}

impl Info {
    fn check(&self, f: &mut Found, at: &str) {
        if let Some(language) = &self.language {
            f.say(!is_language(language), "language", || format!("{at}/language"));
        }
        f.say(self.categories.is_empty(), "missing", || format!("{at}/category"));
        f.text(&self.event, || format!("{at}/event"));
        for (time, name) in [(self.effective, "effective"), (self.onset, "onset"), (self.expires, "expires")] {
            f.time(time, || format!("{at}/{name}"));
        }
        let optional = [
            (&self.audience, "audience"),
            (&self.sender_name, "senderName"),
            (&self.headline, "headline"),
            (&self.description, "description"),
            (&self.instruction, "instruction"),
            (&self.web, "web"),
            (&self.contact, "contact"),
        ];
        for (text, name) in optional {
            f.optional(text.as_ref(), || format!("{at}/{name}"));
        }
        f.say(self.web.as_ref().is_some_and(|web| web.contains(char::is_whitespace)), "uri", || format!("{at}/web"));
        for (named, name) in [(&self.event_codes, "eventCode"), (&self.parameters, "parameter")] {
            for (i, one) in named.iter().enumerate() {
                f.text(&one.value_name, || format!("{at}/{name}[{i}]/valueName"));
                // An empty value says that there is none: parameters of real alerts are so.
                f.say(!one.value.chars().all(is_xml), "character", || format!("{at}/{name}[{i}]/value"));
            }
        }
        for (i, resource) in self.resources.iter().enumerate() {
            let at = format!("{at}/resource[{i}]");
            f.text(&resource.resource_desc, || format!("{at}/resourceDesc"));
            f.text(&resource.mime_type, || format!("{at}/mimeType"));
            for (text, name) in [(&resource.uri, "uri"), (&resource.deref_uri, "derefUri"), (&resource.digest, "digest")] {
                f.optional(text.as_ref(), || format!("{at}/{name}"));
            }
            f.say(resource.uri.as_ref().is_some_and(|uri| uri.contains(char::is_whitespace)), "uri", || format!("{at}/uri"));
        }
        for (i, area) in self.areas.iter().enumerate() {
            area.check(f, &format!("{at}/area[{i}]"));
        }
    }
}

impl Area {
    fn check(&self, f: &mut Found, at: &str) {
        f.text(&self.area_desc, || format!("{at}/areaDesc"));
        for (i, polygon) in self.polygons.iter().enumerate() {
            let at = || format!("{at}/polygon[{i}]");
            f.say(polygon.len() < PAIRS_LEAST, "polygon_short", at);
            f.say(polygon.first() != polygon.last(), "polygon_open", at);
            f.say(!polygon.iter().copied().all(is_place), "place", at);
        }
        for (i, circle) in self.circles.iter().enumerate() {
            let is_circle = is_place(circle.center) && circle.radius_km.is_finite() && circle.radius_km >= 0.0;
            f.say(!is_circle, "circle", || format!("{at}/circle[{i}]"));
        }
        for (i, code) in self.geocodes.iter().enumerate() {
            f.text(&code.value_name, || format!("{at}/geocode[{i}]/valueName"));
            f.say(!code.value.chars().all(is_xml), "character", || format!("{at}/geocode[{i}]/value"));
        }
        let is_broken = |height: Option<f64>| height.is_some_and(|height| !height.is_finite());
        f.say(is_broken(self.altitude), "number", || format!("{at}/altitude"));
        f.say(is_broken(self.ceiling), "number", || format!("{at}/ceiling"));
        f.say(self.ceiling.is_some() && self.altitude.is_none(), "missing", || format!("{at}/altitude"));
    }
}
