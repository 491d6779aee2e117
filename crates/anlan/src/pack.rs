//! `anlan pack`: is a pack sound, what does a register of it look like, what changed from one to another, and whose is it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anlan_app::pack::{BASE, BYTES_MAX, Folder, base_files, collect, hash_of};
use anlan_app::signing::{KeyPair, PublicKey, SIGNATURE_FILE, Signature, of_pack};
use anlan_domain::pack::diff;
use anlan_domain::register::{Kind, check_together, graph, schema};
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
    /// What changed from one pack, or file of a pack, to another, by name. Exit code 1 if anything did.
    Diff {
        /// Folder or file as it was.
        before: PathBuf,
        /// Folder or file as it is.
        after: PathBuf,
        /// A list of `{file, path, change, before, after}`.
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of a file of a register, for editors.
    Schema {
        /// `register` (register.toml) or `cases` (cases.toml).
        #[arg(value_parser = ["register", "cases"])]
        file: String,
    },
    /// Make a key pair to sign packs with. The file must be new; only its owner may read it. Prints the public key.
    Key {
        /// Where to put it.
        file: PathBuf,
    },
    /// Sign a sound pack: writes `pack.sig` into its folder.
    Sign {
        /// Folder of the pack.
        pack: PathBuf,
        /// The key pair's file.
        #[arg(long)]
        key: PathBuf,
    },
    /// Whose a pack is. Exit code 1 if one is not signed, was changed since, or is signed by none of the keys that are named.
    Verify {
        /// Folders of packs.
        #[arg(required = true)]
        packs: Vec<PathBuf>,
        /// Public keys that are believed; left out = every key.
        #[arg(long)]
        key: Vec<PublicKey>,
    },
}

/// Runs `pack`.
pub fn run(command: PackCommand) -> anyhow::Result<ExitCode> {
    match command {
        PackCommand::Check { packs } => {
            let mut is_sound = true;
            let (mut kinds, mut submissions, mut has_base) = (Vec::new(), Vec::new(), false);
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
                let (name, n, n_submissions) = (pack.display(), folder.kinds.len(), folder.submissions.len());
                let of = if n_submissions == 0 { String::new() } else { format!(" and {n_submissions} submissions") };
                println!("{name}: {n_checked} files checked, {n} registers{of} with {n_cases} cases, {n_others} other files: {verdict}");
                has_base |= folder.meta.is_some_and(|meta| meta.id == BASE);
                kinds.extend(folder.kinds);
                submissions.extend(folder.submissions);
            }
            // What they say of each other and of the built-in pack: kinds that are opened, states of the records around.
            if !has_base {
                kinds.extend(Folder::check(&base_files()).kinds);
            }
            for (kind, breach) in if is_sound { check_together(&kinds) } else { Vec::new() } {
                is_sound = false;
                println!("registers/{kind}/register.toml:{breach}");
            }
            for submission in if is_sound { submissions } else { Vec::new() } {
                for breach in submission.against(|id| kinds.iter().find(|kind: &&Kind| kind.id == id)) {
                    is_sound = false;
                    println!("submissions/{}/submission.toml:{breach}", submission.id);
                }
            }
            Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        PackCommand::Diff { before, after, json } => {
            let (a, b) = (files(&before)?, files(&after)?);
            // Two files are compared whatever they are called.
            let b = if before.is_file() && after.is_file() { a.keys().cloned().zip(b.into_values()).collect() } else { b };
            let changes = diff::between(&a, &b);
            if json {
                println!("{}", serde_json::to_string_pretty(&changes)?);
            } else {
                let mut last = "";
                for change in &changes {
                    if change.file != last {
                        println!("{}", change.file);
                        last = &change.file;
                    }
                    println!("  {change}");
                }
            }
            Ok(if changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        PackCommand::Schema { file } => {
            print!("{}", if file == "cases" { schema::CASES } else { schema::REGISTER });
            Ok(ExitCode::SUCCESS)
        }
        PackCommand::Key { file } => {
            println!("{}", KeyPair::create(&file)?.public());
            Ok(ExitCode::SUCCESS)
        }
        PackCommand::Sign { pack, key } => {
            let key = KeyPair::open(&key)?;
            let files = collect(&pack).map_err(anyhow::Error::msg)?;
            let wrong = Folder::check(&files).wrong;
            wrong.iter().for_each(|wrong| eprintln!("{}/{wrong}", pack.display()));
            anyhow::ensure!(wrong.is_empty(), "{}: not signed: it is not sound", pack.display());
            let (hash, to) = (hash_of(&files), pack.join(SIGNATURE_FILE));
            std::fs::write(&to, key.sign_pack(&hash)).with_context(|| format!("write {}", to.display()))?;
            println!("{}: signed by {}, hash {hash}", pack.display(), key.public());
            Ok(ExitCode::SUCCESS)
        }
        PackCommand::Verify { packs, key: believed } => {
            let mut all_good = true;
            for pack in packs {
                let (is_good, verdict) = match collect(&pack).map(|files| (of_pack(&files), hash_of(&files))) {
                    Err(reason) => (false, reason),
                    Ok((Signature::Unsigned, _)) => (false, "not signed".to_owned()),
                    Ok((Signature::Broken, _)) => {
                        (false, "not as it was signed: a file was changed since, or pack.sig is no signature".to_owned())
                    }
                    Ok((Signature::By(key), hash)) if believed.is_empty() || believed.contains(&key) => {
                        (true, format!("signed by {key}, hash {hash}"))
                    }
                    Ok((Signature::By(key), _)) => (false, format!("signed by {key}, which is none of the keys named")),
                };
                all_good &= is_good;
                println!("{}: {verdict}", pack.display());
            }
            Ok(if all_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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

/// The files of a pack, or one file of it.
fn files(path: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let length = std::fs::metadata(path).with_context(|| format!("read {}", path.display()))?;
    if length.is_dir() {
        return collect(path).map_err(anyhow::Error::msg);
    }
    anyhow::ensure!(length.len() <= BYTES_MAX, "{}: more than {BYTES_MAX} bytes", path.display());
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    Ok(BTreeMap::from([(path.file_name().unwrap_or_default().to_string_lossy().into_owned(), text)]))
}
