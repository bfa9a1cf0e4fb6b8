//! The command line of mqbench.

use clap::{Args as ClapArgs, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Parser)]
#[command(
    name = "mqbench",
    version,
    about = "Load, failover measurement and a demonstration cluster for RocketMQ brokers"
)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send as fast as it is acknowledged, or at a given rate
    Send(SendArgs),
    /// Read a topic as fast as it comes
    Consume(ConsumeArgs),
    /// Send through a change of master; then read everything back and account for every acknowledged message
    Failover(FailoverArgs),
    /// Start the quick-start cluster, kill its master under load, show what became of every message
    Demo(DemoArgs),
    /// Measure failover, start and memory on quick-start clusters of its own; exit status 1 if an acknowledged message
    /// was lost
    Figures(FiguresArgs),
    /// What three controllers carry, and how fast thousands of broker sets are failed over, on made-up brokers
    Controller(ControllerArgs),
    /// Start the quick-start cluster and leave it running
    Up(UpArgs),
    /// Stop the cluster that `up` started
    Down(DownArgs),
}

#[derive(Debug, Clone, ClapArgs)]
pub struct ControllerArgs {
    #[command(flatten)]
    pub programs: Programs,
    /// Load these controllers, host:port separated by `;`, instead of three of our own: commands and heartbeats only;
    /// the made-up broker sets are removed again
    #[arg(short = 'a', long, value_name = "ADDRESSES", conflicts_with_all = ["only", "rounds", "commands", "bin_dir"])]
    pub controllers: Option<String>,
    /// Only these; may be repeated
    #[arg(long, value_name = "SCENARIO")]
    pub only: Vec<super::controller::Scenario>,
    /// How often each is measured; commands once
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Made-up broker sets [default: 10,000 for the heartbeats, else 1,000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub sets: Option<u32>,
    /// Replicas of each, heartbeating each second
    #[arg(long, default_value_t = 3, requires = "controllers", value_parser = clap::value_parser!(u32).range(1..=9))]
    pub replicas: u32,
    /// How long heartbeats are measured in each round, such as 10s
    #[arg(long, value_parser = duration, default_value = "10s")]
    pub duration: Duration,
    /// Commands to commit
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub commands: u32,
    /// Print JSON instead of the table
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, ClapArgs)]
pub struct Common {
    /// Nameservers, host:port separated by `;`
    #[arg(short = 'n', long, env = "NAMESRV_ADDR", value_name = "ADDRESSES")]
    pub namesrv: String,
    /// Topic; created with one queue per producer (at least 8) if it does not exist
    #[arg(short = 't', long, default_value = "mqbench")]
    pub topic: String,
    /// Bytes per message body, at least 20. consume: bodies of another size count as errors
    #[arg(long, value_name = "BYTES")]
    pub size: Option<usize>,
    /// Parallel producers, or readers; each has connections of its own [default: 4; failover 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub producers: Option<u32>,
    /// Sends under way per producer [default: 64; failover 1, more gives up order across retries]. consume: messages
    /// asked for at once [default: 32]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub inflight: Option<u32>,
    /// Length of the run, such as 10, 500ms, 10s, 2m [default: 10s; failover 20s; consume until the end the topic has
    /// at the start]
    #[arg(long, value_parser = duration)]
    pub duration: Option<Duration>,
    /// Print one JSON object last on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, ClapArgs)]
pub struct SendArgs {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub sending: Sending,
    /// Send to the queues of failover aliases as well, as RocketMQ's own clients do
    #[arg(long)]
    pub aliases: bool,
}

/// What only senders have.
#[derive(Debug, Clone, ClapArgs)]
pub struct Sending {
    /// Messages per second over all producers; latency then counts from when a message was due [default: as fast as
    /// possible]
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    pub rate: Option<f64>,
    /// Total time of one send, retries included
    #[arg(long, value_parser = duration, default_value = "3s")]
    pub send_timeout: Duration,
}

#[derive(Debug, Clone, ClapArgs)]
pub struct ConsumeArgs {
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Clone, ClapArgs)]
pub struct FailoverArgs {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub sending: Sending,
    /// Controllers, host:port separated by `;`: watched for the change of master
    #[arg(short = 'c', long, value_name = "ADDRESSES")]
    pub controller: String,
    /// Broker set to send to [default: the first that has the topic]
    #[arg(long, value_name = "NAME")]
    pub broker_name: Option<String>,
    /// SIGKILL this process (the master's; of a supervisor, the broker it has started) at --at. Without a process the
    /// caller does it
    #[arg(long, value_name = "PID", conflicts_with = "stop_pid")]
    pub kill_pid: Option<u32>,
    /// SIGSTOP this process at --at, SIGCONT at --resume-at or at the end
    #[arg(long, value_name = "PID")]
    pub stop_pid: Option<u32>,
    /// When, counted from the first send
    #[arg(long, value_parser = duration, default_value = "5s")]
    pub at: Duration,
    /// When the stopped process goes on
    #[arg(long, value_parser = duration, requires = "stop_pid")]
    pub resume_at: Option<Duration>,
}

#[derive(Debug, Clone, ClapArgs)]
pub struct DemoArgs {
    #[command(flatten)]
    pub programs: Programs,
    /// Bytes per message body
    #[arg(long, default_value_t = 1024, value_name = "BYTES")]
    pub size: usize,
    /// Parallel producers, each with one send under way
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub producers: u32,
    /// Load before the master is killed
    #[arg(long, value_parser = duration, default_value = "5s")]
    pub before: Duration,
    /// Load after the old master is back
    #[arg(long, value_parser = duration, default_value = "3s")]
    pub after: Duration,
    /// Keep the folder with configuration, data and logs
    #[arg(long)]
    pub keep: bool,
    /// Print one JSON object last on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, ClapArgs)]
pub struct FiguresArgs {
    #[command(flatten)]
    pub programs: Programs,
    /// How often each is measured
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Only these; may be repeated [default: all but aliases]
    #[arg(long, value_name = "SCENARIO")]
    pub only: Vec<super::figures::Scenario>,
    /// Start the brokers with `mqbroker --supervised`: a killed one comes back by itself
    #[arg(long)]
    pub supervised: bool,
    /// Print one JSON array instead of the table
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, ClapArgs)]
pub struct Programs {
    /// Folder of mqcontroller, mqnamesrv and mqbroker [default: where mqbench is]
    #[arg(long, value_name = "FOLDER")]
    pub bin_dir: Option<PathBuf>,
}

#[derive(Debug, Clone, ClapArgs)]
pub struct UpArgs {
    #[command(flatten)]
    pub programs: Programs,
    /// Folder for configuration, data and logs
    #[arg(long, value_name = "FOLDER")]
    pub dir: PathBuf,
    /// Start the brokers with `mqbroker --supervised`
    #[arg(long)]
    pub supervised: bool,
}

#[derive(Debug, Clone, ClapArgs)]
pub struct DownArgs {
    /// The folder given to `up`
    #[arg(long, value_name = "FOLDER")]
    pub dir: PathBuf,
}

/// `10`, `500ms`, `1.5s`, `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, scale) = match text {
        _ if text.ends_with("ms") => (&text[..text.len() - 2], 0.001),
        _ if text.ends_with('s') => (&text[..text.len() - 1], 1.0),
        _ if text.ends_with('m') => (&text[..text.len() - 1], 60.0),
        _ => (text, 1.0),
    };
    let seconds = number.trim().parse::<f64>().map(|it| it * scale).unwrap_or(-1.0);
    match seconds {
        _ if (0.0..=86_400.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("want a time such as 10, 500ms, 10s or 2m, at most a day".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.001..=1e9).contains(&rate) => Ok(rate),
        _ => Err("want messages per second, more than 0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn times() {
        let read = |it| duration(it).map(|it| it.as_millis());
        assert_eq!([read("10"), read("500ms"), read("1.5s"), read("2m")], [Ok(10_000), Ok(500), Ok(1500), Ok(120_000)]);
        for wrong in ["", "x", "-1", "1h", "NaN", "inf", "100000"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_load_takes_the_common_options() {
        for command in ["send", "consume", "failover"] {
            let mut line =
                vec!["mqbench", command, "--namesrv", "a:1", "--topic", "t", "--size", "100", "--producers", "2"];
            line.extend(["--inflight", "3", "--duration", "1s", "--json"]);
            if command == "failover" {
                line.extend(["--controller", "a:2"]);
            }
            Args::try_parse_from(line).unwrap();
        }
    }
}
