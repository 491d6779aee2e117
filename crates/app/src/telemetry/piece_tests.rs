//! Pieces read back, hostile ones refused, the log read in parts and a day read in parts.

use std::time::Instant;

use anlan_history::{Options, Reader, Record, Writer};
use anlan_model::{Flags, Quality};
use proptest::prelude::*;

use super::*;

const T0: i64 = 1_795_996_800;
const NODE: NodeId = NodeId::new(0xa);

fn at(second: i64) -> Timestamp {
    Timestamp::from_secs(T0 + second)
}

fn reading(point: i64, second: i64, value: f64) -> Reading {
    Reading {
        point: PointId::new(point),
        event_at: at(second),
        device_at: Some(at(second)),
        received_at: at(0),
        value,
        quality: Quality::Good,
        flags: Flags::empty(),
        revision: 0,
    }
}

fn record(readings: Vec<Reading>) -> Record {
    Record { shard: 1, now: at(0), readings, positions: Vec::new(), notes: vec![1] }
}

fn log(records: &[Record]) -> (tempfile::TempDir, Writer, Reader) {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, reader) = anlan_history::open(dir.path(), Options { keep_log_us: 0, ..Options::default() }).unwrap();
    for record in records {
        writer.append(record).unwrap();
    }
    writer.sync().unwrap();
    (dir, writer, reader)
}

/// Points are called 100 higher there; every fifth is not told.
fn whose(point: PointId) -> Option<(NodeId, PointId)> {
    (point.get() % 5 != 0).then(|| (NODE, PointId::new(point.get() + 100)))
}

#[test]
fn the_log_is_read_in_parts_and_comes_back_whole() {
    let records: Vec<Record> =
        (0..40).map(|n| record((0..n % 7).map(|p| reading(p + 1, n * 10, (n * p) as f64 / 10.0)).collect())).collect();
    let (_dir, _writer, reader) = log(&records);
    let mut want: Vec<Reading> = records.iter().flat_map(|r| &r.readings).copied().collect();
    want.retain_mut(|r| {
        whose(r.point).is_some_and(|(_, there)| {
            r.point = there;
            true
        })
    });
    want.sort_by_key(|r| (r.point, r.event_at));
    let check = |most: usize, bytes_max: usize| {
        let mut pieces = LogPieces::new(Whole::new(reader.clone(), None));
        let (mut from, mut back, mut n) = (0, Vec::new(), 0);
        loop {
            let piece = pieces.read(&whose, from, u64::MAX, most, bytes_max).unwrap();
            assert_eq!(piece.from, from);
            assert!(piece.n_readings <= most.max(6), "{piece:?}");
            if piece.to == from {
                assert_eq!((piece.n_readings, piece.bytes.len()), (0, 0));
                break;
            }
            assert_eq!(piece.tag, reader.tag(Lsn(piece.to)).unwrap());
            let origins = decode(&piece.bytes, at(0)).unwrap();
            assert_eq!(origins.iter().map(|(_, r)| r.len()).sum::<usize>(), piece.n_readings);
            back.extend(origins.into_iter().flat_map(|(origin, r)| {
                assert_eq!(origin, NODE);
                r
            }));
            (from, n) = (piece.to, n + 1);
        }
        assert_eq!(from, 40);
        back.sort_by_key(|r| (r.point, r.event_at));
        assert_eq!(back, want, "at most {most}");
        n
    };
    assert_eq!(check(1_000, 1 << 20), 1);
    assert!(check(10, 1 << 20) > 5);
    assert!(check(1, 1 << 20) > 20);
    assert!(check(1_000, 60) > 3, "by bytes");
    let piece = LogPieces::new(Whole::new(reader, None)).read(&whose, 3, 5, 1_000, 1 << 20).unwrap();
    assert_eq!((piece.from, piece.to), (3, 5), "no further than asked");
}

#[test]
fn a_log_that_begins_later_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { keep_log_us: 0, segment_bytes: 64, ..Options::default() };
    let (mut writer, reader) = anlan_history::open(dir.path(), options).unwrap();
    for n in 0..10 {
        writer.append(&record(vec![reading(1, n, 1.0)])).unwrap();
        writer.sync().unwrap();
    }
    writer.seal_now(at(20)).unwrap();
    writer.checkpoint(b"one").unwrap();
    writer.checkpoint(b"two").unwrap();
    assert!(writer.release_log(Lsn(5), at(1_000)).unwrap() > 0);
    let first = reader.first_in_log().0;
    assert!(first > 1 && first <= 6, "{first}: record 6 is still needed");
    let gone = LogPieces::new(Whole::new(reader.clone(), None)).read(&whose, 0, u64::MAX, 100, 1_000);
    assert!(matches!(gone, Err(PieceError::Gone { first_available }) if first_available == first), "{gone:?}");
    assert_eq!(LogPieces::new(Whole::new(reader.clone(), None)).read(&whose, first - 1, u64::MAX, 100, 1_000).unwrap().to, 10);
    assert!(matches!(reader.tag(Lsn(1)), Err(HistoryError::NotInLog { .. })));
}

#[test]
fn a_day_is_read_in_parts_whatever_their_size() {
    let day = crate::clock::day_number(at(0));
    let (start, end) = day_bounds(day);
    let inside =
        |point: i64, n: i64| (0..n).map(move |i| Reading { event_at: start.plus_us(i * 7_000_000), ..reading(point, 0, i as f64) });
    let mut readings: Vec<Reading> = inside(1, 10).chain(inside(2, 1)).chain(inside(4, 5)).collect();
    readings.push(Reading { revision: 1, value: 0.5, ..readings[3] });
    let mut want = readings.clone();
    readings.push(Reading { event_at: end, ..readings[0] });
    readings.push(Reading { event_at: start.plus_us(-1), ..readings[0] });
    readings.push(reading(9, 0, 1.0));
    let (_dir, mut writer, reader) = log(&[record(readings)]);
    want.iter_mut().for_each(|r| r.point = PointId::new(r.point.get() + 50));
    want.sort_by_key(|r| (r.point, r.event_at, r.revision));
    let points: Vec<_> = [1, 2, 3, 4].map(|p| (PointId::new(p), PointId::new(p + 50))).to_vec();
    let whole = Whole::new(reader, None);
    let check = |most: usize| {
        let (mut after, mut back) = (None, Vec::new());
        loop {
            let part = read_day(&whole, &points, NODE, day, &Agreed::plain(Readings::All), after, most).unwrap();
            assert!(part.n_readings <= most);
            back.extend(decode(&part.bytes, at(0)).unwrap().into_iter().flat_map(|(_, r)| r));
            after = part.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(back, want, "{most}");
    };
    (1..20).for_each(check);
    writer.seal_now(at(90_000)).unwrap();
    (1..20).for_each(check);
}

#[test]
fn what_unpacks_to_too_much_is_refused() {
    let many: Vec<Reading> = (0..=READINGS_MAX as i64).map(|n| reading(1, n, 1.0)).collect();
    assert_eq!(decode(&encode(&BTreeMap::from([(NODE, many)])), at(0)), Err(BadPiece::Damaged));
    let bomb = zstd::bulk::compress(&vec![0; UNPACKED_MAX + 1], 3).unwrap();
    let with_len = |len: u32| [&[FORMAT][..], &len.to_be_bytes(), &bomb].concat();
    assert_eq!(decode(&with_len(UNPACKED_MAX as u32 + 1), at(0)), Err(BadPiece::TooMuch));
    assert_eq!(decode(&with_len(1_000), at(0)), Err(BadPiece::Damaged));
    assert_eq!(decode(&[2, 0, 0, 0, 0, 0], at(0)), Err(BadPiece::Version(2)));
    assert_eq!(decode(&[], at(0)), Ok(Vec::new()));
    let one = vec![reading(1, 0, 1.0)];
    let twice = [&encode(&BTreeMap::from([(NODE, one.clone())]))[..]];
    assert!(decode(twice[0], at(0)).is_ok());
}

/// A piece as every release must read it.
#[test]
fn the_example_of_version_1_reads_as_it_did() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/piece-v1.hex");
    let bad = Reading { quality: Quality::Bad, flags: Flags::BACKFILL, revision: 2, ..reading(2, 11, 7.25) };
    let origins =
        BTreeMap::from([(NODE, vec![reading(1, 0, 23.4), reading(1, 10, 23.5), bad]), (NodeId::new(0xb), vec![reading(1, 5, -1.0)])]);
    if std::env::var_os("UPDATE_EXAMPLES").is_some() {
        let hex: String = encode(&origins).iter().map(|b| format!("{b:02x}")).collect();
        std::fs::write(&path, hex + "\n").unwrap();
    }
    let hex = std::fs::read_to_string(&path).unwrap();
    let hex = hex.trim();
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
    assert_eq!(decode(&bytes, at(0)), Ok(origins.into_iter().collect()));
}

proptest! {
    #[test]
    fn noise_is_refused_or_read_but_never_panics(
        n in 1i64..40,
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        noise in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let rows: Vec<Reading> = (0..n).map(|i| reading(i % 3, i, i as f64 / 3.0)).collect();
        let mut bytes = encode(&BTreeMap::from([(NODE, rows)]));
        let plain = zstd::bulk::decompress(&bytes[5..], UNPACKED_MAX).unwrap();
        let mut hit = plain.clone();
        for (at, byte) in hits {
            let (i, k) = (at.index(bytes.len()), at.index(hit.len()));
            bytes[i] = byte;
            hit[k] = byte;
        }
        let _ = decode(&bytes, at(0));
        let _ = decode(&noise, at(0));
        let packed = zstd::bulk::compress(&hit, 1).unwrap();
        let _ = decode(&[&[FORMAT][..], &(hit.len() as u32).to_be_bytes(), &packed].concat(), at(0));
    }
}

/// How fast a sender is on this machine: prints; run it in release.
#[test]
fn a_sender_is_fast_enough() {
    let n_records = if cfg!(debug_assertions) { 20 } else { 500 };
    let step = |n: i64, p: i64| ((n * 37 + p * 101) % 17 - 8) as f64 / 10.0;
    let records: Vec<Record> = (0..n_records)
        .map(|n| record((0..1_000).map(|p| reading(p + 1, n * 10, ((20.0 + p as f64 + step(n, p)) * 10.0).round() / 10.0)).collect()))
        .collect();
    let (_dir, _writer, reader) = log(&records);
    let mut pieces = LogPieces::new(Whole::new(reader, None));
    let map: std::collections::HashMap<PointId, (NodeId, PointId)> =
        (1..=1_000).map(|p| (PointId::new(p), (NODE, PointId::new(p + 7)))).collect();
    let start = Instant::now();
    let (mut from, mut n, mut n_bytes) = (0, 0, 0);
    loop {
        let piece = pieces.read(&|point| map.get(&point).copied(), from, u64::MAX, 50_000, 4 << 20).unwrap();
        if piece.to == from {
            break;
        }
        (from, n, n_bytes) = (piece.to, n + piece.n_readings, n_bytes + piece.bytes.len());
    }
    let took = start.elapsed();
    println!("{n} readings, {:.0}/s, {:.2} B each", n as f64 / took.as_secs_f64(), n_bytes as f64 / n as f64);
    assert_eq!(n, 1_000 * n_records as usize);
}

/// What lies around an alarm goes with small pieces too, whatever its values, again when a piece is read again, and an empty log moves nothing.
#[tokio::test]
async fn what_is_owed_goes_with_small_pieces_and_again_with_a_piece_that_is_read_again() {
    let noisy = |n: i64| reading(1, n, (n as f64 + 1.0).sqrt());
    let (_dir, mut writer, reader) = log(&(0..200).map(|n| record(vec![noisy(n)])).collect::<Vec<_>>());
    let whole = Whole::new(reader, None);
    let whose = |point| Some((NODE, point));
    let directory = tempfile::tempdir().unwrap();
    let store = anlan_store::Store::open(&format!("sqlite:{}", directory.path().join("db.sqlite").display())).await.unwrap();
    let agreed = async || Agreed::between(&store, Readings::Alarms, at(0), at(100_000)).await.unwrap();
    let mut pieces = LogPieces::new(whole);
    pieces.agree(agreed().await, at(200));
    let first = pieces.read(&whose, 0, u64::MAX, 1_000, 1 << 20).unwrap();
    assert_eq!((first.to, first.n_readings), (200, 0), "nothing is the matter");
    let raised = anlan_model::RaisedAlarm {
        id: anlan_model::AlarmId::new(1),
        rule: "hh".into(),
        kind: anlan_model::RuleKind::Hh,
        subject: anlan_model::Subject::Point(PointId::new(1)),
        level: anlan_model::Level::Red,
        value: None,
        threshold: None,
        unit: String::new(),
        source: String::new(),
        confidence: String::new(),
        onset_at: at(150),
        raised_at: at(150),
        historic: false,
    };
    store.project(1, &[anlan_model::Effect::Alarm(anlan_model::AlarmChange::Raised(raised))]).await.unwrap();
    pieces.agree(agreed().await, at(200));
    assert_eq!(pieces.read(&whose, 200, u64::MAX, 400, 300).unwrap().to, 200, "nothing follows yet");
    for n in 200..260 {
        writer.append(&record(vec![noisy(n)])).unwrap();
        writer.sync().unwrap();
    }
    let (mut from, mut held) = (200, std::collections::BTreeSet::new());
    loop {
        // Each piece is read, lost, and read again.
        let lost = pieces.read(&whose, from, u64::MAX, 400, 300).unwrap();
        let piece = pieces.read(&whose, from, u64::MAX, 400, 300).unwrap();
        assert!(piece.bytes.len() <= 300 || piece.to == from + 1, "{piece:?}");
        if piece.to == from {
            assert_eq!(lost.to, from);
            break;
        }
        for (_, readings) in decode(&piece.bytes, at(0)).unwrap() {
            held.extend(readings.iter().map(|r| r.event_at));
        }
        from = piece.to;
    }
    assert_eq!(held, (0..260).map(at).collect(), "all of it is within half an hour");
}
