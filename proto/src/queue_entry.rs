//! One entry of a consume queue: where a message is in the commit log. Entry `i` of a queue is at byte `i × 20` of its
//! files.
//!
//! ```text
//! offset  0           8     12
//!         log_offset  size  tags_code
//!         i64         i32   i64
//! ```

use crate::Offset;

/// Bytes of one entry.
pub const SIZE: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueEntry {
    /// Physical offset of the record.
    pub offset: Offset,
    /// Bytes of the whole record.
    pub size: i32,
    /// Hash of the tags, or the delivery time in the delay topic.
    pub tags_code: i64,
}

impl QueueEntry {
    /// Fills the slots before the first message of a queue that does not start at 0. Looks like a message of 2 GiB at
    /// offset 0 to anyone who does not know it.
    pub const PRE_BLANK: QueueEntry = QueueEntry { offset: 0, size: i32::MAX, tags_code: 0 };

    pub fn is_pre_blank(&self) -> bool {
        self.offset == 0 && self.size == i32::MAX
    }

    /// A slot that was written: an unwritten one is all zeroes.
    pub fn is_written(&self) -> bool {
        self.offset >= 0 && self.size > 0
    }

    /// First byte of the log after this record.
    pub fn end(&self) -> Offset {
        self.offset.saturating_add(i64::from(self.size))
    }

    pub fn encode(&self) -> [u8; SIZE] {
        let mut out = [0; SIZE];
        out[..8].copy_from_slice(&self.offset.to_be_bytes());
        out[8..12].copy_from_slice(&self.size.to_be_bytes());
        out[12..].copy_from_slice(&self.tags_code.to_be_bytes());
        out
    }

    /// `None` if there are fewer than [`SIZE`] bytes.
    pub fn decode(buf: &[u8]) -> Option<QueueEntry> {
        Some(QueueEntry {
            offset: i64::from_be_bytes(*buf.get(..8)?.first_chunk()?),
            size: i32::from_be_bytes(*buf.get(8..12)?.first_chunk()?),
            tags_code: i64::from_be_bytes(*buf.get(12..SIZE)?.first_chunk()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn twenty_bytes_big_endian() {
        let entry = QueueEntry { offset: 0x0102_0304_0506_0708, size: 0x0A0B_0C0D, tags_code: -2 };
        let hex: String = entry.encode().iter().map(|b| format!("{b:02x}")).collect();
        expect_test::expect!["01020304050607080a0b0c0dfffffffffffffffe"].assert_eq(&hex);
        assert_eq!(entry.end(), 0x0102_0304_0506_0708 + 0x0A0B_0C0D);
    }

    #[test]
    fn an_unwritten_slot_and_a_pre_blank_are_told_apart() {
        assert!(!QueueEntry { offset: 0, size: 0, tags_code: 0 }.is_written());
        assert!(QueueEntry::PRE_BLANK.is_pre_blank() && QueueEntry::PRE_BLANK.is_written());
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(offset: i64, size: i32, tags_code: i64, short in 0..SIZE) {
            let entry = QueueEntry { offset, size, tags_code };
            let bytes = entry.encode();
            prop_assert_eq!(QueueEntry::decode(&bytes), Some(entry));
            prop_assert_eq!(QueueEntry::decode(&bytes[..short]), None);
        }
    }
}
