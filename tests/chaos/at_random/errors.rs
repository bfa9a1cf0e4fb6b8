//! Which lines of a process's log a person would have to look at, and which of them somebody has announced.

/// A fault of this process's disk: from and to where in its log it may complain. Places, not times: clocks are set.
#[derive(Clone, Copy, Debug)]
pub struct Announced {
    pub from: u64,
    pub to: u64,
}

/// What is said about a disk that is full or dead, and nothing else.
const ABOUT_DISKS: [&str; 10] = [
    "disk probe failed",
    "store failed; no appends until a restart",
    "cannot flush the commit log",
    "consume queues cannot be written",
    "cannot keep a promise; this replica stays out",
    "cannot begin an epoch; this replica does not serve",
    "topics and groups are not written",
    "consumer offsets are not written",
    "delivered delays are not written",
    "the raft thread ended",
];

/// Errors and panics that no announcement covers.
pub fn unannounced(log: &[u8], announced: &[Announced]) -> Vec<String> {
    let mut at = 0;
    let mut found = Vec::new();
    for line in log.split(|it| *it == b'\n') {
        let begin = at;
        at += line.len() as u64 + 1;
        let text = String::from_utf8_lossy(line);
        let is_panic = text.contains("panicked at");
        if !is_panic && text.split_whitespace().nth(1) != Some("ERROR") {
            continue;
        }
        let expected = announced.iter().any(|it| (it.from..it.to).contains(&begin));
        if is_panic || !expected || !ABOUT_DISKS.iter().any(|it| text.contains(it)) {
            found.push(text.into_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(level: &str, said: &str) -> String {
        format!("2026-11-21T12:00:00.000001Z {level} store::flush: {said} broker_id=1\n")
    }

    #[test]
    fn an_error_in_a_log_is_found() {
        let log = ["ERROR", " INFO", " WARN"].map(|it| line(it, "no ERROR, or one")).concat();
        let log = log + "thread 'x' panicked at src/lib.rs:1:1:\n";
        assert_eq!(unannounced(log.as_bytes(), &[]).len(), 2, "{log}");
    }

    #[test]
    fn only_what_a_bad_disk_makes_a_process_say_is_expected_and_only_while_it_is_bad() {
        let about_disk = line("ERROR", "disk probe failed");
        let length = about_disk.len() as u64;
        let log = about_disk.repeat(3);
        assert_eq!(unannounced(log.as_bytes(), &[]).len(), 3);
        let second = Announced { from: length, to: 2 * length };
        assert_eq!(unannounced(log.as_bytes(), &[second]).len(), 2, "before and after it is not");
        let always = Announced { from: 0, to: u64::MAX };
        assert!(unannounced(log.as_bytes(), &[always]).is_empty());
        let other = line("ERROR", "a delayed message cannot be delivered") + "thread 'disk probe failed' panicked at x";
        assert_eq!(unannounced(other.as_bytes(), &[always]).len(), 2, "nor is anything else");
    }
}
