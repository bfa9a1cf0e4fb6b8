//! Several messages of one topic in one send request (`MessageDecoder#encodeMessages`).
//!
//! ```text
//! offset  0     4      8        12    16          20
//!         size  magic  bodyCRC  flag  n  body …   p    properties …
//!         i32   0      0        i32   i32 n bytes i16  p bytes
//! ```
//! Repeated to the end of the body, without a count.

use bytes::{Buf, Bytes};

/// One message of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchMessage {
    pub flag: i32,
    pub body: Bytes,
    /// `name \x01 value \x02 …`.
    pub properties: String,
}

/// Everything but body and properties.
const FIXED: usize = 4 * 5 + 2;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("batch at {at}: {what} needs {need} bytes, {have} left")]
    Short { at: usize, what: &'static str, need: i64, have: usize },
    #[error("batch at {at}: message of {size} bytes whose parts take {parts}")]
    Size { at: usize, size: i32, parts: usize },
    #[error("batch at {at}: properties are not UTF-8")]
    Text { at: usize },
    #[error("properties of {0} bytes: want at most 32767")]
    Properties(usize),
}

pub fn encode(messages: &[BatchMessage]) -> Result<Vec<u8>, BatchError> {
    let size = |it: &BatchMessage| FIXED + it.body.len() + it.properties.len();
    let mut out = Vec::with_capacity(messages.iter().map(size).sum());
    for message in messages {
        let properties = message.properties.len();
        let length = i16::try_from(properties).map_err(|_| BatchError::Properties(properties))?;
        out.extend_from_slice(&(size(message) as i32).to_be_bytes());
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&message.flag.to_be_bytes());
        out.extend_from_slice(&(message.body.len() as i32).to_be_bytes());
        out.extend_from_slice(&message.body);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(message.properties.as_bytes());
    }
    Ok(out)
}

/// Bodies share `batch`'s memory.
pub fn decode(batch: &Bytes) -> Result<Vec<BatchMessage>, BatchError> {
    let mut input = Input { at: 0, total: batch.len(), rest: batch.clone() };
    let mut messages = Vec::new();
    while !input.rest.is_empty() {
        messages.push(decode_one(&mut input)?);
    }
    Ok(messages)
}

fn decode_one(input: &mut Input) -> Result<BatchMessage, BatchError> {
    input.at = input.total - input.rest.len();
    let size = input.take("size", 4)?.get_i32();
    input.take("magic and crc", 8)?;
    let flag = input.take("flag", 4)?.get_i32();
    let length = input.take("body length", 4)?.get_i32();
    let body = input.take("body", length as i64)?;
    let length = input.take("properties length", 2)?.get_i16();
    let properties = input.take("properties", length as i64)?;
    let parts = FIXED + body.len() + properties.len();
    if i64::from(size) != parts as i64 {
        return Err(BatchError::Size { at: input.at, size, parts });
    }
    let properties = std::str::from_utf8(&properties).map_err(|_| BatchError::Text { at: input.at })?.to_owned();
    Ok(BatchMessage { flag, body, properties })
}

struct Input {
    /// Where the current message begins.
    at: usize,
    total: usize,
    rest: Bytes,
}

impl Input {
    fn take(&mut self, what: &'static str, need: i64) -> Result<Bytes, BatchError> {
        let have = self.rest.len();
        match usize::try_from(need) {
            Ok(size) if size <= have => Ok(self.rest.split_to(size)),
            _ => Err(BatchError::Short { at: self.at, what, need, have }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(flag: i32, body: &'static str, properties: &str) -> BatchMessage {
        BatchMessage { flag, body: Bytes::from_static(body.as_bytes()), properties: properties.to_owned() }
    }

    #[test]
    fn a_batch_has_java_s_bytes() {
        let bytes = encode(&[message(7, "ab", "K\u{1}v\u{2}")]).unwrap();
        let want = [&[0, 0, 0, 28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 2][..], b"ab", &[0, 4], b"K\x01v\x02"]
            .concat();
        assert_eq!(bytes, want);
    }

    #[test]
    fn a_batch_that_is_cut_or_lies_about_its_size_is_refused() {
        let good = encode(&[message(0, "a", ""), message(0, "b", "p")]).unwrap();
        let cut = Bytes::copy_from_slice(&good[..good.len() - 1]);
        assert_eq!(decode(&cut), Err(BatchError::Short { at: 23, what: "properties", need: 1, have: 0 }));
        let mut lie = good.clone();
        lie[3] += 1;
        assert_eq!(decode(&lie.into()), Err(BatchError::Size { at: 0, size: 24, parts: 23 }));
        let mut negative = good;
        negative[16] = 0x80;
        assert!(matches!(decode(&negative.into()), Err(BatchError::Short { what: "body", .. })));
        let long = BatchMessage { properties: "x".repeat(32768), ..Default::default() };
        assert_eq!(encode(&[long]), Err(BatchError::Properties(32768)));
    }

    proptest! {
        #[test]
        fn batches_survive(parts in prop::collection::vec((any::<i32>(), prop::collection::vec(any::<u8>(), 0..40), ".{0,20}"), 0..5)) {
            let messages: Vec<_> = parts
                .into_iter()
                .map(|(flag, body, properties)| BatchMessage { flag, body: body.into(), properties })
                .collect();
            prop_assert_eq!(decode(&encode(&messages).unwrap().into()).unwrap(), messages);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&bytes.into());
        }
    }
}
