//! The auction key in the making, and what becomes of who is late or lies; which intents and bids come in time.

use crate::{auctions::Market, town::*};
use ohmesh_auction::{
    award::{Accept, Award as Rendezvous},
    bid::Bid,
    intent::{Connectors, Reserve, Terms},
    key::{
        KeyShares, ValidatorIndex,
        generation::{Action, Complaint, Deal, Dealer, GenerationError, Handout},
        solo,
    },
    release::Release,
    role::{Buyer, BuyerAction, Candidate},
    seal::SealSecret,
};
use ohmesh_contract::{GridTariff, Offer, Release as Waiver, Signed, Terms as ContractTerms};
use ohmesh_ledger::*;
use ohmesh_units::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::{collections::BTreeSet, time::Duration};

/// The longest that passes between two blocks here.
const STEP: Duration = Duration::from_secs(10);

fn later(time: Timestamp, seconds: u64) -> Timestamp {
    time.checked_add(Duration::from_secs(seconds)).unwrap()
}

/// A millisecond later, or earlier.
fn after(time: Timestamp) -> Timestamp {
    Timestamp::from_millis(time.as_millis() + 1)
}

fn before(time: Timestamp) -> Timestamp {
    Timestamp::from_millis(time.as_millis() - 1)
}

/// Empty blocks until `time`.
fn pass(town: &mut Town, time: Timestamp) {
    while let Some(left) = time.since(town.now).filter(|left| !left.is_zero()) {
        town.block_at(left.min(STEP), Vec::new());
    }
}

fn generation(town: &Town) -> KeyGeneration {
    match town.state.object(&epoch_key_id(0)) {
        Some((_, Object::Generation(generation))) => (**generation).clone(),
        other => panic!("{other:?}"),
    }
}

/// The town's number for the account of a validator.
fn sender(validator: ValidatorIndex) -> u8 {
    u8::try_from(validator.0).unwrap() + 1
}

/// The dealers of the running attempt, and their deals.
fn dealers(town: &Town, rng: &mut ChaCha20Rng) -> (Vec<Dealer>, Vec<Deal>) {
    let running = generation(town).generation;
    let start = |validator| match Dealer::start(running.clone(), validator, rng).unwrap() {
        (dealer, Action::Deal(deal)) => (dealer, deal),
        (_, other) => panic!("{other:?}"),
    };
    running.holding.validators().into_iter().map(start).unzip()
}

/// Every handout that these dealers answer the deals with.
fn handouts(dealers: &mut [Dealer], deals: &[Deal], rng: &mut ChaCha20Rng) -> Vec<Handout> {
    let mut handouts = Vec::new();
    for deal in deals {
        for action in dealers.iter_mut().flat_map(|dealer| dealer.on_deal(deal.clone(), rng).unwrap()) {
            let Action::Handout(handout) = action else { panic!("{action:?}") };
            handouts.push(handout);
        }
    }
    handouts
}

fn send_deal(town: &mut Town, deal: &Deal) {
    town.ok(sender(deal.validator), Body::KeyDeal(Box::new(deal.clone())), &[]);
}

fn send_handout(town: &mut Town, handout: &Handout) {
    town.ok(sender(handout.validator), Body::KeyHandout(Box::new(handout.clone())), &[]);
}

#[test]
fn each_step_of_a_generation_has_a_minute_of_its_own() {
    let (mut town, mut rng) = (Town::new(), ChaCha20Rng::seed_from_u64(1));
    let at = |seconds| later(zone().created, seconds);
    let (mut dealers, deals) = dealers(&town, &mut rng);
    assert_eq!(generation(&town).deadline, at(60));
    deals[..3].iter().for_each(|deal| send_deal(&mut town, deal));
    assert_eq!(generation(&town).deadline, at(60), "the first deals move nothing");
    pass(&mut town, at(58));
    send_deal(&mut town, &deals[3]);
    assert_eq!(
        (town.now, generation(&town).deadline),
        (at(59), at(119)),
        "the last one begins the next step"
    );

    let handouts = handouts(&mut dealers, &deals, &mut rng);
    handouts[..3].iter().for_each(|handout| send_handout(&mut town, handout));
    pass(&mut town, at(117));
    let running = generation(&town);
    assert_eq!((running.generation.attempt, running.deadline), (0, at(119)), "nobody was late");
    send_handout(&mut town, &handouts[3]);
    assert_eq!((town.now, generation(&town).deadline), (at(118), at(178)));

    // Blinding shares of three of four are a threshold, but the fourth has its minute.
    for dealer in &mut dealers[..3] {
        let kept = handouts.iter().flat_map(|one| dealer.on_handout(one.clone(), &mut rng).unwrap());
        let [Action::Keep(_, blinding)] = &kept.collect::<Vec<_>>()[..] else { panic!("all were good") };
        town.ok(sender(blinding.validator), Body::KeyBlinding(Box::new(blinding.clone())), &[]);
    }
    pass(&mut town, at(177));
    let running = generation(&town);
    assert_eq!((running.generation.attempt, running.deadline, running.blindings.len()), (0, at(178), 3));
    pass(&mut town, at(178));
    assert!(town.state.epoch_key(0).is_some());
    assert_eq!(town.state.governance().holders(0).unwrap().made, Some(at(178)));
}

/// An attempt up to its handouts. `wrong` is what `cheat` would hand out if it had dealt something else.
struct Attempt {
    dealers: Vec<Dealer>,
    handouts: Vec<Handout>,
    wrong: Handout,
}

fn deal(town: &mut Town, rng: &mut ChaCha20Rng, cheat: ValidatorIndex) -> Attempt {
    let (mut honest, deals) = dealers(town, rng);
    deals.iter().for_each(|deal| send_deal(town, deal));
    let handouts_of_all = handouts(&mut honest, &deals, rng);
    let running = generation(town).generation;
    let (other, Action::Deal(unsaid)) = Dealer::start(running, cheat, rng).unwrap() else { panic!() };
    let own = |deal: &Deal| if deal.validator == cheat { unsaid.clone() } else { deal.clone() };
    let told: Vec<Deal> = deals.iter().map(own).collect();
    let [wrong] = <[_; 1]>::try_from(handouts(&mut [other], &told, rng)).unwrap();
    Attempt { dealers: honest, handouts: handouts_of_all, wrong }
}

/// What a validator that was handed these complains about, if it does.
fn complaint(dealer: &mut Dealer, handouts: &[Handout], rng: &mut ChaCha20Rng) -> Option<Complaint> {
    let answers = handouts.iter().flat_map(|one| dealer.on_handout(one.clone(), rng).unwrap());
    answers.fold(None, |_, action| match action {
        Action::Complain(complaint) => Some(complaint),
        _ => None,
    })
}

#[test]
fn a_complaint_begins_another_attempt_without_whoever_lied() {
    let (mut town, mut rng) = (Town::new(), ChaCha20Rng::seed_from_u64(2));
    let [zero, one, two, three] = [0, 1, 2, 3].map(ValidatorIndex);
    let body = |complaint: &Complaint| Body::KeyComplaint(Box::new(complaint.clone()));
    let mut attempt = deal(&mut town, &mut rng, one);
    attempt.handouts[1] = attempt.wrong;
    attempt.handouts.iter().for_each(|handout| send_handout(&mut town, handout));
    let mut complaints =
        attempt.dealers.iter_mut().map(|dealer| complaint(dealer, &attempt.handouts, &mut rng));
    let [Some(mine), None, Some(another), Some(_)] = [(); 4].map(|()| complaints.next().unwrap()) else {
        panic!("all but the one who did it complain")
    };
    assert_eq!((mine.validator, mine.dealer, another.validator), (zero, one, two));
    for (n, what) in [(SELLER, "a stranger's"), (3, "another validator's word")] {
        let refused = town.try_one(n, body(&mine), &[]);
        assert_eq!(refused, Err(TransactionError::NotTheValidator(0)), "{what}");
    }
    let empty = |who| Err(TransactionError::Generation(GenerationError::EmptyComplaint(who)));
    let mut about_itself = mine.clone();
    about_itself.dealer = zero;
    assert_eq!(town.try_one(1, body(&about_itself), &[]), empty(zero));
    let mut with_anothers_secret = mine.clone();
    with_anothers_secret.validator = three;
    assert_eq!(town.try_one(4, body(&with_anothers_secret), &[]), empty(three));
    assert_eq!(generation(&town).generation.attempt, 0);
    town.ok(1, body(&mine), &[]);
    let next = generation(&town);
    assert_eq!((next.generation.attempt, &next.excluded[..]), (1, &[one][..]));
    assert_eq!(next.generation.holding.validators(), [zero, two, three]);
    assert_eq!((next.deals.len(), next.handouts.len(), next.deadline), (0, 0, later(town.now, 60)));
    let over = Err(TransactionError::Generation(GenerationError::OtherGeneration(two)));
    assert_eq!(town.try_one(3, body(&another), &[]), over, "that attempt is void already");

    // The next one to lie is a receiver. Without both, two thirds of the stake are missing: everybody is asked again.
    let mut attempt = deal(&mut town, &mut rng, two);
    attempt.handouts.iter().for_each(|handout| send_handout(&mut town, handout));
    attempt.handouts[1] = attempt.wrong;
    let lie = complaint(&mut attempt.dealers[0], &attempt.handouts, &mut rng).unwrap();
    assert_eq!((lie.validator, lie.dealer), (zero, two));
    town.ok(1, body(&lie), &[]);
    let next = generation(&town);
    assert_eq!((next.generation.attempt, &next.excluded[..]), (2, &[][..]));
    assert_eq!(next.generation.holding.validators(), [zero, one, two, three]);
}

/// The others' stake is nothing next to its own: it alone makes the key, but the right one.
#[test]
fn a_key_that_is_made_alone_is_of_this_zone_and_epoch_and_of_the_shareholder() {
    let validators = ValidatorSet::new(vec![validator(1, 100), validator(2, 1)]).unwrap();
    let mut town = Town::in_zone(Zone { validators, ..zone() });
    let (here, mut rng) = (*town.state.zone_id(), ChaCha20Rng::seed_from_u64(3));
    let mut made = |zone, epoch, n| {
        let (key, _) = solo(zone, epoch, ValidatorIndex(n), &mut rng);
        Body::KeySolo(Box::new(key))
    };
    for (what, body, sender, epoch) in [
        ("another zone's", made(ZoneId([7; 32]), 0, 0), 1, 0),
        ("another epoch's", made(here, 1, 0), 1, 1),
        ("of who holds no share", made(here, 0, 1), 2, 0),
        ("of another's share", made(here, 0, 1), 1, 0),
    ] {
        assert_eq!(town.try_one(sender, body, &[]), Err(TransactionError::NotAlone(epoch)), "{what}");
        assert!(town.state.epoch_key(0).is_none(), "{what}");
    }
    town.ok(1, made(here, 0, 0), &[]);
    assert!(town.state.epoch_key(0).is_some());
    assert_eq!(town.try_one(1, made(here, 0, 0), &[]), Err(TransactionError::NoGeneration(0)), "once");
}

#[test]
fn blocks_are_needed_until_more_than_a_third_of_the_stake_had_its_turn() {
    let mut seen = BTreeSet::new();
    for stakes in [&[10][..], &[10; 3], &[10; 4], &[30, 20, 15, 10, 10, 10, 5], &[100, 1], &[1; 32]] {
        let listed = (1u8..).zip(stakes).map(|(n, stake)| validator(n, *stake)).collect();
        let set = ValidatorSet::new(listed).unwrap();
        let whole: u64 = stakes.iter().sum();
        for height in 0..100u64 {
            let enough = |blocks: &u16| {
                let turns = (1..=u64::from(*blocks)).map(|after| set.proposer(height + after, 0));
                let had_a_turn: BTreeSet<u16> = turns.collect();
                3 * had_a_turn.into_iter().map(|at| stakes[usize::from(at)]).sum::<u64>() > whole
            };
            let needed = (1u16..).find(enough).unwrap();
            assert_eq!(blocks_needed(set.voters(), height), needed, "{stakes:?} at {height}");
            seen.insert((stakes.len(), needed));
        }
    }
    // A third itself is not more than a third; and where stakes differ, it matters whose turn it is.
    let of =
        |many| seen.iter().filter(|(len, _)| *len == many).map(|(_, needed)| *needed).collect::<Vec<_>>();
    assert_eq!((of(1), of(3), of(4), of(32)), (vec![1], vec![2], vec![2], vec![11]));
    assert!(of(7).len() > 1 && of(2).len() > 1, "{seen:?}");
}

#[test]
fn an_intent_names_a_deadline_to_come_and_as_many_blocks_as_it_takes() {
    let mut market = Market::with_key();
    let first_block = later(market.town.now, 1);
    let cases = [
        (first_block, 2, false),
        (after(first_block), 2, true),
        (later(first_block, 10), 0, false),
        (later(first_block, 10), 1, false),
        (later(first_block, 10), 2, true),
        (later(first_block, 10), 1_000, true),
        (later(first_block, 10), 1_001, false),
        (later(first_block, 3_600), 2, true),
        (after(later(first_block, 3_600)), 2, false),
    ];
    let intents = cases.map(|(deadline, blocks_min, _)| {
        let terms = Terms { deadline, blocks_min, ..market.terms() };
        let (_, intent) = market.ask(terms);
        market.town.signed(BUYER, Body::AuctionOpen(intent), &[])
    });
    let ids = intents.each_ref().map(|signed| match &signed.transaction.body {
        Body::AuctionOpen(intent) => intent.id(),
        other => panic!("{other:?}"),
    });
    let refused = market.town.block(intents.to_vec());
    let bad = cases.iter().filter(|(.., is_good)| !is_good).map(|(deadline, blocks, _)| {
        let (deadline, blocks, now) = (*deadline, *blocks, first_block);
        TransactionError::Deadline { deadline, blocks, now, blocks_needed: 2 }
    });
    assert_eq!(refused, bad.collect::<Vec<_>>());
    for (id, (deadline, .., is_good)) in ids.into_iter().zip(cases) {
        let opened = market.town.state.object(&id.into()).is_some();
        assert_eq!(opened, is_good, "{deadline}");
    }
}

#[test]
fn a_bid_names_an_outlet_that_fits_and_an_auction_that_runs() {
    let mut market = Market::with_key();
    let outlet = market.town.outlet(SELLER, 2, 4, 93);
    market.town.ok(SELLER, outlet, &[]);
    let terms = market.terms();
    let (_, intent) = market.ask(terms);
    let id = intent.id();
    market.town.ok(BUYER, Body::AuctionOpen(intent), &[]);
    let verified = market.auction(id).intent;
    let bid = Box::new(market.bid(&verified, SELLER, 100));
    let unfit = EvseId::of(&station(), 2);
    let body = Body::AuctionBid { bid: bid.clone(), evse: unfit };
    assert_eq!(market.town.try_one(SELLER, body, &[]), Err(TransactionError::UnfitEvse(unfit)), "its plug");

    // To the last moment of its last step the auction runs, though nobody may bid any more.
    let town = &mut market.town;
    let last = |town: &Town| match town.state.object(&id.into()) {
        Some((_, Object::Auction(auction))) => auction.deadline,
        other => panic!("{other:?}"),
    };
    while last(town).since(town.now).unwrap() > STEP {
        town.block_at(STEP, Vec::new());
    }
    let over = last(town);
    let signed = town.signed(SELLER, Body::AuctionBid { bid, evse: evse() }, &[]);
    let late = Verified::one(town.state.zone_id(), signed).unwrap();
    assert_eq!(town.state.try_transaction(before(over), &late), Err(TransactionError::AuctionStep(id)));
    for over in [over, after(over)] {
        assert_eq!(town.state.try_transaction(over, &late), Err(TransactionError::NoAuction(id)));
    }
}

/// An agent that is alone in a zone where a unit of weight costs 1,000 micro-units.
struct Alone {
    town: Town,
    shares: KeyShares,
    terms: Terms,
    rng: ChaCha20Rng,
}

impl Alone {
    fn new() -> Self {
        let market = Market::with_key();
        let validators = ValidatorSet::new(vec![validator(1, 10)]).unwrap();
        let rules = Rules { fee: Money::from_micro(1_000), ..Rules::default() };
        let mut town = Town::in_zone(Zone { validators, rules, ..market.town.state.zone().clone() });
        let (zone, mut rng) = (*town.state.zone_id(), ChaCha20Rng::seed_from_u64(4));
        let (key, shares) = solo(zone, 0, ValidatorIndex(0), &mut rng);
        town.ok(1, Body::KeySolo(Box::new(key)), &[]);
        let (deadline, connectors) = (later(town.now, 10), Connectors::try_from(1).unwrap());
        let terms = Terms { zone, deadline, connectors, ..market.terms() };
        Self { town, shares, terms, rng }
    }

    /// The seller's only bid wins, and is accepted.
    fn award(&mut self) -> (AuctionId, Price) {
        let Self { town, shares, terms, rng } = self;
        let key = town.state.epoch_key(0).unwrap().clone();
        let place = InCell { x: 80, y: 60 };
        let (mut buyer, action) =
            Buyer::ask(terms.clone(), place, Reserve(u32::MAX), key.clone(), rng).unwrap();
        let BuyerAction::PublishIntent(intent) = action else { panic!("{action:?}") };
        let id = intent.id();
        town.ok(BUYER, Body::AuctionOpen(intent), &[]);
        let auction = |town: &Town| match town.state.object(&id.into()) {
            Some((_, Object::Auction(auction))) => (**auction).clone(),
            other => panic!("{other:?}"),
        };
        let intent = auction(town).intent;
        let bid = Box::new(Bid::create(&intent, &key, station(), PriceTick(30_000), rng).unwrap());
        town.ok(SELLER, Body::AuctionBid { bid, evse: evse() }, &[]);
        for _ in 0..2 {
            town.block_at(STEP, Vec::new());
        }
        let bids = auction(town).bids;
        let seal = SealSecret::from_seed(&[SELLER; 32]).public();
        let candidates = bids.iter().map(|bid| Candidate { bid: bid.clone(), seal }).collect();
        buyer.on_closed(candidates, rng).unwrap();
        let release = Release::create(shares, &key, &intent, &bids, rng).unwrap();
        town.ok(1, Body::AuctionRelease(Box::new(release.clone())), &[]);
        buyer.on_release(&release, rng).unwrap();
        let rendezvous = Rendezvous::new(b"meet", rng).unwrap();
        let decided = buyer.on_decide(None, rendezvous, rng).unwrap();
        let [BuyerAction::PublishOutcome(outcome)] = &decided[..] else { panic!("{decided:?}") };
        town.ok(BUYER, Body::AuctionOutcome(outcome.clone()), &[]);
        let price = auction(town).award.unwrap().price;
        town.ok(SELLER, Body::AuctionAccept(Accept::of(outcome, station())), &[]);
        (id, price)
    }

    fn contract(&mut self, auction: AuctionId, price: Price) -> ContractTerms {
        let (now, energy_max) = (self.town.now, Energy::from_wh(30_000));
        let terms = ContractTerms {
            zone: self.terms.zone,
            auction,
            buyer: account(BUYER),
            buyer_key: key(71).public(),
            seller: account(SELLER),
            seller_key: key(SELLER).public(),
            evse: evse(),
            meter_key: key(METER).public(),
            price,
            energy_max,
            power_rated: Power::from_w(22_000),
            grid: GridTariff { version: 0, price: Price::from_micro_per_kwh(TARIFF) },
            escrow: price.times(energy_max).unwrap(),
            not_before: now,
            expiry: later(now, 4 * 3_600),
            number: 1,
        };
        let offer = Offer::sign(terms.clone(), [5; 32], later(now, 60), &key(SELLER)).verify().unwrap();
        let agreement = offer.agree(&key(71));
        self.town.ok(BUYER, Body::ContractOpen(Box::new(agreement)), &[]);
        terms
    }
}

/// From its own key to a contract: what opens something has paid for what follows, and a contract runs to its end.
#[test]
fn an_agent_alone_sells_and_opening_pays_for_the_later_steps() {
    let mut alone = Alone::new();
    let balance = |alone: &Alone| alone.town.holding(Journal::Energy, BUYER);
    assert_eq!(balance(&alone).posted, 100_000_000);
    let (auction, price) = alone.award();
    // One signature, 95 for the intent, 400 for its outcome and acceptance.
    assert_eq!(balance(&alone).posted, 100_000_000 - 496_000);
    let terms = alone.contract(auction, price);
    // One signature, 6 for the agreement, 30 for all that a contract may come to.
    let expected = Holding { posted: 100_000_000 - 496_000 - 37_000, held: terms.escrow.as_micro() };
    assert_eq!(balance(&alone), expected);

    let town = &mut alone.town;
    let waiver = Signed::new(Waiver { contract: terms.id(), at: town.now }, &key(SELLER));
    let mut waive = town.transaction(SELLER, Body::ContractWaive(Box::new(waiver)));
    waive.valid_until = later(terms.expiry, 3_600);
    let waive = Verified::one(town.state.zone_id(), waive.sign(&[&key(SELLER)])).unwrap();
    assert_eq!(town.state.try_transaction(before(terms.expiry), &waive), Ok(()));
    for over in [terms.expiry, after(terms.expiry)] {
        let refused = town.state.try_transaction(over, &waive);
        assert_eq!(refused, Err(TransactionError::NoContract(terms.id())));
    }
}
