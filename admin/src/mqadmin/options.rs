//! Command line of one mqadmin command, read as RocketMQ reads it (Apache commons-cli's `DefaultParser`).
//!
//! Scripts written for RocketMQ must work unchanged, so the forms are its own: `-t X`, `-tX`, `-t=X`, `--topic X`,
//! `--topic=X`, `-topic X`, unambiguous beginnings of a long name, and two-letter short names (`-bn`). clap knows none
//! of the single-dash ones.

use std::collections::BTreeMap;

/// Whether an option takes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    Value,
    Nothing,
}

/// Whether a command works without an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Optional,
    Required,
    /// Exactly one option of the command's group must be given.
    OneOfGroup,
}

/// One option of a command.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    pub short: &'static str,
    pub long: &'static str,
    pub takes: Takes,
    pub need: Need,
    pub about: &'static str,
}

impl Opt {
    pub const fn value(short: &'static str, long: &'static str, about: &'static str) -> Opt {
        Opt { short, long, takes: Takes::Value, need: Need::Optional, about }
    }

    pub const fn flag(short: &'static str, long: &'static str, about: &'static str) -> Opt {
        Opt { short, long, takes: Takes::Nothing, need: Need::Optional, about }
    }

    pub const fn required(self) -> Opt {
        Opt { need: Need::Required, ..self }
    }

    pub const fn one_of_group(self) -> Opt {
        Opt { need: Need::OneOfGroup, ..self }
    }
}

/// Options that every command has.
pub const COMMON: [Opt; 2] = [
    Opt::flag("h", "help", "Print help"),
    Opt::value("n", "namesrvAddr", "Name server address list, eg: '192.168.0.1:9876;192.168.0.2:9876'"),
];

/// What the user gave, by short name, values trimmed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given(BTreeMap<&'static str, String>);

impl Given {
    pub fn has(&self, short: &str) -> bool {
        self.0.contains_key(short)
    }

    pub fn get(&self, short: &str) -> Option<&str> {
        self.0.get(short).map(String::as_str)
    }

    /// A required option's value; [`parse`] has made sure that it is there.
    pub fn required(&self, short: &str) -> &str {
        self.get(short).unwrap_or_default()
    }

    /// The value as a number or another type with a text form.
    pub fn parse<T: std::str::FromStr>(
        &self,
        short: &'static str,
        want: &'static str,
    ) -> Result<Option<T>, UsageError> {
        let Some(text) = self.get(short) else { return Ok(None) };
        let ill_typed = |_| UsageError::IllTyped { option: short, value: text.to_owned(), want };
        text.parse().map(Some).map_err(ill_typed)
    }

    /// As `Boolean.parseBoolean`: only `true`, in any case, is true.
    pub fn is_true(&self, short: &str) -> bool {
        self.get(short).is_some_and(|it| it.eq_ignore_ascii_case("true"))
    }
}

/// A command line that cannot be run. The first five texts are commons-cli's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    #[error("Unrecognized option: {0}")]
    Unrecognized(String),
    #[error("Ambiguous option: '{given}'  (could be: {candidates})")]
    Ambiguous { given: String, candidates: String },
    #[error("Missing argument for option: {0}")]
    MissingArgument(&'static str),
    #[error("Missing required option{}: {}", if .0.len() == 1 { "" } else { "s" }, .0.join(", "))]
    MissingRequired(Vec<String>),
    #[error("The option '{second}' was specified but an option from this group has already been selected: '{first}'")]
    BothOfGroup { first: &'static str, second: &'static str },
    #[error("option -{option} is `{value}`: want {want}")]
    IllTyped { option: &'static str, value: String, want: &'static str },
}

/// Reads `args` (without the command's name). With `-h` among them nothing else is required.
pub fn parse(options: &[Opt], args: &[String]) -> Result<Given, UsageError> {
    let mut given = Given::default();
    let mut rest = args.iter();
    while let Some(token) = rest.next() {
        if !is_option(token) {
            continue; // commons-cli collects stray words, RocketMQ never looks at them
        }
        let (opt, inline) = find(options, token)?;
        let value = match (opt.takes, inline) {
            (Takes::Nothing, _) => String::new(),
            (Takes::Value, Some(value)) => value,
            (Takes::Value, None) => match rest.next() {
                Some(value) if !names_an_option(options, value) => value.clone(),
                _ => return Err(UsageError::MissingArgument(opt.short)),
            },
        };
        given.0.insert(opt.short, unquote(&value).trim().to_owned());
    }
    if !given.has("h") {
        check_needs(options, &given)?;
    }
    Ok(given)
}

fn is_option(token: &str) -> bool {
    token.len() > 1 && token.starts_with('-') && token != "--"
}

/// A word that follows an option is its value unless it is an option of this command itself, so that `-o -1` works.
fn names_an_option(options: &[Opt], token: &str) -> bool {
    is_option(token) && token.parse::<f64>().is_err() && find(options, token).is_ok()
}

/// The option a token names, and the value written into the same token.
fn find(options: &[Opt], token: &str) -> Result<(Opt, Option<String>), UsageError> {
    let unrecognized = || UsageError::Unrecognized(token.to_owned());
    let double = token.starts_with("--");
    let text = token.trim_start_matches('-');
    let (name, inline) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    if !double && let Some(opt) = options.iter().find(|it| it.short == name) {
        return accept(*opt, inline).ok_or_else(unrecognized);
    }
    let named: Vec<&Opt> = match options.iter().find(|it| it.long == name) {
        Some(exact) => vec![exact],
        None => options.iter().filter(|it| it.long.starts_with(name)).collect(),
    };
    match named.as_slice() {
        [opt] => accept(**opt, inline).ok_or_else(unrecognized),
        [] if !double => glued(options, text).ok_or_else(unrecognized),
        [] => Err(unrecognized()),
        several => Err(UsageError::Ambiguous {
            given: token.to_owned(),
            candidates: several.iter().map(|it| format!("'{}'", it.long)).collect::<Vec<_>>().join(", "),
        }),
    }
}

/// A flag takes no `=value`.
fn accept(opt: Opt, inline: Option<String>) -> Option<(Opt, Option<String>)> {
    (opt.takes == Takes::Value || inline.is_none()).then_some((opt, inline))
}

/// `-tTopicA`: a short name with its value behind it; the longest short name wins.
fn glued(options: &[Opt], text: &str) -> Option<(Opt, Option<String>)> {
    let fits = |opt: &&Opt| opt.takes == Takes::Value && text.starts_with(opt.short);
    let opt = options.iter().filter(fits).max_by_key(|it| it.short.len())?;
    Some((*opt, Some(text[opt.short.len()..].to_owned())))
}

/// commons-cli strips one pair of double quotes around a value.
fn unquote(value: &str) -> &str {
    value.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap_or(value)
}

fn check_needs(options: &[Opt], given: &Given) -> Result<(), UsageError> {
    let group: Vec<&Opt> = options.iter().filter(|it| it.need == Need::OneOfGroup).collect();
    let chosen: Vec<&&Opt> = group.iter().filter(|it| given.has(it.short)).collect();
    if let [first, second, ..] = chosen.as_slice() {
        return Err(UsageError::BothOfGroup { first: first.short, second: second.short });
    }
    let mut missing: Vec<String> = Vec::new();
    if !group.is_empty() && chosen.is_empty() {
        let members: Vec<String> = group.iter().map(|it| format!("-{} {}", it.short, it.about)).collect();
        missing.push(format!("[{}]", members.join(", ")));
    }
    let absent = options.iter().filter(|it| it.need == Need::Required && !given.has(it.short));
    missing.extend(absent.map(|it| it.short.to_owned()));
    if missing.is_empty() { Ok(()) } else { Err(UsageError::MissingRequired(missing)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    const OPTIONS: [Opt; 6] = [
        Opt::value("b", "brokerId", "id").required(),
        Opt::value("bn", "brokerName", "name"),
        Opt::value("t", "topic", "topic").required(),
        Opt::flag("l", "list", "list"),
        Opt::flag("h", "help", "Print help"),
        Opt::value("o", "offset", "offset"),
    ];

    fn check(line: &str, expect: Expect) {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let text = match parse(&OPTIONS, &args) {
            Ok(Given(map)) => map.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        };
        expect.assert_eq(&text);
    }

    #[test]
    fn every_form_of_an_option_is_read() {
        check("-t A -b 1 -bn x -l", expect!["b=1 bn=x l= t=A"]);
        check("--topic A --brokerId=1", expect!["b=1 t=A"]);
        check("-topic A -brokerId=1 -b2", expect!["b=2 t=A"]);
        check("-tA -b=1 -bnx", expect!["b=1 bn=x t=A"]);
        check("--top A --brokerI 1 stray -o -1", expect!["b=1 o=-1 t=A"]);
        check("-h", expect!["h="]);
    }

    #[test]
    fn what_cannot_be_run_is_named() {
        check("-b 1", expect!["Missing required option: t"]);
        check("", expect!["Missing required options: b, t"]);
        check("-t A -b", expect!["Missing argument for option: b"]);
        check("-t -b 1", expect!["Missing argument for option: t"]);
        check("-t A -b 1 -x", expect!["Unrecognized option: -x"]);
        check("-t A -b 1 --list=yes", expect!["Unrecognized option: --list=yes"]);
        check("-t A --broker 1", expect!["Ambiguous option: '--broker'  (could be: 'brokerId', 'brokerName')"]);
    }

    #[test]
    fn a_group_wants_exactly_one() {
        let options =
            [Opt::value("b", "brokerAddr", "one").one_of_group(), Opt::value("c", "clusterName", "two").one_of_group()];
        let error = |line: &str| {
            let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            parse(&options, &args).unwrap_err().to_string()
        };
        expect!["Missing required option: [-b one, -c two]"].assert_eq(&error(""));
        expect!["The option 'c' was specified but an option from this group has already been selected: 'b'"]
            .assert_eq(&error("-b 1 -c 2"));
    }

    #[test]
    fn a_number_is_checked() {
        let given = parse(&[Opt::value("i", "interval", "")], &["-i".into(), "x".into()]).unwrap();
        expect!["option -i is `x`: want a number of seconds"]
            .assert_eq(&given.parse::<u64>("i", "a number of seconds").unwrap_err().to_string());
    }
}
