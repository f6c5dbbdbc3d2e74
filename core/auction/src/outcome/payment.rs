//! What the winner of a second-score auction is paid, and the price the contract makes of it.

use crate::{intent::Terms, seal::Sealed};
use ohmesh_units::{Price, StationId, round_half_away};
use serde::{Deserialize, Serialize};

/// The winner of a second-score auction and its pay. What the winner bid stays sealed.
///
/// The *second score* is the least of the other bids' scores, the reserve, and the winner's own score had it bid the
/// price cap. The winner's pay for the whole energy of the intent is the second score less the winner's detour,
/// rounded up to whole [`Payment::STEP`]s, but never more than the cap: all of it in score units, ticks times kWh.
/// Nothing in it depends on the winner's own bid, so bidding what one needs is a bidder's best strategy.
///
/// An auction fixes a price, not a sum: the contract pays [`Payment::price`] for every kWh that flows. Whoever
/// delivers a part is paid that part; the detour, which nobody is paid for, does not shrink with it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Payment {
    /// Position of the winning bid in ledger order.
    pub bid: u16,
    /// Whose bid it is.
    pub station: StationId,
    /// The pay in steps, before the cap is applied.
    pub steps: u16,
    /// For the winner's eyes; the proof covers it, so only the buyer can have put it there.
    pub award: Sealed,
}

impl Payment {
    /// Score units to one step. The remainder that is rounded away hides how near the second score was; the seller
    /// has it.
    pub const STEP: u32 = 1 << 14;

    /// The fewest steps that pay `units`; `None` if 16 bits cannot say it, which no pay within a cap needs.
    pub(super) fn steps_for(units: u32) -> Option<u16> {
        u16::try_from(units.div_ceil(Self::STEP)).ok()
    }

    /// The pay before the cap is applied, in score units.
    pub(super) fn stepped(&self) -> u32 {
        u32::from(self.steps) * Self::STEP
    }

    /// The pay for the whole energy of the intent, in score units: the steps, or the cap if that is less.
    pub fn units(&self, terms: &Terms) -> u32 {
        self.stepped().min(cap_units(terms))
    }

    /// The price the contract pays for each kWh: the pay divided by the energy, in micro-units, by the one rounding
    /// rule.
    ///
    /// For the whole energy that is the pay to within half a micro-unit a kWh, in whoever's favour it falls. It is
    /// never below what the winner bid nor above the cap, because both are whole micro-units.
    pub fn price(&self, terms: &Terms) -> Price {
        let total = i128::from(self.units(terms)) * i128::from(terms.tick.as_micro_per_kwh());
        let price = round_half_away(total, terms.energy.as_kwh().into());
        Price::from_micro_per_kwh(price.expect("energy is at least 1 kWh, and a price at the cap fits"))
    }
}

/// What the price cap comes to for the whole energy, in score units: below 2^30.
pub(super) fn cap_units(terms: &Terms) -> u32 {
    u32::from(u16::MAX) * u32::from(terms.energy.as_kwh())
}
