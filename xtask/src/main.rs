//! Developer commands: `cargo xtask demo | test | check | gen | bench | faults | netlab | simulate`.
//!
//! `test` is what CI runs and what a newcomer runs: everything, or a clear word of what is missing. Start at [`test::run`].

mod bench;
mod check;
mod coverage;
mod demo;
mod faults;
mod netlab;
mod shell;
mod simulate;
mod test;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Developer commands of Anlan")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build console and server, start the demo, print the address and how to sign in.
    Demo {
        /// Passed on to `anlan demo`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run every test: Rust, console, browser, both databases, fuzz targets.
    Test {
        /// Install what is missing (Debian, as root).
        #[arg(long)]
        install: bool,
    },
    /// Check the rules of the house that no compiler knows (ARCHITECTURE.md, "Invariants"), and that the source plan is covered (docs/plan).
    Check,
    /// Measure the server beside its peers (VictoriaMetrics, mosquitto) on workload W; docs/performance.md says what and why.
    Bench {
        /// `--json FILE`, `--only NAME`, … ; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Regenerate what is generated: OpenAPI document, web types, configuration reference.
    Gen,
    /// Cut the power, kill, fill the disk, fail and slow its calls under the real binary, and check that nothing acknowledged is lost.
    Faults(faults::Args),
    /// Join nodes of the real binary to a network and make trouble: bad wires, a cut of 72 h, kills, power cuts, boxes that lie.
    Netlab(netlab::Args),
    /// Run networks of nodes in trouble in one thread, by the thousand: `simulate link --seeds N`.
    Simulate(simulate::Args),
}

fn main() -> ExitCode {
    let run = match Cli::parse().command {
        Command::Demo { args } => demo::run(&args),
        Command::Test { install } => test::run(install),
        Command::Check => check::run(),
        Command::Bench { args } => bench::run(&args),
        Command::Gen => demo::generate(),
        Command::Faults(args) => faults::run(&args),
        Command::Netlab(args) => netlab::run(&args),
        Command::Simulate(args) => simulate::run(&args),
    };
    match run {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("xtask: {failure:#}");
            ExitCode::FAILURE
        }
    }
}
