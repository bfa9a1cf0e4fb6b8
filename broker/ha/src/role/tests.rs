//! Golden scripts of a replica's life: what it hears and what it does, in order.

use super::*;
use std::error::Error;
use std::path::Path;

test_each_file::test_each_path! { in "./broker/ha/src/role/scripts" as scripts => run_script }

fn run_script(path: &Path) {
    goldenscript::run(&mut Stage::default(), path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

#[derive(goldenscript::Command)]
enum Step {
    /// A process starts with this promise.
    Boot {
        #[arg(key, optional)]
        epoch: Epoch,
        #[arg(key, optional)]
        master: BrokerId,
    },
    Identified(BrokerId),
    /// `master` 0: none.
    Registered(Seen),
    Elected(Seen),
    Polled(Seen),
    Notified(Seen),
    Failed(String),
    Unregistered,
    /// By the answer to a heartbeat.
    Stranger,
    Hint {
        epoch: Epoch,
        version: i32,
    },
    Wait(Millis),
}

/// `master/epoch/version/member/member…`
struct Seen(View);

impl std::str::FromStr for Seen {
    type Err = String;
    fn from_str(text: &str) -> Result<Seen, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let [master, epoch, version, ref set @ ..] = parts[..] else {
            return Err(format!("{text}: want master/epoch/version/member/…"));
        };
        let number = |it: &str| it.parse::<i64>().map_err(|e| format!("{it}: {e}"));
        let master = number(master)?;
        Ok(Seen(View {
            epoch: number(epoch)? as Epoch,
            master: (master != 0).then(|| Master {
                id: master,
                address: format!("b{master}"),
                ha_address: Some(format!("h{master}")),
            }),
            sync_state_set: set.iter().map(|it| number(it)).collect::<Result<_, _>>()?,
            sync_state_set_epoch: number(version)? as i32,
        }))
    }
}

#[derive(Default)]
struct Stage {
    now: Millis,
    role: Option<Role>,
}

impl goldenscript::Runner for Stage {
    type Command = Step;

    fn run(&mut self, step: &Step, _: &goldenscript::Context) -> Result<String, Box<dyn Error>> {
        let answered = |ask, it: &Seen| Input::Answered(ask, Answer::View(it.0.clone()));
        let input = match step {
            Step::Boot { epoch, master } => {
                let promise = Promise { epoch: *epoch, master: (*master != 0).then_some(*master) };
                self.role = Some(Role::new(RoleConfig { poll_ms: 1000, heartbeat_timeout_ms: 2000 }, promise));
                Input::Tick
            }
            Step::Identified(id) => Input::Identified(*id),
            Step::Registered(it) => answered(Ask::Register, it),
            Step::Elected(it) => answered(Ask::Elect, it),
            Step::Polled(it) => answered(Ask::Poll, it),
            Step::Notified(it) => Input::Notified(it.0.clone()),
            Step::Failed(ask) => Input::Answered(
                match ask.as_str() {
                    "register" => Ask::Register,
                    "elect" => Ask::Elect,
                    _ => Ask::Poll,
                },
                Answer::Failed,
            ),
            Step::Unregistered => Input::Answered(Ask::Poll, Answer::Unregistered),
            Step::Stranger => Input::Unregistered,
            Step::Hint { epoch, version } => Input::Hint { master_epoch: *epoch, sync_state_set_epoch: *version },
            Step::Wait(ms) => {
                self.now += ms;
                Input::Tick
            }
        };
        let mut out = Vec::new();
        self.role.as_mut().ok_or("not booted")?.step(self.now, input, &mut out);
        Ok(out.iter().map(|it| format!("{}\n", text(it))).collect())
    }
}

fn text(it: &Output) -> String {
    match it {
        Output::Publish(state) => {
            let role = match &state.role {
                crate::Role::Unassigned => "nothing".to_owned(),
                crate::Role::Slave { master } => format!("slave of {}", master.id),
                crate::Role::Master => "master".to_owned(),
            };
            format!(
                "Publish: {role} at {}, set {:?} version {}",
                state.master_epoch, state.sync_state_set, state.sync_state_set_epoch
            )
        }
        other => format!("{other:?}"),
    }
}
