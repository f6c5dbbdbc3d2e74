//! What no block that executes can hold, and what the ledger might say otherwise: each is found here too.

use super::*;
use ohmesh_auction::{
    award::Award as Rendezvous,
    bid::Bid,
    intent::{Choice, Connectors, EnergyKwh, Intent, Kappa, Percent, Pricing, Reserve, Terms},
    key::{EpochKey, solo},
    outcome::{Decision, Offer},
    release::Release,
    seal::SealSecret,
};
use ohmesh_contract::{GridTariff, Terms as ContractTerms};
use ohmesh_ledger::{Auction, Bidder, Deposits};
use ohmesh_units::{
    AccountId, ContractId, Energy, EvseId, Hash, Money, Power, Price, PriceTick, SigningKey, TickSize, ZoneId,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

const ZONE: ZoneId = ZoneId([9; 32]);
const DEADLINE: u64 = 1_000_000;

fn station(n: u8) -> StationId {
    StationId([n; 32])
}

fn ledgered<T>(height: u64, time: u64, message: T) -> Ledgered<T> {
    Ledgered { height, time: Timestamp::from_millis(time), message }
}

fn terms() -> Terms {
    Terms {
        zone: ZONE,
        key_epoch: 0,
        area: "85283473fffffff".parse().unwrap(),
        energy: EnergyKwh::try_from(40).unwrap(),
        deadline: Timestamp::from_millis(DEADLINE),
        blocks_min: 3,
        kappa: Kappa::try_from(2).unwrap(),
        renewable_min: Percent::default(),
        connectors: Connectors::try_from(1).unwrap(),
        power_min: Power::from_w(11_000),
        tick: TickSize::for_cap(Price::from_micro_per_kwh(650_000)).unwrap(),
        pricing: Pricing::FirstPrice,
        choice: Choice::BestProvable,
        buyer: SigningKey::from_seed([5; 32]).public(),
    }
}

/// An auction of three bids that station 2 wins: opened at height 10, bids at 11 to 13, deadline, then release and outcome
/// at 14 and 15.
fn sold() -> Trail {
    let rng = &mut ChaCha20Rng::from_seed([3; 32]);
    let (key, shares) = solo(ZONE, 0, ValidatorIndex(0), rng);
    let (intent, secret) =
        Intent::create(terms(), InCell { x: 120, y: 77 }, Reserve(u32::MAX), &key, rng).unwrap();
    let verified = intent.verify(&key).unwrap();
    let at = InCell { x: 100, y: 90 };
    let mut sealed = |n, ticks| Bid::create(&verified, &key, station(n), PriceTick(ticks), rng).unwrap();
    let bids = [sealed(1, 30_000), sealed(2, 20_000), sealed(3, 25_000)];
    let counted: Vec<LedgeredBid> = bids.iter().map(|bid| bid.verify(&verified, &key, at).unwrap()).collect();
    let release = Release::create(&shares, &key, &verified, &counted, rng).unwrap();
    let released = release.verify(&key, &verified, &counted).unwrap();
    let opening = Opening::combine(&key, &verified, &counted, &[released]).unwrap();
    let best = Offer::open(&verified, &secret, &counted, &opening).unwrap()[0];
    let award = Rendezvous::new(b"bay 3", rng).unwrap();
    let award = award.seal(&verified, station(2), &SealSecret::from_seed(&[7; 32]).public(), rng).unwrap();
    let outcome =
        Outcome::create(&key, &verified, &secret, &counted, &opening, Some((&best, award)), rng).unwrap();
    let auction = Auction {
        intent: verified,
        buyer: AccountId([1; 32]),
        height: 10,
        bidders: counted.iter().map(|_| bidder()).collect(),
        bids: counted,
        deposits: Deposits::NONE,
        no_shows: Vec::new(),
        releases: Vec::new(),
        opening: Some(opening),
        award: Some(awarded(&outcome)),
        deadline: Timestamp::from_millis(2 * DEADLINE),
        halted_ms: 0,
    };
    let positions = auction.bids.iter().map(|bid| (bid.station, bid.position)).collect();
    let bids = (11..).zip(bids).map(|(height, bid)| ledgered(height, DEADLINE - 100 + height, bid));
    Trail {
        id: intent.id(),
        buyer: AccountId([1; 32]),
        intent: ledgered(10, DEADLINE - 100, intent),
        bids: bids.collect(),
        releases: vec![ledgered(14, DEADLINE, release)],
        outcome: Some(ledgered(15, DEADLINE + 1, outcome)),
        earlier: Vec::new(),
        positions,
        contract: None,
        key: Some(key),
        auction: Some(auction),
        end: None,
    }
}

fn awarded(outcome: &Outcome) -> Award {
    Award {
        bid: 1,
        station: station(2),
        seller: AccountId([2; 32]),
        price: terms().tick.price(PriceTick(20_000)),
        outcome: outcome.hash(),
        is_proven_best: true,
        sealed: outcome.decision.win().unwrap().award.clone(),
        is_accepted: false,
        demand: None,
    }
}

fn bidder() -> Bidder {
    Bidder { account: AccountId([2; 32]), award_key: SealSecret::from_seed(&[7; 32]).public() }
}

fn contract(price: Price) -> ContractTerms {
    let key = SigningKey::from_seed([5; 32]).public();
    ContractTerms {
        zone: ZONE,
        auction: sold().id,
        buyer: AccountId([1; 32]),
        buyer_key: key,
        seller: AccountId([2; 32]),
        seller_key: key,
        evse: EvseId::of(&station(2), 1),
        meter_key: key,
        price,
        energy_max: Energy::from_wh(40_000),
        power_rated: Power::from_w(11_000),
        grid: GridTariff { version: 0, price: Price::from_micro_per_kwh(1) },
        escrow: Money::from_micro(1),
        not_before: Timestamp::from_millis(DEADLINE),
        expiry: Timestamp::from_millis(2 * DEADLINE),
        number: 1,
    }
}

/// The height and the reason of what is wrong after an edit.
fn wrong(edit: impl FnOnce(&mut Trail)) -> (u64, String) {
    let mut trail = sold();
    edit(&mut trail);
    let bad = recount(&trail).bad.expect("something is wrong");
    (bad.height, bad.reason)
}

fn of_ledger(trail: &mut Trail) -> &mut Auction {
    trail.auction.as_mut().unwrap()
}

#[test]
fn bids_that_come_late_or_twice_are_left_out_and_change_nothing() {
    let mut trail = sold();
    let again = trail.bids[0].message.clone();
    trail.bids.insert(1, ledgered(11, DEADLINE - 89, again.clone()));
    trail.bids.push(ledgered(14, DEADLINE, copied(&again, 4)));
    trail.bids.push(ledgered(13, DEADLINE - 1, copied(&again, 5)));
    let found = recount(&trail);
    assert!(found.bad.is_none());
    assert!(matches!(found.verdict, Some(Verdict::Won { bid: 1, station: won, .. }) if won == station(2)));
    assert_eq!(found.bids.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 2, 3]);
    let left_out: Vec<_> = found.left_out.iter().map(|one| (one.station, &one.why[..])).collect();
    let late = "its block is of 1970-01-01T00:16:40.000Z, at or after the deadline";
    let unknown = "the ledger knows of no such bid";
    let twice = "the station had bid before";
    assert_eq!(left_out, [(station(1), twice), (station(4), late), (station(5), unknown)]);
}

#[test]
fn a_ledger_that_counts_other_bids_is_found() {
    let counts_others = |edit: fn(&mut Trail)| {
        let (height, reason) = wrong(edit);
        assert!(reason.contains("bids count by their proofs, and the ledger counts"), "{reason}");
        height
    };
    assert_eq!(counts_others(|trail| of_ledger(trail).bids.swap(0, 2)), 13);
    assert_eq!(counts_others(|trail| drop(trail.bids.pop())), 12);
    assert_eq!(counts_others(|trail| trail.bids.swap(0, 1)), 13);
    // A bid with another's proofs counts for nothing, whatever the ledger says.
    assert_eq!(counts_others(|trail| trail.bids[1].message = copied(&trail.bids[0].message, 2)), 13);
}

/// A bid under another station's name.
fn copied(bid: &Bid, n: u8) -> Bid {
    let mut copy = bid.clone();
    copy.station = station(n);
    copy
}

/// The winner did not come, and the ledger struck its bid out; then the next best, of those that are left.
#[test]
fn winners_that_did_not_come_are_struck_out() {
    let mut trail = sold();
    let struck = |trail: &mut Trail, at: usize| {
        let auction = of_ledger(trail);
        let bid = auction.bids.remove(at);
        auction.no_shows.push(bid.station);
        auction.award = None;
    };
    struck(&mut trail, 1);
    let found = recount(&trail);
    assert!(found.bad.is_none() && found.verdict.is_none() && found.bids.len() == 3);
    // The same outcome again, as if it were one over the bids that are left.
    let again = trail.outcome.take().unwrap();
    trail.earlier.push(ledgered(15, DEADLINE + 1, again.message.clone()));
    trail.outcome = Some(ledgered(16, DEADLINE + 2, again.message));
    let found = recount(&trail).bad.unwrap();
    assert_eq!(found.height, 16);
    assert!(found.reason.starts_with("outcome: "), "{}", found.reason);

    let reason = |(_, reason): (u64, String)| reason;
    let had_not_won = "which had not won";
    assert!(reason(wrong(|trail| struck(trail, 0))).contains(had_not_won));
    let both = |trail: &mut Trail| [1, 0].iter().for_each(|at| struck(trail, *at));
    assert!(reason(wrong(both)).contains(had_not_won));
}

#[test]
fn messages_out_of_their_time_or_without_their_proofs_are_found() {
    let early = "before bidding is over";
    let cases: [Case; 8] = [
        (|trail| trail.key = None, 10, "the ledger has no key of epoch 0"),
        (|trail| trail.key = Some(another_key()), 10, "intent: "),
        (|trail| trail.intent.message.terms.blocks_min = 4, 10, "intent: "),
        (|trail| trail.releases[0].time = Timestamp::from_millis(DEADLINE - 1), 14, early),
        (|trail| trail.releases[0].message.validator = ValidatorIndex(1), 14, "release: "),
        (|trail| trail.outcome.as_mut().unwrap().height = 12, 12, early),
        (|trail| trail.releases.clear(), 15, "the outcome came before the shares"),
        (cheaper, 15, "outcome: "),
    ];
    for (edit, height, reason) in cases {
        let found = wrong(edit);
        assert_eq!(found.0, height, "{found:?}");
        assert!(found.1.contains(reason), "{found:?}");
    }
}

/// An edit, and the height and reason of what is then wrong.
type Case = (fn(&mut Trail), u64, &'static str);

fn another_key() -> EpochKey {
    solo(ZONE, 0, ValidatorIndex(0), &mut ChaCha20Rng::from_seed([4; 32])).0
}

fn cheaper(trail: &mut Trail) {
    let outcome = &mut trail.outcome.as_mut().unwrap().message;
    let Decision::Best(win) = &mut outcome.decision else { panic!("the best was promised") };
    win.price.0 -= 1;
}

#[test]
fn a_ledger_that_names_another_winner_or_price_is_found() {
    let price = Price::from_micro_per_kwh(1);
    let cases: [fn(&mut Trail); 9] = [
        |trail| of_ledger(trail).award.as_mut().unwrap().bid = 0,
        |trail| of_ledger(trail).award.as_mut().unwrap().station = station(1),
        |trail| of_ledger(trail).award.as_mut().unwrap().price = Price::from_micro_per_kwh(1),
        |trail| of_ledger(trail).award.as_mut().unwrap().outcome = Hash::ZERO,
        |trail| of_ledger(trail).award.as_mut().unwrap().is_proven_best = false,
        |trail| of_ledger(trail).award = None,
        |trail| trail.end = Some(End::NobodyEligible),
        |trail| trail.contract = Some(contract(Price::from_micro_per_kwh(1))),
        |trail| {
            (of_ledger(trail).award, trail.contract) = (None, Some(contract(Price::from_micro_per_kwh(1))))
        },
    ];
    for (number, edit) in cases.into_iter().enumerate() {
        let (height, reason) = wrong(edit);
        assert!(height == 15 && reason.contains("the ledger "), "case {number}: {height}, {reason}");
    }
    let (height, reason) = wrong(|trail| trail.outcome = None);
    assert!(height == 10 && reason.contains("the ledger gives it to bid 1"), "{reason}");
    // A contract in the block of the outcome leaves no award between two blocks; the right price is enough.
    let mut trail = sold();
    let award = of_ledger(&mut trail).award.take().unwrap();
    assert_ne!(award.price, price);
    (trail.contract, trail.end) = (Some(contract(award.price)), Some(End::Contracted(ContractId([0; 32]))));
    assert!(recount(&trail).bad.is_none());
}
