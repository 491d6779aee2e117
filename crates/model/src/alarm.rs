//! Alarms as everybody sees them: levels, states, kinds of rule, one occurrence.

use serde::{Deserialize, Serialize};

use crate::{AlarmId, CombinationId, EnterpriseId, NodeId, NodeLevel, PointId, RegionCode, Timestamp, VehicleId};

/// The four levels of early warning. Ordered: red is greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// 蓝, level 4.
    Blue,
    /// 黄, level 3.
    Yellow,
    /// 橙, level 2.
    Orange,
    /// 红, level 1.
    Red,
}

impl Level {
    /// All levels, red first.
    pub const ALL: [Self; 4] = [Self::Red, Self::Orange, Self::Yellow, Self::Blue];
    /// The word on the API and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Orange => "orange",
            Self::Yellow => "yellow",
            Self::Blue => "blue",
        }
    }
    /// The level named by `word`.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|l| l.as_str() == word)
    }
}

/// What a rule compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleKind {
    /// High-high limit.
    Hh,
    /// High limit.
    H,
    /// Low limit.
    L,
    /// Low-low limit.
    Ll,
    /// Rate of change, per minute, either direction.
    Rate,
    /// No reading for longer than the limit.
    Stale,
    /// Outside the measuring range.
    OutOfRange,
    /// A bit of the JT/T 808 alarm word.
    TerminalBit,
    /// Vehicle faster than its limit.
    Overspeed,
    /// The same value for longer than the limit, while readings come in: the sensor may be stuck.
    FlatLine,
    /// Several conditions of one enterprise within a time; made by people, never by a pack.
    Combination,
}

impl RuleKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Hh,
        Self::H,
        Self::L,
        Self::Ll,
        Self::Rate,
        Self::Stale,
        Self::OutOfRange,
        Self::TerminalBit,
        Self::Overspeed,
        Self::FlatLine,
        Self::Combination,
    ];
    /// The word in packs, on the API and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hh => "hh",
            Self::H => "h",
            Self::L => "l",
            Self::Ll => "ll",
            Self::Rate => "rate",
            Self::Stale => "stale",
            Self::OutOfRange => "out_of_range",
            Self::TerminalBit => "terminal_bit",
            Self::Overspeed => "overspeed",
            Self::FlatLine => "flat_line",
            Self::Combination => "combination",
        }
    }
    /// The kind named by `word`.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == word)
    }
}

/// What an alarm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A measuring point.
    Point(PointId),
    /// A vehicle.
    Vehicle(VehicleId),
}

/// Shown state; closed > returned > acknowledged > raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmState {
    /// The condition stands and nobody has answered.
    Raised,
    /// Somebody has seen it; the condition stands.
    Acknowledged,
    /// The condition is gone; the alarm is not closed.
    Returned,
    /// Closed with a reason.
    Closed,
}

impl AlarmState {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Raised, Self::Acknowledged, Self::Returned, Self::Closed];
    /// The word on the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Acknowledged => "acknowledged",
            Self::Returned => "returned",
            Self::Closed => "closed",
        }
    }
    /// The state named by `word`.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == word)
    }
}

/// One occurrence: the condition (written by the projector) and its handling (written by people).
#[derive(Clone, Debug, PartialEq)]
pub struct Alarm {
    /// Occurrence id.
    pub id: AlarmId,
    /// Rule id, such as `hh` of a point's own limits or the id of a pack rule.
    pub rule: String,
    /// What the rule compares.
    pub kind: RuleKind,
    /// About what.
    pub subject: Subject,
    /// Name of the point or plate of the vehicle, as now.
    pub subject_name: String,
    /// Unit of value and threshold.
    pub unit: String,
    /// Owner, if the device or vehicle has one.
    pub enterprise: Option<EnterpriseId>,
    /// Its name.
    pub enterprise_name: Option<String>,
    /// Territory.
    pub region: Option<RegionCode>,
    /// Urgency.
    pub level: Level,
    /// Value that raised it; for a stale alarm the silence in seconds.
    pub value: Option<f64>,
    /// Limit that was crossed, in the unit; seconds for stale.
    pub threshold: Option<f64>,
    /// Who set the limit: standard and clause, or the enterprise's document.
    pub source: String,
    /// `verified`, `verified-secondary`, `enterprise`, `unverified`.
    pub confidence: String,
    /// When the condition began.
    pub onset_at: Timestamp,
    /// When it was raised (after the on-delay), domain time.
    pub raised_at: Timestamp,
    /// When the condition went.
    pub returned_at: Option<Timestamp>,
    /// First acknowledgement at this node.
    pub acknowledged_at: Option<Timestamp>,
    /// By whom (display name).
    pub acknowledged_by: Option<String>,
    /// Note of the acknowledgement.
    pub acknowledged_note: Option<String>,
    /// Closed at this node.
    pub closed_at: Option<Timestamp>,
    /// By whom.
    pub closed_by: Option<String>,
    /// Why.
    pub closed_reason: Option<String>,
    /// From late or back-filled readings: never escalates.
    pub historic: bool,
    /// The combination rule that raised it.
    pub combination: Option<CombinationId>,
    /// What a combination alarm is made of, in the order of its rule; empty for every other.
    pub members: Vec<AlarmMember>,
    /// The node that judged it, if that is another one.
    pub home: Option<Home>,
    /// What the people of other nodes did about it; what was done here stands above.
    pub handlings: Vec<AlarmHandling>,
}

/// The node at which something is kept: where the condition of an alarm was judged, a device or vehicle is heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// Node.
    pub id: NodeId,
    /// Its name here; empty = unknown.
    pub name: String,
    /// Its level.
    pub level: Option<NodeLevel>,
}

/// What the people of another node did about an alarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlarmHandling {
    /// Node.
    pub node: NodeId,
    /// Its name here; empty = unknown.
    pub name: String,
    /// Its level.
    pub level: Option<NodeLevel>,
    /// When they acknowledged it.
    pub acknowledged_at: Option<Timestamp>,
    /// By whom (display name).
    pub acknowledged_by: Option<String>,
    /// Note of the acknowledgement.
    pub acknowledged_note: Option<String>,
    /// When they closed it.
    pub closed_at: Option<Timestamp>,
    /// By whom.
    pub closed_by: Option<String>,
    /// Why.
    pub closed_reason: Option<String>,
}

/// A member of a combination rule as it took part in one occurrence. What stood is told by the member's own alarm.
#[derive(Clone, Debug, PartialEq)]
pub struct AlarmMember {
    /// Where it looks.
    pub point: PointId,
    /// Name of the point, as now.
    pub point_name: String,
    /// Which rule of the point.
    pub kind: RuleKind,
    /// The member's newest alarm in this occurrence; `None` = it did not take part.
    pub alarm: Option<MemberAlarm>,
}

/// The part of a member's own alarm that its combination shows.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberAlarm {
    /// Occurrence.
    pub id: AlarmId,
    /// Value that raised it.
    pub value: Option<f64>,
    /// Limit that was crossed.
    pub threshold: Option<f64>,
    /// Unit of both.
    pub unit: String,
    /// When the condition began.
    pub onset_at: Timestamp,
    /// When it went.
    pub returned_at: Option<Timestamp>,
}

impl Alarm {
    /// The shown state.
    pub fn state(&self) -> AlarmState {
        if self.closed_at.is_some() {
            AlarmState::Closed
        } else if self.returned_at.is_some() {
            AlarmState::Returned
        } else if self.acknowledged_at.is_some() {
            AlarmState::Acknowledged
        } else {
            AlarmState::Raised
        }
    }
}

/// What the alarm engine says happened to a condition; a record in the log, applied to the database by the projector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum AlarmChange {
    /// A condition was raised.
    Raised(RaisedAlarm),
    /// The condition of an open occurrence went.
    Returned {
        /// Occurrence.
        id: AlarmId,
        /// When it went (event time of the reading that ended it).
        at: Timestamp,
    },
}

/// The condition half of an [`Alarm`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RaisedAlarm {
    /// Occurrence id.
    pub id: AlarmId,
    /// Rule id.
    pub rule: String,
    /// What it compares.
    pub kind: RuleKind,
    /// About what.
    pub subject: Subject,
    /// Urgency.
    pub level: Level,
    /// Value that raised it.
    pub value: Option<f64>,
    /// Limit that was crossed.
    pub threshold: Option<f64>,
    /// Unit of both.
    pub unit: String,
    /// Source of the limit.
    pub source: String,
    /// Confidence of the source.
    pub confidence: String,
    /// When the condition began.
    pub onset_at: Timestamp,
    /// When it was raised.
    pub raised_at: Timestamp,
    /// From late or back-filled data.
    pub historic: bool,
}

/// A member of a combination when its alarm was raised, or when it joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmPart {
    /// Where the member looks.
    pub point: PointId,
    /// Which rule of the point.
    pub kind: RuleKind,
    /// Its own alarm, if it takes part.
    pub alarm: Option<AlarmId>,
}

/// Something about data quality that a person should know: a clock that is off, a second connection, an unknown terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataEvent {
    /// When, domain time.
    pub at: Timestamp,
    /// Kind word: `clock_offset`, `taken_over`, `unknown_terminal`, `registered`, `driver`, `backfill_gap` …
    pub kind: String,
    /// Device code or terminal phone.
    pub subject: String,
    /// JSON object text.
    pub detail: String,
    /// Owner, if known.
    pub enterprise: Option<EnterpriseId>,
}

/// Everything of a log record that the relational store must learn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Effect {
    /// A change of an alarm's condition.
    Alarm(AlarmChange),
    /// A data-quality event.
    Event(DataEvent),
    /// A device's answer to a command.
    CommandAnswer {
        /// Command row.
        command: i64,
        /// Device code or terminal phone that answered; an answer from anybody but the addressee is dropped.
        from: String,
        /// Whether it was carried out.
        ok: bool,
        /// JSON text.
        detail: String,
        /// When, domain time.
        at: Timestamp,
    },
    /// What a combination alarm is made of: every member behind its raising, and later each that joins while it stands.
    Combined {
        /// Occurrence of the combination.
        alarm: AlarmId,
        /// Its rule.
        combination: CombinationId,
        /// In the order of the rule.
        parts: Vec<AlarmPart>,
    },
}
