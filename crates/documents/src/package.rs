//! The container: a zip archive of parts (ECMA-376 part 2), believed in nothing.
//!
//! [`Package::open`] inflates every part once and counts, before anything is understood; what it let pass is inflated again to be read.
//! Both go through one reader of one archive, so what was counted is what is read.

use std::collections::HashMap;
use std::io::{Cursor, Read};

use zip::ZipArchive;
use zip::read::ZipFile;
use zip::result::ZipError;

use crate::xml::{Node, Xml};
use crate::{SheetError, SheetLimits};

/// Small parts are often blank and shrink well; a bomb is none of them.
const RATIO_FROM_BYTES: u64 = 1 << 20;
/// Relationships of one part.
const RELATIONS_MAX: usize = 10_000;
const OLE_MAGIC: [u8; 8] = [0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1];
/// Name of the stream that holds an encrypted document, in an OLE file, UTF-16.
const ENCRYPTED_STREAM: &str = "EncryptedPackage";
const CONTENT_TYPES: &str = "[content_types].xml";

/// A container that passed.
pub(crate) struct Package<'a> {
    archive: ZipArchive<Cursor<&'a [u8]>>,
    /// Where a part stands, by its name in lower case: names are compared without case (ECMA-376 part 2, 6.2.2.3).
    parts: HashMap<String, usize>,
}

/// The bytes of one part.
type Part<'p, 'a> = ZipFile<'p, Cursor<&'a [u8]>>;

/// What a part points to.
pub(crate) struct Relation {
    /// Id inside the part.
    pub(crate) id: String,
    /// Last word of its type, such as `worksheet`.
    pub(crate) kind: String,
    /// Name of the part it points to.
    pub(crate) target: String,
}

impl<'a> Package<'a> {
    /// Counts every part of `bytes` and refuses what must not be read.
    pub(crate) fn open(bytes: &'a [u8], limits: &SheetLimits) -> Result<Self, SheetError> {
        if bytes.len() > limits.file_bytes_max {
            return Err(SheetError::FileTooLarge { bytes: bytes.len(), max: limits.file_bytes_max });
        }
        if !bytes.starts_with(b"PK\x03\x04") {
            return Err(not_a_zip(bytes));
        }
        let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| container(&e))?;
        if archive.len() > limits.entries_max {
            return Err(SheetError::TooManyEntries { entries: archive.len(), max: limits.entries_max });
        }
        if archive.has_duplicate_names() || archive.has_overlapping_entries().map_err(|e| container(&e))? {
            return Err(damaged("container", "parts share a name or bytes"));
        }
        let (mut parts, mut inflated) = (HashMap::new(), 0_u64);
        for i in 0..archive.len() {
            let mut entry = archive.by_index(i).map_err(|e| container(&e))?;
            let name = entry.name().map_err(|e| container(&e))?.replace('\\', "/");
            let name = name.trim_start_matches('/').to_lowercase();
            inflated = count(&mut entry, &name, inflated, limits)?;
            if name.ends_with('/') {
                continue;
            }
            if name.ends_with("vbaproject.bin") || name.contains("/macrosheets/") {
                return Err(SheetError::Macros { part: name });
            }
            if name.contains("/externallinks/") {
                return Err(SheetError::ExternalLink { part: name });
            }
            if parts.insert(name.clone(), i).is_some() {
                return Err(damaged(&name, "two parts have this name"));
            }
        }
        let mut package = Self { archive, parts };
        package.check_content_types()?;
        package.check_relations()?;
        Ok(package)
    }

    /// The part of this name, if there is one.
    pub(crate) fn part(&mut self, name: &str) -> Result<Option<Xml<Part<'_, 'a>>>, SheetError> {
        let Some(i) = self.parts.get(&name.to_lowercase()) else { return Ok(None) };
        Ok(Some(Xml::new(name, self.archive.by_index(*i).map_err(|e| container(&e))?)))
    }

    /// What a part points to inside the container; the whole container for an empty name.
    pub(crate) fn relations(&mut self, of: &str) -> Result<Vec<Relation>, SheetError> {
        let (folder, file) = of.rsplit_once('/').unwrap_or(("", of));
        let name = format!("{folder}/_rels/{file}.rels");
        let mut relations = Vec::new();
        self.each_relation(name.trim_start_matches('/'), |id, kind, target, is_external| {
            if !is_external {
                relations.push(Relation { id, kind, target: resolve(folder, &target) });
            }
            Ok(())
        })?;
        Ok(relations)
    }

    fn each_relation(
        &mut self,
        part: &str,
        mut take: impl FnMut(String, String, String, bool) -> Result<(), SheetError>,
    ) -> Result<(), SheetError> {
        let Some(mut xml) = self.part(part)? else { return Ok(()) };
        let mut n_relations = 0;
        loop {
            let (id, kind, target, mode) = match xml.next()? {
                Node::Open(element) if element.name() == "Relationship" => {
                    let values = element.attributes(["Id", "Type", "Target", "TargetMode"]).map_err(|reason| damaged(part, &reason))?;
                    let [id, kind, target, mode] = values.map(|value| value.unwrap_or_default().into_owned());
                    (id, kind, target, mode)
                }
                Node::End => return Ok(()),
                _ => continue,
            };
            n_relations += 1;
            if n_relations > RELATIONS_MAX {
                return Err(damaged(part, "it points to too many parts"));
            }
            let kind = kind.rsplit('/').next().unwrap_or_default().to_owned();
            take(id, kind, target, mode.trim().eq_ignore_ascii_case("external"))?;
        }
    }

    fn check_relations(&mut self) -> Result<(), SheetError> {
        let mut all: Vec<String> = self.parts.keys().filter(|name| name.ends_with(".rels")).cloned().collect();
        all.sort();
        for part in all {
            self.each_relation(&part, |_, kind, _, is_external| match kind.as_str() {
                "vbaProject" | "xlMacrosheet" | "xlIntlMacrosheet" => Err(SheetError::Macros { part: part.clone() }),
                "externalLink" | "externalLinkPath" => Err(SheetError::ExternalLink { part: part.clone() }),
                // A hyperlink does nothing until a person follows it.
                "hyperlink" => Ok(()),
                _ if is_external => Err(SheetError::ExternalLink { part: part.clone() }),
                _ => Ok(()),
            })?;
        }
        Ok(())
    }

    /// Tells a workbook from the other documents that come in zip archives.
    fn check_content_types(&mut self) -> Result<(), SheetError> {
        if self.parts.contains_key("mimetype") && self.parts.contains_key("content.xml") {
            return Err(SheetError::NotXlsx { looks_like: "ods" });
        }
        let Some(mut xml) = self.part(CONTENT_TYPES)? else { return Err(SheetError::NotXlsx { looks_like: "zip" }) };
        let mut looks_like = "zip";
        loop {
            let content_type = match xml.next()? {
                Node::Open(element) => element.attribute("ContentType").map_err(|reason| damaged(CONTENT_TYPES, &reason))?,
                Node::End => break,
                _ => None,
            };
            let content_type = content_type.unwrap_or_default().to_lowercase();
            if content_type.contains("macroenabled") || content_type.contains("vbaproject") {
                return Err(SheetError::Macros { part: CONTENT_TYPES.to_owned() });
            }
            if content_type.contains("sheet.binary") {
                return Err(SheetError::NotXlsx { looks_like: "xlsb" });
            }
            for (word, is) in [("spreadsheetml", "xlsx"), ("wordprocessingml", "docx"), ("presentationml", "pptx")] {
                // A document may embed a workbook; the main part decides.
                if content_type.contains(word) && content_type.ends_with("main+xml") {
                    looks_like = is;
                }
            }
        }
        if looks_like == "xlsx" { Ok(()) } else { Err(SheetError::NotXlsx { looks_like }) }
    }
}

/// Inflates a part into nothing and adds its bytes to `inflated`.
fn count(entry: &mut Part<'_, '_>, name: &str, mut inflated: u64, limits: &SheetLimits) -> Result<u64, SheetError> {
    // What an entry claims to be compressed to is at most what it can take from the file, so it is no use to claim more.
    let compressed = entry.compressed_size().max(1);
    let (mut own, mut buffer) = (0_u64, vec![0; 64 << 10]);
    loop {
        let n = entry.read(&mut buffer).map_err(|e| damaged(name, &e.to_string()))?;
        if n == 0 {
            return Ok(inflated);
        }
        (own, inflated) = (own + n as u64, inflated + n as u64);
        if inflated > limits.inflated_bytes_max {
            return Err(SheetError::InflatesTooFar { max: limits.inflated_bytes_max });
        }
        if own > RATIO_FROM_BYTES && own / compressed > limits.ratio_max {
            return Err(SheetError::RatioTooHigh { part: name.to_owned(), max: limits.ratio_max });
        }
    }
}

/// The part `target` means in `folder`.
fn resolve(folder: &str, target: &str) -> String {
    let (mut path, target) = match target.strip_prefix('/') {
        Some(absolute) => (Vec::new(), absolute),
        None => (folder.split('/').filter(|step| !step.is_empty()).collect(), target),
    };
    for step in target.split(['/', '\\']) {
        match step {
            "" | "." => {}
            ".." => drop(path.pop()),
            step => path.push(step),
        }
    }
    path.join("/")
}

fn damaged(part: &str, reason: &str) -> SheetError {
    SheetError::Damaged { part: part.to_owned(), reason: reason.to_owned() }
}

fn container(error: &ZipError) -> SheetError {
    match error {
        ZipError::UnsupportedArchive(reason) if *reason == ZipError::PASSWORD_REQUIRED => SheetError::Encrypted,
        _ => damaged("container", &error.to_string()),
    }
}

/// What bytes are that are no zip archive.
fn not_a_zip(bytes: &[u8]) -> SheetError {
    let looks_like = if bytes.is_empty() {
        "empty"
    } else if bytes.starts_with(&OLE_MAGIC) {
        let stream: Vec<u8> = ENCRYPTED_STREAM.encode_utf16().flat_map(u16::to_le_bytes).collect();
        if bytes.windows(stream.len()).any(|window| window == stream) {
            return SheetError::Encrypted;
        }
        "xls"
    } else if bytes.starts_with(b"%PDF") {
        "pdf"
    } else {
        let head = &bytes[..bytes.len().min(4 << 10)];
        let text = String::from_utf8_lossy(head).to_lowercase();
        let text = text.trim_start_matches('\u{feff}').trim_start();
        if head.iter().any(|b| matches!(b, 0..=8 | 0x0e..=0x1a | 0x1c..=0x1f)) {
            "unknown"
        } else if text.starts_with('<') && ["<html", "<table", "<!doctype html"].iter().any(|tag| text.contains(tag)) {
            "html"
        } else if text.starts_with('<') {
            "xml"
        } else {
            "text"
        }
    };
    SheetError::NotXlsx { looks_like }
}
