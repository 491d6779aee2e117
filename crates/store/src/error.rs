//! What can go wrong, as far as a caller can do something about it.

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such row, or outside the asker's scope: the two look the same on purpose.
    #[error("no such row")]
    NotFound,
    /// The row to be made or moved would lie outside the asker's scope.
    #[error("outside the territory of the asker")]
    OutOfScope,
    /// A field names a row that does not exist or is outside the asker's scope.
    #[error("{field} names nothing that is visible")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// Somebody changed the row since its `revision` was read.
    #[error("the row was changed meanwhile")]
    Stale,
    /// Another row has this value.
    #[error("the {field} is taken")]
    Taken {
        /// The field that must be unique.
        field: &'static str,
    },
    /// The condition of the alarm stands, so it cannot be closed.
    #[error("the condition of the alarm still stands")]
    StillStanding,
    /// A member of a combination is no point of its enterprise.
    #[error("member {place} is not a point of the enterprise")]
    Elsewhere {
        /// Which member, from 0.
        place: usize,
    },
    /// A combination names points of the device, so it cannot leave its enterprise.
    #[error("the combination {name} names points of the device")]
    Combined {
        /// Name of the combination.
        name: String,
    },
    /// The row is another node's: it is changed there.
    #[error("the row is kept by {node}")]
    Mirrored {
        /// Name of that node.
        node: String,
    },
    /// The row is being handed over: nobody changes it until it is known who keeps it.
    #[error("the row is being handed over to {node}")]
    Moving {
        /// Name of the node that is to keep it.
        node: String,
    },
    /// There are as many as there may be.
    #[error("there are {most} already")]
    TooMany {
        /// How many there may be.
        most: u32,
    },
    /// It would leave the node without anybody who can manage it.
    #[error("the last administrator of the node cannot be removed")]
    LastAdministrator,
    /// Too many changes wait for the database already.
    #[error("too many changes wait for the database")]
    Busy,
    /// The cursor was not made by this list.
    #[error("not a cursor of this list")]
    Cursor,
    /// The address names neither of the two databases.
    #[error("a database is sqlite:PATH or postgres://HOST/NAME")]
    Url,
    /// The database was written by a newer release.
    #[error("the database is at migration {found}, this release knows {known}; use the newer release")]
    Newer {
        /// Newest migration in the database.
        found: i64,
        /// Newest migration of this release.
        known: i64,
    },
    /// PostgreSQL is copied by its own tools.
    #[error("a PostgreSQL database is backed up with its own tools (pg_dump, or a base backup with its WAL), not by `anlan backup`")]
    ForeignBackup,
    /// A row does not mean what it should.
    #[error("broken data: {0}")]
    Corrupt(String),
    /// The database failed or cannot be reached.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let taken = error.as_database_error().filter(|e| e.is_unique_violation()).and_then(|e| {
            // PostgreSQL names the index (`enterprise_code`), SQLite the columns in its text (`enterprise.code`).
            let name = e.constraint().unwrap_or_else(|| e.message()).to_owned();
            ["code", "username", "phone", "record_key", "code_hash"]
                .into_iter()
                // What PostgreSQL makes of a column that is UNIQUE ends in `_key`.
                .find(|field| name.ends_with(field) || name.strip_suffix("_key").is_some_and(|name| name.ends_with(field)))
        });
        match taken {
            Some(field) => Self::Taken { field },
            None => Self::Database(error),
        }
    }
}
