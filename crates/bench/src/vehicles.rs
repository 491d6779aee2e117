//! Section `jt808_connections`: `anlan sim terminals` with 10,000 real connections for a minute; ten minutes are a matter of `--minutes` by hand.

use std::process::Command;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::node::{Node, PASSWORD};
use crate::report::{Goal, Line};
use crate::{Options, fresh_dir};

/// Measures with the simulator's own report.
pub fn run(options: &Options, emit: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let dir = fresh_dir()?;
    let settings = [
        ("ANLAN_JT808__UNKNOWN", "accept"),
        ("ANLAN_LIMITS__MAX_CONNECTIONS", "20000"),
        ("ANLAN_LIMITS__MAX_CONNECTIONS_PER_IP", "20000"),
        ("ANLAN_VEHICLES__OPEN_MAX", "20000"),
    ];
    let node = Node::start(&options.anlan, dir.path(), &settings)?;
    let mut command = Command::new(&options.anlan);
    command.args(["sim", "terminals", "--server", &node.http, "--jt808", &node.jt808, "--user", "admin", "--password", PASSWORD]);
    command.args(["--minutes", "1", "--count", &options.connections.to_string(), "--pid", &node.process.pid().to_string()]);
    let output = command.env("ANLAN_LOG__FILTER", "warn").output().context("start the terminals")?;
    ensure!(output.status.success(), "the terminals ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).context("the report of the terminals")?;
    let number = |path: &str| report.pointer(path).and_then(Value::as_f64).with_context(|| format!("{path} in the report"));
    let n = number("/terminals")?;
    emit(
        Line::new("jt808.bytes_per_connection", number("/server/bytes_per_connection")? / 1024.0, "KiB")
            .goal(Goal::AtMost(20.0))
            .note(format!("{n:.0} connections, {:.0} lost and made again; beside kernel buffers", number("/reconnects")?)),
    );
    emit(Line::new("jt808.cpu_share", number("/server/cpu_share")? * 100.0, "% of a core").note(format!(
        "{:.0} reports in a minute, {:.0} answered, {:.0} failed, sent up to {:.0} ms late",
        number("/reports")?,
        number("/acknowledged")?,
        number("/failed")?,
        number("/lateness_ms/max")?
    )));
    emit(Line::new("jt808.answer_p99", number("/answer_ms/p99")?, "ms").note(format!("median {:.1} ms", number("/answer_ms/p50")?)));
    emit(Line::new("jt808.report_to_browser_p99", number("/live_ms/p99")?, "ms").note(format!(
        "median {:.0} ms of {:.0}; the stream tells of vehicles at most once a second",
        number("/live_ms/p50")?,
        number("/live_ms/n")?
    )));
    Ok(())
}
