//! The public half of an intent: what is wanted, by when, under which rules.

use crate::outcome::Payment;
use ohmesh_units::{Area, Energy, Money, Power, Price, PriceTick, PublicKey, TickSize, Timestamp, ZoneId};
use serde::{Deserialize, Serialize};

/// Everything about an intent that all may read.
///
/// Area, connectors, power and renewable share are hard filters: the ledger refuses the bid of a station whose
/// registry record does not meet them. They are not part of the score.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Terms {
    /// The zone whose ledger holds the auction.
    pub zone: ZoneId,
    /// The epoch whose key seals the bids.
    pub key_epoch: u64,
    /// The cell the buyer is in; it holds at least 20 stations.
    pub area: Area,
    /// How much energy is wanted.
    pub energy: EnergyKwh,
    /// Bids count if the block that holds them has an earlier time; releases start after it.
    pub deadline: Timestamp,
    /// Blocks that must follow the intent's before the deadline counts as reached, so that proposers with more than a
    /// third of the stake had a turn to include a bid.
    pub blocks_min: u16,
    /// What a detour weighs against money.
    pub kappa: Kappa,
    /// The least renewable share of the energy.
    pub renewable_min: Percent,
    /// Connectors of which the station must have at least one.
    pub connectors: Connectors,
    /// The least power the outlet must give.
    pub power_min: Power,
    /// The size of a price tick; fixes the price cap, see [`Terms::price_cap`].
    pub tick: TickSize,
    /// What the winner is paid.
    pub pricing: Pricing,
    /// How the winner is chosen.
    pub choice: Choice,
    /// The buyer's one-time signing key.
    pub buyer: PublicKey,
}

impl Terms {
    /// The highest price a bid can say: 65,535 ticks. The range proof of every bid is the proof that it keeps the cap.
    /// A buyer that wishes for a cap takes `TickSize::for_cap(wish)`; this is the wish rounded up to whole ticks.
    pub fn price_cap(&self) -> Price {
        self.tick.price(PriceTick(u16::MAX))
    }

    /// Whether bidding is over in a block of this time, this many blocks after the intent's own.
    pub fn is_due(&self, block_time: Timestamp, blocks_since_intent: u64) -> bool {
        block_time >= self.deadline && blocks_since_intent >= u64::from(self.blocks_min)
    }

    /// The reserve that is worth at most `money` in all, detour included: money in whole score units, rounded down.
    /// Second-score pricing rounds what is paid up and the price to micro-units, so there it leaves room for both.
    /// `None` if it is negative or 32 bits cannot say it. A score unit is one tick for one kWh.
    pub fn reserve_of(&self, money: Money) -> Option<Reserve> {
        let (room_units, room_micro) = match self.pricing {
            Pricing::FirstPrice => (0, 0),
            Pricing::SecondScore => (i64::from(Payment::STEP) - 1, i64::from(self.energy.as_kwh()) / 2),
        };
        let spendable = money.as_micro().checked_sub(room_micro).filter(|micro| *micro >= 0)?;
        let units = spendable / i64::from(self.tick.as_micro_per_kwh()) - room_units;
        u32::try_from(units).ok().map(Reserve)
    }
}

/// Whole kilowatt-hours, 1 to 16,383: with a 16-bit price the product stays below 2^30.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct EnergyKwh(u16);

/// A number is outside the range of its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found} is no {what}: {allowed}")]
pub struct TermError {
    what: &'static str,
    allowed: &'static str,
    found: u64,
}

impl EnergyKwh {
    /// Kilowatt-hours.
    pub fn as_kwh(self) -> u16 {
        self.0
    }

    /// The same in watt-hours.
    pub fn energy(self) -> Energy {
        Energy::from_wh(u64::from(self.0) * 1000)
    }

    /// The auctionable energy that is exactly `energy`; refused if that is no whole number of kWh, or out of range.
    pub fn exactly(energy: Energy) -> Result<Self, TermError> {
        let wh = energy.as_wh();
        let kwh = if wh.is_multiple_of(1000) { wh / 1000 } else { 0 };
        u16::try_from(kwh).ok().and_then(|kwh| Self::try_from(kwh).ok()).ok_or(TermError {
            what: "auctionable energy",
            allowed: "1 to 16383 whole kWh",
            found: wh,
        })
    }
}

impl TryFrom<u16> for EnergyKwh {
    type Error = TermError;

    fn try_from(kwh: u16) -> Result<Self, TermError> {
        let error =
            TermError { what: "auctionable energy", allowed: "1 to 16383 whole kWh", found: kwh.into() };
        if (1..1 << 14).contains(&kwh) { Ok(Self(kwh)) } else { Err(error) }
    }
}

impl From<EnergyKwh> for u16 {
    fn from(energy: EnergyKwh) -> Self {
        energy.0
    }
}

/// What a detour weighs: one of 8 steps, so that the value tells little about the buyer.
///
/// The score counts `weight * distance^2`, the distance in steps of the area's frame (tens of metres), in score units.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Kappa(u8);

impl Kappa {
    /// A detour costs nothing: step 0.
    pub const NONE: Self = Self(0);

    /// Score units for one square step: 0, 1, 4, 16, 64, 256, 1024 or 2047.
    pub fn weight(self) -> u16 {
        KAPPA_WEIGHTS[usize::from(self.0)]
    }
}

impl TryFrom<u8> for Kappa {
    type Error = TermError;

    fn try_from(step: u8) -> Result<Self, TermError> {
        if usize::from(step) < KAPPA_WEIGHTS.len() {
            Ok(Self(step))
        } else {
            Err(TermError { what: "detour weight", allowed: "steps 0 to 7", found: step.into() })
        }
    }
}

impl From<Kappa> for u8 {
    fn from(kappa: Kappa) -> Self {
        kappa.0
    }
}

/// Each below 2^11.
const KAPPA_WEIGHTS: [u16; 8] = [0, 1, 4, 16, 64, 256, 1024, 2047];

/// A share in percent, 0 to 100.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Percent(u8);

impl Percent {
    /// The number, 0 to 100.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Percent {
    type Error = TermError;

    fn try_from(percent: u8) -> Result<Self, TermError> {
        let error = TermError { what: "percentage", allowed: "0 to 100", found: percent.into() };
        if percent <= 100 { Ok(Self(percent)) } else { Err(error) }
    }
}

impl From<Percent> for u8 {
    fn from(percent: Percent) -> Self {
        percent.0
    }
}

/// A set of connector types, one bit each as the registry numbers them; not empty.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Connectors(u16);

impl Connectors {
    /// The bits.
    pub fn bits(self) -> u16 {
        self.0
    }

    /// Whether a station with `offered` has at least one of these.
    pub fn any_of(self, offered: Self) -> bool {
        self.0 & offered.0 != 0
    }
}

impl TryFrom<u16> for Connectors {
    type Error = TermError;

    fn try_from(bits: u16) -> Result<Self, TermError> {
        let error = TermError { what: "set of connectors", allowed: "at least one bit", found: bits.into() };
        if bits != 0 { Ok(Self(bits)) } else { Err(error) }
    }
}

impl From<Connectors> for u16 {
    fn from(connectors: Connectors) -> Self {
        connectors.0
    }
}

/// What the winner is paid; the first price by default. The order of variants is the wire format: only append.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Pricing {
    /// The winner is paid the price it bid.
    #[default]
    FirstPrice,
    /// The winner is paid what it could have asked and still won, rounded up to [`Payment::STEP`]. Only where the
    /// best is promised. It tells losing bidders far more about the buyer's position than a first price does: off by
    /// default.
    SecondScore,
}

/// How the winner is chosen, fixed before the first bid. The order of variants is the wire format: only append.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Choice {
    /// The bid of least score within the reserve wins, and the outcome proves it.
    BestProvable,
    /// The buyer picks any bid; the outcome is marked so and proves only the price.
    OwnChoice,
    /// As [`Choice::BestProvable`], with detours by road: those of the table that the intent commits to. A station
    /// that is not in the table counts by its straight line.
    BestByRoad,
}

impl Choice {
    /// Whether the outcome proves that the winner is the best.
    pub fn promises_best(self) -> bool {
        match self {
            Self::BestProvable | Self::BestByRoad => true,
            Self::OwnChoice => false,
        }
    }
}

/// The most a buyer would spend, in score units, detour included. Secret: the intent holds a commitment to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reserve(pub u32);

impl std::fmt::Debug for Reserve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reserve(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_at_their_edges() {
        assert!(EnergyKwh::try_from(0).is_err() && EnergyKwh::try_from(16_384).is_err());
        assert_eq!(EnergyKwh::exactly(Energy::from_wh(16_383_000)).unwrap().as_kwh(), 16_383);
        assert!(EnergyKwh::exactly(Energy::from_wh(1_500)).is_err(), "exact or refused");
        assert!(Kappa::try_from(8).is_err());
        assert!((0..8).all(|step| Kappa::try_from(step).unwrap().weight() < 1 << 11));
        assert!(Percent::try_from(101).is_err());
        assert!(Connectors::try_from(0).is_err());
        assert_eq!(format!("{:?}", Reserve(7)), "Reserve(..)");
    }
}
