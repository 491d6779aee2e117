//! The layout: values into the template, pages out of typst, PDF/A-2a.

use std::path::PathBuf;
use std::sync::OnceLock;

use anlan_documents::{Document, Imprint, Typeset, TypesetError};
use qrcode::{Color, EcLevel, QrCode};
use serde_json::{Value, json};
use typst::diag::{FileError, FileResult, SourceDiagnostic};
use typst::foundations::{Bytes, Datetime, Dict, Duration, IntoValue as _, Smart};
use typst::syntax::{FileId, Source};
use typst::text::{Font, FontBook};
use typst::utils::LazyHash;
use typst::{Library, LibraryExt as _, World};
use typst_layout::PagedDocument;
use typst_pdf::{PdfOptions, PdfStandard, PdfStandards};

use crate::fonts::Fonts;

const TEMPLATE: &str = include_str!("official.typ");
/// What is kept of former documents for the next one, in documents.
const KEPT: usize = 4;

/// Typst with the fonts of this machine.
pub struct Typesetter {
    dirs: Vec<PathBuf>,
    fonts: OnceLock<Fonts>,
}

impl Typesetter {
    /// Reads nothing yet.
    pub fn new(dirs: Vec<PathBuf>) -> Self {
        Self { dirs, fonts: OnceLock::new() }
    }

    /// A machine without fonts may get them while we run: only success is kept.
    fn fonts(&self) -> Result<&Fonts, TypesetError> {
        match self.fonts.get() {
            Some(fonts) => Ok(fonts),
            None => {
                let read = Fonts::load(&self.dirs)?;
                Ok(self.fonts.get_or_init(|| read))
            }
        }
    }
}

impl Typeset for Typesetter {
    fn uncovered(&self, document: &Document, imprint: &Imprint<'_>) -> Result<Vec<char>, TypesetError> {
        let fonts = self.fonts()?;
        let mut texts = document.texts();
        texts.extend(imprint.number);
        texts.extend(imprint.watermark);
        texts.extend(imprint.check.iter().map(String::as_str));
        let mut absent: Vec<char> = Vec::new();
        for c in texts.iter().flat_map(|text| text.chars()) {
            if !c.is_whitespace() && !absent.contains(&c) && !fonts.covers(c) {
                absent.push(c);
            }
        }
        Ok(absent)
    }

    fn pdf(&self, document: &Document, imprint: &Imprint<'_>) -> Result<Vec<u8>, TypesetError> {
        let absent = self.uncovered(document, imprint)?;
        if !absent.is_empty() {
            return Err(TypesetError::Uncovered(absent));
        }
        let mut inputs = Dict::new();
        inputs.insert("data".into(), data(document, imprint, self.fonts()?)?.to_string().into_value());
        let world = Desk {
            library: LazyHash::new(Library::builder().with_inputs(inputs).build()),
            fonts: self.fonts()?,
            template: Source::detached(TEMPLATE),
        };
        let pages = typst::compile::<PagedDocument>(&world).output.map_err(|errors| failed(&errors))?;
        let options = PdfOptions {
            ident: Smart::Auto,
            creator: Smart::Custom(Some("Anlan 安澜".to_owned())),
            standards: PdfStandards::new(&[PdfStandard::A_2a]).map_err(|e| TypesetError::Failed(e.message().to_string()))?,
            ..PdfOptions::default()
        };
        let file = typst_pdf::pdf(&pages, &options).map_err(|errors| failed(&errors));
        typst::comemo::evict(KEPT);
        file
    }
}

fn failed(errors: &[SourceDiagnostic]) -> TypesetError {
    TypesetError::Failed(errors.iter().map(|e| e.message.to_string()).collect::<Vec<_>>().join("; "))
}

/// What the template reads.
fn data(document: &Document, imprint: &Imprint<'_>, fonts: &Fonts) -> Result<Value, TypesetError> {
    let qr = match imprint.code {
        None => None,
        Some(code) => Some(drawn(code)?),
    };
    Ok(json!({
        "issuer": document.issuer,
        "title": document.title,
        "addressee": document.addressee,
        "number": imprint.number,
        "date": { "year": imprint.date.year(), "month": imprint.date.month(), "day": imprint.date.day() },
        "blocks": document.blocks,
        "notes": document.notes,
        "check": imprint.check,
        "qr": qr,
        "code": imprint.code,
        "watermark": imprint.watermark,
        "faces": { "body": fonts.body, "display": fonts.display, "heading": fonts.heading, "second": fonts.second },
    }))
}

/// A code as a picture with its quiet zone of 4 modules.
fn drawn(text: &str) -> Result<String, TypesetError> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M).map_err(|e| TypesetError::Failed(e.to_string()))?;
    let (width, colors) = (code.width(), code.to_colors());
    let dark = colors.iter().enumerate().filter(|(_, color)| **color == Color::Dark);
    let path: String = dark.map(|(i, _)| format!("M{} {}h1v1h-1z", i % width + 4, i / width + 4)).collect();
    let side = width + 8;
    Ok(format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}" shape-rendering="crispEdges"><path d="{path}"/></svg>"#
    ))
}

/// All that typst may see: the template, the fonts. No file, no clock.
struct Desk<'a> {
    library: LazyHash<Library>,
    fonts: &'a Fonts,
    template: Source,
}

impl World for Desk<'_> {
    fn library(&self) -> &LazyHash<Library> {
        &self.library
    }

    fn book(&self) -> &LazyHash<FontBook> {
        &self.fonts.book
    }

    fn main(&self) -> FileId {
        self.template.id()
    }

    fn source(&self, id: FileId) -> FileResult<Source> {
        if id == self.template.id() { Ok(self.template.clone()) } else { Err(FileError::AccessDenied) }
    }

    fn file(&self, _: FileId) -> FileResult<Bytes> {
        Err(FileError::AccessDenied)
    }

    fn font(&self, index: usize) -> Option<Font> {
        self.fonts.fonts.get(index).cloned()
    }

    fn today(&self, _: Option<Duration>) -> Option<Datetime> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anlan_documents::{Block, TableColumn, TableKind};
    use jiff::civil::date;

    fn document() -> Document {
        let column = |name: &str, kind| TableColumn { name: name.to_owned(), kind, share: 3 };
        Document {
            issuer: "演示市安全生产委员会办公室".to_owned(),
            title: "关于一季度事故情况的通报".to_owned(),
            addressee: Some("各县区安委会".to_owned()),
            blocks: vec![
                Block::Heading { level: 1, text: "一、总体情况".to_owned() },
                Block::Paragraph {
                    text: "一季度共发生事故 3 起。*这里* 没有 #标记 _也没有_ $公式$ \\ <a@b.c>。".to_owned()
                },
                Block::Heading { level: 2, text: "（一）分县区".to_owned() },
                Block::Table {
                    caption: "分县区".to_owned(),
                    columns: vec![column("县区", TableKind::Text), column("起数", TableKind::Number), column("日期", TableKind::Date)],
                    rows: vec![vec!["红塔区".to_owned(), "−2".to_owned(), "2026-03-31".to_owned()]; 60],
                },
                Block::Fields { rows: vec![("单位".to_owned(), "演示公司".to_owned())] },
                Block::PageBreak,
                Block::Paragraph { text: "特此通报。".to_owned() },
            ],
            notes: vec!["演示数据".to_owned()],
        }
    }

    fn imprint(check: &[String]) -> Imprint<'_> {
        Imprint {
            number: Some("演示安〔2026〕1号"), date: date(2026, 3, 31), check, code: Some("AL1.test.code"), watermark: Some("演示")
        }
    }

    #[test]
    fn the_same_document_is_the_same_file_and_words_are_no_markup() {
        let typesetter = Typesetter::new(Vec::new());
        let check = ["内容摘要：00".to_owned()];
        let file = typesetter.pdf(&document(), &imprint(&check)).unwrap();
        assert!(file.starts_with(b"%PDF-1."));
        assert!(file.windows(14).any(|w| w == b"pdfaid:part>2<"), "PDF/A-2");
        assert!(file.windows(21).any(|w| w == b"pdfaid:conformance>A<"), "level A");
        // Fresh fonts and caches, the same bytes.
        assert_eq!(Typesetter::new(Vec::new()).pdf(&document(), &imprint(&check)).unwrap(), file);
    }

    #[test]
    fn what_no_font_shows_is_refused_by_its_characters() {
        let mut document = document();
        // Of a private area: no font has it.
        document.blocks.push(Block::Paragraph { text: "张\u{e123}三\u{e124}".to_owned() });
        let typesetter = Typesetter::new(Vec::new());
        match typesetter.pdf(&document, &imprint(&[])) {
            Err(TypesetError::Uncovered(absent)) => assert_eq!(absent, ['\u{e123}', '\u{e124}']),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_folder_without_fonts_says_which_face_is_missing() {
        let nowhere = tempfile::tempdir().unwrap();
        match Fonts::of(&[nowhere.path().to_owned()]) {
            Err(TypesetError::Fonts { face, known }) => {
                assert!(face.contains("仿宋") && known.contains("Noto Serif CJK SC"), "{face} {known}")
            }
            _ => panic!("fonts out of nothing"),
        }
    }
}
