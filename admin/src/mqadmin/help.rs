//! Help texts in the layout of RocketMQ's (commons-cli's `HelpFormatter`, 110 columns).

use super::options::{COMMON, Need, Opt, Takes};

const WIDTH: usize = 110;
/// Left of each option in the list.
const LEFT_PAD: usize = 1;
/// Between the longest option and the descriptions.
const GAP: usize = 3;

/// `(name, what it does)` of every command, as `mqadmin` without arguments shows them.
pub fn overview(commands: &[(&str, &str)]) -> String {
    let mut out = String::from("The most commonly used mqadmin commands are:\n");
    for (name, about) in commands {
        out += &format!("   {name:<35} {about}\n");
    }
    out + "\nSee 'mqadmin help <command>' for more information on a specific command.\n"
}

/// `mqadmin help <command>`.
pub fn of_command(name: &str, options: &[Opt]) -> String {
    let mut all: Vec<Opt> = options.iter().chain(&COMMON).copied().collect();
    all.sort_by_key(|it| it.short.to_lowercase());
    let usage = format!("usage: mqadmin {name} {}", usage(options, &all));
    wrapped(&usage, "usage: ".len()) + &list(&all)
}

fn usage(options: &[Opt], sorted: &[Opt]) -> String {
    let mut parts = Vec::new();
    let mut group_shown = false;
    for opt in sorted {
        match opt.need {
            Need::Required => parts.push(form(opt)),
            Need::Optional => parts.push(format!("[{}]", form(opt))),
            Need::OneOfGroup if group_shown => {}
            Need::OneOfGroup => {
                group_shown = true;
                let members = options.iter().filter(|it| it.need == Need::OneOfGroup);
                // The blank is commons-cli's: it ends a group with one and every part with another.
                parts.push(members.map(form).collect::<Vec<_>>().join(" | ") + " ");
            }
        }
    }
    parts.join(" ")
}

fn form(opt: &Opt) -> String {
    match opt.takes {
        Takes::Value => format!("-{} <arg>", opt.short),
        Takes::Nothing => format!("-{}", opt.short),
    }
}

fn list(sorted: &[Opt]) -> String {
    let left = |opt: &Opt| {
        let value = if opt.takes == Takes::Value { " <arg>" } else { "" };
        format!("{:LEFT_PAD$}-{},--{}{value}", "", opt.short, opt.long)
    };
    let column = sorted.iter().map(|it| left(it).len()).max().unwrap_or(0) + GAP;
    let line = |opt: &Opt| wrapped(&format!("{:<column$}{}", left(opt), opt.about), column);
    sorted.iter().map(line).collect()
}

/// Breaks at the last blank before the width; continuation lines start at `indent`.
fn wrapped(text: &str, indent: usize) -> String {
    let mut out = String::new();
    let mut rest = text.to_owned();
    while rest.len() > WIDTH {
        let at = match rest[..=WIDTH].rfind(' ') {
            Some(at) if at > indent => at,
            _ => WIDTH,
        };
        out += rest[..at].trim_end();
        out.push('\n');
        rest = format!("{:indent$}{}", "", rest[at..].trim_start());
    }
    out + rest.trim_end() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn help_looks_like_rocketmqs() {
        let options = [
            Opt::value("b", "brokerAddr", "create topic to which broker").one_of_group(),
            Opt::value("c", "clusterName", "create topic to which cluster").one_of_group(),
            Opt::value("t", "topic", "topic name").required(),
            Opt::flag("l", "list", "Use list format to print data"),
        ];
        expect![[r"
            usage: mqadmin updateTopic -b <arg> | -c <arg>  [-h] [-l] [-n <arg>] -t <arg>
             -b,--brokerAddr <arg>    create topic to which broker
             -c,--clusterName <arg>   create topic to which cluster
             -h,--help                Print help
             -l,--list                Use list format to print data
             -n,--namesrvAddr <arg>   Name server address list, eg: '192.168.0.1:9876;192.168.0.2:9876'
             -t,--topic <arg>         topic name
        "]]
        .assert_eq(&of_command("updateTopic", &options));
    }

    #[test]
    fn long_usage_is_wrapped_under_its_start() {
        let text = wrapped(&format!("usage: {}", "[-a <arg>] ".repeat(12)), 7);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines.iter().all(|it| it.len() <= WIDTH), "{text}");
        assert!(lines[1].starts_with("       <arg>] [-a"), "{text}");
    }

    #[test]
    fn the_overview_lists_commands() {
        expect![[r"
            The most commonly used mqadmin commands are:
               clusterList                         List cluster infos.

            See 'mqadmin help <command>' for more information on a specific command.
        "]]
        .assert_eq(&overview(&[("clusterList", "List cluster infos.")]));
    }
}
