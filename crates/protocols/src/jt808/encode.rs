//! Messages to bodies, bodies to frames, long bodies to sub-packets.
//!
//! Used for downlinks and by the simulator. It never sends and keeps no serial numbers: the caller owns them.
//! Start at [`frames`]; [`body`] alone gives the bytes of one message.

use super::frame::{BODY_MAX, DELIMITER, ESCAPE, Header, Version};
use super::layout;
use super::message::{Driver, Item, Message, Parameter, Position, Resend};
use crate::wire;

/// Why a message cannot be put on the wire.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Longer than one frame can hold; use [`split`].
    #[error("body has {len} bytes, a frame holds {BODY_MAX}")]
    Body {
        /// Bytes.
        len: usize,
    },
    /// Not hex digits, or more than 12 (2013) or 20 (2019) of them.
    #[error("phone number of {len} characters does not fit {version}", version = .version.as_str())]
    Phone {
        /// Characters.
        len: usize,
        /// The layout.
        version: Version,
    },
    /// A value that the layout needs is not there, or is of another kind.
    #[error("{layout} needs {field}")]
    Field {
        /// Which layout.
        layout: &'static str,
        /// Which of its fields.
        field: &'static str,
    },
    /// More elements or bytes than their count field can say.
    #[error("{what} is {len}, at most {max}")]
    Count {
        /// Which field.
        what: &'static str,
        /// How many.
        len: usize,
        /// Limit.
        max: usize,
    },
}

/// The bytes of one frame, marks and escapes included. `header.body_len` is ignored and computed.
///
/// # Errors
/// [`EncodeError::Body`] beyond 1,023 bytes, [`EncodeError::Phone`].
pub fn encode_frame(header: &Header, body: &[u8]) -> Result<Vec<u8>, EncodeError> {
    let too_long = EncodeError::Body { len: body.len() };
    let body_len = u16::try_from(body.len()).ok().filter(|n| usize::from(*n) <= BODY_MAX).ok_or(too_long)?;
    let mut plain = Vec::with_capacity(body.len().saturating_add(24));
    plain.extend(header.message_id.to_be_bytes());
    let part = if header.part.is_some() { 0x2000 } else { 0 };
    let layout = if header.version == Version::V2019 { 0x4000 } else { 0 };
    let encryption = u16::from(header.encryption & 0x07) << 10;
    plain.extend((body_len | encryption | part | layout).to_be_bytes());
    if header.version == Version::V2019 {
        plain.push(header.protocol_version.unwrap_or(1));
    }
    plain.extend(phone_bytes(&header.phone, header.version)?);
    plain.extend(header.serial.to_be_bytes());
    if let Some((total, index)) = header.part {
        plain.extend(total.to_be_bytes());
        plain.extend(index.to_be_bytes());
    }
    plain.extend(body);
    plain.push(wire::xor(&plain));
    let mut frame = Vec::with_capacity(plain.len().saturating_add(8));
    frame.push(DELIMITER);
    for byte in plain {
        match byte {
            DELIMITER => frame.extend([ESCAPE, 0x02]),
            ESCAPE => frame.extend([ESCAPE, 0x01]),
            other => frame.push(other),
        }
    }
    frame.push(DELIMITER);
    Ok(frame)
}

/// As many frames as `body` needs. One if it fits; otherwise sub-packets with consecutive serial numbers from `header.serial`,
/// so the caller's next serial number is `header.serial + number of frames`, wrapping.
///
/// # Errors
/// [`EncodeError::Phone`]; [`EncodeError::Count`] beyond 65,535 parts.
pub fn split(header: &Header, body: &[u8]) -> Result<Vec<Vec<u8>>, EncodeError> {
    if body.len() <= BODY_MAX {
        return Ok(vec![encode_frame(header, body)?]);
    }
    let n = body.len().div_ceil(BODY_MAX);
    let total = u16::try_from(n).map_err(|_| EncodeError::Count { what: "number of parts", len: n, max: usize::from(u16::MAX) })?;
    (1..=total)
        .zip(body.chunks(BODY_MAX))
        .map(|(index, chunk)| {
            let serial = header.serial.wrapping_add(index.wrapping_sub(1));
            encode_frame(&Header { serial, part: Some((total, index)), ..header.clone() }, chunk)
        })
        .collect()
}

/// The frames of one message from or to `phone`, its first serial number given.
///
/// # Errors
/// As [`body`] and [`split`].
pub fn frames(phone: &str, version: Version, serial: u16, message: &Message) -> Result<Vec<Vec<u8>>, EncodeError> {
    split(&Header::new(message.id(), version, phone, serial), &body(message, version)?)
}

fn phone_bytes(phone: &str, version: Version) -> Result<Vec<u8>, EncodeError> {
    let bad = || EncodeError::Phone { len: phone.chars().count(), version };
    let n = version.phone_bytes();
    let padded = format!("{phone:0>width$}", width = n.saturating_mul(2));
    if phone.chars().any(|c| !c.is_ascii_hexdigit()) {
        return Err(bad());
    }
    let (bytes, _) = wire::unhex(&padded).map_err(|_| bad())?;
    if bytes.len() == n { Ok(bytes) } else { Err(bad()) }
}

/// The body of a message in the layout of `version` (a registration says its own edition).
///
/// # Errors
/// [`EncodeError::Count`] if a list or text is longer than its length field can say.
pub fn body(message: &Message, version: Version) -> Result<Vec<u8>, EncodeError> {
    let mut b = Vec::new();
    match message {
        Message::Heartbeat | Message::Unregister | Message::TimeQuery | Message::QueryParameters | Message::QueryPosition => {}
        Message::TerminalAnswer(a) | Message::PlatformAnswer(a) => {
            b.extend(a.answered_serial.to_be_bytes());
            b.extend(a.answered_id.to_be_bytes());
            b.push(a.result);
        }
        Message::TimeAnswer(t) => b.extend(t.time_bcd),
        Message::TerminalResend(resend) | Message::PlatformResend(resend) => put_resend(&mut b, resend, version)?,
        Message::Register(register) => {
            let (maker, model, terminal_id) = register.edition.sizes();
            b.extend(register.province.to_be_bytes());
            b.extend(register.city.to_be_bytes());
            b.extend(wire::text_field(&register.maker, maker));
            b.extend(wire::text_field(&register.model, model));
            b.extend(wire::text_field(&register.terminal_id, terminal_id));
            b.push(register.plate_colour);
            b.extend(wire::text_bytes(&register.plate));
        }
        Message::RegisterAnswer(answer) => {
            b.extend(answer.answered_serial.to_be_bytes());
            b.push(answer.result);
            b.extend(wire::text_bytes(answer.code.as_deref().unwrap_or_default()));
        }
        Message::Authenticate(a) => {
            if version == Version::V2019 {
                put_text_u8(&mut b, "authentication code", &a.code)?;
                b.extend(wire::text_field(a.imei.as_deref().unwrap_or_default(), 15));
                b.extend(wire::text_field(a.software.as_deref().unwrap_or_default(), 20));
            } else {
                b.extend(wire::text_bytes(&a.code));
            }
        }
        Message::SetParameters(parameters) => put_parameters(&mut b, parameters)?,
        Message::QueryParametersById(ids) => {
            b.push(len_u8("number of parameters", ids.len())?);
            b.extend(ids.iter().flat_map(|id| id.to_be_bytes()));
        }
        Message::ParametersAnswer(answer) => {
            b.extend(answer.answered_serial.to_be_bytes());
            put_parameters(&mut b, &answer.parameters)?;
        }
        Message::Position(position) => put_position(&mut b, position),
        Message::PositionAnswer(answer) => {
            b.extend(answer.answered_serial.to_be_bytes());
            put_position(&mut b, &answer.position);
        }
        Message::Track(track) => {
            b.extend(track.interval_s.to_be_bytes());
            // Stopping ends the body after the interval.
            let validity_s = track.validity_s.or((track.interval_s != 0).then_some(0));
            b.extend(validity_s.map(u32::to_be_bytes).into_iter().flatten());
        }
        Message::ConfirmAlarm(confirm) => {
            b.extend(confirm.alarm_serial.to_be_bytes());
            b.extend(confirm.types.to_be_bytes());
        }
        Message::Text(text) => {
            b.push(text.flags);
            if version == Version::V2019 {
                b.push(text.kind.unwrap_or(1));
            }
            b.extend(wire::text_bytes(&text.text));
        }
        Message::Driver(driver) => put_driver(&mut b, driver, version)?,
        Message::PositionBatch(batch) => {
            b.extend(len_u16("number of positions", batch.positions.len())?.to_be_bytes());
            b.push(batch.kind);
            for position in &batch.positions {
                let mut one = Vec::new();
                put_position(&mut one, position);
                b.extend(len_u16("position", one.len())?.to_be_bytes());
                b.extend(one);
            }
        }
        Message::Table { message_id, layout, record } => {
            let since_2019 = super::tables::rows(*message_id).any(|row| row.since_2019);
            layout::write(layout, if since_2019 { Version::V2019 } else { version }, record, &mut b)?;
        }
        Message::Raw { body, .. } => b.extend(body),
    }
    Ok(b)
}

pub(crate) fn len_u8(what: &'static str, len: usize) -> Result<u8, EncodeError> {
    u8::try_from(len).map_err(|_| EncodeError::Count { what, len, max: usize::from(u8::MAX) })
}

pub(crate) fn len_u16(what: &'static str, len: usize) -> Result<u16, EncodeError> {
    u16::try_from(len).map_err(|_| EncodeError::Count { what, len, max: usize::from(u16::MAX) })
}

fn put_text_u8(b: &mut Vec<u8>, what: &'static str, text: &str) -> Result<(), EncodeError> {
    let bytes = wire::text_bytes(text);
    b.push(len_u8(what, bytes.len())?);
    b.extend(bytes);
    Ok(())
}

fn put_resend(b: &mut Vec<u8>, resend: &Resend, version: Version) -> Result<(), EncodeError> {
    b.extend(resend.first_serial.to_be_bytes());
    match version {
        Version::V2013 => b.push(len_u8("number of indices", resend.indices.len())?),
        Version::V2019 => b.extend(len_u16("number of indices", resend.indices.len())?.to_be_bytes()),
    }
    b.extend(resend.indices.iter().flat_map(|index| index.to_be_bytes()));
    Ok(())
}

fn put_parameters(b: &mut Vec<u8>, parameters: &[Parameter]) -> Result<(), EncodeError> {
    b.push(len_u8("number of parameters", parameters.len())?);
    for parameter in parameters {
        b.extend(parameter.id.to_be_bytes());
        b.push(len_u8("parameter value", parameter.value.len())?);
        b.extend(&parameter.value);
    }
    Ok(())
}

pub(crate) fn put_position(b: &mut Vec<u8>, position: &Position) {
    b.extend(position.alarm.to_be_bytes());
    let status = hemisphere(hemisphere(position.status, position.lat_e6, 0x04), position.lon_e6, 0x08);
    b.extend(status.to_be_bytes());
    b.extend(position.lat_e6.unsigned_abs().to_be_bytes());
    b.extend(position.lon_e6.unsigned_abs().to_be_bytes());
    b.extend(position.altitude_m.to_be_bytes());
    b.extend(position.speed_tenth_kmh.to_be_bytes());
    b.extend(position.direction_deg.to_be_bytes());
    b.extend(position.time_bcd);
    b.extend(&position.items_raw);
}

/// The fixed part of a position, without items.
pub(crate) fn position_fixed(position: &Position) -> Vec<u8> {
    let mut b = Vec::new();
    put_position(&mut b, &Position { items_raw: Vec::new(), ..position.clone() });
    b
}

/// The sign of the coordinate decides the status bit; on the equator and the prime meridian the bit stays as it is.
fn hemisphere(status: u32, coordinate_e6: i32, bit: u32) -> u32 {
    match coordinate_e6.signum() {
        1 => status & !bit,
        -1 => status | bit,
        _ => status,
    }
}

/// `id, length, value` of one item; raw items are cut at 255 bytes, the most a length byte can say. A tabled item whose record
/// lacks a field is written as far as it goes.
pub fn item_bytes(item: &Item) -> Vec<u8> {
    let value: Vec<u8> = match item {
        Item::Odometer(v) | Item::Signals(v) => v.to_be_bytes().to_vec(),
        Item::Fuel(v) | Item::RecorderSpeed(v) | Item::AlarmToConfirm(v) | Item::Io(v) => v.to_be_bytes().to_vec(),
        Item::TyrePressures(v) => v.to_vec(),
        Item::CabinTemperature(v) => v.to_be_bytes().to_vec(),
        Item::Overspeed { place, area_id } => std::iter::once(*place).chain(area_id.map(u32::to_be_bytes).into_iter().flatten()).collect(),
        Item::Crossing { place, area_id, direction } => [&[*place][..], &area_id.to_be_bytes(), &[*direction]].concat(),
        Item::SectionTime { section_id, seconds, result } => [&section_id.to_be_bytes()[..], &seconds.to_be_bytes(), &[*result]].concat(),
        Item::Analogue { ad0, ad1 } => [ad1.to_be_bytes(), ad0.to_be_bytes()].concat(),
        Item::RadioStrength(v) | Item::Satellites(v) => vec![*v],
        Item::Table { layout, record, .. } => {
            let mut bytes = Vec::new();
            let _ = layout::write(layout, Version::V2013, record, &mut bytes);
            bytes.truncate(usize::from(u8::MAX));
            bytes
        }
        Item::Raw { bytes, .. } => bytes.iter().copied().take(usize::from(u8::MAX)).collect(),
    };
    let len = u8::try_from(value.len()).unwrap_or(u8::MAX);
    [&[item.id(), len][..], &value].concat()
}

/// Stops at the first field that is `None`, as the standard does when the card is out or cannot be read.
fn put_driver(b: &mut Vec<u8>, driver: &Driver, version: Version) -> Result<(), EncodeError> {
    if driver.status.is_none() && version == Version::V2013 {
        put_text_u8(b, "name", driver.name.as_deref().unwrap_or_default())?;
        b.extend(wire::text_field(driver.identity_card.as_deref().unwrap_or_default(), 20));
        b.extend(wire::text_field(driver.licence.as_deref().unwrap_or_default(), 40));
        put_text_u8(b, "issuer", driver.issuer.as_deref().unwrap_or_default())?;
        b.extend(&driver.rest);
        return Ok(());
    }
    b.push(driver.status.unwrap_or(2));
    b.extend(driver.time_bcd.unwrap_or_default());
    let Some(read_result) = driver.read_result else { return Ok(()) };
    b.push(read_result);
    let (Some(name), Some(licence), Some(issuer)) = (&driver.name, &driver.licence, &driver.issuer) else { return Ok(()) };
    put_text_u8(b, "name", name)?;
    b.extend(wire::text_field(licence, 20));
    put_text_u8(b, "issuer", issuer)?;
    b.extend(driver.expires_bcd.unwrap_or_default());
    if version == Version::V2019 {
        b.extend(wire::text_field(driver.identity_card.as_deref().unwrap_or_default(), 20));
    }
    b.extend(&driver.rest);
    Ok(())
}
