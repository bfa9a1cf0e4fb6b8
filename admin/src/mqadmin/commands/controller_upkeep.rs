//! `getControllerConfig`, `updateControllerConfig`, `cleanBrokerMetadata`: looking after controllers, of either kind.

use super::super::options::{Given, Opt};
use super::super::{Command, Context, print};
use anyhow::{Context as _, bail, ensure};
use proto::header::CleanBrokerDataRequest;

const CONTROLLERS: Opt =
    Opt::value("a", "controllerAddress", "Controller address list, eg: 192.168.0.1:9878;192.168.0.2:9878").required();

pub(super) const GET_CONFIG: Command = Command {
    name: "getControllerConfig",
    about: "Get controller config.",
    options: &[CONTROLLERS],
    run: |context, given| Box::pin(get_config(context, given)),
};

pub(super) const UPDATE_CONFIG: Command = Command {
    name: "updateControllerConfig",
    about: "Update controller config.",
    options: &[
        CONTROLLERS,
        Opt::value("k", "key", "config key").required(),
        Opt::value("v", "value", "config value").required(),
    ],
    run: |context, given| Box::pin(update_config(context, given)),
};

pub(super) const CLEAN: Command = Command {
    name: "cleanBrokerMetadata",
    about: "Clean metadata of broker on controller.",
    options: &[
        Opt::value("a", "controllerAddress", "The address of controller").required(),
        Opt::value(
            "b",
            "brokerControllerIdsToClean",
            "The brokerController id list which requires to clean metadata. eg: 1;2;3, means that clean broker-1, \
             broker-2 and broker-3",
        ),
        Opt::value("bn", "brokerName", "The broker name of the replicas that require to be manipulated").required(),
        Opt::value("c", "clusterName", "The clusterName of broker"),
        Opt::flag("l", "cleanLivingBroker", "Whether clean up living brokers,default value is false"),
    ],
    run: |context, given| Box::pin(clean(context, given)),
};

/// Every listed controller is asked: each has a configuration of its own.
async fn get_config(context: Context, given: Given) -> anyhow::Result<()> {
    for address in client::nameservers(given.required("a")) {
        print(&config_text(&address, &context.admin.controller_config(&address).await?))?;
    }
    Ok(())
}

async fn update_config(context: Context, given: Given) -> anyhow::Result<()> {
    let (key, value) = (given.required("k"), given.required("v"));
    let line = property(key, value)?;
    let addresses = client::nameservers(given.required("a"));
    ensure!(!addresses.is_empty(), "-a names no controller: give host:port, several with `;` between them");
    for (done, address) in addresses.iter().enumerate() {
        let changed = context.admin.update_controller_config(address, &line).await;
        changed.with_context(|| match done {
            0 => "nothing was changed".to_owned(),
            _ => format!("{} have the new value, the others have not", addresses[..done].join(", ")),
        })?;
    }
    print(&format!("update controller config success![{}]\n{key} : {value}\n", addresses.join(", ")))
}

async fn clean(context: Context, given: Given) -> anyhow::Result<()> {
    let (set, living) = (given.required("bn"), given.has("l"));
    let (cluster, ids) = (given.get("c").filter(|it| !it.is_empty()), given.get("b"));
    if !living && cluster.is_none() {
        bail!("cleanLivingBroker option is false, clusterName option can not be empty: give -c, or -l");
    }
    if let Some(wrong) = ids.into_iter().flat_map(|it| it.split(';')).find(|it| it.trim().parse::<i64>().is_err()) {
        bail!("option -b: `{wrong}` is no broker id: want numbers with `;` between them, as in 1;2;3");
    }
    let what = CleanBrokerDataRequest {
        cluster_name: cluster.map(str::to_owned),
        broker_name: set.to_owned(),
        broker_controller_ids_to_clean: ids.map(str::to_owned),
        is_clean_living_broker: Some(living),
        invoke_time: Some(node::clock::wall_ms()),
    };
    let leader = context.admin.controller_leader(given.required("a")).await?;
    context.admin.clean_broker_data(&leader, &what).await?;
    // The blank before the line's end is RocketMQ's.
    print(&format!("clear broker {set} metadata from controller success! \n"))
}

/// One controller's part of `getControllerConfig`. Java prints the keys in its hash table's order, we as they came.
fn config_text(address: &str, properties: &str) -> String {
    let row = |(key, value): (&str, &str)| format!("{key:<50}=  {value}\n");
    let rows: String = properties.lines().filter_map(|it| it.split_once('=')).map(row).collect();
    format!("============{address}============\n{rows}")
}

/// The one line that is sent. Anything that would be more than one key is refused.
fn property(key: &str, value: &str) -> anyhow::Result<String> {
    ensure!(!key.is_empty() && !key.contains('='), "option -k: `{key}` is no key");
    ensure!(![key, value].iter().any(|it| it.contains(['\n', '\r'])), "a key and its value are one line");
    Ok(format!("{key}={value}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn a_configuration_is_a_table_with_a_title() {
        expect![[r"
            ============h:9878============
            controllerType                                    =  DLedger
            peers                                             =  n0-a=b
        "]]
        .assert_eq(&config_text("h:9878", "controllerType=DLedger\npeers=n0-a=b\n"));
    }

    #[test]
    fn one_key_at_a_time_is_changed() {
        assert_eq!(property("a", "b=c").unwrap(), "a=b=c\n");
        for (key, value) in [("", "x"), ("a=b", "x"), ("a", "x\nb=y"), ("a\r", "x")] {
            assert!(property(key, value).is_err(), "{key:?} {value:?}");
        }
    }
}
