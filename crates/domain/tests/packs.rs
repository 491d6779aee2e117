//! Every pack of the repository is sound, alone and together: what `anlan pack check packs/*` says.

use std::collections::BTreeMap;
use std::path::Path;

use anlan_domain::pack::folder::Folder;
use anlan_domain::register::check_together;

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
