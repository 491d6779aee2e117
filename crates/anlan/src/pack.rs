//! `anlan pack`: is a pack sound, and what does a register of it look like. Reads folders, changes nothing.

use std::path::PathBuf;
use std::process::ExitCode;

use anlan_app::pack::{BASE, Folder, base_files, collect};
use anlan_domain::register::{Kind, check_together, graph};
use anyhow::Context as _;

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
            let (mut kinds, mut has_base) = (Vec::new(), false);
            for pack in packs {
                let (folder, unreadable) = match collect(&pack) {
                    Ok(files) => (Folder::check(&files), None),
                    Err(reason) => (Folder::default(), Some(reason)),
                };
                let n_wrong = folder.wrong.len() + usize::from(unreadable.is_some());
                unreadable.iter().for_each(|reason| println!("{reason}"));
                folder.wrong.iter().for_each(|wrong| println!("{}/{wrong}", pack.display()));
                is_sound &= n_wrong == 0;
                let verdict = if n_wrong == 0 { "sound".to_owned() } else { format!("{n_wrong} wrong") };
                let Folder { n_checked, n_cases, n_others, .. } = folder;
                let (name, n) = (pack.display(), folder.kinds.len());
                println!("{name}: {n_checked} files checked, {n} registers with {n_cases} cases, {n_others} other files: {verdict}");
                has_base |= folder.meta.is_some_and(|meta| meta.id == BASE);
                kinds.extend(folder.kinds);
            }
            // What they say of each other and of the built-in pack: kinds that are opened, states of the records around.
            if !has_base {
                kinds.extend(Folder::check(&base_files()).kinds);
            }
            for (kind, breach) in if is_sound { check_together(&kinds) } else { Vec::new() } {
                is_sound = false;
                println!("{kind}: {}: {}", breach.field, breach.reason);
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
