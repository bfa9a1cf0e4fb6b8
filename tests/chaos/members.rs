//! Controllers that come and go while commands flow, by what an operator types: nothing acknowledged is lost, and a
//! controller without its disk never votes as its old self.

use baton_tests::cluster::{Node, controller_config, free_port};
use baton_tests::commands::{Commands, wait_same};
use baton_tests::{Cluster, ClusterSpec, PATIENCE, one_at_a_time, wait_until};

fn controllers_alone() -> Cluster {
    let keys = vec!["snapshotEntries=40".to_owned()];
    let spec = ClusterSpec { brokers: 0, nameservers: 0, controller_keys: keys, ..ClusterSpec::default() };
    let mut cluster = Cluster::prepare(&spec);
    cluster.launch_all();
    cluster.wait_leader();
    cluster
}

fn addresses(cluster: &Cluster) -> Vec<String> {
    cluster.controllers.iter().map(|it| it.address.clone()).collect()
}

/// The file of a controller that joins: it names all the others and itself.
fn joining(cluster: &Cluster, i: usize, address: &str) -> Node {
    let mut addresses = addresses(cluster);
    if i == addresses.len() {
        addresses.push(address.to_owned());
    }
    let peers = addresses.iter().enumerate().map(|(i, it)| format!("n{i}-{it}")).collect::<Vec<_>>().join(";");
    let name = format!("controller-n{i}");
    let keys = ["controllerJoin=true".to_owned(), "snapshotEntries=40".to_owned()];
    let config = controller_config(cluster.folder(), &name, &peers, i, &keys);
    Node::new(cluster.folder(), &name, "mqcontroller", address, &config)
}

/// The line of `listControllers` about one of them.
fn listed(cluster: &Cluster, name: &str) -> Option<String> {
    let output = cluster.mqadmin(&["listControllers"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().find(|it| it.starts_with(&format!("{name}\t"))).map(str::to_owned)
}

#[test]
fn controllers_are_added_removed_and_told_to_lead_while_commands_flow() {
    let _turn = one_at_a_time();
    let mut cluster = controllers_alone();
    let commands = Commands::start(addresses(&cluster));
    commands.wait_progress(100);

    let address = format!("127.0.0.1:{}", free_port());
    let mut fourth = joining(&cluster, 3, &address);
    fourth.launch();
    // It waits until it is named, becomes a learner, copies everything, and is made a voter.
    let said = cluster.mqadmin_says(&["addController", "-i", "n3", "-s", &address]);
    assert!(said.contains(&format!("n3\t{address}\tvoter\traft id 4")), "{said}");
    fourth.wait_booted();
    cluster.controllers.push(fourth);
    commands.ask(addresses(&cluster));
    commands.wait_progress(50);

    let said = cluster.mqadmin_says(&["transferLeadership", "-i", "n3"]);
    assert!(said.contains(&format!("n3\t{address}\tleader\t")), "{said}");
    commands.wait_progress(50);
    let said = cluster.mqadmin_says(&["removeController", "-i", "n0"]);
    assert!(!said.contains("n0\t"), "{said}");
    // The removed process ends by itself, and says why.
    let ended = cluster.controllers[0].process().wait_for_end(PATIENCE);
    let output = cluster.controllers[0].output();
    assert!(
        !ended.success() && (output.contains("was removed") || output.contains("not a member any more")),
        "{output}"
    );
    let gone = cluster.controllers.remove(0);
    commands.ask(addresses(&cluster));
    // Three voters: one of the founders may die.
    commands.wait_progress(50);
    cluster.controllers[0].kill();
    commands.wait_progress(50);
    cluster.controllers[0].start();
    let acknowledged = commands.stop();
    let all = addresses(&cluster);
    wait_same(&all.iter().map(String::as_str).collect::<Vec<_>>(), &acknowledged);
    drop(gone);
}

#[test]
fn a_controller_whose_disk_was_wiped_comes_back_as_a_new_member_only() {
    let _turn = one_at_a_time();
    let mut cluster = controllers_alone();
    let commands = Commands::start(addresses(&cluster));
    commands.wait_progress(100);
    let wiped = (cluster.wait_leader() + 1) % 3;
    let (name, address) = (format!("n{wiped}"), cluster.controllers[wiped].address.clone());

    cluster.controllers[wiped].kill();
    std::fs::remove_dir_all(cluster.controllers[wiped].store()).expect("removes");
    cluster.controllers[wiped].launch();
    let ended = cluster.controllers[wiped].process().wait_for_end(PATIENCE);
    let output = cluster.controllers[wiped].output();
    assert!(!ended.success() && output.contains("its disk was lost or exchanged"), "{output}");
    commands.wait_progress(50);

    cluster.mqadmin_says(&["removeController", "-i", &name]);
    std::fs::remove_dir_all(cluster.controllers[wiped].store()).expect("removes");
    let mut anew = joining(&cluster, wiped, &address);
    anew.launch();
    let said = cluster.mqadmin_says(&["addController", "-i", &name, "-s", &address]);
    assert!(said.contains(&format!("{name}\t{address}\tvoter\traft id 4")), "{said}");
    anew.wait_booted();
    cluster.controllers[wiped] = anew;
    commands.wait_progress(50);
    // It counts: without one of the others there are still two of three.
    let other = (wiped + 1) % 3;
    cluster.controllers[other].kill();
    commands.wait_progress(50);
    cluster.controllers[other].start();
    wait_until("all three are voters", PATIENCE, || {
        (0..3).all(|i| listed(&cluster, &format!("n{i}")).is_some_and(|it| !it.contains("learner")))
    });
    let acknowledged = commands.stop();
    let all = addresses(&cluster);
    wait_same(&all.iter().map(String::as_str).collect::<Vec<_>>(), &acknowledged);
}
