//! Where the log ends when a process begins: behind its last whole record (S12). What stands behind is cut.

use crate::append::QueueOffsets;
use crate::durable::At;
use crate::mapped_file::file_name;
use crate::queue_table::has_place;
use crate::scan::{Step, Verify, may_lack_queue_offset, record_size};
use crate::{Shared, StoreError};
use proto::Offset;
use proto::message::Record;
use tracing::warn;

/// Where the log ends, and why it does not go on if that is not plain emptiness.
pub(crate) struct LogEnd {
    pub at: Offset,
    pub why: Option<String>,
}

/// Which records may have lost their queue offset to the host's loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suspect {
    /// All was flushed by a clean stop. Or nobody knows what was, for want of a checkpoint of ours: then a record that
    /// is torn there passes for whole and, if zeroes are left of its queue offset, begins its queue anew. To suspect
    /// any record of the log would cost more: what a topic that was deleted and made again had acknowledged.
    Nobody,
    /// Those that end behind what is known to be on disk.
    Behind(Offset),
}

impl Shared {
    /// Verifies record after record from `begin`, a record boundary. What ends at `flushed` or before was on disk
    /// whole.
    pub fn find_end(&self, begin: Offset, flushed: Offset, suspect: Suspect) -> LogEnd {
        let mut at = begin;
        let mut suspicion = match suspect {
            Suspect::Nobody => None,
            Suspect::Behind(on_disk) => Some((on_disk, self.queues.next_offsets(begin))),
        };
        loop {
            let Some(file) = self.log.find(at) else { return LogEnd { at, why: None } };
            let size = record_size(file.bytes(file.position(at)..file.size())).unwrap_or(0);
            let verify = if at + size as Offset <= flushed { Verify::Checksum } else { Verify::Whole };
            let why = match file.step(at, file.size(), verify) {
                Step::Record(record) => {
                    let end = at + record.size as Offset;
                    if let Some((on_disk, next)) = &mut suspicion {
                        if end > *on_disk
                            && may_lack_queue_offset(file.bytes(0..file.size()), file.position(at))
                            && is_taken(&record, next)
                        {
                            let why = format!("record with queue offset {}: not all was written", record.queue_offset);
                            return LogEnd { at, why: Some(why) };
                        }
                        next.follow(&record);
                    }
                    at = end;
                    continue;
                }
                Step::NextFile(next) => {
                    at = next;
                    continue;
                }
                Step::Unwritten => None,
                Step::Partial => Some("record longer than its file".to_owned()),
                Step::Invalid(why) => Some(why),
            };
            return LogEnd { at, why };
        }
    }

    /// Makes the log end at `end`: what stands behind can never become records again. Says what that was.
    pub fn cut_after(&self, end: &LogEnd) -> Result<Vec<String>, StoreError> {
        let files = self.log.files().clone();
        let mut data_end = None;
        for file in files.iter().filter(|file| file.end() > end.at) {
            let from = file.position(end.at.max(file.start));
            if file.has_data_after(from).at(&file.path, "look for data after the log's end")? {
                data_end = Some(file.end());
            }
        }
        let mut said = Vec::new();
        if let Some(data_end) = data_end {
            let name = self.log.find(end.at).map_or_else(|| file_name(end.at), |file| file_name(file.start));
            let why = end.why.as_deref().unwrap_or("not written, yet there is data behind");
            let mut note = format!("commit log {name} at {}: {why}; recovery cut the log here", end.at);
            if let Some(next) = self.intact_behind(end.at) {
                if end.at == self.log.min() {
                    return Err(StoreError::Unusable(format!(
                        "{}: commit log {name} is damaged at its very start ({why}) and intact at {next}; restore it \
                         from another replica, or move the store away to copy everything from the master",
                        self.log.dir.display()
                    )));
                }
                let kept = self.keep_tail(0, end.at, data_end)?;
                note += &format!("; intact records stood behind (at {next}), kept in {}", kept.path.display());
            }
            warn!(offset = end.at, "{note}");
            said.push(note);
        }
        if data_end.is_some() || files.iter().any(|file| file.start >= end.at) {
            if files.iter().all(|file| file.start >= end.at) {
                // No file will tell where the log ends.
                self.save_log_start(end.at)?;
            }
            if data_end.is_some() {
                // Half a record that was flushed must not look like a loss to the start after a crash. Saved even if it
                // reads so already: the process before may have had no time to sync it, or have tried in vain.
                self.checkpoint.save(|it| it.lower(end.at, end.at))?;
            }
            self.log.cut(end.at)?;
        }
        Ok(said)
    }

    /// A whole record behind a damaged one: in its place by the damaged record's size, or at the start of a later file.
    fn intact_behind(&self, at: Offset) -> Option<Offset> {
        let is_record = |at: Offset| {
            let Some(file) = self.log.find(at) else { return false };
            matches!(file.step(at, file.size(), Verify::Whole), Step::Record(_))
        };
        let file = self.log.find(at)?;
        let size = file.bytes(file.position(at)..file.size()).first_chunk().map_or(0, |size| i32::from_be_bytes(*size));
        let neighbour = (size > 0).then(|| at + i64::from(size)).filter(|next| *next < file.end());
        let later = self.log.files().iter().map(|file| file.start).filter(|start| *start > at).collect::<Vec<_>>();
        neighbour.into_iter().chain(later).find(|next| is_record(*next))
    }
}

/// Whether its queue has gone on beyond a record's queue offset. That of a topic that was deleted on the master and not
/// here yet has, too: so a record is not cut for that alone.
fn is_taken(record: &Record<'_>, next: &QueueOffsets) -> bool {
    has_place(record) && record.queue_offset < next.get(record.topic, record.queue_id)
}
