//! Files that only this node may read: whole or not there, and on the disk before anybody hears of them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::IdentityError;

/// `data/link`, made if it is not there.
pub(super) fn directory(data: &Path) -> Result<PathBuf, IdentityError> {
    let dir = data.join("link");
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).and_then(|()| sync(data));
    made.map_err(|source| IdentityError::File { path: dir.clone(), source })?;
    Ok(dir)
}

/// The text of a file; `None` if there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>, IdentityError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(absent) if absent.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(IdentityError::File { path: path.to_owned(), source }),
    }
}

/// Puts `text` in the place of what was there.
pub(super) fn write(path: &Path, text: &str) -> Result<(), IdentityError> {
    let part = path.with_extension("part");
    let written = || {
        match fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&part, path)?;
        path.parent().map_or(Ok(()), sync)
    };
    written().map_err(|source| IdentityError::File { path: path.to_owned(), source })
}

/// Takes a file away, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), IdentityError> {
    let removed = match fs::remove_file(path) {
        Err(absent) if absent.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed.and_then(|()| path.parent().map_or(Ok(()), sync)),
    };
    removed.map_err(|source| IdentityError::File { path: path.to_owned(), source })
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
