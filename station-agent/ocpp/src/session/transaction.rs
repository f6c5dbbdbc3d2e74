//! One charging transaction, and the rule by which meter readings become billed energy.
//!
//! | reading | billed energy |
//! |---|---|
//! | below the start register | stays as it was |
//! | below the reading before | stays as it was |
//! | up to rated power x elapsed time | register - start |
//! | up to twice that (a meter that runs hot, a rating that was rounded) | rated power x elapsed time |
//! | beyond, and the first reading | the start register was wrong (a charger that began offline with 0): count from the EVSE's register before the transaction if that is plausible, else from this reading |
//! | beyond, later | stays as it was |
//!
//! So billed energy never falls and never passes rated power x elapsed time, whatever a charger says.

use super::{Epoch, Oddity, TransactionKey};
use ohmesh_units::{Energy, Power, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How far a start's time may lie behind its arrival to count as heard live.
const LIVE_WITHIN: Duration = Duration::from_secs(120);

/// How many times rated power x elapsed time a reading may be before it counts as nonsense instead of as too much.
const NONSENSE_FACTOR: u64 = 2;

/// An open charging transaction. Store it, and hand it back with [`Charger::adopt`](super::Charger::adopt) after a
/// restart.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Transaction {
    /// Its id.
    pub key: TransactionKey,
    /// Where it runs.
    pub evse: u16,
    /// Who charges, at most 255 characters of it.
    pub token: Option<String>,
    /// Whether a grant covers it.
    pub authorized: bool,
    /// When it began, by the charger.
    pub claimed_start: Option<Timestamp>,
    /// When its start was heard.
    pub heard_start: Timestamp,
    /// The earliest moment that energy can have flowed.
    pub floor: Timestamp,
    /// The register at the start as reported.
    pub reported_start: Option<Energy>,
    /// The register that energy is counted from, once known.
    pub start: Option<Energy>,
    /// The EVSE's register before the transaction, if known.
    pub known_before: Option<Energy>,
    /// Energy billed so far.
    pub energy: Energy,
    /// How many readings were taken in.
    pub readings: u32,
    /// The newest message number (2.0.1).
    pub sequence: Option<i64>,
    /// The connection on which its start was heard live; none after a restart.
    #[serde(skip)]
    pub(super) live: Option<Epoch>,
    /// Since when its EVSE says it is free.
    #[serde(skip)]
    pub(super) free_since: Option<Timestamp>,
}

impl Transaction {
    /// Takes in a register reading and returns the billed energy. `epoch` is the connection it came on, `claimed` its
    /// time by the charger.
    pub(super) fn measure(
        &mut self,
        register: Energy,
        rated: Power,
        now: Timestamp,
        claimed: Option<Timestamp>,
        epoch: Epoch,
        odd: &mut Vec<Oddity>,
    ) -> Energy {
        let allowed = rated.times(self.elapsed(now, claimed, epoch));
        let first = self.readings == 0;
        self.readings = self.readings.saturating_add(1);
        let Some(start) = self.start else {
            self.start = Some(self.plausible_before(register, allowed).unwrap_or(register));
            return self.measured(register, allowed, odd);
        };
        let Some(energy) = register.checked_sub(start) else {
            odd.push(Oddity::BelowStart { start, register });
            return self.energy;
        };
        let nonsense = energy.as_wh() > allowed.as_wh().saturating_mul(NONSENSE_FACTOR);
        if nonsense && first {
            let replacement = self.plausible_before(register, allowed).unwrap_or(register);
            odd.push(Oddity::Implausible { energy, allowed });
            odd.push(Oddity::StartReplaced { from: start, to: replacement });
            self.start = Some(replacement);
        } else if nonsense {
            odd.push(Oddity::Implausible { energy, allowed });
            return self.energy;
        }
        self.measured(register, allowed, odd)
    }

    fn measured(&mut self, register: Energy, allowed: Energy, odd: &mut Vec<Oddity>) -> Energy {
        let energy = self.start.and_then(|start| register.checked_sub(start)).unwrap_or_default();
        if energy < self.energy {
            odd.push(Oddity::WentBack { from: self.energy, to: energy });
        } else if energy > allowed {
            odd.push(Oddity::AboveRated { energy, allowed });
            self.energy = self.energy.max(allowed);
        } else {
            self.energy = energy;
        }
        self.energy
    }

    /// The EVSE's register before the transaction, if this reading can have come from there in the time.
    fn plausible_before(&self, register: Energy, allowed: Energy) -> Option<Energy> {
        self.known_before
            .filter(|before| register.checked_sub(*before).is_some_and(|energy| energy <= allowed))
    }

    /// How long energy can have flowed until a reading. A start and a reading that were both heard live are timed by this
    /// side's clock. What was kept offline is timed by the difference of the charger's own times, which its clock's error
    /// does not touch, but never longer than this side's clock allows.
    fn elapsed(&self, now: Timestamp, claimed: Option<Timestamp>, epoch: Epoch) -> Duration {
        let most = now.since(self.floor).unwrap_or_default();
        if self.live == Some(epoch) {
            return most;
        }
        let own = self.claimed_start.zip(claimed).and_then(|(start, at)| at.since(start));
        own.map_or(most, |own| own.min(most))
    }
}

/// Whether a start was heard at the time it happened.
pub(super) fn heard_live(now: Timestamp, claimed: Option<Timestamp>) -> bool {
    claimed.is_some_and(|claimed| now.since(claimed).is_none_or(|late| late <= LIVE_WITHIN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATED: Power = Power::from_w(11_000);
    const EPOCH: Epoch = Epoch(1);

    fn begun(start: Option<u64>, before: Option<u64>) -> Transaction {
        Transaction {
            key: TransactionKey("1".into()),
            evse: 1,
            token: None,
            authorized: true,
            claimed_start: Some(Timestamp::EPOCH),
            heard_start: Timestamp::EPOCH,
            floor: Timestamp::EPOCH,
            reported_start: start.map(Energy::from_wh),
            start: start.map(Energy::from_wh),
            known_before: before.map(Energy::from_wh),
            energy: Energy::ZERO,
            readings: 0,
            sequence: None,
            live: Some(EPOCH),
            free_since: None,
        }
    }

    /// Billed energies of readings (minute, register).
    fn bill(transaction: &mut Transaction, readings: &[(u64, u64)]) -> Vec<u64> {
        readings
            .iter()
            .map(|&(minute, register)| {
                let at = Timestamp::from_millis(minute * 60_000);
                let register = Energy::from_wh(register);
                transaction.measure(register, RATED, at, Some(at), EPOCH, &mut Vec::new()).as_wh()
            })
            .collect()
    }

    #[test]
    fn an_offline_start_at_zero_is_not_billed_for_the_meters_whole_life() {
        // 910 kWh on the meter, 83 Wh in five minutes: with and without a register known before.
        assert_eq!(bill(&mut begun(Some(0), Some(910_000)), &[(5, 910_083)]), [83]);
        assert_eq!(bill(&mut begun(Some(0), None), &[(5, 910_083)]), [0]);
        assert_eq!(bill(&mut begun(Some(0), None), &[(1, 910_010), (5, 910_083)]), [0, 73]);
    }

    #[test]
    fn a_session_register_in_the_middle_of_a_lifetime_register_bills_the_end() {
        assert_eq!(bill(&mut begun(Some(910_000), None), &[(2, 40), (5, 83), (5, 910_083)]), [0, 0, 83]);
    }

    #[test]
    fn a_stop_below_the_start_bills_nothing() {
        let mut transaction = begun(Some(5000), None);
        let mut odd = Vec::new();
        let at = Timestamp::from_millis(60_000);
        assert_eq!(
            transaction.measure(Energy::from_wh(4999), RATED, at, Some(at), EPOCH, &mut odd),
            Energy::ZERO
        );
        assert!(matches!(odd[..], [Oddity::BelowStart { .. }]));
    }

    #[test]
    fn readings_above_the_rating_are_cut_and_nonsense_is_ignored() {
        // 11 kW for an hour is 11,000 Wh.
        assert_eq!(
            bill(&mut begun(Some(0), None), &[(30, 5000), (60, 11_300), (61, 9_000_000)]),
            [5000, 11_000, 11_000]
        );
        assert_eq!(bill(&mut begun(Some(0), None), &[(30, 5000), (60, u64::MAX)]), [5000, 5000]);
    }

    #[test]
    fn what_was_kept_offline_is_timed_by_the_chargers_own_clock() {
        let mut transaction = begun(Some(0), None);
        transaction.live = None;
        let (day_later, five_minutes) = (Timestamp::from_millis(86_400_000), Timestamp::from_millis(300_000));
        let mut odd = Vec::new();
        let register = Energy::from_wh(1000);
        let billed = transaction.measure(register, RATED, day_later, Some(five_minutes), EPOCH, &mut odd);
        assert_eq!((billed.as_wh(), odd.len()), (916, 1));
    }

    proptest! {
        #[test]
        fn never_falls_and_never_passes_rated_power_times_time(
            start in prop::option::of(any::<u64>()),
            before in prop::option::of(any::<u64>()),
            live in any::<bool>(),
            readings in prop::collection::vec((0..10_000_000_u64, any::<u64>(), 0..20_000_u64, prop::option::of(any::<u64>())), 0..20),
        ) {
            let mut transaction = begun(start, before);
            transaction.live = live.then_some(EPOCH);
            let mut now = 0;
            let mut last = Energy::ZERO;
            for (step, wild, tame, claimed) in readings {
                now += step;
                let at = Timestamp::from_millis(now);
                let register = if wild % 3 == 0 { wild } else { start.unwrap_or(0).saturating_add(tame) };
                let claimed = claimed.map(Timestamp::from_millis);
                let billed = transaction.measure(Energy::from_wh(register), RATED, at, claimed, EPOCH, &mut Vec::new());
                prop_assert!(billed >= last);
                prop_assert!(billed <= RATED.times(Duration::from_millis(now)));
                last = billed;
            }
        }
    }
}
