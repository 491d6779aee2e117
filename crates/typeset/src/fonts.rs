//! The faces that the layout asks for, and which font of those at hand serves for each.

use std::fs;
use std::path::{Path, PathBuf};

use anlan_documents::TypesetError;
use tracing::warn;
use typst::foundations::Bytes;
use typst::text::{Font, FontBook, FontStyle, FontVariant, FontWeight};
use typst::utils::LazyHash;

/// Where Debian and most others keep fonts.
const SYSTEM: &[&str] = &["/usr/share/fonts", "/usr/local/share/fonts"];
/// A file of fonts that is larger is none.
const FILE_MAX: u64 = 64 << 20;
/// Files looked at, and folders deep.
const FILES_MAX: usize = 4_000;
const DEPTH_MAX: usize = 6;

/// A face of GB/T 9704—2012 and the families that serve for it, best first: an office's own licensed ones before the free ones.
struct Face {
    name: &'static str,
    families: &'static [&'static str],
    weight: FontWeight,
}

const BODY: Face = Face {
    name: "正文（仿宋）",
    families: &["FangSong_GB2312", "仿宋_GB2312", "FangSong", "仿宋", "FZFangSong-Z02", "Noto Serif CJK SC", "Source Han Serif SC"],
    weight: FontWeight::REGULAR,
};
const DISPLAY: Face = Face {
    name: "标题（小标宋）",
    families: &["FZXiaoBiaoSong-B05S", "FZXiaoBiaoSong-B05", "方正小标宋简体", "Noto Serif CJK SC", "Source Han Serif SC"],
    weight: FontWeight::BOLD,
};
const HEADING: Face =
    Face {
        name: "一级标题（黑体）", families: &["SimHei", "黑体", "Noto Sans CJK SC", "Source Han Sans SC"], weight: FontWeight::REGULAR
    };
const SECOND: Face = Face {
    name: "二级标题（楷体）",
    families: &["KaiTi_GB2312", "楷体_GB2312", "KaiTi", "楷体", "AR PL UKai CN", "Noto Serif CJK SC", "Source Han Serif SC"],
    weight: FontWeight::REGULAR,
};

/// The fonts in use.
pub struct Fonts {
    pub book: LazyHash<FontBook>,
    pub fonts: Vec<Font>,
    pub body: &'static str,
    pub display: &'static str,
    pub heading: &'static str,
    pub second: &'static str,
}

impl Fonts {
    /// Reads the fonts of these folders, then of the system's, and keeps those of the families that serve.
    pub fn load(dirs: &[PathBuf]) -> Result<Self, TypesetError> {
        let system = SYSTEM.iter().map(PathBuf::from);
        Self::of(&dirs.iter().cloned().chain(system).collect::<Vec<_>>())
    }

    /// Reads the fonts of these folders and no others.
    pub fn of(dirs: &[PathBuf]) -> Result<Self, TypesetError> {
        let wanted: Vec<&str> = [&BODY, &DISPLAY, &HEADING, &SECOND].iter().flat_map(|face| face.families).copied().collect();
        let mut files = Vec::new();
        for dir in dirs {
            collect(dir, 0, &mut files);
        }
        let mut fonts: Vec<Font> = Vec::new();
        for file in &files {
            let Ok(data) = fs::read(file) else {
                warn!(file = %file.display(), "a font cannot be read");
                continue;
            };
            // A collection shares one buffer among its fonts.
            fonts.extend(Font::iter(Bytes::new(data)).filter(|font| wanted.contains(&font.info().family.as_str())));
        }
        let book = FontBook::from_fonts(&fonts);
        let find = |face: &Face| -> Result<&'static str, TypesetError> {
            // A bold face that is missing would print as a regular one, and nothing would say so. The office's own 小标宋 and 黑体 have one weight,
            // and are black as they are.
            let serves = |family: &str| {
                let variant = FontVariant { weight: face.weight, style: FontStyle::Normal, ..FontVariant::default() };
                let found = book.select(&family.to_lowercase(), variant).and_then(|index| book.info(index));
                let has_weights = family.starts_with("Noto") || family.starts_with("Source Han");
                let is_near = |weight: FontWeight| weight.to_number().abs_diff(face.weight.to_number()) <= 200;
                found.is_some_and(|font| !has_weights || is_near(font.variant.weight))
            };
            face.families
                .iter()
                .find(|family| serves(family))
                .copied()
                .ok_or_else(|| TypesetError::Fonts { face: face.name, known: face.families.join("、") })
        };
        let (body, display, heading, second) = (find(&BODY)?, find(&DISPLAY)?, find(&HEADING)?, find(&SECOND)?);
        Ok(Self { book: LazyHash::new(book), fonts, body, display, heading, second })
    }

    /// Whether each face in use can show it.
    pub fn covers(&self, c: char) -> bool {
        [self.body, self.display, self.heading, self.second]
            .iter()
            .all(|family| self.fonts.iter().any(|font| font.info().family == *family && font.info().coverage.contains(c.into())))
    }
}

fn collect(dir: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if files.len() >= FILES_MAX {
            return;
        }
        let Ok(about) = fs::metadata(&path) else { continue };
        if about.is_dir() && depth < DEPTH_MAX {
            collect(&path, depth + 1, files);
        } else if about.is_file() && about.len() <= FILE_MAX && is_font(&path) {
            files.push(path);
        }
    }
}

fn is_font(path: &Path) -> bool {
    path.extension().and_then(|e| e.to_str()).is_some_and(|e| ["ttf", "otf", "ttc", "otc"].contains(&e.to_ascii_lowercase().as_str()))
}
