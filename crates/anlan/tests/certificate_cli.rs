//! `anlan certificate` as an inspector without a network uses it: the exit code says whether it is genuine.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// Exit code and what it prints.
fn certificate(args: &[&str], input: &str) -> (Option<i32>, Value) {
    let mut anlan = Command::new(env!("CARGO_BIN_EXE_anlan"));
    anlan.arg("certificate").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = anlan.spawn().expect("anlan runs");
    running.stdin.take().expect("stdin").write_all(input.as_bytes()).expect("it reads");
    let output = running.wait_with_output().expect("it ends");
    let told = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code(), serde_json::from_str(&told).unwrap_or(Value::String(told)))
}

#[test]
fn the_example_of_the_reference_is_genuine_and_nothing_like_it_is() {
    let reference = include_str!("../../../docs/reference/certificates.md");
    let key = reference.split('`').find(|word| word.starts_with("ed25519:") && word.len() == 52).unwrap();
    let text = reference.lines().find(|line| line.starts_with("AL1.") && line.len() > 200).unwrap();
    let (code, told) = certificate(&["verify", "--key", key, text], "");
    assert_eq!((code, &told["signature"], &told["says"]["until"]), (Some(0), &json!("good"), &json!("2029-02-28")), "{told}");
    assert_eq!(told["says"]["fields"][2], json!({"id": "scope", "value": {"text": "石灰岩露天开采", "cut": true}}));
    let (code, read) = certificate(&["verify", "--key", key], &format!("https://anlan.example.cn/verify#{text}\n"));
    assert_eq!((code, read), (Some(0), told));
    let check = |text: &str, key: &str, signature: &str| {
        let (code, told) = certificate(&["verify", "--key", key, text], "");
        assert_eq!((code, &told["signature"], &told["says"]), (Some(1), &json!(signature), &Value::Null), "{told}");
    };
    let other = "ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    check(text, other, "key_unknown");
    check("AL1.x", key, "malformed");
    let changed = text.replace("MjAyOS0wMi0yOA", "MjAzOS0wMi0yOA");
    assert_ne!(changed, text);
    check(&changed, key, "wrong");
    let (code, told) = certificate(&["verify", "--key", "ed25519:x", text], "");
    assert_eq!(code, Some(2), "{told}");
    let (code, told) = certificate(&["key", "--data", "/nowhere"], "");
    assert!(code == Some(1) && told.to_string().contains("is no data directory"), "{told}");
}
