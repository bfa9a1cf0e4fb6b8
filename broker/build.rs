//! Scripts are found when the tests are built: a new one must build them again.

fn main() {
    println!("cargo:rerun-if-changed=src/forward/lanes/scripts");
}
