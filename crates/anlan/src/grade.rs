//! `anlan grade`: is a unit a major hazard installation (重大危险源), and of which level, by GB 18218-2018. JSON in, JSON out, nothing kept.

use std::io::{BufRead, Read, Write};
use std::process::ExitCode;

use anlan_domain::major_hazard::{Tables, Unit, built_in};
use serde_json::{Value, json};

/// Bytes of one unit; more are taken for a mistake.
const INPUT_MAX: u64 = 1 << 20;

/// Arguments of `grade`.
#[derive(clap::Args)]
pub struct GradeArgs {
    /// One unit per input line, one answer per output line.
    #[arg(long)]
    jsonl: bool,
}

/// Runs `grade`; exit code 1 if a unit could not be graded.
pub fn run(args: GradeArgs) -> anyhow::Result<ExitCode> {
    let tables = built_in();
    let (mut input, mut out) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut all_graded = true;
    if args.jsonl {
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            if input.by_ref().take(INPUT_MAX + 1).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if line.len() as u64 > INPUT_MAX {
                // The rest of it is no unit of its own.
                while !line.ends_with(b"\n") {
                    line.clear();
                    if input.by_ref().take(INPUT_MAX).read_until(b'\n', &mut line)? == 0 {
                        break;
                    }
                }
                line = vec![b' '; INPUT_MAX as usize + 1];
            } else if line.trim_ascii().is_empty() {
                continue;
            }
            let (mut answer, graded) = grade(tables, &line);
            all_graded &= graded;
            answer["line"] = json!(number);
            writeln!(out, "{answer}")?;
        }
    } else {
        let mut text = Vec::new();
        input.take(INPUT_MAX + 1).read_to_end(&mut text)?;
        let (answer, graded) = grade(tables, &text);
        all_graded = graded;
        writeln!(out, "{answer:#}")?;
    }
    Ok(if all_graded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The answer to a unit, and whether it is a grade.
fn grade(tables: &Tables, text: &[u8]) -> (Value, bool) {
    let refusal = |field: &str, code: &str, en: String, zh: String| json!({ "field": field, "code": code, "detail": en, "detail_zh": zh });
    if text.len() as u64 > INPUT_MAX {
        let (en, zh) = (format!("more than {INPUT_MAX} bytes"), format!("超过 {INPUT_MAX} 字节"));
        return (json!({ "errors": [refusal("", "too_large", en, zh)] }), false);
    }
    let unit: Unit = match serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(text)) {
        Ok(unit) => unit,
        Err(error) => {
            let field = error.path().to_string().replace('?', "");
            let (en, zh) = (error.inner().to_string(), format!("读不懂：{}", error.inner()));
            return (json!({ "errors": [refusal(field.trim_matches('.'), "invalid", en, zh)] }), false);
        }
    };
    match tables.grade(&unit) {
        Ok(grade) => (serde_json::to_value(grade).expect("plain data always encodes"), true),
        Err(faults) => {
            let told = faults.iter().map(|f| refusal(&f.field, f.cause.code(), f.cause.to_string(), f.cause.in_chinese()));
            (json!({ "errors": told.collect::<Vec<_>>() }), false)
        }
    }
}
