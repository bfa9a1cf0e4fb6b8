//! Java's mqadmin reads our cluster, and ours prints what Java's prints.

use baton_tests::cluster::{BROKER_SET, CLUSTER_NAME};
use baton_tests::java::{Java, text};
use baton_tests::{Cluster, ClusterSpec, one_at_a_time, queries};
use expect_test::{Expect, expect};
use std::process::Output;

pub struct Tools {
    java: Java,
    pub cluster: Cluster,
}

impl Tools {
    pub fn start(java: Java) -> Tools {
        Tools::start_all_of(Cluster::prepare(&ClusterSpec::default()), java)
    }

    /// Brokers are started one after the other: the first one is master and has id 1.
    pub fn start_all_of(mut cluster: Cluster, java: Java) -> Tools {
        cluster.nameservers.iter_mut().for_each(|it| it.start());
        cluster.controllers.iter_mut().for_each(|it| it.launch());
        cluster.controllers.iter_mut().for_each(|it| it.wait_booted());
        for broker in 0..3 {
            cluster.brokers[broker].start();
            cluster.wait_whole();
        }
        Tools { java, cluster }
    }

    /// Java's tool prints `expect`, and ours prints the same to the byte.
    #[track_caller]
    fn check(&self, arguments: &str, expect: Expect) {
        let printed = self.java(arguments);
        expect.assert_eq(&self.masked(&printed));
        assert_eq!(
            self.masked(&self.ours(arguments)),
            self.masked(&printed),
            "ours and Java's output of `{arguments}`"
        );
    }

    /// As [`Tools::check`]; the replicas come in no particular order.
    #[track_caller]
    fn check_epochs(&self, expect: Expect) {
        let arguments = format!("getBrokerEpoch -b {BROKER_SET}");
        let [java, ours] = [self.java(&arguments), self.ours(&arguments)].map(|printed| {
            let masked = self.masked(&printed);
            let mut replicas: Vec<_> =
                masked.split("\n#clusterName").map(str::trim).filter(|it| !it.is_empty()).collect();
            replicas.sort_unstable();
            replicas.iter().map(|it| format!("#clusterName\t{it}\n\n")).collect::<String>()
        });
        expect.assert_eq(&java);
        assert_eq!(ours, java, "ours and Java's output of `{arguments}`");
    }

    #[track_caller]
    pub fn java(&self, arguments: &str) -> String {
        self.java.mqadmin(self.cluster.nameserver(), &arguments.split(' ').collect::<Vec<_>>())
    }

    /// What Java's tool prints, errors included, up to the trace of the exception.
    pub fn java_says(&self, arguments: &str) -> String {
        let arguments: Vec<_> = arguments.split(' ').collect();
        let printed = self.java.mqadmin_says(self.cluster.nameserver(), &arguments);
        printed.lines().filter(|it| !it.trim_start().starts_with("at ")).map(|it| format!("{it}\n")).collect()
    }

    #[track_caller]
    pub fn ours(&self, arguments: &str) -> String {
        let run = self.run_ours(arguments);
        assert!(run.status.success(), "mqadmin {arguments}: {}\n{}", run.status, text(&run));
        text(&run)
    }

    /// The one line that ours says when it fails, as it must.
    #[track_caller]
    pub fn ours_refuses(&self, arguments: &str) -> String {
        let run = self.run_ours(arguments);
        assert_eq!(run.status.code(), Some(1), "mqadmin {arguments}: {}", text(&run));
        text(&run)
    }

    fn run_ours(&self, arguments: &str) -> Output {
        self.cluster.mqadmin_by_nameserver(&arguments.split(' ').collect::<Vec<_>>())
    }

    /// Addresses by who has them: `<broker 1>`, `<controller n0>`.
    pub fn masked(&self, printed: &str) -> String {
        let mut masked = printed.to_owned();
        for (i, broker) in self.cluster.brokers.iter().enumerate() {
            masked = masked.replace(&broker.address, &format!("<broker {}>", i + 1));
        }
        for (i, controller) in self.cluster.controllers.iter().enumerate() {
            masked = masked.replace(&controller.address, &format!("<controller n{i}>"));
        }
        masked
    }

    fn controllers(&self) -> String {
        self.cluster.controller_list()
    }
}

#[test]
fn javas_mqadmin_reads_our_cluster_and_ours_prints_the_same() {
    let _turn = one_at_a_time();
    let Some(java) = Java::find() else { return };
    let tools = Tools::start(java);

    let created = tools.java(&format!("updateTopic -c {CLUSTER_NAME} -t orders -r 4 -w 4"));
    expect![[r#"
        create topic to <broker 1> success.
        TopicConfig [topicName=orders, readQueueNums=4, writeQueueNums=4, perm=RW-, topicFilterType=SINGLE_TAG, topicSysFlag=0, order=false, attributes={}]
    "#]]
    .assert_eq(&tools.masked(&created));
    let ours = tools.ours(&format!("updateTopic -c {CLUSTER_NAME} -t orders -r 4 -w 4"));
    assert_eq!(ours, created);

    let topics = tools.java("topicList");
    assert!(topics.lines().any(|it| it == "orders"), "{topics}");
    assert_eq!(sorted(&tools.ours("topicList")), sorted(&topics));

    tools.check(
        "topicRoute -t orders",
        expect![[r#"
        {
        	"brokerDatas":[
        		{
        			"brokerAddrs":{
        				0:"<broker 1>",
        				2:"<broker 2>",
        				3:"<broker 3>"
        			},
        			"brokerName":"broker-a",
        			"cluster":"test-cluster",
        			"enableActingMaster":false
        		}
        	],
        	"filterServerTable":{},
        	"queueDatas":[
        		{
        			"brokerName":"broker-a",
        			"perm":6,
        			"readQueueNums":4,
        			"topicSysFlag":0,
        			"writeQueueNums":4
        		}
        	]
        }
    "#]],
    );
    tools.check(
        "topicStatus -t orders",
        expect![[r#"
        #Broker Name                      #QID  #Min Offset           #Max Offset             #Last Updated
        broker-a                          0     0                     0                       
        broker-a                          1     0                     0                       
        broker-a                          2     0                     0                       
        broker-a                          3     0                     0                       

        Topic Put TPS: 0.0
    "#]],
    );
    let clusters = tools.java("clusterList");
    expect![[r#"
        #Cluster Name #Broker Name #BID #Addr #Version #InTPS(LOAD) #OutTPS(LOAD) #Timer(Progress) #PCWait(ms) #Hour #SPACE #ACTIVATED
        test-cluster broker-a 0 <broker 1> V5_5_0 # # # # # 0 # # true
        test-cluster broker-a 2 <broker 2> V5_5_0 # # # # # 0 # # false
        test-cluster broker-a 3 <broker 3> V5_5_0 # # # # # 0 # # false
    "#]].assert_eq(&figures_masked(&tools.masked(&clusters)));
    assert_eq!(figures_masked(&tools.ours("clusterList")), figures_masked(&clusters));

    let controllers = tools.controllers();
    tools.check(
        &format!("getSyncStateSet -a {controllers} -b {BROKER_SET}"),
        expect![[r#"

        #brokerName	broker-a
        #MasterBrokerId	1
        #MasterAddr	<broker 1>
        #MasterEpoch	1
        #SyncStateSetEpoch	3
        #SyncStateSetNums	3

        InSyncReplica:	ReplicaIdentity{brokerName='broker-a', brokerId=1, brokerAddress='<broker 1>', alive=true}

        InSyncReplica:	ReplicaIdentity{brokerName='broker-a', brokerId=2, brokerAddress='<broker 2>', alive=true}

        InSyncReplica:	ReplicaIdentity{brokerName='broker-a', brokerId=3, brokerAddress='<broker 3>', alive=true}
    "#]],
    );
    tools.check_epochs(expect![[r#"
        #clusterName	test-cluster
        #brokerName	broker-a
        #brokerAddr	<broker 1>
        #brokerId	0
        #Epoch: EpochEntry{epoch=1, startOffset=0, endOffset=0}

        #clusterName	test-cluster
        #brokerName	broker-a
        #brokerAddr	<broker 2>
        #brokerId	2
        #Epoch: EpochEntry{epoch=1, startOffset=0, endOffset=0}

        #clusterName	test-cluster
        #brokerName	broker-a
        #brokerAddr	<broker 3>
        #brokerId	3
        #Epoch: EpochEntry{epoch=1, startOffset=0, endOffset=0}

    "#]]);
    let leader = tools.cluster.wait_leader();
    // Java's tool takes one address here, of any controller.
    let follower = &tools.cluster.controllers[(leader + 1) % 3].address;
    let metadata = tools.java(&format!("getControllerMetaData -a {follower}"));
    let metadata_masked = tools.masked(&metadata).replace(&format!("<controller n{leader}>"), "<leader>");
    assert!(metadata_masked.contains("#ControllerLeaderAddress\t<leader>"), "{metadata}");
    assert!(metadata_masked.contains("#ControllerGroup\ttest-group"), "{metadata}");
    assert_eq!(tools.ours(&format!("getControllerMetaData -a {follower}")), metadata);

    // The planned change of master, and what everybody says afterwards.
    let before = tools.cluster.wait_whole();
    tools.cluster.wait_equal_logs();
    let elected = tools.java(&format!("electMaster -a {follower} -b 2 -bn {BROKER_SET} -c {CLUSTER_NAME}"));
    expect![[r#"

        #ClusterName	test-cluster
        #BrokerName	broker-a
        #BrokerMasterAddr	<broker 2>
        #MasterEpoch	2
        #SyncStateSetEpoch	4
    "#]]
    .assert_eq(&tools.masked(&elected));
    let after = tools.cluster.wait_master_after(before.master_epoch);
    assert_eq!(after.master_id, 2);
    let whole = tools.cluster.wait_whole();
    assert_eq!(whole.in_sync, before.in_sync);
    baton_tests::wait_until("the nameserver shows the new master", baton_tests::PATIENCE, || {
        queries::master_address(tools.cluster.nameserver(), "orders", BROKER_SET) == Some(after.master_address.clone())
    });
    tools.check_epochs(expect![[r#"
        #clusterName	test-cluster
        #brokerName	broker-a
        #brokerAddr	<broker 1>
        #brokerId	1
        #Epoch: EpochEntry{epoch=1, startOffset=0, endOffset=0}
        #Epoch: EpochEntry{epoch=2, startOffset=0, endOffset=0}

        #clusterName	test-cluster
        #brokerName	broker-a
        #brokerAddr	<broker 2>
        #brokerId	0
        #Epoch: EpochEntry{epoch=1, startOffset=0, endOffset=0}
        #Epoch: EpochEntry{epoch=2, startOffset=0, endOffset=0}

        #clusterName	test-cluster
        #brokerName	broker-a
        #brokerAddr	<broker 3>
        #brokerId	3
        #Epoch: EpochEntry{epoch=1, startOffset=0, endOffset=0}
        #Epoch: EpochEntry{epoch=2, startOffset=0, endOffset=0}

    "#]]);
    let ours = tools.ours(&format!("electMaster -a {controllers} -b 1 -bn {BROKER_SET} -c {CLUSTER_NAME}"));
    expect![[r#"

        #ClusterName	test-cluster
        #BrokerName	broker-a
        #BrokerMasterAddr	<broker 1>
        #MasterEpoch	3
        #SyncStateSetEpoch	5
        	#Broker	1	<broker 1>
        	#Broker	2	<broker 2>
        	#Broker	3	<broker 3>
    "#]]
    .assert_eq(&tools.masked(&ours));
}

/// The nameserver gives topics in no particular order.
pub fn sorted(printed: &str) -> Vec<&str> {
    let mut lines: Vec<_> = printed.lines().collect();
    lines.sort_unstable();
    lines
}

/// Rates, times and shares differ from run to run: every number with a decimal point becomes `#`, runs of blanks one
/// blank.
fn figures_masked(printed: &str) -> String {
    let word = |word: &str| {
        if word.contains('.') && word.starts_with(|it: char| it.is_ascii_digit()) {
            "#".to_owned()
        } else {
            word.to_owned()
        }
    };
    let line = |line: &str| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ") + "\n";
    printed.lines().map(line).collect()
}
