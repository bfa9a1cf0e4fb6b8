//! Our `mqadmin` as a person at a cluster's controllers runs it.

use crate::Cluster;
use crate::process::binary;
use std::process::{Command, Output};

impl Cluster {
    /// Whatever comes of it.
    pub fn mqadmin(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary("mqadmin"));
        command.args(arguments).args(["-a", &self.controller_list()]);
        command.env_remove("ROCKETMQ_HOME").output().expect("mqadmin runs")
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
