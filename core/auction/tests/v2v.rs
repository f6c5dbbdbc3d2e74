//! Auctions without infrastructure, end to end, and every way to cheat in one.

#![allow(clippy::unwrap_used)]

mod world;

use ohmesh_auction::{
    award::{Accept, Award},
    intent::{BuyerSecret, Choice, Intent, Pricing, Reserve, Terms},
    key::{self, EpochKey, OPEN_EPOCH},
    outcome::{Decision, OutcomeError, Verdict},
    release::ReleaseError,
    role::{RoleError, V2vBidder, V2vBidderAction, V2vBuyer, V2vBuyerAction, V2vSeller},
    seal::SealSecret,
    v2v::{
        BIDDERS_MAX, DECIDE_TIME, DoubleRoster, ENTRY_TIME, Entry, Pledge, Proceedings, ROSTER_TIME,
        SignedRoster, V2vError, bidder_id,
    },
};
use ohmesh_units::{Canonical, Hash, InCell, PriceTick, PublicKey, SigningKey, StationId, Timestamp, ZoneId};
use std::time::Duration;
use world::{Fixed, SITE, rng};

fn open_key() -> EpochKey {
    key::in_the_open(ZoneId([9; 32]), &mut rng(77))
}

fn terms() -> Terms {
    Terms { key_epoch: OPEN_EPOCH, blocks_min: 0, ..world::terms(Choice::BestProvable) }
}

fn deadline() -> Timestamp {
    terms().deadline
}

fn after(time: Duration) -> Timestamp {
    deadline().checked_add(time).unwrap()
}

fn before() -> Timestamp {
    Timestamp::from_millis(deadline().as_millis() - 1)
}

fn buyer_signer() -> SigningKey {
    SigningKey::from_seed([5; 32])
}

fn seller(n: u8) -> V2vSeller {
    let position = InCell { x: 40 * i32::from(n), y: 200 - 20 * i32::from(n) };
    V2vSeller {
        signer: SigningKey::from_seed([100 + n; 32]),
        seal: SealSecret::from_seed(&[100 + n; 32]),
        position,
    }
}

fn bidder_key(n: u8) -> PublicKey {
    seller(n).signer.public()
}

fn id(n: u8) -> StationId {
    bidder_id(&bidder_key(n))
}

fn v2v<T>(error: V2vError) -> Result<T, RoleError> {
    Err(RoleError::V2v(error))
}

fn kind<T>(result: Result<T, RoleError>) -> Result<(), RoleError> {
    result.map(|_| ())
}

/// A buyer and its bidders, after the pledges.
struct Street {
    buyer: V2vBuyer,
    intent: Intent,
    bidders: Vec<V2vBidder>,
    pledges: Vec<Pledge>,
}

impl Street {
    fn ask(terms: Terms, reserve: u32) -> (V2vBuyer, Intent) {
        let at = InCell { x: 120, y: 77 };
        let (buyer, action) =
            V2vBuyer::ask(terms, at, Reserve(reserve), open_key(), buyer_signer(), &mut rng(1)).unwrap();
        let V2vBuyerAction::SendIntent(intent) = action else { panic!("{action:?}") };
        (buyer, *intent)
    }

    fn pledged(terms: Terms, reserve: u32, prices: &[u16]) -> Self {
        let (mut buyer, intent) = Self::ask(terms, reserve);
        let (mut bidders, mut pledges) = (Vec::new(), Vec::new());
        for (n, price) in (0..).zip(prices) {
            let (bidder, pledge) = pledge(&intent, n, *price);
            buyer.on_pledge(pledge, before()).unwrap();
            bidders.push(bidder);
            pledges.push(pledge);
        }
        Self { buyer, intent, bidders, pledges }
    }

    fn three() -> Self {
        Self::pledged(terms(), u32::MAX, &[5000, 3000, 6000])
    }

    fn roster(&mut self) -> SignedRoster {
        let actions = self.buyer.on_time(deadline(), &mut rng(2)).unwrap();
        let [V2vBuyerAction::SendRoster(roster)] = &actions[..] else { panic!("{actions:?}") };
        (**roster).clone()
    }

    fn entries(&mut self, roster: &SignedRoster) -> Vec<Entry> {
        self.bidders.iter_mut().map(|bidder| entry(bidder, roster)).collect()
    }

    /// The proceedings over the entries that the buyer is given.
    fn decided(&mut self, entries: &[Entry]) -> Proceedings {
        for entry in entries {
            self.buyer.on_entry(entry.clone(), &mut rng(3)).unwrap();
        }
        self.buyer.on_time(after(ENTRY_TIME), &mut rng(3)).unwrap();
        let award = Award::new(b"ble 7", &mut rng(4)).unwrap();
        let actions = self.buyer.on_decide(None, award, &mut rng(5)).unwrap();
        let [V2vBuyerAction::SendProceedings(proceedings)] = &actions[..] else { panic!("{actions:?}") };
        (**proceedings).clone()
    }
}

fn pledge(intent: &Intent, n: u8, price: u16) -> (V2vBidder, Pledge) {
    let mut rng = rng(100 + n);
    let made = V2vBidder::on_intent(intent.clone(), open_key(), seller(n), &Fixed(price), &SITE, &mut rng);
    let (bidder, V2vBidderAction::SendPledge(pledge)) = made.unwrap().unwrap() else { panic!() };
    (bidder, pledge)
}

fn entry(bidder: &mut V2vBidder, roster: &SignedRoster) -> Entry {
    let actions = bidder.on_roster(roster.clone()).unwrap();
    let [V2vBidderAction::SendEntry(entry)] = &actions[..] else { panic!("{actions:?}") };
    (**entry).clone()
}

#[test]
fn a_sale_in_a_garage() {
    let mut street = Street::three();
    let roster = street.roster();
    let entries = street.entries(&roster);
    for entry in &entries {
        for bidder in &mut street.bidders {
            bidder.on_entry(entry).unwrap();
        }
    }
    let proceedings = street.decided(&entries);
    assert_eq!(Proceedings::decode(&proceedings.encode()).as_ref(), Ok(&proceedings));
    let price = terms().tick.price(PriceTick(3000));
    let verdict = proceedings.verify(&open_key(), street.buyer.intent());
    assert_eq!(verdict, Ok(Verdict::Won { bid: 1, station: id(1), price, proven_best: true }));
    for (n, bidder) in street.bidders.iter_mut().enumerate() {
        let actions = bidder.on_proceedings(&proceedings).unwrap();
        match &actions[..] {
            [V2vBidderAction::Accept(accept), V2vBidderAction::Meet(met)] if n == 1 => {
                let other = Accept { outcome: Hash([0; 32]), ..*accept };
                let refused = street.buyer.on_accept(&other);
                assert!(matches!(refused, Err(RoleError::OtherAuction { .. })));
                let actions = street.buyer.on_accept(accept).unwrap();
                let [V2vBuyerAction::Meet(station, award)] = &actions[..] else { panic!("{actions:?}") };
                assert_eq!((*station, award), (id(1), met));
            }
            [V2vBidderAction::Lost] if n != 1 => {}
            other => panic!("{n}: {other:?}"),
        }
        assert!(bidder.next_time().is_none());
    }
}

#[test]
fn nobody_bids_or_nobody_is_within_the_reserve() {
    let mut empty = Street::pledged(terms(), 1, &[]);
    let actions = empty.buyer.on_time(deadline(), &mut rng(2)).unwrap();
    let [V2vBuyerAction::SendRoster(_), V2vBuyerAction::SendProceedings(p), V2vBuyerAction::Ended] =
        &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!(p.verify(&open_key(), empty.buyer.intent()), Ok(Verdict::NoEligibleBid));
    let mut dear = Street::pledged(terms(), 100, &[5000]);
    let roster = dear.roster();
    let entries = dear.entries(&roster);
    let actions = dear.buyer.on_entry(entries[0].clone(), &mut rng(3)).unwrap();
    let [V2vBuyerAction::SendProceedings(p), V2vBuyerAction::Ended] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(p.outcome.decision, Decision::NoEligibleBid);
    let lost = dear.bidders[0].on_proceedings(p).unwrap();
    assert!(matches!(lost[..], [V2vBidderAction::Lost]));
    assert!(dear.buyer.secret().is_none());
}

#[test]
fn a_bidder_that_withholds_its_bid_is_left_out_openly() {
    let mut street = Street::three();
    let roster = street.roster();
    let entries = street.entries(&roster);
    let proceedings = street.decided(&[entries[0].clone(), entries[2].clone()]);
    assert!(proceedings.leaves_out(id(1)));
    let verdict = proceedings.verify(&open_key(), street.buyer.intent()).unwrap();
    assert!(matches!(verdict, Verdict::Won { bid: 1, station, .. } if station == id(2)));
    let actions = street.bidders[2].on_proceedings(&proceedings).unwrap();
    assert!(matches!(actions[..], [V2vBidderAction::Accept(_), V2vBidderAction::Meet(_)]));
}

#[test]
fn a_buyer_that_restarts_signs_no_second_roster() {
    let mut street = Street::three();
    let roster = street.roster();
    let stored = street.buyer.secret().unwrap().to_bytes();
    let (intent, secret) = (street.buyer.intent().clone(), BuyerSecret::from_bytes(&stored).unwrap());
    street.buyer =
        V2vBuyer::resume(intent, secret, open_key(), buyer_signer(), roster.clone(), after(ENTRY_TIME))
            .unwrap();
    let entries = street.entries(&roster);
    assert!(street.buyer.on_time(after(ENTRY_TIME), &mut rng(2)).unwrap().is_empty(), "waits again");
    let proceedings = street.decided(&entries);
    assert_eq!(proceedings.roster, roster);
    assert!(proceedings.verify(&open_key(), street.buyer.intent()).is_ok());
}

#[test]
fn late_hash() {
    let (mut buyer, intent) = Street::ask(terms(), u32::MAX);
    let (_, pledge) = pledge(&intent, 0, 5000);
    let bidder = pledge.bidder;
    for now in [deadline(), after(Duration::from_secs(1))] {
        let refused = V2vError::LatePledge { bidder, now, deadline: deadline() };
        assert_eq!(buyer.on_pledge(pledge, now), v2v(refused));
    }
    buyer.on_pledge(pledge, before()).unwrap();
    buyer.on_pledge(pledge, before()).unwrap();
    buyer.on_time(deadline(), &mut rng(2)).unwrap();
    let refused = V2vError::LatePledge { bidder, now: before(), deadline: deadline() };
    assert_eq!(buyer.on_pledge(pledge, before()), v2v(refused), "the roster is signed");
}

#[test]
fn second_hash_of_one_bidder() {
    let mut street = Street::three();
    let (_, other) = {
        let mut rng = rng(9);
        let made =
            V2vBidder::on_intent(street.intent.clone(), open_key(), seller(0), &Fixed(1), &SITE, &mut rng);
        let (bidder, V2vBidderAction::SendPledge(pledge)) = made.unwrap().unwrap() else { panic!() };
        (bidder, pledge)
    };
    assert_eq!(street.buyer.on_pledge(other, before()), v2v(V2vError::PledgedTwice(bidder_key(0))));
    let twice = vec![street.pledges[0], other];
    let roster = SignedRoster::sign(street.intent.id(), twice, &buyer_signer());
    let refused = street.bidders[0].on_roster(roster);
    assert_eq!(kind(refused), v2v(V2vError::PledgedTwice(bidder_key(0))));
}

#[test]
fn hash_under_anothers_name() {
    let mut street = Street::three();
    let auction = street.intent.id();
    let mut stolen = street.pledges[0];
    stolen.bidder = bidder_key(7);
    assert_eq!(stolen.verify(auction), Err(V2vError::PledgeSignature(bidder_key(7))));
    assert_eq!(street.buyer.on_pledge(stolen, before()), v2v(V2vError::PledgeSignature(bidder_key(7))));
    // A key for which anybody can sign.
    let mut small = street.pledges[0];
    small.bidder = PublicKey::from_bytes([0; 32]);
    assert_eq!(small.verify(auction), Err(V2vError::PledgeSignature(small.bidder)));
    let mut roster = vec![street.pledges[0], stolen];
    let roster_of = |pledges: &[Pledge]| SignedRoster::sign(auction, pledges.to_vec(), &buyer_signer());
    let refused = street.bidders[0].on_roster(roster_of(&roster));
    assert_eq!(kind(refused), v2v(V2vError::PledgeSignature(bidder_key(7))));
    // A hash copied under one's own name: whoever copied it has no bid of its own behind it.
    let entry_of_0 = entry(&mut street.bidders[0], &roster_of(&street.pledges));
    roster[1] = {
        let mut renamed = entry_of_0.clone();
        renamed.bid.station = id(7);
        Pledge::sign(&renamed, &seller(7).signer)
    };
    let mut renamed = entry_of_0;
    renamed.bid.station = id(7);
    let checked = roster_of(&roster).check(&open_key(), street.buyer.intent(), &renamed);
    assert!(matches!(checked, Err(V2vError::Bid(_))), "{checked:?}");
}

#[test]
fn more_bidders_than_a_radio_reaches() {
    let (mut buyer, intent) = Street::ask(terms(), u32::MAX);
    // One entry serves: only the pledges count here.
    let (mut bidder, first) = pledge(&intent, 0, 5000);
    let template = entry(&mut bidder, &SignedRoster::sign(intent.id(), vec![first], &buyer_signer()));
    let mut pledges = Vec::new();
    for n in 0..=u8::try_from(BIDDERS_MAX).unwrap() {
        pledges.push(Pledge::sign(&template, &SigningKey::from_seed([n + 1; 32])));
    }
    for pledge in &pledges[..BIDDERS_MAX] {
        buyer.on_pledge(*pledge, before()).unwrap();
    }
    let found = BIDDERS_MAX + 1;
    let refused = buyer.on_pledge(pledges[BIDDERS_MAX], before());
    assert_eq!(refused, v2v(V2vError::TooManyBidders { found }));
    let roster = SignedRoster::sign(intent.id(), pledges, &buyer_signer());
    assert_eq!(roster.verify(buyer.intent()), Err(V2vError::TooManyBidders { found }));
}

#[test]
fn bid_that_is_not_on_the_roster() {
    let mut street = Street::three();
    let (mut late, late_pledge) = pledge(&street.intent, 5, 1);
    let roster = street.roster();
    // The late one is shown a roster of its own.
    let other = SignedRoster::sign(street.intent.id(), vec![late_pledge], &buyer_signer());
    let entry = entry(&mut late, &other);
    let (auction, bidder) = (street.intent.id(), id(5));
    let refused = street.buyer.on_entry(entry.clone(), &mut rng(3));
    assert_eq!(kind(refused), v2v(V2vError::NotOnRoster { auction, bidder }));
    street.bidders[0].on_roster(roster).unwrap();
    let refused = street.bidders[0].on_entry(&entry);
    assert_eq!(kind(refused), v2v(V2vError::NotOnRoster { auction, bidder }));
}

/// After the roster another price, or another place; the hash holds it to both.
#[test]
fn changed_bid() {
    let mut street = Street::three();
    let roster = street.roster();
    let entries = street.entries(&roster);
    let (mut cheaper, cheaper_pledge) = {
        let mut rng = rng(9);
        let made =
            V2vBidder::on_intent(street.intent.clone(), open_key(), seller(0), &Fixed(1), &SITE, &mut rng);
        let (bidder, V2vBidderAction::SendPledge(pledge)) = made.unwrap().unwrap() else { panic!() };
        (bidder, pledge)
    };
    let shown = SignedRoster::sign(street.intent.id(), vec![cheaper_pledge], &buyer_signer());
    let changed = entry(&mut cheaper, &shown);
    let moved = Entry { position: InCell { x: 120, y: 77 }, ..entries[0].clone() };
    let resealed = Entry { seal: entries[1].seal, ..entries[0].clone() };
    for changed in [changed, moved, resealed] {
        let refused = V2vError::ChangedBid { bidder: id(0) };
        assert_eq!(kind(street.buyer.on_entry(changed.clone(), &mut rng(3))), v2v(refused));
        assert_eq!(kind(street.bidders[1].on_entry(&changed)), v2v(refused));
    }
    // In the proceedings too.
    let mut proceedings = street.decided(&entries);
    proceedings.entries.swap(0, 2);
    let refused = proceedings.verify(&open_key(), street.buyer.intent());
    assert_eq!(refused, Err(V2vError::ChangedBid { bidder: id(2) }));
}

#[test]
fn roster_that_leaves_a_hash_out() {
    let mut street = Street::three();
    let auction = street.intent.id();
    let without = SignedRoster::sign(auction, street.pledges[1..].to_vec(), &buyer_signer());
    let refused = street.bidders[0].on_roster(without);
    assert_eq!(kind(refused), v2v(V2vError::LeftOffRoster { auction, bidder: bidder_key(0) }));
    // It has sent nothing and never will, but still tells on the buyer.
    assert!(street.bidders[0].next_time().is_none());
    let with = street.roster();
    let actions = street.bidders[0].on_roster(with).unwrap();
    let [V2vBidderAction::Report(proof), V2vBidderAction::GiveUp(V2vError::TwoRosters(_))] = &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!(proof.verify(), Ok(buyer_signer().public()));
    // A pledge on it that is not the one that was made is as good as none.
    let mut changed = street.pledges.clone();
    changed[1].entry = Hash([1; 32]);
    let refused = street.bidders[1].on_roster(SignedRoster::sign(auction, changed, &buyer_signer()));
    assert_eq!(kind(refused), v2v(V2vError::PledgeSignature(bidder_key(1))));
}

#[test]
fn two_rosters_of_one_auction() {
    let mut street = Street::three();
    let auction = street.intent.id();
    let first = street.roster();
    let mut reordered = street.pledges.clone();
    reordered.swap(0, 1);
    let second = SignedRoster::sign(auction, reordered, &buyer_signer());
    street.bidders[0].on_roster(first.clone()).unwrap();
    assert!(street.bidders[0].on_roster(first.clone()).unwrap().is_empty(), "a repeat is none");
    let actions = street.bidders[0].on_roster(second.clone()).unwrap();
    let [V2vBidderAction::Report(proof), V2vBidderAction::GiveUp(V2vError::TwoRosters(_))] = &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!(DoubleRoster::decode(&proof.encode()).as_ref(), Ok(&**proof));
    assert_eq!(proof.verify(), Ok(buyer_signer().public()));

    let same = DoubleRoster { second: first.clone(), ..(**proof).clone() };
    assert_eq!(same.verify(), Err(V2vError::SameRoster(auction)));
    let framed = SignedRoster::sign(auction, Vec::new(), &SigningKey::from_seed([66; 32]));
    let framed = DoubleRoster { second: framed, ..(**proof).clone() };
    assert_eq!(framed.verify(), Err(V2vError::RosterSignature(auction)), "nobody else signs for the buyer");
    let (_, other) = Street::ask(Terms { blocks_min: 1, ..terms() }, 1);
    let elsewhere = SignedRoster::sign(other.id(), Vec::new(), &buyer_signer());
    let elsewhere = DoubleRoster { second: elsewhere, ..(**proof).clone() };
    let refused = V2vError::OtherAuction { expected: auction, found: other.id() };
    assert_eq!(elsewhere.verify(), Err(refused), "rosters of two auctions are no fraud");
    let other_intent = DoubleRoster { intent: other, ..(**proof).clone() };
    assert!(matches!(other_intent.verify(), Err(V2vError::OtherAuction { .. })));
}

/// The second roster comes with the outcome.
#[test]
fn proceedings_over_another_roster() {
    let mut street = Street::three();
    let first = street.roster();
    let entries = street.entries(&first);
    let mut proceedings = street.decided(&entries);
    proceedings.roster = SignedRoster::sign(first.auction, street.pledges[..1].to_vec(), &buyer_signer());
    let actions = street.bidders[2].on_proceedings(&proceedings).unwrap();
    let [V2vBidderAction::Report(proof), V2vBidderAction::GiveUp(_)] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(proof.verify(), Ok(buyer_signer().public()));
    let stranger =
        SignedRoster::sign(first.auction, street.pledges.clone(), &SigningKey::from_seed([66; 32]));
    let proceedings = Proceedings { roster: stranger, ..proceedings };
    let refused = street.bidders[1].on_proceedings(&proceedings);
    assert_eq!(kind(refused), v2v(V2vError::RosterSignature(first.auction)));
}

#[test]
fn entry_that_the_buyer_leaves_out() {
    let mut street = Street::three();
    let auction = street.intent.id();
    let roster = street.roster();
    let entries = street.entries(&roster);
    // Bidder 2 sees the entry of bidder 1 and passes it on, once.
    let passed = street.bidders[2].on_entry(&entries[1]).unwrap();
    assert!(matches!(&passed[..], [V2vBidderAction::PassOn(entry)] if **entry == entries[1]));
    assert!(street.bidders[2].on_entry(&entries[1]).unwrap().is_empty());
    let proceedings = street.decided(&[entries[0].clone(), entries[2].clone()]);
    let left_out = v2v(V2vError::LeftOut { auction, bidder: id(1) });
    assert_eq!(kind(street.bidders[1].on_proceedings(&proceedings)), left_out, "whose it is");
    assert_eq!(kind(street.bidders[2].on_proceedings(&proceedings)), left_out, "who saw it");
    let fewer = Proceedings { entries: vec![None; 2], ..proceedings };
    let refused = Err(V2vError::EntryCount { expected: 3, found: 2 });
    assert_eq!(fewer.verify(&open_key(), street.buyer.intent()), refused);
}

#[test]
fn buyer_that_refuses() {
    let mut street = Street::three();
    let auction = street.intent.id();
    let waited = after(ROSTER_TIME);
    assert_eq!(street.bidders[0].next_time(), Some(waited));
    assert!(street.bidders[0].on_time(Timestamp::from_millis(waited.as_millis() - 1)).is_empty());
    let gave_up = street.bidders[0].on_time(waited);
    assert!(matches!(gave_up[..], [V2vBidderAction::GiveUp(V2vError::NoRoster(id))] if id == auction));
    let roster = street.roster();
    let late = street.bidders[0].on_roster(roster.clone());
    assert_eq!(kind(late), Err(RoleError::WrongStep(auction)), "its bid stays sealed for good");
    entry(&mut street.bidders[1], &roster);
    assert!(street.bidders[1].on_time(waited).is_empty());
    let gave_up = street.bidders[1].on_time(after(DECIDE_TIME));
    assert!(matches!(gave_up[..], [V2vBidderAction::GiveUp(V2vError::NoOutcome(id))] if id == auction));
    assert!(street.bidders[1].on_time(after(DECIDE_TIME)).is_empty(), "once");
}

/// The proofs are those of every auction: any lie about the entries that came is refused.
#[test]
fn lies_in_the_outcome() {
    let mut street = Street::three();
    let roster = street.roster();
    let entries = street.entries(&roster);
    let honest = street.decided(&entries);
    let intent = street.buyer.intent().clone();
    let key = open_key();
    let check = |proceedings: &Proceedings| proceedings.verify(&key, &intent);
    let mut cheaper = honest.clone();
    let Decision::Best(win) = &mut cheaper.outcome.decision else { panic!() };
    win.price.0 -= 1;
    assert!(matches!(check(&cheaper), Err(V2vError::Outcome(OutcomeError::Link(_)))));
    let mut dropped = honest.clone();
    dropped.entries[2] = None;
    let refused = OutcomeError::DifferenceCount { expected: 2, found: 3 };
    assert_eq!(check(&dropped), Err(V2vError::Outcome(refused)));
    let mut nobody = honest.clone();
    nobody.outcome.decision = Decision::NoEligibleBid;
    assert!(matches!(check(&nobody), Err(V2vError::Outcome(OutcomeError::Link(_)))));
    let bytes = honest.encode();
    for at in (0..bytes.len()).step_by(61) {
        let mut bent = bytes.clone();
        bent[at] ^= 1 << (at % 8);
        assert!(Proceedings::decode(&bent).map_or(true, |bent| check(&bent).is_err()), "byte {at}");
    }
}

#[test]
fn only_first_prices_and_only_the_open_key() {
    let second = Terms { pricing: Pricing::SecondScore, ..terms() };
    let at = InCell { x: 1, y: 2 };
    let asked = V2vBuyer::ask(second, at, Reserve(1), open_key(), buyer_signer(), &mut rng(1));
    assert!(matches!(kind(asked), Err(RoleError::V2v(V2vError::SecondScore(_)))));
    let other = SigningKey::from_seed([66; 32]);
    let asked = V2vBuyer::ask(terms(), at, Reserve(1), open_key(), other, &mut rng(1));
    assert!(matches!(kind(asked), Err(RoleError::V2v(V2vError::RosterSignature(_)))));
    // A committee's intent is no garage's, and the reverse.
    let (committee, _) = key::solo(ZoneId([9; 32]), 3, key::ValidatorIndex(0), &mut rng(9));
    let terms_3 = Terms { key_epoch: 3, ..terms() };
    let asked =
        V2vBuyer::ask(terms_3.clone(), at, Reserve(1), committee.clone(), buyer_signer(), &mut rng(1));
    assert!(matches!(kind(asked), Err(RoleError::V2v(V2vError::Key(ReleaseError::OtherKey(_))))));
    let (intent, _) = Intent::create(terms_3, at, Reserve(1), &committee, &mut rng(1)).unwrap();
    let made = V2vBidder::on_intent(intent, committee.clone(), seller(0), &Fixed(1), &SITE, &mut rng(2));
    assert!(matches!(kind(made), Err(RoleError::V2v(V2vError::Key(ReleaseError::OtherKey(_))))));
    let (_, open) = Street::ask(terms(), 1);
    assert!(open.verify(&committee).is_err());
    // The same epoch's number under another H: the proofs do not hold.
    let (forged, _) = key::solo(ZoneId([9; 32]), OPEN_EPOCH, key::ValidatorIndex(0), &mut rng(9));
    assert!(!forged.is_in_the_open() && open.verify(&forged).is_err());
}

#[test]
fn debug_shows_no_secret() {
    let mut street = Street::pledged(terms(), 987_654, &[54_321]);
    let shown = format!("{:?} {:?}", street.buyer, street.bidders[0]);
    let roster = street.roster();
    let entries = street.entries(&roster);
    let offers = street.buyer.on_entry(entries[0].clone(), &mut rng(3)).unwrap();
    let shown = format!("{shown} {offers:?} {:?} {:?} {:?}", street.buyer, street.bidders[0], seller(0));
    for leaked in ["987654", "54321", "price:", "reserve"] {
        assert!(!shown.contains(leaked), "{leaked} in {shown}");
    }
}
