//! Controllers that come, go, lose their disks and lead by order, over real sockets and directories.

use super::*;

impl Group {
    /// Starts controller `n<i>`, by a file that names it and all before it.
    async fn launch(&mut self, i: usize, join: bool) -> anyhow::Result<()> {
        let all = (0..self.addresses.len()).collect::<Vec<_>>();
        self.launch_by(&all, i, join).await
    }

    /// The same by a file that names these.
    async fn launch_by(&mut self, named: &[usize], i: usize, join: bool) -> anyhow::Result<()> {
        let peers = named.iter().map(|i| format!("n{i}-{}", self.addresses[*i])).collect::<Vec<_>>().join(";");
        let config = Config {
            controller_d_leger_peers: peers,
            controller_d_leger_self_id: format!("n{i}"),
            controller_store_path: self._dir.path().join(format!("n{i}")).display().to_string(),
            controller_join: join,
            ..Config::default()
        };
        let stop = CancellationToken::new();
        let running = start(config, stop.clone()).await?;
        self.running.resize_with(self.running.len().max(i + 1), || None);
        self.running[i] = Some((running, stop));
        Ok(())
    }

    async fn change(&self, action: &str, i: usize) -> String {
        let request = Command::request(31020)
            .with_ext("action", action)
            .with_ext("controllerId", format!("n{i}"))
            .with_ext("controllerAddress", &self.addresses[i]);
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let answer = self.ask(request.clone(), &[0, 2005]).await;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            let busy = answer.remark.as_ref().is_some_and(|it| it.contains("under way"));
            if !busy || Instant::now() > deadline {
                return answer.remark.unwrap_or(text);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn listed(&self, is_so: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let text = self.change("list", 0).await;
            if is_so(&text) {
                return text;
            }
            assert!(Instant::now() < deadline, "{text}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Adds `n<i>` at a free port, by a file that names these and itself, and returns when it is a voter.
    async fn grow(&mut self, named: &[usize], i: usize) {
        let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        self.addresses.push(held.local_addr().expect("bound").to_string());
        drop(held);
        self.add(i).await;
        self.launch_by(&[named, &[i]].concat(), i, true).await.expect("joins");
        self.becomes_voter(i).await;
    }

    /// Ordered until it is so: whether enough members are heard, and who leads, may change from moment to moment.
    async fn remove(&self, i: usize) {
        self.order("remove", i, |members| !members.contains(&format!("n{i}\t"))).await;
    }

    async fn add(&self, i: usize) {
        self.order("add", i, |members| members.contains(&format!("n{i}\t"))).await;
    }

    async fn order(&self, action: &str, i: usize, is_so: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let answer = self.change(action, i).await;
            let members = self.change("list", 0).await;
            if is_so(&members) {
                return;
            }
            assert!(Instant::now() < deadline, "{answer}");
            if answer.contains("transfer the leadership") {
                let other = (0..self.running.len()).find(|it| *it != i && self.running[*it].is_some());
                self.change("transfer", other.expect("another one runs")).await;
            }
        }
    }

    async fn becomes_voter(&self, i: usize) {
        self.listed(|it| it.lines().any(|it| it.starts_with(&format!("n{i}\t")) && it.contains("voter"))).await;
    }

    /// Why controller `n<i>` ends by itself.
    async fn end(&mut self, i: usize) -> String {
        let (running, _) = self.running[i].take().expect("runs");
        let ended = tokio::time::timeout(TIMEOUT, running.finished()).await.expect("ends in time");
        ended.expect_err("has a reason to end").to_string()
    }

    fn wipe(&self, i: usize) {
        std::fs::remove_dir_all(self._dir.path().join(format!("n{i}"))).expect("removes");
    }

    async fn lead(&self, i: usize) {
        let deadline = Instant::now() + TIMEOUT;
        while self.leader().await != i {
            assert!(Instant::now() < deadline, "n{i} does not lead");
            self.change("transfer", i).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn take_id(id: i64) -> Command {
    Command::request(1013)
        .with_ext("clusterName", "c")
        .with_ext("brokerName", "a")
        .with_ext("appliedBrokerId", id)
        .with_ext("registerCheckCode", format!("h{id}:1;1"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_controllers_become_five_and_three_again() {
    let mut group = Group::start().await;
    group.ask(take_id(1), &[0]).await;
    group.grow(&[0, 1, 2], 3).await;
    group.lead(3).await;
    // Only the leader knows who joins, and this one's file does not name it.
    group.grow(&[0, 1, 2], 4).await;
    group.ask(take_id(2), &[0]).await;
    for i in 0..2 {
        group.remove(i).await;
        // It learns of it, or is told by the first one that it talks to; either ends it with the reason.
        let why = group.end(i).await;
        assert!(why.contains("removed") || why.contains("not a member any more"), "{why}");
    }
    // What was written by the first three is known, and more can be written without any of the removed.
    group.ask(take_id(3), &[0]).await;
    let next = group.ask(Command::request(1012).with_ext("clusterName", "c").with_ext("brokerName", "a"), &[0]).await;
    assert_eq!(next.ext["nextBrokerId"], "4");
    for i in 2..5 {
        group.stop(i).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_disk_never_comes_back_as_its_old_self() {
    let mut group = Group::start().await;
    group.ask(take_id(1), &[0]).await;
    let leader = group.leader().await;
    let wiped = (leader + 1) % 3;
    group.stop(wiped).await;
    group.wipe(wiped);
    group.launch(wiped, false).await.expect("starts, and hears of it a moment later");
    let why = group.end(wiped).await;
    assert!(why.contains("its disk was lost or exchanged"), "{why}");

    // As one that joins it is not given its old self's id either.
    let door = crate::raft::Door { group: "group1".into(), ..Default::default() };
    let stop = CancellationToken::new();
    let others = (0..3).filter(|it| *it != wiped).map(|it| group.addresses[it].clone()).collect::<Vec<_>>();
    let name = format!("n{wiped}");
    let joined = {
        let (others, name, door, stop) = (others.clone(), name.clone(), door.clone(), stop.clone());
        tokio::spawn(async move { crate::raft::transport::join("group1", &name, &others, &door, &stop).await })
    };
    group.remove(wiped).await;
    group.add(wiped).await;
    let (raft_id, _) = tokio::time::timeout(TIMEOUT, joined).await.expect("in time").expect("no panic").expect("joins");
    assert_eq!(raft_id, 4);
    group.wipe(wiped);
    group.launch(wiped, true).await.expect("joins");
    group.becomes_voter(wiped).await;
    // It restarts as what it is now.
    group.stop(wiped).await;
    group.launch(wiped, true).await.expect("starts again");
    group.lead(wiped).await;
    group.ask(take_id(2), &[0]).await;
    for i in 0..3 {
        group.stop(i).await;
    }
}

/// Nobody has the Raft id any more under which it looks for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_controller_is_told_so_by_others_that_were_replaced() {
    let mut group = Group::start().await;
    group.lead(2).await;
    group.stop(0).await;
    group.remove(0).await;
    for (i, leader) in [(1, 2), (2, 1)] {
        group.lead(leader).await;
        group.remove(i).await;
        group.end(i).await;
        group.wipe(i);
        group.add(i).await;
        group.launch(i, true).await.expect("joins");
        group.becomes_voter(i).await;
    }
    group.launch(0, false).await.expect("starts, and hears of it a moment later");
    let why = group.end(0).await;
    assert!(why.contains("controller n0 (Raft id 1) is not a member any more"), "{why}");
    for i in 1..3 {
        group.stop(i).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_disk_of_three_begins_a_new_group() {
    let mut group = Group::start().await;
    group.ask(take_id(1), &[0]).await;
    group.ask(take_id(2), &[0]).await;
    // n0 knows everything once it leads.
    group.lead(0).await;
    for i in 0..3 {
        group.stop(i).await;
    }
    let base = group._dir.path().to_owned();
    let dir = |i: usize| base.join(format!("n{i}"));
    let file = group._dir.path().join("backup.json");
    let text = crate::raft::offline::backup(&dir(0), &file).expect("backs up");
    assert!(text.starts_with("group group1: 1 broker sets, controllers n0, n1, n2, raft index "), "{text}");
    assert!(crate::raft::offline::backup(&dir(0), &file).is_err(), "never overwrites");
    (1..3).for_each(|i| std::fs::remove_dir_all(dir(i)).expect("removes"));

    crate::raft::offline::force_new_cluster(&dir(0)).expect("begins");
    group.launch(0, false).await.expect("starts alone");
    for i in 1..3 {
        group.add(i).await;
        group.launch(i, true).await.expect("joins");
        group.becomes_voter(i).await;
    }
    group.lead(2).await;
    group.ask(take_id(3), &[0]).await;
    for i in 0..3 {
        group.stop(i).await;
    }
    // From the backup: what was after it is gone, what was before is there.
    let (restored, address) = (group._dir.path().join("restored"), group.addresses[0].clone());
    crate::raft::offline::restore(&file, &restored, "n0", &address).expect("restores");
    std::fs::remove_dir_all(dir(0)).expect("removes");
    std::fs::rename(&restored, dir(0)).expect("moves");
    group.launch(0, false).await.expect("starts alone");
    let next = group.ask(Command::request(1012).with_ext("clusterName", "c").with_ext("brokerName", "a"), &[0]).await;
    assert_eq!(next.ext["nextBrokerId"], "3");
    group.stop(0).await;
}
