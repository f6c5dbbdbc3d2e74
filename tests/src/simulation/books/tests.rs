//! Books beside a ledger of one validator: they agree while nothing is wrong, and each kind of wrong is seen.

use super::*;
use crate::{
    simulation::{Dice, workload::Workload},
    zone::zone_file,
};
use ohmesh_auction::{
    key::{EpochKey, KeyShares, ValidatorIndex, solo},
    release::Release,
};
use ohmesh_ledger::{KeyGroup, Rules, Transaction, Verified};
use ohmesh_units::SigningKey;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::time::Duration;

/// A zone of one validator, who does its duties; and books.
struct Town {
    state: State,
    now: Timestamp,
    workload: Workload,
    random: ChaCha20Rng,
    key: Option<(EpochKey, KeyShares)>,
    number: u128,
    books: Books,
}

impl Town {
    fn new(seed: u64) -> Self {
        let created = Timestamp::from_millis(1_800_000_000_000);
        let mut zone = zone_file(&[1], Rules::default(), created).zone;
        let regulator = crate::zone::key(super::super::market::REGULATOR).public();
        zone.regulators = Some(KeyGroup { threshold: 1, keys: vec![regulator] });
        Self {
            state: State::genesis(zone.clone()),
            now: created,
            workload: Workload::new(seed, true, Vec::new()),
            random: ChaCha20Rng::from_seed(Dice::new(seed, "town", 0).seed()),
            key: None,
            number: 0,
            books: Books::new(zone),
        }
    }

    fn by_validator(&mut self, body: Body) -> SignedTransaction {
        self.number += 1;
        let own: SigningKey = crate::zone::key(1);
        let valid_until = self.now.checked_add(Duration::from_secs(60)).unwrap();
        let (zone, sender) = (*self.state.zone_id(), AccountId::of(&own.public()));
        Transaction { zone, sender, number: self.number, valid_until, body }.sign(&[&own])
    }

    /// The key at first, then a release of each auction that is due.
    fn duties(&mut self) -> Vec<SignedTransaction> {
        let Some((key, shares)) = self.key.take() else {
            let (key, shares) = solo(*self.state.zone_id(), 0, ValidatorIndex(0), &mut self.random);
            self.key = Some((key.clone(), shares));
            return vec![self.by_validator(Body::KeySolo(Box::new(key)))];
        };
        let head = self.state.head();
        let mut owed = Vec::new();
        for object in self.state.objects() {
            if let Object::Auction(auction) = object
                && auction.opening.is_none()
                && auction.intent.terms().is_due(head.time, head.height - auction.height)
                && !auction.bids.is_empty()
            {
                owed.push(
                    Release::create(&shares, &key, &auction.intent, &auction.bids, &mut self.random).unwrap(),
                );
            }
        }
        self.key = Some((key, shares));
        owed.into_iter().map(|release| self.by_validator(Body::AuctionRelease(Box::new(release)))).collect()
    }

    /// The next block, `later` than the one before.
    fn block(&mut self, later: Duration) -> Block {
        self.now = self.now.checked_add(later).unwrap();
        let mut sent = self.duties();
        for _ in 0..3 {
            let wish = self.workload.next(&self.state, self.now);
            wish.secret.iter().for_each(|secret| self.books.learn(*secret));
            sent.push(wish.signed);
        }
        let zone = self.state.zone_id();
        let sent: Vec<Verified> = sent.into_iter().filter_map(|one| Verified::one(zone, one).ok()).collect();
        let proposed = self.state.propose(self.now, 0, &sent);
        self.state.apply(proposed.applied);
        proposed.block
    }

    /// Blocks until one holds what is looked for; those before it are read.
    fn until(&mut self, wanted: impl Fn(&Body) -> bool) -> Option<Block> {
        for _ in 0..400 {
            let block = self.block(Duration::from_millis(1_000));
            if block.transactions.iter().any(|signed| wanted(&signed.transaction.body)) {
                return Some(block);
            }
            self.books.read(&block, &self.state).unwrap();
            self.books.compare(&self.state).unwrap();
        }
        None
    }
}

/// The rule that is broken when a block is read that was changed.
fn broken(wanted: impl Fn(&Body) -> bool + Copy, change: impl Fn(&mut Books, &mut Block)) -> &'static str {
    for seed in 1..40 {
        let mut town = Town::new(seed);
        if let Some(mut block) = town.until(wanted) {
            change(&mut town.books, &mut block);
            let read = town.books.read(&block, &town.state).and_then(|()| town.books.compare(&town.state));
            return read.expect_err("what was changed is seen").rule;
        }
    }
    panic!("nobody ever did it");
}

/// What somebody did with a contract, done again.
fn twice(_: &mut Books, block: &mut Block) {
    let is_step = |body: &Body| {
        matches!(body, Body::ContractSettle { .. } | Body::ContractWaive(_) | Body::ContractDispute { .. })
    };
    let again = block.transactions.iter().filter(|signed| is_step(&signed.transaction.body)).cloned();
    let again: Vec<SignedTransaction> = again.collect();
    block.transactions.extend(again);
}

#[test]
fn books_and_ledger_agree_on_every_course_a_sale_may_take() {
    let mut sum = BookCounts::default();
    for seed in 1..=24 {
        let mut town = Town::new(seed);
        for height in 1..=60 {
            // One night of a day, one of a week.
            let hours = if height == 45 {
                25
            } else if height == 55 {
                8 * 24
            } else {
                0
            };
            let block = town.block(Duration::from_secs(1 + hours * 3600));
            town.books.read(&block, &town.state).unwrap();
            town.books.compare(&town.state).unwrap();
        }
        let counts = town.books.counts;
        sum.won += counts.won;
        sum.paid += counts.paid;
        sum.disputed += counts.disputed;
        sum.resolved += counts.resolved;
        sum.lapsed += counts.lapsed;
        sum.unsold += counts.unsold;
    }
    assert!(sum.won >= 30 && sum.paid >= 15 && sum.disputed >= 5, "{sum:?}");
    assert!(sum.resolved >= 3 && sum.lapsed >= 3 && sum.unsold >= 3, "{sum:?}");
}

#[test]
fn a_sale_whose_grid_legs_are_not_posted_is_seen() {
    let settles = |body: &Body| matches!(body, Body::ContractSettle { checkpoint: Some(_), .. });
    let rule = broken(settles, |_, block| {
        block.header.state.grid.postings = postings_root(Journal::Grid, &[]);
    });
    assert_eq!(rule, "I7");
}

#[test]
fn a_tariff_that_is_not_the_one_in_force_is_seen() {
    let opens = |body: &Body| matches!(body, Body::ContractOpen(_));
    let rule =
        broken(opens, |books, _| books.tariffs.push((books.zone.created, Price::from_micro_per_kwh(80_001))));
    assert_eq!(rule, "I7");
}

#[test]
fn a_contract_that_ends_twice_is_seen() {
    assert_eq!(broken(|body| matches!(body, Body::ContractSettle { checkpoint: Some(_), .. }), twice), "I5");
    assert_eq!(broken(|body| matches!(body, Body::ContractWaive(_)), twice), "I5");
    assert_eq!(broken(|body| matches!(body, Body::ContractDispute { .. }), twice), "I5");
}

#[test]
fn a_winner_who_is_not_the_lowest_is_seen() {
    let decides =
        |body: &Body| matches!(body, Body::AuctionOutcome(outcome) if outcome.decision.win().is_some());
    let rule = broken(decides, |books, block| {
        for signed in &block.transactions {
            let Body::AuctionOutcome(outcome) = &signed.transaction.body else { continue };
            let station = outcome.decision.win().unwrap().station;
            let sealed = books.secrets.get_mut(&outcome.auction).unwrap();
            sealed.prices.get_mut(&station).unwrap().0 += 1;
        }
    });
    assert_eq!(rule, "I8");
}

#[test]
fn a_bid_after_the_deadline_is_seen() {
    let bids = |body: &Body| matches!(body, Body::AuctionBid { .. });
    let rule = broken(bids, |_, block| {
        block.header.time = block.header.time.checked_add(Duration::from_secs(7)).unwrap();
    });
    assert_eq!(rule, "I8");
}

#[test]
fn energy_that_is_sold_twice_is_seen() {
    let sells = |body: &Body| matches!(body, Body::PostSale { .. });
    let rule = broken(sells, |books, block| {
        for signed in &block.transactions {
            let Body::PostSale { register_start, .. } = signed.transaction.body else { continue };
            let from = register_start.as_wh();
            for outlet in books.outlets.values_mut() {
                let meter = outlet.meter;
                outlet.sold.push((meter, from, from + 1));
            }
        }
    });
    assert_eq!(rule, "I10");
}

#[test]
fn an_agent_with_other_money_is_seen() {
    let mut town = Town::new(1);
    let mut other = Town::new(2);
    for _ in 0..30 {
        for town in [&mut town, &mut other] {
            let block = town.block(Duration::from_secs(1));
            town.books.read(&block, &town.state).unwrap();
        }
    }
    town.books.compare(&town.state).unwrap();
    assert_eq!(town.books.compare(&other.state).unwrap_err().rule, "I1");
}
