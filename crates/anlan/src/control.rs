//! The socket by which commands on this machine reach the running node: `DIR/control.sock`, for the owner of the data directory alone.
//!
//! The file's permission is the sign-in. One line of JSON asks, one line answers. Start at [`serve`] and [`ask`].

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anlan_app::{App, backup};
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tracing::warn;

const NAME: &str = "control.sock";
/// Longest question; a path is its only long part.
const ASK_BYTES_MAX: u64 = 16 << 10;

/// What can be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// A copy of the node in this absent folder.
    Backup {
        /// Absolute path on this machine.
        to: PathBuf,
    },
    /// How it is.
    Status,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// The backup is whole.
    Backup {
        /// Where.
        to: PathBuf,
        /// Log position it holds.
        position: u64,
        /// Files in it.
        files: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// How the node is.
    Status {
        /// Last durable log position.
        position: u64,
        /// Last position applied to the database.
        projected: u64,
        /// The log refuses writes.
        log_failed: bool,
        /// The database does not answer.
        store_down: bool,
        /// Readings in blocks and in memory.
        readings: u64,
        /// Points with readings.
        points: u64,
    },
    /// It could not be done.
    Failed {
        /// Why.
        why: String,
    },
}

/// Answers until stopped. Call it only in the process that owns the data directory: a socket left by a dead one is replaced.
///
/// # Errors
/// The socket cannot be made, as when the path is longer than the system allows.
pub fn serve(data: &Path, app: Arc<App>, stop: CancellationToken) -> anyhow::Result<impl Future<Output = ()> + use<>> {
    let path = data.join(NAME);
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).with_context(|| format!("bind {}", path.display()))?;
    let data = data.to_path_buf();
    Ok(async move {
        loop {
            // One at a time: whoever may open this socket may also stop the node.
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => tokio::select! {
                        () = stop.cancelled() => break,
                        done = converse(stream, &app, &data) => if let Err(failure) = done {
                            warn!(error = &failure as &dyn std::error::Error, "a command over the control socket broke off");
                        },
                    },
                    Err(failure) => {
                        warn!(error = &failure as &dyn std::error::Error, "the control socket does not accept");
                        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                    }
                },
            }
        }
        let _ = std::fs::remove_file(&path);
    })
}

async fn converse(stream: UnixStream, app: &App, data: &Path) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut read = tokio::io::BufReader::new(read.take(ASK_BYTES_MAX));
    let asked = read.read_line(&mut line);
    if tokio::time::timeout(std::time::Duration::from_secs(10), asked).await.map_err(std::io::Error::from)?? == 0 {
        return Ok(());
    }
    let answer = match serde_json::from_str(&line) {
        Ok(Ask::Backup { to }) => match backup::make(app, data, &to).await {
            Ok(contents) => Answer::Backup { to, position: contents.position, files: contents.files.len(), bytes: contents.bytes() },
            Err(failure) => Answer::Failed { why: format!("{:#}", anyhow::Error::new(failure)) },
        },
        Ok(Ask::Status) => {
            let (status, stats) = (app.telemetry.status(), app.telemetry.stats());
            Answer::Status {
                position: status.position,
                projected: status.projected,
                log_failed: status.log_failed,
                store_down: status.store_down,
                readings: stats.sealed_readings + stats.head_readings,
                points: stats.points,
            }
        }
        Err(failure) => Answer::Failed { why: format!("cannot read the question: {failure}") },
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    write.write_all(&text).await
}

/// Asks the node that runs in `data`; `None` if none does.
///
/// # Errors
/// It broke off, or answered what this release does not know.
pub fn ask(data: &Path, question: &Ask) -> anyhow::Result<Option<Answer>> {
    let Ok(mut stream) = std::os::unix::net::UnixStream::connect(data.join(NAME)) else { return Ok(None) };
    let mut text = serde_json::to_vec(question)?;
    text.push(b'\n');
    stream.write_all(&text).context("ask the running node")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).context("wait for the running node")?;
    anyhow::ensure!(!line.is_empty(), "the running node broke off; see its log");
    Ok(Some(serde_json::from_str(&line).context("understand the running node")?))
}
