//! `cargo xtask faults`: what machines do to a node, done to the real binary, and every invariant checked afterwards.
//!
//! A killed process loses nothing from the page cache, so a kill alone proves little: most kills here are *power cuts* (see
//! `shim/power.c` and [`journal`]). `--break` takes a sync away and must make the run fail. Start at [`run`], then [`kills`].

mod device;
pub mod journal;
mod kills;
pub mod node;
mod scenarios;
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;

use crate::shell;

pub use kills::Break;

/// Arguments of `faults`.
#[derive(clap::Args, Clone)]
pub struct Args {
    /// Kills in all; two of three are power cuts.
    #[arg(long, default_value_t = 100)]
    pub kills: u64,
    /// Repeats the choices of an earlier run; instants still differ.
    #[arg(long)]
    pub seed: Option<u64>,
    /// One scenario (may be repeated): kills, or the name of another fault.
    #[arg(long)]
    pub only: Vec<String>,
    /// Where the nodes' directories are made, and left if something is wrong; by default in shared memory, and removed.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Take a sync away: the run must fail.
    #[arg(long = "break", value_enum)]
    pub broken: Option<Break>,
    /// The release build instead of the one the tests use.
    #[arg(long)]
    pub release: bool,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Tally {
    /// Processes ended without warning.
    pub kills: u64,
    /// Of them, power cuts.
    pub cuts: u64,
    /// Messages that the node said it keeps.
    pub acknowledged: u64,
    /// Messages found at the end.
    pub stored: u64,
    /// Acknowledged and not found, though nobody said that its day was dropped.
    pub lost: u64,
    /// Acknowledged, gone with its day by retention, and said to be.
    pub dropped: u64,
    /// Found more than once.
    pub doubled: u64,
    /// Alarms in the log, all compared with the database.
    pub alarms: u64,
    /// Acknowledgements, users and commands confirmed to people.
    pub acts: u64,
    /// Rows found in archives, each day compared with what the API showed.
    pub archived: u64,
    /// Backups found whole after the node that made them was gone, all of them restored.
    pub restored: u64,
    /// Everything that was not as it must be.
    pub wrong: Vec<String>,
}

impl Tally {
    /// Notes and shows a breach.
    pub fn wrong(&mut self, what: String) {
        eprintln!("WRONG {what}");
        self.wrong.push(what);
    }
}

/// The harness's own failures name the act and the path: a bare "No such file or directory" tells nobody anything.
pub trait At<T> {
    /// "could not `act` `path`: why".
    ///
    /// # Errors
    /// Whatever it was.
    fn at(self, act: &str, path: &Path) -> anyhow::Result<T>;
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, act: &str, path: &Path) -> anyhow::Result<T> {
        self.with_context(|| format!("could not {act} {}", path.display()))
    }
}

/// splitmix64: the choices of a run follow from its seed (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators").
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// 0 to `n` - 1; 0 if `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
}

/// A directory in memory, if the machine has one.
fn memory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

/// Microseconds since 1970.
pub fn now_us() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_micros() as i64)
}

/// Where a run's nodes live; removed at the end.
pub struct Bench {
    /// The binary, under a name of its own.
    pub binary: PathBuf,
    /// The shim, built.
    pub shim: PathBuf,
    /// Where everything is.
    pub dir: PathBuf,
    /// Left for a look when dropped.
    pub is_kept: bool,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.binary);
        if self.is_kept {
            println!("kept for a look: {}", self.dir.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

impl Bench {
    /// A bench for this binary below `data`, by default in memory.
    ///
    /// # Errors
    /// I/O, or the shim does not build.
    pub fn new(binary: PathBuf, data: Option<&Path>) -> anyhow::Result<Self> {
        let below = data.map_or_else(memory, Path::to_owned);
        let dir = below.join(format!("anlan-faults-{}", std::process::id()));
        std::fs::create_dir_all(&dir).at("make", &dir)?;
        // The shim compares names; a relative one, or one through a link, would be another.
        let dir = dir.canonicalize().at("find", &dir)?;
        // Under a name of its own: a build meanwhile would take it away.
        let own = shell::target_dir().join(format!("faults/anlan-{}", std::process::id()));
        let shim = journal::build_shim()?;
        std::fs::hard_link(&binary, &own).or_else(|_| std::fs::copy(&binary, &own).map(drop)).at("link", &own)?;
        Ok(Self { binary: own, shim, dir, is_kept: false })
    }

    /// A fresh directory for a node.
    pub fn place(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// Runs what was asked for and prints the closing line.
///
/// # Errors
/// The harness's own.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let tally = measure(args, node::build(args.release)?)?;
    println!(
        "faults: kills {} acknowledged {} stored {} lost {} doubled {}",
        tally.kills, tally.acknowledged, tally.stored, tally.lost, tally.doubled
    );
    Ok(if tally.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What `cargo xtask test` runs in well under a minute: a few kills, the faults of disk and clock.
///
/// # Errors
/// Whatever is not as it must be.
pub fn short(binary: PathBuf) -> anyhow::Result<()> {
    let only = ["kills", "eio-log-sync", "eio-database", "full-disk", "clock-jumps"].map(str::to_owned).to_vec();
    let tally = measure(&Args { kills: 24, seed: None, only, data: None, broken: None, release: false }, binary)?;
    anyhow::ensure!(tally.wrong.is_empty(), "{}", tally.wrong.join("\n"));
    anyhow::ensure!(tally.cuts > 0 && tally.acknowledged > 1_000, "too little happened to mean anything: {tally:?}");
    Ok(())
}

/// That the harness can fail: without this sync, power cuts lose what was acknowledged.
///
/// # Errors
/// Nothing was lost.
pub fn must_fail(binary: PathBuf, broken: Break) -> anyhow::Result<()> {
    let args = Args { kills: 60, seed: None, only: vec!["kills".to_owned()], data: None, broken: Some(broken), release: false };
    let tally = measure(&args, binary)?;
    anyhow::ensure!(tally.lost > 0, "{} power cuts without {broken:?} lost nothing of {}", tally.cuts, tally.acknowledged);
    Ok(())
}

/// The same with a binary that is there.
///
/// # Errors
/// The harness's own.
pub fn measure(args: &Args, binary: PathBuf) -> anyhow::Result<Tally> {
    let mut bench = Bench::new(binary, args.data.as_deref())?;
    bench.is_kept = args.data.is_some();
    let seed = args.seed.unwrap_or_else(|| now_us() as u64);
    println!("seed {seed}");
    let mut tally = Tally::default();
    let wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|only| only == name);
    let mut n = 0;
    if wanted("kills") {
        n += 1;
        kills::run(&bench, args.kills, args.broken, &mut Random(seed), &mut tally)?;
    }
    for (name, scenario) in scenarios::ALL.iter().filter(|(name, _)| args.broken.is_none() && wanted(name)) {
        n += 1;
        let began = Instant::now();
        let before = tally.wrong.len();
        let said = scenario(&bench, &mut Random(seed), &mut tally).with_context(|| format!("scenario {name}"))?;
        let verdict = if tally.wrong.len() == before { "held" } else { "BROKEN" };
        println!("{name}: {verdict} in {:.1} s; {said}", began.elapsed().as_secs_f64());
    }
    bench.is_kept &= !tally.wrong.is_empty();
    let names: Vec<&str> = scenarios::ALL.iter().map(|(name, _)| *name).collect();
    anyhow::ensure!(n > 0, "there is no scenario of that name; there are: kills, {}", names.join(", "));
    Ok(tally)
}
