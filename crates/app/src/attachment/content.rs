//! What a file is, by its bytes: a closed list of types, everything else is refused. The name only has to agree.
//!
//! Pure. Start at [`of`] and [`named`].

use anlan_documents::{NotOffice, Office, office};
use anlan_domain::register::FileKind;

use crate::error::AppError;

/// Bytes of a text in which signs of markup are looked for.
const HEAD: usize = 4 << 10;
/// Longest name in characters.
const NAME_CHARS: usize = 120;
/// Brands of MP4 files (ISO/IEC 14496-12, 4.3) that cameras and phones write.
const MP4_BRANDS: [&[u8; 4]; 9] = [b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"avc1", b"M4V "];
/// Brands of pictures in the same container (ISO/IEC 23008-12).
const HEIC_BRANDS: [&[u8; 4]; 7] = [b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"];

/// A type that is taken.
#[derive(Debug, PartialEq, Eq)]
pub struct FileType {
    /// Kind.
    pub kind: FileKind,
    /// What it is served as.
    pub media_type: &'static str,
    /// As people call it.
    pub label: &'static str,
    /// Endings that names of it have; the first is given to a name without one.
    extensions: &'static [&'static str],
}

const fn file_type(kind: FileKind, media_type: &'static str, label: &'static str, extensions: &'static [&'static str]) -> FileType {
    FileType { kind, media_type, label, extensions }
}

const JPEG: FileType = file_type(FileKind::Image, "image/jpeg", "JPEG", &["jpg", "jpeg", "jfif"]);
const PNG: FileType = file_type(FileKind::Image, "image/png", "PNG", &["png"]);
const WEBP: FileType = file_type(FileKind::Image, "image/webp", "WebP", &["webp"]);
const PDF: FileType = file_type(FileKind::Pdf, "application/pdf", "PDF", &["pdf"]);
const DOCX: FileType =
    file_type(FileKind::Document, "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "DOCX", &["docx"]);
const XLSX: FileType =
    file_type(FileKind::Document, "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "XLSX", &["xlsx"]);
const MP4: FileType = file_type(FileKind::Video, "video/mp4", "MP4", &["mp4", "m4v"]);
const TEXT: FileType = file_type(FileKind::Text, "text/plain; charset=utf-8", "UTF-8 text", &["txt", "csv", "log", "md"]);

const TYPES: [&FileType; 8] = [&JPEG, &PNG, &WEBP, &PDF, &DOCX, &XLSX, &MP4, &TEXT];

/// The type that a row names.
pub fn by_media_type(media_type: &str) -> Option<&'static FileType> {
    TYPES.into_iter().find(|t| t.media_type == media_type)
}

/// The type of these bytes.
///
/// # Errors
/// Whatever is not on the list, by what it looks like.
pub(crate) fn of(bytes: &[u8]) -> Result<&'static FileType, AppError> {
    let refused = |code| Err(AppError::invalid(code, "file"));
    match bytes {
        [] => refused("attachment.empty"),
        [0xff, 0xd8, 0xff, ..] => Ok(&JPEG),
        [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => Ok(&PNG),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok(&WEBP),
        [b'%', b'P', b'D', b'F', b'-', ..] => Ok(&PDF),
        [b'P', b'K', 3, 4, ..] => match office(bytes) {
            Ok(Office::Docx) => Ok(&DOCX),
            Ok(Office::Xlsx) => Ok(&XLSX),
            Err(NotOffice::Macros) => refused("attachment.macros"),
            Err(NotOffice::Other) => refused("attachment.type"),
        },
        [_, _, _, _, b'f', b't', b'y', b'p', a, b, c, d, ..] => {
            let is = |brands: &[&[u8; 4]]| brands.iter().any(|brand| **brand == [*a, *b, *c, *d]);
            if is(&MP4_BRANDS) { Ok(&MP4) } else { refused(if is(&HEIC_BRANDS) { "attachment.heic" } else { "attachment.type" }) }
        }
        [b'M', b'Z', ..]
        | [0x7f, b'E', b'L', b'F', ..]
        | [b'#', b'!', ..]
        | [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..]
        | [0xca, 0xfe, 0xba, 0xbe, ..] => refused("attachment.program"),
        _ => {
            let Ok(text) = std::str::from_utf8(bytes) else { return refused("attachment.type") };
            if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
                refused("attachment.type")
            } else if is_markup(text) {
                refused("attachment.markup")
            } else {
                Ok(&TEXT)
            }
        }
    }
}

/// Whether a browser that guesses could take it for a page or a drawing.
fn is_markup(text: &str) -> bool {
    let head: String = text.trim_start_matches('\u{feff}').trim_start().chars().take(HEAD).collect::<String>().to_ascii_lowercase();
    head.starts_with('<') || ["<html", "<script", "<svg", "<!doctype", "<?xml", "<iframe", "<body"].iter().any(|tag| head.contains(tag))
}

/// The name under which a file is kept: what somebody typed, without folders and signs that deceive, with an ending of its type.
///
/// # Errors
/// An ending of another type: one of the two is not what it says.
pub(crate) fn named(name: &str, of: &FileType) -> Result<String, AppError> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    // Signs that turn the direction of writing make fdp.exe of exe.pdf.
    let is_shown = |c: &char| {
        !c.is_control()
            && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
            && !"\"<>|:*?".contains(*c)
    };
    let shown: String = last.chars().filter(is_shown).collect();
    let shown = shown.trim().trim_matches('.').trim();
    let (stem, extension) = match shown.rsplit_once('.') {
        // A date or a version is no ending.
        Some((stem, end))
            if (1..=8).contains(&end.len())
                && end.chars().all(|c| c.is_ascii_alphanumeric())
                && end.contains(|c: char| c.is_ascii_alphabetic()) =>
        {
            (stem, Some(end.to_ascii_lowercase()))
        }
        _ => (shown, None),
    };
    if let Some(extension) = &extension
        && !of.extensions.contains(&extension.as_str())
    {
        return Err(AppError::invalid("attachment.name", "name").with("extension", extension).with("found", of.label));
    }
    let extension = extension.as_deref().unwrap_or(of.extensions[0]);
    let stem: String = stem.chars().take(NAME_CHARS - extension.len() - 1).collect();
    Ok(format!("{}.{extension}", if stem.trim().is_empty() { "file" } else { stem.trim() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(bytes: &[u8]) -> &'static str {
        of(bytes).map_or_else(|e| e.code(), |t| t.label)
    }

    #[test]
    fn a_file_is_what_its_bytes_say() {
        let check = |bytes: &[u8], want| assert_eq!(code(bytes), want, "{:x?}", &bytes[..bytes.len().min(20)]);
        check(b"", "attachment.empty");
        check(&[0xff, 0xd8, 0xff, 0xe0], "JPEG");
        check(b"\x89PNG\r\n\x1a\n", "PNG");
        check(b"RIFF\x01\x02\x03\x04WEBPVP8 ", "WebP");
        check(b"RIFF\x01\x02\x03\x04WAVEfmt ", "attachment.type");
        check(b"%PDF-1.7\n", "PDF");
        check(b"\0\0\0\x18ftypmp42", "MP4");
        check(b"\0\0\0\x18ftypqt  ", "attachment.type");
        check(b"\0\0\0\x18ftypheic", "attachment.heic");
        check(b"PK\x03\x04 and nothing more", "attachment.type");
        check("巡查记录：正常\r\n".as_bytes(), "UTF-8 text");
        check(b"GIF89a\x01\x00", "attachment.type");
        check(b"<html><script>alert(1)</script>", "attachment.markup");
        check(b"  \n<svg xmlns='http://www.w3.org/2000/svg' onload='x'/>", "attachment.markup");
        check("\u{feff}<!DOCTYPE html>".as_bytes(), "attachment.markup");
        check(b"plain at first <ScRiPt>alert(1)</script>", "attachment.markup");
        check(b"<?xml version='1.0'?>", "attachment.markup");
        check(b"MZ\x90\0", "attachment.program");
        check(b"\x7fELF\x02", "attachment.program");
        check(b"#!/bin/sh\nrm -rf /", "attachment.program");
        check(&[0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1], "attachment.type");
        check(&[0xc3, 0x28], "attachment.type");
        for t in TYPES {
            assert_eq!(by_media_type(t.media_type), Some(t));
        }
    }

    #[test]
    fn a_name_says_nothing_else_than_the_bytes() {
        let check = |name: &str, of: &FileType, want: &str| assert_eq!(named(name, of).unwrap(), want, "{name:?}");
        check("IMG_2031.JPG", &JPEG, "IMG_2031.jpg");
        check("罐区 1号.jpeg", &JPEG, "罐区 1号.jpeg");
        check("image", &PNG, "image.png");
        check("2026.11.29", &PDF, "2026.11.29.pdf");
        check("../../etc/passwd", &TEXT, "passwd.txt");
        check("C:\\照片\\a.png", &PNG, "a.png");
        check("a\u{202e}gpj.png", &PNG, "agpj.png");
        check("a\r\nSet-Cookie: x.png", &PNG, "aSet-Cookie x.png");
        check("", &MP4, "file.mp4");
        check(".png", &PNG, "png.png");
        assert_eq!(named(&"长".repeat(500), &PDF).unwrap().chars().count(), NAME_CHARS);
        for (name, of) in [("photo.exe", &JPEG), ("report.pdf", &JPEG), ("a.html", &TEXT), ("a.jpg", &PNG), ("a.xlsm", &XLSX)] {
            assert_eq!(named(name, of).unwrap_err().code(), "attachment.name", "{name}");
        }
    }
}
