//! Stories of brokers that come, change roles and die, as golden scripts.

use super::*;
use std::error::Error;
use std::path::Path;

test_each_file::test_each_path! { in "./namesrv/src/route/scripts" as scripts => run_script }

fn run_script(path: &Path) {
    goldenscript::run(&mut Nameserver::default(), path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

#[derive(goldenscript::Command)]
enum Step {
    /// `register a 0 a1 version=1 topics=T.U`: replica at address a1 as id 0 of set a. Connection: its address's
    /// number, or `conn=`.
    Register {
        set: String,
        id: i64,
        address: String,
        #[arg(key, optional)]
        version: i64,
        #[arg(key)]
        topics: Option<String>,
        #[arg(key)]
        perm: Option<i32>,
        #[arg(key)]
        conn: Option<u64>,
        #[arg(key)]
        timeout: Option<u64>,
        #[arg(key)]
        cluster: Option<String>,
        #[arg(key)]
        acting: Option<bool>,
        #[arg(key)]
        zone: Option<String>,
        #[arg(key, optional)]
        replaces_topics: bool,
        #[arg(key)]
        alias_of: Option<String>,
    },
    Heartbeat {
        address: String,
    },
    Version {
        address: String,
    },
    Unregister {
        set: String,
        address: String,
        #[arg(key)]
        cluster: Option<String>,
    },
    Closed {
        conn: u64,
    },
    /// Moves the clock, then looks for the silent.
    At {
        ms: u64,
    },
    Route {
        topic: String,
        #[arg(key)]
        zone: Option<String>,
        #[arg(key, optional)]
        acting_masters: bool,
    },
    Cluster {
        #[arg(key, optional)]
        aliases: bool,
    },
    Members {
        set: String,
    },
    Topics {
        #[arg(key)]
        cluster: Option<String>,
    },
    Units,
    System,
    Wipe {
        set: String,
    },
    Restore {
        set: String,
    },
    Delete {
        topic: String,
        #[arg(key)]
        cluster: Option<String>,
    },
    Add {
        topic: String,
        set: String,
    },
    Count,
}

#[derive(Default)]
struct Nameserver {
    now: Millis,
    table: RouteTable,
}

impl goldenscript::Runner for Nameserver {
    type Command = Step;

    fn run(&mut self, step: &Step, _: &goldenscript::Context) -> Result<String, Box<dyn Error>> {
        let cluster_of = |it: &Option<String>| it.clone().unwrap_or_else(|| "c".into());
        Ok(match step {
            Step::Register {
                set,
                id,
                address,
                version,
                topics,
                perm,
                conn,
                timeout,
                cluster,
                acting,
                zone,
                replaces_topics,
                alias_of,
            } => {
                let number = address.trim_start_matches(|c: char| !c.is_ascii_digit()).parse();
                let registration = Registration {
                    member: Member { cluster: cluster_of(cluster), address: address.clone(), broker_set: set.clone() },
                    broker_id: *id,
                    ha_address: format!("{address}-ha"),
                    zone: zone.clone(),
                    timeout: timeout.unwrap_or(120_000),
                    enable_acting_master: *acting,
                    version: DataVersion { state_version: *version, ..DataVersion::default() },
                    topics: topics.iter().flat_map(|it| it.split('.')).map(|it| topic(it, *perm)).collect(),
                    alias_of: alias_of.clone(),
                    connection: conn.map_or(number, Ok)?,
                    ..Registration::default()
                };
                let rules = Rules { delete_topic_with_registration: *replaces_topics, ..Rules::default() };
                match self.table.register(self.now, registration, rules) {
                    Registered::Accepted { master: None } => "accepted".into(),
                    Registered::Accepted { master: Some(it) } => {
                        format!("accepted; master {} {}", it.address, it.ha_address)
                    }
                    Registered::Fenced { holder } => format!("fenced by {holder}"),
                    Registered::Incomplete => "incomplete".into(),
                }
            }
            Step::Heartbeat { address } => {
                self.table.heartbeat(self.now, "c", address);
                String::new()
            }
            Step::Version { address } => match self.table.data_version(self.now, "c", address) {
                Some(version) => format!("state version {}", version.state_version),
                None => "unknown".into(),
            },
            Step::Unregister { set, address, cluster } => {
                self.table.unregister(&Member {
                    cluster: cluster_of(cluster),
                    address: address.clone(),
                    broker_set: set.clone(),
                });
                String::new()
            }
            Step::Closed { conn } => {
                lines(self.table.closed(*conn).iter().map(|it| format!("gone {} {}", it.broker_set, it.address)))
            }
            Step::At { ms } => {
                self.now = *ms;
                let expired = self.table.expire(self.now);
                lines(
                    expired
                        .iter()
                        .map(|(it, conn)| format!("expired {} {} (connection {conn})", it.broker_set, it.address)),
                )
            }
            Step::Route { topic, zone, acting_masters } => {
                let rules = Rules { support_acting_master: *acting_masters, ..Rules::default() };
                let Some(mut route) = self.table.route(topic, rules) else { return Ok("none".into()) };
                if let Some(zone) = zone {
                    Zone(zone.clone()).filter(&mut route);
                }
                let sets = route.broker_datas.iter().map(|it| format!("{} {:?}", it.broker_name, it.broker_addrs));
                let queues = route
                    .queue_datas
                    .iter()
                    .map(|it| format!("{} w{} perm {}", it.broker_name, it.write_queue_nums, it.perm));
                lines(sets.chain(queues))
            }
            Step::Cluster { aliases } => {
                let info = self.table.cluster_info(if *aliases { Aliases::Shown } else { Aliases::Hidden });
                let sets = info
                    .broker_addr_table
                    .values()
                    .map(|it| format!("{} {:?} in {}", it.broker_name, it.broker_addrs, it.cluster));
                lines(info.cluster_addr_table.iter().map(|it| format!("{it:?}")).chain(sets))
            }
            Step::Members { set } => format!("{:?}", self.table.members("c", set).broker_addrs),
            Step::Topics { cluster: None } => self.table.topics().join(" "),
            Step::Topics { cluster: Some(it) } => self.table.topics_of_cluster(it).join(" "),
            Step::Units => {
                let lists = [UnitTopics::Unit, UnitTopics::UnitSub, UnitTopics::UnitSubButNotUnit];
                lines(lists.into_iter().map(|it| format!("{it:?}: {}", self.table.unit_topics(it).join(" "))))
            }
            Step::System => format!("{:?}", self.table.system_topics()),
            Step::Wipe { set } => format!("{} topics", self.table.wipe_write_permission(set)),
            Step::Restore { set } => format!("{} topics", self.table.add_write_permission(set)),
            Step::Delete { topic, cluster } => {
                self.table.delete_topic(topic, cluster.as_deref());
                String::new()
            }
            Step::Add { topic, set } => {
                self.table.register_topic(
                    topic,
                    vec![QueueData { broker_name: set.clone(), perm: 6, ..QueueData::default() }],
                );
                String::new()
            }
            Step::Count => format!("{} live", self.table.live_replicas()),
        })
    }
}

/// `T` or, with the unit flag, `T/1`.
fn topic(text: &str, perm: Option<i32>) -> (String, TopicConfig) {
    let (name, flag) = text.split_once('/').unwrap_or((text, "0"));
    let config = TopicConfig {
        topic_name: name.into(),
        read_queue_nums: 4,
        write_queue_nums: 4,
        perm: perm.unwrap_or(6),
        topic_sys_flag: flag.parse().unwrap(),
        ..TopicConfig::default()
    };
    (name.into(), config)
}

fn lines(it: impl Iterator<Item = String>) -> String {
    it.map(|line| line + "\n").collect()
}
