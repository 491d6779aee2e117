//! The two databases behind one text of SQL: pools, values, rows and transactions.
//!
//! Knows no table. Everything above speaks [`Sql`] (text with `$1` plus typed arguments) and gets [`Row`]s of plain values,
//! so that no query is written twice and no driver type leaves this file. Start at [`Db`].

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anlan_model::{
    AlarmId, ApiKeyId, AttachmentId, DeviceId, DutyShiftId, EnterpriseId, NodeId, OrderId, PointId, RecordId, RegionCode, Timestamp,
    TransferId, UserId, VehicleId,
};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{
    Column as _, ConnectOptions as _, Connection as _, PgPool, Postgres, Row as _, Sqlite, SqlitePool, Transaction, TypeInfo as _,
    ValueRef as _,
};

use crate::StoreError;

/// Longest wait for a free connection or for another writer; then the caller gets an error instead of a growing queue.
const WAIT: Duration = Duration::from_secs(10);
/// Readers beside the one SQLite writer.
const SQLITE_READERS: u32 = 4;
/// Connections to PostgreSQL.
const POSTGRES_CONNECTIONS: u32 = 8;

/// Arguments of one list: SQLite takes 32,766 in all, PostgreSQL 65,535; a small piece also keeps the statement cache small.
pub(crate) const PIECE: usize = 500;

/// Rows of a whole table read at once.
const ALL_PIECE: usize = 2_000;

/// Pools of one of the two databases.
#[derive(Clone, Debug)]
pub(crate) enum Db {
    /// One writer, so that writers queue here and not in `SQLITE_BUSY`; readers see the last commit (WAL).
    Sqlite { write: SqlitePool, read: SqlitePool },
    /// One pool for both.
    Postgres(PgPool),
}

/// A running transaction; dropped without [`Tx::commit`] it is rolled back.
pub(crate) enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

impl Db {
    pub(crate) async fn open(url: &str) -> Result<Self, StoreError> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            let options = SqliteConnectOptions::new()
                .filename(Path::new(path))
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                // Acknowledged handling must survive a power cut; NORMAL would lose the last commits of a WAL.
                .synchronous(SqliteSynchronous::Full)
                .foreign_keys(true)
                .busy_timeout(WAIT)
                .disable_statement_logging();
            // SQLite itself rolls back when a commit meets an I/O error; sqlx does not notice, its own rollback fails, and the connection
            // would refuse every transaction for ever. An idle connection in a transaction is such a one: closed, and opened anew.
            let write = SqlitePoolOptions::new().max_connections(1).acquire_timeout(WAIT);
            let write = write.before_acquire(|connection, _| {
                let is_sound = !connection.is_in_transaction();
                Box::pin(async move { Ok(is_sound) })
            });
            let write = write.connect_with(options.clone()).await?;
            // A connection to a file needs no ping before every use: that is a second way to its thread and back for every question.
            let read = SqlitePoolOptions::new().max_connections(SQLITE_READERS).acquire_timeout(WAIT).test_before_acquire(false);
            let read = read.connect_with(options.read_only(true).create_if_missing(false)).await?;
            Ok(Self::Sqlite { write, read })
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let options: PgConnectOptions = url.parse()?;
            let pool = PgPoolOptions::new().max_connections(POSTGRES_CONNECTIONS).acquire_timeout(WAIT);
            Ok(Self::Postgres(pool.connect_with(options.disable_statement_logging()).await?))
        } else {
            Err(StoreError::Url)
        }
    }

    /// Rows of a reading statement.
    pub(crate) async fn rows(&self, sql: Sql) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite { read, .. } => sqlite_rows(&mut *read.acquire().await?, sql).await,
            Self::Postgres(pool) => postgres_rows(&mut *pool.acquire().await?, sql).await,
        }
    }
    /// The only row of a reading statement, if there is one.
    pub(crate) async fn row(&self, sql: Sql) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql).await?.into_iter().next())
    }
    /// Rows of `select` whose `column` is one of `values`, in no order; read in pieces, since a statement takes only so many arguments.
    pub(crate) async fn rows_among<T: ToValue>(&self, select: &str, column: &str, values: &[T]) -> Result<Vec<Row>, StoreError> {
        let mut found = Vec::new();
        for piece in values.chunks(PIECE) {
            let mut q = sql(select);
            q.and_in(column, piece);
            found.extend(self.rows(q).await?);
        }
        Ok(found)
    }
    /// What `read` makes of every row of `select`, which ends in a `WHERE` clause, in order of the whole number `id`; read in pieces, so
    /// that a hundred thousand rows are never in memory at once beside what is made of them.
    pub(crate) async fn all_by_id<T>(
        &self,
        select: &str,
        id: &str,
        mut read: impl FnMut(&Row) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let (mut all, mut after) = (Vec::new(), i64::MIN);
        loop {
            let rows = self.rows(sql(&format!("{select}\n  AND {id} > $1\nORDER BY {id}\nLIMIT {ALL_PIECE}")).bind(after)).await?;
            for row in &rows {
                all.push(read(row)?);
            }
            match rows.last() {
                Some(last) if rows.len() == ALL_PIECE => after = last.get("id")?,
                _ => return Ok(all),
            }
        }
    }
    /// Begins a transaction that writes.
    pub(crate) async fn begin(&self) -> Result<Tx, StoreError> {
        Ok(match self {
            // IMMEDIATE takes the write lock at once: a read that turns into a write could not be retried.
            Self::Sqlite { write, .. } => Tx::Sqlite(write.begin_with("BEGIN IMMEDIATE").await?),
            Self::Postgres(pool) => Tx::Postgres(pool.begin().await?),
        })
    }
    /// A consistent copy in the absent file `path`, opened for reading.
    pub(crate) async fn copy_into(&self, path: &Path) -> Result<Self, StoreError> {
        let Self::Sqlite { read, .. } = self else { return Err(StoreError::ForeignBackup) };
        // One reading transaction for SQLite: the writer is not held up.
        sqlx::query("VACUUM INTO $1").bind(path.to_string_lossy().into_owned()).execute(&mut *read.acquire().await?).await?;
        let options = SqliteConnectOptions::new().filename(path).read_only(true).disable_statement_logging();
        let pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(WAIT).connect_with(options).await?;
        Ok(Self::Sqlite { write: pool.clone(), read: pool })
    }
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite { write, read } => {
                read.close().await;
                write.close().await;
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

impl Tx {
    /// Rows of any statement; with `RETURNING`, of a writing one.
    pub(crate) async fn rows(&mut self, sql: Sql) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite(tx) => sqlite_rows(&mut *tx, sql).await,
            Self::Postgres(tx) => postgres_rows(&mut *tx, sql).await,
        }
    }
    /// The first row, if there is one.
    pub(crate) async fn row(&mut self, sql: Sql) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql).await?.into_iter().next())
    }
    /// Runs a writing statement and returns how many rows it touched.
    pub(crate) async fn run(&mut self, sql: Sql) -> Result<u64, StoreError> {
        let (text, args) = sql.into_parts();
        Ok(match self {
            Self::Sqlite(tx) => sqlite_query(text, args).execute(&mut **tx).await?.rows_affected(),
            Self::Postgres(tx) => postgres_query(text, args).execute(&mut **tx).await?.rows_affected(),
        })
    }
    /// Runs several statements without arguments (a migration).
    pub(crate) async fn script(&mut self, text: String) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(tx) => sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut **tx).await.map(|_| ())?,
            Self::Postgres(tx) => sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut **tx).await.map(|_| ())?,
        }
        Ok(())
    }
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(tx) => tx.commit().await?,
            Self::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
    }
}

// AssertSqlSafe below is true because `Sql` takes text only from this crate's constants; what people type is always an argument.
macro_rules! driver {
    ($query:ident, $rows:ident, $db:ty, $connection:ty, $value:ident) => {
        fn $query(text: String, args: Vec<Value>) -> sqlx::query::Query<'static, $db, <$db as sqlx::Database>::Arguments> {
            let mut query = sqlx::query::<$db>(sqlx::AssertSqlSafe(text));
            for arg in args {
                query = match arg {
                    Value::Int(v) => query.bind(v),
                    Value::Real(v) => query.bind(v),
                    Value::Text(v) => query.bind(v),
                    Value::Blob(v) => query.bind(v),
                };
            }
            query
        }

        async fn $rows(connection: &mut $connection, sql: Sql) -> Result<Vec<Row>, StoreError> {
            let is_kept = !sql.is_planned_anew;
            let (text, args) = sql.into_parts();
            let found = $query(text, args).persistent(is_kept).fetch_all(connection).await?;
            let Some(first) = found.first() else { return Ok(Vec::new()) };
            let columns: Arc<[String]> = first.columns().iter().map(|c| c.name().to_owned()).collect();
            found
                .iter()
                .map(|row| {
                    let values = (0..columns.len()).map(|i| $value(row, i)).collect::<Result<_, _>>()?;
                    Ok(Row { columns: Arc::clone(&columns), values })
                })
                .collect()
        }
    };
}
driver!(sqlite_query, sqlite_rows, Sqlite, sqlx::SqliteConnection, sqlite_value);
driver!(postgres_query, postgres_rows, Postgres, sqlx::PgConnection, postgres_value);

fn sqlite_value(row: &sqlx::sqlite::SqliteRow, i: usize) -> Result<Value, StoreError> {
    let raw = row.try_get_raw(i)?;
    if raw.is_null() {
        return Ok(Value::Int(None));
    }
    let kind = raw.type_info();
    Ok(match kind.name() {
        "INTEGER" => Value::Int(row.try_get_unchecked(i)?),
        "REAL" => Value::Real(row.try_get_unchecked(i)?),
        "TEXT" => Value::Text(row.try_get_unchecked(i)?),
        "BLOB" => Value::Blob(row.try_get_unchecked(i)?),
        other => return Err(StoreError::Corrupt(format!("column {i} has the unexpected type {other}"))),
    })
}

fn postgres_value(row: &sqlx::postgres::PgRow, i: usize) -> Result<Value, StoreError> {
    let raw = row.try_get_raw(i)?;
    if raw.is_null() {
        return Ok(Value::Int(None));
    }
    let kind = raw.type_info();
    Ok(match kind.name() {
        "INT8" => Value::Int(row.try_get(i)?),
        "INT4" => Value::Int(row.try_get::<Option<i32>, _>(i)?.map(i64::from)),
        "FLOAT8" => Value::Real(row.try_get(i)?),
        "TEXT" => Value::Text(row.try_get(i)?),
        "BYTEA" => Value::Blob(row.try_get(i)?),
        other => return Err(StoreError::Corrupt(format!("column {i} has the unexpected type {other}"))),
    })
}

/// A value of one of the four column types. `None` is NULL; its variant tells PostgreSQL the type of the argument.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Int(Option<i64>),
    Real(Option<f64>),
    Text(Option<String>),
    Blob(Option<Vec<u8>>),
}

/// What can be an argument.
pub(crate) trait ToValue {
    const NULL: Value;
    fn to_value(&self) -> Value;
}

macro_rules! to_value {
    ($($kind:ident: $type:ty = |$v:ident| $as:expr;)+) => {$(
        impl ToValue for $type {
            const NULL: Value = Value::$kind(None);
            fn to_value(&self) -> Value { let $v = self; Value::$kind(Some($as)) }
        }
    )+};
}
to_value! {
    Int: i64 = |v| *v;
    Int: bool = |v| i64::from(*v);
    Int: Timestamp = |v| v.micros();
    Int: EnterpriseId = |v| v.get();
    Int: DeviceId = |v| v.get();
    Int: PointId = |v| v.get();
    Int: VehicleId = |v| v.get();
    Int: UserId = |v| v.get();
    Int: ApiKeyId = |v| v.get();
    Int: RecordId = |v| v.get();
    Int: AttachmentId = |v| v.get();
    Int: DutyShiftId = |v| v.get();
    Real: f64 = |v| *v;
    Text: str = |v| v.to_owned();
    Text: String = |v| v.clone();
    Text: RegionCode = |v| v.as_str().to_owned();
    Text: AlarmId = |v| v.to_string();
    Text: OrderId = |v| v.to_string();
    Text: TransferId = |v| v.to_string();
    Text: NodeId = |v| v.to_string();
    Blob: [u8] = |v| v.to_vec();
    Blob: [u8; 32] = |v| v.to_vec();
    Blob: Vec<u8> = |v| v.clone();
}
impl<T: ToValue> ToValue for Option<T> {
    const NULL: Value = T::NULL;
    fn to_value(&self) -> Value {
        self.as_ref().map_or(T::NULL, ToValue::to_value)
    }
}
impl<T: ToValue + ?Sized> ToValue for &T {
    const NULL: Value = T::NULL;
    fn to_value(&self) -> Value {
        (**self).to_value()
    }
}

/// What can be read from a column.
pub(crate) trait FromValue: Sized {
    fn from_value(value: &Value) -> Option<Self>;
}

macro_rules! from_value {
    ($($kind:ident -> $type:ty = |$v:ident| $as:expr;)+) => {$(
        impl FromValue for $type {
            fn from_value(value: &Value) -> Option<Self> {
                match value { Value::$kind(Some($v)) => $as, _ => None }
            }
        }
    )+};
}
from_value! {
    Int -> i64 = |v| Some(*v);
    Int -> bool = |v| Some(*v != 0);
    Int -> Timestamp = |v| Some(Timestamp::from_micros(*v));
    Int -> EnterpriseId = |v| Some(EnterpriseId::new(*v));
    Int -> DeviceId = |v| Some(DeviceId::new(*v));
    Int -> PointId = |v| Some(PointId::new(*v));
    Int -> VehicleId = |v| Some(VehicleId::new(*v));
    Int -> UserId = |v| Some(UserId::new(*v));
    Int -> ApiKeyId = |v| Some(ApiKeyId::new(*v));
    Int -> RecordId = |v| Some(RecordId::new(*v));
    Int -> AttachmentId = |v| Some(AttachmentId::new(*v));
    Int -> DutyShiftId = |v| Some(DutyShiftId::new(*v));
    Text -> String = |v| Some(v.clone());
    Text -> RegionCode = |v| RegionCode::new(v);
    Text -> AlarmId = |v| v.parse().ok();
    Text -> OrderId = |v| v.parse().ok();
    Text -> TransferId = |v| v.parse().ok();
    Text -> NodeId = |v| v.parse().ok();
    Blob -> Vec<u8> = |v| Some(v.clone());
    Blob -> [u8; 32] = |v| v.as_slice().try_into().ok();
}
impl FromValue for f64 {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Real(v) => *v,
            // SQLite hands out an expression over whole numbers as an integer.
            Value::Int(v) => v.map(|v| v as Self),
            _ => None,
        }
    }
}
impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Option<Self> {
        let null = matches!(value, Value::Int(None) | Value::Real(None) | Value::Text(None) | Value::Blob(None));
        if null { Some(None) } else { T::from_value(value).map(Some) }
    }
}

/// One row of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    columns: Arc<[String]>,
    values: Vec<Value>,
}

impl Row {
    /// The value of column `name`.
    pub(crate) fn get<T: FromValue>(&self, name: &str) -> Result<T, StoreError> {
        self.columns
            .iter()
            .position(|c| c == name)
            .and_then(|i| T::from_value(&self.values[i]))
            .ok_or_else(|| StoreError::Corrupt(format!("column {name} is missing or of another type")))
    }
    /// The value of a text column as `parse` understands it.
    pub(crate) fn word<T>(&self, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, StoreError> {
        let text: String = self.get(name)?;
        parse(&text).ok_or_else(|| StoreError::Corrupt(format!("column {name} holds the unknown word {text}")))
    }
    /// The value of a JSON text column.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T, StoreError> {
        let text: String = self.get(name)?;
        serde_json::from_str(&text).map_err(|e| StoreError::Corrupt(format!("column {name}: {e}")))
    }
}

/// A statement and its arguments; placeholders are `$1`, `$2` …
#[derive(Clone, Debug)]
pub(crate) struct Sql {
    text: String,
    args: Vec<Value>,
    is_planned_anew: bool,
}

/// Starts a statement.
pub(crate) fn sql(text: &str) -> Sql {
    Sql { text: text.to_owned(), args: Vec::new(), is_planned_anew: false }
}

impl Sql {
    /// Adds the next argument: the first call fills `$1`.
    pub(crate) fn bind(mut self, value: impl ToValue) -> Self {
        self.args.push(value.to_value());
        self
    }
    /// Appends text; each `{}` in it becomes the placeholder of the next of `values`.
    pub(crate) fn push(&mut self, text: &str, values: &[&dyn DynValue]) -> &mut Self {
        let mut parts = text.split("{}");
        self.text.push_str(parts.next().unwrap_or_default());
        for (part, value) in parts.zip(values) {
            self.args.push(value.dyn_value());
            self.text.push_str(&format!("${}", self.args.len()));
            self.text.push_str(part);
        }
        self
    }
    /// The statement inside another; what is around it has no arguments.
    pub(crate) fn within(self, before: &str, after: &str) -> Self {
        Self { text: format!("{before}{}{after}", self.text), ..self }
    }
    /// Planned for these arguments every time. PostgreSQL otherwise makes one plan for all of them after a while, and what is best for a word that
    /// a third of the rows have reads every row for one that eight have.
    pub(crate) fn planned_anew(self) -> Self {
        Self { is_planned_anew: true, ..self }
    }
    /// `AND column IN (…)`, or nothing for an empty list.
    pub(crate) fn and_in<T: ToValue>(&mut self, column: &str, values: &[T]) {
        if values.is_empty() {
            return;
        }
        self.text.push_str(&format!("\n  AND {column} IN ("));
        for (i, value) in values.iter().enumerate() {
            self.args.push(value.to_value());
            self.text.push_str(if i == 0 { "$" } else { ", $" });
            self.text.push_str(&self.args.len().to_string());
        }
        self.text.push(')');
    }
    /// `AND (a LIKE … OR b LIKE …)` for a text people type into a search box; nothing for an empty one.
    pub(crate) fn and_search(&mut self, columns: &[&str], text: Option<&str>) {
        let Some(text) = text.map(str::trim).filter(|t| !t.is_empty()) else { return };
        let mut pattern = String::from("%");
        for c in text.chars().flat_map(char::to_lowercase).take(100) {
            if matches!(c, '%' | '_' | '!') {
                pattern.push('!');
            }
            pattern.push(c);
        }
        pattern.push('%');
        self.args.push(Value::Text(Some(pattern)));
        let n = self.args.len();
        let any: Vec<String> = columns.iter().map(|c| format!("LOWER({c}) LIKE ${n} ESCAPE '!'")).collect();
        self.text.push_str(&format!("\n  AND ({})", any.join(" OR ")));
    }
    fn into_parts(self) -> (String, Vec<Value>) {
        (self.text, self.args)
    }
}

/// [`ToValue`] behind a reference, so that [`Sql::push`] takes values of several types.
pub(crate) trait DynValue {
    fn dyn_value(&self) -> Value;
}
impl<T: ToValue> DynValue for T {
    fn dyn_value(&self) -> Value {
        self.to_value()
    }
}
