//! `cargo xtask bench`: builds the server and the measuring program in release mode and becomes the latter (crates/bench).

use std::process::ExitCode;

use crate::shell;

/// Builds, then measures; `args` go to the measuring program.
pub fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    // One after the other: together they would share features, and what is measured is the product.
    for package in ["anlan", "anlan-bench"] {
        shell::run(shell::command("cargo", ".").args(["build", "--release", "--package", package]))?;
    }
    let release = shell::target_dir().join("release");
    let status = std::process::Command::new(release.join("anlan-bench")).arg("--anlan").arg(release.join("anlan")).args(args).status()?;
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)))
}
