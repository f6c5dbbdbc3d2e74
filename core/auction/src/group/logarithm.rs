//! The logarithm of a point that hides 16 bits: baby steps, giant steps (Shanks 1971), 1,024 by 64.

use super::{G, times_g};
use curve25519_dalek::{ristretto::RistrettoPoint, scalar::Scalar, traits::Identity};
use ohmesh_units::PriceTick;
use std::sync::OnceLock;

/// The price that `point = price * G` hides, or `None` if it is none of 0 to 65,535.
/// About 64 point additions; the table of 8 KB and 64 points is built once.
pub(crate) fn price_of_point(point: &RistrettoPoint) -> Option<PriceTick> {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(Table::new).find(point).map(PriceTick)
}

struct Table {
    /// First 4 bytes of the encoding of `2i * G`, and `i`; sorted.
    baby: Vec<(u32, u16)>,
    /// `k * BABY_STEPS * G`.
    giant: Vec<RistrettoPoint>,
}

impl Table {
    fn new() -> Self {
        let multiples = |step: RistrettoPoint, count: u16| {
            std::iter::successors(Some(RistrettoPoint::identity()), |point| Some(point + step))
                .take(usize::from(count))
                .collect::<Vec<RistrettoPoint>>()
        };
        let babies = RistrettoPoint::double_and_compress_batch(&multiples(G, BABY_STEPS));
        let mut baby: Vec<(u32, u16)> = babies.iter().map(|p| prefix(p.as_bytes())).zip(0..).collect();
        baby.sort_unstable();
        let giant = multiples(times_g(&Scalar::from(BABY_STEPS)), GIANT_STEPS);
        Self { baby, giant }
    }

    fn find(&self, point: &RistrettoPoint) -> Option<u16> {
        let shifted: Vec<RistrettoPoint> = self.giant.iter().map(|giant| point - giant).collect();
        // Doubling first lets the whole batch be encoded with one inversion; the table holds doubles too.
        let encoded = RistrettoPoint::double_and_compress_batch(&shifted);
        encoded.iter().zip(0..GIANT_STEPS).find_map(|(bytes, k)| {
            let wanted = prefix(bytes.as_bytes());
            let from = self.baby.partition_point(|(prefix, _)| *prefix < wanted);
            self.baby[from..]
                .iter()
                .take_while(|(prefix, _)| *prefix == wanted)
                .map(|(_, i)| k * BABY_STEPS + i)
                .find(|value| times_g(&Scalar::from(*value)) == *point)
        })
    }
}

fn prefix(bytes: &[u8; 32]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

const BABY_STEPS: u16 = 1024;
/// With [`BABY_STEPS`]: 65,536 values.
const GIANT_STEPS: u16 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bits_and_no_more() {
        for value in [0u32, 1, 2, 1023, 1024, 1025, 40_000, 65_534, 65_535] {
            let found = price_of_point(&times_g(&Scalar::from(value)));
            assert_eq!(found.map(|tick| u32::from(tick.0)), Some(value));
        }
        assert_eq!(price_of_point(&times_g(&Scalar::from(65_536u32))), None);
        assert_eq!(price_of_point(&times_g(&-Scalar::ONE)), None);
        assert_eq!(price_of_point(&crate::group::base_a().point()), None);
    }
}
