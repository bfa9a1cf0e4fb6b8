//! Our `mqadmin` as a person at a cluster runs it.

use crate::Cluster;
use crate::process::binary;
use std::path::Path;
use std::process::{Command, Output};

impl Cluster {
    /// Asks the controllers, whatever comes of it.
    pub fn mqadmin(&self, arguments: &[&str]) -> Output {
        run(arguments, ["-a", &self.controller_list()], None)
    }

    /// The same with `conf/tools.yml` of `home`.
    pub fn mqadmin_at_home(&self, home: &Path, arguments: &[&str]) -> Output {
        run(arguments, ["-a", &self.controller_list()], Some(home))
    }

    /// Asks the nameserver, whatever comes of it.
    pub fn mqadmin_by_nameserver(&self, arguments: &[&str]) -> Output {
        run(arguments, ["-n", self.nameserver()], None)
    }

    /// What it says when it succeeds, as it must.
    #[track_caller]
    pub fn mqadmin_says(&self, arguments: &[&str]) -> String {
        let output = self.mqadmin(arguments);
        let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "mqadmin {arguments:?}: {said}{failed}");
        said.into_owned()
    }
}

fn run(arguments: &[&str], at: [&str; 2], home: Option<&Path>) -> Output {
    let mut command = Command::new(binary("mqadmin"));
    // What the machine's user has set must not reach it.
    command.args(arguments).args(at).env_remove("NAMESRV_ADDR").env_remove("ROCKETMQ_HOME");
    command.envs(home.map(|it| ("ROCKETMQ_HOME", it))).output().expect("mqadmin runs")
}
