//! The two tables and their Parquet form: columns, encodings, one writer and one reader for both.
//!
//! Rows are sorted by (subject, event_at, revision). Integers and instants are delta-encoded, few-valued columns use dictionaries,
//! pages are zstd 3; row groups and pages carry minimum and maximum, so that one point's hours are found without reading the rest.
//! Knows files and rows only: days, regions and what is visible are `archive.rs`. Start at [`Table`], [`PartWriter`] and [`Part`].

use std::fs::File;
use std::io::{BufWriter, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anlan_model::{Flags, PointId, Position, Quality, Reading, Timestamp, VehicleId};
use parquet::basic::{Compression, Encoding, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::column::reader::ColumnReader;
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::SortingColumn;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};
use parquet::file::statistics::Statistics;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, Type};

use crate::error::{ArchiveError, At, Result};
use crate::target::Source;

/// Rows of a row group: some fifteen points' days at 10 s. The writer holds one in memory, about 10 MB.
const ROW_GROUP: usize = 131_072;
/// Rows of a page: what a query of one point reads beyond its own rows, per column, is at most two of these.
const PAGE_ROWS: usize = 8_192;
/// Rows decoded at once while a whole part is read.
const SCAN_ROWS: usize = 8_192;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// INT64, delta-encoded.
    Long,
    /// INT64 TIMESTAMP(µs, UTC), delta-encoded.
    Time,
    /// The same, may be null.
    MaybeTime,
    /// INT32, dictionary.
    Small,
    /// INT32, delta-encoded.
    Int,
    /// DOUBLE, dictionary while it pays.
    Double,
    /// UTF-8 that describes the subject, dictionary; not part of the row itself.
    Label,
    /// Raw bytes.
    Bytes,
}

/// Values of one column of some rows.
#[derive(Debug)]
pub enum Cells {
    /// [`Kind::Long`] and [`Kind::Time`].
    Long(Vec<i64>),
    /// [`Kind::MaybeTime`].
    Maybe(Vec<Option<i64>>),
    /// [`Kind::Small`] and [`Kind::Int`].
    Int(Vec<i32>),
    /// [`Kind::Double`].
    Double(Vec<f64>),
    /// [`Kind::Label`] and [`Kind::Bytes`].
    Bytes(Vec<ByteArray>),
}

impl Cells {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Long | Kind::Time => Self::Long(Vec::new()),
            Kind::MaybeTime => Self::Maybe(Vec::new()),
            Kind::Small | Kind::Int => Self::Int(Vec::new()),
            Kind::Double => Self::Double(Vec::new()),
            Kind::Label | Kind::Bytes => Self::Bytes(Vec::new()),
        }
    }
    fn len(&self) -> usize {
        match self {
            Self::Long(v) => v.len(),
            Self::Maybe(v) => v.len(),
            Self::Int(v) => v.len(),
            Self::Double(v) => v.len(),
            Self::Bytes(v) => v.len(),
        }
    }
    fn clear(&mut self) {
        match self {
            Self::Long(v) => v.clear(),
            Self::Maybe(v) => v.clear(),
            Self::Int(v) => v.clear(),
            Self::Double(v) => v.clear(),
            Self::Bytes(v) => v.clear(),
        }
    }
    // A table pushes and takes what its own COLUMNS declare; another kind would be a mistake in this file, and does nothing.
    fn push_long(&mut self, value: i64) {
        if let Self::Long(v) = self {
            v.push(value);
        }
    }
    fn push_maybe(&mut self, value: Option<i64>) {
        if let Self::Maybe(v) = self {
            v.push(value);
        }
    }
    fn push_int(&mut self, value: i32) {
        if let Self::Int(v) = self {
            v.push(value);
        }
    }
    fn push_double(&mut self, value: f64) {
        if let Self::Double(v) = self {
            v.push(value);
        }
    }
    fn push_bytes(&mut self, value: &[u8]) {
        if let Self::Bytes(v) = self {
            v.push(ByteArray::from(value.to_vec()));
        }
    }
    fn long(&self, i: usize) -> i64 {
        if let Self::Long(v) = self { v.get(i).copied().unwrap_or_default() } else { 0 }
    }
    fn maybe(&self, i: usize) -> Option<i64> {
        if let Self::Maybe(v) = self { v.get(i).copied().flatten() } else { None }
    }
    fn int(&self, i: usize) -> i32 {
        if let Self::Int(v) = self { v.get(i).copied().unwrap_or_default() } else { 0 }
    }
    fn double(&self, i: usize) -> f64 {
        if let Self::Double(v) = self { v.get(i).copied().unwrap_or_default() } else { 0.0 }
    }
    fn bytes(&self, i: usize) -> &[u8] {
        if let Self::Bytes(v) = self { v.get(i).map(ByteArray::data).unwrap_or_default() } else { &[] }
    }
}

/// What rows are sorted by and identified with: subject, `event_at` in µs, revision.
pub type Key = (i64, i64, u16);

/// The texts that describe a subject, in the order of the table's label columns.
pub type Labels = Arc<[String]>;

/// Row count, sum and order-independent hash of rows; the same figures can be had with SQL (docs/reference/archive.md).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Digest {
    /// Rows.
    pub rows: u64,
    /// Sum of the values, in file order.
    pub sum: f64,
    /// Sum of the rows' hashes.
    pub hash: u128,
}

impl Digest {
    pub(crate) fn add<T: Table>(&mut self, row: &T) {
        let (subject, at, revision) = row.key();
        let (value, millionths, state) = row.figures();
        self.rows += 1;
        self.sum += value;
        // Two primes near 2^31: the product of the two remainders stays below 2^62, in reach of any SQL engine's integers.
        let left = (i128::from(subject) * 1_000_003 + i128::from(at)).rem_euclid(2_147_483_647);
        let right = (millionths + i128::from(revision) * 31 + i128::from(state) * 1_009).rem_euclid(2_147_483_629);
        self.hash = self.hash.wrapping_add((left * right).unsigned_abs());
    }
    pub(crate) fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.sum += other.sum;
        self.hash = self.hash.wrapping_add(other.hash);
    }
}

/// A kind of row.
pub trait Table: Clone + Send + Sync + 'static {
    /// Folder of the table.
    const NAME: &'static str;
    /// Whether another value of the same instant is a revision of it (a reading), or stands a microsecond later (a position).
    const REVISED: bool;
    /// Columns in file order; the first is the subject, the first of kind `Time` is `event_at`.
    const COLUMNS: &'static [(&'static str, Kind)];
    /// Sort key and identity.
    fn key(&self) -> Key;
    /// The row as it is kept beside another value of the same instant: a reading as its next revision, a position one microsecond later.
    fn beside(&self, taken: &Self) -> Self;
    /// Same value in the sense of identity: a repeat if it comes again.
    fn same_value(&self, other: &Self) -> bool;
    /// When it came in, µs.
    fn received_us(&self) -> i64;
    /// What [`Digest`] takes: the value, the value in millionths, its state.
    fn figures(&self) -> (f64, i128, i64);
    /// Pushes the row into its columns, labels left out.
    fn put(&self, columns: &mut [Cells]);
    /// The row `i` of columns.
    fn take(columns: &[Cells], i: usize) -> Self;
}

impl Table for Reading {
    const NAME: &'static str = "readings";
    const REVISED: bool = true;
    const COLUMNS: &'static [(&'static str, Kind)] = &[
        ("point", Kind::Long),
        ("code", Kind::Label),
        ("enterprise", Kind::Label),
        ("device", Kind::Label),
        ("unit", Kind::Label),
        ("kind", Kind::Label),
        ("event_at", Kind::Time),
        ("received_at", Kind::Time),
        // Null = the same as event_at, or, with the flag time_server, none.
        ("device_at", Kind::MaybeTime),
        ("value", Kind::Double),
        ("quality", Kind::Small),
        ("flags", Kind::Small),
        ("revision", Kind::Small),
    ];
    fn key(&self) -> Key {
        (self.point.get(), self.event_at.micros(), self.revision)
    }
    fn beside(&self, taken: &Self) -> Self {
        Self { revision: taken.revision.saturating_add(1), flags: self.flags.with(Flags::REVISED), ..*self }
    }
    fn same_value(&self, other: &Self) -> bool {
        self.value.to_bits() == other.value.to_bits() && self.quality == other.quality
    }
    fn received_us(&self) -> i64 {
        self.received_at.micros()
    }
    fn figures(&self) -> (f64, i128, i64) {
        (self.value, (self.value * 1e6).round() as i128, i64::from(self.quality.code()) * 65_536 + i64::from(self.flags.bits()))
    }
    fn put(&self, c: &mut [Cells]) {
        c[0].push_long(self.point.get());
        c[6].push_long(self.event_at.micros());
        c[7].push_long(self.received_at.micros());
        c[8].push_maybe(self.device_at.filter(|at| *at != self.event_at).map(Timestamp::micros));
        c[9].push_double(self.value);
        c[10].push_int(i32::from(self.quality.code()));
        c[11].push_int(i32::from(self.flags.bits()));
        c[12].push_int(i32::from(self.revision));
    }
    fn take(c: &[Cells], i: usize) -> Self {
        let event_at = Timestamp::from_micros(c[6].long(i));
        let flags = Flags::from_bits(c[11].int(i) as u16);
        let device_at = match c[8].maybe(i) {
            Some(us) => Some(Timestamp::from_micros(us)),
            None => (!flags.has(Flags::TIME_SERVER)).then_some(event_at),
        };
        Self {
            point: PointId::new(c[0].long(i)),
            event_at,
            device_at,
            received_at: Timestamp::from_micros(c[7].long(i)),
            value: c[9].double(i),
            quality: Quality::from_code(u8::try_from(c[10].int(i)).unwrap_or(u8::MAX)),
            flags,
            revision: c[12].int(i) as u16,
        }
    }
}

impl Table for Position {
    const NAME: &'static str = "positions";
    const REVISED: bool = false;
    const COLUMNS: &'static [(&'static str, Kind)] = &[
        ("vehicle", Kind::Long),
        ("phone", Kind::Label),
        ("plate", Kind::Label),
        ("enterprise", Kind::Label),
        ("kind", Kind::Label),
        ("event_at", Kind::Time),
        ("received_at", Kind::Time),
        ("device_at", Kind::MaybeTime),
        ("lon_e6", Kind::Int),
        ("lat_e6", Kind::Int),
        ("altitude_m", Kind::Int),
        ("speed_dkmh", Kind::Int),
        ("direction_deg", Kind::Int),
        ("alarm_bits", Kind::Long),
        ("status_bits", Kind::Long),
        ("body_crc", Kind::Long),
        ("flags", Kind::Small),
        ("items", Kind::Bytes),
        ("revision", Kind::Small),
    ];
    fn key(&self) -> Key {
        (self.vehicle.get(), self.event_at.micros(), 0)
    }
    fn beside(&self, taken: &Self) -> Self {
        Self { event_at: taken.event_at.plus_us(1), ..self.clone() }
    }
    fn same_value(&self, other: &Self) -> bool {
        self.body_crc == other.body_crc
    }
    fn received_us(&self) -> i64 {
        self.received_at.micros()
    }
    fn figures(&self) -> (f64, i128, i64) {
        (self.speed_kmh(), i128::from(self.lon_e6) * 181 + i128::from(self.lat_e6), i64::from(self.flags.bits()))
    }
    fn put(&self, c: &mut [Cells]) {
        c[0].push_long(self.vehicle.get());
        c[5].push_long(self.event_at.micros());
        c[6].push_long(self.received_at.micros());
        c[7].push_maybe(self.device_at.filter(|at| *at != self.event_at).map(Timestamp::micros));
        c[8].push_int(self.lon_e6);
        c[9].push_int(self.lat_e6);
        c[10].push_int(i32::from(self.altitude_m));
        c[11].push_int(i32::from(self.speed_dkmh));
        c[12].push_int(i32::from(self.direction_deg));
        c[13].push_long(i64::from(self.alarm_bits));
        c[14].push_long(i64::from(self.status_bits));
        c[15].push_long(i64::from(self.body_crc));
        c[16].push_int(i32::from(self.flags.bits()));
        c[17].push_bytes(&self.items);
        c[18].push_int(0);
    }
    fn take(c: &[Cells], i: usize) -> Self {
        let event_at = Timestamp::from_micros(c[5].long(i));
        let flags = Flags::from_bits(c[16].int(i) as u16);
        Self {
            vehicle: VehicleId::new(c[0].long(i)),
            event_at,
            device_at: match c[7].maybe(i) {
                Some(us) => Some(Timestamp::from_micros(us)),
                None => (!flags.has(Flags::TIME_SERVER)).then_some(event_at),
            },
            received_at: Timestamp::from_micros(c[6].long(i)),
            lon_e6: c[8].int(i),
            lat_e6: c[9].int(i),
            altitude_m: c[10].int(i) as u16,
            speed_dkmh: c[11].int(i) as u16,
            direction_deg: c[12].int(i) as u16,
            alarm_bits: c[13].long(i) as u32,
            status_bits: c[14].long(i) as u32,
            body_crc: c[15].long(i) as u32,
            flags,
            items: c[17].bytes(i).to_vec(),
        }
    }
}

fn schema<T: Table>() -> Result<Type, ParquetError> {
    let field = |(name, kind): &(&str, Kind)| {
        let (physical, logical, repetition) = match kind {
            Kind::Long => (Physical::INT64, None, Repetition::REQUIRED),
            Kind::Time | Kind::MaybeTime => {
                let repetition = if *kind == Kind::Time { Repetition::REQUIRED } else { Repetition::OPTIONAL };
                (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS)), repetition)
            }
            Kind::Small | Kind::Int => (Physical::INT32, None, Repetition::REQUIRED),
            Kind::Double => (Physical::DOUBLE, None, Repetition::REQUIRED),
            Kind::Label => (Physical::BYTE_ARRAY, Some(LogicalType::String), Repetition::REQUIRED),
            Kind::Bytes => (Physical::BYTE_ARRAY, None, Repetition::REQUIRED),
        };
        Type::primitive_type_builder(name, physical).with_logical_type(logical).with_repetition(repetition).build().map(Arc::new)
    };
    let fields = T::COLUMNS.iter().map(field).collect::<Result<Vec<_>, _>>()?;
    Type::group_type_builder(T::NAME).with_fields(fields).build()
}

fn time_column<T: Table>() -> usize {
    T::COLUMNS.iter().position(|(_, kind)| *kind == Kind::Time).unwrap_or(0)
}

fn properties<T: Table>() -> Result<WriterProperties, ParquetError> {
    let sorting = [0, time_column::<T>(), T::COLUMNS.len() - 1]
        .into_iter()
        .map(|i| SortingColumn { column_idx: i as i32, descending: false, nulls_first: false })
        .collect();
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_created_by(format!("anlan {}", env!("CARGO_PKG_VERSION")))
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(1_024)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_sorting_columns(Some(sorting));
    for (name, kind) in T::COLUMNS {
        let path = ColumnPath::from(*name);
        if matches!(kind, Kind::Long | Kind::Time | Kind::MaybeTime | Kind::Int) {
            builder = builder
                .set_column_dictionary_enabled(path, false)
                .set_column_encoding(ColumnPath::from(*name), Encoding::DELTA_BINARY_PACKED);
        } else if *kind == Kind::Bytes {
            builder = builder.set_column_statistics_enabled(path, EnabledStatistics::None);
        }
    }
    Ok(builder.build())
}

/// A file and the CRC-32 of what was written to it.
struct Summed {
    file: File,
    crc: crc32fast::Hasher,
}

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.crc.update(&bytes[..n]);
        Ok(n)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// What a part holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Written {
    pub(crate) bytes: u64,
    /// CRC-32 of the file.
    pub(crate) crc: u32,
    pub(crate) digest: Digest,
    pub(crate) first: i64,
    pub(crate) last: i64,
}

/// Writes one part: rows in key order, durable once [`PartWriter::finish`] returned.
pub(crate) struct PartWriter<T> {
    path: PathBuf,
    file: SerializedFileWriter<BufWriter<Summed>>,
    columns: Vec<Cells>,
    /// Labels of the rows in `columns`, as runs.
    runs: Vec<(Labels, usize)>,
    rows: usize,
    written: Written,
    table: PhantomData<T>,
}

impl<T: Table> PartWriter<T> {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).at("create", path)?;
        let made = schema::<T>().and_then(|schema| {
            SerializedFileWriter::new(
                BufWriter::with_capacity(1 << 18, Summed { file, crc: crc32fast::Hasher::new() }),
                Arc::new(schema),
                Arc::new(properties::<T>()?),
            )
        });
        Ok(Self {
            path: path.to_path_buf(),
            file: made.map_err(|source| parquet_error(path.display(), source))?,
            columns: T::COLUMNS.iter().map(|(_, kind)| Cells::new(*kind)).collect(),
            runs: Vec::new(),
            rows: 0,
            written: Written { bytes: 0, crc: 0, digest: Digest::default(), first: i64::MAX, last: i64::MIN },
            table: PhantomData,
        })
    }

    pub(crate) fn push(&mut self, row: &T, labels: &Labels) -> Result<()> {
        row.put(&mut self.columns);
        match self.runs.last_mut() {
            Some((last, n)) if Arc::ptr_eq(last, labels) => *n += 1,
            _ => self.runs.push((labels.clone(), 1)),
        }
        self.rows += 1;
        self.written.digest.add(row);
        let subject = row.key().0;
        (self.written.first, self.written.last) = (self.written.first.min(subject), self.written.last.max(subject));
        if self.rows == ROW_GROUP { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        write_group::<T>(&mut self.file, &self.columns, &self.runs).map_err(|source| parquet_error(self.path.display(), source))?;
        self.columns.iter_mut().for_each(Cells::clear);
        self.runs.clear();
        self.rows = 0;
        Ok(())
    }

    /// Writes the footer and syncs.
    pub(crate) fn finish(mut self) -> Result<Written> {
        self.flush()?;
        let buffered = self.file.into_inner().map_err(|source| parquet_error(self.path.display(), source))?;
        let Summed { file, crc } = buffered.into_inner().map_err(std::io::IntoInnerError::into_error).at("write", &self.path)?;
        self.written.crc = crc.finalize();
        file.sync_all().at("sync", &self.path)?;
        self.written.bytes = file.metadata().at("find", &self.path)?.len();
        Ok(self.written)
    }
}

pub(crate) fn parquet_error(part: impl std::fmt::Display, source: ParquetError) -> ArchiveError {
    ArchiveError::Parquet { part: part.to_string(), source }
}

fn write_group<T: Table>(
    file: &mut SerializedFileWriter<BufWriter<Summed>>,
    columns: &[Cells],
    runs: &[(Labels, usize)],
) -> Result<(), ParquetError> {
    let mut group = file.next_row_group()?;
    let mut label = 0;
    for ((_, kind), cells) in T::COLUMNS.iter().zip(columns) {
        let Some(mut writer) = group.next_column()? else { break };
        match cells {
            Cells::Long(v) => {
                writer.typed::<Int64Type>().write_batch(v, None, None)?;
            }
            Cells::Maybe(v) => {
                let there: Vec<i64> = v.iter().flatten().copied().collect();
                let levels: Vec<i16> = v.iter().map(|v| i16::from(v.is_some())).collect();
                writer.typed::<Int64Type>().write_batch(&there, Some(&levels), None)?;
            }
            Cells::Int(v) => {
                writer.typed::<Int32Type>().write_batch(v, None, None)?;
            }
            Cells::Double(v) => {
                writer.typed::<DoubleType>().write_batch(v, None, None)?;
            }
            Cells::Bytes(v) if *kind == Kind::Bytes => {
                writer.typed::<ByteArrayType>().write_batch(v, None, None)?;
            }
            Cells::Bytes(_) => {
                let mut batch = Vec::with_capacity(SCAN_ROWS);
                for (labels, n) in runs {
                    let text = ByteArray::from(labels.get(label).map_or("", String::as_str));
                    for _ in 0..*n {
                        batch.push(text.clone());
                        if batch.len() == SCAN_ROWS {
                            writer.typed::<ByteArrayType>().write_batch(&batch, None, None)?;
                            batch.clear();
                        }
                    }
                }
                writer.typed::<ByteArrayType>().write_batch(&batch, None, None)?;
                label += 1;
            }
        }
        writer.close()?;
    }
    group.close()?;
    Ok(())
}

/// An open part.
pub(crate) struct Part {
    name: String,
    file: SerializedFileReader<Source>,
}

impl Part {
    /// Reads the footer and the page index.
    pub(crate) fn open(name: String, source: Source) -> Result<Self> {
        let options = ReadOptionsBuilder::new().with_page_index().build();
        let file = SerializedFileReader::new_with_options(source, options).map_err(|source| parquet_error(&name, source))?;
        Ok(Self { name, file })
    }

    fn check<T: Table>(&self) -> Result<()> {
        let fields = self.file.metadata().file_metadata().schema().get_fields();
        let same = fields.len() == T::COLUMNS.len() && fields.iter().zip(T::COLUMNS).all(|(f, (name, _))| f.name() == *name);
        if same {
            Ok(())
        } else {
            Err(ArchiveError::Damaged { key: self.name.clone(), what: format!("its columns are not those of {}", T::NAME) })
        }
    }

    /// Rows of one subject with `from <= event_at < to`, in key order.
    pub(crate) fn rows<T: Table>(&self, subject: i64, from: i64, to: i64) -> Result<Vec<T>> {
        self.check::<T>()?;
        self.find(subject, from, to).map_err(|source| parquet_error(&self.name, source))
    }

    fn find<T: Table>(&self, subject: i64, from: i64, to: i64) -> Result<Vec<T>, ParquetError> {
        let metadata = self.file.metadata();
        let mut out = Vec::new();
        for (n, group) in metadata.row_groups().iter().enumerate() {
            let n_rows = usize::try_from(group.num_rows())?;
            if let Some(Statistics::Int64(s)) = group.column(0).statistics()
                && let (Some(min), Some(max)) = (s.min_opt(), s.max_opt())
                && !(*min..=*max).contains(&subject)
            {
                continue;
            }
            // Pages narrow the search to those that can hold the subject.
            let index = metadata.page_index_for_row_group(n);
            let (mut start, mut end) = (0, n_rows);
            if let (Some(ColumnIndexMetaData::INT64(pages)), Some(offsets)) = (index.column_index(0), index.offset_index(0)) {
                let firsts: Vec<usize> =
                    offsets.page_locations().iter().map(|p| usize::try_from(p.first_row_index)).collect::<Result<_, _>>()?;
                let a = pages.max_values().partition_point(|max| *max < subject);
                let b = pages.min_values().partition_point(|min| *min <= subject);
                start = firsts.get(a).copied().unwrap_or(n_rows);
                end = firsts.get(b).copied().unwrap_or(n_rows);
            }
            if start >= end {
                continue;
            }
            let reader = self.file.get_row_group(n)?;
            let read = |i: usize, skip: usize, len: usize| -> Result<Cells, ParquetError> {
                let mut cells = Cells::new(T::COLUMNS[i].1);
                let mut column = reader.get_column_reader(i)?;
                skip_rows(&mut column, skip)?;
                read_rows(&mut column, len, &mut cells)?;
                Ok(cells)
            };
            let Cells::Long(ids) = read(0, start, end - start)? else { continue };
            let (a, b) = (ids.partition_point(|id| *id < subject), ids.partition_point(|id| *id <= subject));
            let Cells::Long(times) = read(time_column::<T>(), start + a, b - a)? else { continue };
            let (c, d) = (times.partition_point(|at| *at < from), times.partition_point(|at| *at < to));
            if c >= d {
                continue;
            }
            let columns = T::COLUMNS.iter().enumerate().map(|(i, (_, kind))| match kind {
                Kind::Label => Ok(Cells::new(*kind)),
                _ => read(i, start + a + c, d - c),
            });
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            out.extend((0..d - c).map(|i| T::take(&columns, i)));
        }
        Ok(out)
    }

    /// Every row with its labels, in file order, in bounded memory.
    pub(crate) fn scan<T: Table>(self: &Arc<Self>) -> Result<Scan<T>> {
        self.check::<T>()?;
        Ok(Scan {
            part: Arc::clone(self),
            group: 0,
            readers: Vec::new(),
            left: 0,
            columns: Vec::new(),
            at: 0,
            labels: None,
            table: PhantomData,
        })
    }
}

fn skip_rows(column: &mut ColumnReader, mut n: usize) -> Result<(), ParquetError> {
    while n > 0 {
        let skipped = match column {
            ColumnReader::Int64ColumnReader(c) => c.skip_records(n)?,
            ColumnReader::Int32ColumnReader(c) => c.skip_records(n)?,
            ColumnReader::DoubleColumnReader(c) => c.skip_records(n)?,
            ColumnReader::ByteArrayColumnReader(c) => c.skip_records(n)?,
            _ => 0,
        };
        if skipped == 0 {
            return Err(ParquetError::EOF(format!("{n} rows are missing")));
        }
        n -= skipped;
    }
    Ok(())
}

/// Appends exactly `n` rows of a column.
fn read_rows(column: &mut ColumnReader, n: usize, cells: &mut Cells) -> Result<(), ParquetError> {
    let mut done = 0;
    while done < n {
        let left = n - done;
        let got = match (&mut *column, &mut *cells) {
            (ColumnReader::Int64ColumnReader(c), Cells::Long(v)) => c.read_records(left, None, None, v)?.0,
            (ColumnReader::Int64ColumnReader(c), Cells::Maybe(v)) => {
                let (mut levels, mut values) = (Vec::new(), Vec::new());
                let got = c.read_records(left, Some(&mut levels), None, &mut values)?.0;
                let mut values = values.into_iter();
                v.extend(levels.iter().map(|level| if *level > 0 { values.next() } else { None }));
                got
            }
            (ColumnReader::Int32ColumnReader(c), Cells::Int(v)) => c.read_records(left, None, None, v)?.0,
            (ColumnReader::DoubleColumnReader(c), Cells::Double(v)) => c.read_records(left, None, None, v)?.0,
            (ColumnReader::ByteArrayColumnReader(c), Cells::Bytes(v)) => c.read_records(left, None, None, v)?.0,
            _ => return Err(ParquetError::General("a column has another type".to_owned())),
        };
        if got == 0 {
            return Err(ParquetError::EOF(format!("{left} rows are missing")));
        }
        done += got;
    }
    Ok(())
}

/// See [`Part::scan`].
pub(crate) struct Scan<T> {
    part: Arc<Part>,
    group: usize,
    readers: Vec<ColumnReader>,
    /// Rows of the group not yet decoded.
    left: usize,
    columns: Vec<Cells>,
    at: usize,
    labels: Option<Labels>,
    table: PhantomData<T>,
}

impl<T: Table> Scan<T> {
    fn fill(&mut self) -> Result<bool, ParquetError> {
        while self.left == 0 {
            if self.group == self.part.file.metadata().num_row_groups() {
                return Ok(false);
            }
            let group = self.part.file.get_row_group(self.group)?;
            self.readers = (0..T::COLUMNS.len()).map(|i| group.get_column_reader(i)).collect::<Result<_, _>>()?;
            self.left = usize::try_from(group.metadata().num_rows())?;
            self.group += 1;
        }
        let n = self.left.min(SCAN_ROWS);
        self.columns = T::COLUMNS.iter().map(|(_, kind)| Cells::new(*kind)).collect();
        for (reader, cells) in self.readers.iter_mut().zip(&mut self.columns) {
            read_rows(reader, n, cells)?;
        }
        self.left -= n;
        self.at = 0;
        Ok(true)
    }

    fn labels(&mut self) -> Labels {
        let columns = &self.columns;
        let texts = || T::COLUMNS.iter().zip(columns).filter(|((_, kind), _)| *kind == Kind::Label).map(|(_, cells)| cells.bytes(self.at));
        match &self.labels {
            Some(labels) if labels.iter().map(String::as_bytes).eq(texts()) => labels.clone(),
            _ => {
                let labels: Labels = texts().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect();
                self.labels = Some(labels.clone());
                labels
            }
        }
    }
}

impl<T: Table> Iterator for Scan<T> {
    type Item = Result<(T, Labels)>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.columns.first().map_or(0, Cells::len) {
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(source) => {
                    // Nothing behind damage can be trusted to be in order.
                    (self.left, self.group) = (0, self.part.file.metadata().num_row_groups());
                    self.columns.clear();
                    return Some(Err(parquet_error(&self.part.name, source)));
                }
            }
        }
        let labels = self.labels();
        let row = T::take(&self.columns, self.at);
        self.at += 1;
        Some(Ok((row, labels)))
    }
}
