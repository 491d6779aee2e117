//! Tables for spreadsheets: RFC 4180 in UTF-8 with a byte-order mark, and no cell that a spreadsheet takes for a formula.
//!
//! Knows no noun. Start at [`Csv`].

use axum::http::header;
use axum::response::{IntoResponse as _, Response};

/// The table as a file to keep; `name` is digits, letters, dots and dashes alone.
pub(crate) fn file(csv: Csv, name: &str) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    ([(header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()), (header::CONTENT_DISPOSITION, disposition)], csv.finish())
        .into_response()
}

/// A table being written.
pub(crate) struct Csv(String);

impl Csv {
    /// With its first line.
    pub(crate) fn new(header: &[&str]) -> Self {
        // Without the mark a Chinese spreadsheet reads the text as GBK.
        let mut csv = Self("\u{feff}".to_owned());
        csv.row(header);
        csv
    }

    /// One more line.
    pub(crate) fn row<T: AsRef<str>>(&mut self, cells: &[T]) {
        for (i, cell) in cells.iter().enumerate() {
            if i > 0 {
                self.0.push(',');
            }
            self.cell(cell.as_ref());
        }
        self.0.push_str("\r\n");
    }

    fn cell(&mut self, text: &str) {
        // A text that begins like a formula would run when somebody opens the file; a number that begins so is one.
        let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) && text.parse::<f64>().is_err();
        if !formula && !text.contains(['"', ',', '\r', '\n']) {
            return self.0.push_str(text);
        }
        self.0.push('"');
        if formula {
            self.0.push('\'');
        }
        self.0.push_str(&text.replace('"', "\"\""));
        self.0.push('"');
    }

    /// The whole table.
    pub(crate) fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_no_formula_runs() {
        let mut csv = Csv::new(&["a", "b"]);
        csv.row(&["plain", "-12.5"]);
        csv.row(&["=1+1", "a,\"b\"\nc"]);
        csv.row(&["@x", "-x"]);
        assert_eq!(csv.finish(), "\u{feff}a,b\r\nplain,-12.5\r\n\"'=1+1\",\"a,\"\"b\"\"\nc\"\r\n\"'@x\",\"'-x\"\r\n");
    }
}
