//! What the tests need beside Rust: found, installed on Debian, or named in one command.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell;

/// Debian packages by the file that proves them.
const PACKAGES: &[(&str, &[&str])] = &[
    ("postgresql-15", &["/usr/lib/postgresql/15/bin/initdb"]),
    ("chromium", &["/usr/bin/chromium"]),
    ("fonts-noto-cjk", &["/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"]),
    ("mosquitto-clients", &["/usr/bin/mosquitto_pub"]),
    ("nats-server", &[NATS_SERVER]),
    ("g++", &["/usr/bin/g++", "/usr/bin/c++"]),
    ("curl", &["/usr/bin/curl"]),
    ("faketime", &["/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1"]),
];

/// Debian puts it here.
pub const NATS_SERVER: &str = "/usr/sbin/nats-server";

/// Packages that tests can do without; what they were for is then skipped by name. `--install` brings them.
const OPTIONAL: &[(&str, &[&str])] = &[("valgrind", &[VALGRIND])];
const VALGRIND: &str = "/usr/bin/valgrind";

/// Whether instructions can be counted.
pub fn has_valgrind() -> bool {
    Path::new(VALGRIND).exists()
}

/// What is missing.
pub struct Missing {
    packages: Vec<&'static str>,
    optional: Vec<&'static str>,
    nextest: bool,
}

/// Looks around without changing anything.
pub fn missing() -> Missing {
    let absent = |files: &&[&str]| !files.iter().any(|f| Path::new(f).exists());
    Missing {
        packages: PACKAGES.iter().filter(|(_, files)| absent(files)).map(|(name, _)| *name).collect(),
        optional: OPTIONAL.iter().filter(|(_, files)| absent(files)).map(|(name, _)| *name).collect(),
        nextest: !answers("cargo-nextest", &["nextest", "--version"]),
    }
}

fn answers(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|o| o.status.success())
}

impl Missing {
    /// Nothing that tests need is.
    pub fn is_nothing(&self) -> bool {
        self.packages.is_empty() && !self.nextest
    }

    /// The one command that installs it all.
    pub fn command(&self) -> String {
        let mut parts = Vec::new();
        if !self.packages.is_empty() {
            parts.push(format!("sudo apt-get install -y {}", self.packages.join(" ")));
        }
        if self.nextest {
            parts.push("cargo install cargo-nextest --locked".to_owned());
        }
        parts.join(" && ")
    }

    /// Installs it and what is optional; needs Debian and root for packages.
    pub fn install(&self) -> anyhow::Result<()> {
        if !self.packages.is_empty() || !self.optional.is_empty() {
            shell::run(Command::new("apt-get").arg("update").arg("-q"))?;
            let mut install = Command::new("apt-get");
            install
                .args(["install", "-y", "-q", "--no-install-recommends"])
                .args(&self.packages)
                .args(&self.optional)
                .env("DEBIAN_FRONTEND", "noninteractive");
            shell::run(&mut install)?;
        }
        if self.nextest {
            shell::run(Command::new("cargo").args(["install", "cargo-nextest", "--locked"]))?;
        }
        Ok(())
    }
}

/// Node 20 or newer, or a sentence saying how to get it.
pub fn require_node() -> anyhow::Result<()> {
    let output = Command::new("node").arg("--version").output();
    let version = output.ok().filter(|o| o.status.success()).map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    let major = version.as_deref().and_then(|v| v.trim_start_matches('v').split('.').next()?.parse::<u32>().ok());
    anyhow::ensure!(
        major.is_some_and(|m| m >= 20),
        "Node.js 20 or newer is needed for the console (found: {}); README.md says how to get it",
        version.as_deref().unwrap_or("none")
    );
    Ok(())
}

/// A throwaway PostgreSQL cluster on a free loopback port; stopped and removed when dropped.
pub struct Postgres {
    dir: PathBuf,
    /// URL of a server on which databases may be made.
    pub url: String,
}

const POSTGRES_BIN: &str = "/usr/lib/postgresql/15/bin";

/// As root PostgreSQL refuses to run, so it becomes `postgres` there.
fn as_postgres(program: &str) -> Command {
    let program = format!("{POSTGRES_BIN}/{program}");
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout == b"0\n");
    let mut command = if is_root { Command::new("runuser") } else { Command::new(&program) };
    if is_root {
        command.args(["-u", "postgres", "--", &program]);
    }
    command.current_dir("/");
    command
}

impl Postgres {
    /// Makes and starts one.
    pub fn start() -> anyhow::Result<Self> {
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let dir = std::env::temp_dir().join(format!("anlan-postgres-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        if Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout == b"0\n") {
            shell::run(Command::new("chown").arg("postgres").arg(&dir))?;
        }
        let postgres = Self { url: format!("postgres://postgres@127.0.0.1:{port}/postgres"), dir };
        let data = postgres.dir.join("data");
        let (ok, text) = shell::capture(
            as_postgres("initdb").args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-D"]).arg(&data),
        )?;
        anyhow::ensure!(ok, "initdb failed: {text}");
        // Tests lose nothing that matters when the machine dies, so the throwaway server need not sync.
        let options = format!("-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off -c max_connections=200");
        let mut start = as_postgres("pg_ctl");
        start.args(["start", "-w", "-s", "-l"]).arg(postgres.dir.join("log")).arg("-o").arg(options).arg("-D").arg(&data);
        // Its own files, not a pipe: the server inherits them and would keep the pipe open for ever.
        start.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        anyhow::ensure!(start.status()?.success(), "pg_ctl start failed; see {}", postgres.dir.join("log").display());
        Ok(postgres)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = as_postgres("pg_ctl").args(["stop", "-m", "immediate", "-s", "-D"]).arg(self.dir.join("data")).status();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
