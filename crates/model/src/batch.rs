//! What crosses between the sockets (`ingest`) and the use cases (`app`): batches in, commands out.

use serde::{Deserialize, Serialize};

use crate::{DeviceId, PointId, Quality, Timestamp};

/// How a source proved who it is; shown on the vehicle and on the alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Nobody vouches for it (an unknown JT/T 808 phone number in `accept` mode).
    Open,
    /// Another platform that logged in said so over JT/T 809; the terminal itself proved nothing here.
    Platform,
    /// A known number that gave the authentication code it was issued.
    Listed,
    /// A credential was checked.
    Authenticated,
}

impl Trust {
    /// The word on the API and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Platform => "platform",
            Self::Listed => "listed",
            Self::Authenticated => "authenticated",
        }
    }
    /// The trust named by `word`.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Open, Self::Platform, Self::Listed, Self::Authenticated].into_iter().find(|t| t.as_str() == word)
    }
}

/// Who speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A device with a credential; over MQTT or HTTP.
    Device {
        /// The credential's device.
        device: DeviceId,
        /// A protocol label such as `mqtt`, `http`.
        protocol: &'static str,
    },
    /// A vehicle terminal by its phone number, digits without leading zeros.
    Terminal {
        /// The number.
        phone: String,
        /// How it was believed.
        trust: Trust,
    },
    /// Another platform in its own name, over JT/T 809; it brings events alone.
    Platform {
        /// As the operator calls it.
        name: String,
    },
}

/// One value under the name the device uses.
#[derive(Clone, Debug, PartialEq)]
pub struct RawReading {
    /// The point's code within the device, as sent.
    pub code: String,
    /// The device's time, if any.
    pub device_at: Option<Timestamp>,
    /// Finite.
    pub value: f64,
    /// As the device says.
    pub quality: Quality,
}

/// One value bound to its point.
#[derive(Clone, Debug, PartialEq)]
pub struct BoundReading {
    /// Point.
    pub point: PointId,
    /// Device time, if any.
    pub device_at: Option<Timestamp>,
    /// Value.
    pub value: f64,
    /// Quality as sent.
    pub quality: Quality,
}

/// Values whose points [`Intake::find`] has named before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prebound {
    /// What [`Intake::generation`] was before that.
    pub generation: u64,
    /// The values, all of the batch's device.
    pub readings: Vec<BoundReading>,
}

/// One position as decoded, before it is bound to a vehicle.
#[derive(Clone, Debug, PartialEq)]
pub struct RawPosition {
    /// The terminal's time; `None` if its BCD is no date.
    pub device_at: Option<Timestamp>,
    /// Longitude in 1e-6 degrees, east positive.
    pub lon_e6: i32,
    /// Latitude in 1e-6 degrees, north positive.
    pub lat_e6: i32,
    /// Metres.
    pub altitude_m: u16,
    /// Tenths of a km/h.
    pub speed_dkmh: u16,
    /// Degrees.
    pub direction_deg: u16,
    /// Alarm bits.
    pub alarm_bits: u32,
    /// Status bits.
    pub status_bits: u32,
    /// CRC-32 of the 0x0200 body.
    pub body_crc: u32,
    /// Additional items, raw.
    pub items: Vec<u8>,
    /// Sent as blind-area re-send (0x0704 type 1).
    pub backfill: bool,
}

/// Something worth a data-quality event that is no reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceEvent {
    /// A second connection took over the number or client id.
    TakenOver {
        /// Address of the connection that was closed.
        from: String,
        /// Address of the one that stays.
        by: String,
    },
    /// A terminal registered: 0x0100.
    Registered {
        /// Licence plate as sent, may be empty.
        plate: String,
        /// Plate colour code of JT/T 415.
        plate_colour: u8,
        /// Maker, model and id as sent, joined by `/`.
        terminal: String,
    },
    /// A driver's card was read: 0x0702.
    Driver {
        /// 1 in, 2 out.
        status: u8,
        /// Name as sent.
        name: String,
    },
    /// A device said how it is, or its will was published because it is gone.
    Status {
        /// As sent, cut.
        text: String,
        /// It is its will that says so.
        lost: bool,
    },
    /// A device that we poll does not give what it should; its points fall silent until it does.
    PollFailed {
        /// Address and unit.
        address: String,
        /// `unreachable`, `unanswered`, `gateway`, `exception` or `garbled`.
        reason: &'static str,
        /// More about it; may be empty.
        detail: String,
        /// Some of the points concerned.
        codes: Vec<String>,
    },
    /// It gives everything again.
    PollRestored {
        /// Address and unit.
        address: String,
    },
    /// Another platform said something over JT/T 809 that is no position: a duty check, a supervision, an alarm, how its links are.
    Platform {
        /// Kind word of the event, such as `platform_check`.
        kind: &'static str,
        /// What it said, as JSON text.
        detail: String,
    },
    /// A terminal or device answered a command.
    CommandAnswer {
        /// The command's id (ours) that was answered.
        command: i64,
        /// Whether the device says it was carried out.
        ok: bool,
        /// What it said, as JSON text.
        detail: String,
    },
}

/// Why a batch was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The shard's queue is full; come again.
    #[error("the node is overloaded, send again later")]
    Overloaded,
    /// The device or vehicle is not known and may not be created now.
    #[error("the source is unknown and is not accepted")]
    UnknownSource,
    /// The log could not be written.
    #[error("the log cannot be written")]
    Storage,
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

/// Called exactly once: `Ok` after the batch is durable, `Err` if it was not kept.
pub type Reply = Box<dyn FnOnce(Result<Kept, Refusal>) + Send>;

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Readings and positions stored.
    pub stored: u32,
    /// Dropped as exact repeats of what is stored.
    pub repeated: u32,
}

/// What one message of one source brought.
pub struct Batch {
    /// Who.
    pub source: Source,
    /// When the message was complete at this node (domain time).
    pub received_at: Timestamp,
    /// Values.
    pub readings: Vec<RawReading>,
    /// Values that came after those, already bound.
    pub bound: Prebound,
    /// Positions.
    pub positions: Vec<RawPosition>,
    /// Events.
    pub events: Vec<SourceEvent>,
    /// The whole message is back-fill by a source with that right.
    pub backfill: bool,
    /// Told when kept.
    pub reply: Reply,
}

/// A command to a device; stored first, sent by a reconciler, closed by the device's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The stored row's id.
    pub id: i64,
    /// Phone number of a terminal, or code of a device.
    pub to: String,
    /// What to do.
    pub body: CommandBody,
}

/// What a command says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CommandBody {
    /// JSON text to an MQTT device's command topic.
    Mqtt {
        /// The payload.
        payload: String,
    },
    /// 0x8300 text to the driver.
    Text {
        /// Up to 499 GBK characters.
        text: String,
        /// Flag bits of 0x8300.
        flags: u8,
    },
    /// 0x8104 / 0x8106: ask for parameters; empty = all.
    QueryParameters {
        /// Parameter ids.
        ids: Vec<u32>,
    },
    /// 0x8103.
    SetParameters {
        /// Id and raw value.
        items: Vec<(u32, Vec<u8>)>,
    },
    /// 0x8201: ask for the position now.
    QueryPosition,
    /// 0x8202: temporary tracking.
    Track {
        /// Seconds between positions, 0 stops.
        interval_s: u16,
        /// Seconds it holds.
        validity_s: u32,
    },
    /// 0x8203: confirm an alarm by hand.
    ConfirmAlarm {
        /// Serial of the alarm message, 0 = all of the type.
        serial: u16,
        /// Alarm type bits.
        bits: u32,
    },
}

/// A file of a terminal, or its announcement (JT/T 808: 0x0801, 0x0800).
#[derive(Clone, Debug, PartialEq)]
pub struct RawMedia {
    /// Whose, digits without leading zeros.
    pub phone: String,
    /// When it was complete at this node, domain time.
    pub received_at: Timestamp,
    /// The terminal's number for it.
    pub media_id: u32,
    /// 0 image, 1 audio, 2 video, as sent.
    pub kind: u8,
    /// Coding, as sent; the bytes decide.
    pub format: u8,
    /// Why it was made, as sent.
    pub event: u8,
    /// Camera or microphone.
    pub channel: u8,
    /// Where and when it was made.
    pub position: Option<RawPosition>,
    /// The bytes; `None` = announced only.
    pub data: Option<Vec<u8>>,
}

/// Why a file was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediaRefusal {
    /// This file is larger than any may be.
    #[error("the file is too large")]
    TooLarge,
    /// The vehicle, or all together, hold as much as they may.
    #[error("no room for more files: the limits of the vehicle or of the node are reached")]
    Full,
    /// The vehicle is not known yet.
    #[error("the source is unknown")]
    UnknownSource,
    /// Too many files wait for the disk; come again.
    #[error("too many files wait for the disk")]
    Overloaded,
    /// It could not be written.
    #[error("the file cannot be written")]
    Storage,
    /// The node is stopping, or keeps no files at all.
    #[error("the node takes no files now")]
    Stopping,
}

/// Called exactly once: `Ok` after file and row are durable.
pub type MediaReply = Box<dyn FnOnce(Result<(), MediaRefusal>) + Send>;

/// Where sockets put what they hear. Never blocks: a full queue calls the batch's reply with [`Refusal::Overloaded`] at once.
pub trait Intake: Send + Sync {
    /// Takes a batch; its reply is called exactly once, now or after the sync.
    fn offer(&self, batch: Batch);
    /// The same for batches that were heard together, in their order.
    fn offer_all(&self, batches: Vec<Batch>) {
        batches.into_iter().for_each(|batch| self.offer(batch));
    }
    /// Counts up whenever what [`Intake::find`] says, or who may speak for whom, may have changed.
    fn generation(&self) -> u64 {
        0
    }
    /// The point of a device by its code, if it is known; for [`Batch::bound`].
    fn find(&self, device: DeviceId, code: &str) -> Option<PointId> {
        let _ = (device, code);
        None
    }
    /// Keeps a file of a terminal; `reply` is called exactly once, now or after the sync.
    fn keep_media(&self, media: RawMedia, reply: MediaReply) {
        drop(media);
        reply(Err(MediaRefusal::Stopping));
    }
    /// Keeps bytes that could not be read, in a bounded store, and counts them. Not durable before it returns.
    fn quarantine(&self, entry: Quarantined);
}

/// Bytes that could not be read, for a person to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// When they came, domain time.
    pub at: Timestamp,
    /// Device code, terminal phone or peer address.
    pub source: String,
    /// Protocol label.
    pub protocol: &'static str,
    /// What was wrong, one fragment.
    pub reason: String,
    /// The bytes, cut to 4 KiB.
    pub bytes: Vec<u8>,
}

/// What became of a command handed to the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// In the connection's send queue.
    Sent,
    /// Nobody with that number or code is connected.
    NotConnected,
    /// The protocol of that connection has no such command.
    Unsupported,
}

/// Where the command reconciler puts what devices should do; implemented by `ingest`.
pub trait Downlink: Send + Sync {
    /// Queues the command on the device's connection, if there is one. Never blocks.
    fn send(&self, command: &Command) -> Delivery;
}

/// What sockets must know to believe a source; an immutable snapshot, replaced whole when a credential changes.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// By device code.
    pub devices: std::collections::HashMap<String, DeviceCredential>,
    /// By phone number, digits without leading zeros.
    pub terminals: std::collections::HashMap<String, TerminalCredential>,
    /// Key of the authentication codes that 0x8100 issues: code = hex of the first 8 bytes of HMAC-SHA-256(key, phone/generation).
    pub terminal_key: [u8; 32],
}

/// A device's credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceCredential {
    /// The device.
    pub device: DeviceId,
    /// SHA-256 of the secret (128 random bits, so a plain hash is enough).
    pub secret_hash: [u8; 32],
    /// Owner.
    pub enterprise: Option<crate::EnterpriseId>,
    /// May name another device of the same enterprise.
    pub gateway: bool,
    /// May mark back-fill.
    pub may_backfill: bool,
    /// Refused.
    pub disabled: bool,
}

/// What is known of a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TerminalCredential {
    /// The vehicle.
    pub vehicle: crate::VehicleId,
    /// Adopted by a person (or provisioned); otherwise heard in `accept` mode only.
    pub adopted: bool,
    /// Which of its authentication codes holds; 0 = the one that anybody may be told before adoption.
    pub generation: i64,
    /// Until when a registration may be answered with the code; `None` = never.
    pub enrol_until: Option<crate::Timestamp>,
}
