//! The text of a cell, the same for reading and writing: lines end in LF, and there is no character that XML or a database refuses.

use std::borrow::Cow;

/// Text without what XML 1.0 does not allow, CR LF and CR as LF.
///
/// NUL among them, which PostgreSQL refuses in TEXT. Tab and LF stay.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if text.chars().all(|c| is_allowed(c) && c != '\r') {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\r' {
            chars.next_if_eq(&'\n');
            clean.push('\n');
        } else if is_allowed(c) {
            clean.push(c);
        }
    }
    Cow::Owned(clean)
}

fn is_allowed(c: char) -> bool {
    !matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}')
}

/// Replaces `_xHHHH_` by the character it stands for (ECMA-376 part 1, 22.9.2.19 ST_Xstring); half a pair of surrogates is dropped.
pub(crate) fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains("_x") {
        return Cow::Borrowed(text);
    }
    let (mut plain, mut rest) = (String::with_capacity(text.len()), text);
    let mut high = None;
    while let Some(at) = rest.find("_x") {
        let (before, tail) = rest.split_at(at);
        if !before.is_empty() {
            high = None;
        }
        plain.push_str(before);
        let Some(unit) = escaped_unit(tail) else {
            high = None;
            plain.push_str("_x");
            rest = &tail[2..];
            continue;
        };
        rest = &tail[7..];
        match (high.take(), unit) {
            (Some(first), 0xdc00..=0xdfff) => {
                plain.extend(char::decode_utf16([first, unit]).filter_map(Result::ok));
            }
            (_, 0xd800..=0xdbff) => high = Some(unit),
            _ => plain.extend(char::from_u32(u32::from(unit))),
        }
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

/// The code unit if `tail` begins with `_xHHHH_`.
fn escaped_unit(tail: &str) -> Option<u16> {
    let digits = tail.strip_prefix("_x")?.get(..4)?;
    let is_closed = tail.as_bytes().get(6) == Some(&b'_');
    (is_closed && digits.bytes().all(|b| b.is_ascii_hexdigit())).then(|| u16::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_stand_for_characters() {
        for (text, plain) in [
            ("a_x000D_b", "a\rb"),
            ("_x005F_x000D_", "_x000D_"),
            ("_x0041_x0042_", "Ax0042_"),
            ("_xD83D__xDE00_", "😀"),
            ("_xD83D_x_xDE00_", "x"),
            ("_x00", "_x00"),
            ("_xabcg_", "_xabcg_"),
            ("_x_x0041_", "_xA"),
            ("_x汉字汉_", "_x汉字汉_"),
        ] {
            assert_eq!(unescape(text), plain, "{text}");
        }
    }

    #[test]
    fn what_xml_refuses_is_dropped_and_lines_end_in_lf() {
        assert_eq!(clean("a\0b\x1b\r\nc\rd\te\u{ffff}"), "ab\nc\nd\te");
        assert!(matches!(clean("整改\n完成"), Cow::Borrowed(_)));
    }
}
