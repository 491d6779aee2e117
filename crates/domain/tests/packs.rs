//! Every pack of the repository is sound, alone and together: what `anlan pack check packs/*` says.

use std::collections::BTreeMap;
use std::path::Path;

use anlan_domain::pack::folder::Folder;
use anlan_domain::register::{check_together, schema};

#[test]
fn every_pack_is_sound_alone_and_with_the_others() {
    let packs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs");
    let mut kinds = Vec::new();
    let mut paths: Vec<_> = std::fs::read_dir(packs).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.is_dir()) {
        let mut files = BTreeMap::new();
        read_below(path, path, &mut files);
        let folder = Folder::check(&files);
        assert!(folder.wrong.is_empty(), "{}: {:?}", path.display(), folder.wrong);
        kinds.extend(folder.kinds);
    }
    assert!(kinds.len() >= 8);
    assert_eq!(check_together(&kinds), []);
}

/// Alone it can only be read; beside its plan it has to fit it.
#[test]
fn a_supplement_is_joined_with_the_plan_beside_it() {
    let supplement = "[[path]]\ntarget = \"N99\"\non = \"2011-12-31\"\nvalue = \"0.1\"\nmark = \"invented\"\n";
    let mut files = BTreeMap::from([
        ("pack.toml".to_owned(), include_str!("../../../packs/region-yuxi/pack.toml").to_owned()),
        ("plan_supplement.toml".to_owned(), supplement.to_owned()),
    ]);
    assert_eq!(Folder::check(&files).wrong, []);
    files.insert("plan.toml".to_owned(), include_str!("../../../packs/region-yuxi/plan.toml").to_owned());
    let folder = Folder::check(&files);
    let told: Vec<_> = folder.wrong.iter().map(ToString::to_string).collect();
    assert!(
        matches!(&told[..], [one] if one.contains("plan_supplement.toml") && one.contains("`N99`") && one.contains("`target`")),
        "{told:?}"
    );
    assert_eq!((folder.n_checked, folder.n_others), (3, 0));
    files.insert("plan_supplement.toml".to_owned(), supplement.replace("N99", "N04"));
    assert_eq!(Folder::check(&files).wrong, []);
}

/// The schemas that editors read: each shipped file names its own and is as it says.
#[test]
fn every_shipped_register_is_as_its_schema_says() {
    let packs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs");
    let mut n = 0;
    for pack in std::fs::read_dir(packs).unwrap() {
        let Ok(registers) = std::fs::read_dir(pack.unwrap().path().join("registers")) else { continue };
        for register in registers {
            let folder = register.unwrap().path();
            for (file, schema) in [("register", schema::REGISTER), ("cases", schema::CASES)] {
                let text = std::fs::read_to_string(folder.join(format!("{file}.toml"))).unwrap();
                let named = format!("#:schema ../../../../docs/reference/{file}.schema.json\n");
                assert!(text.starts_with(&named), "{}/{file}.toml does not name its schema", folder.display());
                let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
                compiler.add_resource("schema.json", serde_json::from_str(schema).unwrap()).unwrap();
                let index = compiler.compile("schema.json", &mut schemas).unwrap();
                let value = serde_json::to_value(toml::from_str::<toml::Value>(&text).unwrap()).unwrap();
                schemas.validate(&value, index).unwrap_or_else(|error| panic!("{}/{file}.toml: {error:#}", folder.display()));
                n += 1;
            }
        }
    }
    assert!(n >= 18, "{n}");
}

fn read_below(pack: &Path, folder: &Path, files: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_below(pack, &path, files);
        } else {
            let name = path.strip_prefix(pack).unwrap().to_string_lossy().into_owned();
            files.insert(name, std::fs::read_to_string(&path).unwrap());
        }
    }
}
