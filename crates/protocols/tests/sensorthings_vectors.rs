//! SensorThings against the addresses, options and filters of other implementations' tests: FROST-Server and ets-sta10.
//!
//! The file is not part of this repository: `$ANLAN_SHARED/vectors/sensorthings.jsonl`. Unset: prints `skipped: 1` and passes. Agreement is
//! counted and printed; what is about something else (creating entities, FROST's own test model, text cut out of Java) is counted apart by its
//! reason, and whatever disagrees must stand in [`DISAGREEMENTS`].

use std::collections::BTreeMap;

use anlan_protocols::sensorthings::{Entity, Expr, Path, Query, Refusal};
use serde_json::Value;

/// What FROST answers and we refuse, and why.
const DISAGREEMENTS: &[(&str, &str)] = &[
    ("$resultFormat=dataArray", "an extension; refused by name"),
    ("$select=distinct:name,properties/my[5]/type", "an extension of FROST; refused by name"),
    ("$select=distinct:properties/my/5/type", "an extension of FROST; refused by name"),
    ("$expand=properties/sub/link.Thing", "links in properties are an extension of FROST"),
    ("$expand=Things,properties/link.Thing", "links in properties are an extension of FROST"),
    ("$expand=properties/link.Thing,Things", "links in properties are an extension of FROST"),
];

/// Names of the model that FROST's parser is tested with.
const FOREIGN: [&str; 5] = ["Rooms", "House", "value", "time gt", "(time,"];

enum Verdict {
    Agrees(&'static str),
    Apart(&'static str),
    Differs(String),
}

/// The option read over each kind of entity: the sample does not say which it is about.
fn somewhere<T>(read: impl Fn(Entity) -> Result<T, Refusal>) -> Result<T, Refusal> {
    let mut last = None;
    for entity in Entity::ALL {
        match read(entity) {
            Ok(found) => return Ok(found),
            Err(refusal) => last = Some(refusal),
        }
    }
    Err(last.expect("there are kinds"))
}

fn query(text: &str) -> Result<(), Refusal> {
    // Options begin with a dollar sign; an ampersand elsewhere is text.
    let pairs: Vec<(&str, &str)> = text
        .split("&$")
        .enumerate()
        .map(|(i, p)| if i == 0 { p } else { &text[p.as_ptr() as usize - text.as_ptr() as usize - 1..][..p.len() + 1] })
        .filter_map(|p| p.split_once('='))
        .collect();
    somewhere(|entity| Query::read(entity, pairs.iter().copied())).map(drop)
}

fn judged(what: &'static str, found: Result<(), Refusal>, accepted: bool) -> Verdict {
    match (found, accepted) {
        (Ok(()), true) | (Err(_), false) => Verdict::Agrees(what),
        (Ok(()), false) => Verdict::Differs("taken".to_owned()),
        (Err(refusal), true) => Verdict::Differs(refusal.to_string()),
    }
}

fn compare(vector: &Value) -> Verdict {
    let (kind, text) = (vector["kind"].as_str().unwrap(), vector["text"].as_str().unwrap());
    let expect = &vector["expect"];
    let test = vector["source"]["test"].as_str().unwrap_or_default();
    match kind {
        "json" => Verdict::Apart("bodies that create entities"),
        "path" => match text {
            // The extractor looked for words of rejection in the test as a whole; what is said of a path is in its name.
            _ if text.starts_with("/Rooms(") || text.starts_with("/Houses") || text == "/Rooms" => {
                Verdict::Apart("the model of FROST's own tests")
            }
            _ => judged("path", Path::parse(text).map(drop), !(test.contains("Illegal") || test == "testPathThing")),
        },
        "query" if test.contains("AdminOnly") => judged("query refused", query(text), false),
        "query" if FOREIGN.iter().any(|name| text.contains(name)) => match query(text) {
            Ok(()) => Verdict::Agrees("query"),
            Err(_) => Verdict::Apart("the model of FROST's own tests"),
        },
        "query" => judged("query", query(text), true),
        "filter" if text.contains("expResult") || text == "{}" => Verdict::Apart("text cut out of Java"),
        "filter" if text.ends_with(" eq '") || text.ends_with(" eq ") => Verdict::Apart("text cut out of Java"),
        "filter" if text.starts_with('$') => judged("filter", query(text), true),
        "filter" if text.contains("validTime") && text.contains("during(%s") => Verdict::Apart("an interval within an instant"),
        "filter" => {
            // `%s` stands for a time that the test fills in.
            let call = expect["call"].as_str().unwrap_or_default();
            let instant = "2015-10-14T12:00:00Z";
            let interval = "2015-10-14T12:00:00Z/PT1H";
            let is_interval = text.starts_with("during") && !expect["rejected"].as_bool().unwrap_or_default();
            let filled = text.replace("%s", if is_interval { interval } else { instant });
            let entity = ["Observation", "Datastream", "Thing", "Location", "FeatureOfInterest"]
                .into_iter()
                .find(|name| [")", ","].iter().any(|end| call.contains(&format!("et{name}{end}"))));
            let read = |entity: Entity| Expr::parse(entity, &filled).map(drop);
            let found = match entity.and_then(|name| Entity::ALL.into_iter().find(|e| e.name() == name)) {
                Some(entity) => read(entity),
                None => somewhere(read),
            };
            // What FROST rejects here are kinds of values: that is decided over an entity, and tested in the folder.
            if expect["rejected"] == true { Verdict::Apart("rejected over data") } else { judged("filter", found, true) }
        }
        other => panic!("unknown kind {other}"),
    }
}

#[test]
fn every_vector_agrees_or_is_explained() {
    let Some(shared) = std::env::var_os("ANLAN_SHARED") else {
        println!("skipped: 1");
        return;
    };
    let path = std::path::PathBuf::from(shared).join("vectors/sensorthings.jsonl");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let vectors: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let (mut agree, mut apart, mut explained, mut surprises) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), Vec::new());
    for (n, vector) in vectors.iter().enumerate() {
        match compare(vector) {
            Verdict::Agrees(what) => *agree.entry(what).or_insert(0) += 1,
            Verdict::Apart(why) => *apart.entry(why).or_insert(0) += 1,
            Verdict::Differs(why) => match DISAGREEMENTS.iter().find(|(text, _)| vector["text"] == *text) {
                Some((text, reason)) => *explained.entry((*text, *reason)).or_insert(0) += 1,
                None => surprises.push(format!("line {} {}: {why}", n + 1, vector["text"])),
            },
        }
    }
    let total: usize = agree.values().sum();
    let n_explained: usize = explained.values().sum();
    println!("figure: sensorthings vectors: {} lines, {total} agree {agree:?}, apart {apart:?}, explained {n_explained}", vectors.len());
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
    assert_eq!(explained.len(), DISAGREEMENTS.len(), "a disagreement that is gone must leave the table: {explained:?}");
    assert!(vectors.len() >= 298 && total >= 120, "only {total} of {} agree", vectors.len());
}
