//! Commands to devices and vehicles: checked and stored here, sent by [`crate::dispatch`], closed by the device's answer.

use anlan_model::{Clock as _, CommandBody, Permission, Scope};
pub use anlan_store::{CommandFilter, CommandRow, Target};

use crate::App;
use crate::error::AppError;
use crate::validate::{Page, Paging};

/// Longest text of 0x8300 in GBK bytes: a sub-packet-free body of 1,023 bytes less the flags leaves more; 499 characters is what
/// terminals of the 2011 edition were seen to show.
const TEXT_CHARS: usize = 499;
/// Longest payload to an MQTT device, bytes.
const PAYLOAD_BYTES: usize = 16 * 1024;
/// Most parameter ids of one question: the count is one byte on the wire.
const PARAMETERS: usize = 255;

/// Commands the asker may see, newest first.
///
/// # Errors
/// No permission to view, a foreign cursor, or the store's.
pub async fn list(app: &App, scope: &Scope, filter: &CommandFilter, paging: &Paging) -> Result<Page<CommandRow>, AppError> {
    Ok(app.store.commands(&scope.with(Permission::View)?, filter, paging).await?)
}

/// Stores a command and wakes the sender.
///
/// # Errors
/// No permission there, a body the target cannot take.
pub async fn create(app: &App, scope: &Scope, target: Target, body: CommandBody) -> Result<i64, AppError> {
    let act = scope.with(Permission::SendCommand)?;
    check(target, &body)?;
    let id = app.store.create_command(&act, target, &body, app.clock.now()).await?;
    app.commands.notify_one();
    Ok(id)
}

fn check(target: Target, body: &CommandBody) -> Result<(), AppError> {
    match (target, body) {
        (Target::Device(_), CommandBody::Mqtt { payload }) => {
            if payload.len() > PAYLOAD_BYTES {
                return Err(AppError::invalid("text.too_long", "body.payload").with("max", PAYLOAD_BYTES));
            }
            // INTERFACES promises devices JSON on their command topic.
            serde_json::from_str::<serde::de::IgnoredAny>(payload).map_err(|_| AppError::invalid("command.not_json", "body.payload"))?;
        }
        (Target::Vehicle(_), CommandBody::Text { text, .. }) => {
            if text.trim().is_empty() {
                return Err(AppError::invalid("text.empty", "body.text"));
            }
            if text.chars().count() > TEXT_CHARS {
                return Err(AppError::invalid("text.too_long", "body.text").with("max", TEXT_CHARS));
            }
        }
        (Target::Vehicle(_), CommandBody::QueryParameters { ids }) => {
            if ids.len() > PARAMETERS {
                return Err(AppError::invalid("list.length", "body.ids").with("max", PARAMETERS));
            }
        }
        (Target::Vehicle(_), CommandBody::QueryPosition | CommandBody::Track { .. }) => {}
        // Parameters and valves act on a moving vehicle; they need a second person and are off (ARCHITECTURE, source trust).
        _ => return Err(AppError::invalid("command.not_for_target", "body.kind")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anlan_model::{DeviceId, VehicleId};

    #[test]
    fn a_command_must_fit_its_target() {
        let (device, vehicle) = (Target::Device(DeviceId::new(1)), Target::Vehicle(VehicleId::new(1)));
        let code = |target, body: CommandBody| check(target, &body).err().map(|e| e.code());
        assert_eq!(code(device, CommandBody::Mqtt { payload: r#"{"open":1}"#.into() }), None);
        assert_eq!(code(device, CommandBody::Mqtt { payload: "open".into() }), Some("command.not_json"));
        assert_eq!(code(device, CommandBody::QueryPosition), Some("command.not_for_target"));
        assert_eq!(code(vehicle, CommandBody::Text { text: "减速".into(), flags: 8 }), None);
        assert_eq!(code(vehicle, CommandBody::Text { text: " ".into(), flags: 8 }), Some("text.empty"));
        assert_eq!(code(vehicle, CommandBody::SetParameters { items: vec![] }), Some("command.not_for_target"));
    }
}
