//! A queue as clients name it, and tables keyed by it.
//!
//! Java writes such a table with objects as keys: `{{"brokerName":"b-a","queueId":3,"topic":"T"}:5}`. That is no JSON,
//! but clients of several languages parse exactly it, so [`crate::json::to_vec`] writes it and
//! [`crate::json::from_slice`] reads it.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageQueue {
    pub broker_name: String,
    pub queue_id: i32,
    pub topic: String,
}

/// For `#[serde(with = …)]` on a `Vec<(MessageQueue, V)>`.
pub(super) mod table {
    use super::MessageQueue;
    use crate::json::OBJECT_KEY;
    use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
    use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};
    use std::marker::PhantomData;

    pub(crate) fn serialize<V: Serialize, S: Serializer>(
        table: &[(MessageQueue, V)],
        out: S,
    ) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(Some(table.len()))?;
        for (queue, value) in table {
            let key = serde_json::to_string(queue).map_err(S::Error::custom)?;
            map.serialize_entry(&format!("{OBJECT_KEY}{key}"), value)?;
        }
        map.end()
    }

    pub(crate) fn deserialize<'de, V, D>(input: D) -> Result<Vec<(MessageQueue, V)>, D::Error>
    where
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        input.deserialize_map(TableVisitor(PhantomData))
    }

    struct TableVisitor<V>(PhantomData<V>);

    impl<'de, V: Deserialize<'de>> Visitor<'de> for TableVisitor<V> {
        type Value = Vec<(MessageQueue, V)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object keyed by message queues")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut table = Vec::new();
            while let Some(key) = map.next_key::<String>()? {
                let queue = serde_json::from_str(&key).map_err(A::Error::custom)?;
                table.push((queue, map.next_value()?));
            }
            Ok(table)
        }
    }
}
