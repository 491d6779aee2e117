//! Bodies to messages.
//!
//! Reads what is there: one broken field becomes a [`Defect`] and does not hide an alarm. Never panics, never guesses a
//! value. Encrypted bodies and single parts of a longer message must not come here: use [`Frame::decode`] for a frame.
//! Start at [`decode`].

use super::dialects;
use super::frame::{Frame, Version};
use super::layout;
use super::message::{
    Answer, Authenticate, ConfirmAlarm, Driver, Item, Message, Parameter, ParametersAnswer, Position, PositionAnswer, PositionBatch,
    Register, RegisterAnswer, RegisterEdition, Resend, Text, TimeAnswer, Track, civil, time_from_bcd,
};
use crate::wire::{self, Reader, Truncated};

/// Something wrong with a body that was decoded as far as possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Defect {
    /// Stable short name: `truncated`, `trailing`, `latitude`, `longitude`, `latitude_signed`, `longitude_signed`, `time`,
    /// `item_length`, `item_truncated`, `count`, `edition`, `batch_item`, `encrypted`, `part`, `length`.
    pub code: &'static str,
    /// Byte of the body.
    pub at: usize,
}

/// Smallest 0x0200 body.
pub(crate) const POSITION_FIXED: usize = 28;

impl Frame {
    /// [`decode`] for a whole frame; an encrypted body, a single part or a wrong length gives [`Message::Raw`] and says why.
    pub fn decode(&self) -> (Message, Vec<Defect>) {
        let code = if !self.length_ok {
            "length"
        } else if self.header.encryption != 0 {
            "encrypted"
        } else if self.header.part.is_some() {
            "part"
        } else {
            return decode(self.header.message_id, self.header.version, &self.body);
        };
        let message = Message::Raw { message_id: self.header.message_id, body: self.body.clone() };
        (message, vec![Defect { code, at: 0 }])
    }
}

/// Decodes one whole, unencrypted body.
///
/// Returns [`Message::Raw`] without a defect for ids that are not decoded, and with a `truncated` defect if the fixed
/// fields do not fit. Everything else is typed, with a defect for each field that is not as the standard says.
pub fn decode(message_id: u16, version: Version, body: &[u8]) -> (Message, Vec<Defect>) {
    let mut defects = Vec::new();
    let message = read(message_id, version, body, &mut defects).unwrap_or_else(|short| {
        defects.push(Defect { code: "truncated", at: short.at });
        Message::Raw { message_id, body: body.to_vec() }
    });
    (message, defects)
}

fn read(message_id: u16, version: Version, body: &[u8], defects: &mut Vec<Defect>) -> Result<Message, Truncated> {
    let mut r = Reader::new(body);
    let message = match message_id {
        0x0001 => Message::TerminalAnswer(answer(&mut r)?),
        0x8001 => Message::PlatformAnswer(answer(&mut r)?),
        0x0002 => Message::Heartbeat,
        0x0003 => Message::Unregister,
        0x0004 => Message::TimeQuery,
        0x8004 => Message::TimeAnswer(time_answer(&mut r, defects)?),
        0x0005 => Message::TerminalResend(resend(&mut r, version, defects)?),
        0x8003 => Message::PlatformResend(resend(&mut r, version, defects)?),
        0x0100 => Message::Register(register(&mut r, version, body)?),
        0x8100 => Message::RegisterAnswer(register_answer(&mut r)?),
        0x0102 => Message::Authenticate(authenticate(&mut r, version, defects)),
        0x8103 => {
            let count = r.u8()?;
            Message::SetParameters(parameters(&mut r, count, defects))
        }
        0x8104 => Message::QueryParameters,
        0x8106 => Message::QueryParametersById(parameter_ids(&mut r, defects)?),
        0x0104 => {
            let answered_serial = r.u16()?;
            let count = r.u8()?;
            Message::ParametersAnswer(ParametersAnswer { answered_serial, parameters: parameters(&mut r, count, defects) })
        }
        0x0200 => Message::Position(position(&mut r, defects)?),
        0x8201 => Message::QueryPosition,
        0x0201 => {
            let answered_serial = r.u16()?;
            Message::PositionAnswer(PositionAnswer { answered_serial, position: position(&mut r, defects)? })
        }
        0x8202 => {
            let interval_s = r.u16()?;
            // The interval 0 stops tracking and ends the body, yet some platforms still send a validity.
            let validity_s = if interval_s == 0 && r.is_empty() { None } else { Some(r.u32()?) };
            Message::Track(Track { interval_s, validity_s })
        }
        0x8203 => Message::ConfirmAlarm(ConfirmAlarm { alarm_serial: r.u16()?, types: r.u32()? }),
        0x8300 => {
            let flags = r.u8()?;
            let kind = if version == Version::V2019 { Some(r.u8()?) } else { None };
            Message::Text(Text { flags, kind, text: wire::text(r.rest()) })
        }
        0x0702 => Message::Driver(driver(&mut r, version, body, defects)),
        0x0704 => Message::PositionBatch(batch(&mut r, defects)?),
        _ => tabled(message_id, version, r.rest(), defects)?,
    };
    if !r.is_empty() {
        defects.push(Defect { code: "trailing", at: r.at() });
    }
    Ok(message)
}

/// By the table that fits best; bytes too short for every table of this id are an error, an id without a table is kept raw.
fn tabled(message_id: u16, version: Version, body: &[u8], defects: &mut Vec<Defect>) -> Result<Message, Truncated> {
    let rows = || super::tables::rows(message_id).filter(|row| row.only_if.is_none_or(|fits| fits(body)));
    match layout::best(rows().map(|row| (row.layout, row.version(version))), body) {
        Some((layout, fits)) => {
            defects.extend(fits.defects);
            Ok(Message::Table { message_id, layout, record: fits.record })
        }
        None if rows().next().is_some() => Err(Truncated { at: 0, need: body.len().saturating_add(1), have: body.len() }),
        None => Ok(Message::Raw { message_id, body: body.to_vec() }),
    }
}

fn answer(r: &mut Reader<'_>) -> Result<Answer, Truncated> {
    Ok(Answer { answered_serial: r.u16()?, answered_id: r.u16()?, result: r.u8()? })
}

fn time_answer(r: &mut Reader<'_>, defects: &mut Vec<Defect>) -> Result<TimeAnswer, Truncated> {
    let at = r.at();
    let time_bcd = r.array()?;
    if civil(time_bcd).is_none() {
        defects.push(Defect { code: "time", at });
    }
    Ok(TimeAnswer { time_bcd })
}

/// The count is one byte up to 2013 and two bytes in 2019. The indices are two bytes each, so an odd body has the one-byte
/// count and an even one the other: no need to believe the header, which some platforms get wrong here.
fn resend(r: &mut Reader<'_>, version: Version, defects: &mut Vec<Defect>) -> Result<Resend, Truncated> {
    let odd = r.left() % 2 == 1;
    let first_serial = r.u16()?;
    let at = r.at();
    if odd == (version == Version::V2019) {
        defects.push(Defect { code: "edition", at });
    }
    let count = if odd { u16::from(r.u8()?) } else { r.u16()? };
    let mut indices = Vec::new();
    for _ in 0..count {
        match r.u16() {
            Ok(index) => indices.push(index),
            Err(_) => {
                defects.push(Defect { code: "count", at });
                break;
            }
        }
    }
    Ok(Resend { first_serial, indices })
}

/// 2011 and 2013 share the header. A 2013 body has at least 37 bytes; a 2011 body reaches that only with a plate of 12
/// bytes or a VIN, and then byte 36 is a letter or digit of it where 2013 has the plate colour (a small number).
fn register_edition(version: Version, body: &[u8]) -> RegisterEdition {
    let colour_2013 = body.get(36).copied();
    match (version, colour_2013) {
        (Version::V2019, _) => RegisterEdition::V2019,
        (Version::V2013, None) => RegisterEdition::V2011,
        (Version::V2013, Some(byte)) if byte.is_ascii_alphanumeric() && body.get(24).is_some_and(|b| *b < 10) => RegisterEdition::V2011,
        (Version::V2013, Some(_)) => RegisterEdition::V2013,
    }
}

fn register(r: &mut Reader<'_>, version: Version, body: &[u8]) -> Result<Register, Truncated> {
    let edition = register_edition(version, body);
    let (maker, model, terminal_id) = edition.sizes();
    Ok(Register {
        edition,
        province: r.u16()?,
        city: r.u16()?,
        maker: r.text(maker)?,
        model: r.text(model)?,
        terminal_id: r.text(terminal_id)?,
        plate_colour: r.u8()?,
        plate: wire::text(r.rest()),
    })
}

fn register_answer(r: &mut Reader<'_>) -> Result<RegisterAnswer, Truncated> {
    let answered_serial = r.u16()?;
    let result = r.u8()?;
    let code = (result == 0).then(|| wire::text(r.rest()));
    Ok(RegisterAnswer { answered_serial, result, code })
}

/// 2019: length, code, IMEI 15, software 20. A 2019 body that does not fit these sizes is read as a bare code, as in 2013.
fn authenticate(r: &mut Reader<'_>, version: Version, defects: &mut Vec<Defect>) -> Authenticate {
    if version == Version::V2019 {
        let mut ahead = r.clone();
        let read = |r: &mut Reader<'_>| -> Result<_, Truncated> { Ok((r.text_u8()?, r.text(15)?, r.text(20)?)) };
        if let Ok((code, imei, software)) = read(&mut ahead) {
            *r = ahead;
            return Authenticate { code, imei: Some(imei), software: Some(software) };
        }
        defects.push(Defect { code: "edition", at: 0 });
    }
    Authenticate { code: wire::text(r.rest()), imei: None, software: None }
}

fn parameters(r: &mut Reader<'_>, count: u8, defects: &mut Vec<Defect>) -> Vec<Parameter> {
    let mut parameters = Vec::new();
    while !r.is_empty() && parameters.len() < usize::from(count) {
        let at = r.at();
        let one = |r: &mut Reader<'_>| -> Result<Parameter, Truncated> {
            let id = r.u32()?;
            let len = r.u8()?;
            Ok(Parameter { id, value: r.take(usize::from(len))?.to_vec() })
        };
        match one(r) {
            Ok(parameter) => {
                if super::parameters::width(parameter.id).is_some_and(|width| width != parameter.value.len()) {
                    defects.push(Defect { code: "item_length", at });
                }
                parameters.push(parameter);
            }
            Err(_) => {
                defects.push(Defect { code: "item_truncated", at });
                r.rest();
                return parameters;
            }
        }
    }
    if parameters.len() != usize::from(count) {
        defects.push(Defect { code: "count", at: r.at() });
    }
    parameters
}

fn parameter_ids(r: &mut Reader<'_>, defects: &mut Vec<Defect>) -> Result<Vec<u32>, Truncated> {
    let count = r.u8()?;
    let mut ids = Vec::new();
    for _ in 0..count {
        match r.u32() {
            Ok(id) => ids.push(id),
            Err(short) => {
                defects.push(Defect { code: "count", at: short.at });
                break;
            }
        }
    }
    Ok(ids)
}

/// Reads a 0x0200 body up to the end of the reader.
pub(crate) fn position(r: &mut Reader<'_>, defects: &mut Vec<Defect>) -> Result<Position, Truncated> {
    if r.left() < POSITION_FIXED {
        return Err(Truncated { at: r.at(), need: POSITION_FIXED, have: r.left() });
    }
    let alarm = r.u32()?;
    let status = r.u32()?;
    let at = r.at();
    let lat_e6 = coordinate(r.u32()?, status & 0x04 != 0, 90_000_000, ["latitude", "latitude_signed"], at, defects);
    let at = r.at();
    let lon_e6 = coordinate(r.u32()?, status & 0x08 != 0, 180_000_000, ["longitude", "longitude_signed"], at, defects);
    let altitude_m = r.u16()?;
    let speed_tenth_kmh = r.u16()?;
    let direction_deg = r.u16()?;
    let at = r.at();
    let time_bcd = r.array()?;
    let time = time_from_bcd(time_bcd);
    if time.is_none() {
        defects.push(Defect { code: "time", at });
    }
    let at = r.at();
    let items_raw = r.rest();
    let items = items(items_raw, at, defects);
    Ok(Position {
        alarm,
        status,
        lat_e6,
        lon_e6,
        altitude_m,
        speed_tenth_kmh,
        direction_deg,
        time,
        time_bcd,
        items,
        items_raw: items_raw.to_vec(),
    })
}

/// The field is unsigned and the hemisphere is a status bit. Some terminals send a negative number instead, with or without
/// the bit; its meaning is clear, so it is kept and marked.
fn coordinate(raw: u32, negative: bool, max: u32, [beyond, signed]: [&'static str; 2], at: usize, defects: &mut Vec<Defect>) -> i32 {
    let as_signed = raw.cast_signed();
    if as_signed < 0 && as_signed.unsigned_abs() <= max {
        defects.push(Defect { code: signed, at });
        return as_signed;
    }
    if raw > max {
        defects.push(Defect { code: beyond, at });
    }
    let size = i32::try_from(raw).unwrap_or(i32::MAX);
    if negative { size.saturating_neg() } else { size }
}

/// Reads `id, length, value` triples; `base` is where they begin in the body. A cut item ends the list with a defect.
pub(crate) fn items(bytes: &[u8], base: usize, defects: &mut Vec<Defect>) -> Vec<Item> {
    let mut r = Reader::new(bytes);
    let mut items = Vec::new();
    while !r.is_empty() {
        let at = base.saturating_add(r.at());
        let Ok((id, value)) = tlv(&mut r) else {
            defects.push(Defect { code: "item_truncated", at });
            break;
        };
        let known = item(id, value).or_else(|| dialects::item(id, value).map(|(layout, record)| Item::Table { id, layout, record }));
        items.push(known.unwrap_or_else(|| {
            if is_standard_item(id) {
                defects.push(Defect { code: "item_length", at });
            }
            Item::Raw { id, bytes: value.to_vec() }
        }));
    }
    items
}

fn tlv<'a>(r: &mut Reader<'a>) -> Result<(u8, &'a [u8]), Truncated> {
    let id = r.u8()?;
    let len = r.u8()?;
    Ok((id, r.take(usize::from(len))?))
}

/// Items the standard gives a fixed layout. 0x05 and 0x06 are of 2019; older terminals use them otherwise, so there only the
/// length decides and another length is no defect.
fn is_standard_item(id: u8) -> bool {
    matches!(id, 0x01..=0x04 | 0x11..=0x13 | 0x25 | 0x2a | 0x2b | 0x30 | 0x31)
}

/// `None` for an id without a standard meaning or with a length the standard does not give it.
fn item(id: u8, value: &[u8]) -> Option<Item> {
    let mut r = Reader::new(value);
    let item = match id {
        0x01 => Item::Odometer(r.u32().ok()?),
        0x02 => Item::Fuel(r.u16().ok()?),
        0x03 => Item::RecorderSpeed(r.u16().ok()?),
        0x04 => Item::AlarmToConfirm(r.u16().ok()?),
        0x05 => Item::TyrePressures(r.array().ok()?),
        0x06 => Item::CabinTemperature(r.u16().ok()?.cast_signed()),
        0x11 => {
            let place = r.u8().ok()?;
            Item::Overspeed { place, area_id: if r.is_empty() { None } else { Some(r.u32().ok()?) } }
        }
        0x12 => Item::Crossing { place: r.u8().ok()?, area_id: r.u32().ok()?, direction: r.u8().ok()? },
        0x13 => Item::SectionTime { section_id: r.u32().ok()?, seconds: r.u16().ok()?, result: r.u8().ok()? },
        0x25 => Item::Signals(r.u32().ok()?),
        0x2a => Item::Io(r.u16().ok()?),
        0x2b => {
            let (ad1, ad0) = (r.u16().ok()?, r.u16().ok()?);
            Item::Analogue { ad0, ad1 }
        }
        0x30 => Item::RadioStrength(r.u8().ok()?),
        0x31 => Item::Satellites(r.u8().ok()?),
        _ => return None,
    };
    r.is_empty().then_some(item)
}

/// The first byte is a status (2013, 2019) or the length of a name (2011). Both can be 1 or 2; a status is followed by a
/// valid date and time, a name of one or two bytes cannot be.
fn driver(r: &mut Reader<'_>, version: Version, body: &[u8], defects: &mut Vec<Defect>) -> Driver {
    let mut driver = Driver::default();
    let status = body.first().copied().filter(|s| (1..=2).contains(s));
    let time_bcd = body.get(1..7).and_then(|b| <[u8; 6]>::try_from(b).ok());
    let modern = version == Version::V2019 || (status.is_some() && time_bcd.is_some_and(|t| civil(t).is_some()));
    let read = if modern { driver_2013(r, version, &mut driver, defects) } else { driver_2011(r, &mut driver) };
    if let Err(short) = read {
        defects.push(Defect { code: "truncated", at: short.at });
        // A cut text field is shown too, only not as a value.
        driver.rest = r.rest().to_vec();
    }
    driver
}

fn driver_2011(r: &mut Reader<'_>, driver: &mut Driver) -> Result<(), Truncated> {
    driver.name = Some(r.text_u8()?);
    driver.identity_card = Some(r.text(20)?);
    driver.licence = Some(r.text(40)?);
    driver.issuer = Some(r.text_u8()?);
    driver.rest = r.rest().to_vec();
    Ok(())
}

fn driver_2013(r: &mut Reader<'_>, version: Version, driver: &mut Driver, defects: &mut Vec<Defect>) -> Result<(), Truncated> {
    driver.status = Some(r.u8()?);
    let at = r.at();
    let time_bcd = r.array()?;
    driver.time_bcd = Some(time_bcd);
    driver.time = time_from_bcd(time_bcd);
    if driver.time.is_none() {
        defects.push(Defect { code: "time", at });
    }
    if r.is_empty() && driver.status != Some(1) {
        return Ok(());
    }
    driver.read_result = Some(r.u8()?);
    if r.is_empty() && driver.read_result != Some(0) {
        return Ok(());
    }
    driver.name = Some(r.text_u8()?);
    driver.licence = Some(r.text(20)?);
    driver.issuer = Some(r.text_u8()?);
    driver.expires_bcd = Some(r.array()?);
    if version == Version::V2019 {
        driver.identity_card = Some(r.text(20)?);
    }
    driver.rest = r.rest().to_vec();
    Ok(())
}

fn batch(r: &mut Reader<'_>, defects: &mut Vec<Defect>) -> Result<PositionBatch, Truncated> {
    let count = r.u16()?;
    let kind = r.u8()?;
    let mut positions = Vec::new();
    let mut n = 0u16;
    while !r.is_empty() && n < count {
        n = n.saturating_add(1);
        let at = r.at();
        let Ok(bytes) = r.u16().and_then(|len| r.take(usize::from(len))) else {
            defects.push(Defect { code: "item_truncated", at });
            r.rest();
            break;
        };
        let mut inner = Vec::new();
        match position(&mut Reader::new(bytes), &mut inner) {
            Ok(position) => positions.push(position),
            Err(_) => inner.push(Defect { code: "batch_item", at: 0 }),
        }
        let base = at.saturating_add(2);
        defects.extend(inner.into_iter().map(|d| Defect { at: base.saturating_add(d.at), ..d }));
    }
    if n != count {
        defects.push(Defect { code: "count", at: 0 });
    }
    Ok(PositionBatch { kind, positions })
}
