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
    senders: [AccountId; 3],
    energies: Vec<Energy>,
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
        let senders = [terms().seller, terms().buyer, AccountId::of(&stranger().public())];
        // Around the claims that the records above make: nothing, 700 Wh and 29 kWh.
        let energies = [0, 699, 700, 701, 28_999, 29_000, 29_001, u64::MAX].map(wh).into();
        Self { starts, settlements, release: release(), senders, energies }
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
        for sender in self.senders {
            run(&|contract| contract.dispute(sender, now).map(|()| Moved::Nothing));
            for energy in &self.energies {
                run(&|contract| contract.lower(sender, *energy, now).map(|()| Moved::Nothing));
            }
        }
        for energy in &self.energies {
            run(&|contract| contract.resolve(*energy, now).map(bill));
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
    let (day, week) = (24 * HOUR, 7 * 24 * HOUR);
    let submitted = [0, MINUTE, HOUR, 3 * HOUR, expiry - 15 * MINUTE, expiry - 1, expiry];
    let disputed = [HOUR + day - 1, HOUR + day, expiry - 1 + day, expiry + day];
    let decided = [HOUR + week - 1, HOUR + week, HOUR + day + week - 1, expiry + day + week];
    let times = [&submitted[..], &disputed, &decided].concat();
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
            assert_forward(&contract, &next);
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
    let expected =
        [State::Charging, State::Submitted, State::Disputed, State::Settled, State::Expired, State::Void];
    assert_eq!(ends, BTreeSet::from(expected), "explored {} states", seen.len());
    assert!(seen.len() > 100, "only {} states were explored", seen.len());
}

/// I5: only forward; a lower claim, which keeps the state, is less of the same. A claim never grows.
fn assert_forward(contract: &Contract, next: &Contract) {
    let energy = |contract: &Contract| contract.claim().map(|claim| claim.energy);
    if next.state() == contract.state() {
        assert!(
            energy(next) < energy(contract) && next.deadline() == contract.deadline(),
            "I5: a lower claim"
        );
    } else {
        assert!(next.state().rank() > contract.state().rank(), "I5: only forward");
        assert!(contract.claim().is_none() || energy(next) <= energy(contract), "nothing above the claim");
    }
}

/// Who may move a claim when, to what: each side of every rule, in both states and on both sides of the deadline.
#[test]
fn every_way_to_end_a_claim() {
    let inputs = Inputs::all();
    let claim = claimed().claim().unwrap().energy;
    let lowered = {
        let mut contract = disputed();
        contract.lower(terms().seller, wh(700), at(3 * HOUR)).unwrap();
        contract
    };
    for contract in [claimed(), disputed(), lowered] {
        let (state, deadline) = (contract.state(), contract.deadline());
        let most = contract.claim().unwrap().energy;
        for (now, is_over) in [(at(4 * HOUR), false), (before(deadline), false), (deadline, true)] {
            for sender in inputs.senders {
                let mut next = contract.clone();
                let may = !is_over && state == State::Submitted && sender == terms().buyer;
                assert_eq!(next.dispute(sender, now).is_ok(), may, "{state:?} {now} {sender}");
                if may {
                    let until = now.checked_add(DISPUTE_WINDOW).unwrap();
                    assert_eq!((next.state(), next.deadline()), (State::Disputed, until));
                    assert_eq!(next.claim(), contract.claim(), "disputed as submitted");
                }
            }
            for energy in inputs.energies.iter().copied().chain([most, wh(most.as_wh() - 1)]) {
                let mut next = contract.clone();
                let may = !is_over && state == State::Disputed && energy <= most;
                let bill = Bill::of(&terms(), energy).unwrap();
                assert_eq!(next.resolve(energy, now).ok(), may.then_some(bill), "{state:?} {now} {energy}");
                assert_eq!(next.locked() == Money::ZERO, may, "the escrow leaves with the decision");
                for sender in inputs.senders {
                    let mut next = contract.clone();
                    let may = !is_over && sender == terms().seller && energy < most;
                    assert_eq!(next.lower(sender, energy, now).is_ok(), may, "{state:?} {now} {energy}");
                    let left = if may { &bill } else { contract.claim().unwrap() };
                    assert_eq!((next.state(), next.deadline(), next.claim()), (state, deadline, Some(left)));
                    assert_eq!(
                        next.conclude(deadline.max(now)).as_ref(),
                        Ok(left),
                        "what is left is paid in time"
                    );
                }
            }
            assert_eq!(contract.clone().conclude(now).ok(), is_over.then(|| *contract.claim().unwrap()));
            assert!(contract.clone().expire(now).is_err(), "a claim is not refunded");
        }
        assert!(most <= claim);
    }
}

fn before(deadline: Timestamp) -> Timestamp {
    Timestamp::from_millis(deadline.as_millis() - 1)
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
