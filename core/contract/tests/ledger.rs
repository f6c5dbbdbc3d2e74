//! The ledger's contract, explored breadth first: every input at every state at every time that matters.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use ohmesh_contract::*;
use ohmesh_units::*;
use std::collections::BTreeSet;

/// What one input did with the escrow.
enum Moved {
    Nothing,
    Out { paid: Money, back: Money },
}

struct Inputs {
    starts: Vec<VerifiedStart>,
    settlements: Vec<(AccountId, VerifiedRecord, Option<VerifiedCheckpoint>)>,
    release: VerifiedRelease,
}

impl Inputs {
    fn all() -> Self {
        let starts = [0, MINUTE, 3 * HOUR].into_iter().map(start).collect();
        let early = record(1, 700, 2 * MINUTE, false);
        let records = [
            early.clone(),
            record(9, 29_000, HOUR, false),
            record(9, 29_000, HOUR, true),
            record(2, 0, MINUTE, true),
        ];
        let mut settlements = Vec::new();
        for sender in [terms().seller, terms().buyer] {
            for record in &records {
                for signed in [None, Some(checkpoint(&early)), Some(checkpoint(record))] {
                    settlements.push((sender, record.clone(), signed));
                }
            }
        }
        Self { starts, settlements, release: release() }
    }

    /// Every result of every input on `contract` at `now`.
    fn apply(&self, contract: &Contract, now: Timestamp) -> Vec<(Contract, Result<Moved, Refused>)> {
        let mut results = Vec::new();
        let mut run = |apply: &dyn Fn(&mut Contract) -> Result<Moved, Refused>| {
            let mut contract = contract.clone();
            let result = apply(&mut contract);
            results.push((contract, result));
        };
        let bill = |bill: Bill| Moved::Out { paid: bill.price_total, back: bill.refund };
        let refund = |back: Money| Moved::Out { paid: Money::ZERO, back };
        for start in &self.starts {
            run(&|contract| contract.start(start, now).map(|()| Moved::Nothing));
        }
        for (sender, record, signed) in &self.settlements {
            run(&|contract| {
                contract.settle(*sender, record, signed.as_ref(), now).map(|settlement| match settlement {
                    Settlement::Paid(paid) => bill(paid),
                    Settlement::Claimed { .. } => Moved::Nothing,
                })
            });
        }
        run(&|contract| contract.release(&self.release, now).map(refund));
        run(&|contract| contract.expire(now).map(refund));
        run(&|contract| contract.conclude(now).map(bill));
        results
    }
}

#[test]
fn every_input_at_every_state_and_time() {
    let inputs = Inputs::all();
    let expiry = 4 * HOUR;
    let times = [0, MINUTE, HOUR, 3 * HOUR, expiry - 15 * MINUTE, expiry - 1, expiry, 25 * HOUR, 29 * HOUR];
    let mut seen = BTreeSet::new();
    let mut queue = vec![(opened(), 0)];
    let mut ends = BTreeSet::new();
    while let Some((contract, time)) = queue.pop() {
        if !seen.insert((contract.encode(), time)) {
            continue;
        }
        if time + 1 < times.len() {
            queue.push((contract.clone(), time + 1));
        }
        for (next, result) in inputs.apply(&contract, at(times[time])) {
            let Ok(moved) = result else {
                assert_eq!(next, contract, "a refusal changes nothing");
                continue;
            };
            assert!(!contract.state().is_terminal(), "I5: nothing follows an end");
            assert!(next.state().rank() > contract.state().rank(), "I5: only forward");
            match moved {
                Moved::Nothing => assert_eq!(next.locked(), terms().escrow),
                Moved::Out { paid, back } => {
                    assert_eq!(paid.checked_add(back), Some(terms().escrow), "I1: the escrow, whole, once");
                    assert!(next.state().is_terminal() && next.locked() == Money::ZERO, "I4: and it ends");
                }
            }
            ends.insert(next.state());
            queue.push((next, time));
        }
        if time + 1 == times.len() && !contract.state().is_terminal() {
            let (mut a, mut b) = (contract.clone(), contract.clone());
            let now = at(times[time]);
            assert!(a.expire(now).is_ok() != b.conclude(now).is_ok(), "waiting ends every contract, one way");
        }
    }
    let expected = [State::Charging, State::Submitted, State::Settled, State::Expired, State::Void];
    assert_eq!(ends, BTreeSet::from(expected), "explored {} states", seen.len());
    assert!(seen.len() > 100, "only {} states were explored", seen.len());
}

#[test]
fn a_sale_by_the_book() {
    let mut contract = opened();
    assert_eq!((contract.state(), contract.locked()), (State::Agreed, micro(11_700_000)));
    contract.start(&start(MINUTE), at(MINUTE)).unwrap();
    assert_eq!(contract.started(), Some(at(MINUTE)));
    let last = record(12, 12_345, 30 * MINUTE, true);
    let paid = contract.settle(terms().seller, &last, Some(&checkpoint(&last)), at(31 * MINUTE)).unwrap();
    let Settlement::Paid(bill) = paid else { panic!("both signed") };
    assert_eq!(
        (bill.energy, bill.price_total, bill.grid_total, bill.refund),
        (wh(12_345), micro(4_814_550), micro(1_111_050), micro(6_885_450))
    );
    assert_eq!(contract.state(), State::Settled);
    assert_eq!(Contract::decode(&contract.encode()).unwrap(), contract);
}

/// A charger that dies leaves no final record: the seller settles with the last one it has.
#[test]
fn the_seller_settles_with_a_record_that_is_not_final() {
    let mut contract = charging();
    let last = record(7, 4_000, 20 * MINUTE, false);
    let paid = contract.settle(terms().seller, &last, Some(&checkpoint(&last)), at(HOUR)).unwrap();
    assert!(matches!(paid, Settlement::Paid(bill) if bill.energy == wh(4_000)));
}
