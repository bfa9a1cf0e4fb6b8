//! What every source file looks like.

use crate::{assert_none, files, name, read, root};
use std::collections::BTreeSet;

const LONGEST_LINE: usize = 120;
const LONGEST_FILE: usize = 800;

#[test]
fn every_file_opens_with_what_it_is() {
    let bare = files(root(), ".rs").into_iter().filter(|it| !read(it).starts_with("//!"));
    assert_none(bare.map(|it| format!("{}: must open with `//!`", name(&it))).collect());
}

#[test]
fn lines_and_files_are_not_too_long() {
    let mut findings = Vec::new();
    for path in files(root(), ".rs") {
        let text = read(&path);
        // Bytes and tables that tests expect are as long as they are.
        let expected = path.ends_with("tests.rs").then_some(0).or(text.find("#[cfg(test)]")).unwrap_or(text.len());
        let raw = raw_strings(&text);
        let long = text[..expected].lines().enumerate();
        let long = long.filter(|it| it.1.chars().count() > LONGEST_LINE && !raw.contains(&it.0));
        findings.extend(long.map(|(i, it)| format!("{}:{}: {} characters", name(&path), i + 1, it.chars().count())));
        let lines = text.lines().count();
        if lines > LONGEST_FILE {
            findings.push(format!("{}: {lines} lines, at most {LONGEST_FILE}", name(&path)));
        }
    }
    assert_none(findings);
}

/// Lines of raw strings, which are somebody else's text: Java's output, JSON, scripts.
fn raw_strings(text: &str) -> BTreeSet<usize> {
    let (mut raw, mut inside) = (BTreeSet::new(), false);
    for (i, line) in text.lines().enumerate() {
        let rest = if inside { Some(line) } else { line.split_once("r#\"").map(|it| it.1) };
        if let Some(rest) = rest {
            raw.insert(i);
            inside = !rest.contains("\"#");
        }
    }
    raw
}

#[test]
fn nothing_is_left_to_be_done() {
    // Written in two parts, or this file would find itself.
    let marks = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
    ];
    let mut findings = Vec::new();
    for path in files(root(), ".rs") {
        for (i, line) in read(&path).lines().enumerate() {
            findings.extend(
                marks.iter().filter(|it| line.contains(**it)).map(|it| format!("{}:{}: {it}", name(&path), i + 1)),
            );
        }
    }
    assert_none(findings);
}

/// Without it a new script is silently not run.
#[test]
fn crates_with_scripts_are_rebuilt_when_a_script_is_added() {
    let mut findings = Vec::new();
    for path in files(root(), ".rs") {
        let text = read(&path);
        let Some(at) = text.find(concat!("test_each", "_path! {")) else { continue };
        let package = path.ancestors().find(|it| it.join("Cargo.toml").exists()).expect("a file belongs to a crate");
        // The macro's path is relative to the workspace, the build script's to the crate.
        let folder = text[at..].split('"').nth(1).unwrap_or_default().trim_start_matches("./");
        let folder = folder.strip_prefix(&format!("{}/", name(package))).unwrap_or(folder);
        let build = package.join("build.rs");
        let watched = build.exists() && read(&build).contains("cargo:rerun-if-changed=");
        if !watched || !watches(&read(&build), folder) {
            findings.push(format!("{}: build.rs must print cargo:rerun-if-changed={folder}", name(package)));
        }
    }
    assert_none(findings);
}

/// The folder itself or one above it is named.
fn watches(build: &str, folder: &str) -> bool {
    let named = |it: &str| {
        let after = it.split("cargo:rerun-if-changed=").nth(1)?;
        Some(after.split(['"', '\\', '{']).next().unwrap_or_default().trim_end_matches('/').to_owned())
    };
    build.lines().filter_map(named).any(|it| it.is_empty() || folder == it || folder.starts_with(&format!("{it}/")))
}

/// Modules are `foo.rs` beside `foo/`.
#[test]
fn there_is_no_mod_rs_and_no_drawer_for_everything() {
    const DRAWERS: [&str; 7] = ["mod.rs", "common.rs", "util.rs", "utils.rs", "helper.rs", "manager.rs", "misc.rs"];
    let all = files(root(), ".rs").into_iter();
    let found = all.filter(|it| it.file_name().is_some_and(|it| DRAWERS.iter().any(|drawer| it == *drawer)));
    assert_none(found.map(|it| name(&it)).collect());
}

/// Clocks and files stay where they belong; a note on who wrote what, or with which machine, belongs nowhere.
#[test]
fn no_machine_paths_are_written_down() {
    let mut findings = Vec::new();
    let marks = [concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/ho", "me/")];
    for ending in [".rs", ".toml", ".md", ".conf", "Makefile", ".java"] {
        for path in files(root(), ending) {
            for (i, line) in read(&path).lines().enumerate() {
                findings.extend(
                    marks.iter().filter(|it| line.contains(**it)).map(|it| format!("{}:{}: {it}", name(&path), i + 1)),
                );
            }
        }
    }
    assert_none(findings);
}
