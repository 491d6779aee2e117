//! What nodes say to each other: one byte of version, one byte of kind, then the fields (postcard).
//!
//! A kind that is not known is passed over, so a new node may say more than an old one understands. The fields of a kind never change once
//! released: more is said by a new kind. `testdata/v1` holds an example of each that must be readable for ever.

use anlan_model::NodeId;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::intervals::Intervals;

/// Most entries of one feed message.
pub const ENTRIES_MAX: usize = 1_000;
/// In front of every message.
pub const VERSION: u8 = 1;

/// Which start of a node speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Incarnation {
    /// How many times it has started.
    pub starts: u64,
    /// Random, of this start alone.
    pub nonce: u64,
}

impl Incarnation {
    /// Whether this is an older start than `known`, or another one of the same number: of a backup, or of another box with the same name.
    pub fn went_back(self, known: Self) -> bool {
        self.starts < known.starts || (self.starts == known.starts && self != known)
    }
}

/// What a node has of the other, durable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Have {
    /// Positions of its log.
    pub log: Intervals,
    /// The newest of them and the tag it came with; both must still be so in the log they came from.
    pub mark: Option<(u64, u64)>,
    /// Its feed up to here.
    pub feed: u64,
    /// The start of it that told that. Earlier releases say the newest that spoke.
    pub feed_of: Incarnation,
}

/// One subject of a feed in its newest state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number.
    pub seq: u64,
    /// What kind of subject.
    pub kind: String,
    /// Node of origin, a slash, its id there.
    pub subject: String,
    /// JSON.
    pub body: String,
}

/// What somebody holds of an origin and civil day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayDigest {
    /// Whose readings.
    pub origin: NodeId,
    /// Days since 1970 in Beijing.
    pub day: i32,
    /// What is held.
    pub digest: Digest,
}

/// What a node says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The first thing said.
    Hello(Hello),
    /// What changed: the feed from `after` to `upto`.
    Feed(Feed),
    /// The feed is durable up to here.
    FeedKept(u64),
    /// Readings of the log.
    Log(Log),
    /// These positions are durable.
    LogKept(Intervals),
    /// These positions are no longer in the log, first and last; their days can be asked for.
    Gone(u64, u64),
    /// What the sender holds by day, counted up to this position of its log.
    Claim(Claim),
    /// What the receiver holds of the same days at that moment.
    Verdict(Claim),
    /// Please send this day once more.
    Again(Day),
    /// A part of a day.
    DayPart(DayPart),
    /// A part of a day is durable.
    DayKept(Day, u32),
    /// Which points make up a day?
    Points(Day),
    /// What is held of each point.
    PointsOf(Day, Vec<(i64, Digest)>),
    /// Still here.
    Pulse(Pulse),
    /// A request for a new certificate (PKCS #10, DER).
    Renew(Vec<u8>),
    /// The new certificate and what signed it (DER).
    Renewed(Vec<Vec<u8>>),
    /// Goodbye, and why.
    Bye(Bye),
    /// Of a day that was asked for this gave way to its hours here and cannot be sent; what is left follows.
    Thinned(Day, Digest),
    /// Which readings the sender wants to go over the link; the lesser wish holds.
    Terms(String),
    /// As a claim, of the part of each day that is agreed by this word.
    ClaimOf(String, Claim),
}

/// See [`Message::Hello`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Who.
    pub node: NodeId,
    /// Which start.
    pub incarnation: Incarnation,
    /// First position that is still in its log.
    pub log_first: u64,
    /// Last one.
    pub log_end: u64,
    /// Last number of its feed for the other.
    pub feed_end: u64,
    /// What it has of the other.
    pub have: Have,
    /// Its program and version.
    pub software: String,
}

/// See [`Message::Feed`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feed {
    /// Behind this number.
    pub after: u64,
    /// All up to here are in it.
    pub upto: u64,
    /// In order of their numbers.
    pub entries: Vec<Entry>,
}

/// See [`Message::Log`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// First position in it.
    pub first: u64,
    /// Last one.
    pub last: u64,
    /// Says what the record at `last` is, so that another log is told from this one.
    pub tag: u64,
    /// Readings in it.
    pub n_readings: u32,
    /// A piece; empty if there are none.
    pub bytes: Vec<u8>,
}

/// See [`Message::Claim`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Position in the claimer's log.
    pub at: u64,
    /// Days that changed since the last claim.
    pub days: Vec<DayDigest>,
}

/// An origin and a civil day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Day {
    /// Whose readings.
    pub origin: NodeId,
    /// Days since 1970 in Beijing.
    pub day: i32,
}

/// See [`Message::DayPart`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayPart {
    /// Which day.
    pub day: Day,
    /// Number of the part, from 0.
    pub part: u32,
    /// There is no further part.
    pub is_last: bool,
    /// A piece.
    pub bytes: Vec<u8>,
}

/// See [`Message::Pulse`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulse {
    /// Domain time, µs.
    pub now_us: i64,
    /// Last position of the log.
    pub log_end: u64,
    /// Last number of the feed for the other.
    pub feed_end: u64,
    /// Readings or records that wait for the other, as far as it is known.
    pub log_waits: u64,
}

/// Why a conversation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bye {
    /// The node stops.
    Stopping,
    /// A person cut the link.
    Paused,
    /// The log is not the one that the mark is of.
    OtherLog,
    /// The stream is frozen until a person decides.
    Frozen,
    /// A newer connection of the same node took over.
    TakenOver,
    /// Something was said that makes no sense here.
    Nonsense,
}

/// The bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Too short.
    #[error("a message is at least two bytes")]
    Short,
    /// Another version.
    #[error("version {0} is not spoken here; both nodes must run releases that share one")]
    Version(u8),
    /// A known kind with fields that do not fit.
    #[error("a message of kind {0} is damaged")]
    Damaged(u8),
}

macro_rules! kinds {
    ($($number:literal $name:ident($($field:ident),+)),+ $(,)?) => {
        impl Message {
            /// The bytes of it.
            pub fn encode(&self) -> Vec<u8> {
                match self {
                    $(Self::$name($($field),+) => postcard::to_extend(&($($field,)+), vec![VERSION, $number])),+
                }
                .expect("plain data always encodes")
            }
            /// Reads what [`Self::encode`] wrote; `None` for a kind that is not known here.
            ///
            /// # Errors
            /// [`MessageError`].
            pub fn decode(bytes: &[u8]) -> Result<Option<Self>, MessageError> {
                let &[version, kind, ref rest @ ..] = bytes else { return Err(MessageError::Short) };
                if version != VERSION {
                    return Err(MessageError::Version(version));
                }
                let message = match kind {
                    $($number => {
                        let ($($field,)+) = match postcard::take_from_bytes(rest) {
                            Ok((fields, [])) => fields,
                            _ => return Err(MessageError::Damaged(kind)),
                        };
                        Self::$name($($field),+)
                    })+
                    _ => return Ok(None),
                };
                if message.is_sound() { Ok(Some(message)) } else { Err(MessageError::Damaged(kind)) }
            }
            /// The word of its kind, for logs and metrics.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Self::$name(..) => stringify!($name)),+
                }
            }
        }
    };
}

kinds! {
    1 Hello(hello), 2 Feed(feed), 3 FeedKept(upto), 4 Log(log), 5 LogKept(ranges), 6 Gone(first, last), 7 Claim(claim), 8 Verdict(claim),
    9 Again(day), 10 DayPart(part), 11 DayKept(day, part), 12 Points(day), 13 PointsOf(day, points), 14 Pulse(pulse), 15 Renew(request),
    16 Renewed(chain), 17 Bye(why), 18 Thinned(day, digest), 19 Terms(word),
    20 ClaimOf(word, claim),
}

impl Message {
    /// What the types cannot say.
    fn is_sound(&self) -> bool {
        let ranges = |ranges: &Intervals| Intervals::checked(ranges.ranges().to_vec()).is_some();
        match self {
            Self::Hello(hello) => ranges(&hello.have.log),
            Self::LogKept(kept) => ranges(kept),
            Self::Gone(first, last) | Self::Log(Log { first, last, .. }) => 1 <= *first && first <= last,
            Self::Feed(feed) => {
                let seqs: Vec<u64> = feed.entries.iter().map(|e| e.seq).collect();
                feed.after <= feed.upto
                    && seqs.len() <= ENTRIES_MAX
                    && seqs.is_sorted_by(|a, b| a < b)
                    && seqs.first().is_none_or(|first| *first > feed.after)
                    && seqs.last().is_none_or(|last| *last <= feed.upto)
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind; the bytes of them in `testdata` must be read for ever.
    fn examples() -> Vec<Message> {
        let digest = Digest { n: 3, sum: 1 << 100 };
        let day = Day { origin: NodeId::new(7), day: 20_787 };
        let mut log = Intervals::up_to(9);
        log.insert(20, 30);
        let entry = Entry { seq: 12, kind: "alarm".into(), subject: format!("{}/x", NodeId::new(7)), body: "{}".into() };
        vec![
            Message::Hello(Hello {
                node: NodeId::new(7),
                incarnation: Incarnation { starts: 2, nonce: 99 },
                log_first: 1,
                log_end: 30,
                feed_end: 12,
                have: Have { log: log.clone(), mark: Some((30, 5)), feed: 4, feed_of: Incarnation { starts: 1, nonce: 3 } },
                software: "anlan 0.1.0".into(),
            }),
            Message::Feed(Feed { after: 10, upto: 12, entries: vec![entry] }),
            Message::FeedKept(12),
            Message::Log(Log { first: 31, last: 40, tag: 6, n_readings: 100, bytes: vec![1, 2, 3] }),
            Message::LogKept(log),
            Message::Gone(1, 5),
            Message::Claim(Claim { at: 40, days: vec![DayDigest { origin: day.origin, day: day.day, digest }] }),
            Message::Verdict(Claim { at: 40, days: vec![] }),
            Message::Again(day),
            Message::DayPart(DayPart { day, part: 1, is_last: true, bytes: vec![9] }),
            Message::DayKept(day, 1),
            Message::Points(day),
            Message::PointsOf(day, vec![(5, digest)]),
            Message::Pulse(Pulse { now_us: 1_764_460_800_000_000, log_end: 40, feed_end: 12, log_waits: 0 }),
            Message::Renew(vec![1]),
            Message::Renewed(vec![vec![1], vec![2]]),
            Message::Bye(Bye::OtherLog),
            Message::Thinned(day, digest),
            Message::Terms("changes".into()),
            Message::ClaimOf("changes".into(), Claim { at: 40, days: vec![DayDigest { origin: day.origin, day: day.day, digest }] }),
        ]
    }

    #[test]
    fn messages_of_every_release_are_read() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/v1");
        for message in examples() {
            let file = dir.join(format!("{}.bin", message.kind().to_lowercase()));
            if !file.exists() {
                // Only for a kind that is new: what was released is in the repository.
                std::fs::create_dir_all(&dir).unwrap();
                std::fs::write(&file, message.encode()).unwrap();
            }
            let bytes = std::fs::read(&file).unwrap();
            assert_eq!(Message::decode(&bytes), Ok(Some(message.clone())), "{}", file.display());
            assert_eq!(message.encode(), bytes, "{}", file.display());
        }
    }

    #[test]
    fn garbage_is_an_answer_not_a_panic() {
        assert_eq!(Message::decode(&[]), Err(MessageError::Short));
        assert_eq!(Message::decode(&[9, 1]), Err(MessageError::Version(9)));
        assert_eq!(Message::decode(&[VERSION, 200, 1, 2]), Ok(None));
        for message in examples() {
            let bytes = message.encode();
            for cut in 2..bytes.len() {
                assert!(Message::decode(&bytes[..cut]).is_err(), "{message:?} cut at {cut}");
            }
            for at in 2..bytes.len() {
                for flip in [0x01, 0x80, 0xff] {
                    let mut bytes = bytes.clone();
                    bytes[at] ^= flip;
                    let _ = Message::decode(&bytes);
                }
            }
        }
        let backwards = Message::Feed(Feed { after: 10, upto: 9, entries: vec![] });
        assert_eq!(Message::decode(&backwards.encode()), Err(MessageError::Damaged(2)));
    }
}
