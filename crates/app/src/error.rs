//! What a use case answers when it does not do it: a stable code, the field at fault, values for the sentence.
//!
//! The sentence itself is made where the language is known (`http::messages`). Start at [`AppError`].

use std::collections::BTreeMap;
use std::fmt;

use anlan_archive::ArchiveError;
use anlan_history::HistoryError;
use anlan_model::scope::Forbidden;
use anlan_store::StoreError;

/// What the asker can do about it; `http` turns it into a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ask differently.
    Invalid,
    /// Sign in (again).
    Unauthorized,
    /// Somebody else may.
    Forbidden,
    /// Nothing there, or nothing the asker may see: the two look the same on purpose.
    NotFound,
    /// The world is not as the asker thought; look again.
    Conflict,
    /// Send less.
    TooLarge,
    /// Come back later.
    TooMany {
        /// Seconds to wait.
        retry_after_s: u64,
    },
    /// Nobody can be answered that here.
    Unsupported,
    /// A part of the node does not answer; reading may still work.
    Unavailable,
    /// Our fault.
    Internal,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Stable word, such as `alarm.still_standing`.
    pub code: &'static str,
    /// Path of the field.
    pub field: Option<String>,
    /// Values for the sentence.
    pub params: BTreeMap<&'static str, String>,
}

/// A refusal with one or more faults of one kind.
#[derive(Debug)]
pub struct AppError {
    /// What can be done about it.
    pub kind: Kind,
    /// At least one.
    pub problems: Vec<Problem>,
    /// For the log.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl std::error::Error for AppError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|s| s as _)
    }
}

impl AppError {
    /// A refusal of one fault without a field.
    pub fn new(kind: Kind, code: &'static str) -> Self {
        Self { kind, problems: vec![Problem { code, field: None, params: BTreeMap::new() }], source: None }
    }
    /// A field that cannot be accepted; an empty `field` names none.
    pub fn invalid(code: &'static str, field: &str) -> Self {
        Self::new(Kind::Invalid, code).on(field)
    }
    /// Sign in.
    pub fn unauthorized(code: &'static str) -> Self {
        Self::new(Kind::Unauthorized, code)
    }
    /// Not by this person.
    pub fn forbidden(code: &'static str) -> Self {
        Self::new(Kind::Forbidden, code)
    }
    /// Nothing there.
    pub fn not_found() -> Self {
        Self::new(Kind::NotFound, "row.not_found")
    }
    /// Look again.
    pub fn conflict(code: &'static str) -> Self {
        Self::new(Kind::Conflict, code)
    }
    /// Send less.
    pub fn too_large(code: &'static str) -> Self {
        Self::new(Kind::TooLarge, code)
    }
    /// Names the field of the newest fault.
    #[must_use]
    pub fn on(mut self, field: &str) -> Self {
        if let Some(problem) = self.problems.last_mut() {
            problem.field = (!field.is_empty()).then(|| field.to_owned());
        }
        self
    }
    /// Adds a value for the sentence of the newest fault.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        if let Some(problem) = self.problems.last_mut() {
            // What people sent comes back shortened: an error is no echo service.
            problem.params.insert(name, value.to_string().chars().take(200).collect());
        }
        self
    }
    /// The first code.
    pub fn code(&self) -> &'static str {
        self.problems.first().map_or("internal", |p| p.code)
    }
}

impl From<Forbidden> for AppError {
    fn from(Forbidden(permission): Forbidden) -> Self {
        Self::forbidden("permission.missing").with("permission", permission.as_str())
    }
}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::not_found(),
            StoreError::OutOfScope => Self::forbidden("scope.outside"),
            StoreError::Missing { field } => Self::invalid("reference.unknown", field),
            StoreError::Stale => Self::conflict("revision.stale").on("revision"),
            StoreError::Taken { field } => Self::conflict("value.taken").on(field),
            StoreError::StillStanding => Self::conflict("alarm.still_standing"),
            StoreError::Elsewhere { place } => Self::invalid("combination.elsewhere", &format!("members[{place}].point")),
            StoreError::Combined { name } => Self::conflict("device.combined").on("enterprise").with("name", name),
            StoreError::Mirrored { node } => Self::conflict("node.elsewhere").with("node", node),
            StoreError::Moving { node } => Self::conflict("node.moving").with("node", node),
            StoreError::TooMany { most } => Self::conflict("combination.too_many").with("max", most),
            StoreError::LastAdministrator => Self::conflict("user.last_administrator"),
            StoreError::Cursor => Self::invalid("cursor.malformed", "cursor"),
            StoreError::Busy => Self::new(Kind::TooMany { retry_after_s: 2 }, "store.busy"),
            StoreError::Database(_) => Self { source: Some(error.into()), ..Self::new(Kind::Unavailable, "store.unavailable") },
            other => Self { source: Some(other.into()), ..Self::new(Kind::Internal, "internal") },
        }
    }
}

impl From<HistoryError> for AppError {
    fn from(error: HistoryError) -> Self {
        Self { source: Some(error.into()), ..Self::new(Kind::Internal, "history.unreadable") }
    }
}

impl From<ArchiveError> for AppError {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::History(error) => error.into(),
            other => Self { source: Some(other.into()), ..Self::new(Kind::Unavailable, "archive.unreadable") },
        }
    }
}

/// Collects the faults of one request, so that a form shows all of them at once.
#[derive(Debug, Default)]
pub struct Faults(Vec<Problem>);

impl Faults {
    /// Keeps the faults of `result`, and its value if there is one.
    pub fn note<T>(&mut self, result: Result<T, AppError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.0.extend(error.problems);
                None
            }
        }
    }
    /// The faults as one refusal, if there are any.
    ///
    /// # Errors
    /// [`Kind::Invalid`] with every fault noted.
    pub fn check(self) -> Result<(), AppError> {
        if self.0.is_empty() { Ok(()) } else { Err(AppError { kind: Kind::Invalid, problems: self.0, source: None }) }
    }
}
