//! What kind of Office document bytes are, for files that are kept and not read: told by the parts of the container, believed in nothing.

use std::io::{Cursor, Read as _};

use zip::ZipArchive;

/// Parts of a document; more are no document.
const PARTS_MAX: usize = 10_000;
/// Bytes of the list of content types that are looked at.
const TYPES_MAX: u64 = 1 << 20;

/// A kind of document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Office {
    /// A workbook.
    Xlsx,
    /// A text document.
    Docx,
}

/// Why bytes are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOffice {
    /// Another sort of container, or a damaged one.
    Other,
    /// It carries macros.
    Macros,
}

/// The kind of document, by its main part and by what the container says of it.
///
/// # Errors
/// [`NotOffice`].
pub fn office(bytes: &[u8]) -> Result<Office, NotOffice> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|_| NotOffice::Other)?;
    if archive.len() > PARTS_MAX {
        return Err(NotOffice::Other);
    }
    let names: Vec<String> = archive.file_names().filter_map(Result::ok).map(|name| name.replace('\\', "/").to_lowercase()).collect();
    if names.iter().any(|name| name.ends_with("vbaproject.bin") || name.contains("/macrosheets/")) {
        return Err(NotOffice::Macros);
    }
    let at = names.iter().position(|name| name == "[content_types].xml").ok_or(NotOffice::Other)?;
    let mut types = String::new();
    let part = archive.by_index(at).map_err(|_| NotOffice::Other)?;
    part.take(TYPES_MAX).read_to_string(&mut types).map_err(|_| NotOffice::Other)?;
    let types = types.to_lowercase();
    if types.contains("macroenabled") || types.contains("vbaproject") {
        return Err(NotOffice::Macros);
    }
    let is = |part: &str, main: &str| names.iter().any(|name| name == part) && types.contains(main);
    if is("xl/workbook.xml", "spreadsheetml.sheet.main+xml") {
        Ok(Office::Xlsx)
    } else if is("word/document.xml", "wordprocessingml.document.main+xml") {
        Ok(Office::Docx)
    } else {
        Err(NotOffice::Other)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use zip::write::SimpleFileOptions;

    use super::*;

    fn container(parts: &[(&str, &str)]) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, text) in parts {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    #[test]
    fn a_document_is_known_by_its_parts_and_not_by_its_container() {
        const WORD: &str =
            "<Types><Override ContentType=\"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml\"/></Types>";
        let check = |parts: &[(&str, &str)], want| assert_eq!(office(&container(parts)), want, "{parts:?}");
        check(&[("[Content_Types].xml", WORD), ("word/document.xml", "<x/>")], Ok(Office::Docx));
        check(&[("[Content_Types].xml", WORD)], Err(NotOffice::Other));
        check(&[("word/document.xml", "<x/>")], Err(NotOffice::Other));
        check(&[("[Content_Types].xml", "<Types/>"), ("word/document.xml", "<x/>")], Err(NotOffice::Other));
        check(&[("[Content_Types].xml", WORD), ("word/document.xml", "<x/>"), ("word/vbaProject.bin", "x")], Err(NotOffice::Macros));
        let macros = WORD.replace("document.main", "document.macroEnabled.main");
        check(&[("[Content_Types].xml", &macros), ("word/document.xml", "<x/>")], Err(NotOffice::Macros));
        check(&[("evil.exe", "MZ")], Err(NotOffice::Other));
        assert_eq!(office(b"PK\x03\x04"), Err(NotOffice::Other));
        let tab = crate::Tab { name: "x".to_owned(), columns: vec![], rows: vec![] };
        if let Ok(sheet) = crate::write_sheet(&crate::NewSheet { tabs: vec![tab] }) {
            assert_eq!(office(&sheet), Ok(Office::Xlsx));
        }
    }
}
