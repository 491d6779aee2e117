//! `anlan decode`: an analyser for people in the field. Hexadecimal or text in, meaning out; `--jsonl` for programs (INTERFACES, "decode").

use std::io::{BufRead, Write};
use std::process::ExitCode;

use anlan_protocols::table::{PROTOCOLS, Protocol};

/// Arguments of `decode`.
#[derive(clap::Args)]
pub struct DecodeArgs {
    /// Protocol; without one the known ones are listed.
    protocol: Option<String>,
    /// One JSON object per input line, one per output line.
    #[arg(long)]
    jsonl: bool,
    /// Hexadecimal bytes (or text, for text protocols); without any: standard input, one message a line.
    bytes: Vec<String>,
}

/// Runs `decode`; exit code 2 for an unknown protocol.
pub fn run(args: DecodeArgs) -> anyhow::Result<ExitCode> {
    let Some(name) = args.protocol else {
        for Protocol { name, standard, .. } in PROTOCOLS {
            println!("{name:<8} {standard}");
        }
        return Ok(ExitCode::SUCCESS);
    };
    let Some(protocol) = PROTOCOLS.iter().find(|p| p.name == name) else {
        let known: Vec<&str> = PROTOCOLS.iter().map(|p| p.name).collect();
        eprintln!("anlan: unknown protocol `{name}`; known: {}", known.join(", "));
        return Ok(ExitCode::from(2));
    };
    let mut out = std::io::stdout().lock();
    if !args.bytes.is_empty() {
        writeln!(out, "{}", (protocol.decode_human)(&args.bytes.join(" ")))?;
        return Ok(ExitCode::SUCCESS);
    }
    // Lines may hold broken UTF-8: the decoder answers each, so none may end the run.
    for (line, number) in std::io::stdin().lock().split(b'\n').zip(1..) {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        if line.trim().is_empty() {
            continue;
        }
        if args.jsonl {
            writeln!(out, "{}", (protocol.decode_jsonl)(&line, number))?;
        } else {
            writeln!(out, "{}", (protocol.decode_human)(&line))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
