//! Whether a file has anything but zeroes from some position on, asked so that a restart does not wait for it.

use rustix::fs::{Advice, SeekFrom, fadvise, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Looks only at what the file system says it stores. For preallocated blocks that is what the page cache has of them,
/// so nothing is read ahead here: each page read for nothing would be data the next time.
pub(crate) fn has_data_after(file: &File, from: u64, end: u64) -> io::Result<bool> {
    let without_read_ahead = fadvise(file, 0, None, Advice::Random);
    let found = search(file, from, end);
    if without_read_ahead.is_ok() {
        fadvise(file, 0, None, Advice::Normal)?;
    }
    found
}

fn search(file: &File, from: u64, end: u64) -> io::Result<bool> {
    let mut at = from;
    let mut buf = vec![0; 1 << 16];
    while at < end {
        let (data, hole) = stored(file, at, end)?;
        at = data;
        while at < hole {
            let part = &mut buf[..(hole - at).min(1 << 16) as usize];
            file.read_exact_at(part, at)?;
            if part.iter().any(|byte| *byte != 0) {
                return Ok(true);
            }
            at += part.len() as u64;
        }
    }
    Ok(false)
}

/// The next stretch that may hold something; empty at `end` when there is none.
fn stored(file: &File, at: u64, end: u64) -> io::Result<(u64, u64)> {
    match seek(file, SeekFrom::Data(at)) {
        Ok(data) => {
            let hole = seek(file, SeekFrom::Hole(data.max(at)))?;
            Ok((data.max(at).min(end), hole.min(end)))
        }
        Err(Errno::NXIO) => Ok((end, end)),
        // It cannot say.
        Err(Errno::INVAL) => Ok((at, end)),
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

    #[test]
    fn looking_twice_at_preallocated_blocks_reads_no_more_than_once() {
        let file = tempfile::tempfile().unwrap();
        crate::mapped_file::allocate_blocks(&file, 64 << 20).unwrap();
        file.write_all_at(&[1; 100], 0).unwrap();
        for _ in 0..3 {
            assert!(!has_data_after(&file, 100, 64 << 20).unwrap());
        }
        let (data, _) = stored(&file, 2 << 20, 64 << 20).unwrap();
        // A file system without such knowledge says that everything may be data.
        assert!(data == 64 << 20 || data == 2 << 20, "pages that nobody wrote are in the cache at {data}");
    }
}
