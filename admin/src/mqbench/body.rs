//! What mqbench writes into a message, so that a reader knows which run, producer and sequence it is.
//!
//! ```text
//! offset  0        4        8          12
//!         "BTNB"   run      producer   sequence   filling …
//!         u32      u32      u32        u64        0x2E
//! ```

/// Bytes of the mark; the smallest message mqbench sends.
pub const MARK_SIZE: usize = 20;
const MAGIC: &[u8; 4] = b"BTNB";
const FILLING: u8 = b'.';

/// Identity of one message of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Drawn per run, so that what earlier runs left in the topic is not counted.
    pub run: u32,
    pub producer: u32,
    /// From 0 without gaps, in sending order.
    pub sequence: u64,
}

impl Mark {
    /// A body of `size` bytes (at least [`MARK_SIZE`]).
    pub fn body(self, size: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(size.max(MARK_SIZE));
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.run.to_be_bytes());
        out.extend_from_slice(&self.producer.to_be_bytes());
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.resize(size.max(MARK_SIZE), FILLING);
        out
    }

    /// The mark of a body that mqbench wrote; `None` for anything else, also for one whose filling is damaged.
    pub fn read(body: &[u8]) -> Option<Mark> {
        let (mark, filling) = body.split_first_chunk::<MARK_SIZE>()?;
        if &mark[..4] != MAGIC || filling.iter().any(|it| *it != FILLING) {
            return None;
        }
        Some(Mark {
            run: u32::from_be_bytes(mark[4..8].try_into().ok()?),
            producer: u32::from_be_bytes(mark[8..12].try_into().ok()?),
            sequence: u64::from_be_bytes(mark[12..20].try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_mark_survives(run: u32, producer: u32, sequence: u64, size in 0usize..200) {
            let mark = Mark { run, producer, sequence };
            let body = mark.body(size);
            prop_assert_eq!(body.len(), size.max(MARK_SIZE));
            prop_assert_eq!(Mark::read(&body), Some(mark));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = Mark::read(&bytes);
        }
    }

    #[test]
    fn a_damaged_body_is_not_ours() {
        let mut body = Mark { run: 1, producer: 2, sequence: 3 }.body(64);
        body[63] = 0;
        assert_eq!(Mark::read(&body), None);
        assert_eq!(Mark::read(&body[..19]), None);
    }
}
