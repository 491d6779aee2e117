//! Names the folder with the console's files for `rust-embed`. Without a built console it is an empty one, and `/` says so.

use std::path::PathBuf;

fn main() {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let dist = root.join("../../web/dist");
    // Cargo runs this again at every build while a watched path is missing, and builds the crate again with it; an empty
    // folder (git ignores it) is there to be watched until the console appears in it.
    let there = std::fs::create_dir_all(&dist).is_ok();
    let folder = if there {
        println!("cargo::rerun-if-changed={}", dist.display());
        dist
    } else {
        // A source tree that cannot be written to.
        let empty = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it")).join("no-console");
        std::fs::create_dir_all(&empty).expect("OUT_DIR is writable");
        empty
    };
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=ANLAN_WEB_DIST={}", folder.display());
}
