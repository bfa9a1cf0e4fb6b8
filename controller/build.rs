//! Golden scripts are data: without these lines a new script would silently not be run.
fn main() {
    println!("cargo:rerun-if-changed=src/replicas/scripts");
    println!("cargo:rerun-if-changed=src/liveness/scripts");
}
