//! Seeded random streams, one per cause, so that a new draw for one cause does not shift another's.

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

/// What [`fnv`] begins with.
pub const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a of 64 bits, gone on with from `hash`: it tells apart what nobody means to confuse.
pub fn fnv<'a>(hash: u64, bytes: impl IntoIterator<Item = &'a u8>) -> u64 {
    bytes.into_iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// A stream of random numbers that belongs to one cause, e.g. `uid` or `demo`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stream(Pcg64Mcg);

impl Stream {
    /// The stream of `cause` under the run's `seed`.
    pub fn new(seed: u64, cause: &str) -> Stream {
        // Any fixed hash does; it only has to keep causes apart.
        Stream(Pcg64Mcg::seed_from_u64(seed ^ fnv(FNV_BASIS, cause.as_bytes())))
    }
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }
    /// A whole number from 0 to `n` − 1; 0 when `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        // The high half of a 128-bit product is uniform to within n / 2⁶⁴.
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }
    /// A number in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
    /// A version 4 UUID, for `metadata.uid`.
    pub fn uid(&mut self) -> String {
        let (a, b) = (self.bits(), self.bits());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            0x8000 | (b >> 48) & 0x3fff,
            b & 0xffff_ffff_ffff
        )
    }
    /// `length` characters as Kubernetes appends to a `generateName`: no vowels, none that look alike.
    pub fn suffix(&mut self, length: usize) -> String {
        const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
        (0..length).map(|_| char::from(ALPHABET[self.below(27) as usize])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_do_not_share() {
        let draw = |seed, cause| Stream::new(seed, cause).uid();
        assert_eq!(draw(1, "uid"), draw(1, "uid"));
        assert_ne!(draw(1, "uid"), draw(1, "demo"));
        assert_ne!(draw(1, "uid"), draw(2, "uid"));
        let mut stream = Stream::new(1, "x");
        assert!((0..1000).all(|_| stream.below(7) < 7 && stream.unit() < 1.0));
    }
}
