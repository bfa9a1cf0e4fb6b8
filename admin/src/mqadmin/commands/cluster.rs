//! Commands about brokers and controllers.

use super::{any_address, broker_epoch, cluster_list, controller, interval, sets_of};
use crate::mqadmin::{Context, options::Given, print};
use anyhow::{Context as _, bail};
use proto::header::ElectMasterRequest;

pub(crate) async fn list(context: Context, given: Given) -> anyhow::Result<()> {
    let interval = interval(&given)?;
    loop {
        let info = match given.has("aliases") {
            true => context.admin.cluster_info_with_aliases().await?,
            false => context.admin.cluster_info().await?,
        };
        if let Some(cluster) = given.get("c") {
            sets_of(&info, cluster)?;
        }
        let mut rows = cluster_list::rows(&info, given.get("c"));
        let mut silent = Vec::new();
        for row in &mut rows {
            match context.admin.broker_runtime_info(&row.address).await {
                Ok(runtime) => row.runtime = Some(runtime),
                Err(error) => silent.push(error.to_string()),
            }
        }
        print(&match given.has("m") {
            true => cluster_list::totals_table(&rows),
            false => cluster_list::table(&rows, node::clock::wall_ms()),
        })?;
        match interval {
            None if silent.is_empty() => return Ok(()),
            None => bail!("brokers that did not answer have empty cells: {}", silent.join("; ")),
            Some(interval) => tokio::time::sleep(interval).await,
        }
    }
}

pub(crate) async fn sync_state_set(context: Context, given: Given) -> anyhow::Result<()> {
    let interval = interval(&given)?;
    let controllers = given.required("a");
    loop {
        let names: Vec<String> = match (given.get("b"), given.get("c")) {
            (Some(set), _) => vec![set.to_owned()],
            (None, Some(cluster)) => {
                let info = context.admin.cluster_info().await?;
                sets_of(&info, cluster)?.iter().map(|it| it.broker_name.clone()).collect()
            }
            (None, None) => bail!("give -b with a broker name, or -c with a cluster name"),
        };
        let leader = context.admin.controller_leader(controllers).await?;
        let answer = context.admin.sync_state_data(&leader, &names).await?;
        for (name, info) in &answer.replicas_info_table {
            print(&controller::sync_state_set(name, info))?;
        }
        let unknown: Vec<&str> =
            names.iter().filter(|it| !answer.replicas_info_table.contains_key(*it)).map(String::as_str).collect();
        if !unknown.is_empty() {
            bail!(
                "controller {leader} knows no broker set {}; names are case-sensitive, see `mqadmin clusterList`",
                unknown.join(", ")
            );
        }
        let Some(interval) = interval else { return Ok(()) };
        tokio::time::sleep(interval).await;
    }
}

pub(crate) async fn broker_epoch(context: Context, given: Given) -> anyhow::Result<()> {
    let interval = interval(&given)?;
    loop {
        let info = context.admin.cluster_info().await?;
        let sets =
            match (given.get("b"), given.get("c")) {
                (Some(name), _) => {
                    let set = info.broker_addr_table.get(name);
                    vec![set.with_context(|| {
                        format!("the nameserver knows no broker set {name}; see `mqadmin clusterList`")
                    })?]
                }
                (None, cluster) => sets_of(&info, cluster.unwrap_or_default())?,
            };
        for address in sets.iter().flat_map(|it| it.broker_addrs.values()) {
            let epochs = context.admin.broker_epoch(address).await?;
            print(&broker_epoch::text(address, &epochs))?;
        }
        let Some(interval) = interval else { return Ok(()) };
        tokio::time::sleep(interval).await;
    }
}

pub(crate) async fn controller_metadata(context: Context, given: Given) -> anyhow::Result<()> {
    let mut failures = Vec::new();
    for address in client::nameservers(given.required("a")) {
        match context.admin.controller_metadata(&address).await {
            Ok(answer) => return print(&controller::metadata(&answer)),
            Err(error) => failures.push(error.to_string()),
        }
    }
    bail!("no controller answered: {}", failures.join("; "))
}

pub(crate) async fn elect_master(context: Context, given: Given) -> anyhow::Result<()> {
    let (cluster, set) = (given.required("c"), given.required("bn"));
    let election = ElectMasterRequest {
        cluster_name: Some(cluster.to_owned()),
        broker_name: set.to_owned(),
        broker_id: given.parse("b", "the number of a replica, see `mqadmin getSyncStateSet`")?,
        designate_elect: Some(true),
        invoke_time: Some(node::clock::wall_ms()),
    };
    let leader = context.admin.controller_leader(given.required("a")).await?;
    let elected = context.admin.elect_master(&leader, &election).await?;
    print(&controller::elected(cluster, set, &elected.header, elected.body.broker_member_group.as_ref()))
}

/// Addresses of the masters of a cluster's sets, in order of the sets' names; a set without a master is an error.
pub(super) async fn masters(context: &Context, cluster: &str) -> anyhow::Result<Vec<String>> {
    let info = context.admin.cluster_info().await?;
    let master = |data: &proto::body::BrokerData| {
        let address = any_address(data).filter(|_| data.broker_addrs.contains_key(&proto::MASTER_ID));
        address
            .map(str::to_owned)
            .with_context(|| format!("broker set {} has no master now; try again when it has one", data.broker_name))
    };
    sets_of(&info, cluster)?.into_iter().map(master).collect()
}
