//! The table of failures on the crate's front page: each row, with what it does to the deposits.

use crate::{auctions::*, town::*};
use ohmesh_auction::{
    award::{Accept, AwardError, Unreadable},
    bid::Bid,
    outcome::Outcome,
    role::{Buyer, Candidate},
};
use ohmesh_contract::{GridTariff, Offer, Terms as ContractTerms};
use ohmesh_ledger::*;
use ohmesh_units::*;
use std::time::Duration;

const BUYERS: i64 = 500_000;
const BIDS: i64 = 200_000;

/// Everybody has two units of currency, the buyer and seller 80 a hundred.
fn market() -> Market {
    let deposits = Deposits { buyer: Money::from_micro(BUYERS), bid: Money::from_micro(BIDS) };
    let mut market = Market::with_rules(Rules { deposits, ..zone().rules });
    for n in [81, 82] {
        market.town.ok(TREASURERS[0], issue(n, 2_000_000), &TREASURERS[..2]);
    }
    market
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Market {
    /// What the buyer and the sellers have deposited.
    fn deposited(&self) -> [i64; 4] {
        [BUYER, 80, 81, 82].map(|n| self.town.holding(Journal::Energy, n).held)
    }

    fn burned(&self) -> i64 {
        self.town.state.totals().flows[Journal::Energy as usize][Asset::Currency as usize].burned
    }

    /// The auction has ended, this much is burned, of these, and nothing is held any more.
    fn assert_ended(&self, id: AuctionId, end: End, losses: [i64; 4]) {
        assert_eq!(self.ended(id), end);
        assert_eq!(self.deposited(), [0; 4]);
        assert_eq!(self.burned(), losses.iter().sum::<i64>());
        let first = [100_000_000, 100_000_000, 2_000_000, 2_000_000];
        for ((n, before), loss) in [BUYER, 80, 81, 82].into_iter().zip(first).zip(losses) {
            assert_eq!(self.town.holding(Journal::Energy, n).posted, before - loss, "{n}");
        }
    }

    /// An auction that 81 won.
    fn won(&mut self) -> (Buyer, AuctionId, Box<Outcome>) {
        let terms = self.terms();
        let (mut buyer, id) = self.opened(terms);
        // The phone keeps the secret until the winner has accepted.
        let again = self.buyer_again(&buyer);
        let outcome = self.decide(&mut buyer);
        self.town.ok(BUYER, Body::AuctionOutcome(outcome.clone()), &[]);
        (again, id, outcome)
    }

    fn buyer_again(&self, buyer: &Buyer) -> Buyer {
        let key = self.town.state.epoch_key(0).unwrap().clone();
        Buyer::resume(buyer.intent().clone(), buyer.secret().unwrap().clone(), key)
    }

    /// The buyer decides again, over the bids that are left and by the opening that is there.
    fn decide_again(&mut self, buyer: &Buyer, id: AuctionId) -> Box<Outcome> {
        let mut buyer = self.buyer_again(buyer);
        let opening = self.auction(id).opening.unwrap();
        assert!(buyer.on_closed(self.candidates(id), &mut self.rng).unwrap().is_empty());
        buyer.on_opening(opening, &mut self.rng).unwrap();
        self.decide(&mut buyer)
    }

    fn accepted(&mut self) -> (Buyer, AuctionId) {
        let (buyer, id, outcome) = self.won();
        self.town.ok(81, Body::AuctionAccept(Accept::of(&outcome, station_of(81))), &[]);
        (buyer, id)
    }

    /// What 81 and the buyer would sign now.
    fn terms_of(&self, id: AuctionId) -> ContractTerms {
        self.contract_terms(id, self.auction(id).award.unwrap().price)
    }

    fn offer(&self, terms: &ContractTerms) -> Offer {
        let valid_until = self.town.now.checked_add(secs(700)).unwrap();
        Offer::sign(terms.clone(), [0; 32], valid_until, &key(81))
    }
}

#[test]
fn deposits_are_held_and_all_come_back_with_the_contract() {
    let mut market = market();
    let (_, id) = market.accepted();
    assert_eq!(market.deposited(), [BUYERS, BIDS, BIDS, BIDS]);
    let auction = market.auction(id);
    assert_eq!(auction.deposited().count(), 4);
    // The buyer has just the escrow, its deposit included.
    let terms = market.terms_of(id);
    let rest = 100_000_000 - terms.escrow.as_micro();
    market.town.ok(BUYER, pay(BUYER, 80, rest), &[]);
    let agreement = market.agreement(terms.clone());
    market.town.ok(BUYER, agreement, &[]);
    assert_eq!(market.ended(id), End::Contracted(terms.id()));
    assert_eq!(market.deposited(), [terms.escrow.as_micro(), 0, 0, 0]);
    assert_eq!(market.burned(), 0);
}

#[test]
fn who_cannot_deposit_neither_asks_nor_bids() {
    let mut market = market();
    market.town.ok(82, pay(82, 80, 2_000_000 - BIDS + 1), &[]);
    let (_, intent) = market.ask(market.terms());
    let (id, other) = (intent.id(), market.ask(market.terms()).1);
    market.town.ok(BUYER, pay(BUYER, 80, 100_000_000 - 2 * BUYERS + 1), &[]);
    market.town.ok(BUYER, Body::AuctionOpen(intent), &[]);
    let too_poor = market.town.try_one(BUYER, Body::AuctionOpen(other), &[]);
    assert!(matches!(too_poor, Err(TransactionError::Insufficient { .. })), "{too_poor:?}");
    let verified = market.auction(id).intent;
    let bid = Box::new(market.bid(&verified, 82, 100));
    let too_poor = market.town.try_one(82, Body::AuctionBid { bid, evse: evse_of(82) }, &[]);
    assert!(matches!(too_poor, Err(TransactionError::Insufficient { .. })), "{too_poor:?}");
    assert_eq!((market.auction(id).bids.len(), market.deposited()), (0, [BUYERS, 0, 0, 0]));
}

/// Rules that change during an auction change nothing in it.
#[test]
fn deposits_are_those_of_the_opening() {
    let mut market = market();
    let (_, intent) = market.ask(market.terms());
    let id = intent.id();
    market.town.ok(BUYER, Body::AuctionOpen(intent), &[]);
    let rules = Rules { deposits: Deposits::NONE, ..market.town.state.governance().rules };
    market.town.ok(1, Body::Upgrade { epoch: 0, rules }, &[1, 2, 3]);
    let mut validators = market.town.state.validators().all().to_vec();
    validators[3].stake = 9;
    let validators = Box::new(ValidatorSet::new(validators).unwrap());
    market.town.ok(1, Body::SetValidators { epoch: 0, validators }, &[1, 2, 3]);
    market.town.block(Vec::new());
    assert_eq!(market.town.state.governance().rules.deposits, Deposits::NONE);
    let verified = market.auction(id).intent;
    let bid = Box::new(market.bid(&verified, 81, 100));
    market.town.ok(81, Body::AuctionBid { bid, evse: evse_of(81) }, &[]);
    assert_eq!(market.deposited(), [BUYERS, 0, BIDS, 0]);
}

#[test]
fn garbage_is_no_bid() {
    let mut market = market();
    let (_, intent) = market.ask(market.terms());
    let id = intent.id();
    market.town.ok(BUYER, Body::AuctionOpen(intent), &[]);
    let verified = market.auction(id).intent;
    let good = market.bid(&verified, 81, 100);
    let bytes = good.encode();
    for at in [40, 80, 150, bytes.len() - 2] {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        let Ok(bad) = Bid::decode(&bytes) else { continue };
        let refused =
            market.town.try_one(81, Body::AuctionBid { bid: Box::new(bad), evse: evse_of(81) }, &[]);
        let named = matches!(
            refused,
            Err(TransactionError::Bid(_) | TransactionError::NoStation(_) | TransactionError::NoAuction(_))
        );
        assert!(named, "{refused:?}");
    }
    assert_eq!(market.deposited(), [BUYERS, 0, 0, 0]);
}

#[test]
fn too_few_shares_cost_nobody_anything() {
    let mut market = market();
    let (_, id) = market.closed(market.terms());
    for n in [0u8, 1] {
        let release = market.release(n.into(), id);
        market.town.ok(n + 1, Body::AuctionRelease(Box::new(release)), &[]);
    }
    assert_eq!(market.auction(id).releases.len(), 2);
    market.town.pass(secs(130));
    market.assert_ended(id, End::TimedOut, [0; 4]);
}

/// Whether it vanishes before the release or after it.
#[test]
fn a_buyer_that_decides_nothing_loses_its_deposit() {
    let mut market = market();
    let (_, id) = market.opened(market.terms());
    market.town.pass(secs(290));
    assert_eq!(market.deposited(), [BUYERS, BIDS, BIDS, BIDS]);
    market.town.pass(secs(20));
    market.assert_ended(id, End::BuyerFailed, [BUYERS, 0, 0, 0]);
}

#[test]
fn a_buyer_that_opens_no_contract_loses_its_deposit() {
    let mut market = market();
    let (_, id) = market.accepted();
    market.town.pass(secs(590));
    assert_eq!(market.deposited(), [BUYERS, BIDS, BIDS, BIDS]);
    market.town.pass(secs(20));
    market.assert_ended(id, End::BuyerFailed, [BUYERS, 0, 0, 0]);
}

#[test]
fn the_next_best_is_proven_when_the_winner_does_not_come() {
    let mut market = market();
    let (buyer, id, first) = market.won();
    let releases_needed = market.town.numbers;
    market.town.pass(secs(130));
    let auction = market.auction(id);
    assert_eq!((auction.no_shows.as_slice(), auction.award), (&[station_of(81)][..], None));
    assert_eq!((auction.bids.len(), auction.bidders.len()), (2, 2));
    assert_eq!(market.deposited(), [BUYERS, BIDS, 0, BIDS]);
    assert_eq!(market.burned(), BIDS);
    // The first outcome does not hold again, and its winner does not accept any more.
    let again = market.town.try_one(BUYER, Body::AuctionOutcome(first.clone()), &[]);
    assert!(matches!(again, Err(TransactionError::Outcome(_))), "{again:?}");
    let late = Body::AuctionAccept(Accept::of(&first, station_of(81)));
    assert_eq!(market.town.try_one(81, late, &[]), Err(TransactionError::NotTheAward(id)));

    let second = market.decide_again(&buyer, id);
    let sent_meanwhile = market.town.numbers - releases_needed;
    assert_eq!(sent_meanwhile, 2, "no bid and no release is sent again");
    market.town.ok(BUYER, Body::AuctionOutcome(second.clone()), &[]);
    let award = market.auction(id).award.unwrap();
    assert_eq!((award.station, award.seller), (station_of(80), account(80)));
    assert_eq!(award.price, buyer.intent().terms().tick.price(PriceTick(40_000)));
    market.town.ok(80, Body::AuctionAccept(Accept::of(&second, station_of(80))), &[]);
}

#[test]
fn an_auction_whose_winners_all_stay_away_is_void_and_the_buyer_is_not_to_blame() {
    let mut market = market();
    let (buyer, id, _) = market.won();
    for left in [2, 1] {
        market.town.pass(secs(130));
        assert_eq!(market.auction(id).bids.len(), left);
        let next = market.decide_again(&buyer, id);
        market.town.ok(BUYER, Body::AuctionOutcome(next), &[]);
    }
    market.town.pass(secs(130));
    market.assert_ended(id, End::NobodyCame, [0, BIDS, BIDS, BIDS]);
}

/// Nobody is left, and nobody has deposited anything: it ends with the block of the very moment.
#[test]
fn the_only_bidder_stays_away() {
    let mut market = Market::with_key();
    let (mut buyer, intent) = market.ask(market.terms());
    let id = intent.id();
    market.town.ok(BUYER, Body::AuctionOpen(intent), &[]);
    let verified = market.auction(id).intent;
    let bid = Box::new(market.bid(&verified, 81, 30_000));
    market.town.ok(81, Body::AuctionBid { bid, evse: evse_of(81) }, &[]);
    market.town.pass(secs(10));
    buyer.on_closed(market.candidates(id), &mut market.rng).unwrap();
    for n in [0u8, 1, 2] {
        let release = market.release(n.into(), id);
        market.town.ok(n + 1, Body::AuctionRelease(Box::new(release.clone())), &[]);
        buyer.on_release(&release, &mut market.rng).unwrap();
    }
    let outcome = market.decide(&mut buyer);
    market.town.ok(BUYER, Body::AuctionOutcome(outcome), &[]);
    market.town.pass(secs(119));
    assert!(market.auction(id).award.is_some());
    market.town.pass(secs(1));
    assert_eq!((market.ended(id), market.burned()), (End::NobodyCame, 0));
}

/// After a winner that stays away the buyer has to decide again.
#[test]
fn a_buyer_that_gives_up_after_a_no_show_loses_its_deposit_too() {
    let mut market = market();
    let (_, id, _) = market.won();
    market.town.pass(secs(130));
    market.town.pass(secs(310));
    market.assert_ended(id, End::BuyerFailed, [BUYERS, 0, BIDS, 0]);
}

/// The buyer seals the award to somebody else's key, so that its winner cannot come.
#[test]
fn an_award_nobody_can_read_costs_the_buyer_its_deposit() {
    let mut market = market();
    let (mut buyer, id) = market.closed(market.terms());
    let wrong: Vec<Candidate> = market
        .candidates(id)
        .into_iter()
        .map(|one| Candidate { seal: seal_secret(99).public(), ..one })
        .collect();
    buyer.on_closed(wrong, &mut market.rng).unwrap();
    for n in [0u8, 1, 2] {
        let release = market.release(n.into(), id);
        market.town.ok(n + 1, Body::AuctionRelease(Box::new(release.clone())), &[]);
        buyer.on_release(&release, &mut market.rng).unwrap();
    }
    let outcome = market.decide(&mut buyer);
    market.town.ok(BUYER, Body::AuctionOutcome(outcome.clone()), &[]);
    let intent = market.auction(id).intent;
    let show = |market: &mut Market, n: u8| {
        Unreadable::show(&outcome, &intent, station_of(81), &seal_secret(n), &mut market.rng)
    };
    let shown = show(&mut market, 81).unwrap();
    let by_another = market.town.try_one(82, Body::AuctionUnreadable(shown), &[]);
    assert_eq!(by_another, Err(TransactionError::NotTheAward(id)));
    let with_another_key = show(&mut market, 82).unwrap();
    let refused = market.town.try_one(81, Body::AuctionUnreadable(with_another_key), &[]);
    assert!(matches!(refused, Err(TransactionError::Award(AwardError::Revealed(_)))), "{refused:?}");
    market.town.ok(81, Body::AuctionUnreadable(shown), &[]);
    market.assert_ended(id, End::Unreadable, [BUYERS, 0, 0, 0]);
}

/// The winner regrets its bid: it registers another key, to which its award was of course not sealed.
#[test]
fn a_winner_cannot_make_its_award_unreadable() {
    let mut market = market();
    let (_, id, outcome) = market.won();
    let (number, name, position) = (1, "Station 81".to_owned(), Position::from_e7(525_400_000, 134_050_000));
    let award_key = Hash(seal_secret(99).public().to_bytes());
    let body = Body::RegisterStation { number, name, position: position.unwrap(), award_key };
    market.town.ok(81, body, &[]);
    let intent = market.auction(id).intent;
    let new_key = seal_secret(99);
    let shown = Unreadable::show(&outcome, &intent, station_of(81), &new_key, &mut market.rng).unwrap();
    let refused = market.town.try_one(81, Body::AuctionUnreadable(shown), &[]);
    assert!(matches!(refused, Err(TransactionError::Award(AwardError::Revealed(_)))), "{refused:?}");
    let own = Unreadable::show(&outcome, &intent, station_of(81), &seal_secret(81), &mut market.rng);
    assert_eq!(own, Err(AwardError::Readable));
    market.town.pass(secs(130));
    assert_eq!(market.auction(id).no_shows, [station_of(81)], "it pays for its regret");
}

#[test]
fn an_award_key_that_nothing_can_be_sealed_to_is_not_registered() {
    let mut market = market();
    let position = Position::from_e7(525_400_000, 134_050_000).unwrap();
    let body = Body::RegisterStation { number: 2, name: "x".into(), position, award_key: Hash::ZERO };
    let refused = TransactionError::AwardKey(StationId::of(&account(81), 2));
    assert_eq!(market.town.try_one(81, body, &[]), Err(refused));
}

/// The winner accepts, and then gives the buyer no offer to sign.
#[test]
fn a_winner_that_makes_no_offer_when_it_is_demanded_did_not_come() {
    let mut market = market();
    let (buyer, id, outcome) = market.won();
    let early = Body::AuctionDemand(Box::new(market.terms_of(id)));
    assert_eq!(market.town.try_one(BUYER, early, &[]), Err(TransactionError::AuctionStep(id)));
    market.town.ok(81, Body::AuctionAccept(Accept::of(&outcome, station_of(81))), &[]);
    market.town.pass(secs(300));
    let terms = market.terms_of(id);
    let demand = |terms: &ContractTerms| Body::AuctionDemand(Box::new(terms.clone()));
    let cheaper = ContractTerms { price: Price::from_micro_per_kwh(80_000), ..terms.clone() };
    let other_grid = GridTariff { version: 1, ..terms.grid };
    for (wrong, what) in [
        (cheaper, "price"),
        (ContractTerms { buyer_key: key(99).public(), ..terms.clone() }, "buyer's key"),
        (ContractTerms { evse: evse_of(80), ..terms.clone() }, "outlet"),
        (ContractTerms { grid: other_grid, ..terms.clone() }, "grid tariff"),
        (
            ContractTerms { not_before: terms.not_before.checked_add(secs(60)).unwrap(), ..terms.clone() },
            "time",
        ),
        (ContractTerms { expiry: terms.expiry.checked_add(secs(86_400)).unwrap(), ..terms.clone() }, "time"),
    ] {
        let contract = wrong.id();
        let refused = market.town.try_one(BUYER, demand(&wrong), &[]);
        assert_eq!(refused, Err(TransactionError::ContractTerms { contract, what }));
    }
    let no_contract = ContractTerms { escrow: Money::from_micro(1), ..terms.clone() };
    let refused = market.town.try_one(BUYER, demand(&no_contract), &[]);
    assert!(matches!(refused, Err(TransactionError::Contract(_))), "{refused:?}");
    let contract = terms.id();
    let refused = market.town.try_one(80, demand(&terms), &[]);
    assert_eq!(refused, Err(TransactionError::ContractTerms { contract, what: "buyer" }));

    market.town.ok(BUYER, demand(&terms), &[]);
    assert_eq!(market.town.try_one(BUYER, demand(&terms), &[]), Err(TransactionError::AuctionStep(id)));
    market.town.pass(secs(130));
    assert_eq!((market.deposited(), market.burned()), ([BUYERS, BIDS, 0, BIDS], BIDS));
    let next = market.decide_again(&buyer, id);
    market.town.ok(BUYER, Body::AuctionOutcome(next), &[]);
}

#[test]
fn an_offer_on_the_ledger_is_all_that_the_buyer_needs() {
    let mut market = market();
    let (_, id) = market.accepted();
    // From the block that takes the demand, and for a day: the latest and the longest that may be.
    let not_before = market.town.now.checked_add(secs(2)).unwrap();
    let expiry = not_before.checked_add(secs(86_400)).unwrap();
    let terms = ContractTerms { not_before, expiry, ..market.terms_of(id) };
    let offer = market.offer(&terms);
    let answer = |offer: &Offer| Body::AuctionOffer(Box::new(offer.clone()));
    let unasked = market.town.try_one(81, answer(&offer), &[]);
    assert_eq!(unasked, Err(TransactionError::AuctionStep(id)));
    market.town.ok(BUYER, Body::AuctionDemand(Box::new(terms.clone())), &[]);

    let refused = market.town.try_one(82, answer(&offer), &[]);
    assert_eq!(refused, Err(TransactionError::NotTheAward(id)));
    let other = ContractTerms { energy_max: Energy::from_wh(1), ..terms.clone() };
    let (contract, what) = (other.id(), "not those that were demanded");
    let refused = market.town.try_one(81, answer(&market.offer(&other)), &[]);
    assert_eq!(refused, Err(TransactionError::ContractTerms { contract, what }));
    let brief = market.town.now.checked_add(secs(30)).unwrap();
    let brief = Offer::sign(terms.clone(), [0; 32], brief, &key(81));
    let (contract, what) = (terms.id(), "the offer is not valid for long enough");
    let refused = market.town.try_one(81, answer(&brief), &[]);
    assert_eq!(refused, Err(TransactionError::ContractTerms { contract, what }));
    let valid_until = offer.valid_until;
    let forged = Offer::sign(terms.clone(), [0; 32], valid_until, &key(82));
    let refused = market.town.try_one(81, answer(&forged), &[]);
    assert!(matches!(refused, Err(TransactionError::Contract(_))), "{refused:?}");

    market.town.ok(81, answer(&offer), &[]);
    let again = market.town.try_one(81, answer(&offer), &[]);
    assert_eq!(again, Err(TransactionError::AuctionStep(id)));
    let award = market.auction(id).award.unwrap();
    let Some(Demand::Answered(found)) = award.demand else { panic!("{award:?}") };
    let agreement = found.verify().unwrap().agree(&key(71));
    market.town.ok(BUYER, Body::ContractOpen(Box::new(agreement)), &[]);
    assert_eq!(market.ended(id), End::Contracted(terms.id()));
    assert_eq!(market.burned(), 0);
}

/// The outlet that was demanded is broken.
#[test]
fn the_answer_may_name_another_outlet_of_the_station() {
    let mut market = market();
    let (zone, owner, power_rated) = (*market.town.state.zone_id(), account(81), Power::from_w(11_000));
    let second = Body::register_evse(&zone, &owner, (station_of(81), 2), (2, power_rated), &key(101));
    market.town.ok(81, second, &[]);
    let (_, id) = market.accepted();
    let terms = market.terms_of(id);
    market.town.ok(BUYER, Body::AuctionDemand(Box::new(terms.clone())), &[]);
    let (evse, meter_key) = (EvseId::of(&station_of(81), 2), key(101).public());
    let other = market.offer(&ContractTerms { evse, meter_key, power_rated, ..terms });
    market.town.ok(81, Body::AuctionOffer(Box::new(other)), &[]);
}

#[test]
fn a_buyer_that_does_not_use_the_offer_it_demanded_loses_its_deposit() {
    let mut market = market();
    let (_, id) = market.accepted();
    let terms = market.terms_of(id);
    market.town.ok(BUYER, Body::AuctionDemand(Box::new(terms.clone())), &[]);
    let offer = market.offer(&terms);
    market.town.ok(81, Body::AuctionOffer(Box::new(offer)), &[]);
    market.town.pass(secs(610));
    market.assert_ended(id, End::BuyerFailed, [BUYERS, 0, 0, 0]);
}

/// A partition or a power cut: no block for hours, in the middle of each step. Nobody could do anything, nobody pays.
#[test]
fn time_in_which_the_chain_stands_still_does_not_count() {
    let hours = secs(5 * 3600);
    let mut market = market();
    let (mut buyer, id) = market.closed(market.terms());
    market.town.block_at(hours, Vec::new());
    assert_eq!(market.town.state.totals().halted_ms, 5 * 3_600_000);
    buyer.on_closed(market.candidates(id), &mut market.rng).unwrap();
    for n in [0u8, 1, 2] {
        let release = market.release(n.into(), id);
        market.town.ok(n + 1, Body::AuctionRelease(Box::new(release.clone())), &[]);
        buyer.on_release(&release, &mut market.rng).unwrap();
    }
    let again = market.buyer_again(&buyer);
    market.town.pass(secs(200));
    market.town.block_at(hours, Vec::new());
    market.town.pass(secs(80));
    let outcome = market.decide(&mut buyer);
    market.town.ok(BUYER, Body::AuctionOutcome(outcome.clone()), &[]);
    market.town.block_at(hours, Vec::new());
    market.town.ok(81, Body::AuctionAccept(Accept::of(&outcome, station_of(81))), &[]);
    market.town.block_at(hours, Vec::new());
    market.town.pass(secs(590));
    assert_eq!((market.deposited(), market.burned()), ([BUYERS, BIDS, BIDS, BIDS], 0));
    // Then time runs again, and only what is over is over.
    market.town.pass(secs(20));
    market.assert_ended(id, End::BuyerFailed, [BUYERS, 0, 0, 0]);
    drop(again);
}

/// Gaps that are in order are not counted: nobody lengthens an auction by being a little slow.
#[test]
fn gaps_up_to_thirty_seconds_are_not_a_standstill() {
    let mut market = market();
    let (_, id) = market.opened(market.terms());
    for _ in 0..11 {
        market.town.block_at(secs(30), Vec::new());
    }
    assert_eq!(market.town.state.totals().halted_ms, 0);
    market.assert_ended(id, End::BuyerFailed, [BUYERS, 0, 0, 0]);
}
