//! `anlan backup` and `anlan restore`. What they do stands in `anlan_app::backup`; here is only who does it: the running node if there is
//! one, else this process.

use std::path::Path;
use std::process::ExitCode;

use anlan_app::backup;
use anlan_app::clock::AppClock;
use anlan_store::Store;
use anyhow::Context as _;

use crate::control::{self, Answer, Ask};
use crate::serve;

/// Runs `backup`.
pub fn run(data: &Path, config: Option<&Path>, to: &Path) -> anyhow::Result<ExitCode> {
    let to = std::path::absolute(to)?;
    let answer = match control::ask(data, &Ask::Backup { to: to.clone() })? {
        Some(answer) => answer,
        None => stopped(data, config, &to)?,
    };
    match answer {
        Answer::Backup { to, position, files, bytes } => {
            println!("backup: {} holds log position {position}, {files} files, {bytes} bytes", to.display());
            Ok(ExitCode::SUCCESS)
        }
        Answer::Failed { why } => anyhow::bail!("no backup: {why}"),
        Answer::Status { .. } => anyhow::bail!("the running node answered something else; is it of another release?"),
    }
}

/// The node is stopped: it is opened without sockets, applies what its database lacks, and is copied.
fn stopped(data: &Path, config: Option<&Path>, to: &Path) -> anyhow::Result<Answer> {
    anyhow::ensure!(data.join("history").is_dir(), "{} is no data directory of a node", data.display());
    let config = serve::load(config)?;
    serve::runtime()?.block_on(async {
        let store = Store::open(&serve::store_url(&config, data)).await.context("open the database")?;
        let running = anlan_app::start(data, store, AppClock::real(), config.settings(false)).await?;
        let made = backup::make(&running.app, data, to).await;
        running.stop().await;
        let contents = made.context("no backup")?;
        Ok(Answer::Backup { to: to.to_path_buf(), position: contents.position, files: contents.files.len(), bytes: contents.bytes() })
    })
}

/// Runs `restore`.
pub fn restore(from: &Path, data: &Path) -> anyhow::Result<ExitCode> {
    let restored = serve::runtime()?.block_on(backup::restore(from, data)).context("nothing restored")?;
    println!("{}", restored.history);
    println!(
        "restored: {} of release {}, made {}, log position {}, {} files",
        data.display(),
        restored.contents.release,
        restored.contents.made_at,
        restored.contents.position,
        restored.contents.files.len()
    );
    if restored.attachments_lost > 0 {
        println!(
            "restored: {} of {} files of records are not as the audit says: lost or altered before the backup was made",
            restored.attachments_lost, restored.attachments
        );
    }
    Ok(ExitCode::SUCCESS)
}
