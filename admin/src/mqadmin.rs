//! `mqadmin`: finds the command, reads its options, runs it.
//!
//! Options and texts on stdout are RocketMQ's, byte for byte, so that scripts and eyes trained on it keep working. What
//! is different is failure: one line on stderr that says what, where and what to do, and exit status 1 (the original
//! prints a stack trace and exits with 0).

mod commands;
mod help;
mod java_text;
mod options;

use anyhow::Context as _;
use client::{Admin, AdminOptions};
use commands::COMMANDS;
use node::tls::{ClientTls, Settings};
use options::{COMMON, Given, Opt};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// What a command works with.
pub(crate) struct Context {
    pub admin: Admin,
    /// Access key and secret of `$ROCKETMQ_HOME/conf/tools.yml`.
    pub credentials: Option<(String, String)>,
    /// `--tls`.
    pub tls: Option<ClientTls>,
}

/// A command: its name, what it does, its own options, and how it runs.
pub(crate) struct Command {
    pub name: &'static str,
    pub about: &'static str,
    pub options: &'static [Opt],
    pub run: commands::Run,
}

/// Runs `mqadmin` with these arguments (without the program's name).
pub async fn mqadmin(args: Vec<String>) -> ExitCode {
    let ran = match transport(args) {
        Ok((args, tls)) => dispatch(&args, tls).await,
        Err(error) => Err(error),
    };
    match ran {
        Ok(code) => code,
        Err(error) => {
            // Remarks of a server may have several lines; a failure is one.
            let lines: Vec<String> = format!("{error:#}").lines().map(|it| it.trim().to_owned()).collect();
            eprintln!("mqadmin: {}", lines.join(" "));
            ExitCode::FAILURE
        }
    }
}

/// `--tls` and `--tls-config FILE` (RocketMQ's `tls.client.*` keys) stand before the command: how to connect is no
/// matter of the single command, whose options are RocketMQ's.
fn transport(mut args: Vec<String>) -> anyhow::Result<(Vec<String>, Option<ClientTls>)> {
    let mut settings = Settings::default();
    loop {
        match args.first().map(String::as_str) {
            Some("--tls") => drop(args.remove(0)),
            Some("--tls-config") => {
                anyhow::ensure!(args.len() > 1, "--tls-config needs a file with tls.client keys");
                let mut taken = args.drain(..2);
                settings.config_file = taken.nth(1).unwrap_or_default();
            }
            _ => return Ok((args, node::tls::Tls::new(&settings)?.client)),
        }
        settings.enable = true;
    }
}

async fn dispatch(args: &[String], tls: Option<ClientTls>) -> anyhow::Result<ExitCode> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["help"] | ["-h" | "--help"] => {
            let all: Vec<(&str, &str)> = COMMANDS.iter().map(|it| (it.name, it.about)).collect();
            print(&help::overview(&all))?;
            Ok(ExitCode::SUCCESS)
        }
        ["help", name] => {
            let command = find(name)?;
            print(&help::of_command(command.name, command.options))?;
            Ok(ExitCode::SUCCESS)
        }
        [name, ..] => run(find(name)?, &args[1..], tls).await,
    }
}

/// RocketMQ compares command names ignoring case.
fn find(name: &str) -> anyhow::Result<&'static Command> {
    let found = COMMANDS.iter().find(|it| it.name.eq_ignore_ascii_case(name));
    found.with_context(|| format!("The sub command {name} not exist. `mqadmin help` lists what there is"))
}

async fn run(command: &Command, args: &[String], tls: Option<ClientTls>) -> anyhow::Result<ExitCode> {
    let all: Vec<Opt> = COMMON.iter().chain(command.options).copied().collect();
    let given = match options::parse(&all, args) {
        Ok(given) if given.has("h") => {
            print(&help::of_command(command.name, command.options))?;
            return Ok(ExitCode::SUCCESS);
        }
        Ok(given) => given,
        Err(error) => {
            eprintln!("{error}");
            print(&help::of_command(command.name, command.options))?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let credentials = credentials()?;
    let admin = Admin::new(AdminOptions {
        namesrv: nameservers(&given),
        credentials: credentials.clone(),
        tls: tls.clone(),
        ..AdminOptions::default()
    });
    (command.run)(Context { admin, credentials, tls }, given).await?;
    Ok(ExitCode::SUCCESS)
}

/// `-n`, else the environment's NAMESRV_ADDR.
fn nameservers(given: &Given) -> Vec<String> {
    let environment = || std::env::var("NAMESRV_ADDR").unwrap_or_default();
    client::nameservers(&given.get("n").map_or_else(environment, str::to_owned))
}

/// `accessKey: …` and `secretKey: …` of `$ROCKETMQ_HOME/conf/tools.yml`; without the file requests are not signed.
fn credentials() -> anyhow::Result<Option<(String, String)>> {
    let Ok(home) = std::env::var("ROCKETMQ_HOME") else { return Ok(None) };
    let path = Path::new(&home).join("conf/tools.yml");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    Ok(keys(&text))
}

fn keys(yaml: &str) -> Option<(String, String)> {
    let value = |name: &str| {
        let line = yaml.lines().find_map(|it| it.trim_start().strip_prefix(name)?.trim_start().strip_prefix(':'))?;
        Some(line.trim().trim_matches(['"', '\'']).to_owned()).filter(|it| !it.is_empty())
    };
    Some((value("accessKey")?, value("secretKey")?))
}

/// Text to stdout, at once; a reader that has gone away (`| head`) is an error and no panic.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to stdout")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_to_connect_stands_before_the_command() {
        let read = |line: &str| transport(line.split(' ').map(str::to_owned).collect());
        let (args, tls) = read("--tls clusterList -n a:1").unwrap();
        assert_eq!((args.join(" ").as_str(), tls.is_some()), ("clusterList -n a:1", true));
        let (args, tls) = read("clusterList --tls").unwrap();
        assert_eq!((args.join(" ").as_str(), tls.is_some()), ("clusterList --tls", false));
        assert!(read("--tls-config").err().unwrap().to_string().contains("needs a file"));
        assert!(read("--tls-config /nowhere clusterList").err().unwrap().to_string().contains("/nowhere"));
    }

    #[test]
    fn names_ignore_case() {
        assert_eq!(find("CLUSTERLIST").unwrap().name, "clusterList");
        let error = find("nope").err().unwrap().to_string();
        assert_eq!(error, "The sub command nope not exist. `mqadmin help` lists what there is");
    }

    #[test]
    fn help_is_what_a_jvm_prints() {
        let command = find("sendMessage").unwrap();
        expect_test::expect![[r"
            usage: mqadmin sendMessage [-b <arg>] [-c <arg>] [-h] [-i <arg>] [-k <arg>] [-m <arg>] [-n <arg>] -p <arg> -t
                   <arg>
             -b,--broker <arg>           Send message to target broker
             -c,--tags <arg>             Message tags
             -h,--help                   Print help
             -i,--qid <arg>              Send message to target queue
             -k,--key <arg>              Message keys
             -m,--msgTraceEnable <arg>   Message Trace Enable, Default: false
             -n,--namesrvAddr <arg>      Name server address list, eg: '192.168.0.1:9876;192.168.0.2:9876'
             -p,--body <arg>             UTF-8 string format of the message body
             -t,--topic <arg>            Topic name
        "]]
        .assert_eq(&help::of_command(command.name, command.options));
    }

    #[test]
    fn keys_are_read_from_yaml() {
        let text = "# tools\naccessKey: rocketmq2\nsecretKey : \"12345678\"\n";
        assert_eq!(keys(text), Some(("rocketmq2".into(), "12345678".into())));
        assert_eq!(keys("accessKey:\nsecretKey: x\n"), None);
    }

    #[test]
    fn every_command_has_its_own_option_names() {
        for command in COMMANDS {
            let mut names: Vec<&str> = COMMON.iter().chain(command.options).map(|it| it.short).collect();
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count, "{}", command.name);
        }
    }
}
