//! Looks in this replica's log for sends whose answer was lost, once that log is the new master's.

use super::driver::is_settled;
use super::lanes::{Ticket, Traced};
use super::trace::{Identity, Search, Verdict, acknowledged, begin_of, end_of};
use crate::broker::Broker;
use crate::rpc::marked;
use proto::{Command, Epoch, Offset};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// A replica that does not know where the old master's log was when it sent a request would have to read its whole
/// epoch; more than this is not read.
const LONGEST: Offset = 1 << 30;
/// How often it is looked whether what was found is confirmed.
const CONFIRMED_PERIOD: Duration = Duration::from_millis(2);

/// Which part of the log may have a send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scan {
    /// `None`: from where `first_epoch` begins.
    pub from: Option<Offset>,
    pub first_epoch: Epoch,
    /// To where this one ends.
    pub last_epoch: Epoch,
}

/// A send to be found.
pub(super) struct Job {
    pub ticket: Ticket,
    /// Places where it was put without being acknowledged: epoch, end, and the answer if it is still there.
    pub appended: Vec<(Epoch, Offset, Command)>,
    pub scan: Option<Scan>,
    pub what: Option<Identity>,
}

/// What the log of the master of `at` says of it.
pub(super) struct Finding {
    pub ticket: Ticket,
    pub at: Epoch,
    pub traced: Traced,
    pub answer: Option<Command>,
}

/// Found, but an answer only when it is confirmed.
struct Stored {
    ticket: Ticket,
    end: Offset,
    answer: Command,
}

pub(super) async fn search(broker: Arc<Broker>, at: Epoch, jobs: Vec<Job>, findings: mpsc::Sender<Finding>) {
    let tell = async |ticket, traced, answer| {
        let _stopping = findings.send(Finding { ticket, at, traced, answer }).await;
    };
    let (judged, stored) = judge(&broker, jobs).await;
    let valid = is_settled(&broker, at);
    for (ticket, traced) in judged {
        tell(ticket, if valid { traced } else { Traced::Again }, None).await;
    }
    for Stored { ticket, end, answer } in stored {
        while is_settled(&broker, at) && broker.store.confirm_offset() < end && !findings.is_closed() {
            tokio::time::sleep(CONFIRMED_PERIOD).await;
        }
        match is_settled(&broker, at) {
            true => tell(ticket, Traced::Found, Some(marked(&broker, answer))).await,
            false => tell(ticket, Traced::Again, None).await,
        }
    }
}

/// What the histories alone say, then what the log does.
async fn judge(broker: &Arc<Broker>, jobs: Vec<Job>) -> (Vec<(Ticket, Traced)>, Vec<Stored>) {
    let spans = broker.replication.epochs();
    let (mut judged, mut stored) = (Vec::new(), Vec::new());
    let mut search = Search::default();
    for Job { ticket, appended, scan, what } in jobs {
        let survives = |it: &(Epoch, Offset, Command)| end_of(&spans, it.0).is_some_and(|end| it.1 <= end);
        if let Some((_, end, answer)) = appended.into_iter().find(survives) {
            stored.push(Stored { ticket, end, answer: acknowledged(answer) });
            continue;
        }
        let Some(scan) = scan else {
            judged.push((ticket, Traced::Absent));
            continue;
        };
        let from = scan.from.or_else(|| begin_of(&spans, scan.first_epoch));
        match (from, end_of(&spans, scan.last_epoch), what) {
            (Some(from), Some(to), _) if from >= to => judged.push((ticket, Traced::Absent)),
            (Some(from), Some(to), Some(what)) if to - from <= LONGEST => search.want(ticket, from, to, what),
            _ => judged.push((ticket, Traced::Unclear)),
        }
    }
    if !search.is_empty() {
        let store = broker.store.clone();
        let walked = tokio::task::spawn_blocking(move || walk(&store, search)).await.unwrap_or_default();
        for (ticket, verdict) in walked {
            match verdict {
                Some(Verdict::Found { end, answer }) => stored.push(Stored { ticket, end, answer }),
                Some(Verdict::Absent) => judged.push((ticket, Traced::Absent)),
                Some(Verdict::Part) | None => judged.push((ticket, Traced::Unclear)),
            }
        }
    }
    stored.sort_by_key(|it| it.end);
    (judged, stored)
}

/// `None`: the log could not be read to the end.
fn walk(store: &store::Store, mut search: Search) -> Vec<(Ticket, Option<Verdict>)> {
    let Some((from, to)) = search.range() else { return Vec::new() };
    let reached = store.walk(from, to, &mut |record| search.see(record));
    let complete = reached >= to && from >= store.min_offset();
    let all = search.verdicts().into_iter();
    all.map(|(id, verdict)| (id, (complete || verdict != Verdict::Absent).then_some(verdict))).collect()
}
