//! `anlan pack` as whoever writes a pack uses it: sound packs pass, broken ones are told by file, line and field.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn packs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs")
}

/// Exit code and what it prints.
fn pack(args: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_anlan")).arg("pack").args(args).output().expect("anlan runs");
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code().expect("a code"), text)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn our_packs_are_sound() {
    let all: Vec<String> =
        ["base", "demo", "occupational-health", "region-yuxi"].iter().map(|p| packs().join(p).display().to_string()).collect();
    let (code, text) = pack(&[&["check"], all.iter().map(String::as_str).collect::<Vec<_>>().as_slice()].concat());
    assert_eq!(code, 0, "{text}");
    assert_eq!(text.matches(": sound").count(), 4, "{text}");
    assert!(text.contains("8 registers with 29 cases"), "{text}");
}

#[test]
fn a_broken_pack_is_told_by_file_line_and_field() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    copy(&packs().join("base"), &base);
    let register = base.join("registers/hidden_danger/register.toml");
    let whole = fs::read_to_string(&register).unwrap();
    let check = |says: &[&str]| {
        let (code, text) = pack(&["check", base.to_str().unwrap()]);
        assert_eq!(code, 1, "{text}");
        says.iter().for_each(|says| assert!(text.contains(says), "{says}: {text}"));
    };
    let line = whole[..whole.find("to = \"rated\"").unwrap()].matches('\n').count() + 1;
    fs::write(&register, whole.replacen("to = \"rated\"", "to = \"ratd\"", 1)).unwrap();
    check(&[&format!("registers/hidden_danger/register.toml:{line}: transition.rate.to: there is no state \"ratd\""), "1 wrong"]);
    fs::write(&register, whole.replace("other_person_than = [\"submit\"]", "filled = \"opinion\"")).unwrap();
    check(&["registers/hidden_danger/cases.toml:", "passes, but should be refused: guard:other_person"]);
    fs::write(&register, &whole).unwrap();
    let road = fs::read_to_string(base.join("road.toml")).unwrap();
    fs::write(base.join("road.toml"), road.replacen("\nconfidence", "\nconfidnce", 1)).unwrap();
    check(&["road.toml"]);
    fs::write(base.join("road.toml"), road).unwrap();
    fs::remove_file(base.join("registers/hidden_danger/cases.toml")).unwrap();
    check(&["cases.toml: is missing"]);
    fs::write(base.join("x.bin"), [0xff_u8, 0xfe]).unwrap();
    check(&["x.bin: is no UTF-8 text"]);
    fs::write(base.join("x.bin"), vec![b'x'; 6 << 20]).unwrap();
    check(&["a pack has at most 2000 files of 5242880 bytes together"]);
    fs::remove_file(base.join("x.bin")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", base.join("link")).unwrap();
    check(&["link: is a link or no file"]);
    assert_eq!(pack(&["check", "/nowhere"]).0, 1);
}

#[test]
fn a_register_is_drawn() {
    let register = packs().join("base/registers/hidden_danger");
    let (code, text) = pack(&["graph", register.to_str().unwrap()]);
    assert!(code == 0 && text.starts_with("stateDiagram-v2\n") && text.contains("submitted --> closed: 复查销号"), "{text}");
    let (code, text) = pack(&["graph", "--format", "dot", register.to_str().unwrap()]);
    assert!(code == 0 && text.starts_with("digraph hidden_danger {"), "{text}");
}
