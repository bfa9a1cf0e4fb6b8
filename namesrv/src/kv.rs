//! Namespaced settings that operators keep on the nameserver (100, 101, 102, 219). Pure; the only state that outlives
//! the process.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Namespace of ordered topics: topic → `broker-a:4;broker-b:4`.
pub(crate) const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

pub(crate) type Namespace = BTreeMap<String, Option<String>>;

/// In the shape of Java's `kvConfig.json`. A namespace once used stays, empty or not: 219 tells them apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct KvConfig {
    config_table: BTreeMap<String, Namespace>,
}

impl KvConfig {
    /// A key may be there without a value, as in Java.
    pub(crate) fn put(&mut self, namespace: &str, key: &str, value: Option<String>) {
        self.config_table.entry(namespace.to_owned()).or_default().insert(key.to_owned(), value);
    }

    pub(crate) fn get(&self, namespace: &str, key: &str) -> Option<&str> {
        self.config_table.get(namespace)?.get(key)?.as_deref()
    }

    pub(crate) fn delete(&mut self, namespace: &str, key: &str) {
        if let Some(keys) = self.config_table.get_mut(namespace) {
            keys.remove(key);
        }
    }

    pub(crate) fn namespace(&self, namespace: &str) -> Option<&Namespace> {
        self.config_table.get(namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emptied_namespace_differs_from_one_never_used() {
        let mut kv = KvConfig::default();
        kv.put("NS", "k", Some("v".into()));
        assert_eq!(kv.get("NS", "k"), Some("v"));
        kv.delete("NS", "k");
        assert_eq!(kv.get("NS", "k"), None);
        assert_eq!(kv.namespace("NS"), Some(&Namespace::new()));
        assert_eq!(kv.namespace("other"), None);
    }

    #[test]
    fn the_file_has_javas_shape() {
        let mut kv = KvConfig::default();
        kv.put(ORDER_TOPIC_CONFIG, "T", Some("broker-a:8".into()));
        let text = serde_json::to_string(&kv).unwrap();
        expect_test::expect![[r#"{"configTable":{"ORDER_TOPIC_CONFIG":{"T":"broker-a:8"}}}"#]].assert_eq(&text);
        assert_eq!(serde_json::from_str::<KvConfig>(&text).unwrap(), kv);
    }
}
