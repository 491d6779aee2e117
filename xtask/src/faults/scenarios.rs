//! The other faults, one function each: a disk that fails, fills and slows, a clock that jumps, peers that are silent, loud or slow.
//!
//! Each ends like the kills: the power is cut, the node starts again, and [`World::check_to_the_end`] asks for everything. Start at [`ALL`].

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::device::Mqtt;
use super::journal::{Loss, Word, class};
use super::node::{Api, Node, Start};
use super::world::World;
use super::{At as _, Bench, Random, Tally};

/// A fault: what it found out, in a line.
type Scenario = fn(&Bench, &mut Random, &mut Tally) -> anyhow::Result<String>;

/// Every fault beside kills, by name.
pub const ALL: &[(&str, Scenario)] = &[
    ("slow-sync", slow_sync),
    ("short-writes", short_writes),
    ("eio-log-sync", |b, r, t| eio_log(b, r, t, Word::SyncErrno)),
    ("eio-log-write", |b, r, t| eio_log(b, r, t, Word::WriteErrno)),
    ("eio-blocks", eio_blocks),
    ("eio-database", eio_database),
    ("full-disk", full_disk),
    ("clock-jumps", clock_jumps),
    ("half-open", half_open),
    ("flood", flood),
    ("slow-browser", slow_browser),
    ("memory", memory),
];

const EIO: u64 = 5;
const ENOSPC: u64 = 28;
/// Load before, while and after a fault.
const PHASE: Duration = Duration::from_millis(600);
/// What must come by itself has come by then.
const WITHIN: Duration = Duration::from_secs(20);

/// Everybody speaks for so long; how many messages were acknowledged meanwhile.
fn load(world: &mut World, pause: Duration) -> anyhow::Result<u64> {
    let before = world.n_acknowledged();
    world.under_load(|_| {
        std::thread::sleep(pause);
        Ok(())
    })?;
    Ok(world.n_acknowledged() - before)
}

/// The power fails, the node starts again, everything is asked for.
fn cut_and_check(mut world: World, random: &mut Random, tally: &mut Tally) -> anyhow::Result<()> {
    world.node.kill()?;
    for word in [Word::WriteErrno, Word::SyncErrno, Word::DelayUs, Word::ShortMax] {
        world.node.journal.set(word, 0)?;
    }
    world.node.journal.cut(Loss::any(random), random)?;
    match world.restart()? {
        Start::Ready => world.check_to_the_end(tally),
        Start::Killed => anyhow::bail!("nobody asked for a kill"),
        Start::Refused(why) => {
            world.give_up(tally, &why);
            Ok(())
        }
    }
}

fn readyz(world: &World) -> anyhow::Result<(u16, Value)> {
    world.admin.ask("GET", "/readyz", &Value::Null)
}

/// Asks again until `is_so`, or says that it never was.
fn wait(what: &str, mut is_so: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let until = Instant::now() + WITHIN;
    while !is_so()? {
        ensure!(Instant::now() < until, "never seen within {WITHIN:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn world(bench: &Bench, name: &str, settings: &[(&str, &str)], random: &mut Random) -> anyhow::Result<World> {
    World::new(&bench.binary, &bench.shim, &bench.place(name), settings, random)
}

/// Acknowledgements wait for the sync, heartbeats do not.
fn slow_sync(bench: &Bench, random: &mut Random, tally: &mut Tally) -> anyhow::Result<String> {
    let mut world = world(bench, "slow-sync", &[], random)?;
    load(&mut world, PHASE)?;
    let (_, secret) = world.make_device("W-1")?;
    let mut mqtt = Mqtt::connect(&world.node.at.mqtt, "W-1", &secret).context("connect over MQTT")?;
    world.node.journal.set(Word::DelayClass, class::LOG)?;
    world.node.journal.set(Word::DelayUs, 1_500_000)?;
    mqtt.send("anlan/v1/W-1/telemetry", r#"{"values":{"W":1}}"#)?;
    let first = mqtt.ping_and_next()?;
    if first != 0xd0 {
        tally.wrong(format!("behind a sync of 1.5 s the first answer is {first:#x}, not the one to the heartbeat"));
    }
    mqtt.next()?;
    world.node.journal.set(Word::DelayUs, 100_000)?;
    let slow = load(&mut world, 3 * PHASE)?;
    if slow == 0 {
        tally.wrong("nothing was acknowledged while syncs took 100 ms".to_owned());
    }
    cut_and_check(world, random, tally)?;
    Ok(format!("{slow} messages acknowledged while a sync of the log took 100 ms; a heartbeat overtook a sync of 1.5 s"))
}

/// Every write takes a few bytes only.
fn short_writes(bench: &Bench, random: &mut Random, tally: &mut Tally) -> anyhow::Result<String> {
    let mut world = world(bench, "short-writes", &[], random)?;
    world.node.journal.set(Word::ShortClass, class::ALL)?;
    world.node.journal.set(Word::ShortMax, 40)?;
    let n = load(&mut world, 2 * PHASE)?;
    let injected = world.node.journal.get(Word::Injected)?;
    ensure!(n > 0 && injected > 0, "no load under short writes ({n} messages, {injected} writes)");
    cut_and_check(world, random, tally)?;
    Ok(format!("{injected} writes cut to 40 bytes or less, {n} messages acknowledged"))
}

/// The log's disk fails for good: nothing more is acknowledged, the node says so, a start after the power cut has everything.
fn eio_log(bench: &Bench, random: &mut Random, tally: &mut Tally, word: Word) -> anyhow::Result<String> {
    let is_sync = matches!(word, Word::SyncErrno);
    let mut world = world(bench, if is_sync { "eio-log-sync" } else { "eio-log-write" }, &[], random)?;
    let healthy = load(&mut world, PHASE)?;
    let (classes, skip) = if is_sync { (Word::SyncClass, Word::SyncSkip) } else { (Word::WriteClass, Word::WriteSkip) };
    world.node.journal.set(skip, random.below(40))?;
    world.node.journal.set(classes, class::LOG)?;
    world.node.journal.set(word, EIO)?;
    world.patience(Duration::from_secs(1));
    let until_failure = load(&mut world, PHASE)?;
    wait("/readyz answers 503 after the log failed", || Ok(readyz(&world)?.0 == 503))?;
    // The disk works again; what a failed sync held is gone all the same, and a later one would not say so.
    world.node.journal.set(word, 0)?;
    let after = load(&mut world, PHASE)?;
    if after > 0 {
        tally.wrong(format!("{after} messages were acknowledged after the log had failed"));
    }
    world.patience(Duration::from_secs(10));
    cut_and_check(world, random, tally)?;
    Ok(format!("{healthy} acknowledged before, {until_failure} until the failure, none after; /readyz 503; a restart has all"))
}

/// Blocks, tables, manifest and checkpoints cannot be written for a while: readings are kept in the log.
fn eio_blocks(bench: &Bench, random: &mut Random, tally: &mut Tally) -> anyhow::Result<String> {
    let mut world = world(bench, "eio-blocks", &[], random)?;
    load(&mut world, PHASE)?;
    world.node.journal.set(Word::WriteClass, class::HISTORY)?;
    world.node.journal.set(Word::WriteErrno, EIO)?;
    world.patience(Duration::from_secs(1));
    let meanwhile = load(&mut world, PHASE)?;
    world.node.journal.set(Word::WriteErrno, 0)?;
    let after = load(&mut world, PHASE)?;
    world.patience(Duration::from_secs(10));
    let (status, _) = readyz(&world)?;
    // A manifest of which nobody knows what stands on the disk stops the log; that is allowed if it is said.
    if after == 0 && status == 200 {
        tally.wrong("nothing is acknowledged after sealing failed, and /readyz says 200".to_owned());
    }
    cut_and_check(world, random, tally)?;
    Ok(format!("{meanwhile} acknowledged while no block could be written, {after} after; /readyz {status}"))
}

/// The database fails: readings are kept and acknowledged, the node says that it is degraded, and catches up by itself.
fn eio_database(bench: &Bench, random: &mut Random, tally: &mut Tally) -> anyhow::Result<String> {
    let mut world = world(bench, "eio-database", &[], random)?;
    load(&mut world, PHASE)?;
    world.node.journal.set(Word::WriteClass, class::SQLITE)?;
    world.node.journal.set(Word::WriteErrno, EIO)?;
    world.patience(Duration::from_secs(2));
    let meanwhile = load(&mut world, 2 * PHASE)?;
    if meanwhile == 0 {
        tally.wrong("without the database nothing was acknowledged".to_owned());
    }
    wait("/readyz says degraded while the database cannot be written", || {
        let (status, body) = readyz(&world)?;
        Ok(status == 200 && body["status"] == "degraded")
    })?;
    world.node.journal.set(Word::WriteErrno, 0)?;
    wait("/readyz says ok again", || Ok(readyz(&world)?.1["status"] == "ok"))?;
    load(&mut world, PHASE)?;
    world.patience(Duration::from_secs(10));
    world.settle()?;
    cut_and_check(world, random, tally)?;
    Ok(format!("{meanwhile} messages acknowledged without the database; degraded, then caught up"))
}

/// A file system of its own, unmounted when dropped.
struct Small {
    at: std::path::PathBuf,
}

impl Small {
    fn mount(at: &Path, bytes: u64) -> Option<Self> {
        std::fs::create_dir_all(at).ok()?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(at);
        mount.stderr(std::process::Stdio::null()).status().ok()?.success().then(|| Self { at: at.to_owned() })
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
    }
}

/// The disk is full: refused and said; with space again the node goes on by itself.
fn full_disk(bench: &Bench, random: &mut Random, tally: &mut Tally) -> anyhow::Result<String> {
    let place = bench.place("full");
    // The node's own log stands on the full disk too, as it will.
    let small = Small::mount(&place, 24 << 20);
    let ballast = place.join("ballast");
    let mut world = World::new(&bench.binary, &bench.shim, &place.join("node"), &[], random)?;
    load(&mut world, PHASE)?;
    world.patience(Duration::from_secs(1));
    let fill = |world: &World| -> anyhow::Result<()> {
        if small.is_some() {
            let mut file = std::fs::File::create(&ballast).at("make", &ballast)?;
            while file.write_all(&[0; 1 << 16]).is_ok() {}
            while file.write_all(&[0; 512]).is_ok() {}
            return Ok(());
        }
        world.node.journal.set(Word::WriteClass, class::ALL)?;
        world.node.journal.set(Word::WriteErrno, ENOSPC)
    };
    let release = |world: &World| -> anyhow::Result<()> {
        if small.is_some() {
            std::fs::remove_file(&ballast).at("remove", &ballast)?;
        }
        world.node.journal.set(Word::WriteErrno, 0)
    };
    fill(&world)?;
    let until_full = load(&mut world, PHASE)?;
    wait("/readyz answers 503 on a full disk", || Ok(readyz(&world)?.0 == 503))?;
    let while_full = load(&mut world, PHASE)?;
    if while_full > 0 {
        tally.wrong(format!("{while_full} messages were acknowledged on a full disk"));
    }
    release(&world)?;
    wait("/readyz answers 200 once the disk has space again", || Ok(readyz(&world)?.0 == 200)).with_context(|| world.node.said())?;
    let after = load(&mut world, PHASE)?;
    if after == 0 {
        tally.wrong("nothing is acknowledged after the disk had space again".to_owned());
    }
    world.patience(Duration::from_secs(10));
    cut_and_check(world, random, tally)?;
    Ok(format!(
        "{} full: {until_full} acknowledged until then, none while full, {after} once space came back, without a restart",
        if small.is_some() { "a tmpfs of 24 MiB" } else { "(no mount allowed here: ENOSPC injected)" },
    ))
}

/// Domain time jumps back and forth under the node; devices go on by their own clocks.
fn clock_jumps(bench: &Bench, random: &mut Random, tally: &mut Tally) -> anyhow::Result<String> {
    let library = ["/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1"];
    let Some(library) = library.into_iter().find(|path| Path::new(path).exists()) else {
        return Ok("skipped: libfaketime is not there; apt-get install faketime".to_owned());
    };
    // A device's time must be believed whatever the node's says, or every reading would get another instant; sessions must outlive the jumps.
    let month = "2592000";
    let settings = [
        ("ANLAN_TIME__FUTURE_S", month),
        ("ANLAN_TIME__PAST_S", month),
        ("ANLAN_ACCESS__SESSION_S", month),
        ("ANLAN_ACCESS__IDLE_S", month),
    ];
    let mut world = world(bench, "clock-jumps", &settings, random)?;
    let file = world.node.journal.root.with_extension("clock");
    let preload = format!("{}:{library}", bench.shim.display());
    let file_name = file.to_string_lossy().into_owned();
    let variables: [(&str, &str); 5] = [
        ("LD_PRELOAD", &preload),
        ("FAKETIME_TIMESTAMP_FILE", &file_name),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ];
    let jumps = ["+0", "-8h", "+8h", "-3d", "+20h", "-90", "+0"];
    let (mut n, mut ids) = (Vec::new(), Vec::new());
    std::fs::write(&file, jumps[0]).at("write", &file)?;
    for (i, jump) in jumps.into_iter().enumerate() {
        // Some jumps come while it runs, some while it is down.
        if i % 3 == 0 {
            world.node.kill()?;
            world.node.journal.cut(Loss::any(random), random)?;
            std::fs::write(&file, jump).at("write", &file)?;
            if let Start::Refused(why) = world.restart_under(&variables)? {
                world.give_up(tally, &why);
                return Ok(format!("after a jump of {jump}"));
            }
        }
        std::fs::write(&file, jump).at("write", &file)?;
        n.push(load(&mut world, PHASE / 2)?);
        ids.extend(world.node.id());
    }
    for id in ids {
        // What libfaketime leaves behind when its process is killed.
        for name in ["faketime_shm_", "sem.faketime_sem_"] {
            let _ = std::fs::remove_file(format!("/dev/shm/{name}{id}"));
        }
    }
    if n.contains(&0) {
        tally.wrong(format!("the clock jumped by {jumps:?} and the acknowledgements were {n:?}"));
    }
    cut_and_check(world, random, tally)?;
    Ok(format!("jumps {jumps:?}, acknowledged after each {n:?}"))
}

/// Peers that begin and never go on: the others are heard, and the silent ones are closed.
fn half_open(bench: &Bench, random: &mut Random, tally: &mut Tally) -> anyhow::Result<String> {
    const SILENT: usize = 200;
    let mut world = world(bench, "half-open", &[("ANLAN_LIMITS__FIRST_MESSAGE_TIMEOUT_MS", "1000")], random)?;
    let at = world.node.at.clone();
    let http = at.http.trim_start_matches("http://").to_owned();
    let begins: [(&str, &[u8]); 4] = [
        (&at.mqtt, b"\x10\x7f\x00\x04MQ"),
        (&at.mqtt, b""),
        (&at.jt808, b"\x7e\x02\x00\x00\x1c\x01"),
        (&http, b"POST /write HTTP/1.1\r\nHost: x\r\n"),
    ];
    let mut silent = Vec::new();
    for i in 0..SILENT {
        let (address, bytes) = begins[i % begins.len()];
        let mut stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        stream.write_all(bytes)?;
        silent.push(stream);
    }
    let n = load(&mut world, PHASE)?;
    if n == 0 {
        tally.wrong(format!("nothing was acknowledged beside {SILENT} silent connections"));
    }
    let mut n_open = 0;
    for mut stream in silent {
        stream.set_read_timeout(Some(WITHIN))?;
        let mut answer = [0; 1024];
        // A refusal may come first; then the end.
        loop {
            match stream.read(&mut answer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => break,
                Err(_) => {
                    n_open += 1;
                    break;
                }
            }
        }
    }
    if n_open > 0 {
        tally.wrong(format!("{n_open} of {SILENT} connections that never got to the point are still open"));
    }
    cut_and_check(world, random, tally)?;
    Ok(format!("{SILENT} half messages held open, {n} messages of others acknowledged, all {SILENT} closed by the node"))
}

fn resident_kib(node: &Node) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.id().context("the node does not run")?))?;
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).context("VmRSS")?;
    Ok(line.split_whitespace().nth(1).context("a number")?.parse()?)
}

/// One device shouts without listening: it is slowed down, the others are heard, memory stays bounded.
fn flood(bench: &Bench, random: &mut Random, tally: &mut Tally) -> anyhow::Result<String> {
    let settings =
        [("ANLAN_TELEMETRY__SHARD_QUEUE", "200"), ("ANLAN_LIMITS__MESSAGES_PER_S", "500"), ("ANLAN_LIMITS__MESSAGE_BURST", "1000")];
    let mut world = world(bench, "flood", &settings, random)?;
    load(&mut world, PHASE)?;
    let before = resident_kib(&world.node)?;
    let (address, code) = (world.node.at.mqtt.clone(), "F-1");
    let (_, secret) = world.make_device(code)?;
    let shouting = std::thread::spawn(move || -> std::io::Result<u64> {
        let mut mqtt = Mqtt::connect(&address, code, &secret)?;
        mqtt.write_within(Duration::from_millis(300))?;
        let (topic, until, mut n) = (format!("anlan/v1/{code}/telemetry"), Instant::now() + 3 * PHASE, 0);
        // The node stops reading: then so be it.
        while Instant::now() < until && mqtt.send(&topic, r#"{"values":{"F":1}}"#).is_ok() {
            n += 1;
        }
        Ok(n)
    });
    let n = load(&mut world, 3 * PHASE)?;
    let shouted = shouting.join().map_err(|_| anyhow::anyhow!("the shouting device panicked"))??;
    let grown = resident_kib(&world.node)?.saturating_sub(before);
    if n == 0 {
        tally.wrong("nobody else was heard during the flood".to_owned());
    }
    // limits.max_held_bytes is 256 MiB; a flood of one device may hold only its share.
    if grown > 256 << 10 {
        tally.wrong(format!("the flood made the node grow by {grown} KiB"));
    }
    cut_and_check(world, random, tally)?;
    Ok(format!("{shouted} messages shouted, {n} of others acknowledged meanwhile, {grown} KiB more resident"))
}

/// A browser that subscribes to everything and never reads: it gets less, nobody else does.
fn slow_browser(bench: &Bench, random: &mut Random, tally: &mut Tally) -> anyhow::Result<String> {
    let mut world = world(bench, "slow-browser", &[], random)?;
    let alone = load(&mut world, 2 * PHASE)?;
    let before = resident_kib(&world.node)?;
    let address = world.node.at.http.trim_start_matches("http://").to_owned();
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(&address).with_context(|| format!("connect to {address}"))?;
        stream.set_read_timeout(Some(WITHIN))?;
        let head = format!(
            "GET /api/v1/live HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            world.duty.token()
        );
        stream.write_all(head.as_bytes())?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            answer.push(byte[0]);
        }
        ensure!(answer.starts_with(b"HTTP/1.1 101"), "no stream: {}", String::from_utf8_lossy(&answer));
        let wish = format!(r#"{{"topics":["alarms","vehicles","enterprise:{}"],"resume":null}}"#, world.enterprise());
        // RFC 6455, 5.2: a final text frame, masked; a mask of zeros is a mask.
        let mut frame = vec![0x81, 0x80 | wish.len() as u8, 0, 0, 0, 0];
        frame.extend(wish.as_bytes());
        stream.write_all(&frame)?;
        streams.push(stream);
    }
    let beside = load(&mut world, 4 * PHASE)?;
    let grown = resident_kib(&world.node)?.saturating_sub(before);
    if beside == 0 {
        tally.wrong("nothing was acknowledged beside browsers that do not read".to_owned());
    }
    if grown > 128 << 10 {
        tally.wrong(format!("browsers that do not read made the node grow by {grown} KiB"));
    }
    let mut n_bytes = 0;
    for stream in &mut streams {
        let mut chunk = [0; 1 << 16];
        n_bytes += stream.read(&mut chunk)?;
    }
    ensure!(n_bytes > 0, "the streams never said anything");
    drop(streams);
    cut_and_check(world, random, tally)?;
    Ok(format!("{alone} acknowledged alone, {beside} in twice the time beside 4 streams that nobody reads, {grown} KiB more resident"))
}

/// What the node may take beyond what it has when the crowd begins.
const LEFT_BYTES: u64 = 96 << 20;

/// Little memory is left, the log's disk is slow, and a crowd writes more than would fit: it is refused at the door and the process goes on.
fn memory(bench: &Bench, random: &mut Random, tally: &mut Tally) -> anyhow::Result<String> {
    const CROWD: usize = 64;
    const LINES: usize = 20_000;
    // The bounds that a machine of this size is given.
    let settings = [("ANLAN_LIMITS__QUEUE_READINGS", "40000"), ("ANLAN_LIMITS__MAX_HELD_BYTES", "16777216")];
    let mut world = world(bench, "memory", &settings, random)?;
    load(&mut world, PHASE)?;
    let id = world.node.id().context("the node does not run")?;
    let status = Path::new("/proc").join(id.to_string()).join("status");
    let text = std::fs::read_to_string(&status).at("read", &status)?;
    let data_kib: u64 = text.lines().find_map(|l| l.strip_prefix("VmData:")?.split_whitespace().next()?.parse().ok()).context("VmData")?;
    let limit = (data_kib << 10) + LEFT_BYTES;
    let limited = Command::new("prlimit").args(["--pid", &id.to_string(), &format!("--data={limit}")]).status();
    if !limited.is_ok_and(|status| status.success()) {
        return Ok("skipped: prlimit is not there or not allowed".to_owned());
    }
    world.node.journal.set(Word::DelayClass, class::LOG)?;
    world.node.journal.set(Word::DelayUs, 200_000)?;
    let (_, secret) = world.make_device("C-1")?;
    let api = Api::patient(&world.node.at.http, WITHIN);
    let path = format!("/write?precision=u&u=C-1&p={secret}");
    let begin = super::now_us();
    let crowd: Vec<_> = (0..CROWD)
        .map(|i| {
            let (api, path) = (api.clone(), path.clone());
            std::thread::spawn(move || {
                let first = begin + (i * LINES) as i64;
                let text: String = (0..LINES as i64).map(|n| format!("V value={n}.5 {}\n", first + n)).collect();
                api.post_text(&path, &text).ok()
            })
        })
        .collect();
    let n = load(&mut world, 4 * PHASE)?;
    let answers = crowd.into_iter().map(|one| one.join().map_err(|_| anyhow::anyhow!("one of the crowd panicked")));
    let answers = answers.collect::<anyhow::Result<Vec<_>>>()?;
    let is = |wanted: &[u16]| answers.iter().filter(|answer| answer.is_some_and(|status| wanted.contains(&status))).count();
    let (taken, refused) = (is(&[204]), is(&[429, 503]));
    if world.node.has_ended() {
        tally.wrong(format!("with {LEFT_BYTES} bytes left the node died instead of refusing: {}", world.node.said()));
    } else if refused == 0 || taken + refused < CROWD {
        tally.wrong(format!("of a crowd of {CROWD} were taken {taken} and refused {refused}: {answers:?}"));
    }
    if n == 0 {
        tally.wrong("nobody else was heard while memory was short".to_owned());
    }
    cut_and_check(world, random, tally)?;
    Ok(format!(
        "{} MiB left, {CROWD} writes of {LINES} lines at once: {taken} taken, {refused} refused, {n} messages of others acknowledged meanwhile",
        LEFT_BYTES >> 20
    ))
}
