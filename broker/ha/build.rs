//! Scripts are found when the tests are built: a new one must build them again.

fn main() {
    for core in ["epochs", "master", "slave", "role"] {
        println!("cargo:rerun-if-changed=src/{core}/scripts");
    }
}
