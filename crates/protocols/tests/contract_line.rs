//! What every protocol folder promises, for line protocol (and for the JSON payload beside it): samples read, cuts and damage
//! never panic, good lines stay. Samples are our own: `samples/line/*.line`.

use anlan_model::Timestamp;
use anlan_protocols::line::{Precision, decode_human, decode_jsonl_line, parse};
use anlan_protocols::telemetry;
use proptest::prelude::*;
use serde_json::{Value, json};

fn samples() -> Vec<(String, Vec<u8>)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/line");
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        (path.file_stem().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap())
    };
    let mut samples: Vec<_> = std::fs::read_dir(dir).unwrap().map(read).collect();
    samples.sort();
    samples
}

#[test]
fn every_sample_reads_as_expected() {
    // Points, ignored text fields, refused lines.
    let expected = [
        ("bad-mixed", (2, 0, 8)),
        ("chinese", (2, 0, 0)),
        ("escapes", (1, 1, 0)),
        ("gateway", (2, 1, 0)),
        ("kinds", (7, 1, 0)),
        ("telegraf-cpu", (4, 0, 0)),
    ];
    let found: Vec<_> = samples()
        .into_iter()
        .map(|(name, body)| {
            let parsed = parse(&body, Precision::Nanoseconds);
            (name, (parsed.points.len(), parsed.ignored, parsed.n_bad_lines))
        })
        .collect();
    assert_eq!(found, expected.map(|(name, n)| (name.to_owned(), n)));
    let (_, gateway) = samples().swap_remove(3);
    let parsed = parse(&gateway, Precision::Nanoseconds);
    assert_eq!(parsed.points[1].device_tag.as_deref(), Some("TANK-2"));
    assert_eq!((parsed.points[1].code.as_str(), parsed.points[1].at), ("level,unit=A", Some(Timestamp::from_secs(1_700_000_000))));
}

#[test]
fn a_cut_body_keeps_its_whole_lines_and_never_panics() {
    for (name, body) in samples() {
        let whole = parse(&body, Precision::Nanoseconds);
        for at in 0..=body.len() {
            let cut = parse(&body[..at], Precision::Nanoseconds);
            let newlines = body[..at].iter().filter(|b| **b == b'\n').count();
            let kept =
                |points: &[anlan_protocols::line::LinePoint]| points.iter().filter(|p| p.line <= newlines).cloned().collect::<Vec<_>>();
            // A line break inside quoted text ends nothing, so that sample is only read.
            if name != "escapes" {
                assert_eq!(kept(&cut.points), kept(&whole.points), "{name} cut at {at}");
            }
            telemetry::parse(&body[..at]).unwrap_err();
        }
    }
}

#[test]
fn a_flipped_bit_never_panics() {
    for (_, body) in samples() {
        for bit in 0..body.len() * 8 {
            let mut body = body.clone();
            body[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&body, Precision::Seconds).points.iter().all(|p| p.value.is_finite()));
        }
    }
}

#[test]
fn the_analyser_names_points_and_refusals() {
    let line = json!({"id": "x", "text": "a value=1 5\nb", "precision": "s"}).to_string();
    let answer: Value = serde_json::from_str(&decode_jsonl_line(&line, 4)).unwrap();
    assert_eq!(answer["frames"][0], json!({"code": "a", "device": null, "at": "1970-01-01T00:00:05.000000Z", "value": 1.0, "line": 1}));
    assert_eq!(
        (&answer["defects"][0]["code"], &answer["defects"][0]["line"], &answer["line"]),
        (&json!("no_fields"), &json!(2), &json!(4))
    );
    for (line, code) in
        [("", "invalid_json"), ("{}", "no_bytes"), (r#"{"hex":"6"}"#, "invalid_hex"), (r#"{"text":"","precision":"d"}"#, "precision")]
    {
        let answer: Value = serde_json::from_str(&decode_jsonl_line(line, 1)).unwrap();
        assert_eq!(answer["defects"][0]["code"], code, "{line}");
    }
    assert!(decode_human("a value=1\nb").ends_with("1 points, 0 text fields ignored, 1 lines refused\n"));
}

fn escape(text: &str) -> String {
    text.replace(',', "\\,").replace('=', "\\=").replace(' ', "\\ ")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// What any writer that escapes as documented sends comes back bit for bit.
    #[test]
    fn written_lines_read_back(
        measurement in "[a-z,中 ][a-z,中= ]{0,8}",
        tags in proptest::collection::btree_map("[a-c= ]{1,3}", "[a-z, =中]{1,5}", 0..4),
        values in proptest::collection::vec(any::<f64>().prop_filter("finite", |v| v.is_finite()), 1..4),
        ms in -10_000_000_000_000_i64..10_000_000_000_000,
    ) {
        // A measurement keeps its equals signs as they are.
        let mut text = measurement.replace(',', "\\,").replace(' ', "\\ ");
        let mut code = measurement.clone();
        for (key, value) in &tags {
            text += &format!(",{}={}", escape(key), escape(value));
            code += &format!(",{key}={value}");
        }
        let fields: Vec<_> = values.iter().enumerate().map(|(i, v)| format!("f{i}={v:?}")).collect();
        text += &format!(" {} {ms}", fields.join(","));
        let parsed = parse(&text, Precision::Milliseconds);
        prop_assert_eq!(&parsed.errors, &vec![], "{}", text);
        for (i, (point, value)) in parsed.points.iter().zip(&values).enumerate() {
            prop_assert_eq!(point.value.to_bits(), value.to_bits());
            prop_assert_eq!(&point.code, &format!("{code}.f{i}"));
            prop_assert_eq!(point.at, Some(Timestamp::from_millis(ms)));
        }
    }

    #[test]
    fn written_json_reads_back(values in proptest::collection::btree_map("[A-Z]{2}-[0-9]{3}", any::<f64>().prop_filter("finite", |v| v.is_finite()), 0..20)) {
        let payload = json!({"values": values});
        let read = telemetry::parse(payload.to_string().as_bytes()).unwrap();
        let bits = |(code, value): (&String, &f64)| (code.clone(), value.to_bits());
        prop_assert_eq!(
            read.messages[0].values.iter().map(|(c, v)| (c.clone(), v.to_bits())).collect::<Vec<_>>(),
            values.iter().map(bits).collect::<Vec<_>>()
        );
    }

    #[test]
    fn noise_never_panics(body in proptest::collection::vec(any::<u8>(), 0..300), text in "[a, =\"\\\\\n\r#1ti.]{0,80}") {
        parse(&body, Precision::Hours);
        let parsed = parse(&text, Precision::Nanoseconds);
        prop_assert!(parsed.errors.iter().all(|e| e.line >= 1 && e.column >= 1));
        let _ = telemetry::parse(&body);
        let _ = telemetry::parse(text.as_bytes());
        decode_jsonl_line(&text, 1);
    }
}
