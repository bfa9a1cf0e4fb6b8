//! `getBrokerEpoch`: which master wrote which bytes, as each broker of a set remembers it.

use proto::body::EpochEntryCache;

/// One broker's part.
pub fn text(address: &str, cache: &EpochEntryCache) -> String {
    let mut out = format!(
        "\n#clusterName\t{}\n#brokerName\t{}\n#brokerAddr\t{address}\n#brokerId\t{}",
        cache.cluster_name, cache.broker_name, cache.broker_id
    );
    for (index, entry) in cache.epoch_list.iter().enumerate() {
        // The entry still written to has no end of its own: the log's end is shown.
        let is_last = index + 1 == cache.epoch_list.len();
        let end = if is_last { cache.max_offset } else { entry.end_offset };
        out += &format!(
            "\n#Epoch: EpochEntry{{epoch={}, startOffset={}, endOffset={end}}}",
            entry.epoch, entry.start_offset
        );
    }
    out + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use proto::body::EpochEntryInfo;

    #[test]
    fn the_last_epoch_ends_where_the_log_ends() {
        let entry = |epoch, start_offset, end_offset| EpochEntryInfo { end_offset, epoch, start_offset };
        let cache = EpochEntryCache {
            broker_id: 0,
            broker_name: "broker-a".into(),
            cluster_name: "DefaultCluster".into(),
            epoch_list: vec![entry(1, 0, 400), entry(2, 400, i64::MAX)],
            max_offset: 900,
        };
        expect![[r"

            #clusterName	DefaultCluster
            #brokerName	broker-a
            #brokerAddr	127.0.0.1:10911
            #brokerId	0
            #Epoch: EpochEntry{epoch=1, startOffset=0, endOffset=400}
            #Epoch: EpochEntry{epoch=2, startOffset=400, endOffset=900}
        "]]
        .assert_eq(&text("127.0.0.1:10911", &cache));
    }
}
