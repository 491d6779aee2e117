//! `cargo xtask netlab`: nodes of the real binary joined to a network, in real trouble: wires that stall and break, a cut of 72 hours, kills and
//! power cuts at every level, boxes that are not who they say. At the end every level holds every acknowledged reading and every alarm once.
//!
//! What thousands of simulated networks cannot show (`cargo xtask simulate link`) is here: storage, TLS, processes. Start at [`run`].

mod agreed;
mod bad;
mod jetstream;
mod net;
mod relay;
mod trouble;

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::Context as _;

use crate::faults::{Bench, Break, Random, node, now_us};

/// Arguments of `netlab`.
#[derive(clap::Args, Clone)]
pub struct Args {
    /// Repeats the choices of an earlier run; instants still differ.
    #[arg(long)]
    pub seed: Option<u64>,
    /// One scenario (may be repeated).
    #[arg(long)]
    pub only: Vec<String>,
    /// Kills in each scenario that kills.
    #[arg(long, default_value_t = 20)]
    pub kills: u64,
    /// Where the nodes' directories are made, and left if something is wrong; by default in shared memory, and removed.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Take a sync away where the power is cut: the run must fail.
    #[arg(long = "break", value_enum)]
    pub broken: Option<Break>,
    /// The release build instead of the one the tests use.
    #[arg(long)]
    pub release: bool,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Tally {
    /// Scenarios that ran to their end.
    pub scenarios: u64,
    /// Processes ended without warning.
    pub kills: u64,
    /// Of them, power cuts.
    pub cuts: u64,
    /// Readings that enterprises' nodes acknowledged.
    pub readings: u64,
    /// Alarms at all levels.
    pub alarms: u64,
    /// Acknowledged or raised, and not at a level where it must be.
    pub lost: u64,
    /// At a level more than once.
    pub doubled: u64,
    /// At a level, and not the same.
    pub unequal: u64,
    /// Everything that was not as it must be.
    pub wrong: Vec<String>,
}

impl Tally {
    /// Notes and shows a breach.
    pub fn wrong(&mut self, what: String) {
        eprintln!("WRONG {what}");
        self.wrong.push(what);
    }

    /// Notes a breach unless it is so.
    pub fn must(&mut self, is_so: bool, what: &str) {
        if !is_so {
            self.wrong(what.to_owned());
        }
    }
}

/// What a scenario is given.
pub struct Lab<'a> {
    /// Binary and directories.
    pub bench: &'a Bench,
    /// The run's.
    pub seed: u64,
    /// Wished for.
    pub kills: u64,
    /// What the disks do not do.
    pub broken: Option<Break>,
}

/// A trouble: what it found out, in a line.
type Scenario = fn(&Lab<'_>, &mut Tally) -> anyhow::Result<String>;

/// Every trouble, by name.
const ALL: &[(&str, Scenario)] = &[
    ("relay", trouble::relay),
    ("cut-72h", trouble::cut_72h),
    ("kill", trouble::kill),
    ("power-cut", trouble::power_cut),
    ("pairing", trouble::pairing),
    ("agreed", agreed::agreed),
    ("jetstream", jetstream::jetstream),
    ("foreign", bad::foreign),
    ("revoked", bad::revoked),
    ("clone", bad::clone),
    ("restored-child", bad::restored_child),
    ("restored-later", bad::restored_later),
    ("restored-parent", bad::restored_parent),
    ("trespass", bad::trespass),
];

/// Runs what was asked for and prints the closing line.
///
/// # Errors
/// The harness's own.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    println!("{}", namespaces());
    let tally = measure(args, node::build(args.release)?)?;
    println!(
        "netlab: scenarios {} kills {} readings {} alarms {}, lost {} doubled {} unequal {}",
        tally.scenarios, tally.kills, tally.readings, tally.alarms, tally.lost, tally.doubled, tally.unequal
    );
    Ok(if tally.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What `cargo xtask test` runs in well under a minute or so: a bad wire with kills, and the long cut.
///
/// # Errors
/// Whatever is not as it must be.
pub fn short(binary: PathBuf) -> anyhow::Result<()> {
    let only = ["kill", "cut-72h"].map(str::to_owned).to_vec();
    let tally = measure(&Args { seed: None, only, kills: 5, data: None, broken: None, release: false }, binary)?;
    anyhow::ensure!(tally.wrong.is_empty(), "{}", tally.wrong.join("\n"));
    anyhow::ensure!(tally.readings > 1_000 && tally.alarms > 10, "too little happened to mean anything: {tally:?}");
    Ok(())
}

fn measure(args: &Args, binary: PathBuf) -> anyhow::Result<Tally> {
    let names: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
    let unknown = args.only.iter().find(|only| !names.contains(&only.as_str()));
    anyhow::ensure!(unknown.is_none(), "there is no scenario {unknown:?}; there are: {}", names.join(", "));
    let mut bench = Bench::new(binary, args.data.as_deref())?;
    let seed = args.seed.unwrap_or_else(|| now_us() as u64);
    println!("seed {seed}");
    let mut tally = Tally::default();
    for (name, scenario) in ALL.iter().filter(|(name, _)| args.only.is_empty() || args.only.iter().any(|only| only == name)) {
        let began = Instant::now();
        let before = tally.wrong.len();
        // Each has its own choices, whichever others run.
        let own = name.bytes().fold(seed, |sum, b| Random(sum ^ u64::from(b)).next());
        bench.is_kept = args.data.is_some();
        let said = scenario(&Lab { bench: &bench, seed: own, kills: args.kills, broken: args.broken }, &mut tally)
            .with_context(|| format!("scenario {name}"))?;
        let verdict = if tally.wrong.len() == before { "held" } else { "BROKEN" };
        println!("{name}: {verdict} in {:.1} s; {said}", began.elapsed().as_secs_f64());
        tally.scenarios += 1;
        if tally.wrong.len() == before {
            let _ = std::fs::remove_dir_all(bench.place(name));
        }
    }
    bench.is_kept &= !tally.wrong.is_empty();
    Ok(tally)
}

/// Whether nodes could stand in namespaces with packets lost between them, or why not.
fn namespaces() -> String {
    let runs = |program: &str, words: &[&str]| {
        Command::new(program).args(words).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let reason = if !runs("unshare", &["--net", "true"]) {
        "unshare is refused"
    } else if !runs("nft", &["--version"]) {
        "nft is not installed"
    } else {
        "not built"
    };
    format!("namespaces: not used here ({reason}); TCP relay ran")
}
