//! `proto ← node ← controller | namesrv | store ← ha ← broker | client ← admin ← bin`: who may depend on whom.

use crate::{assert_none, files, name, read, root};
use std::collections::BTreeMap;

/// What each crate's code may use of ours. Tests of a crate may use the same and nothing more.
const MAY_USE: [(&str, &[&str]); 13] = [
    ("proto", &[]),
    ("node", &["proto"]),
    ("controller", &["proto", "node"]),
    ("namesrv", &["proto", "node"]),
    ("store", &["proto", "node"]),
    ("ha", &["proto", "node", "store"]),
    ("broker", &["proto", "node", "store", "ha"]),
    ("client", &["proto", "node"]),
    ("admin", &["proto", "node", "client"]),
    ("baton", &["proto", "node", "controller", "namesrv", "store", "ha", "broker", "client", "admin"]),
    ("baton-tests", &["proto", "node", "controller", "namesrv", "store", "ha", "broker", "client", "admin"]),
    ("baton-preload", &[]),
    ("baton-fuzz", &["proto", "node", "namesrv", "store", "ha", "broker"]),
];

/// Crates' names with the crates of ours they depend on, by their manifests.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let ours: Vec<_> = MAY_USE.iter().map(|it| it.0).collect();
    let mut found = BTreeMap::new();
    for manifest in files(root(), "Cargo.toml") {
        let (mut section, mut package, mut used) = (String::new(), None, Vec::new());
        for line in read(&manifest).lines().map(str::trim) {
            if line.starts_with('[') {
                section = line.to_owned();
            } else if section == "[package]" && line.starts_with("name") {
                package = line.split('"').nth(1).map(str::to_owned);
            } else if section.ends_with("dependencies]") && section != "[workspace.dependencies]" {
                let dependency = line.split(['.', ' ', '=']).next().unwrap_or_default();
                if ours.contains(&dependency) {
                    used.push(dependency.to_owned());
                }
            }
        }
        if let Some(package) = package {
            found.insert(package, used);
        }
    }
    found
}

#[test]
fn crates_depend_only_on_the_layers_below_them() {
    let all = dependencies();
    let mut findings = Vec::new();
    for (package, used) in &all {
        match MAY_USE.iter().find(|it| it.0 == package) {
            None => findings.push(format!("crate `{package}` has no place in the layers: give it one in {}", file!())),
            Some((_, allowed)) => {
                let wrong = used.iter().filter(|it| !allowed.contains(&it.as_str()));
                findings.extend(wrong.map(|it| format!("`{package}` must not depend on `{it}`")));
            }
        }
    }
    assert_eq!(all.len(), MAY_USE.len(), "crates found: {:?}", all.keys());
    assert_none(findings);
}

/// Decisions are pure: the same state and input give the same output, and nothing of the outside world is touched.
#[test]
fn pure_files_touch_no_outside_world() {
    const NAMED: [&str; 20] = [
        "controller/src/replicas",
        "controller/src/liveness",
        "controller/src/lag",
        "namesrv/src/route",
        "broker/ha/src/epochs",
        "broker/ha/src/in_sync",
        "broker/ha/src/lease",
        "broker/ha/src/master",
        "broker/ha/src/slave",
        "broker/ha/src/role",
        "broker/ha/src/drain",
        "broker/ha/src/maximal_set",
        "broker/ha/src/notes",
        "client/src/routing",
        "broker/store/src/scan",
        "broker/store/src/delay_levels",
        "broker/src/delay/level",
        "broker/src/delay/message",
        "broker/src/verdict",
        "proto/src",
    ];
    const FORBIDDEN: [&str; 14] = [
        "std::fs",
        "std::net::Tcp",
        "std::net::Udp",
        "std::thread",
        "tokio",
        "Instant::now",
        "SystemTime",
        "rand::",
        "HashMap",
        "HashSet",
        "tracing",
        "println!",
        "eprintln!",
        "std::env",
    ];
    let mut findings = Vec::new();
    for pure in NAMED {
        let of_it = |path: &String| *path == format!("{pure}.rs") || path.starts_with(&format!("{pure}/"));
        let all = files(root(), ".rs");
        let own: Vec<_> = all.iter().filter(|it| of_it(&name(it))).collect();
        if own.is_empty() {
            findings.push(format!("{pure}: no such file; update the list in {} when a pure core moves", file!()));
        }
        for path in own {
            // The script runners and tests around a core may read files.
            if path.file_name().is_some_and(|it| it == "tests.rs") {
                continue;
            }
            let text = read(path);
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for (number, line) in code.lines().enumerate().filter(|it| !it.1.trim_start().starts_with("//")) {
                let found = FORBIDDEN.iter().filter(|it| line.contains(**it));
                findings.extend(found.map(|it| format!("{}:{}: `{it}` in a pure file", name(path), number + 1)));
            }
        }
    }
    assert_none(findings);
}
