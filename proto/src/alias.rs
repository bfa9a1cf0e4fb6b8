//! Failover aliases: a slave that is announced a second time, under a write-only broker name of its own.
//!
//! ```text
//! broker-a@2      replica 2 of broker set broker-a, in cluster  DefaultCluster@alias,  id 0 = its own address
//! ```
//! An unmodified producer that retries avoids the broker name that failed, so it comes to an alias, behind which a live
//! replica of the same set passes the message on. A set whose own name ends in `@<number>` is told apart by whoever
//! knows the set.

use crate::BrokerId;

const SEPARATOR: char = '@';
const CLUSTER_SUFFIX: &str = "@alias";

/// Field of a registration (103): the broker set that the registered name is an alias of. Java's nameserver ignores it.
pub const ALIAS_OF: &str = "batonAliasOf";
/// Field of a nameserver's query (106): `true` shows aliases too.
pub const WITH_ALIASES: &str = "batonAliases";

/// The broker name that stands for one replica of a set.
pub fn name(broker_set: &str, id: BrokerId) -> String {
    format!("{broker_set}{SEPARATOR}{id}")
}

/// The set and the replica that a name stands for, if it has the form of an alias.
pub fn parse(name: &str) -> Option<(&str, BrokerId)> {
    let (broker_set, id) = name.rsplit_once(SEPARATOR)?;
    let digits = !broker_set.is_empty() && id.starts_with(|it: char| ('1'..='9').contains(&it));
    Some((broker_set, id.parse().ok().filter(|_| digits)?))
}

/// Aliases are in a cluster of their own: tools that address every broker of a cluster must not come to them.
pub fn cluster(of: &str) -> String {
    format!("{of}{CLUSTER_SUFFIX}")
}

/// Whether a broker is an alias, by the two names under which it is registered.
pub fn is_alias(cluster: &str, broker_name: &str) -> bool {
    cluster.ends_with(CLUSTER_SUFFIX) && parse(broker_name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_with_a_replica_behind_it_is_an_alias() {
        assert_eq!(parse(&name("broker-a", 2)), Some(("broker-a", 2)));
        assert_eq!(parse("rack@1@12"), Some(("rack@1", 12)));
        for other in ["broker-a", "broker-a@", "@2", "broker-a@0", "broker-a@+2", "broker-a@02", "broker-a@2x", "a@b"] {
            assert_eq!(parse(other), None, "{other}");
        }
        assert_eq!(parse("broker-a@99999999999999999999"), None);
    }

    #[test]
    fn an_alias_is_known_by_both_of_its_names() {
        assert!(is_alias(&cluster("c"), "broker-a@2"));
        assert!(!is_alias("c", "broker-a@2"));
        assert!(!is_alias("c@alias", "broker-a"));
    }
}
