//! The vocabulary of Anlan: ids, time, places, readings, nouns and the scope of who may see what.
//!
//! Everybody speaks these types; nothing here does I/O, reads a clock or knows a database.
//! Start at [`reading`] for what devices say, [`noun`] for what people manage, [`scope`] for who may do what.

pub mod alarm;
pub mod batch;
pub mod geo;
pub mod id;
pub mod modbus;
pub mod node;
pub mod noun;
pub mod platform;
pub mod reading;
pub mod scope;
pub mod time;

pub use alarm::{
    Alarm, AlarmChange, AlarmHandling, AlarmMember, AlarmPart, AlarmState, DataEvent, Effect, Home, Level, MemberAlarm, RaisedAlarm,
    RuleKind, Subject,
};
pub use batch::{
    Batch, Command, CommandBody, Credentials, Delivery, DeviceCredential, Downlink, Intake, Kept, MediaRefusal, MediaReply, Quarantined,
    RawMedia, RawPosition, RawReading, Refusal, Reply, Source, SourceEvent, TerminalCredential, Trust,
};
pub use geo::{RegionCode, Wgs84};
pub use id::{
    AlarmId, ApiKeyId, AttachmentId, CombinationId, DeviceId, DutyShiftId, EnterpriseId, IdMap, OrderId, PointId, RecordId, SiteId,
    TransferId, UserId, VehicleId,
};
pub use node::{NodeId, NodeLevel};
pub use noun::PointSet;
pub use reading::{Flags, Position, Quality, Reading, item};
pub use scope::{Permission, Role, Scope};
pub use time::{Clock, Timestamp};
