//! `clusterList`: every broker with its load.

use proto::alias;
use proto::body::{BrokerData, ClusterInfo};
use std::collections::BTreeMap;

/// What one broker answers to 28, or nothing when it did not answer.
pub type RuntimeInfo = Option<BTreeMap<String, String>>;

/// One line of the table: a broker address of a cluster.
#[derive(Clone, Debug)]
pub struct Row {
    pub cluster: String,
    pub broker_set: String,
    pub id: i64,
    pub address: String,
    pub runtime: RuntimeInfo,
}

/// Rows without runtime information, in the order in which they are printed: clusters and sets by name, replicas by id.
/// A cluster's failover aliases, if they are in `info`, are in a cluster of their own that comes with it.
pub fn rows(info: &ClusterInfo, cluster: Option<&str>) -> Vec<Row> {
    let mut rows = Vec::new();
    let wanted = |name: &str| cluster.is_none_or(|it| it == name || alias::cluster(it) == name);
    for (name, sets) in info.cluster_addr_table.iter().filter(|(name, _)| wanted(name)) {
        for data in sets.iter().filter_map(|set| info.broker_addr_table.get(set)) {
            rows.extend(replicas(name, data));
        }
    }
    rows
}

fn replicas<'a>(cluster: &'a str, data: &'a BrokerData) -> impl Iterator<Item = Row> + 'a {
    data.broker_addrs.iter().map(move |(id, address)| Row {
        cluster: cluster.to_owned(),
        broker_set: data.broker_name.clone(),
        id: *id,
        address: address.clone(),
        runtime: None,
    })
}

/// The plain table. `now` is wall-clock milliseconds, for the age of the oldest message.
pub fn table(rows: &[Row], now: i64) -> String {
    let mut out = format!(
        "{:<22}  {:<22}  {:<4}  {:<22} {:<16}  {:>16}  {:>30}  {:<22}  {:<11}  {:<12}  {:<8}  {:<10}\n",
        "#Cluster Name",
        "#Broker Name",
        "#BID",
        "#Addr",
        "#Version",
        "#InTPS(LOAD)",
        "#OutTPS(LOAD)",
        "#Timer(Progress)",
        "#PCWait(ms)",
        "#Hour",
        "#SPACE",
        "#ACTIVATED"
    );
    for row in rows {
        out += &line(row, now);
    }
    out
}

fn line(row: &Row, now: i64) -> String {
    let cells = Cells { table: row.runtime.as_ref() };
    // A store without messages says 0 or less: it has no age (RocketMQ shows the hours since 1970).
    let oldest: Option<i64> = cells.number("earliestMessageTimeStamp").filter(|it| *it > 0);
    let hours = oldest.map_or(0.0, |it| (now - it) as f64 / 3_600_000.0);
    format!(
        "{:<22}  {:<22}  {:<4}  {:<22} {:<16}  {:>16}  {:>30}  {:<22}  {:>11}  {:<12}  {:<8}  {:>10}\n",
        row.cluster,
        row.broker_set,
        row.id,
        row.address,
        cells.text("brokerVersionDesc"),
        cells.in_tps(),
        cells.out_tps(),
        cells.timer(),
        cells.text("pageCacheLockTimeMills"),
        format!("{hours:.2}"),
        format!("{:.4}", cells.number("commitLogDiskRatio").unwrap_or(0.0f64)),
        cells.text("brokerActive").eq_ignore_ascii_case("true"),
    )
}

/// Cells out of a broker's answer; an unreachable broker has empty and zero ones.
struct Cells<'a> {
    table: Option<&'a BTreeMap<String, String>>,
}

impl<'a> Cells<'a> {
    fn get(&self, key: &str) -> Option<&'a str> {
        self.table?.get(key).map(String::as_str)
    }

    /// A key that an answer lacks is Java's `null`.
    fn text(&self, key: &str) -> &'a str {
        match self.table {
            None => "",
            Some(_) => self.get(key).unwrap_or("null"),
        }
    }

    /// Keys that old brokers do not have.
    fn text_or_n(&self, key: &str) -> &'a str {
        match self.table {
            None => "",
            Some(_) => self.get(key).unwrap_or("N"),
        }
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.get(key)?.trim().parse().ok()
    }

    /// The first of the three figures: the last ten seconds.
    fn first_of(&self, key: &str) -> f64 {
        self.get(key).and_then(|it| it.split(' ').next()?.parse().ok()).unwrap_or(0.0)
    }

    fn in_tps(&self) -> String {
        let (size, wait) = (self.text("sendThreadPoolQueueSize"), self.text("sendThreadPoolQueueHeadWaitTimeMills"));
        format!("{:>9.2}({size},{wait}ms)", self.first_of("putTps"))
    }

    fn out_tps(&self) -> String {
        let (size, wait) = (self.text("pullThreadPoolQueueSize"), self.text("pullThreadPoolQueueHeadWaitTimeMills"));
        let (ack_size, ack_wait) =
            (self.text_or_n("ackThreadPoolQueueSize"), self.text_or_n("ackThreadPoolQueueHeadWaitTimeMills"));
        format!("{:>9.2}({size},{wait}ms|{ack_size},{ack_wait}ms)", self.first_of("getTransferredTps"))
    }

    /// All zero as soon as one figure is missing, as in Java, but for those before it.
    fn timer(&self) -> String {
        let read: Option<i64> = self.number("timerReadBehind");
        let offset: Option<i64> = read.and_then(|_| self.number("timerOffsetBehind"));
        let congested: Option<i64> = offset.and_then(|_| self.number("timerCongestNum"));
        let enqueue: Option<f32> = congested.and_then(|_| self.number("timerEnqueueTps"));
        let dequeue: Option<f32> = enqueue.and_then(|_| self.number("timerDequeueTps"));
        format!(
            "{}-{}({:.1}w, {:.1}, {:.1})",
            read.unwrap_or(0),
            offset.unwrap_or(0),
            congested.unwrap_or(0) as f32 / 10_000.0,
            enqueue.unwrap_or(0.0),
            dequeue.unwrap_or(0.0)
        )
    }
}

/// The table of `-m`: message counts of yesterday and today.
pub fn totals_table(rows: &[Row]) -> String {
    let mut out = format!(
        "{:<16}  {:<32} {:>14} {:>14} {:>14} {:>14}\n",
        "#Cluster Name", "#Broker Name", "#InTotalYest", "#OutTotalYest", "#InTotalToday", "#OutTotalToday"
    );
    for row in rows {
        let cells = Cells { table: row.runtime.as_ref() };
        let total = |what: &str, when: &str| cells.number::<i64>(&format!("msg{what}Total{when}"));
        let difference = |what: &str, to: &str, from: &str| Some(total(what, to)? - total(what, from)?);
        let yesterday = |what| difference(what, "TodayMorning", "YesterdayMorning").unwrap_or(0);
        let today = |what| difference(what, "TodayNow", "TodayMorning").unwrap_or(0);
        out += &format!(
            "{:<16}  {:<32} {:>14} {:>14} {:>14} {:>14}\n",
            row.cluster,
            row.broker_set,
            yesterday("Put"),
            yesterday("Get"),
            today("Put"),
            today("Get")
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn info() -> ClusterInfo {
        let data = BrokerData {
            broker_addrs: BTreeMap::from([(0, "10.0.0.1:10911".into()), (2, "10.0.0.2:10911".into())]),
            broker_name: "broker-a".into(),
            cluster: "DefaultCluster".into(),
            ..BrokerData::default()
        };
        ClusterInfo {
            broker_addr_table: BTreeMap::from([("broker-a".into(), data)]),
            cluster_addr_table: BTreeMap::from([("DefaultCluster".into(), ["broker-a".into()].into())]),
        }
    }

    fn runtime(pairs: &[(&str, &str)]) -> RuntimeInfo {
        Some(pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect())
    }

    #[test]
    fn the_table_is_rocketmqs() {
        let mut rows = rows(&info(), None);
        rows[0].runtime = runtime(&[
            ("brokerActive", "true"),
            ("brokerVersionDesc", "V5_3_3"),
            ("putTps", "0.00 0.00 0.00"),
            ("getTransferredTps", "0.00 0.00 0.00"),
            ("sendThreadPoolQueueSize", "0"),
            ("sendThreadPoolQueueHeadWaitTimeMills", "0"),
            ("pullThreadPoolQueueSize", "0"),
            ("pullThreadPoolQueueHeadWaitTimeMills", "0"),
            ("ackThreadPoolQueueSize", "0"),
            ("ackThreadPoolQueueHeadWaitTimeMills", "0"),
            ("pageCacheLockTimeMills", "0"),
            ("earliestMessageTimeStamp", "1000"),
            ("commitLogDiskRatio", "0.25"),
        ]);
        expect![[r"
            #Cluster Name           #Broker Name            #BID  #Addr                  #Version              #InTPS(LOAD)                   #OutTPS(LOAD)  #Timer(Progress)        #PCWait(ms)  #Hour         #SPACE    #ACTIVATED
            DefaultCluster          broker-a                0     10.0.0.1:10911         V5_3_3                 0.00(0,0ms)               0.00(0,0ms|0,0ms)  0-0(0.0w, 0.0, 0.0)               0  12.34         0.2500          true
            DefaultCluster          broker-a                2     10.0.0.2:10911                                  0.00(,ms)                   0.00(,ms|,ms)  0-0(0.0w, 0.0, 0.0)                  0.00          0.0000         false
        "]]
        .assert_eq(&table(&rows, 1000 + 44_424_000));
    }

    #[test]
    fn totals_are_differences() {
        let mut rows = rows(&info(), Some("DefaultCluster"));
        rows[0].runtime = runtime(&[
            ("msgPutTotalYesterdayMorning", "10"),
            ("msgPutTotalTodayMorning", "30"),
            ("msgPutTotalTodayNow", "35"),
            ("msgGetTotalYesterdayMorning", "0"),
            ("msgGetTotalTodayMorning", "7"),
            ("msgGetTotalTodayNow", "8"),
        ]);
        expect![[r"
            #Cluster Name     #Broker Name                       #InTotalYest  #OutTotalYest  #InTotalToday #OutTotalToday
            DefaultCluster    broker-a                                     20              7              5              1
            DefaultCluster    broker-a                                      0              0              0              0
        "]]
        .assert_eq(&totals_table(&rows));
    }

    #[test]
    fn aliases_come_with_their_cluster() {
        let mut info = info();
        let data = BrokerData {
            broker_addrs: BTreeMap::from([(0, "10.0.0.2:10911".into())]),
            broker_name: "broker-a@2".into(),
            cluster: "DefaultCluster@alias".into(),
            ..BrokerData::default()
        };
        info.broker_addr_table.insert("broker-a@2".into(), data);
        info.cluster_addr_table.insert("DefaultCluster@alias".into(), ["broker-a@2".into()].into());
        let names = |cluster| rows(&info, cluster).iter().map(|it| it.broker_set.clone()).collect::<Vec<_>>();
        assert_eq!(names(None), ["broker-a", "broker-a", "broker-a@2"]);
        assert_eq!(names(Some("DefaultCluster")), names(None));
        assert_eq!(names(Some("DefaultCluster@alias")), ["broker-a@2"]);
        info.leave_out_aliases();
        assert_eq!(rows(&info, None).len(), 2);
        assert_eq!(info.cluster_addr_table.len(), 1);
    }

    #[test]
    fn another_cluster_is_left_out() {
        assert!(rows(&info(), Some("Other")).is_empty());
    }
}
