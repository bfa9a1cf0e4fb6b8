//! Whether a file has anything but zeroes from some position on, asked so that a restart does not wait for it.
//!
//! Only what the file system says it stores is looked at. For preallocated blocks that is what the page cache has of
//! them, zeroes or not: whoever looks must not have the kernel read ahead, or each look is at more than the last one.

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Read at once.
const PART: u64 = 1 << 16;

/// For a file with holes instead of preallocated blocks.
pub(crate) fn has_data_after(file: &File, from: u64, end: u64) -> io::Result<bool> {
    let mut buf = vec![0; PART as usize];
    any_stored(file, from, end, |stretch| {
        for at in stretch.clone().step_by(PART as usize) {
            let part = &mut buf[..(stretch.end - at).min(PART) as usize];
            file.read_exact_at(part, at)?;
            if !is_blank(part) {
                return Ok(true);
            }
        }
        Ok(false)
    })
}

/// Whether `holds` of any stretch of the file that may hold something.
pub(crate) fn any_stored(
    file: &File,
    from: u64,
    end: u64,
    mut holds: impl FnMut(Range<u64>) -> io::Result<bool>,
) -> io::Result<bool> {
    let mut at = from;
    while at < end {
        let stretch = stored(file, at, end)?;
        at = stretch.end;
        if !stretch.is_empty() && holds(stretch)? {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(crate) fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// The next stretch that may hold something; empty at `end` when there is none.
fn stored(file: &File, at: u64, end: u64) -> io::Result<Range<u64>> {
    match seek(file, SeekFrom::Data(at)) {
        Ok(data) => {
            let data = data.max(at);
            let hole = seek(file, SeekFrom::Hole(data))?;
            Ok(data.min(end)..hole.min(end))
        }
        Err(Errno::NXIO) => Ok(end..end),
        // It cannot say.
        Err(Errno::INVAL) => Ok(at..end),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_anywhere_behind_is_found_and_nothing_else() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(10_000_000).unwrap();
        let has = |from| has_data_after(&file, from, 10_000_000).unwrap();
        assert!(!has(0));
        file.write_all_at(b"x", 5_000_000).unwrap();
        assert!(has(0) && has(4_999_999) && has(5_000_000));
        assert!(!has(5_000_001));
        file.write_all_at(b"y", 9_999_999).unwrap();
        assert!(has(5_000_001) && !has(10_000_000));
        assert!(!has_data_after(&file, 5_000_001, 9_999_999).unwrap(), "behind the end");
    }

    /// Zeroes in the page cache are stored, for all that the file system says: more of them with each look would make
    /// the next one longer, up to the whole file.
    #[test]
    fn looking_at_preallocated_blocks_leaves_the_page_cache_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let disk = crate::durable::Disk(std::sync::Arc::new(crate::durable::Unwatched));
        const SIZE: u64 = 256 << 20;
        let mapped = crate::mapped_file::MappedFile::create(folder.path(), 0, SIZE, &disk).unwrap();
        mapped.write(0, &[1; 5000]);
        // As recovery does, record by record, with what the kernel then reads ahead.
        assert!(!is_blank(mapped.bytes(0..1 << 20)));
        let stored_bytes = || {
            let (file, mut sum) = (File::open(&mapped.path).unwrap(), 0);
            any_stored(&file, 0, SIZE, |stretch| {
                sum += stretch.end - stretch.start;
                Ok(false)
            })
            .unwrap();
            sum
        };
        let before = stored_bytes();
        for _ in 0..3 {
            assert!(!mapped.has_data_after(5000).unwrap());
        }
        assert_eq!(stored_bytes(), before);
        mapped.write(SIZE as usize - 1, &[1]);
        assert!(mapped.has_data_after(5000).unwrap());
    }
}
