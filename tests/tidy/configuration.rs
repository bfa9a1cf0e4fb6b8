//! Each file in conf/ is one that its program understands whole.

use crate::{assert_none, files, name, root};
use baton_tests::process::binary;
use std::path::Path;
use std::process::Command;

#[test]
fn every_file_in_conf_loads_without_a_warning() {
    let all = files(&root().join("conf"), ".conf");
    assert!(!all.is_empty(), "conf/ has files");
    assert_none(all.iter().filter_map(|it| complaint(it)).collect());
}

/// Loads the file as the program it is for would, and stops there (`-p`).
fn complaint(path: &Path) -> Option<String> {
    let file = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
    let programs = [("controller", "mqcontroller"), ("namesrv", "mqnamesrv"), ("broker", "mqbroker")];
    let Some((_, program)) = programs.iter().find(|it| file.starts_with(it.0)) else {
        return Some(format!("{}: named after no program", name(path)));
    };
    let home = tempfile::tempdir().expect("temporary folder");
    let mut command = Command::new(binary(program));
    command.arg("-c").arg(path).arg("-p").current_dir(&home).env("HOME", home.path());
    command.env_remove("NAMESRV_ADDR").env_remove("ROCKETMQ_HOME");
    let run = command.output().expect("runs");
    let said = String::from_utf8_lossy(&run.stderr);
    let complained = !run.status.success() || said.contains("unknown key") || said.contains("has no effect");
    complained.then(|| format!("{}: {}\n{said}", name(path), run.status))
}
