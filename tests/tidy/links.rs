//! What the documents point at is there: files, and the tests that are named as proof.

use crate::{assert_none, files, name, read, root};
use std::path::Path;

/// Pages whose every statement is shown by a test: a link to a file of Rust names a function in it.
const PROVEN: [&str; 2] = ["docs/SCENARIOS.md", "docs/GUARANTEES.md"];

#[test]
fn links_in_documents_lead_somewhere() {
    let dead = files(root(), ".md").into_iter().flat_map(|page| {
        let of_page = links(&read(&page)).into_iter().filter(|it| !it.1.contains("://") && !it.1.starts_with('#'));
        let dead = of_page.filter(|it| !target(&page, &it.1).exists());
        dead.map(|it| format!("{}: [{}]({}) leads nowhere", name(&page), it.0, it.1)).collect::<Vec<_>>()
    });
    assert_none(dead.collect());
}

#[test]
fn every_test_that_is_named_as_proof_exists() {
    let mut findings = Vec::new();
    for page in PROVEN.map(|it| root().join(it)) {
        let all = links(&read(&page));
        assert!(all.len() > 10, "{} names tests", page.display());
        for (text, link) in all.iter().filter(|it| it.1.ends_with(".rs")) {
            let test = text.trim_matches('`');
            // The parenthesis: a name that is only the beginning of a longer one is not there.
            if !read(&target(&page, link)).contains(&format!("fn {test}(")) {
                findings.push(format!("{}: there is no `{test}` in {link}", name(&page)));
            }
        }
    }
    assert_none(findings);
}

#[test]
fn every_scenario_of_the_controller_has_its_line() {
    let text = read(&root().join("docs/SCENARIOS.md"));
    let counts = [('C', 6), ('D', 9), ('E', 11), ('F', 8)];
    let all = counts.iter().flat_map(|(letter, count)| (1..=*count).map(move |i| format!("{letter}{i}")));
    let row = |it: &String| text.lines().any(|line| line.starts_with(&format!("| {it} |")) && line.contains("]("));
    assert_none(all.filter(|it| !row(it)).map(|it| format!("docs/SCENARIOS.md has no line {it}")).collect());
}

fn target(page: &Path, link: &str) -> std::path::PathBuf {
    let file = link.split('#').next().unwrap_or_default();
    page.parent().expect("a page is in a folder").join(file)
}

/// `(text, target)` of each `[text](target)`, code blocks left out.
fn links(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        in_code ^= line.trim_start().starts_with("```");
        let mut rest = line;
        while let (false, Some(at)) = (in_code, rest.find("](")) {
            let text = rest[..at].rsplit('[').next().unwrap_or_default();
            let after = &rest[at + 2..];
            let end = after.find(')').unwrap_or(after.len());
            found.push((text.to_owned(), after[..end].to_owned()));
            rest = &after[end..];
        }
    }
    found
}

#[test]
fn links_are_found_in_text_and_not_in_code() {
    let text = "see [a](b.md) and [`c`](../d.rs)\n```\n[e](f)\n```\n";
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(links(text), [pair("a", "b.md"), pair("`c`", "../d.rs")]);
}
