//! Server processes under measurement: started, watched through `/proc`, ended.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

/// The kernel counts CPU time in these units (`getconf CLK_TCK`, 100 on every Linux that Debian ships).
const TICKS_PER_S: f64 = 100.0;

/// User and system CPU seconds of a process so far, ended threads included.
pub fn cpu_s(pid: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} is gone"))?;
    // After the name in brackets: state is field 0, utime and stime are 11 and 12 (proc(5)).
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).context("utime and stime");
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_S)
}

fn status_bytes(pid: u32, key: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|l| l.starts_with(key)).with_context(|| format!("{key} of process {pid}"))?;
    Ok(line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).context("kB")? * 1024)
}

/// Greatest resident size so far, bytes.
pub fn peak_rss(pid: u32) -> anyhow::Result<u64> {
    status_bytes(pid, "VmHWM")
}

/// Resident size now, bytes.
pub fn rss(pid: u32) -> anyhow::Result<u64> {
    status_bytes(pid, "VmRSS")
}

/// Bytes of every file below `dir`.
pub fn tree_bytes(dir: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() { tree_bytes(&entry.path())? } else { meta.len() };
    }
    Ok(bytes)
}

/// A server process; killed when dropped.
pub struct Process {
    child: Child,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Process {
    /// Starts it.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        let child = command.spawn().with_context(|| format!("start {}", command.get_program().to_string_lossy()))?;
        Ok(Self { child })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it printed, once.
    pub fn stdout(&mut self) -> anyhow::Result<std::process::ChildStdout> {
        self.child.stdout.take().context("stdout is piped")
    }

    /// CPU seconds so far.
    pub fn cpu_s(&self) -> anyhow::Result<f64> {
        cpu_s(self.pid())
    }

    /// Waits until it works no more than `share` of a core, at most `most`, so that work put off until after the answer is counted too.
    pub fn settle(&self, share: f64, most: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + most;
        let mut before = self.cpu_s()?;
        let mut quiet = 0;
        while Instant::now() < until && quiet < 3 {
            std::thread::sleep(Duration::from_millis(500));
            let now = self.cpu_s()?;
            quiet = if now - before <= share * 0.5 { quiet + 1 } else { 0 };
            before = now;
        }
        Ok(())
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(mut self) -> anyhow::Result<()> {
        let told = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status()?;
        ensure!(told.success(), "cannot signal process {}", self.pid());
        self.child.wait()?;
        Ok(())
    }
}

/// A loopback port that was free a moment ago, for programs that cannot choose one themselves.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
