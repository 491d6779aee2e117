//! The contract of the Modbus codec over its samples: decode, cut anywhere, flip bits, write back, and plans that keep their promises.

use anlan_model::modbus::{Forbidden, ModbusMap, Register, Table, ValueType, WordOrder};
use anlan_protocols::modbus::client::{Client, Outcome};
use anlan_protocols::modbus::codec::{Frame, FrameError, Frames, Request, Response, count_max};
use anlan_protocols::modbus::{decode_human, decode_jsonl_line, plan};
use anlan_protocols::wire::{hex, unhex};
use proptest::prelude::*;
use serde_json::{Value, json};

/// (name, the defect it must show, bytes).
fn samples() -> Vec<(String, Option<String>, Vec<u8>)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/modbus");
    let mut samples: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let fault = text.lines().next().and_then(|l| l.strip_prefix("# fault: ")).and_then(|l| l.split('.').next());
            let bytes = text.lines().filter(|l| !l.starts_with('#')).flat_map(|l| unhex(l).unwrap().0).collect();
            (path.file_stem().unwrap().to_string_lossy().into_owned(), fault.map(str::to_owned), bytes)
        })
        .collect();
    samples.sort();
    assert!(samples.len() >= 12);
    samples
}

fn cut(chunks: &[&[u8]]) -> Vec<Result<Frame, FrameError>> {
    let mut frames = Frames::default();
    let mut found = Vec::new();
    for chunk in chunks {
        frames.push(chunk);
        found.extend(&mut frames);
    }
    found
}

#[test]
fn every_good_sample_reads_and_writes_back_and_every_bad_one_names_its_defect() {
    for (name, fault, bytes) in samples() {
        let answer: Value = serde_json::from_str(&decode_jsonl_line(&json!({"hex": hex(&bytes)}).to_string(), 1)).unwrap();
        match fault {
            Some(fault) => {
                assert_eq!((&answer["ok"], &answer["defects"][0]["code"]), (&json!(false), &json!(fault)), "{name}");
                assert!(decode_human(&hex(&bytes)).contains("defect"), "{name}");
            }
            None => {
                assert_eq!((&answer["ok"], &answer["defects"]), (&json!(true), &json!([])), "{name}");
                let frames: Vec<Frame> = cut(&[&bytes]).into_iter().map(Result::unwrap).collect();
                let mut again = Vec::new();
                for frame in &frames {
                    frame.encode(&mut again);
                }
                assert_eq!(again, bytes, "{name}");
                // A request is followed by its answer, and both are written as they were read.
                for pair in frames.chunks_exact(2) {
                    let Ok(request) = Request::decode(&pair[0].pdu) else { continue };
                    let response = Response::decode(&pair[1].pdu).unwrap();
                    assert!(response.answers(&request), "{name}");
                    assert_eq!((request.encode(), response.encode(&request)), (pair[0].pdu.clone(), pair[1].pdu.clone()), "{name}");
                }
            }
        }
    }
}

#[test]
fn a_cut_stream_gives_the_same_frames() {
    for (name, _, bytes) in samples() {
        let whole = cut(&[&bytes]);
        for at in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(at);
            assert_eq!(cut(&[head, tail]), whole, "{name} cut at {at}");
            assert!(cut(&[head]).len() <= whole.len());
        }
        assert_eq!(cut(&bytes.iter().map(std::slice::from_ref).collect::<Vec<_>>()), whole, "{name} byte by byte");
    }
}

#[test]
fn a_flipped_bit_never_panics() {
    for (_, _, bytes) in samples() {
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            for frame in cut(&[&bytes]).into_iter().flatten() {
                let _ = (Request::decode(&frame.pdu), Response::decode(&frame.pdu));
            }
            decode_jsonl_line(&json!({"hex": hex(&bytes)}).to_string(), 1);
        }
    }
}

fn a_register() -> impl Strategy<Value = Register> {
    let tables = prop::sample::select(Table::ALL);
    let kinds = prop::sample::select(ValueType::ALL);
    let orders = prop::sample::select(WordOrder::ALL);
    (tables, kinds, orders, 0_u16..400, prop::sample::select(vec![1_000_u64, 5_000])).prop_map(
        |(table, kind, order, address, interval_ms)| {
            let kind = if table.is_bits() { ValueType::Bool } else { kind };
            let bit = (kind == ValueType::Bool && !table.is_bits()).then_some(3);
            Register { code: String::new(), table, address, kind, bit, order, scale: 1.0, offset: 0.0, unit: String::new(), interval_ms }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_reads_everything_once_and_nothing_it_must_not(
        registers in prop::collection::vec(a_register(), 0..60),
        gap in 0_u16..200,
        walls in prop::collection::vec((prop::sample::select(Table::ALL), 0_u16..400, 0_u16..5), 0..6),
    ) {
        let forbidden: Vec<_> = walls.into_iter().map(|(table, from, n)| Forbidden { table, from, to: from + n }).collect();
        let covers = |r: &Register, f: &Forbidden| {
            f.table == r.table && f.from < r.address + r.kind.width() && f.to >= r.address
        };
        let registers: Vec<_> = registers.into_iter().filter(|r| !forbidden.iter().any(|f| covers(r, f))).collect();
        let map = ModbusMap { address: ([127, 0, 0, 1], 502).into(), unit: 1, timeout_ms: 1, gap, forbidden, registers };
        let reads = plan::reads(&map);
        let mut seen: Vec<usize> = reads.iter().flat_map(|r| r.registers.iter().copied()).collect();
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..map.registers.len()).collect::<Vec<_>>());
        for read in &reads {
            let Request::Read { table, start, count } = read.request else { panic!("{read:?}") };
            prop_assert!(count > 0 && count <= count_max(table));
            let mut named = vec![false; usize::from(count)];
            for &i in &read.registers {
                let r = &map.registers[i];
                prop_assert_eq!((r.table, r.interval_ms), (table, read.interval_ms));
                for at in r.address..r.address + r.kind.width() {
                    named[usize::from(at - start)] = true;
                }
            }
            prop_assert!(named[0] && named[named.len() - 1]);
            prop_assert!(named.split(|n| *n).all(|run| run.len() <= usize::from(gap)));
            prop_assert!(!map.forbidden.iter().any(|f| f.table == table && f.from < start + count && f.to >= start), "{:?}", read);
            // And a whole answer gives a number for every register that is not a NaN.
            let zeros = if table.is_bits() { Response::Bits(vec![0; usize::from(count).div_ceil(8)]) } else { Response::Registers(vec![0; usize::from(count)]) };
            prop_assert!(zeros.answers(&read.request));
            for &i in &read.registers {
                prop_assert_eq!(plan::value(&map.registers[i], &read.request, &zeros), Some(0.0));
            }
        }
    }

    #[test]
    fn noise_never_panics_and_never_answers_what_was_not_asked(bytes in prop::collection::vec(any::<u8>(), 0..400), at in 0_usize..400) {
        let (head, tail) = bytes.split_at(at.min(bytes.len()));
        prop_assert_eq!(cut(&[head, tail]), cut(&[&bytes]));
        let _ = (Request::decode(&bytes), Response::decode(&bytes));
        decode_jsonl_line(&json!({"hex": hex(&bytes)}).to_string(), 1);
        let request = Request::Read { table: Table::Holding, start: 0, count: 2 };
        let mut client = Client::new(1);
        client.send(0, 1, request, 1, &mut Vec::new());
        let mut outcomes = Vec::new();
        let _ = client.receive(&bytes, &mut outcomes);
        for (_, outcome) in outcomes {
            if let Outcome::Answer(response) = outcome {
                prop_assert!(response.answers(&request));
            }
        }
    }
}
