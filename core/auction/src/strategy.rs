//! What a seller asks for.

use ohmesh_units::{Energy, Power, Price, Timestamp, round_half_away};
use std::time::Duration;

/// One intent as a seller's strategy sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    /// How much energy is wanted.
    pub energy: Energy,
    /// When charging would start.
    pub start: Timestamp,
    /// The power the outlet would give; more than 0.
    pub power: Power,
    /// Busy outlets of the site in thousandths of all: 0 to 1000.
    pub load_permille: u16,
    /// The highest price a bid may say.
    pub price_cap: Price,
}

/// Decides the price of a bid.
pub trait Strategy {
    /// The price to bid, at most the ask's cap, or `None` to stay out. The bid rounds it up to whole ticks.
    fn price(&self, ask: &Ask) -> Option<Price>;
}

/// Cost plus margin plus load: what the energy costs over the hours it would be charged in, plus a fixed margin, plus a
/// surcharge that grows with how busy the site is. Stays out if that is above the cap; never bids below zero.
///
/// ```
/// use ohmesh_auction::strategy::{Ask, CostPlus, Strategy};
/// use ohmesh_units::{Energy, Power, Price, Timestamp};
/// let cents = |c: i64| Price::from_micro_per_kwh(c * 10_000);
/// let mut cost = [cents(20); 24];
/// cost[1] = cents(30);
/// let seller = CostPlus { cost, margin: cents(8), full_load: cents(10) };
/// let ask = Ask {
///     energy: Energy::from_wh(22_000),
///     start: Timestamp::from_millis(1_800_000), // half past midnight: one hour, half of it in each of two hours
///     power: Power::from_w(22_000),
///     load_permille: 500,
///     price_cap: cents(79),
/// };
/// assert_eq!(seller.price(&ask), Some(cents(25 + 8 + 5)));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CostPlus {
    /// What a kWh costs the seller in each hour of the day, UTC, midnight first.
    pub cost: [Price; 24],
    /// What is added to it.
    pub margin: Price,
    /// What is added when every outlet is busy; in proportion below.
    pub full_load: Price,
}

impl CostPlus {
    /// The mean cost of a kWh when charging at constant power, each hour weighted by the time in it; charging of more
    /// than a week counts as all hours alike. `None` if power is 0.
    pub fn mean_cost(&self, start: Timestamp, energy: Energy, power: Power) -> Option<Price> {
        let per_hour =
            |hour: u64| i128::from(self.cost[usize::try_from(hour % 24).unwrap_or(0)].as_micro_per_kwh());
        let power_w = u64::from(power.as_w());
        let total_ms = (u128::from(energy.as_wh()) * u128::from(HOUR_MS)).checked_div(power_w.into())?;
        let (weighted, total) = if total_ms == 0 {
            (per_hour(start.as_millis() / HOUR_MS), 1)
        } else if total_ms > u128::from(WEEK_MS) {
            ((0..24).map(per_hour).sum(), 24)
        } else {
            let end = start.checked_add(Duration::from_millis(u64::try_from(total_ms).ok()?))?.as_millis();
            let (mut at, mut weighted) = (start.as_millis(), 0);
            // At most 169 turns: a week, and the hour it started in.
            while at < end {
                let next = (at / HOUR_MS).saturating_add(1).saturating_mul(HOUR_MS).min(end);
                weighted += per_hour(at / HOUR_MS) * i128::from(next - at);
                at = next;
            }
            (weighted, i128::try_from(total_ms).ok()?)
        };
        round_half_away(weighted, total).map(Price::from_micro_per_kwh)
    }
}

impl Strategy for CostPlus {
    fn price(&self, ask: &Ask) -> Option<Price> {
        let cost = self.mean_cost(ask.start, ask.energy, ask.power)?;
        let load = i128::from(ask.load_permille.min(1000)) * i128::from(self.full_load.as_micro_per_kwh());
        let price = cost
            .as_micro_per_kwh()
            .checked_add(self.margin.as_micro_per_kwh())?
            .checked_add(round_half_away(load, 1000)?)?
            .max(0);
        Some(Price::from_micro_per_kwh(price)).filter(|price| *price <= ask.price_cap)
    }
}

const HOUR_MS: u64 = 3_600_000;
const WEEK_MS: u64 = 7 * 24 * HOUR_MS;

#[cfg(test)]
mod tests {
    use super::{Ask, CostPlus, Energy, Power, Price, Strategy as _, Timestamp};
    use proptest::prelude::{prop_assert, proptest};

    fn micro(price: i64) -> Price {
        Price::from_micro_per_kwh(price)
    }

    fn ask(start: u64, wh: u64) -> Ask {
        Ask {
            energy: Energy::from_wh(wh),
            start: Timestamp::from_millis(start),
            power: Power::from_w(11_000),
            load_permille: 0,
            price_cap: micro(1_000_000),
        }
    }

    #[test]
    fn stays_out_above_the_cap_and_never_below_zero() {
        let dear = CostPlus { cost: [micro(1_000_001); 24], margin: micro(0), full_load: micro(0) };
        assert_eq!(dear.price(&ask(0, 11_000)), None);
        let negative = CostPlus { cost: [micro(-50_000); 24], margin: micro(10_000), full_load: micro(0) };
        assert_eq!(negative.price(&ask(0, 11_000)), Some(micro(0)));
        let none = Ask { power: Power::from_w(0), ..ask(0, 11_000) };
        assert_eq!(negative.price(&none), None);
        let never = Ask { start: Timestamp::from_millis(u64::MAX), ..ask(0, 11_000) };
        assert_eq!(negative.price(&never), None, "past the end of time");
    }

    proptest! {
        #[test]
        fn mean_is_within_the_table(start in 0..u64::from(u32::MAX) * 1000, wh in 0..5_000_000u64, seed in 1..1000i64) {
            let cost: [Price; 24] = std::array::from_fn(|hour| micro(i64::try_from(hour).unwrap() * seed));
            let seller = CostPlus { cost, margin: micro(0), full_load: micro(0) };
            let mean = seller.mean_cost(Timestamp::from_millis(start), Energy::from_wh(wh), Power::from_w(11_000));
            prop_assert!((micro(0)..=micro(23 * seed)).contains(&mean.unwrap()));
        }
    }
}
