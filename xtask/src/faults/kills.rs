//! Power cuts and kills at random instants under load, while starting, and between any two acts on the disk.
//!
//! A node lives through [`PER_NODE`] of them, then every reading it ever acknowledged is asked for and its files are checked. Start at [`run`].

use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::journal::{Loss, Word, act, class};
use super::node::{Node, Start};
use super::world::{DROPS, DROPS_HOURS, RELEASES_LOG, World, archives};
use super::{Bench, Random, Tally};

/// Kills before a node is checked to the end and the next begins.
const PER_NODE: u64 = 25;
/// When the wished-for act does not come, the kill comes anyway.
const PATIENCE: Duration = Duration::from_millis(400);

/// A call that had passed the switch when it was turned off has counted within this.
const UNDER_WAY: Duration = Duration::from_millis(50);
/// An act that is to kill comes to its end within this, however loaded the machine is.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// A sync to take away, so that the harness can be seen to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Break {
    /// The log's fdatasync before the reply.
    Fsync,
    /// The fsync of the history's directory after a file got its name.
    Dirsync,
}

/// What a run took.
#[derive(Default)]
struct Figures {
    unsynced: u64,
    bytes: u64,
    names: u64,
    starting: u64,
    wished: u64,
    ready: Vec<Duration>,
}

/// `n` kills, two of three with a power cut.
pub fn run(bench: &Bench, n: u64, broken: Option<Break>, random: &mut Random, tally: &mut Tally) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut figures = Figures::default();
    while tally.kills < n && (broken.is_none() || tally.wrong.is_empty()) {
        // Some nodes have their first cut while their directory is being made.
        if random.below(2) == 0 && broken.is_none() && n - tally.kills > 1 {
            first_start(bench, random, tally, &mut figures)?;
        }
        let place = bench.place(&format!("kills-{}", tally.kills));
        let kills = PER_NODE.min(n - tally.kills);
        life(bench, &place, kills, broken, random, tally, &mut figures).with_context(|| format!("the node in {}", place.display()))?;
        if tally.wrong.is_empty() {
            let _ = std::fs::remove_dir_all(&place);
        }
    }
    figures.ready.sort_unstable();
    let at = |part: usize| figures.ready.get(figures.ready.len().saturating_sub(1) * part / 100).copied().unwrap_or_default();
    println!(
        "kills: {} in {:.0} s, {} of them power cuts ({} while starting, {} at a chosen act); {} unsynced acts, {} sectors and {} names undone; \
         ready after {:?} in the middle, {:?} at most; {} alarms and {} acts of people agree, {} rows archived, {} dropped in time, \
         {} backups restored",
        tally.kills,
        began.elapsed().as_secs_f64(),
        tally.cuts,
        figures.starting,
        figures.wished,
        figures.unsynced,
        figures.bytes,
        figures.names,
        at(50),
        at(100),
        tally.alarms,
        tally.acts,
        tally.archived,
        tally.dropped,
        tally.restored,
    );
    Ok(())
}

/// When the process is ended.
#[derive(Clone, Copy)]
enum When {
    /// After so long under load.
    After(Duration),
    /// At the n-th act of a kind: before, in the middle of or after it.
    At { mask: u64, n: u64, mode: u64 },
}

impl When {
    const NEVER: Self = Self::After(Duration::ZERO);

    fn any(random: &mut Random, is_starting: bool) -> Self {
        if !is_starting && random.below(2) == 0 {
            return Self::After(Duration::from_millis(5 + random.below(150)));
        }
        let (mask, most) = match random.below(4) {
            0 => (act::WRITE, 150),
            1 => (act::NAME, 40),
            2 => (act::SYNC, 60),
            _ => (act::WRITE | act::NAME | act::SYNC, 250),
        };
        Self::At { mask, n: 1 + random.below(if is_starting { 25 } else { most }), mode: random.below(3) }
    }

    fn set(self, node: &Node) -> anyhow::Result<()> {
        let (mask, n, mode) = if let Self::At { mask, n, mode } = self { (mask, n, mode) } else { (0, 0, 0) };
        node.journal.set(Word::KillMode, mode)?;
        node.journal.set(Word::KillCountdown, n)?;
        node.journal.set(Word::KillMask, mask)
    }
}

/// No kill from here on; one whose act has been counted is waited for.
fn disarm(node: &mut Node) -> anyhow::Result<()> {
    node.journal.set(Word::KillMask, 0)?;
    std::thread::sleep(UNDER_WAY);
    let until = Instant::now() + ENDS_WITHIN;
    while node.journal.get(Word::KillCountdown)? == 0 && !node.has_ended() {
        anyhow::ensure!(Instant::now() < until, "the shim was to kill the node and has not within {ENDS_WITHIN:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    When::NEVER.set(node)
}

fn break_it(node: &Node, broken: Option<Break>) -> anyhow::Result<()> {
    match broken {
        None => Ok(()),
        Some(Break::Fsync) => node.journal.set(Word::SwallowFdatasync, class::LOG),
        Some(Break::Dirsync) => node.journal.set(Word::SwallowFsync, class::HISTORY_DIR),
    }
}

/// One node and its kills.
fn life(
    bench: &Bench,
    place: &std::path::Path,
    n: u64,
    broken: Option<Break>,
    random: &mut Random,
    tally: &mut Tally,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let archive = if random.below(2) == 0 && broken.is_none() { archives(place) } else { Vec::new() };
    let mut settings: Vec<(&str, &str)> = archive.iter().map(|(key, value)| (*key, value.as_str())).collect();
    if random.below(3) == 0 {
        settings.push(RELEASES_LOG);
    }
    if random.below(2) == 0 && broken.is_none() {
        settings.extend(DROPS);
        if random.below(2) == 0 {
            settings.push(DROPS_HOURS);
        }
    }
    // A hold comes sooner or later, or never.
    let hold_after = random.below(2 * n);
    let mut world = World::new(&bench.binary, &bench.shim, place, &settings, random)?;
    break_it(&world.node, broken)?;
    // Shared memory syncs at once; a disk does not, and what is lost is what waits for its sync.
    world.node.journal.set(Word::DelayClass, class::ALL)?;
    let mut done = 0;
    while done < n {
        world.node.journal.set(Word::DelayUs, [0, 300, 2_000][random.below(3) as usize])?;
        let when = When::any(random, false);
        when.set(&world.node)?;
        let folder = place.join(format!("backup-{done}"));
        let wants_backup = broken.is_none() && random.below(5) == 0;
        let (wished, backup) = world.under_load(|node| {
            let backup = if wants_backup { node.back_up(&folder)? } else { None };
            match when {
                When::After(pause) => std::thread::sleep(pause),
                When::At { .. } => {
                    let until = Instant::now() + PATIENCE;
                    while !node.has_ended() && Instant::now() < until {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
            }
            let wished = node.has_ended();
            node.kill()?;
            Ok((wished, backup))
        })?;
        let was_confirmed = backup.is_some_and(|answer| answer.join().is_ok_and(|line| line.contains("\"answer\":\"backup\"")));
        figures.wished += u64::from(wished);
        done += 1;
        end(&world.node, random, tally, figures)?;
        // Now and then it is hit again before it is up.
        let mut is_up = false;
        while !is_up && done < n && random.below(4) == 0 {
            When::any(random, true).set(&world.node)?;
            match world.restart()? {
                Start::Ready => is_up = true,
                Start::Killed => {}
                Start::Refused(why) => {
                    world.give_up(tally, &why);
                    return Ok(());
                }
            }
            disarm(&mut world.node)?;
            if !is_up || world.node.has_ended() {
                is_up = false;
                figures.starting += 1;
                done += 1;
                end(&world.node, random, tally, figures)?;
            }
        }
        When::NEVER.set(&world.node)?;
        if !is_up && let Start::Refused(why) = world.restart()? {
            world.give_up(tally, &why);
            return Ok(());
        }
        figures.ready.push(world.node.ready_after);
        world.check(false, tally).with_context(|| world.node.said())?;
        if was_confirmed || folder.exists() {
            match world.node.restore(&folder) {
                Ok(()) => tally.restored += 1,
                Err(failure) => tally.wrong(format!("a backup, confirmed: {was_confirmed}, cannot be restored: {failure:#}")),
            }
        }
        if done > hold_after && !world.has_hold() {
            world.hold().with_context(|| world.node.said())?;
        }
        if !tally.wrong.is_empty() && broken.is_some() {
            tally.acknowledged += world.n_acknowledged();
            return Ok(());
        }
    }
    world.check_to_the_end(tally)
}

/// Cuts while a directory is being made: nothing was acknowledged, so it must simply start.
fn first_start(bench: &Bench, random: &mut Random, tally: &mut Tally, figures: &mut Figures) -> anyhow::Result<()> {
    let place = bench.place(&format!("first-{}", tally.kills));
    let mut node = Node::new(&bench.binary, &bench.shim, &place, &[])?;
    When::any(random, true).set(&node)?;
    loop {
        match node.start()? {
            Start::Ready => break,
            Start::Refused(why) => {
                tally.wrong(format!("a node whose first start was cut off does not start: {why}"));
                return Ok(());
            }
            Start::Killed => {
                figures.starting += 1;
                end(&node, random, tally, figures)?;
                When::NEVER.set(&node)?;
            }
        }
    }
    node.kill()?;
    let _ = std::fs::remove_dir_all(&place);
    Ok(())
}

/// The process is dead: two of three times the power failed with it.
fn end(node: &Node, random: &mut Random, tally: &mut Tally, figures: &mut Figures) -> anyhow::Result<()> {
    tally.kills += 1;
    if random.below(3) == 0 {
        // A plain kill: the page cache stays, and with it the journal of what is not yet on the disk.
        return Ok(());
    }
    tally.cuts += 1;
    let cut = node.journal.cut(Loss::any(random), random)?;
    figures.unsynced += cut.unsynced;
    figures.bytes += cut.bytes;
    figures.names += cut.names;
    Ok(())
}
