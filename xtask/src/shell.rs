//! Running other programs: from the repository root, with their output shown or kept.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// Where builds go: `./target`; only in CI a folder in the user's cache, so that a fresh clone builds warm.
pub fn target_dir() -> PathBuf {
    match (in_ci(), std::env::var_os("HOME")) {
        (true, Some(home)) => Path::new(&home).join(".cache/anlan/target"),
        _ => root().join("target"),
    }
}

/// Whether this is a CI run.
pub fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|v| v == "true")
}

/// A command in `dir` below the root, with the right target folder.
pub fn command(program: &str, dir: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root().join(dir)).env("CARGO_TARGET_DIR", target_dir());
    command
}

/// Runs to the end with output shown, on stderr: stdout belongs to what the command line promised (a ready line, a closing count).
///
/// # Errors
/// The program is absent or fails; the error says how it was called.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    eprintln!("» {}", line(command));
    let status = command.stdout(std::io::stderr()).status().with_context(|| format!("start {}", line(command)))?;
    ensure!(status.success(), "{} ended with {status}", line(command));
    Ok(())
}

/// Runs to the end; whether it succeeded, and stdout and stderr together.
///
/// # Errors
/// The program is absent.
pub fn capture(command: &mut Command) -> anyhow::Result<(bool, String)> {
    eprintln!("» {}", line(command));
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start {}", line(command)))?;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok((output.status.success(), text))
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(OsStr::to_string_lossy);
    words.collect::<Vec<_>>().join(" ")
}
