//! Documents of other people (google/cap-library, kelvinn/capparselib): a table of agreement.

use std::collections::BTreeMap;

use anlan_protocols::cap::Alert;
use serde_json::Value;

/// By the document: what we do otherwise, and why.
const DISAGREEMENTS: &[(&str, &str)] = &[(
    "tests/resources/sweden.cap",
    "headline stands before senderName, area before resource, and areas have elements of their own (Type, Polygon): no document of the schema",
)];

fn read(name: &str) -> Option<Vec<Value>> {
    let path = std::path::PathBuf::from(std::env::var_os("ANLAN_SHARED")?).join("vectors").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Some(text.lines().map(|l| serde_json::from_str(l).unwrap()).collect())
}

#[test]
fn every_vector_agrees_or_is_explained() {
    let Some(vectors) = read("cap.jsonl") else {
        println!("skipped: 1");
        return;
    };
    let (mut agree, mut apart, mut explained, mut surprises) = (0, BTreeMap::new(), Vec::new(), Vec::new());
    for vector in &vectors {
        let name = vector["source"]["path"].as_str().unwrap();
        match compare(vector) {
            Ok(None) => agree += 1,
            Ok(Some(why)) => *apart.entry(why).or_insert(0) += 1,
            Err(why) => match DISAGREEMENTS.iter().find(|(document, _)| *document == name) {
                Some((_, reason)) => explained.push((name, *reason)),
                None => surprises.push(format!("{name}: {why}")),
            },
        }
    }
    println!("figure: cap vectors: {} documents, {agree} agree, apart {apart:?}, explained {explained:?}", vectors.len());
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
    assert_eq!(explained.len(), DISAGREEMENTS.len(), "a disagreement that is gone must leave the table");
    assert!(vectors.len() >= 28 && agree >= 9, "only {agree} of {} agree", vectors.len());
}

/// `Ok(Some)` = not a document of CAP 1.2, and refused as such.
fn compare(vector: &Value) -> Result<Option<&'static str>, String> {
    let (text, derived) = (vector["text"].as_str().unwrap(), &vector["derived"]);
    let told = |defects: Vec<anlan_protocols::cap::Defect>| defects.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let read = Alert::read_text(text);
    let refused_as = |code: &str, why| match &read {
        Err(defects) if defects.iter().any(|d| d.code == code) => Ok(Some(why)),
        other => Err(format!("{other:?}")),
    };
    match (derived["root"].as_str().unwrap(), derived["ns"].as_str().unwrap()) {
        ("alert", "urn:oasis:names:tc:emergency:cap:1.1") => return refused_as("namespace", "CAP 1.1"),
        ("alert", _) => {}
        ("feed" | "rss", _) => return refused_as("root", "a feed"),
        _ => return refused_as("root", "EDXL-DE"),
    }
    let alert = read.map_err(told)?;
    if vector["expect"]["expect_errors"] == true {
        return Err("upstream finds errors in it".to_owned());
    }
    let sent = alert.sent.to_string();
    let said = [&alert.identifier, &alert.sender, &sent].map(String::as_str);
    let words = [alert.status.as_str(), alert.msg_type.as_str(), alert.scope.as_str()];
    for (key, ours) in ["identifier", "sender", "sent", "status", "msgType", "scope"].iter().zip(said.into_iter().chain(words)) {
        // Both are UTC; the standard writes one of them.
        let theirs = derived[*key].as_str().unwrap();
        if theirs != ours && theirs.replace("+00:00", "-00:00") != ours {
            return Err(format!("{key} is {ours}, upstream {theirs}"));
        }
    }
    if derived["infos"].as_u64() != Some(alert.infos.len() as u64) {
        return Err(format!("{} infos", alert.infos.len()));
    }
    let again = Alert { is_signed: false, ..alert };
    match again.write().map(|text| Alert::read_text(&text)) {
        Ok(read) if read == Ok(again) => Ok(None),
        other => Err(format!("written again: {other:?}")),
    }
}
