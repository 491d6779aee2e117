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
/// Commands looked at in one round.
const PER_ROUND: usize = 500;

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
    for command in app.store.unsent_commands(PER_ROUND).await? {
        let now = app.clock.now();
        match downlink.send(&command) {
            Delivery::Sent => app.store.command_sent(command.id, now).await?,
            // It waits until the device comes back.
            Delivery::NotConnected => {}
            Delivery::Unsupported => app.store.command_failed(command.id, r#"{"reason":"unsupported"}"#, now).await?,
        }
    }
    Ok(())
}
