//! `switchover`, `drain`, `undrain`, `pause`, `resume`: planned changes of master, of Baton's own (S10).

use super::super::options::{Given, Opt};
use super::super::{Command, Context, print};
use super::CONTROLLER;
use anyhow::{Context as _, bail};
use proto::header::{DrainRequest, PauseRequest, SwitchoverRequest, SwitchoverResponse};
use std::time::Duration;

pub(super) const SWITCHOVER: Command = Command {
    name: "switchover",
    about: "Move mastership to another replica without losing anything (Baton).",
    options: &[
        CONTROLLER,
        Opt::value("b", "brokerName", "the broker set").required(),
        Opt::value("i", "brokerId", "the replica that is to be master; without it the best of the SyncStateSet"),
        Opt::flag("d", "dry-run", "only say who would be master, how far behind it is, and what the risk is"),
    ],
    run: |context, given| Box::pin(switchover(context, given)),
};

pub(super) const DRAIN: Command = Command {
    name: "drain",
    about: "Keep mastership away from a host or a replica that is to be worked on (Baton).",
    options: &TARGET,
    run: |context, given| Box::pin(drain(context, given, true)),
};

pub(super) const UNDRAIN: Command = Command {
    name: "undrain",
    about: "Let a drained host or replica be master again (Baton).",
    options: &TARGET,
    run: |context, given| Box::pin(drain(context, given, false)),
};

const TARGET: [Opt; 4] = [
    CONTROLLER,
    Opt::value("s", "host", "an address host:port, or a host with all its replicas"),
    Opt::value("b", "brokerName", "the broker set, with -i"),
    Opt::value("i", "broker", "the id of a replica, with -b"),
];

pub(super) const PAUSE: Command = Command {
    name: "pause",
    about: "Stop automatic elections for a while; switchover and electMaster still work (Baton).",
    options: &[
        CONTROLLER,
        Opt::value("b", "brokerName", "the broker set; without it every set there is"),
        Opt::value("f", "for", "how long, e.g. 90s, 10m, 2h").required(),
    ],
    run: |context, given| Box::pin(pause(context, given)),
};

pub(super) const RESUME: Command = Command {
    name: "resume",
    about: "Let automatic elections go on (Baton).",
    options: &[CONTROLLER, Opt::value("b", "brokerName", "the broker set; without it every set there is")],
    run: |context, given| Box::pin(resume(context, given)),
};

async fn switchover(context: Context, given: Given) -> anyhow::Result<()> {
    let broker_set = given.required("b");
    let dry_run = given.has("d");
    let what = SwitchoverRequest {
        broker_name: broker_set.to_owned(),
        broker_id: given.parse("i", "the number of a replica, see `mqadmin getSyncStateSet`")?,
        master_broker_id: None,
        dry_run: Some(dry_run),
    };
    let leader = context.admin.controller_leader(given.required("a")).await?;
    let answer = context.admin.switchover(&leader, &what).await?;
    print(&if dry_run { dry_run_text(broker_set, &answer) } else { switched_text(broker_set, &answer) })
}

async fn drain(context: Context, given: Given, drain: bool) -> anyhow::Result<()> {
    let what = DrainRequest {
        host: given.get("s").map(str::to_owned),
        broker_name: given.get("b").map(str::to_owned),
        broker_id: given.parse("i", "the number of a replica, see `mqadmin getSyncStateSet`")?,
        drain,
    };
    if what.host.is_some() == (what.broker_name.is_some() && what.broker_id.is_some()) {
        bail!("say what: --host ADDRESS, or -b BROKER_SET and --broker ID");
    }
    let leader = context.admin.controller_leader(given.required("a")).await?;
    print(&context.admin.drain(&leader, &what).await?)
}

async fn pause(context: Context, given: Given) -> anyhow::Result<()> {
    let pause = duration(given.required("f"))?;
    paused(context, given, pause.as_millis() as i64).await
}

async fn resume(context: Context, given: Given) -> anyhow::Result<()> {
    paused(context, given, 0).await
}

async fn paused(context: Context, given: Given, for_mills: i64) -> anyhow::Result<()> {
    let what = PauseRequest { broker_name: given.get("b").map(str::to_owned), for_mills };
    let leader = context.admin.controller_leader(given.required("a")).await?;
    print(&context.admin.pause_elections(&leader, &what).await?)
}

/// `90s`, `10m`, `2h`.
fn duration(text: &str) -> anyhow::Result<Duration> {
    let want = || format!("option -f is `{text}`: want a number with s, m or h, e.g. 10m");
    let unit = text.chars().last().with_context(want)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        _ => bail!(want()),
    };
    let number: u64 = text[..text.len() - 1].parse().with_context(want)?;
    match number.checked_mul(seconds).filter(|it| (1..=30 * 86_400).contains(it)) {
        Some(seconds) => Ok(Duration::from_secs(seconds)),
        None => bail!("{}; at most 30 days (720h)", want()),
    }
}

fn dry_run_text(broker_set: &str, it: &SwitchoverResponse) -> String {
    let risk = if it.in_sync_others < it.min_in_sync_replicas.max(1) {
        format!(
            "{} other member(s), minInSyncReplicas is {}: writes stop if the present master goes away afterwards",
            it.in_sync_others, it.min_in_sync_replicas
        )
    } else if it.in_sync_others == 1 {
        "no third copy: while one of the two is away there is a single one".to_owned()
    } else {
        "none known".to_owned()
    };
    format!(
        "{broker_set}: would make {} at {} the master in place of {} (dry run: nothing was changed)\n\
         lag: {} bytes by the last heartbeats\nrisk: {risk}\n",
        it.master_broker_id, it.master_address, it.old_master_broker_id, it.lag
    )
}

fn switched_text(broker_set: &str, it: &SwitchoverResponse) -> String {
    format!(
        "{broker_set}: {} at {} is the master in place of {}, epoch {} from offset {}\n\
         drained in {} ms, elected in {} ms\n",
        it.master_broker_id,
        it.master_address,
        it.old_master_broker_id,
        it.master_epoch,
        it.end_offset.unwrap_or_default(),
        it.drain_mills.unwrap_or_default(),
        it.elect_mills.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn answer(in_sync_others: i32) -> SwitchoverResponse {
        SwitchoverResponse {
            old_master_broker_id: 1,
            master_broker_id: 2,
            master_address: "127.0.0.1:10921".into(),
            master_epoch: 4,
            lag: 312,
            in_sync_others,
            min_in_sync_replicas: 2,
            end_offset: Some(9000),
            drain_mills: Some(3),
            elect_mills: Some(11),
        }
    }

    #[test]
    fn a_dry_run_names_candidate_lag_and_risk() {
        expect![[r"
            broker-a: would make 2 at 127.0.0.1:10921 the master in place of 1 (dry run: nothing was changed)
            lag: 312 bytes by the last heartbeats
            risk: none known
        "]]
        .assert_eq(&dry_run_text("broker-a", &answer(2)));
        let risk = dry_run_text("broker-a", &answer(1)).lines().last().unwrap_or_default().to_owned();
        expect![
            "risk: 1 other member(s), minInSyncReplicas is 2: writes stop if the present master goes away afterwards"
        ]
        .assert_eq(&risk);
    }

    #[test]
    fn a_switchover_tells_who_is_master_and_how_long_it_took() {
        expect![[r"
            broker-a: 2 at 127.0.0.1:10921 is the master in place of 1, epoch 4 from offset 9000
            drained in 3 ms, elected in 11 ms
        "]]
        .assert_eq(&switched_text("broker-a", &answer(2)));
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("10m").unwrap(), Duration::from_secs(600));
        for wrong in ["", "10", "m", "0s", "721h", "1d", "-1s", "é"] {
            let error = format!("{:#}", duration(wrong).unwrap_err());
            assert!(error.starts_with(&format!("option -f is `{wrong}`: want a number with s, m or h")), "{error}");
        }
    }
}
