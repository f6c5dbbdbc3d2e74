//! What bids are compared by: `price * energy + kappa * distance^2`, an integer below 2^31.
//!
//! Price below 2^16 and energy below 2^14 give less than 2^30. The buyer is within `0..256` and an eligible station
//! within `-256..512` of the frame both ways, so a square distance is at most `2 * 511^2 < 2^19`, and kappa is below
//! 2^11: less than 2^30 again. A detour by road is at most `8 * 65535 < 2^19` square steps. A difference of two
//! scores, or of a score and a 32-bit reserve, is therefore either in `0..2^32` or, taken in the group, nowhere near
//! it.

use crate::{
    group::signed,
    intent::{RoadDetour, Terms},
};
use curve25519_dalek::scalar::Scalar;
use ohmesh_units::{InCell, PriceTick};

/// A score, in units of one price tick for one kWh. Least is best.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Score(pub u32);

impl Score {
    /// The score of `price` at `station` for a buyer at `buyer`; `None` if either is outside its part of the frame.
    pub fn new(terms: &Terms, buyer: InCell, station: InCell, price: PriceTick) -> Option<Self> {
        if !buyer.is_inside() || !station.is_eligible() {
            return None;
        }
        Self::of_squares(terms, buyer.distance_squared(station), price)
    }

    /// The score of `price` at a station whose detour by road is `road`.
    pub fn by_road(terms: &Terms, road: RoadDetour, price: PriceTick) -> Self {
        Self::of_squares(terms, road.squares().into(), price).expect("a road counts less than 2^19 squares")
    }

    fn of_squares(terms: &Terms, squares: u64, price: PriceTick) -> Option<Self> {
        let cost = u64::from(price.0) * u64::from(terms.energy.as_kwh());
        let detour = u64::from(terms.kappa.weight()) * squares;
        u32::try_from(cost + detour).ok().map(Self)
    }
}

/// How often a unit of a road detour counts in a score.
pub(crate) fn road_weight(terms: &Terms) -> Scalar {
    Scalar::from(u32::from(terms.kappa.weight()) * u32::from(RoadDetour::SQUARES))
}

/// The detour to `station` as a linear form over (q, x, y, 1), where `q = x^2 + y^2` for a buyer at `(x, y)`:
/// `kappa * (q - 2ax - 2by + a^2 + b^2)`. The same form over the commitments (Q, X, Y, G) commits to the detour.
pub(crate) fn detour(terms: &Terms, station: InCell) -> [Scalar; 4] {
    let kappa = i64::from(terms.kappa.weight());
    let (a, b) = (i64::from(station.x), i64::from(station.y));
    [kappa, -2 * kappa * a, -2 * kappa * b, kappa * (a * a + b * b)].map(signed)
}
