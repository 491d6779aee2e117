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
    let all: Vec<String> = ["base", "demo", "occupational-health", "region-yuxi", "submission-example"]
        .iter()
        .map(|p| packs().join(p).display().to_string())
        .collect();
    let (code, text) = pack(&[&["check"], all.iter().map(String::as_str).collect::<Vec<_>>().as_slice()].concat());
    assert_eq!(code, 0, "{text}");
    assert_eq!(text.matches(": sound").count(), 5, "{text}");
    assert!(text.contains("17 registers with 125 cases"), "{text}");
    assert!(text.contains("0 registers and 2 submissions with 12 cases"), "{text}");
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

#[test]
fn a_pack_is_signed_and_every_changed_byte_is_found() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let (key, folder) = (dir.path().join("key.toml"), dir.path().join("health"));
    copy(&packs().join("occupational-health"), &folder);
    let (key, mine) = (key.to_str().unwrap(), folder.to_str().unwrap());
    let check = |args: &[&str], code: i32, says: &str| {
        let (got, text) = pack(args);
        assert!(got == code && text.contains(says), "{args:?}: {got} {text}");
        text
    };
    let public = check(&["key", key], 0, "ed25519:").trim().to_owned();
    assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    check(&["key", key], 1, "key file");
    let other = check(&["key", dir.path().join("other.toml").to_str().unwrap()], 0, "ed25519:").trim().to_owned();
    check(&["verify", mine], 1, "not signed");
    check(&["sign", mine, "--key", mine], 1, "key file");
    check(&["sign", mine, "--key", key], 0, &public);
    check(&["verify", mine], 0, &public);
    check(&["verify", mine, "--key", &other, "--key", &public], 0, "signed by");
    check(&["verify", mine, "--key", &other], 1, "none of the keys named");
    check(&["verify", mine, "--key", "ed25519:AA"], 2, "a public key is");
    check(&["check", mine], 0, "sound");
    let readme = folder.join("README.md");
    let mut bytes = fs::read(&readme).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&readme, bytes).unwrap();
    check(&["verify", mine], 1, "a file was changed since");
    fs::write(folder.join("registers/occupational_hazard/cases.toml"), "").unwrap();
    check(&["sign", mine, "--key", key], 1, "it is not sound");
}

#[test]
fn what_changed_is_told_by_name_and_as_json() {
    let dir = tempfile::tempdir().unwrap();
    let (was, is) = (packs().join("base"), dir.path().join("base"));
    copy(&was, &is);
    let (was, is_at) = (was.to_str().unwrap(), is.to_str().unwrap());
    assert_eq!(pack(&["diff", was, is_at]), (0, String::new()));
    let register = is.join("registers/hidden_danger/register.toml");
    let text = fs::read_to_string(&register).unwrap();
    fs::write(&register, text.replacen("to = \"rated\"", "to = \"treating\"", 1)).unwrap();
    fs::remove_dir_all(is.join("registers/township_patrol")).unwrap();
    let (code, text) = pack(&["diff", was, is_at]);
    assert_eq!(code, 1);
    let told = "registers/hidden_danger/register.toml\n  ~ transition.rate.to: \"rated\" → \"treating\"\nregisters/township_patrol/cases.toml\n  - (whole file)\n";
    assert!(text.starts_with(told), "{text}");
    let (_, text) = pack(&["diff", "--json", was, is_at]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&json[0]["change"], &json[0]["before"], &json[0]["after"]), (&"changed".into(), &"rated".into(), &"treating".into()));
    // Two files of whatever names.
    let (code, text) = pack(&["diff", &format!("{was}/registers/licence/register.toml"), register.to_str().unwrap()]);
    assert!(code == 1 && text.contains("~ kind: \"licence\" → \"hidden_danger\""), "{text}");
    assert!(pack(&["diff", was, "/nowhere"]).1.contains("/nowhere"));
}

#[test]
fn the_schemas_are_those_of_the_reference() {
    for file in ["register", "cases"] {
        let kept = fs::read_to_string(packs().join(format!("../docs/reference/{file}.schema.json"))).unwrap();
        assert_eq!(pack(&["schema", file]), (0, kept));
    }
    assert_eq!(pack(&["schema", "x"]).0, 2);
}
