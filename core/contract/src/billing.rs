//! The bill: one total from one number of watt-hours, never a sum of parts.

use crate::{MeterRecord, Terms, TermsError};
use ohmesh_units::{Canonical, Energy, Money, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a contract costs: `price_total` goes from the escrow to the seller, `grid_total` from the seller to the
/// distributor in the same group, `refund` from the escrow back to the buyer.
///
/// Asserted in every build: `price_total + refund == escrow`, nothing is negative, `grid_total <= price_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bill {
    /// The energy that is paid for: at most the contract's.
    pub energy: Energy,
    /// Price times energy, rounded once; at most the escrow.
    pub price_total: Money,
    /// Grid tariff times the same energy, rounded once; the seller's to pay out of `price_total`.
    pub grid_total: Money,
    /// The rest of the escrow.
    pub refund: Money,
}

impl Bill {
    /// The bill of `energy` under `terms`; energy above the contract's is the seller's loss.
    ///
    /// Refuses terms whose prices are negative, whose price is below the tariff, or whose totals do not fit.
    ///
    /// ```
    /// use ohmesh_contract::{Bill, GridTariff, Terms};
    /// use ohmesh_units::*;
    /// let key = |n| SigningKey::from_seed([n; 32]).public();
    /// let terms = Terms {
    ///     zone: ZoneId([0; 32]),
    ///     auction: AuctionId([0; 32]),
    ///     buyer: AccountId::of(&key(1)),
    ///     buyer_key: key(1),
    ///     seller: AccountId::of(&key(2)),
    ///     seller_key: key(2),
    ///     evse: EvseId([0; 32]),
    ///     meter_key: key(3),
    ///     price: Price::from_micro_per_kwh(390_000),
    ///     energy_max: Energy::from_wh(30_000),
    ///     power_rated: Power::from_w(150_000),
    ///     grid: GridTariff { version: 1, price: Price::from_micro_per_kwh(90_000) },
    ///     escrow: Money::from_micro(11_700_000),
    ///     not_before: Timestamp::from_millis(0),
    ///     expiry: Timestamp::from_millis(7_200_000),
    ///     number: 0,
    /// };
    /// let bill = Bill::of(&terms, Energy::from_wh(10_000)).unwrap();
    /// assert_eq!(bill.price_total, Money::from_micro(3_900_000));
    /// assert_eq!(bill.grid_total, Money::from_micro(900_000));
    /// assert_eq!(bill.refund, Money::from_micro(7_800_000));
    /// ```
    pub fn of(terms: &Terms, energy: Energy) -> Result<Self, TermsError> {
        terms.check_prices()?;
        if terms.escrow.is_negative() {
            return Err(TermsError::EscrowTooSmall { needed: Money::ZERO, found: terms.escrow });
        }
        let energy = energy.min(terms.energy_max);
        let price_total = terms.cost(terms.price, energy)?.min(terms.escrow);
        // Capped with the proceeds: the escrow of verified terms covers both in full, so that the cap never bites.
        let grid_total = terms.cost(terms.grid.price, energy)?.min(price_total);
        let refund = terms
            .escrow
            .checked_sub(price_total)
            .expect("0 <= price_total <= escrow, so the difference fits");
        let bill = Self { energy, price_total, grid_total, refund };
        bill.assert_conserves(terms);
        Ok(bill)
    }

    /// I1 for one contract: what leaves the escrow is the escrow.
    fn assert_conserves(&self, terms: &Terms) {
        assert_eq!(
            self.price_total.checked_add(self.refund),
            Some(terms.escrow),
            "I1: paid + refund == escrow"
        );
        assert!(!self.price_total.is_negative() && !self.refund.is_negative(), "I2: no negative leg");
        assert!(
            !self.grid_total.is_negative() && self.grid_total <= self.price_total,
            "I7: proceeds cover the grid"
        );
        assert!(self.energy <= terms.energy_max, "I10: Wh sold <= Wh contracted");
    }
}

impl Canonical for Bill {
    const NAME: &'static str = "bill";
    const MAX_BYTES: usize = 41;
}

/// The most energy that `record` can bill, given what the buyer signed: the checkpoint's energy (none: zero) plus
/// rated power times the time since then (none: since the start). A record's time counts at most up to `now`,
/// because the meter's clock is the seller's.
pub(crate) fn energy_billable(
    terms: &Terms,
    start: Timestamp,
    record: &MeterRecord,
    checkpoint: Option<&MeterRecord>,
    now: Timestamp,
) -> Energy {
    let (signed, from) = checkpoint.map_or((Energy::ZERO, start), |c| (c.energy, c.at));
    let elapsed = record.at.min(now).since(from).unwrap_or(Duration::ZERO);
    let bound = signed.checked_add(terms.power_rated.times(elapsed)).unwrap_or(terms.energy_max);
    record.energy.min(bound)
}

/// Whether a record's energy is more than the outlet could have delivered since the start, by the buyer's clock.
pub(crate) fn exceeds_rated_power(
    terms: &Terms,
    started: Timestamp,
    record: &MeterRecord,
    now: Timestamp,
) -> bool {
    let elapsed = now.since(started).unwrap_or(Duration::ZERO);
    let possible = terms.power_rated.times(elapsed);
    record.energy.as_wh().saturating_sub(possible.as_wh()) > tolerance_wh(possible)
}

/// What two honest meters may differ by at `energy`, in Wh.
pub(crate) fn tolerance_wh(energy: Energy) -> u64 {
    energy.as_wh() / 100 * METER_TOLERANCE_PERCENT + METER_TOLERANCE.as_wh()
}

/// What two meters may differ by, in percent.
pub const METER_TOLERANCE_PERCENT: u64 = 2;

/// What two meters may differ by beside the percentage: their resolution and the time between two readings.
pub const METER_TOLERANCE: Energy = Energy::from_wh(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GridTariff, SETTLE_MARGIN};
    use ohmesh_units::{AccountId, AuctionId, EvseId, Power, Price, SigningKey, ZoneId};
    use proptest::prelude::*;

    fn terms(price: i64, tariff: i64, energy_max: u64, escrow: i64) -> Terms {
        let key = |n| SigningKey::from_seed([n; 32]).public();
        Terms {
            zone: ZoneId([0; 32]),
            auction: AuctionId([0; 32]),
            buyer: AccountId::of(&key(1)),
            buyer_key: key(1),
            seller: AccountId::of(&key(2)),
            seller_key: key(2),
            evse: EvseId([0; 32]),
            meter_key: key(3),
            price: Price::from_micro_per_kwh(price),
            energy_max: Energy::from_wh(energy_max),
            power_rated: Power::from_w(50_000),
            grid: GridTariff { version: 1, price: Price::from_micro_per_kwh(tariff) },
            escrow: Money::from_micro(escrow),
            not_before: Timestamp::EPOCH,
            expiry: Timestamp::EPOCH.checked_add(2 * SETTLE_MARGIN).unwrap(),
            number: 0,
        }
    }

    #[test]
    fn the_total_is_rounded_once() {
        // 0.0015 a kWh: 1 Wh costs 1.5 micro, so ten words of 1 Wh would sum to 20, and 10 Wh cost 15.
        let terms = terms(1_500, 0, 100, 1_000);
        let words: i64 =
            (0..10).map(|_| Bill::of(&terms, Energy::from_wh(1)).unwrap().price_total.as_micro()).sum();
        assert_eq!(words, 20);
        assert_eq!(Bill::of(&terms, Energy::from_wh(10)).unwrap().price_total, Money::from_micro(15));
    }

    #[test]
    fn negative_prices_and_overflow_are_refused() {
        let bill =
            |price, tariff, wh, escrow| Bill::of(&terms(price, tariff, wh, escrow), Energy::from_wh(wh));
        let price = Price::from_micro_per_kwh;
        assert_eq!(bill(-1, 0, 10, 10), Err(TermsError::NegativePrice(price(-1))));
        assert_eq!(bill(1, -1, 10, 10), Err(TermsError::NegativeTariff(price(-1))));
        assert_eq!(
            bill(1, 2, 10, 10),
            Err(TermsError::PriceBelowTariff { price: price(1), tariff: price(2) })
        );
        let energy = Energy::from_wh(2_000);
        assert_eq!(
            bill(i64::MAX, 0, 2_000, 10),
            Err(TermsError::Overflow { price: price(i64::MAX), energy }),
            "i64::MAX micro a kWh for 2 kWh"
        );
        assert!(matches!(bill(1, 0, 10, -1), Err(TermsError::EscrowTooSmall { .. })));
    }

    proptest! {
        #[test]
        fn every_bill_conserves_the_escrow(
            (price, tariff) in (0..i64::MAX, 0..i64::MAX),
            (energy_max, energy) in (0..2_000u64, 0..2_000u64),
            escrow in 0..i64::MAX,
        ) {
            let terms = terms(price.max(tariff), price.min(tariff), energy_max, escrow);
            match Bill::of(&terms, Energy::from_wh(energy)) {
                Ok(bill) => {
                    prop_assert_eq!(bill.price_total.checked_add(bill.refund), Some(terms.escrow));
                    prop_assert!(bill.grid_total <= bill.price_total && bill.energy <= terms.energy_max);
                }
                Err(error) => {
                    let is_overflow = matches!(error, TermsError::Overflow { .. });
                    prop_assert!(is_overflow && energy.min(energy_max) > 1_000, "{error}");
                }
            }
        }

        /// Under terms that can be a contract no cap bites: the legs are exactly price and tariff times Wh (I7).
        #[test]
        fn legs_of_verified_terms_are_exact(
            (price, tariff) in (0..5_000_000i64, 0..5_000_000i64),
            (energy_max, energy) in (1..500_000u64, 0..1_000_000u64),
            spare in 0..1_000_000i64,
        ) {
            let (tariff, price) = (tariff.min(price), tariff.max(price));
            let needed = terms(price, tariff, energy_max, 0)
                .cost(Price::from_micro_per_kwh(price), Energy::from_wh(energy_max))
                .unwrap();
            let terms = terms(price, tariff, energy_max, needed.as_micro() + spare);
            prop_assert_eq!(terms.check(), Ok(()));
            let bill = Bill::of(&terms, Energy::from_wh(energy)).unwrap();
            let sold = Energy::from_wh(energy.min(energy_max));
            prop_assert_eq!(bill.energy, sold);
            prop_assert_eq!(Some(bill.price_total), terms.price.times(sold));
            prop_assert_eq!(Some(bill.grid_total), terms.grid.price.times(sold));
        }

        /// More energy never costs less.
        #[test]
        fn bills_are_monotone(a in 0..200_000u64, b in 0..200_000u64) {
            let terms = terms(333_333, 77_777, 150_000, 60_000_000);
            let (a, b) = (a.min(b), a.max(b));
            let (a, b) =
                (Bill::of(&terms, Energy::from_wh(a)).unwrap(), Bill::of(&terms, Energy::from_wh(b)).unwrap());
            prop_assert!(a.price_total <= b.price_total && a.refund >= b.refund);
        }
    }
}
