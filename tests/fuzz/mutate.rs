//! From bytes that mean something to bytes that almost do: what libFuzzer does, without its eyes.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

/// Numbers at which lengths, offsets and ids go wrong.
const EDGES: [i64; 14] =
    [0, 1, -1, 2, 7, 127, 255, 256, 65_535, i32::MAX as i64, i32::MIN as i64, u32::MAX as i64, i64::MAX, i64::MIN];
const LONGEST: usize = 64 * 1024;

pub struct Mutator {
    random: Xoshiro256PlusPlus,
}

impl Mutator {
    pub fn new(seed: u64) -> Mutator {
        Mutator { random: Xoshiro256PlusPlus::seed_from_u64(seed) }
    }

    /// One of the corpus with a few changes, some of them from another one.
    pub fn next(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(4) {
            let other = &corpus[self.below(corpus.len())];
            self.change(&mut bytes, other);
        }
        bytes.truncate(LONGEST);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(bytes.len() + 1);
        let to = at + self.below((bytes.len() - at).min(64) + 1);
        match self.below(10) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..to)),
            2 => {
                let copied = bytes[at..to].to_vec();
                bytes.splice(at..at, copied);
            }
            3 => {
                let from = self.below(other.len() + 1);
                let until = from + self.below((other.len() - from).min(256) + 1);
                bytes.splice(at..to, other[from..until].iter().copied());
            }
            4 => drop(bytes.splice(at..at, [self.random.next_u32() as u8])),
            5 => self.number_in_text(bytes, at),
            6 | 7 => {
                let edge = EDGES[self.below(EDGES.len())].to_be_bytes();
                let width = [1, 2, 4, 8][self.below(4)];
                self.overwrite(bytes, at, &edge[8 - width..]);
            }
            _ if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            _ => {}
        }
    }

    fn overwrite(&self, bytes: &mut [u8], at: usize, with: &[u8]) {
        let end = (at + with.len()).min(bytes.len());
        bytes[at..end].copy_from_slice(&with[..end - at]);
    }

    /// The next run of digits becomes another number.
    fn number_in_text(&mut self, bytes: &mut Vec<u8>, at: usize) {
        let Some(start) = (at..bytes.len()).find(|it| bytes[*it].is_ascii_digit()) else { return };
        let end = (start..bytes.len()).find(|it| !bytes[*it].is_ascii_digit()).unwrap_or(bytes.len());
        let number = EDGES[self.below(EDGES.len())].to_string();
        bytes.splice(start..end, number.into_bytes());
    }

    fn below(&mut self, end: usize) -> usize {
        (self.random.next_u64() % end.max(1) as u64) as usize
    }
}
