//! The binary: command line, configuration, wiring, shutdown. The only crate that knows everybody.
//!
//! Start at [`Command`] for what it can do, at [`serve`] for how a node is put together.

mod accident;
mod archive;
mod backup;
mod certificate;
mod config;
mod control;
mod decode;
mod demo;
mod demo_levels;
mod demo_records;
mod doctor;
mod door;
mod grade;
mod pack;
mod plan;
mod serve;
mod simulate;
mod tls;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use anlan_model::{AlarmChange, Effect, Subject};
use clap::{Parser, Subcommand};
use serde_json::json;

/// Anlan 安澜: regional work-safety supervision.
#[derive(Parser)]
#[command(version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node.
    Serve(ServeArgs),
    /// Run a node with an invented city: nine counties, about 250 enterprises, 3,000 points, 1,000 vehicles.
    Demo(demo::DemoArgs),
    /// Device simulators: provision, run, check against a truth file, replay a table.
    Sim(simulate::SimArgs),
    /// Explain frames and messages of a field protocol.
    Decode(decode::DecodeArgs),
    /// Say of units of dangerous chemicals whether they are major hazard installations, and of which level (GB 18218-2018).
    ///
    /// Reads `{"contents":[{"substance":"甲醇","tonnes":300}],"people_within_500m":12}` from standard input: a substance of table 1 by name,
    /// alias or CAS number, another one with its hazard symbols of table 2 as `"categories":["W5.4"]`, or a symbol alone.
    Grade(grade::GradeArgs),
    /// Classify accidents (生产安全事故) by the law.
    Accident {
        #[command(subcommand)]
        command: accident::AccidentCommand,
    },
    /// Where a plan (规划) stands: the built-in plan of the region with its demonstration facts.
    Plan {
        #[command(subcommand)]
        command: plan::PlanCommand,
    },
    /// Check a pack (rules, tables, registers as data) or draw a register of it.
    Pack {
        #[command(subcommand)]
        command: pack::PackCommand,
    },
    /// Check certificates (licences and the like) without a node, and look after the key that signs them.
    Certificate {
        #[command(subcommand)]
        command: certificate::CertificateCommand,
    },
    /// Make a new setup link for a node that has no administrator yet. The node may be running.
    SetupLink {
        /// Data directory.
        #[arg(long)]
        data: PathBuf,
        /// Configuration file.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Remove the second factor of a person who lost theirs, and end their sessions; audited. For the case that no administrator can do it in
    /// the console. The node may be running.
    ResetSecondFactor {
        /// Data directory.
        #[arg(long)]
        data: PathBuf,
        /// Configuration file.
        #[arg(long)]
        config: Option<PathBuf>,
        /// Sign-in name.
        username: String,
    },
    /// Look after the telemetry history.
    History {
        #[command(subcommand)]
        command: HistoryCommand,
    },
    /// Look after the Parquet archive of days that are over.
    Archive {
        #[command(subcommand)]
        command: archive::ArchiveCommand,
    },
    /// Look after the audit.
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Copy a node, running or not, into a new folder: database, history and files as of one log position, with a hash of each.
    Backup {
        /// Data directory.
        #[arg(long)]
        data: PathBuf,
        /// Configuration file.
        #[arg(long)]
        config: Option<PathBuf>,
        /// The folder to make.
        to: PathBuf,
    },
    /// Make a data directory from a backup; every file is checked on the way.
    Restore {
        /// The backup.
        from: PathBuf,
        /// Data directory, absent or empty.
        #[arg(long)]
        data: PathBuf,
    },
    /// Check machine, configuration, history and database; changes nothing. Exit code 1 if something is bad.
    Doctor {
        /// Data directory.
        #[arg(long)]
        data: PathBuf,
        /// Configuration file.
        #[arg(long)]
        config: Option<PathBuf>,
        /// One JSON object instead of lines.
        #[arg(long)]
        json: bool,
    },
    /// Print the configuration reference as Markdown.
    Reference,
}

#[derive(Subcommand)]
enum HistoryCommand {
    /// Check every checksum of log, blocks, manifest and checkpoint. The node must be stopped.
    Verify {
        /// Data directory.
        #[arg(long)]
        data: PathBuf,
    },
    /// Mend what can be mended: sound parts of damaged files are kept, the rest is read again from the log and, where it is configured, from
    /// the archive; what is lost is named, period by period. Damaged files are put aside in `history/damaged`, none is deleted. The node
    /// must be stopped. Exit code 1 if anything stays lost or damaged.
    Repair {
        /// Data directory.
        #[arg(long)]
        data: PathBuf,
        /// Configuration file.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Print what the log, as far back as it reaches, says happened (alarms, data events, command answers), oldest first, one JSON object a line:
    /// what the database must show. The node must be stopped.
    Effects {
        /// Data directory.
        #[arg(long)]
        data: PathBuf,
    },
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Recompute the chain of audit entries from the first to the newest, and compare every record of a register with its newest entry. The
    /// node may be running.
    Verify {
        /// Data directory.
        #[arg(long)]
        data: PathBuf,
        /// Configuration file.
        #[arg(long)]
        config: Option<PathBuf>,
        /// The hash of an entry that must be in the chain: the head that an earlier run printed.
        #[arg(long)]
        head: Option<String>,
    },
}

/// Arguments of `serve`.
#[derive(clap::Args, Clone)]
pub struct ServeArgs {
    /// Data directory; made if absent. One process owns it.
    #[arg(long)]
    pub data: PathBuf,
    /// Configuration file (TOML).
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Domain time for tests: an RFC 3339 start, or a file that several processes share.
    #[arg(long, value_name = "RFC3339|FILE")]
    pub test_clock: Option<String>,
}

/// A configuration that cannot be used: exit code 2.
#[derive(Debug)]
struct BadConfiguration(anyhow::Error);

impl std::fmt::Display for BadConfiguration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
impl std::error::Error for BadConfiguration {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    serve::settle_in();
    let run = match cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Sim(args) => simulate::run(args),
        Command::Decode(args) => decode::run(args),
        Command::Grade(args) => grade::run(args),
        Command::Accident { command } => accident::run(command),
        Command::Plan { command } => plan::run(command),
        Command::Pack { command } => pack::run(command),
        Command::Certificate { command } => certificate::run(command),
        Command::SetupLink { data, config } => serve::setup_link(&data, config.as_deref()),
        Command::ResetSecondFactor { data, config, username } => serve::reset_second_factor(&data, config.as_deref(), &username),
        Command::History { command: HistoryCommand::Verify { data } } => verify(&data),
        Command::History { command: HistoryCommand::Repair { data, config } } => repair(&data, config.as_deref()),
        Command::History { command: HistoryCommand::Effects { data } } => effects(&data),
        Command::Archive { command } => archive::run(command),
        Command::Audit { command: AuditCommand::Verify { data, config, head } } => {
            serve::verify_audit(&data, config.as_deref(), head.as_deref())
        }
        Command::Backup { data, config, to } => backup::run(&data, config.as_deref(), &to),
        Command::Restore { from, data } => backup::restore(&from, &data),
        Command::Doctor { data, config, json } => doctor::run(&data, config.as_deref(), json),
        Command::Reference => {
            print!("{}", config::reference());
            Ok(ExitCode::SUCCESS)
        }
    };
    match run {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("anlan: {failure:#}");
            ExitCode::from(if failure.is::<BadConfiguration>() { 2 } else { 1 })
        }
    }
}

fn verify(data: &std::path::Path) -> anyhow::Result<ExitCode> {
    let report = anlan_history::verify(&data.join("history"))?;
    println!("{report}");
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn repair(data: &std::path::Path, config: Option<&std::path::Path>) -> anyhow::Result<ExitCode> {
    let config = serve::load(config)?;
    serve::start_logging(&config);
    let report = anlan_history::repair(&data.join("history"))?;
    println!("{report}");
    let mut is_whole = report.left.is_empty();
    let archived = if report.lost.is_empty() { Vec::new() } else { archive::recover(data, &config, &report)? };
    for (i, lost) in report.lost.iter().enumerate() {
        match archived.get(i) {
            Some(true) => println!("archive: {} from {} to {} is read from the archive from now on", lost.what, lost.from, lost.to),
            _ => is_whole = false,
        }
    }
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn effects(data: &std::path::Path) -> anyhow::Result<ExitCode> {
    use anlan_history::{HistoryError, Lsn};
    use std::io::Write as _;
    let (_writer, reader) = anlan_history::open(&data.join("history"), anlan_history::Options::default())?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    // Segments that nobody needed any more are gone; what they said is in the database alone.
    let after = match reader.tail_notes(Lsn::ZERO).next() {
        Some(Err(HistoryError::NotInLog { first, .. })) => Lsn(first.0.saturating_sub(1)),
        _ => Lsn::ZERO,
    };
    for record in reader.tail_notes(after) {
        let record = record?;
        for effect in anlan_app::telemetry::engine::Notes::decode(&record.notes)?.effects {
            writeln!(out, "{}", json!({ "position": record.lsn, "now": record.now.to_string(), "effect": told(&effect) }))?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// An effect with the names and shapes of the API.
fn told(effect: &Effect) -> serde_json::Value {
    match effect {
        Effect::Alarm(AlarmChange::Raised(alarm)) => {
            let (point, vehicle) = match alarm.subject {
                Subject::Point(id) => (Some(id.to_string()), None),
                Subject::Vehicle(id) => (None, Some(id.to_string())),
            };
            json!({
                "kind": "raised", "id": alarm.id.to_string(), "rule": alarm.rule, "point": point, "vehicle": vehicle,
                "level": alarm.level, "value": alarm.value, "historic": alarm.historic,
                "onset_at": alarm.onset_at.to_string(), "raised_at": alarm.raised_at.to_string(),
            })
        }
        Effect::Alarm(AlarmChange::Returned { id, at }) => {
            json!({ "kind": "returned", "id": id.to_string(), "returned_at": at.to_string() })
        }
        Effect::Combined { alarm, combination, parts } => {
            let alarms: Vec<String> = parts.iter().filter_map(|part| part.alarm).map(|id| id.to_string()).collect();
            json!({ "kind": "combined", "alarm": alarm.to_string(), "combination": combination, "alarms": alarms })
        }
        Effect::Event(event) => json!({ "kind": "event", "event": event }),
        Effect::CommandAnswer { command, from, ok, detail, at } => {
            json!({ "kind": "answer", "command": command.to_string(), "from": from, "ok": ok, "detail": detail, "at": at.to_string() })
        }
    }
}
