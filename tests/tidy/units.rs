//! systemd's own opinion of the units in conf/systemd.

use crate::{assert_none, files, name, read, root};
use baton_tests::loudly;
use baton_tests::process::binary;
use std::process::Command;

/// Programs are looked for where they were built; all else is as it is delivered.
#[test]
fn systemd_accepts_every_unit() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return loudly("skipped: there is no systemd-analyze to check conf/systemd");
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    let units =
        [files(&root().join("conf/systemd"), ".service"), files(&root().join("conf/systemd"), ".socket")].concat();
    assert_eq!(units.len(), 4, "{units:?}");
    let mut command = Command::new("systemd-analyze");
    command.arg("verify");
    for unit in &units {
        let mut text = read(unit);
        for program in ["mqbroker", "mqcontroller", "mqnamesrv"] {
            text = text.replace(&format!("/usr/local/bin/{program} "), &format!("{} ", binary(program).display()));
        }
        assert!(!text.contains("/usr/local/bin"), "{}: starts a program that is not one of ours", name(unit));
        let copy = folder.path().join(unit.file_name().expect("a file"));
        std::fs::write(&copy, text).expect("a copy");
        command.arg(copy);
    }
    let verified = command.output().expect("systemd-analyze runs");
    let said = String::from_utf8_lossy(&verified.stderr);
    // Only what is said about our units: the machine's own may have faults.
    let ours =
        said.lines().filter(|line| units.iter().any(|it| line.contains(&*it.file_name().unwrap().to_string_lossy())));
    assert_none(ours.map(str::to_owned).collect());
    assert!(verified.status.success(), "{said}");
}
