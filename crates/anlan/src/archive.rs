//! `anlan archive`: archive what is due without a running node, check the archive, say what it holds.

use std::path::Path;
use std::process::ExitCode;

use anlan_app::archive::{Archiver, owner, place};
use anlan_app::registry::Snapshot;
use anlan_archive::{Archive, Day, Whole};
use anlan_history::{Lsn, RepairReport};
use anlan_model::Timestamp;
use anlan_store::Store;
use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::{BadConfiguration, serve};

/// What `anlan archive` can do.
#[derive(clap::Subcommand)]
pub enum ArchiveCommand {
    /// Archive every day that is due and what came late for archived ones. The node must be stopped: a running one does it by itself.
    Run {
        #[command(flatten)]
        at: At,
        /// Treat this as now, for days that are over by then.
        #[arg(long, value_name = "RFC3339")]
        as_of: Option<String>,
    },
    /// Read every archived file and compare with the manifests; print rows, sum and hash of each day and table as JSON. The node may be
    /// running. Exit code 1 if anything differs.
    Verify {
        #[command(flatten)]
        at: At,
        /// This day only, such as 2026-11-22.
        #[arg(long)]
        day: Option<String>,
    },
    /// Print what the archive holds as JSON. The node may be running.
    Status {
        #[command(flatten)]
        at: At,
    },
}

/// Which node's archive.
#[derive(clap::Args)]
pub struct At {
    /// Data directory.
    #[arg(long)]
    data: std::path::PathBuf,
    /// Configuration file.
    #[arg(long)]
    config: Option<std::path::PathBuf>,
}

/// Runs `archive`.
pub fn run(command: ArchiveCommand) -> anyhow::Result<ExitCode> {
    let (ArchiveCommand::Run { at, .. } | ArchiveCommand::Verify { at, .. } | ArchiveCommand::Status { at }) = &command;
    let config = serve::load(at.config.as_deref())?;
    serve::start_logging(&config);
    if config.archive.url.is_none() {
        let what = "archive.url is not set: name a directory or s3://bucket/prefix in the configuration or ANLAN_ARCHIVE__URL";
        return Err(BadConfiguration(anyhow::anyhow!(what)).into());
    }
    let runtime = serve::runtime()?;
    match &command {
        ArchiveCommand::Run { at, as_of } => {
            let now = match as_of {
                Some(text) => Timestamp::parse(text).context("--as-of")?,
                None => anlan_model::Clock::now(&anlan_app::clock::AppClock::real()),
            };
            let round = runtime.block_on(archive(&at.data, &config, now))?;
            println!("{}", serde_json::to_string(&round)?);
            Ok(if round.refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        ArchiveCommand::Verify { at, day } => {
            let day = day
                .as_ref()
                .map(|text| Day::parse(text).with_context(|| format!("--day {text}: not a day such as 2026-11-22")))
                .transpose()?;
            let report = with_archive(&runtime, &at.data, &config, move |archive| archive.verify(day))?;
            println!("{}", serde_json::to_string(&report)?);
            Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        ArchiveCommand::Status { at } => {
            let status = with_archive(&runtime, &at.data, &config, |archive| Ok(archive.status()))?;
            println!("{}", serde_json::to_string(&status)?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn with_archive<T: Send + 'static>(
    runtime: &tokio::runtime::Runtime,
    data: &Path,
    config: &Config,
    look: impl FnOnce(&Archive) -> Result<T, anlan_archive::ArchiveError> + Send + 'static,
) -> anyhow::Result<T> {
    let (data, place) = (data.to_owned(), place(&config.archive).unwrap_or_default());
    runtime.block_on(async move { Ok(tokio::task::spawn_blocking(move || look(&Archive::open_read_only(&place, &data)?)).await??) })
}

async fn archive(data: &Path, config: &Config, now: Timestamp) -> anyhow::Result<anlan_archive::Round> {
    let settings = config.settings(false);
    let (_writer, reader) = anlan_history::open(&data.join("history"), settings.history.options())
        .context("open the history; a running node archives by itself, this command is for one that is stopped")?;
    let store = Store::open(&serve::store_url(config, data)).await.context("open the database")?;
    let known = Snapshot::read(&store).await?;
    let whole = Whole::new(reader, anlan_archive::released_to(data)?);
    let archiver = Archiver::new(settings.archive, data);
    let round = archiver.round(&store, &known, &whole, now, CancellationToken::new()).await;
    store.close().await;
    Ok(round?)
}

/// For each lost period of a repair: whether the archive has all of it, so that readers look there from now on. Empty without an archive.
///
/// What came after the archive looked last is not in it; it is in the log, where the repair has found it, if the log reaches back that far.
pub fn recover(data: &Path, config: &Config, report: &RepairReport) -> anyhow::Result<Vec<bool>> {
    let Some(place) = place(&config.archive) else { return Ok(Vec::new()) };
    let runtime = serve::runtime()?;
    let owner = runtime.block_on(async {
        let store = Store::open(&serve::store_url(config, data)).await.context("open the database, which says whose archive it is")?;
        let owner = owner(&store).await;
        store.close().await;
        anyhow::Ok(owner?)
    })?;
    let (data, parts, report) = (data.to_owned(), config.archive.compact_parts, report.clone());
    let work = move || -> Result<Vec<bool>, anlan_archive::ArchiveError> {
        let archive = Archive::open(&place, &data, &owner, parts)?;
        let joined = report.log_from.is_some_and(|first| Lsn(archive.through().0 + 1) >= first);
        let mut found = Vec::with_capacity(report.lost.len());
        for lost in &report.lost {
            let days = || (Day::of(lost.from).number()..=Day::of(lost.to.plus_us(-1)).number()).map(Day::new);
            let all = joined && days().all(|day| archive.holds(day));
            if all {
                for day in days() {
                    archive.release(day)?;
                }
            }
            found.push(all);
        }
        Ok(found)
    };
    runtime.block_on(async { Ok(tokio::task::spawn_blocking(work).await??) })
}
