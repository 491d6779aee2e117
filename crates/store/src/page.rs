//! Pages of lists: keyset paging, by the last key seen.

use crate::StoreError;
use crate::db::Row;

/// Which page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paging {
    /// `next` of the page before; `None` = from the start.
    pub cursor: Option<String>,
    /// Most rows; 0 = the list's default. Never more than [`Paging::MAX`].
    pub limit: u32,
}

/// Rows and where to go on.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// In the order of the list.
    pub items: Vec<T>,
    /// Cursor of the next page; `None` = this was the last.
    pub next: Option<String>,
}

impl Paging {
    /// Most rows of one page.
    pub const MAX: u32 = 5_000;
    /// Rows of a page when the asker does not say.
    pub const DEFAULT: u32 = 200;

    /// Every row that fits on one page.
    pub fn all() -> Self {
        Self { cursor: None, limit: Self::MAX }
    }

    /// Rows wanted, and one more to learn whether there is a next page.
    pub(crate) fn fetch(&self) -> i64 {
        i64::from(self.size()) + 1
    }
    fn size(&self) -> u32 {
        if self.limit == 0 { Self::DEFAULT } else { self.limit.min(Self::MAX) }
    }
    /// The cursor as the id after which to go on.
    pub(crate) fn after_id(&self) -> Result<Option<i64>, StoreError> {
        self.cursor.as_deref().map(|c| c.parse().map_err(|_| StoreError::Cursor)).transpose()
    }
    /// Makes the page from what [`Paging::fetch`] brought.
    pub(crate) fn page<T>(
        &self,
        mut rows: Vec<Row>,
        cursor: impl Fn(&Row) -> Result<String, StoreError>,
        read: impl Fn(&Row) -> Result<T, StoreError>,
    ) -> Result<Page<T>, StoreError> {
        let size = self.size() as usize;
        let more = rows.len() > size;
        rows.truncate(size);
        let next = if more { rows.last().map(cursor).transpose()? } else { None };
        Ok(Page { items: rows.iter().map(read).collect::<Result<_, _>>()?, next })
    }
    /// [`Paging::page`] of a list in order of `id`.
    pub(crate) fn page_by_id<T>(&self, rows: Vec<Row>, read: impl Fn(&Row) -> Result<T, StoreError>) -> Result<Page<T>, StoreError> {
        self.page(rows, |row| Ok(row.get::<i64>("id")?.to_string()), read)
    }
}
