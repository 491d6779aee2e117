//! An alert as XML, in the order of the schema.

use std::fmt::{Display, Write as _};

use quick_xml::escape::partial_escape;

use super::{Alert, Defect, NAMESPACE, Named};

struct Out {
    text: String,
    depth: usize,
}

impl Out {
    fn line(&mut self, name: &str, value: impl Display) {
        // It escapes a carriage return too, which would be read as a line feed.
        let value = partial_escape(value.to_string());
        let _ = writeln!(self.text, "{:indent$}<{name}>{value}</{name}>", "", indent = self.depth * 2);
    }

    fn optional(&mut self, name: &str, value: Option<&(impl Display + ?Sized)>) {
        if let Some(value) = value {
            self.line(name, value);
        }
    }

    fn inside(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        let _ = writeln!(self.text, "{:indent$}<{name}>", "", indent = self.depth * 2);
        self.depth += 1;
        write(self);
        self.depth -= 1;
        let _ = writeln!(self.text, "{:indent$}</{name}>", "", indent = self.depth * 2);
    }

    fn named(&mut self, name: &str, all: &[Named]) {
        for one in all {
            self.inside(name, |o| {
                o.line("valueName", &one.value_name);
                o.line("value", &one.value);
            });
        }
    }
}

impl Alert {
    /// The document, UTF-8.
    ///
    /// # Errors
    /// What is against the standard: such a thing is not written.
    pub fn write(&self) -> Result<String, Vec<Defect>> {
        let defects = self.defects();
        if !defects.is_empty() {
            return Err(defects);
        }
        let mut o = Out { text: format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<alert xmlns=\"{NAMESPACE}\">\n"), depth: 1 };
        o.line("identifier", &self.identifier);
        o.line("sender", &self.sender);
        o.line("sent", self.sent);
        o.line("status", self.status.as_str());
        o.line("msgType", self.msg_type.as_str());
        o.optional("source", self.source.as_ref());
        o.line("scope", self.scope.as_str());
        o.optional("restriction", self.restriction.as_ref());
        o.optional("addresses", self.addresses.as_ref());
        self.codes.iter().for_each(|code| o.line("code", code));
        o.optional("note", self.note.as_ref());
        if !self.references.is_empty() {
            o.line("references", self.references.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        }
        o.optional("incidents", self.incidents.as_ref());
        for info in &self.infos {
            o.inside("info", |o| {
                o.optional("language", info.language.as_ref());
                info.categories.iter().for_each(|category| o.line("category", category.as_str()));
                o.line("event", &info.event);
                info.response_types.iter().for_each(|response| o.line("responseType", response.as_str()));
                o.line("urgency", info.urgency.as_str());
                o.line("severity", info.severity.as_str());
                o.line("certainty", info.certainty.as_str());
                o.optional("audience", info.audience.as_ref());
                o.named("eventCode", &info.event_codes);
                o.optional("effective", info.effective.as_ref());
                o.optional("onset", info.onset.as_ref());
                o.optional("expires", info.expires.as_ref());
                o.optional("senderName", info.sender_name.as_ref());
                o.optional("headline", info.headline.as_ref());
                o.optional("description", info.description.as_ref());
                o.optional("instruction", info.instruction.as_ref());
                o.optional("web", info.web.as_ref());
                o.optional("contact", info.contact.as_ref());
                o.named("parameter", &info.parameters);
                for resource in &info.resources {
                    o.inside("resource", |o| {
                        o.line("resourceDesc", &resource.resource_desc);
                        o.line("mimeType", &resource.mime_type);
                        o.optional("size", resource.size.as_ref());
                        o.optional("uri", resource.uri.as_ref());
                        o.optional("derefUri", resource.deref_uri.as_ref());
                        o.optional("digest", resource.digest.as_ref());
                    });
                }
                for area in &info.areas {
                    o.inside("area", |o| {
                        o.line("areaDesc", &area.area_desc);
                        for polygon in &area.polygons {
                            let pairs: Vec<String> = polygon.iter().map(|(lat, lon)| format!("{lat},{lon}")).collect();
                            o.line("polygon", pairs.join(" "));
                        }
                        for circle in &area.circles {
                            o.line("circle", format!("{},{} {}", circle.center.0, circle.center.1, circle.radius_km));
                        }
                        o.named("geocode", &area.geocodes);
                        o.optional("altitude", area.altitude.as_ref());
                        o.optional("ceiling", area.ceiling.as_ref());
                    });
                }
            });
        }
        o.text.push_str("</alert>\n");
        Ok(o.text)
    }
}
