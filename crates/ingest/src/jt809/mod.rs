//! JT/T 809: platforms below that log in and give positions ([`serve_platforms`]), and platforms above that this node gives its own to
//! ([`serve_upper`]).
//!
//! One task owns both connections of a pair; what a message means is `anlan_protocols::jt809`, which link does what is its `session`.
//! **Taken means durable**: positions are counted (0x9101), and heartbeats answered, once everything before them is in the log; what
//! the log cannot take now is offered again, and no more is read meanwhile. JT/T 809 has no answer per position, so the giving end takes the
//! answer to its heartbeat for "read up to here" and keeps its place by it.
//!
//! A platform below speaks for vehicles of its region, known here by plate. Its word is worth *platform*: the terminal itself proved nothing to us
//! (ADR 0006). This node connects to addresses from the configuration alone. Nothing here answers a duty check (0x9301): a person must see it, so it
//! becomes an event. Messages that nobody handles are counted by id.
//!
//! Metrics: `jt809_link_up{platform,link}`, `jt809_positions_total{platform,way}`, `jt809_counted_above_total{platform}`, `jt809_unhandled_total{id}`,
//! `jt809_not_given_total{platform,reason}`, `jt809_backlog_records{platform}`, and those of [`crate::LinkStats`] with protocol `jt809`.

use std::time::Duration;

use anlan_protocols::jt809::session::{Link, Timing};
use anlan_protocols::jt809::{Message, message_json};

mod cursor;
mod desk;
mod giver;
mod line;
mod settings;
mod taker;

pub use giver::serve as serve_upper;
pub use settings::{Checked, Platform, PlatformSettings, Settings, SettingsError, Upper, UpperSettings, Year};
pub use taker::serve as serve_platforms;

/// How long things take; the defaults are for the field, tests hurry.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Heartbeats, silence, new attempts.
    pub timing: Timing,
    /// Between two counts of what was received (0x9101).
    pub count: Duration,
    /// A heartbeat at least so often while positions are given: its answer moves the place on that a restart begins with.
    pub mark: Duration,
    /// Between two looks for new positions.
    pub look: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { timing: Timing::default(), count: Duration::from_secs(60), mark: Duration::from_secs(10), look: Duration::from_millis(250) }
    }
}

/// What a sub-business that is no position is called as an event; `None`: it is counted alone.
fn event_of(sub: u16) -> Option<&'static str> {
    Some(match sub {
        0x1102 => "platform_lost_positions",
        0x1301 | 0x1302 | 0x1401 | 0x1403 | 0x1411 | 0x1412 => "platform_answer",
        0x1402 | 0x1413 | 0x9402 | 0x9403 => "platform_alarm",
        0x9301 => "platform_check",
        0x9302 => "platform_letter",
        0x9401 => "platform_supervision",
        _ => return None,
    })
}

/// Longest text of an event; a letter may have a megabyte.
const DETAIL_MAX: usize = 8 << 10;

/// A message as the detail of an event.
fn detail(message: &Message, edition: anlan_protocols::jt809::Edition, name: &str) -> String {
    let mut json = message_json(message, edition);
    if let Some(object) = json.as_object_mut() {
        object.insert("platform".to_owned(), name.into());
    }
    let whole = json.to_string();
    if whole.len() <= DETAIL_MAX {
        return whole;
    }
    let text: String = json.get("text").and_then(|t| t.as_str()).unwrap_or_default().chars().take(1_000).collect();
    serde_json::json!({ "platform": name, "sub": json.get("sub"), "text": text, "cut": true }).to_string()
}

/// Counts what nobody handles. Ids that are in no table share a label: a stranger must not choose how many there are.
fn unhandled(message: &Message) {
    let id = message.part.as_ref().map_or(message.business, |part| part.sub);
    let known = message.is_known() || anlan_protocols::jt809::message_name(id) != "unknown";
    let label = if known { format!("{id:#06x}") } else { "other".to_owned() };
    metrics::counter!("jt809_unhandled_total", "id" => label).increment(1);
}

/// Shows which links of a pair stand, and takes that back when the task ends.
struct Lamps {
    name: String,
}

impl Lamps {
    fn new(name: &str) -> Self {
        let lamps = Self { name: name.to_owned() };
        lamps.set(Link::Main, false);
        lamps.set(Link::Other, false);
        lamps
    }
    fn set(&self, link: Link, up: bool) {
        let word = if link == Link::Main { "main" } else { "other" };
        metrics::gauge!("jt809_link_up", "platform" => self.name.clone(), "link" => word).set(if up { 1.0 } else { 0.0 });
    }
}

impl Drop for Lamps {
    fn drop(&mut self) {
        self.set(Link::Main, false);
        self.set(Link::Other, false);
    }
}
