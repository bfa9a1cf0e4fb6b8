//! A new golden script must be noticed by cargo, or it is silently not run.

fn main() {
    println!("cargo:rerun-if-changed=src/route/scripts");
}
