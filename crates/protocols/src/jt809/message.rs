//! Bodies of JT/T 809 to messages and back.
//!
//! A body is a row of fields, or a sub-business: an id and a length in front of fields, and in most businesses a vehicle in
//! front of that. What has no layout, or would not encode to the same bytes again, is kept raw. Start at [`decode`].

use super::frame::Edition;
use super::tables;
use crate::jt808::{self, Defect, EncodeError, Layout, Record, layout};
use crate::wire::{self, Reader, Truncated};

/// One decoded body.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Business type, such as 0x1200.
    pub business: u16,
    /// The sub-business, where the business has them.
    pub part: Option<Part>,
    /// What it says.
    pub content: Content,
}

/// What stands before the content of a sub-business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which vehicle, where the business is about one.
    pub vehicle: Option<Vehicle>,
    /// Sub-business type, such as 0x1202.
    pub sub: u16,
    /// The length field if it is not the length of what follows; `None`: it is, and is computed.
    pub length: Option<u32>,
}

/// A vehicle by its plate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vehicle {
    /// 21 bytes of GBK, NUL padded, as on the wire.
    pub plate_raw: [u8; 21],
    /// JT/T 415: 1 blue, 2 yellow, 3 black, 4 white, 9 other.
    pub colour: u8,
}

impl Vehicle {
    /// A vehicle; a plate longer than 21 bytes is cut.
    pub fn new(plate: &str, colour: u8) -> Self {
        let plate_raw = wire::text_field(plate, 21).try_into().unwrap_or([0; 21]);
        Self { plate_raw, colour }
    }
    /// The plate.
    pub fn plate(&self) -> String {
        wire::text(&self.plate_raw)
    }
}

/// What a body says.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Fields of a known layout.
    Fields {
        /// Which.
        layout: &'static Layout,
        /// Their values.
        record: Record,
        /// Bytes after them that the layout does not know.
        rest: Vec<u8>,
    },
    /// No layout is known or none fits.
    Raw(Vec<u8>),
}

impl Message {
    /// A body that is passed on as it is.
    pub fn raw(business: u16, body: Vec<u8>) -> Self {
        Self { business, part: None, content: Content::Raw(body) }
    }
    /// A message without a sub-business; `None` if no layout is known for it.
    pub fn new(business: u16, record: Record) -> Option<Self> {
        let layout = tables::rows(business).next()?.layout;
        Some(Self { business, part: None, content: Content::Fields { layout, record, rest: Vec::new() } })
    }
    /// A sub-business with the first layout that `edition` has for it; `None` if there is none.
    pub fn sub(edition: Edition, business: u16, vehicle: Option<Vehicle>, sub: u16, record: Record) -> Option<Self> {
        let layout = tables::rows(sub).find(|row| row.is_of(edition))?.layout;
        let part = Some(Part { vehicle, sub, length: None });
        Some(Self { business, part, content: Content::Fields { layout, record, rest: Vec::new() } })
    }
    /// Whether the content was read by a layout.
    pub fn is_known(&self) -> bool {
        matches!(self.content, Content::Fields { .. })
    }
    /// The values, if the content was read by a layout.
    pub fn record(&self) -> Option<&Record> {
        if let Content::Fields { record, .. } = &self.content { Some(record) } else { None }
    }
}

/// What stands before the content of a body.
enum Prefix {
    Nothing,
    Sub,
    VehicleAndSub,
    Unknown,
}

fn prefix(edition: Edition, business: u16, body: &[u8]) -> Prefix {
    match (business, edition) {
        (0x1001..=0x1008 | 0x9001..=0x9008 | 0x9101, _) => Prefix::Nothing,
        (0x1102 | 0x1103 | 0x9102 | 0x9103 | 0x1300 | 0x9300, _) => Prefix::Sub,
        // 2019 took the vehicle out of alarms, and out of the answer to a registration only.
        (0x1400 | 0x9400, Edition::V2019) => Prefix::Sub,
        (0x9200, Edition::V2019) if body.starts_with(&[0x92, 0x01]) => Prefix::Sub,
        (0x1200 | 0x1400 | 0x1500 | 0x1600 | 0x9200 | 0x9400 | 0x9500 | 0x9600, _) => Prefix::VehicleAndSub,
        // JT/T 1078: passwords, live video, recordings, playback, download.
        (0x1700 | 0x1800 | 0x1900 | 0x1a00 | 0x1b00 | 0x9700 | 0x9800 | 0x9900 | 0x9a00 | 0x9b00, _) => Prefix::VehicleAndSub,
        _ => Prefix::Unknown,
    }
}

/// Decodes one unencrypted body. What it returns encodes to the same bytes ([`body()`]), whatever they are.
///
/// A body without a known layout is raw without a defect; one that does not fit its layout says where.
pub fn decode(edition: Edition, business: u16, bytes: &[u8]) -> (Message, Vec<Defect>) {
    let mut defects = Vec::new();
    let message = read(edition, business, bytes, &mut defects).unwrap_or_else(|short| {
        defects.push(Defect { code: "truncated", at: short.at });
        Message::raw(business, bytes.to_vec())
    });
    if body(&message, edition).is_ok_and(|written| written == bytes) {
        return (message, defects);
    }
    // Texts that are no GBK, lists that are cut: nothing of them may be lost on the way to the next platform.
    let part = message.part.filter(|_| !bytes.is_empty());
    let content = match &part {
        Some(part) => bytes.get(part_bytes(part)..).unwrap_or_default().to_vec(),
        None => bytes.to_vec(),
    };
    defects.push(Defect { code: "raw", at: bytes.len().saturating_sub(content.len()) });
    (Message { business, part, content: Content::Raw(content) }, defects)
}

/// Decodes what follows the length field of a sub-business.
pub fn decode_sub(edition: Edition, sub: u16, bytes: &[u8]) -> (Content, Vec<Defect>) {
    let mut defects = Vec::new();
    let content = content(edition, sub, bytes, 0, &mut defects);
    let mut written = Vec::new();
    if put_content(&content, edition, &mut written).is_ok() && written == bytes {
        return (content, defects);
    }
    defects.push(Defect { code: "raw", at: 0 });
    (Content::Raw(bytes.to_vec()), defects)
}

fn part_bytes(part: &Part) -> usize {
    if part.vehicle.is_some() { 28 } else { 6 }
}

fn read(edition: Edition, business: u16, body: &[u8], defects: &mut Vec<Defect>) -> Result<Message, Truncated> {
    let mut r = Reader::new(body);
    let vehicle = match prefix(edition, business, body) {
        Prefix::Unknown => return Ok(Message::raw(business, body.to_vec())),
        Prefix::Nothing => return Ok(Message { business, part: None, content: content(edition, business, body, 0, defects) }),
        Prefix::Sub => None,
        Prefix::VehicleAndSub => Some(Vehicle { plate_raw: r.array()?, colour: r.u8()? }),
    };
    let sub = r.u16()?;
    let (length_at, length) = (r.at(), r.u32()?);
    let (at, left) = (r.at(), r.rest());
    let as_said = usize::try_from(length).is_ok_and(|n| n == left.len());
    if !as_said {
        defects.push(Defect { code: "length", at: length_at });
    }
    let content = content(edition, sub, left, at, defects);
    Ok(Message { business, part: Some(Part { vehicle, sub, length: (!as_said).then_some(length) }), content })
}

/// By the layout that fits exactly, else by the first that can be read at all.
fn content(edition: Edition, id: u16, bytes: &[u8], base: usize, defects: &mut Vec<Defect>) -> Content {
    let mut first = None;
    let mut n_layouts = 0u32;
    for row in tables::rows(id).filter(|row| row.is_of(edition)) {
        n_layouts = n_layouts.saturating_add(1);
        let mut found = Vec::new();
        let mut r = Reader::new(bytes);
        let Ok(record) = layout::read(row.layout, year(edition), &mut r, &mut found) else { continue };
        let at = r.at();
        let rest = r.rest().to_vec();
        let exactly = rest.is_empty() && !found.iter().any(|d| matches!(d.code, "item_truncated" | "count"));
        if !rest.is_empty() {
            found.push(Defect { code: "trailing", at });
        }
        let content = Content::Fields { layout: row.layout, record, rest };
        if exactly || first.is_none() {
            first = Some((content, found));
        }
        if exactly {
            break;
        }
    }
    let moved = |d: Defect| Defect { at: base.saturating_add(d.at), ..d };
    if let Some((content, found)) = first {
        defects.extend(found.into_iter().map(moved));
        return content;
    }
    if n_layouts > 0 {
        defects.push(Defect { code: "truncated", at: base });
    }
    Content::Raw(bytes.to_vec())
}

/// The layouts are tables of the kind that JT/T 808 uses; "since 2019" means the same in both.
pub(super) fn year(edition: Edition) -> jt808::Version {
    match edition {
        Edition::V2011 => jt808::Version::V2013,
        Edition::V2019 => jt808::Version::V2019,
    }
}

/// The bytes of a body.
///
/// # Errors
/// [`EncodeError::Field`] if the record lacks a field, [`EncodeError::Count`] if a number, text or list does not fit its field.
pub fn body(message: &Message, edition: Edition) -> Result<Vec<u8>, EncodeError> {
    let mut content = Vec::new();
    put_content(&message.content, edition, &mut content)?;
    let Some(part) = &message.part else { return Ok(content) };
    let mut b = Vec::with_capacity(content.len().saturating_add(28));
    if let Some(vehicle) = &part.vehicle {
        b.extend(vehicle.plate_raw);
        b.push(vehicle.colour);
    }
    b.extend(part.sub.to_be_bytes());
    let computed = u32::try_from(content.len()).map_err(|_| EncodeError::Count {
        what: "body",
        len: content.len(),
        max: usize::try_from(u32::MAX).unwrap_or(usize::MAX),
    })?;
    b.extend(part.length.unwrap_or(computed).to_be_bytes());
    b.extend(content);
    Ok(b)
}

fn put_content(content: &Content, edition: Edition, b: &mut Vec<u8>) -> Result<(), EncodeError> {
    match content {
        Content::Fields { layout, record, rest } => {
            layout::write(layout, year(edition), record, b)?;
            b.extend(rest);
        }
        Content::Raw(bytes) => b.extend(bytes),
    }
    Ok(())
}
