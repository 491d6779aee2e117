//! Names the folder with the console's files for `rust-embed`; an empty one if the console is not built.

use std::path::PathBuf;

fn main() {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let dist = root.join("../../web/dist");
    println!("cargo::rerun-if-changed={}", dist.display());
    // Watching the parent notices a dist that appears later; cargo compares times, not content.
    println!("cargo::rerun-if-changed={}", root.join("../../web/dist/index.html").display());
    let folder = if dist.join("index.html").is_file() {
        dist
    } else {
        let empty = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it")).join("no-console");
        std::fs::create_dir_all(&empty).expect("OUT_DIR is writable");
        empty
    };
    println!("cargo::rustc-env=ANLAN_WEB_DIST={}", folder.display());
}
