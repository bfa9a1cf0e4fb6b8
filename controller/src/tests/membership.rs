//! Controllers that come, go, lose their disks and lead by order, over real sockets and directories.

use super::*;

impl Group {
    /// Starts controller `n<i>`, by a file that names it and all before it.
    async fn launch(&mut self, i: usize, join: bool) -> anyhow::Result<()> {
        let peers = (0..).zip(&self.addresses).map(|(i, it)| format!("n{i}-{it}")).collect::<Vec<_>>().join(";");
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

    /// Adds `n<i>` at a free port, which waits for that, and returns when it is a voter.
    async fn grow(&mut self, i: usize) {
        let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        self.addresses.push(held.local_addr().expect("bound").to_string());
        drop(held);
        self.change("add", i).await;
        self.launch(i, true).await.expect("joins");
        self.listed(|it| it.lines().any(|it| it.starts_with(&format!("n{i}\t")) && !it.contains("learner"))).await;
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
    group.grow(3).await;
    group.grow(4).await;
    group.ask(take_id(2), &[0]).await;
    group.lead(3).await;
    for i in 0..2 {
        let left = group.change("remove", i).await;
        assert!(!left.contains(&format!("n{i}\t")), "{left}");
        // It learns of it, or is told by the first one that it talks to; either ends it with the reason.
        let (running, _) = group.running[i].take().expect("runs");
        let why = running.finished().await.expect_err("was removed").to_string();
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
    std::fs::remove_dir_all(group._dir.path().join(format!("n{wiped}"))).expect("removes");
    group.launch(wiped, false).await.expect("starts, and hears of it a moment later");
    let (running, _) = group.running[wiped].take().expect("runs");
    let why = running.finished().await.expect_err("is refused").to_string();
    assert!(why.contains("its disk was lost or exchanged"), "{why}");

    group.change("remove", wiped).await;
    group.change("add", wiped).await;
    std::fs::remove_dir_all(group._dir.path().join(format!("n{wiped}"))).expect("removes");
    group.launch(wiped, true).await.expect("joins");
    let voter =
        |it: &str| it.lines().any(|it| it.starts_with(&format!("n{wiped}\t")) && it.ends_with("voter\traft id 4"));
    group.listed(voter).await;
    // It restarts as what it is now.
    group.stop(wiped).await;
    group.launch(wiped, true).await.expect("starts again");
    group.lead(wiped).await;
    group.ask(take_id(2), &[0]).await;
    for i in 0..3 {
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
        group.change("add", i).await;
        group.launch(i, true).await.expect("joins");
        group.listed(|it| it.lines().any(|it| it.starts_with(&format!("n{i}\t")) && it.contains("voter"))).await;
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
