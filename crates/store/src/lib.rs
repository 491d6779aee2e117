//! Everything relational, on SQLite or PostgreSQL: nouns, people, alarms, audit. The only room with SQL.
//!
//! Never reads telemetry and never decides who may do what: callers pass a [`Scope`] already narrowed to the permission that
//! the act needs ([`Scope::with`]), and it ends up in the SQL. Every change of people writes the row, its audit entry and, where
//! others must learn of it, an outbox entry in one transaction. One file per noun; start at [`Store`], then [`alarm`].

mod agreed;
mod api_key;
mod assessment;
mod attachment;
mod copy;
mod db;
mod document;
mod error;
mod export;
mod feed;
mod inbox;
mod invitation;
mod leaders;
mod line;
mod migrate;
mod networking;
mod node;
mod offer;
mod order;
mod pack;
mod page;
mod plan;
mod proof;
mod public;
mod record;
mod scope;

pub mod alarm;
pub mod archive;
pub mod audit;
pub mod combination;
pub mod command;
pub mod credential;
pub mod device;
mod duty;
pub mod enterprise;
pub mod event;
mod hold;
mod ledger;
pub mod media;
mod merge;
pub mod modbus;
pub mod point;
pub mod projection;
pub mod quarantine;
pub mod region;
mod retention;
pub mod road;
mod roster;
pub mod second_factor;
pub mod session;
pub mod setting;
pub mod setup;
mod sight;
mod start;
mod submission;
pub mod summary;
#[cfg(feature = "testing")]
pub mod testing;
mod thinned;
mod transfer;
pub mod user;
pub mod vehicle;
pub mod whistleblow;

use anlan_model::{Scope, Timestamp};

pub use agreed::{AgreedDay, AlarmSpan};
pub use alarm::{AlarmCounts, AlarmFilter, AlarmGroup};
pub use api_key::{ApiKey, NewApiKey};
pub use archive::ArchiveSubject;
pub use assessment::{AssessmentRow, AssessmentScore, AssessmentUnit, FrozenAssessment};
pub use attachment::{AttachmentRow, AttachmentUsage, NewAttachment, VouchedFile};
pub use audit::{AuditCheck, AuditEntry, AuditFilter, Note, OutboxEntry};
pub use combination::{CombinationChange, CombinationRow, NewCombination};
pub use command::{CommandFilter, CommandRow, CommandState, Target};
pub use device::{DeviceChange, DeviceFilter, DeviceRow, NewDevice};
pub use document::DocumentRow;
pub use duty::{DutyChange, DutyFilter, DutyHandoverRow, DutyShift, DutyShiftRow};
pub use enterprise::{EnterpriseChange, EnterpriseFilter, EnterpriseRow, ImportedEnterprise, NewEnterprise};
pub use error::StoreError;
pub use event::EventRow;
pub use export::{ExportRow, ExportState};
pub use feed::{FeedEntry, UP};
pub use hold::{HoldRow, NewHold};
pub use inbox::{Applied, Inbox, Mirrored, Peer, Refused};
pub use invitation::{Claim, InvitationRow, InvitationState, NewInvitation};
pub use leaders::OpenRecords;
pub use ledger::LedgerRow;
pub use media::{MediaRow, NewMedia};
pub use merge::{MergeConflict, MergeWish, Merged};
pub use networking::{NetworkingFilter, NetworkingRow};
pub use node::{Admission, Neighbour, NodeChange, NodeRow, NodeState, Relation, Resume};
pub use offer::PackOfferRow;
pub use order::{
    AnsweredRecord, NewOrder, Order, OrderAnswer, OrderDirection, OrderFilter, OrderKind, OrderProblem, OrderRow, OrderState, OrderTarget,
    OrderWithdrawal, OrderedBy, OrderedEnterprise, OrderedRecord, OrderedStep, regulators,
};
pub use pack::PackRow;
pub use page::{Page, Paging};
pub use plan::{DecisionRow, DecisionState, FactError, FactFilter, FactRow, NewDecision};
pub use point::{PointChange, PointFilter, PointPut, PointRow};
pub use proof::{NewProof, ProofDay, ProofHolder};
pub use public::{Narrow, PublishedRow};
pub use quarantine::{NewQuarantined, QuarantineRow};
pub use record::{
    FieldIs, FlaggingRow, Nameable, NotificationRow, RecordChange, RecordCount, RecordFilter, RecordHome, RecordOwner, RecordPut,
    RecordRow, Related, TaskCounts,
};
pub use region::{Moved, Redivision};
pub use retention::{DroppedDay, RetentionDrop};
pub use road::{RoadBy, RoadDay, RoadSums};
pub use roster::{RosterRow, RosterShift};
pub use second_factor::SecondFactor;
pub use session::{NewSession, Session, SignInFailures};
pub use submission::{
    NewSubmissionAttempt, SubmissionAttemptFilter, SubmissionAttemptRow, SubmissionHolder, SubmissionItem, SubmissionNow, SubmissionPut,
    SubmissionSettled, SubmissionTargetAfter, SubmissionTargetRow, SubmissionThing, SubmissionWant,
};
pub use summary::{HourCounts, LevelCounts, RegionCounts, Summary};
pub use thinned::{Counted, ThinnedPart, ThinnedRow, Thinning};
pub use transfer::{Elsewhere, GivenEnterprise, GivenRecord, TransferDoc, TransferPreview, TransferRow};
pub use user::{NewUser, UserChange};
pub use vehicle::{Seen, VehicleChange, VehicleFilter, VehicleRow};
pub use whistleblow::{HolderKeyRow, HolderRow, KnownReport, PartKind, PartRow, SealedIdentity, SealedReport, UnsealingRow};

/// A handle on the database; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    db: db::Db,
    line: line::Line,
    sight: sight::Sight,
    bounds: record::Bounds,
    network: feed::Network,
}

impl Store {
    /// Opens `sqlite:PATH` (made if absent) or `postgres://…` and brings it to this release's migrations.
    ///
    /// # Errors
    /// [`StoreError::Url`], [`StoreError::Newer`] for a database that a newer release has touched, [`StoreError::Database`].
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let db = db::Db::open(url).await?;
        migrate::migrate(&db, real_now()).await?;
        let network = feed::Network::read(&db).await?;
        Ok(Self { db, line: line::Line::default(), sight: sight::Sight::default(), bounds: record::Bounds::default(), network })
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    /// [`StoreError::Database`] if there is none within 10 s.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.db.row(db::sql("SELECT version FROM migration WHERE version = 1")).await.map(drop)
    }

    /// Writes a copy of the whole database, as of one instant, to the absent file `path`; the log position that this copy has applied.
    /// Others go on writing meanwhile.
    ///
    /// # Errors
    /// [`StoreError::ForeignBackup`] on PostgreSQL, [`StoreError::Database`].
    pub async fn copy_into(&self, path: &std::path::Path) -> Result<u64, StoreError> {
        let copy = self.db.copy_into(path).await?;
        let row = copy.row(db::sql("SELECT position FROM projection WHERE shard = 0")).await;
        copy.close().await;
        projection::position(row?.as_ref())
    }

    /// Closes every connection; later calls fail.
    pub async fn close(&self) {
        self.db.close().await;
    }
}

/// Real time, for the one stamp that is no domain time: when a migration ran.
fn real_now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::EPOCH + since
}

/// Whether the asker may hold rows with no owner.
fn require_node_wide(scope: &Scope) -> Result<(), StoreError> {
    if scope.node_wide() { Ok(()) } else { Err(StoreError::OutOfScope) }
}
