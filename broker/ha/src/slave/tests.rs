//! Golden scripts of one connection, seen from the slave.

use super::*;
use std::error::Error;
use std::path::Path;

test_each_file::test_each_path! { in "./broker/ha/src/slave/scripts" as scripts => run_script }

fn run_script(path: &Path) {
    goldenscript::run(&mut Stage::default(), path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

#[derive(goldenscript::Command)]
enum Step {
    /// Replica 2, acting upon this epoch.
    Slave {
        #[arg(key)]
        promised: Epoch,
        #[arg(key, optional)]
        java: bool,
    },
    Connected {
        #[arg(pos, optional)]
        entries: Option<String>,
        #[arg(key)]
        min: Offset,
        #[arg(key)]
        max: Offset,
    },
    Handshake {
        entries: Vec<String>,
        #[arg(key)]
        max: Offset,
    },
    Transfer {
        offset: Offset,
        #[arg(key)]
        size: usize,
        #[arg(key)]
        epoch: Epoch,
        #[arg(key, optional)]
        confirm: Offset,
    },
    Appended(usize),
    Reportable(Offset),
    Wait(Millis),
}

#[derive(Default)]
struct Stage {
    now: Millis,
    core: Option<Slave>,
}

impl goldenscript::Runner for Stage {
    type Command = Step;

    fn run(&mut self, step: &Step, _: &goldenscript::Context) -> Result<String, Box<dyn Error>> {
        let input = match step {
            Step::Slave { promised, java } => {
                self.core = Some(Slave::new(SlaveConfig {
                    me: 2,
                    promised: *promised,
                    peer: if *java { Peer::Java } else { Peer::Baton },
                    sync_from_last_file: false,
                    async_learner: false,
                    heartbeat_ms: 5000,
                    housekeeping_ms: 20000,
                }));
                return Ok(String::new());
            }
            Step::Connected { entries, min, max } => {
                let entries: Vec<String> = entries.iter().flat_map(|it| it.split(' ')).map(str::to_owned).collect();
                Input::Connected(LogFacts {
                    history: EpochHistory::from_entries(parse(&entries)?)?,
                    min: *min,
                    max: *max,
                })
            }
            Step::Handshake { entries, max } => {
                let entries = parse(entries)?;
                let last_epoch = entries.last().map_or(-1, |it| it.epoch);
                Input::Packet(MasterPacket::Handshake(MasterHandshake { max_offset: *max, last_epoch, entries }))
            }
            Step::Transfer { offset, size, epoch, confirm } => Input::Packet(MasterPacket::Transfer(TransferHeader {
                body_size: *size,
                offset: *offset,
                epoch: *epoch,
                epoch_start: 0,
                confirm_offset: *confirm,
            })),
            Step::Appended(size) => Input::Appended(*size),
            Step::Reportable(offset) => Input::Reportable(*offset),
            Step::Wait(ms) => {
                self.now += ms;
                Input::Tick
            }
        };
        let mut out = Vec::new();
        self.core.as_mut().ok_or("no slave")?.step(self.now, input, &mut out);
        Ok(out.iter().map(|it| format!("{it:?}\n")).collect())
    }
}

fn parse(entries: &[String]) -> Result<Vec<EpochEntry>, Box<dyn Error>> {
    let one = |it: &String| -> Result<EpochEntry, Box<dyn Error>> {
        let (epoch, start) = it.split_once('@').ok_or("want epoch@start")?;
        Ok(EpochEntry { epoch: epoch.parse()?, start: start.parse()? })
    };
    entries.iter().map(one).collect()
}
