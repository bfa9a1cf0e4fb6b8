//! An independent reader of stored messages (commit log records, pull answers), so that a mistake in the product's own
//! codec shows.
//!
//! ```text
//! offset  0     4      8    12        16    20            28               36        40    48         56
//!         size  magic  crc  queue_id  flag  queue_offset  physical_offset  sys_flag  born  born_host  stored …
//! …       64          72               76                 84           88    +body      +1     +topic      +2
//!         store_host  reconsume_times  prepared_offset    body_length  body  topic_len  topic  props_len   props
//! ```

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub queue_id: i32,
    pub queue_offset: i64,
    pub physical_offset: i64,
    /// Who sent it, as the record says.
    pub born_host: std::net::SocketAddr,
    pub body: Vec<u8>,
    pub topic: String,
    pub properties: String,
}

const MAGIC: u32 = 0xDAA3_20A7;
const MAGIC_LONG_TOPIC: u32 = 0xDAA3_20AB;

/// Every record of `bytes`, which must be whole ones.
pub fn decode_all(mut bytes: &[u8]) -> Result<Vec<Record>, String> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let (record, size) = decode(bytes)?;
        records.push(record);
        bytes = &bytes[size..];
    }
    Ok(records)
}

/// The record at the front and its size. Anything but a whole, intact one is an error that says what is wrong.
pub fn decode(bytes: &[u8]) -> Result<(Record, usize), String> {
    let mut at = Reader { bytes, at: 0 };
    let size = at.u32()? as usize;
    if size > bytes.len() {
        return Err(format!("record of {size} bytes, {} there", bytes.len()));
    }
    at.bytes = &bytes[..size];
    let magic = at.u32()?;
    if magic != MAGIC && magic != MAGIC_LONG_TOPIC {
        return Err(format!("magic {magic:08x}"));
    }
    let crc = at.u32()?;
    let queue_id = at.u32()? as i32;
    at.take(4)?;
    let queue_offset = at.u64()? as i64;
    let physical_offset = at.u64()? as i64;
    let sys_flag = at.u32()?;
    at.take(8)?;
    // Flags 0x10 and 0x20: the host is an IPv6 address.
    let born_host = if sys_flag & 0x10 != 0 { at.host::<16>()? } else { at.host::<4>()? };
    at.take(8)?;
    at.take(if sys_flag & 0x20 != 0 { 20 } else { 8 })?;
    at.take(12)?;
    let body_length = at.u32()? as usize;
    let body = at.take(body_length)?.to_vec();
    let actual = crc32fast::hash(&body) & 0x7FFF_FFFF;
    if actual != crc & 0x7FFF_FFFF {
        return Err(format!("at {physical_offset}: body's crc {actual:08x}, stored {crc:08x}"));
    }
    let topic_length = if magic == MAGIC { at.take(1)?[0] as usize } else { at.u16()? as usize };
    let topic = String::from_utf8_lossy(at.take(topic_length)?).into_owned();
    let properties_length = at.u16()? as usize;
    let properties = String::from_utf8_lossy(at.take(properties_length)?).into_owned();
    if at.at != size {
        return Err(format!("at {physical_offset}: size {size}, fields end at {}", at.at));
    }
    Ok((Record { queue_id, queue_offset, physical_offset, born_host, body, topic, properties }, size))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let end = self.at.saturating_add(n);
        let part = self.bytes.get(self.at..end).ok_or(format!(
            "{n} bytes wanted at {}, {} there",
            self.at,
            self.bytes.len()
        ))?;
        self.at = end;
        Ok(part)
    }
    /// An address of `N` bytes, and a port.
    fn host<const N: usize>(&mut self) -> Result<std::net::SocketAddr, String>
    where
        std::net::IpAddr: From<[u8; N]>,
    {
        let ip: [u8; N] = self.take(N)?.try_into().expect("so many bytes");
        let port = u16::try_from(self.u32()?).map_err(|error| format!("born host's port: {error}"))?;
        Ok(std::net::SocketAddr::new(ip.into(), port))
    }
    fn u16(&mut self) -> Result<u16, String> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into().expect("two bytes")))
    }
    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into().expect("four bytes")))
    }
    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_be_bytes(self.take(8)?.try_into().expect("eight bytes")))
    }
}
