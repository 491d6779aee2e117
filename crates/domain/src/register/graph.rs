//! A kind as a picture: the states and what leads from one to the next.

use std::fmt::Write as _;

use super::{Kind, Transition};

/// As a Mermaid state diagram: what a README, a Gitea page or mermaid.live draws.
pub fn mermaid(kind: &Kind) -> String {
    let mut out = String::from("stateDiagram-v2\n");
    // Writing to a String cannot fail.
    for state in &kind.states {
        let _ = writeln!(out, "    state \"{}\" as {}", quiet(&state.name), state.id);
    }
    let _ = writeln!(out, "    [*] --> {}", kind.start);
    for transition in &kind.transitions {
        let guards = if transition.guards.is_empty() { "" } else { " ◆" };
        for (from, to) in edges(transition) {
            let _ = writeln!(out, "    {from} --> {to}: {}{guards}", quiet(&transition.name));
        }
    }
    for state in kind.states.iter().filter(|state| state.is_end) {
        let _ = writeln!(out, "    {} --> [*]", state.id);
    }
    out
}

/// As Graphviz, for paper.
pub fn dot(kind: &Kind) -> String {
    let mut out = format!(
        "digraph {} {{\n    rankdir=LR; node [shape=box, style=rounded, fontname=\"Noto Sans CJK SC\"]; edge [fontname=\"Noto Sans CJK SC\"];\n",
        kind.id
    );
    for state in &kind.states {
        let shape = if state.is_end { ", peripheries=2" } else { "" };
        let _ = writeln!(out, "    {} [label=\"{}\"{shape}];", state.id, quiet(&state.name));
    }
    for transition in &kind.transitions {
        for (from, to) in edges(transition) {
            let _ = writeln!(out, "    {from} -> {to} [label=\"{}\\n{}\"];", quiet(&transition.name), transition.who.join(" "));
        }
    }
    out.push_str("}\n");
    out
}

/// From where to where it can lead.
fn edges(transition: &Transition) -> impl Iterator<Item = (&String, &str)> {
    let stays = transition.to.is_empty();
    transition
        .from
        .iter()
        .flat_map(move |from| stays.then_some(from.as_str()).into_iter().chain(transition.targets()).map(move |to| (from, to)))
}

/// A name without the signs that would end its text.
fn quiet(name: &str) -> String {
    name.chars().map(|c| if matches!(c, '"' | '\\' | '\n' | '\r' | ':' | ';') { ' ' } else { c }).collect()
}
