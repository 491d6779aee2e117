//! Tells xtask the host triple, which the fuzz targets are built for.
fn main() {
    println!("cargo:rustc-env=XTASK_HOST={}", std::env::var("HOST").unwrap_or_default());
    println!("cargo:rerun-if-changed=build.rs");
}
