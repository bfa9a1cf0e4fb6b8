//! Message bodies, compressed by producers with one of RocketMQ's three. Pure; never yields more than [`MAX_BODY`]
//! bytes.

use bytes::Bytes;
use flate2::Compression;
use flate2::read::{ZlibDecoder, ZlibEncoder};
use proto::message::sys_flag;
use std::io::{self, Read};

/// Larger than any body a broker takes by default (4 MiB), small enough that a forged record cannot fill the memory.
pub(crate) const MAX_BODY: u64 = 64 * 1024 * 1024;
/// As the Java client.
const ZLIB_LEVEL: u32 = 5;

/// The body as its producer gave it.
pub(crate) fn decompress(body: &[u8], flags: i32) -> Result<Bytes, String> {
    if flags & sys_flag::COMPRESSED == 0 {
        return Ok(Bytes::copy_from_slice(body));
    }
    match flags & sys_flag::COMPRESSION_MASK {
        sys_flag::COMPRESSION_LZ4 => read_bounded("lz4", lz4_flex::frame::FrameDecoder::new(body)),
        sys_flag::COMPRESSION_ZSTD => {
            read_bounded("zstd", zstd::stream::read::Decoder::new(body).map_err(|e| format!("zstd: {e}"))?)
        }
        // 0 comes from clients that knew only zlib.
        0 | sys_flag::COMPRESSION_ZLIB => read_bounded("zlib", ZlibDecoder::new(body)),
        other => Err(format!("compression type {:#x} is unknown", other)),
    }
}

/// zlib, which every client reads.
pub(crate) fn compress(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    ZlibEncoder::new(body, Compression::new(ZLIB_LEVEL)).read_to_end(&mut out)?;
    Ok(out)
}

fn read_bounded(name: &str, reader: impl Read) -> Result<Bytes, String> {
    let mut out = Vec::new();
    reader.take(MAX_BODY + 1).read_to_end(&mut out).map_err(|e| format!("{name}: {e}"))?;
    if out.len() as u64 > MAX_BODY {
        return Err(format!("{name}: more than {MAX_BODY} bytes"));
    }
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sys_flag::{COMPRESSED, COMPRESSION_LZ4, COMPRESSION_ZLIB, COMPRESSION_ZSTD};

    fn forms(body: &[u8]) -> Vec<(i32, Vec<u8>)> {
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        io::Write::write_all(&mut lz4, body).unwrap();
        vec![
            (0, body.to_vec()),
            (COMPRESSED, compress(body).unwrap()),
            (COMPRESSED | COMPRESSION_ZLIB, compress(body).unwrap()),
            (COMPRESSED | COMPRESSION_LZ4, lz4.finish().unwrap()),
            (COMPRESSED | COMPRESSION_ZSTD, zstd::encode_all(body, 3).unwrap()),
        ]
    }

    #[test]
    fn each_of_the_three_is_read() {
        let body = b"the quick brown fox ".repeat(300);
        for (flags, stored) in forms(&body) {
            assert_eq!(decompress(&stored, flags).as_deref(), Ok(&body[..]), "{flags:#x}");
        }
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        for (flags, mut stored) in forms(&b"abc".repeat(3000)).into_iter().skip(1) {
            stored.truncate(stored.len() / 2);
            assert!(decompress(&stored, flags).is_err(), "{flags:#x}");
        }
        assert_eq!(decompress(b"x", COMPRESSED | 0x400), Err("compression type 0x400 is unknown".into()));
    }

    #[test]
    fn a_body_that_inflates_without_end_is_refused() {
        let bomb = zstd::encode_all(io::repeat(0).take(MAX_BODY + 1), 1).unwrap();
        assert_eq!(decompress(&bomb, COMPRESSED | COMPRESSION_ZSTD), Err(format!("zstd: more than {MAX_BODY} bytes")));
    }
}
