//! Frames of other implementations, sent over TCP into a running server: what they say appears through the API, and nothing stops it.
//!
//! The files are not part of this repository: `$ANLAN_SHARED/vectors/jt808*.jsonl`. Start at the first test.

mod common;
#[path = "common/jt808.rs"]
mod jt808;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::{Server, now_us, shared};
use jt808::{Answer, Frame, Position, Terminal, cut, frame, normal, positions, unhex, wrap};
use serde_json::Value;

const ACCEPT: &[(&str, &str)] = &[("ANLAN_JT808__UNKNOWN", "accept")];
const PROBE: &str = "19912345678";

fn vectors(dir: &std::path::Path, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join("vectors").join(name)).expect("the vectors");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The server answers over HTTP, and a new terminal's position is kept.
fn is_well(server: &Server, phone: &str) {
    assert_eq!(server.try_get("/healthz").0, 200);
    let position = Position::at(now_us() / 1_000_000 * 1_000_000);
    let answer = Terminal::connect(&server.jt808).ask(0x0200, phone, &position.bytes()).expect("an answer");
    assert_eq!(answer.result, 0, "{answer:?}");
    let (_, kept) = vehicle(server, phone).expect("the vehicle of the fresh frame");
    assert!(kept.iter().any(|p| same(p, &position) && p["flags"].as_array().unwrap().is_empty()), "{kept:?}");
}

/// The vehicle of a phone and all its positions.
fn vehicle(server: &Server, phone: &str) -> Option<(Value, Vec<Value>)> {
    let found = server.get(&format!("/api/v1/vehicles?phone={phone}"))["vehicles"].as_array().unwrap().clone();
    assert!(found.len() <= 1, "one vehicle per phone: {found:?}");
    let vehicle = found.into_iter().next()?;
    let id = vehicle["id"].as_str().unwrap();
    let page = server.get(&format!("/api/v1/vehicles/{id}/positions?limit=10000"));
    assert!(page["next"].is_null());
    let kept = page["positions"].as_array().unwrap().clone();
    Some((vehicle, kept))
}

/// Whether the API shows what the frame said. A place beyond the globe is shown as 0, 0 without a fix.
fn same(shown: &Value, sent: &Position) -> bool {
    let (lon, lat) = sent.place().unwrap_or((0.0, 0.0));
    shown["lon"] == lon
        && shown["lat"] == lat
        && shown["speed_kmh"] == f64::from(sent.speed_dkmh) / 10.0
        && shown["direction_deg"] == sent.direction_deg
        && shown["alarm_bits"] == sent.alarm
        && shown["device_at"].as_str() == sent.device_at().as_deref()
}

/// What the server owes for these bytes: (phone, serial, message id). Answers to our commands (0x0001) are not answered.
fn owed(frames: &[Frame]) -> BTreeSet<(String, u16, u16)> {
    let answered = frames.iter().filter(|f| f.checksum_ok && f.message_id != 0x0001);
    answered.map(|f| (f.normal_phone().to_owned(), f.serial, f.message_id)).collect()
}

/// Whether one of these answers is the one owed. Only the answer to a file that was kept (0x8800) names no serial.
fn is_answered(owed: &(String, u16, u16), answers: &[Answer]) -> bool {
    let is_it = |a: &Answer| a.serial == owed.1 || (owed.2 == 0x0801 && a.serial == 0 && a.result == 0);
    answers.iter().any(|a| a.phone == owed.0 && a.message_id == owed.2 && is_it(a))
}

#[test]
fn every_framed_vector_is_heard_and_its_positions_appear() {
    let Some(dir) = shared(1) else { return };
    let dir_data = tempfile::tempdir().unwrap();
    let server = Server::start(dir_data.path(), ACCEPT);
    let lines: Vec<Value> = vectors(&dir, "jt808.jsonl").into_iter().filter(|v| v["kind"] == "frame" && v["hex"].is_string()).collect();

    let mut terminal = Terminal::connect(&server.jt808);
    let (mut n_frames, mut n_owed, mut n_done, mut n_answered) = (0, 0, 0, 0);
    let mut sent: BTreeMap<String, Vec<(Position, bool)>> = BTreeMap::new();
    let mut silent = Vec::new();
    for line in &lines {
        let bytes = unhex(line["hex"].as_str().unwrap());
        let frames = cut(&bytes);
        n_frames += frames.len();
        for frame in frames.iter().filter(|f| f.is_sound()) {
            let found = positions(frame);
            if !found.is_empty() {
                sent.entry(frame.normal_phone().to_owned()).or_default().extend(found);
            }
        }
        let owed = owed(&frames);
        n_owed += owed.len();
        terminal.send(&bytes).expect("the connection stays open");
        let answers = terminal.answers(Duration::from_secs(10), |all| owed.iter().all(|o| is_answered(o, all)));
        n_done += answers.iter().filter(|a| a.result == 0).count();
        n_answered += owed.iter().filter(|o| is_answered(o, &answers)).count();
        if !owed.iter().all(|o| is_answered(o, &answers)) {
            silent.push(format!("{}: owed {owed:?}, heard {answers:?}", line["id"]));
        }
    }
    assert!(silent.is_empty(), "{} lines without their answers:\n{}", silent.len(), silent.join("\n"));

    let (mut n_positions, mut n_clock_bad, mut n_backfill, mut n_undated) = (0, 0, 0, 0);
    for (phone, wanted) in &sent {
        let (shown, kept) = vehicle(&server, phone).unwrap_or_else(|| panic!("no vehicle for {phone}"));
        assert_eq!(shown["trust"], "open", "{shown}");
        for (position, backfill) in wanted {
            let found = kept.iter().find(|p| same(p, position) && p["flags"].as_array().unwrap().contains(&"backfill".into()) == *backfill);
            let found = found.unwrap_or_else(|| panic!("{phone}: {position:?} ({:?}) is not among {kept:?}", position.device_at()));
            // All vectors are years old, so a live time is never believed; only marked back-fill keeps it.
            let dated = position.device_at().is_some();
            let has = |flag: &str| found["flags"].as_array().unwrap().contains(&flag.into());
            assert_eq!(has("clock_bad"), dated && !backfill, "{phone}: {found}");
            assert_eq!(has("time_server"), !dated, "{phone}: {found}");
            // Two positions of one second stand a microsecond apart.
            let to_the_second = |key: &str| found[key].as_str().map(|at| at[..19].to_owned());
            assert_eq!(to_the_second("at") == to_the_second("device_at"), dated && *backfill, "{phone}: {found}");
        }
        let flagged = |flag: &str| kept.iter().filter(|p| p["flags"].as_array().unwrap().contains(&flag.into())).count();
        n_positions += kept.len();
        n_clock_bad += flagged("clock_bad");
        n_backfill += flagged("backfill");
        n_undated += flagged("time_server");
        assert!(kept.len() <= wanted.len(), "{phone}: more positions than were sent");
    }
    is_well(&server, PROBE);
    println!(
        "figure: jt808 vectors over TCP: {} lines, {n_frames} frames, {n_owed} to be answered, {n_answered} answered ({n_done} done), {} vehicles, \
         {n_positions} positions ({n_clock_bad} clock_bad, {n_backfill} back-fill, {n_undated} without a date)",
        lines.len(),
        sent.len()
    );
    assert!(sent.len() > 20 && n_positions > 50);
}

/// Damage done to frames that were unsound before: in a stream no good frame is left of them.
const UNSOUND_BASE: &[(&str, &str)] =
    &[("jt808-219e81381e0a", "holds a 7E that its terminal did not escape: two broken frames, no good one")];

#[test]
fn damaged_frames_leave_no_trace_and_the_frame_after_each_is_heard() {
    let Some(dir) = shared(1) else { return };
    let dir_data = tempfile::tempdir().unwrap();
    let server = Server::start(dir_data.path(), ACCEPT);
    let originals = vectors(&dir, "jt808.jsonl");
    let lines = vectors(&dir, "jt808-damaged.jsonl");
    let bytes = |line: &Value| match line["hex"].as_str() {
        Some(hex) => unhex(hex),
        // The recipe: body and 70,000 zeros, checksum made right, escaped.
        None => {
            let base = originals.iter().find(|v| v["id"] == line["base"]).expect("the base frame");
            let good = unhex(base["hex"].as_str().unwrap());
            let mut plain = unescape(&good[1..good.len() - 1]);
            plain.pop();
            plain.extend([0; 70_000]);
            let wire = wrap(plain);
            assert!(jt808::hex(&wire).starts_with(line["hex_prefix"].as_str().unwrap()));
            wire
        }
    };
    let mut terminal = Terminal::connect(&server.jt808);
    let mut serial = 0;
    // A heartbeat behind each line: the stream is in step again. It makes no vehicle.
    let mut send = |line: &Value| {
        serial += 1;
        terminal.send(&bytes(line)).unwrap_or_else(|e| panic!("{line}: {e}"));
        terminal.send(&frame(0x0002, PROBE, serial, &[])).unwrap();
        let probe = (normal(PROBE).to_owned(), serial, 0x0002);
        let answers = terminal.answers(Duration::from_secs(10), |all| is_answered(&probe, all));
        assert!(answers.iter().any(|a| is_answered(&probe, std::slice::from_ref(a)) && a.result == 0), "not in step after {line}");
    };

    let (streams, refused): (Vec<&Value>, Vec<&Value>) = lines.iter().partition(|l| l["expect"].as_str().unwrap().starts_with("stream"));
    // A frame without its end waits for it; any 7E that followed would be that end. So each has a connection of its own.
    let mut waiting = Vec::new();
    for line in &refused {
        if line["mutation"] == "no-end-mark" {
            let mut own = Terminal::connect(&server.jt808);
            own.send(&bytes(line)).unwrap();
            waiting.push(own);
        } else {
            send(line);
        }
    }
    let vehicles = server.get("/api/v1/vehicles");
    assert_eq!(vehicles["vehicles"].as_array().unwrap().len(), 0, "a damaged frame was taken: {vehicles}");

    let mut wanted: BTreeMap<String, Vec<Position>> = BTreeMap::new();
    for line in &streams {
        send(line);
        if UNSOUND_BASE.iter().all(|(base, _)| line["base"] != *base) {
            for frame in cut(&bytes(line)).iter().filter(|f| f.is_sound()) {
                wanted.entry(frame.normal_phone().to_owned()).or_default().extend(positions(frame).iter().map(|p| p.0));
            }
        }
    }
    wanted.retain(|_, positions| !positions.is_empty());
    for (phone, positions) in &wanted {
        server.wait("the good frames between the damage", |s| {
            let (_, kept) = vehicle(s, phone)?;
            positions.iter().all(|p| kept.iter().any(|k| same(k, p))).then_some(())
        });
    }
    // The connections end within their frames: nothing but the fresh terminal's vehicle comes of it.
    let n_vehicles = |s: &Server| s.get("/api/v1/vehicles?limit=1000")["vehicles"].as_array().unwrap().len();
    let (n_waiting, n_before) = (waiting.len(), n_vehicles(&server));
    drop(waiting);
    is_well(&server, "13011112222");
    assert_eq!(n_vehicles(&server), n_before + 1);
    println!(
        "figure: jt808 damaged over TCP: {} lines refused ({n_waiting} for want of an end), none of them kept; {} streams in step again, {} vehicles of their good frames",
        refused.len(),
        streams.len(),
        wanted.len()
    );
}

fn unescape(escaped: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut rest = escaped.iter();
    while let Some(byte) = rest.next() {
        plain.push(if *byte == 0x7d { 0x7c + rest.next().expect("a whole escape") } else { *byte });
    }
    plain
}
