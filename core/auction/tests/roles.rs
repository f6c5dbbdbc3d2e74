//! The roles end to end, and what they refuse.

#![allow(clippy::unwrap_used)]

mod world;

use ohmesh_auction::{
    award::{Award, AwardError, RENDEZVOUS_BYTES_MAX},
    bid::Bid,
    intent::{BuyerSecret, Choice, Reserve},
    key::{ValidatorIndex, solo},
    outcome::{Decision, Verdict},
    release::Release,
    role::{
        Bidder, BidderAction, Block, Buyer, BuyerAction, Candidate, PassReason, RoleError, Site, Validator,
    },
    seal::SealError,
    strategy::{Ask, Strategy},
};
use ohmesh_units::{AuctionId, InCell, Power, Price, PriceTick, Timestamp, ZoneId};
use world::{
    Committee, Fixed, SITE, Sale, Secrets, committee, rng, sale, sale_by, second_score, station, terms,
};

fn secrets() -> Secrets {
    Secrets { position: InCell { x: 120, y: 77 }, reserve: 1_000_000, prices: vec![5000, 3000, 6000] }
}

fn sold() -> (Committee, Sale) {
    let committee = committee(&[1, 1, 1, 1]);
    let sale = sale(&committee, None, &secrets());
    (committee, sale)
}

/// Another auction: another buyer's prices.
fn sold_with(price: u16) -> Sale {
    let prices = vec![5000, price, 6000];
    sale(&committee(&[1, 1, 1, 1]), None, &Secrets { prices, reserve: 999_999, ..secrets() })
}

fn candidates(sale: &Sale) -> Vec<Candidate> {
    let candidate = |(n, bid): (usize, &_)| Candidate { bid: Clone::clone(bid), seal: station(n).1.public() };
    sale.ledgered.iter().enumerate().map(candidate).collect()
}

#[test]
fn a_sale_from_ask_to_meeting() {
    let (_, sale) = sold();
    let price = terms(Choice::BestProvable).tick.price(PriceTick(3000));
    let won = Verdict::Won { bid: 1, station: station(1).0, price, proven_best: true };
    assert_eq!(sale.verdict, won);
    assert_eq!(sale.met.0, sale.met.1);
    assert_eq!(sale.met.0.rendezvous(), b"udp 192.0.2.1:4433");
    assert_eq!(Award::from_bytes(&sale.met.0.to_bytes()), Ok(sale.met.1));
}

#[test]
fn the_buyer_may_choose_where_the_intent_says_so() {
    let sale = sale(&committee(&[1, 1, 1, 1]), Some(2), &secrets());
    assert!(matches!(sale.verdict, Verdict::Won { bid: 2, proven_best: false, .. }));
}

#[test]
fn one_validator_alone_holds_auctions_too() {
    let (key, shares) = solo(ZoneId([9; 32]), 3, ValidatorIndex(0), &mut rng(9));
    let committee =
        Committee { deals: vec![], handouts: vec![], blindings: vec![], key, shares: vec![shares] };
    assert!(matches!(sale(&committee, None, &secrets()).verdict, Verdict::Won { bid: 1, .. }));
}

#[test]
fn stake_decides_who_opens() {
    // 3 of 6 shares, then 4, then 6: the threshold is 5.
    let committee = committee(&[3, 1, 2]);
    assert!(matches!(sale(&committee, None, &secrets()).verdict, Verdict::Won { bid: 1, .. }));
}

#[test]
fn nobody_bids_or_nobody_is_within_the_reserve() {
    let committee = committee(&[1, 1, 1, 1]);
    let ask = |rng: &mut _| {
        let at = InCell { x: 1, y: 2 };
        Buyer::ask(terms(Choice::BestProvable), at, Reserve(119_999), committee.key.clone(), rng).unwrap().0
    };
    let mut buyer = ask(&mut rng(2));
    let actions = buyer.on_closed(vec![], &mut rng(3)).unwrap();
    assert!(matches!(actions[..], [BuyerAction::PublishOutcome(_), BuyerAction::Ended]));
    assert!(buyer.secret().is_none(), "the secret is gone with the auction");

    let mut buyer = ask(&mut rng(4));
    let intent = buyer.intent().clone();
    let (id, seal, at) = station(0);
    let bid = Bid::create(&intent, &committee.key, id, PriceTick(3000), &mut rng(5)).unwrap();
    let bids = [bid.verify(&intent, &committee.key, at).unwrap()];
    buyer.on_closed(vec![Candidate { bid: bids[0].clone(), seal: seal.public() }], &mut rng(3)).unwrap();
    let mut actions = Vec::new();
    for shares in &committee.shares[1..] {
        let release = Release::create(shares, &committee.key, &intent, &bids, &mut rng(6)).unwrap();
        actions.extend(buyer.on_release(&release, &mut rng(3)).unwrap());
    }
    let [BuyerAction::PublishOutcome(outcome), BuyerAction::Ended] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(outcome.decision, Decision::NoEligibleBid);
    assert!(buyer.secret().is_none());
}

#[test]
fn a_buyer_that_restarts_goes_on() {
    let (committee, sale) = sold();
    let (buyer, _) = Buyer::ask(
        terms(Choice::BestProvable),
        secrets().position,
        Reserve(secrets().reserve),
        committee.key.clone(),
        &mut rng(1),
    )
    .unwrap();
    let stored = buyer.secret().unwrap().to_bytes();
    drop(buyer);
    let secret = BuyerSecret::from_bytes(&stored).unwrap();
    let mut buyer = Buyer::resume(sale.verified.clone(), secret, committee.key.clone());
    assert!(buyer.on_closed(candidates(&sale), &mut rng(3)).unwrap().is_empty());
    for release in &sale.releases[..2] {
        assert!(buyer.on_release(release, &mut rng(3)).unwrap().is_empty());
    }
    let twice = buyer.on_release(&sale.releases[1], &mut rng(3));
    assert_eq!(twice.map(|_| ()), Err(RoleError::ReleasedTwice(ValidatorIndex(1))));
    let actions = buyer.on_release(&sale.releases[3], &mut rng(3)).unwrap();
    let [BuyerAction::Offers(offers)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(offers.iter().map(|offer| offer.price.0).collect::<Vec<u16>>(), [3000, 6000, 5000]);
    let award = sale.met.0.clone();
    let chosen = buyer.on_decide(Some(0), award.clone(), &mut rng(3));
    assert_eq!(chosen.map(|_| ()), Err(RoleError::ChoiceRule(sale.verified.id())));
    buyer.on_decide(None, award.clone(), &mut rng(3)).unwrap();
    let other = buyer.on_accept(&sale.accept);
    assert!(matches!(other, Err(RoleError::OtherAuction { .. })), "it is of another outcome");
    let mut decided = Buyer::resume_decided(
        sale.verified.clone(),
        committee.key.clone(),
        sale.accept.station,
        sale.outcome.hash(),
        award,
    );
    assert!(matches!(decided.on_accept(&sale.accept).unwrap()[..], [BuyerAction::Meet(..)]));
    let again = decided.on_accept(&sale.accept);
    assert_eq!(again.map(|_| ()), Err(RoleError::WrongStep(sale.verified.id())));
}

#[test]
fn a_validator_releases_only_when_due() {
    let (committee, sale) = sold();
    let mut validator = Validator::default();
    validator.on_key(committee.key.clone(), committee.shares[0].clone()).unwrap();
    let deadline = sale.verified.terms().deadline;
    let early = Timestamp::from_millis(deadline.as_millis() - 1);
    let due = |height, time| {
        validator.on_due(&sale.verified, 10, Block { height, time }, &sale.ledgered, &mut rng(4)).map(|_| ())
    };
    let refused = Err(RoleError::NotDue(sale.verified.id()));
    assert_eq!(due(1000, early), refused);
    assert_eq!(due(12, deadline), refused, "two blocks are too few to include a bid");
    assert_eq!(due(9, deadline), refused, "a block before the intent's");
    assert_eq!(due(13, deadline), Ok(()));
    let none = validator.on_due(&sale.verified, 10, Block { height: 13, time: deadline }, &[], &mut rng(4));
    assert!(none.unwrap().is_empty());
}

#[test]
fn a_validator_holds_its_own_shares_until_the_epoch_ends() {
    let (committee, sale) = sold();
    let (other, other_shares) = solo(ZoneId([9; 32]), 4, ValidatorIndex(0), &mut rng(9));
    let mut validator = Validator::default();
    let refused = validator.on_key(other.clone(), committee.shares[0].clone());
    assert_eq!(refused, Err(RoleError::NoKey(4)));
    validator.on_key(other, other_shares).unwrap();
    let block = Block { height: 100, time: sale.verified.terms().deadline };
    let due = |validator: &Validator| {
        validator.on_due(&sale.verified, 10, block, &sale.ledgered, &mut rng(4)).map(|_| ())
    };
    assert_eq!(due(&validator), Err(RoleError::NoKey(3)));
    validator.on_key(committee.key.clone(), committee.shares[0].clone()).unwrap();
    assert_eq!(due(&validator), Ok(()));
    validator.on_retire(3).unwrap();
    assert_eq!(due(&validator), Err(RoleError::NoKey(3)), "what is erased cannot be released");
    assert_eq!(validator.on_retire(3), Err(RoleError::NoKey(3)));
    for epoch in 5..=7 {
        let (key, shares) = solo(ZoneId([9; 32]), epoch, ValidatorIndex(0), &mut rng(9));
        validator.on_key(key, shares).unwrap();
    }
    let (key, shares) = solo(ZoneId([9; 32]), 8, ValidatorIndex(0), &mut rng(9));
    assert_eq!(validator.on_key(key, shares), Err(RoleError::TooManyKeys(4)));
}

struct Greedy;

impl Strategy for Greedy {
    fn price(&self, ask: &Ask) -> Option<Price> {
        Some(Price::from_micro_per_kwh(ask.price_cap.as_micro_per_kwh() + 1))
    }
}

#[test]
fn a_bidder_stays_out_of_what_it_cannot_serve() {
    let (committee, sale) = sold();
    let (id, seal, _) = station(0);
    let weak = Site { power: Power::from_w(49_999), ..SITE };
    let mut bidder = Bidder::new(id, seal.clone(), Fixed(1));
    let actions = bidder.on_intent(&sale.verified, &committee.key, &weak, &mut rng(5)).unwrap();
    assert!(matches!(actions[..], [BidderAction::Pass(PassReason::Power)]));
    let mut greedy = Bidder::new(id, seal, Greedy);
    let actions = greedy.on_intent(&sale.verified, &committee.key, &SITE, &mut rng(5)).unwrap();
    assert!(matches!(actions[..], [BidderAction::Pass(PassReason::Price)]), "above the cap");
    bidder.on_intent(&sale.verified, &committee.key, &SITE, &mut rng(5)).unwrap();
    assert_eq!(bidder.price_of(&sale.verified.id()), Some(PriceTick(1)));
    let twice = bidder.on_intent(&sale.verified, &committee.key, &SITE, &mut rng(5));
    assert_eq!(twice.map(|_| ()), Err(RoleError::BidTwice(sale.verified.id())));
    assert!(matches!(bidder.on_void(&sale.verified.id()).unwrap()[..], [BidderAction::Lost]));
    assert_eq!(bidder.on_void(&sale.verified.id()).map(|_| ()), Err(RoleError::NoBid(sale.verified.id())));
}

#[test]
fn open_bids_are_bounded() {
    let (id, seal, _) = station(0);
    let mut bidder = Bidder::new(id, seal, Fixed(1));
    for n in 0..1024u16 {
        let [high, low] = n.to_be_bytes();
        let mut auction = [0; 32];
        (auction[0], auction[1]) = (high, low);
        bidder.resume(AuctionId(auction), PriceTick(1)).unwrap();
    }
    let refused = bidder.resume(AuctionId([255; 32]), PriceTick(1));
    assert_eq!(refused, Err(RoleError::TooManyOpenBids(1024)));
}

#[test]
fn only_the_winner_reads_the_award() {
    let (_, sale) = sold();
    let win = sale.outcome.decision.win().unwrap();
    for n in [0, 2] {
        let (_, seal, _) = station(n);
        assert!(Award::open(win.award, &sale.verified, win.station, &seal).is_err());
    }
    let (id, _, _) = station(1);
    let mut lost_key = Bidder::new(id, station(2).1, Fixed(3000));
    lost_key.resume(sale.verified.id(), PriceTick(3000)).unwrap();
    let refused = lost_key.on_outcome(&sale.verified, &sale.outcome, &sale.verdict);
    assert!(matches!(refused, Err(RoleError::Award(_))));
    assert!(lost_key.price_of(&sale.verified.id()).is_some(), "the bid stays open for a dispute");
    let mut other_price = Bidder::new(id, station(1).1, Fixed(3000));
    other_price.resume(sale.verified.id(), PriceTick(2999)).unwrap();
    let refused = other_price.on_outcome(&sale.verified, &sale.outcome, &sale.verdict);
    assert_eq!(refused.map(|_| ()), Err(RoleError::OtherPrice(sale.verified.id())));
    assert!(Award::new(&[0; RENDEZVOUS_BYTES_MAX], &mut rng(1)).is_ok());
    assert!(Award::new(&[0; RENDEZVOUS_BYTES_MAX + 1], &mut rng(1)).is_err());
}

/// The award is withheld: sealed to somebody else, or for another auction. The winner does not accept, and keeps its
/// bid.
#[test]
fn withheld_award() {
    let (_, sale) = sold();
    let (id, seal, _) = station(1);
    let award = &sale.met.0;
    let (other_sale, other_seal) = (sold_with(5), station(2).1.public());
    let sealed = [
        award.seal(&sale.verified, id, &other_seal, &mut rng(7)).unwrap(),
        award.seal(&sale.verified, station(2).0, &seal.public(), &mut rng(7)).unwrap(),
        award.seal(&other_sale.verified, id, &seal.public(), &mut rng(7)).unwrap(),
    ];
    for sealed in sealed {
        let mut outcome = sale.outcome.clone();
        let Decision::Best(win) = &mut outcome.decision else { panic!() };
        win.award = sealed;
        let mut winner = Bidder::new(id, seal.clone(), Fixed(3000));
        winner.resume(sale.verified.id(), PriceTick(3000)).unwrap();
        let refused = winner.on_outcome(&sale.verified, &outcome, &sale.verdict);
        assert_eq!(refused.map(|_| ()), Err(RoleError::Award(AwardError::Seal(SealError::Open))));
        assert!(winner.price_of(&sale.verified.id()).is_some());
    }
}

/// Every message that comes before its step, or twice, or for another auction.
#[test]
fn steps_out_of_order() {
    let (committee, sale) = sold();
    let other = sold_with(6);
    let secret = |at: Secrets| {
        let key = committee.key.clone();
        let terms = terms(Choice::BestProvable);
        Buyer::ask(terms, at.position, Reserve(at.reserve), key, &mut rng(1)).unwrap().0
    };
    let stored = secret(secrets()).secret().unwrap().clone();
    let mut buyer = Buyer::resume(sale.verified.clone(), stored, committee.key.clone());
    let wrong = Err(RoleError::WrongStep(sale.verified.id()));
    let award = || sale.met.0.clone();
    assert_eq!(buyer.on_release(&sale.releases[0], &mut rng(3)).map(|_| ()), wrong, "bids are still taken");
    assert_eq!(buyer.on_opening(sale.opening.clone(), &mut rng(3)).map(|_| ()), wrong);
    assert_eq!(buyer.on_decide(None, award(), &mut rng(3)).map(|_| ()), wrong, "an early outcome");
    assert_eq!(buyer.on_accept(&sale.accept).map(|_| ()), wrong);
    buyer.on_closed(candidates(&sale), &mut rng(3)).unwrap();
    assert_eq!(buyer.on_closed(candidates(&sale), &mut rng(3)).map(|_| ()), wrong, "closed twice");
    let (expected, found) = (sale.verified.id(), other.verified.id());
    let foreign = buyer.on_opening(other.opening.clone(), &mut rng(3)).map(|_| ());
    assert_eq!(foreign, Err(RoleError::OtherAuction { expected, found }));
    assert_eq!(buyer.on_decide(None, award(), &mut rng(3)).map(|_| ()), wrong, "nothing is open yet");
    buyer.on_opening(sale.opening.clone(), &mut rng(3)).unwrap();
    assert_eq!(buyer.on_opening(sale.opening.clone(), &mut rng(3)).map(|_| ()), wrong, "opened twice");
    buyer.on_decide(None, award(), &mut rng(3)).unwrap();
    assert_eq!(buyer.on_decide(None, award(), &mut rng(3)).map(|_| ()), wrong, "a second outcome");
    let (id, seal, _) = station(1);
    let mut bidder = Bidder::new(id, seal, Fixed(3000));
    bidder.resume(expected, PriceTick(3000)).unwrap();
    let foreign = bidder.on_outcome(&sale.verified, &other.outcome, &other.verdict).map(|_| ());
    assert_eq!(foreign, Err(RoleError::OtherAuction { expected, found }));
}

/// A sale in which the second score is paid: the winner takes it, whatever it bid itself.
#[test]
fn a_second_score_from_ask_to_meeting() {
    let committee = committee(&[1, 1, 1, 1]);
    let sale = sale_by(&committee, second_score(), None, &secrets());
    let Verdict::Won { bid: 1, price, proven_best: true, .. } = sale.verdict else {
        panic!("{:?}", sale.verdict)
    };
    assert!(price > sale.verified.terms().tick.price(PriceTick(3000)));
    assert_eq!(sale.met.0, sale.met.1);
    // A bidder that asked more than it would be paid refuses.
    let mut dear = Bidder::new(station(1).0, station(1).1, Fixed(3000));
    dear.resume(sale.verified.id(), PriceTick(60_000)).unwrap();
    let refused = dear.on_outcome(&sale.verified, &sale.outcome, &sale.verdict);
    assert_eq!(refused.map(|_| ()), Err(RoleError::OtherPrice(sale.verified.id())));
}

#[test]
fn debug_shows_no_secret() {
    let (committee, sale) = sold();
    let (buyer, _) = Buyer::ask(
        terms(Choice::BestProvable),
        secrets().position,
        Reserve(987_654),
        committee.key.clone(),
        &mut rng(1),
    )
    .unwrap();
    let mut bidder = Bidder::new(station(0).0, station(0).1, Fixed(54_321));
    bidder.resume(sale.verified.id(), PriceTick(54_321)).unwrap();
    let mut validator = Validator::default();
    validator.on_key(committee.key.clone(), committee.shares[0].clone()).unwrap();
    let (asked, _) = Buyer::ask(
        terms(Choice::BestProvable),
        secrets().position,
        Reserve(secrets().reserve),
        committee.key.clone(),
        &mut rng(1),
    )
    .unwrap();
    let secret = asked.secret().unwrap().clone();
    let mut opened = Buyer::resume(sale.verified.clone(), secret, committee.key.clone());
    opened.on_closed(candidates(&sale), &mut rng(3)).unwrap();
    let offers: Vec<BuyerAction> = sale.releases[..3]
        .iter()
        .flat_map(|release| opened.on_release(release, &mut rng(3)).unwrap())
        .collect();
    let shown = format!(
        "{offers:?} {opened:?} {buyer:?} {bidder:?} {validator:?} {:?} {:?} {:?} {:?}",
        sale.met.0,
        committee.shares[0],
        station(0).1,
        Reserve(987_654)
    );
    for secret in [
        "Offer(bid 1, ..)",
        "opened, ..)",
        "asked, ..)",
        "Award(..)",
        "SealSecret(..)",
        "KeyShares(epoch 3, validator 0, ..)",
    ] {
        assert!(shown.contains(secret), "{secret} in {shown}");
    }
    for leaked in ["987654", "54321", "price", "reserve", "session_key", "position"] {
        assert!(!shown.contains(leaked), "{leaked} in {shown}");
    }
}
