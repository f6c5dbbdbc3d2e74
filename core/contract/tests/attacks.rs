//! What a cheat would try on the ledger, each with the refusal or the bill that answers it.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use ohmesh_contract::*;
use ohmesh_units::*;

fn refused_terms(change: impl FnOnce(&mut Terms)) -> TermsError {
    let mut terms = terms();
    change(&mut terms);
    match offer(terms).verify() {
        Err(Refused::Terms { error, .. }) => error,
        other => panic!("expected refused terms, found {other:?}"),
    }
}

#[test]
fn forged_record_of_another_key() {
    for key in [stranger(), seller(), buyer()] {
        let forged = Signed::new(record_body(1, 5_000, MINUTE, true), &key);
        assert_eq!(
            forged.verify(&terms()),
            Err(Refused::Signature { contract: terms().id(), what: "meter record", key: meter().public() })
        );
    }
    let mut changed = Signed::new(record_body(1, 5_000, MINUTE, true), &meter());
    changed.body.energy = wh(6_000);
    assert!(matches!(changed.verify(&terms()), Err(Refused::Signature { .. })));
}

#[test]
fn record_for_another_contract_or_outlet() {
    let another = Terms { number: 78, ..terms() };
    let foreign =
        Signed::new(MeterRecord { contract: another.id(), ..record_body(1, 5_000, MINUTE, true) }, &meter());
    let refused = Refused::AnotherContract { expected: terms().id(), found: another.id() };
    assert_eq!(foreign.clone().verify(&terms()), Err(refused.clone()));
    // Verified under its own terms it still does not settle this contract.
    let foreign = foreign.verify(&another).unwrap();
    assert_eq!(charging().settle(terms().seller, &foreign, None, at(HOUR)), Err(refused));
    let elsewhere =
        Signed::new(MeterRecord { evse: another_evse(), ..record_body(1, 5_000, MINUTE, true) }, &meter());
    assert_eq!(
        elsewhere.verify(&terms()),
        Err(Refused::AnotherEvse { expected: evse(), found: another_evse() })
    );
}

#[test]
fn register_that_does_not_fit() {
    let body = MeterRecord { register_start: wh(u64::MAX), ..record_body(1, 1, MINUTE, true) };
    assert!(matches!(Signed::new(body, &meter()).verify(&terms()), Err(Refused::Register { .. })));
}

/// A buyer that brings an early record would pay for the first minute only.
#[test]
fn older_record_brought_by_the_buyer() {
    let (early, last) = (record(1, 500, 2 * MINUTE, false), record(40, 20_000, 30 * MINUTE, true));
    let mut contract = charging();
    for checkpoint in [None, Some(checkpoint(&early))] {
        assert_eq!(
            contract.settle(terms().buyer, &early, checkpoint.as_ref(), at(HOUR)),
            Err(Refused::SellerOnly { contract: contract.id(), sequence: 1, sender: terms().buyer })
        );
    }
    // Nor may it open a claim with the last record and an old checkpoint.
    assert!(matches!(
        contract.settle(terms().buyer, &last, Some(&checkpoint(&early)), at(HOUR)),
        Err(Refused::SellerOnly { .. })
    ));
    // What both signed as the last, anybody may bring.
    let stranger = AccountId::of(&stranger().public());
    let paid = contract.settle(stranger, &last, Some(&checkpoint(&last)), at(HOUR)).unwrap();
    assert_eq!(paid, Settlement::Paid(Bill::of(&terms(), wh(20_000)).unwrap()));
}

#[test]
fn record_that_contradicts_its_checkpoint() {
    let signed = checkpoint(&record(5, 5_000, 10 * MINUTE, false));
    let other_register =
        MeterRecord { register_start: wh(999_999), ..record_body(6, 6_000, 12 * MINUTE, true) };
    let contradictions = [
        record(4, 6_000, 12 * MINUTE, true),
        record(6, 4_999, 12 * MINUTE, true),
        record(6, 6_000, 9 * MINUTE, true),
        record(5, 5_001, 10 * MINUTE, false),
        Signed::new(other_register, &meter()).verify(&terms()).unwrap(),
    ];
    for record in contradictions {
        let refused = charging().settle(terms().seller, &record, Some(&signed), at(HOUR));
        assert!(matches!(refused, Err(Refused::Contradiction { checkpoint: 5, .. })), "{refused:?}");
    }
    let ended = checkpoint(&record(5, 5_000, 10 * MINUTE, true));
    let after_the_end = record(6, 6_000, 12 * MINUTE, true);
    assert!(matches!(
        charging().settle(terms().seller, &after_the_end, Some(&ended), at(HOUR)),
        Err(Refused::Contradiction { .. })
    ));
}

#[test]
fn forged_checkpoint() {
    let last = record(1, 5_000, 3 * MINUTE, true);
    for key in [seller(), meter(), stranger()] {
        assert_eq!(
            Checkpoint::sign(&last, &key).verify(&terms()),
            Err(Refused::Signature {
                contract: terms().id(),
                what: "contract checkpoint",
                key: buyer().public()
            })
        );
    }
    // A buyer's signature under one record is none under another.
    let moved = Checkpoint {
        record: record(1, 9_000, 3 * MINUTE, true).signed().clone(),
        ..Checkpoint::sign(&last, &buyer())
    };
    assert!(matches!(moved.verify(&terms()), Err(Refused::Signature { .. })));
    // Nor is the meter's own signature a checkpoint of the buyer.
    let reused = Checkpoint { record: last.signed().clone(), signature: last.signed().signature };
    assert!(matches!(reused.verify(&terms()), Err(Refused::Signature { .. })));
}

#[test]
fn energy_over_the_maximum_is_the_sellers_loss() {
    let last = record(1, 31_500, 30 * MINUTE, true);
    let paid = charging().settle(terms().seller, &last, Some(&checkpoint(&last)), at(HOUR)).unwrap();
    let Settlement::Paid(bill) = paid else { panic!("both signed") };
    assert_eq!(bill.energy, wh(30_000));
    assert_eq!((bill.price_total, bill.refund), (micro(11_700_000), Money::ZERO));
    assert_eq!(bill.grid_total, micro(2_700_000));
}

/// A station that forges its own meter gets at most rated power times the time, and only after a day.
#[test]
fn without_checkpoint_energy_is_bounded_by_rated_power() {
    let mut contract = charging();
    // Started at one minute, claimed at three: 150 kW for two minutes are 5 kWh.
    let forged = record(1, 30_000, 3 * MINUTE, true);
    let claim = contract.settle(terms().seller, &forged, None, at(3 * MINUTE)).unwrap();
    let bill = Bill::of(&terms(), wh(5_000)).unwrap();
    let until = at(3 * MINUTE + 24 * HOUR);
    assert_eq!(claim, Settlement::Claimed { bill, until });
    assert_eq!((contract.state(), contract.claim()), (State::Submitted, Some(&bill)));
    assert!(matches!(contract.conclude(at(3 * MINUTE + 24 * HOUR - 1)), Err(Refused::DeadlineAhead { .. })));
    assert!(matches!(contract.expire(until), Err(Refused::Transition { .. })), "a claim is not refunded");
    assert_eq!(contract.conclude(until), Ok(bill));
}

/// The meter's clock is the seller's: a record from the future counts to the block's time only.
#[test]
fn record_from_the_future_counts_up_to_now() {
    let future = record(1, 30_000, 2 * HOUR, true);
    let claim = charging().settle(terms().seller, &future, None, at(3 * MINUTE)).unwrap();
    assert!(matches!(claim, Settlement::Claimed { bill, .. } if bill.energy == wh(5_000)), "{claim:?}");
    // And one from before the start counts for nothing.
    let past = record(1, 30_000, 0, true);
    let claim = charging().settle(terms().seller, &past, None, at(3 * MINUTE)).unwrap();
    assert!(matches!(claim, Settlement::Claimed { bill, .. } if bill.energy == Energy::ZERO), "{claim:?}");
}

#[test]
fn old_checkpoint_bounds_what_follows() {
    // 2 kWh signed at 9 minutes; one minute later at 150 kW at most 2.5 kWh more.
    let signed = checkpoint(&record(3, 2_000, 9 * MINUTE, false));
    let last = record(9, 12_000, 10 * MINUTE, true);
    let claim = charging().settle(terms().seller, &last, Some(&signed), at(11 * MINUTE)).unwrap();
    assert!(matches!(claim, Settlement::Claimed { bill, .. } if bill.energy == wh(4_500)), "{claim:?}");
    // An honest record within the bound is billed as it is.
    let honest = record(9, 3_000, 10 * MINUTE, true);
    let claim = charging().settle(terms().seller, &honest, Some(&signed), at(11 * MINUTE)).unwrap();
    assert!(matches!(claim, Settlement::Claimed { bill, .. } if bill.energy == wh(3_000)), "{claim:?}");
}

#[test]
fn escrow_too_small() {
    assert_eq!(
        refused_terms(|terms| terms.escrow = micro(11_699_999)),
        TermsError::EscrowTooSmall { needed: micro(11_700_000), found: micro(11_699_999) }
    );
    assert!(matches!(refused_terms(|terms| terms.escrow = micro(-1)), TermsError::EscrowTooSmall { .. }));
}

#[test]
fn overflowing_prices() {
    assert_eq!(
        refused_terms(|terms| terms.price = price(i64::MAX)),
        TermsError::Overflow { price: price(i64::MAX), energy: wh(30_000) }
    );
    assert!(matches!(refused_terms(|terms| terms.energy_max = wh(u64::MAX)), TermsError::Overflow { .. }));
}

#[test]
fn prices_that_the_escrow_cannot_secure() {
    assert_eq!(refused_terms(|t| t.price = price(-1)), TermsError::NegativePrice(price(-1)));
    assert_eq!(refused_terms(|t| t.grid.price = price(-1)), TermsError::NegativeTariff(price(-1)));
    assert_eq!(
        refused_terms(|t| t.price = price(89_999)),
        TermsError::PriceBelowTariff { price: price(89_999), tariff: price(90_000) }
    );
}

#[test]
fn free_energy_is_a_contract_where_the_grid_is_free() {
    let mut free = terms();
    (free.price, free.grid.price, free.escrow) = (price(0), price(0), Money::ZERO);
    let bill = Bill::of(agreement(free).terms(), wh(30_000)).unwrap();
    assert_eq!((bill.price_total, bill.grid_total, bill.refund), (Money::ZERO, Money::ZERO, Money::ZERO));
}

#[test]
fn terms_that_are_no_contract() {
    assert_eq!(refused_terms(|t| t.energy_max = Energy::ZERO), TermsError::NoEnergy);
    assert_eq!(refused_terms(|t| t.power_rated = Power::from_w(0)), TermsError::NoPower);
    assert_eq!(refused_terms(|t| t.buyer = t.seller), TermsError::SameAccount(terms().seller));
    assert_eq!(refused_terms(|t| t.buyer_key = t.seller_key), TermsError::SameKey(seller().public()));
    assert_eq!(refused_terms(|t| t.meter_key = t.buyer_key), TermsError::SameKey(buyer().public()));
    for expiry in [0, 15 * MINUTE, 72 * HOUR + 1] {
        assert!(matches!(refused_terms(|t| t.expiry = at(expiry)), TermsError::Duration { .. }));
    }
}

/// Anybody can sign for a key of small order: such a meter would say what anybody likes.
#[test]
fn keys_that_anybody_can_sign_for() {
    let mut identity = [0; 32];
    identity[0] = 1;
    let weak = PublicKey::from_bytes(identity);
    type Change = fn(&mut Terms, PublicKey);
    let changes: [(&str, Change); 3] = [
        ("buyer", |terms, key| terms.buyer_key = key),
        ("seller", |terms, key| terms.seller_key = key),
        ("meter", |terms, key| terms.meter_key = key),
    ];
    for (role, change) in changes {
        let error = KeyError::SmallOrder(weak);
        assert_eq!(refused_terms(|terms| change(terms, weak)), TermsError::Key { role, error });
    }
}

/// A buyer's signature that was made before the seller's is no agreement.
#[test]
fn buyer_that_signs_first() {
    let unsigned = Offer::sign(terms(), EXPORTER, at(2 * MINUTE), &stranger());
    // The buyer signs an offer that the seller has not signed; later the seller's signature is put in.
    let first = Agreement { offer: unsigned, signature: Signature::from_bytes([0; 64]) };
    let domain = first.claims()[1].domain;
    let early = buyer().sign(domain, &first.claims()[1].message);
    let only_terms = buyer().sign(domain, &terms().id().0);
    for signature in [early, only_terms] {
        let agreement = Agreement { offer: offer(terms()), signature };
        assert_eq!(
            agreement.verify(),
            Err(Refused::Signature {
                contract: terms().id(),
                what: "contract agreement",
                key: buyer().public()
            })
        );
    }
    let unsigned = Agreement { signature: early, ..first };
    assert_eq!(
        unsigned.verify(),
        Err(Refused::Signature { contract: terms().id(), what: "contract offer", key: seller().public() }),
        "the buyer's signature is right, the seller's is missing"
    );
}

#[test]
fn offer_whose_time_or_connection_was_changed() {
    let mut longer = offer(terms());
    longer.valid_until = at(HOUR);
    assert!(matches!(longer.verify(), Err(Refused::Signature { what: "contract offer", .. })));
    let mut moved = offer(terms());
    moved.exporter = [0; 32];
    assert!(matches!(moved.verify(), Err(Refused::Signature { what: "contract offer", .. })));
}

#[test]
fn expired_offer_and_wrong_times() {
    let agreed = agreement(terms());
    let valid_until = at(2 * MINUTE);
    assert_eq!(
        Contract::open(&agreed, valid_until),
        Err(Refused::OfferExpired { contract: agreed.id(), valid_until, now: valid_until })
    );
    assert!(Contract::open(&agreed, at(2 * MINUTE - 1)).is_ok());
    let day_before = Timestamp::from_millis(T0 - 24 * HOUR - 1);
    assert!(matches!(Contract::open(&agreed, day_before), Err(Refused::TooFarAhead { .. })));
    let long = Offer::sign(terms(), EXPORTER, at(5 * HOUR), &seller()).verify().unwrap();
    let long = long.agree(&buyer()).verify().unwrap();
    assert!(matches!(Contract::open(&long, at(4 * HOUR - 15 * MINUTE)), Err(Refused::TooLate { .. })));
}

#[test]
fn start_that_names_another_outlet_or_contract_or_key() {
    let elsewhere = Signed::new(Start { evse: another_evse(), ..start_body(MINUTE) }, &buyer());
    assert_eq!(
        elsewhere.verify(&terms()),
        Err(Refused::AnotherEvse { expected: evse(), found: another_evse() })
    );
    let another = Terms { number: 78, ..terms() };
    let foreign = Signed::new(Start { contract: another.id(), ..start_body(MINUTE) }, &buyer());
    let refused = Refused::AnotherContract { expected: terms().id(), found: another.id() };
    assert_eq!(foreign.clone().verify(&terms()), Err(refused.clone()));
    assert_eq!(opened().start(&foreign.verify(&another).unwrap(), at(MINUTE)), Err(refused));
    let forged = Signed::new(start_body(MINUTE), &seller());
    assert!(matches!(forged.verify(&terms()), Err(Refused::Signature { what: "contract start", .. })));
}

#[test]
fn start_at_a_wrong_time() {
    let mut contract = opened();
    let early = Signed::new(Start { at: Timestamp::from_millis(T0 - 1), ..start_body(0) }, &buyer());
    let early = early.verify(&terms()).unwrap();
    assert!(matches!(contract.start(&early, at(MINUTE)), Err(Refused::StartTime { .. })));
    assert!(matches!(contract.start(&start(MINUTE), at(MINUTE - 30_001)), Err(Refused::StartTime { .. })));
    let late = 4 * HOUR - 15 * MINUTE;
    assert!(matches!(contract.start(&start(late), at(late)), Err(Refused::StartTime { .. })));
    assert_eq!(contract, opened(), "a refusal changes nothing");
    assert_eq!(contract.start(&start(MINUTE), at(MINUTE - 30_000)), Ok(()));
    assert!(matches!(contract.start(&start(MINUTE), at(MINUTE)), Err(Refused::Transition { .. })));
}

#[test]
fn seller_settles_after_the_expiry() {
    let mut contract = charging();
    let last = record(1, 10_000, 30 * MINUTE, true);
    let (deadline, state) = (at(4 * HOUR), State::Charging);
    assert_eq!(
        contract.settle(terms().seller, &last, Some(&checkpoint(&last)), deadline),
        Err(Refused::DeadlinePassed { contract: contract.id(), state, deadline, now: deadline })
    );
    assert_eq!(contract.expire(deadline), Ok(micro(11_700_000)));
    assert!(matches!(
        contract.settle(terms().seller, &last, Some(&checkpoint(&last)), deadline),
        Err(Refused::Transition { state: State::Expired, .. })
    ));
}

#[test]
fn buyer_refunds_before_the_expiry() {
    for mut contract in [opened(), charging()] {
        let (deadline, state, now) = (at(4 * HOUR), contract.state(), at(4 * HOUR - 1));
        assert_eq!(
            contract.expire(now),
            Err(Refused::DeadlineAhead { contract: contract.id(), state, deadline, now })
        );
        assert!(matches!(contract.conclude(deadline), Err(Refused::Transition { .. })), "nothing is claimed");
    }
}

#[test]
fn double_settlement() {
    let last = record(1, 10_000, 30 * MINUTE, true);
    let mut contract = charging();
    contract.settle(terms().seller, &last, Some(&checkpoint(&last)), at(HOUR)).unwrap();
    assert_eq!(
        contract.settle(terms().seller, &last, Some(&checkpoint(&last)), at(HOUR)),
        Err(Refused::Transition { contract: contract.id(), state: State::Settled, trigger: Trigger::Stop })
    );
    assert_eq!(contract.locked(), Money::ZERO);
    assert!(contract.expire(at(5 * HOUR)).is_err());
    let mut claimed = charging();
    claimed.settle(terms().seller, &last, None, at(HOUR)).unwrap();
    assert!(claimed.settle(terms().seller, &last, Some(&checkpoint(&last)), at(HOUR)).is_err());
    claimed.conclude(at(25 * HOUR)).unwrap();
    assert!(claimed.conclude(at(25 * HOUR)).is_err(), "a claim is paid once");
}

/// A dispute is the buyer's: nobody else may hold up the seller's money, nor the seller gain a week to lean on a buyer.
#[test]
fn dispute_that_is_not_the_buyers() {
    let mut contract = claimed();
    for sender in [terms().seller, AccountId::of(&stranger().public()), AccountId::of(&buyer().public())] {
        let refused = Refused::BuyerOnly { contract: contract.id(), sender };
        assert_eq!(contract.dispute(sender, at(2 * HOUR)), Err(refused));
    }
    assert_eq!(contract, claimed(), "a refusal changes nothing");
}

#[test]
fn dispute_too_early_too_late_or_twice() {
    let (buyer, mut contract) = (terms().buyer, charging());
    assert!(
        matches!(contract.dispute(buyer, at(HOUR)), Err(Refused::Transition { .. })),
        "nothing is claimed"
    );
    let (state, deadline) = (State::Submitted, at(CLAIM_ENDS));
    assert_eq!(
        claimed().dispute(buyer, deadline),
        Err(Refused::DeadlinePassed { contract: contract.id(), state, deadline, now: deadline })
    );
    assert_eq!(claimed().dispute(buyer, at(CLAIM_ENDS - 1)), Ok(()));
    // Disputing again would hold the money for ever.
    contract = disputed();
    assert!(matches!(contract.dispute(buyer, at(DISPUTE_ENDS - 1)), Err(Refused::Transition { .. })));
    assert_eq!(contract.deadline(), at(DISPUTE_ENDS));
    // Nor does a settlement with a lower or a signed record end the dispute.
    let last = record(40, 20_000, 30 * MINUTE, true);
    let again = contract.settle(terms().seller, &last, Some(&checkpoint(&last)), at(3 * HOUR));
    assert!(matches!(again, Err(Refused::Transition { state: State::Disputed, .. })));
    // A contract that both signed for is paid: there is nothing to dispute.
    let mut paid = charging();
    paid.settle(terms().seller, &last, Some(&checkpoint(&last)), at(HOUR)).unwrap();
    assert!(matches!(paid.dispute(buyer, at(HOUR)), Err(Refused::Transition { state: State::Settled, .. })));
}

#[test]
fn decision_above_the_claim_or_without_a_dispute() {
    let (contract, claimed_energy) = (terms().id(), wh(20_000));
    for found in [wh(20_001), wh(30_000), wh(u64::MAX)] {
        let refused = Refused::ClaimRaised { contract, claimed: claimed_energy, found };
        assert_eq!(disputed().resolve(found, at(3 * HOUR)), Err(refused));
    }
    assert!(matches!(charging().resolve(Energy::ZERO, at(HOUR)), Err(Refused::Transition { .. })));
    assert!(matches!(claimed().resolve(Energy::ZERO, at(2 * HOUR)), Err(Refused::Transition { .. })));
    let mut decided = disputed();
    let bill = Bill::of(&terms(), wh(12_345)).unwrap();
    assert_eq!(decided.resolve(wh(12_345), at(3 * HOUR)), Ok(bill));
    assert_eq!((decided.state(), decided.locked()), (State::Settled, Money::ZERO));
    assert_eq!(decided.claim(), Some(&bill), "what was paid stays readable");
    // Whoever knows the bill knows the end: it does not tell when the dispute began.
    let mut later = claimed();
    later.dispute(terms().buyer, at(5 * HOUR)).unwrap();
    later.resolve(wh(12_345), at(6 * HOUR)).unwrap();
    assert_eq!(later, decided);
    assert!(decided.resolve(wh(12_345), at(3 * HOUR)).is_err(), "once");
    assert!(decided.conclude(at(DISPUTE_ENDS)).is_err(), "and nothing else");
}

/// Arbiters that say nothing, or too late, leave the claim as it was submitted; it is not refunded by the contract's
/// expiry either, which lies in between.
#[test]
fn dispute_that_nobody_decides() {
    let (mut contract, deadline) = (disputed(), at(DISPUTE_ENDS));
    let (state, now) = (State::Disputed, at(DISPUTE_ENDS - 1));
    let ahead = Refused::DeadlineAhead { contract: contract.id(), state, deadline, now };
    assert_eq!(contract.conclude(now), Err(ahead));
    assert!(matches!(contract.expire(deadline), Err(Refused::Transition { state: State::Disputed, .. })));
    let passed = Refused::DeadlinePassed { contract: contract.id(), state, deadline, now: deadline };
    assert_eq!(contract.resolve(Energy::ZERO, deadline), Err(passed));
    assert_eq!(contract.conclude(deadline), Ok(Bill::of(&terms(), wh(20_000)).unwrap()));
    assert_eq!((contract.state(), contract.locked()), (State::Settled, Money::ZERO));
}

/// A seller that corrects itself: down only, by itself only, and without taking the buyer's time to dispute.
#[test]
fn claim_that_is_raised_or_lowered_by_another() {
    let (mut contract, id) = (claimed(), terms().id());
    let (seller, lower) = (terms().seller, wh(15_000));
    for sender in [terms().buyer, AccountId::of(&stranger().public())] {
        let refused = Refused::NotTheClaimant { contract: id, sender };
        assert_eq!(contract.lower(sender, lower, at(2 * HOUR)), Err(refused));
    }
    assert_eq!(contract.lower(seller, lower, at(2 * HOUR)), Ok(()));
    assert_eq!((contract.state(), contract.deadline()), (State::Submitted, at(CLAIM_ENDS)));
    for found in [lower, wh(20_000)] {
        let refused = Refused::ClaimRaised { contract: id, claimed: lower, found };
        assert_eq!(contract.lower(seller, found, at(2 * HOUR)), Err(refused));
    }
    assert_eq!(contract.dispute(terms().buyer, at(CLAIM_ENDS - 1)), Ok(()), "what is left may be disputed");
    assert!(matches!(contract.resolve(wh(15_001), at(CLAIM_ENDS)), Err(Refused::ClaimRaised { .. })));
    assert_eq!(contract.lower(seller, wh(9_000), at(CLAIM_ENDS)), Ok(()));
    let end = CLAIM_ENDS - 1 + 7 * 24 * HOUR;
    assert!(matches!(contract.lower(seller, wh(1), at(end)), Err(Refused::DeadlinePassed { .. })));
    assert_eq!(contract.conclude(at(end)), Ok(Bill::of(&terms(), wh(9_000)).unwrap()));
    assert!(matches!(charging().lower(seller, lower, at(HOUR)), Err(Refused::Transition { .. })));
}

#[test]
fn settlement_without_a_start() {
    let last = record(1, 10_000, 30 * MINUTE, true);
    for checkpoint in [None, Some(checkpoint(&last))] {
        assert!(matches!(
            opened().settle(terms().seller, &last, checkpoint.as_ref(), at(HOUR)),
            Err(Refused::Transition { state: State::Agreed, .. })
        ));
    }
}

#[test]
fn release_is_the_sellers_and_only_before_the_start() {
    let forged = Signed::new(Release { contract: terms().id(), at: at(0) }, &buyer());
    assert!(matches!(forged.verify(&terms()), Err(Refused::Signature { what: "contract release", .. })));
    assert!(matches!(charging().release(&release(), at(HOUR)), Err(Refused::Transition { .. })));
    let mut contract = opened();
    assert_eq!(contract.release(&release(), at(MINUTE)), Ok(micro(11_700_000)));
    assert_eq!((contract.state(), contract.locked()), (State::Void, Money::ZERO));
}

/// One kind of signature is never another: every statement has its own domain.
#[test]
fn signatures_do_not_cross_kinds() {
    let stop = Signed::new(Stop { contract: terms().id(), reason: StopReason::Driver, at: at(0) }, &seller());
    let release = Signed { body: Release { contract: terms().id(), at: at(0) }, signature: stop.signature };
    assert!(matches!(release.verify(&terms()), Err(Refused::Signature { .. })));
    let domains = [Start::DOMAIN, MeterRecord::DOMAIN, Stop::DOMAIN, Release::DOMAIN];
    let [offer, agreement] = agreement(terms()).agreement().claims().map(|claim| claim.domain);
    let [_, checkpoint] =
        Checkpoint::sign(&record(1, 1, 1, true), &buyer()).claims(&terms()).map(|claim| claim.domain);
    let all: Vec<Domain> = domains.into_iter().chain([offer, agreement, checkpoint]).collect();
    for (n, one) in all.iter().enumerate() {
        assert!(all[n + 1..].iter().all(|other| other != one));
    }
}

#[test]
fn a_block_checks_all_signatures_together() {
    let agreed = agreement(terms());
    let signed = checkpoint(&record(1, 10, MINUTE, true)).signed();
    let mut claims: Vec<Claim> = agreed.agreement().claims().into();
    claims.extend(signed.claims(&terms()));
    claims.push(start(MINUTE).signed().claim(buyer().public()));
    let checks: Vec<_> = claims.iter().map(Claim::as_check).collect();
    assert_eq!(verify_batch(&checks), Ok(()));
    assert_eq!(agreed.agreement().clone().verify_after_batch(), Ok(agreed));
    claims[3].signature = claims[2].signature;
    let checks: Vec<_> = claims.iter().map(Claim::as_check).collect();
    assert_eq!(verify_batch(&checks), Err(vec![3]));
}
