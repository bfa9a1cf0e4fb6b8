//! Walking records: what stands at one place of a log file and where the next one is. Pure.
//!
//! Dispatch, recovery and sealing all walk with [`step`], so that they agree on where a record ends, which bytes are a
//! file's unused rest, and where the log stops being records.

use proto::Offset;
use proto::message::{
    BLANK_MAGIC, BLANK_SIZE, MAGIC_V1, MAGIC_V2, QUEUE_OFFSET, Record, RecordCheck, TextRanges, check,
};
use std::ops::Range;

/// The least that a disk writes whole or not at all.
pub(crate) const SECTOR: usize = 512;

/// How much of a record is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verify {
    /// Layout and physical offset: enough for bytes this process has written or received.
    Layout,
    /// The body's checksum as well: bytes that were on disk when the process before ended (S12).
    Checksum,
    /// And that nothing is missing that the checksum does not cover: bytes that may not have been.
    Whole,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    Record(Record<'a>),
    /// The rest of this file is unused; the log goes on at this offset.
    NextFile(Offset),
    /// The record (or the file's unused rest) ends beyond what is readable.
    Partial,
    /// Zeroes where a record would begin.
    Unwritten,
    Invalid(String),
}

/// Judges a place in a whole file: `position` bytes from its start, in the log `at`. From there `readable` bytes may be
/// looked at.
pub(crate) fn step(file: &[u8], position: usize, readable: usize, at: Offset, verify: Verify) -> Step<'_> {
    let rest = &file[position..];
    let room = rest.len();
    let next_file = at + room as i64;
    if room < BLANK_SIZE {
        return if readable >= room { Step::NextFile(next_file) } else { Step::Partial };
    }
    let buf = &rest[..readable.min(room)];
    let Some(head) = buf.first_chunk::<BLANK_SIZE>() else { return Step::Partial };
    if *head == [0; BLANK_SIZE] {
        return Step::Unwritten;
    }
    let (size, magic) = (be(head, 0), be(head, 4));
    if magic == BLANK_MAGIC {
        return match usize::try_from(size) {
            Ok(size) if size == room && buf.len() == room => Step::NextFile(next_file),
            Ok(size) if size == room => Step::Partial,
            _ => Step::Invalid(format!(
                "blank of {size} bytes where {room} are left in the file; is mappedFileSizeCommitLog the same on all \
                 replicas?"
            )),
        };
    }
    let is_record = magic == MAGIC_V1 || magic == MAGIC_V2;
    if is_record && usize::try_from(size).is_ok_and(|size| size > room) {
        return Step::Invalid(format!(
            "record of {size} bytes where {room} are left in the file; is mappedFileSizeCommitLog the same on all \
             replicas?"
        ));
    }
    if verify != Verify::Layout
        && let RecordCheck::Invalid { why } = check(buf)
    {
        return Step::Invalid(why);
    }
    match Record::decode_with_text(buf) {
        Ok((record, text)) if verify == Verify::Whole && is_torn(&text, buf, position) => {
            Step::Invalid(format!("record of {} bytes has zeroes for text: not all of it was written", record.size))
        }
        Ok((record, _)) if record.physical_offset == at => Step::Record(record),
        Ok((record, _)) => Step::Invalid(format!(
            "record of {} bytes says it belongs at {}: left over from an earlier generation of the log",
            record.size, record.physical_offset
        )),
        Err(proto::message::RecordError::NeedMore { .. }) => Step::Partial,
        Err(error) => Step::Invalid(error.to_string()),
    }
}

/// The size that what stands there claims to have, if it claims to be a record.
pub(crate) fn record_size(bytes: &[u8]) -> Option<usize> {
    let head = bytes.first_chunk()?;
    let is_record = matches!(be(head, 4), MAGIC_V1 | MAGIC_V2);
    if is_record { usize::try_from(be(head, 0)).ok() } else { None }
}

/// The checksum covers the body alone. Of a record that was not written whole the rest reads as zeroes: all of it (a
/// slave's half record, a cut inside it), or what a sector lacks that a loss of power has left as it was before, when
/// the log ended in it or before it. Either way the zeroes reach to a sector's end. Others belong to the record: Java
/// takes a NUL in a property.
fn is_torn(text: &TextRanges, buf: &[u8], position: usize) -> bool {
    text.iter().any(|range| may_lack_part(range.clone(), buf, position))
}

/// Whether the last byte of these, or one of them that ends a sector, is zero, and all behind it in its sector.
fn may_lack_part(of: Range<usize>, buf: &[u8], position: usize) -> bool {
    let Some(last) = of.clone().next_back() else { return false };
    let sector_end = |at: usize| (position + at + 1).next_multiple_of(SECTOR) - position;
    let mut ends_of_sectors = (sector_end(of.start)..=of.end).step_by(SECTOR);
    let rest = &buf[last..sector_end(last).min(buf.len())];
    ends_of_sectors.any(|end| buf[end - 1] == 0) || rest.iter().all(|byte| *byte == 0)
}

/// Whether a record's queue offset may be zero, or smaller than it was, for want of the rest of its sector. Mostly it
/// is what it should be nevertheless: zeroes are nothing special there.
pub(crate) fn may_lack_queue_offset(file: &[u8], position: usize) -> bool {
    may_lack_part(QUEUE_OFFSET, &file[position..], position)
}

fn be(head: &[u8; BLANK_SIZE], at: usize) -> i32 {
    i32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
}

#[cfg(test)]
mod tests;
