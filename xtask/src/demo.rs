//! `cargo xtask demo`: from a clone to a page, with nothing but Rust, Node and a C compiler.

use std::process::ExitCode;

use crate::{shell, tools};

/// Installs the console's packages when the lock file changed, and builds `web/dist`.
pub fn build_console() -> anyhow::Result<()> {
    tools::require_node()?;
    let lock = std::fs::metadata(shell::root().join("web/package-lock.json")).and_then(|m| m.modified()).ok();
    let installed = std::fs::metadata(shell::root().join("web/node_modules/.package-lock.json")).and_then(|m| m.modified()).ok();
    if installed.is_none() || installed < lock {
        shell::run(shell::command("npm", "web").args(["ci", "--no-audit", "--no-fund", "--prefer-offline"]))?;
    }
    shell::run(shell::command("npm", "web").args(["run", "build", "--silent"]))
}

/// Builds console and server, then becomes the demo.
pub fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    build_console()?;
    shell::run(shell::command("cargo", ".").args(["build", "--release", "--package", "anlan"]))?;
    let binary = shell::target_dir().join("release/anlan");
    let status = std::process::Command::new(binary)
        .args(["demo", "--levels"])
        .args(args)
        .env("ANLAN_PACKS__DIR", shell::root().join("packs"))
        .status()?;
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)))
}

/// Regenerates the OpenAPI document, the console's types and the configuration reference.
pub fn generate() -> anyhow::Result<ExitCode> {
    let mut openapi = shell::command("cargo", ".");
    openapi.args(["nextest", "run", "--package", "anlan-http", "--test", "openapi"]).env("UPDATE_OPENAPI", "1");
    shell::run(&mut openapi)?;
    shell::run(shell::command("npm", "web").args(["run", "gen"]))?;
    let (ok, text) = shell::capture(shell::command("cargo", ".").args(["run", "--quiet", "--package", "anlan", "--", "reference"]))?;
    anyhow::ensure!(ok, "anlan reference failed: {text}");
    std::fs::write(shell::root().join("docs/reference/configuration.md"), text)?;
    Ok(ExitCode::SUCCESS)
}
