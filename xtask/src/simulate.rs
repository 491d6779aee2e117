//! `cargo xtask simulate link`: thousands of networks in trouble (crates/link/tests/world); and, with `--without-each`, the same with one
//! safety line taken out at a time, in a copy: a simulation that passes without it would prove nothing.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};

use crate::shell;

/// Arguments of `simulate`.
#[derive(clap::Args)]
pub struct Args {
    /// What is simulated: `link`.
    what: String,
    /// Networks.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// Then take out each line marked `safety:`, one at a time: each must be missed.
    #[arg(long)]
    without_each: bool,
}

/// Runs it; the last line is fixed by INTERFACES.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    ensure!(args.what == "link", "only `link` can be simulated, not `{}`", args.what);
    let (is_sound, report) = simulate(&shell::root(), args.seeds)?;
    let mut n_unmissed = 0;
    if args.without_each {
        for file in MARKED {
            let source = fs::read_to_string(shell::root().join(file))?;
            for (what, text) in mutants(&source) {
                let copy = shell::target_dir().join("simulate");
                lay_out(&copy, file, &text)?;
                let (passes, report) = simulate(&copy, args.seeds.min(1_000))?;
                n_unmissed += u64::from(passes);
                let verdict = if passes { "NOT MISSED" } else { "missed" };
                println!("without \"{what}\": {verdict} ({})", report.lines().last().unwrap_or("it did not even build or end"));
            }
        }
    }
    println!("{report}");
    ensure!(n_unmissed == 0, "{n_unmissed} safety lines can go without the simulation noticing");
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the simulation runs, with lines that it must not do without.
const MARKED: [&str; 2] = ["crates/link/src/session.rs", "crates/domain/src/transfer.rs"];
/// Where those are.
const ROOMS: [&str; 2] = ["link", "domain"];
const MARK: &str = "// safety: ";

/// Runs the test of a work tree; whether it passed, and what it found.
fn simulate(tree: &Path, seeds: u64) -> anyhow::Result<(bool, String)> {
    let mut command = shell::command("cargo", ".");
    command.current_dir(tree).env("ANLAN_SEEDS", seeds.to_string()).env("RUST_BACKTRACE", "0").args([
        "test",
        "--quiet",
        "--package",
        "anlan-link",
        "--no-default-features",
        "--test",
        "simulation",
        "--",
        "--nocapture",
    ]);
    let (passed, text) = shell::capture(&mut command)?;
    let told: Vec<&str> =
        text.lines().filter(|l| l.starts_with("seed ") || l.starts_with("readings ") || l.starts_with("simulate ")).collect();
    ensure!(passed || !told.is_empty(), "the simulation did not run:\n{text}");
    Ok((passed, told.join("\n")))
}

/// The source without one of its safety lines, for each: what the line is for, and the text.
fn mutants(source: &str) -> Vec<(String, String)> {
    let lines: Vec<&str> = source.lines().collect();
    let marked = lines.iter().enumerate().filter_map(|(n, line)| {
        let (code, what) = line.split_once(MARK)?;
        if code.trim_start().starts_with("//") {
            return None;
        }
        // A mark that stands alone is of the block it stands in, up to the brace of the same depth.
        let (first, last) = if code.trim().is_empty() {
            let head = lines.get(n.checked_sub(1)?)?;
            let depth = head.len() - head.trim_start().len();
            let end = format!("{}}}", " ".repeat(depth));
            (n - 1, n + lines[n..].iter().position(|line| **line == *end)?)
        } else {
            (n, n)
        };
        let rest: Vec<&str> = lines[..first].iter().chain(&lines[last + 1..]).copied().collect();
        Some((what.to_owned(), rest.join("\n")))
    });
    marked.collect()
}

/// A workspace of these rooms, one file replaced, everything else where it is.
fn lay_out(copy: &Path, file: &str, text: &str) -> anyhow::Result<()> {
    let root = shell::root();
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    let elsewhere = format!("path = \"{}/crates/", root.display());
    let mut manifest = manifest
        .replace("path = \"crates/", &elsewhere)
        .replace("members = [\"crates/*\", \"xtask\"]", "members = [\"crates/link\", \"crates/domain\"]");
    let _ = fs::remove_dir_all(copy.join("crates"));
    for room in ROOMS {
        manifest = manifest.replace(&format!("{elsewhere}{room}\""), &format!("path = \"crates/{room}\""));
        copy_dir(&root.join("crates").join(room), &copy.join("crates").join(room))?;
    }
    // Files that are compiled in.
    for folder in ["packs", "docs/reference"] {
        copy_dir(&root.join(folder), &copy.join(folder))?;
    }
    fs::write(copy.join("Cargo.toml"), manifest)?;
    fs::copy(root.join("Cargo.lock"), copy.join("Cargo.lock"))?;
    fs::write(copy.join(file), text).context("write the copy")
}

fn copy_dir(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() { copy_dir(&entry.path(), &target)? } else { _ = fs::copy(entry.path(), target)? }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marked_line_or_block_goes_and_nothing_else() {
        let source = "fn a() {\n    b(); // safety: first\n    if c {\n        // safety: second\n        return;\n    }\n    d();\n}";
        let all = mutants(source);
        assert_eq!(all[0], ("first".to_owned(), source.replace("    b(); // safety: first\n", "")));
        assert_eq!(all[1].0, "second");
        assert_eq!(all[1].1, "fn a() {\n    b(); // safety: first\n    d();\n}");
        assert_eq!(all.len(), 2);
    }
}
