//! `anlan pack`: is a pack sound, and what does a register of it look like. Reads folders, changes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anlan_domain::major_hazard::Tables;
use anlan_domain::pack::RuleBook;
use anlan_domain::register::{Kind, graph};
use anlan_domain::road::RoadRules;
use anyhow::Context as _;

/// Bytes of all files of a pack.
const BYTES_MAX: u64 = 5 << 20;
/// Files of a pack.
const FILES_MAX: usize = 2_000;
/// Folders inside folders.
const DEPTH_MAX: usize = 8;

/// What to do with a pack.
#[derive(clap::Subcommand)]
pub enum PackCommand {
    /// Check every file that is understood, and let every register go through its cases. Exit code 1 if anything is wrong.
    Check {
        /// Folders of packs.
        #[arg(required = true)]
        packs: Vec<PathBuf>,
    },
    /// Draw the states of a register.
    Graph {
        /// Folder of the register, such as `packs/base/registers/hidden_danger`.
        register: PathBuf,
        /// `mermaid` (drawn by many readers of Markdown) or `dot` (Graphviz).
        #[arg(long, default_value = "mermaid", value_parser = ["mermaid", "dot"])]
        format: String,
    },
}

/// Runs `pack`.
pub fn run(command: PackCommand) -> anyhow::Result<ExitCode> {
    match command {
        PackCommand::Check { packs } => {
            let mut is_sound = true;
            for pack in packs {
                let report = check(&pack);
                is_sound &= report.wrong.is_empty();
                for wrong in &report.wrong {
                    println!("{wrong}");
                }
                let Report { n_checked, n_registers, n_cases, n_others, wrong } = report;
                let verdict = if wrong.is_empty() { "sound".to_owned() } else { format!("{} wrong", wrong.len()) };
                println!(
                    "{}: {n_checked} files checked, {n_registers} registers with {n_cases} cases, {n_others} other files: {verdict}",
                    pack.display()
                );
            }
            Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        PackCommand::Graph { register, format } => {
            let file = register.join("register.toml");
            let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
            match Kind::parse(&text) {
                Ok(kind) => {
                    print!("{}", if format == "dot" { graph::dot(&kind) } else { graph::mermaid(&kind) });
                    Ok(ExitCode::SUCCESS)
                }
                Err(breaches) => {
                    breaches.iter().for_each(|breach| eprintln!("{}:{breach}", file.display()));
                    Ok(ExitCode::FAILURE)
                }
            }
        }
    }
}

#[derive(Default)]
struct Report {
    n_checked: usize,
    n_registers: usize,
    n_cases: usize,
    /// Not understood here: documents, maps, data of a simulator.
    n_others: usize,
    /// `file:line: field: reason`.
    wrong: Vec<String>,
}

fn check(pack: &Path) -> Report {
    let mut report = Report::default();
    let mut files = BTreeMap::new();
    let mut bytes = 0;
    if let Err(wrong) = collect(pack, Path::new(""), 0, &mut files, &mut bytes) {
        report.wrong.push(wrong);
        return report;
    }
    let text = |name: &str| files.get(Path::new(name)).map(String::as_str);
    let mut known = |name: &str, error: Option<String>| {
        report.n_checked += 1;
        report.wrong.extend(error.map(|error| format!("{}: {error}", pack.join(name).display())));
    };
    if let (Some(kinds), Some(rules)) = (text("kinds.toml"), text("alarm_rules.toml")) {
        let error = RuleBook::parse(kinds, rules).err().map(|e| e.to_string());
        known("kinds.toml", None);
        known("alarm_rules.toml", error);
    }
    if let Some(road) = text("road.toml") {
        known("road.toml", RoadRules::parse(road).err().map(|e| e.to_string()));
    }
    if let Some(tables) = text("gb18218.toml") {
        known("gb18218.toml", Tables::parse(tables).err().map(|e| e.to_string()));
    }
    let registers = files.keys().filter(|file| file.starts_with("registers")).filter_map(|file| file.parent());
    let registers: std::collections::BTreeSet<&Path> = registers.collect();
    for folder in registers {
        let (register, cases) = (folder.join("register.toml"), folder.join("cases.toml"));
        let (at, at_cases) = (pack.join(&register), pack.join(&cases));
        let Some(text) = files.get(&register) else {
            report.wrong.push(format!("{}: is missing", at.display()));
            continue;
        };
        (report.n_checked, report.n_registers) = (report.n_checked + 1, report.n_registers + 1);
        let kind = match Kind::parse(text) {
            Ok(kind) => kind,
            Err(breaches) => {
                report.wrong.extend(breaches.iter().map(|breach| format!("{}:{breach}", at.display())));
                continue;
            }
        };
        if folder.file_name().is_none_or(|name| name != kind.id.as_str()) {
            report.wrong.push(format!("{}: kind: is {:?}, but the folder is another", at.display(), kind.id));
        }
        match files.get(&cases).map(|cases| kind.run_cases(cases)) {
            None => report.wrong.push(format!("{}: is missing: a register comes with its cases", at_cases.display())),
            Some(Ok(n)) => (report.n_checked, report.n_cases) = (report.n_checked + 1, report.n_cases + n),
            Some(Err(failures)) => {
                report.n_checked += 1;
                report.wrong.extend(failures.iter().map(|failure| format!("{}:{failure}", at_cases.display())));
            }
        }
    }
    report.n_others = files.len() - report.n_checked;
    report
}

/// Reads the files below `pack` by their path in it, within the limits; no link is followed.
fn collect(pack: &Path, inside: &Path, depth: usize, files: &mut BTreeMap<PathBuf, String>, bytes: &mut u64) -> Result<(), String> {
    let folder = pack.join(inside);
    let told = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    if depth > DEPTH_MAX {
        return Err(format!("{}: folders are at most {DEPTH_MAX} deep", folder.display()));
    }
    let mut entries = std::fs::read_dir(&folder).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(|e| told(&folder, e))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), inside.join(entry.file_name()));
        // Of the entry itself, not of what a link points to.
        let kind = entry.file_type().map_err(|e| told(&path, e))?;
        if kind.is_dir() {
            collect(pack, &name, depth + 1, files, bytes)?;
        } else if kind.is_file() {
            *bytes += entry.metadata().map_err(|e| told(&path, e))?.len();
            if *bytes > BYTES_MAX || files.len() >= FILES_MAX {
                return Err(format!("{}: a pack has at most {FILES_MAX} files of {BYTES_MAX} bytes together", pack.display()));
            }
            let text = std::fs::read(&path).map_err(|e| told(&path, e))?;
            let text = String::from_utf8(text).map_err(|e| format!("{}: is no UTF-8 text: {e}", path.display()))?;
            files.insert(name, text);
        } else {
            return Err(format!("{}: is a link or no file; a pack has none", path.display()));
        }
    }
    Ok(())
}
