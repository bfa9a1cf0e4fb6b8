//! The safety rules of docs/SAFETY.md as a small model, checked exhaustively: every order of every event, within
//! bounds.
//!
//! One broker set of three replicas and a controller that is a log (Raft is taken for correct here). All of
//! SyncStateSet, epochs, eligible replicas, promises and truncation; messages are bytes of one, lost, late or reordered
//! at will. With every rule in force no acknowledged message is ever lost; with any one of them removed the checker
//! finds a story in which one is, and the story is kept in
//! `counterexamples/`, so that a reader sees what the rule is for (`UPDATE_EXPECT=1` rewrites them; the shortest story
//! is stable because the search is breadth first on one thread).

mod rules;
mod world;

use expect_test::expect_file;
use rules::Rule;
use stateright::{Checker, Model};
use world::{Bounds, SetModel};

fn model(min_in_sync: usize, without: Option<Rule>, bounds: Bounds) -> SetModel {
    SetModel { min_in_sync, without, bounds }
}

/// The shortest story that ends with an acknowledged message lost, or none within the bounds.
fn counterexample(model: SetModel) -> Option<String> {
    let checker = model.clone().checker().threads(1).spawn_bfs().join();
    let path = checker.discovery(world::NOTHING_LOST)?;
    let mut story = String::new();
    let states = path.into_vec();
    for window in states.windows(2) {
        let (before, action) = &window[0];
        if let Some(action) = action {
            story += &format!("{:<44} {}\n", action.to_string(), before.after(action, &model));
        }
    }
    Some(story)
}

/// The deep bounds take minutes: only `make model` asks for them.
fn bounds() -> Vec<Bounds> {
    match std::env::var_os("BATON_MODEL_DEEP") {
        Some(_) => Bounds::DEEP.to_vec(),
        None => vec![Bounds::QUICK],
    }
}

#[test]
fn with_every_rule_no_acknowledged_message_is_lost() {
    for (bounds, min_in_sync) in bounds().into_iter().flat_map(|it| [(it, 1), (it, 2)]) {
        let checker = model(min_in_sync, None, bounds).checker().threads(2).spawn_bfs().join();
        println!("minInSyncReplicas={min_in_sync}, {bounds:?}: {} states", checker.unique_state_count());
        if checker.discovery(world::NOTHING_LOST).is_some() {
            let story = counterexample(model(min_in_sync, None, bounds)).unwrap_or_default();
            panic!("minInSyncReplicas={min_in_sync}, {bounds:?}: an acknowledged message is lost:\n{story}");
        }
        assert!(checker.unique_state_count() > 10_000, "the model does nothing");
    }
}

#[test]
fn every_rule_is_needed() {
    for rule in Rule::ALL {
        let story = counterexample(model(rule.min_in_sync(), Some(rule), Bounds::HUNT));
        let story = story.unwrap_or_else(|| {
            panic!("nothing is lost without the rule {rule:?}: it is not needed, or the model is too small")
        });
        let text = format!("{}\n\n{story}", rule.text());
        expect_file![format!("{}/model/counterexamples/{}.txt", env!("CARGO_MANIFEST_DIR"), rule.file())]
            .assert_eq(&text);
    }
}
