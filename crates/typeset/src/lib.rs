//! Documents on paper: a [`Document`](anlan_documents::Document) to a PDF/A-2a file, laid out after GB/T 9704—2012.
//!
//! The one crate that names typst, and a leaf: only the binary depends on it, so that whoever builds without PDF compiles nothing of it (ADR 0033).
//! Reads font files once, at the first document; nothing else of the disk, no clock, no network: a template of ours and values. Start at [`typesetter`].

use std::path::PathBuf;
use std::sync::Arc;

use anlan_documents::Typeset;

#[cfg(feature = "typst")]
mod fonts;
#[cfg(feature = "typst")]
mod official;

/// What makes PDFs, looking for fonts in these folders and then in the system's; none in a build without the feature `typst`.
pub fn typesetter(font_dirs: Vec<PathBuf>) -> Option<Arc<dyn Typeset>> {
    #[cfg(feature = "typst")]
    return Some(Arc::new(official::Typesetter::new(font_dirs)));
    #[cfg(not(feature = "typst"))]
    {
        drop(font_dirs);
        None
    }
}
