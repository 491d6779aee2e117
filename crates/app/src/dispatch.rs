//! Sends stored commands to devices: a reconciler that reads what is committed, acts, and may run twice without harm.
//!
//! A command is stored first, handed to the sockets here, and closed by the device's answer, which returns through the log.

use std::sync::Arc;
use std::time::Duration;

use anlan_model::{Clock as _, Delivery, Downlink};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::App;

/// Looked at this often even without a signal.
const EVERY: Duration = Duration::from_secs(60);
/// Commands read at once.
const PER_ROUND: u32 = 500;

/// Runs until stopped.
pub async fn run(app: Arc<App>, downlink: Arc<dyn Downlink>, stop: CancellationToken) {
    loop {
        if let Err(failure) = round(&app, downlink.as_ref()).await {
            warn!(error = &failure as &dyn std::error::Error, "commands could not be read; next try within a minute");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = app.commands.notified() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn round(app: &App, downlink: &dyn Downlink) -> Result<(), anlan_store::StoreError> {
    let mut after = 0;
    loop {
        let rows = app.store.unsent_commands(after, PER_ROUND).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.command.id;
        for command in rows.into_iter().map(|row| row.command) {
            let now = app.clock.now();
            match downlink.send(&command) {
                Delivery::Sent => app.store.mark_command_sent(command.id, now).await?,
                // It waits until the device comes back.
                Delivery::NotConnected => {}
                Delivery::Unsupported => {
                    app.store.answer_command(command.id, &command.to, false, r#"{"reason":"unsupported"}"#, now).await?
                }
            }
        }
    }
}
