fn main() {
    for core in ["epochs", "master", "slave", "role"] {
        println!("cargo:rerun-if-changed=src/{core}/scripts");
    }
}
