//! Nodes whose process is a supervisor: what serves is its child.

use crate::cluster::Node;
use crate::{PATIENCE, wait_for, wait_until};
use rustix::process::{Pid, Signal, kill_process};

const OPTION: &str = "--supervised";

impl Node {
    /// From the next start on the process is a supervisor.
    pub fn supervise(&mut self) {
        self.extend_program(OPTION);
    }

    pub fn is_supervised(&self) -> bool {
        self.arguments().contains(&OPTION)
    }

    /// The broker process below the supervisor.
    #[track_caller]
    pub fn supervised(&mut self) -> i32 {
        let supervisor = self.process().id();
        wait_for("the supervisor has a child", PATIENCE, || child_of(supervisor))
    }

    /// SIGKILL to the broker; returns when the supervisor has started another.
    #[track_caller]
    pub fn kill_supervised(&mut self) {
        let before = self.supervised();
        tell(before, Signal::KILL);
        self.wait_next(before);
    }

    /// SIGUSR2 to the supervisor, which restarts the broker in an orderly way; returns when the next one is there.
    #[track_caller]
    pub fn restart_supervised(&mut self) {
        let before = self.supervised();
        tell(self.process().id() as i32, Signal::USR2);
        self.wait_next(before);
    }

    #[track_caller]
    fn wait_next(&mut self, before: i32) {
        let supervisor = self.process().id();
        wait_until("the supervisor starts another", PATIENCE, || child_of(supervisor).is_some_and(|it| it != before));
    }
}

fn child_of(supervisor: u32) -> Option<i32> {
    let children = std::fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

#[track_caller]
pub fn tell(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).expect("a process id"), signal).expect("our own grandchild can be signalled");
}
