//! What the executed blocks hold of one auction: every message with the block it is in, and what execution made of
//! them.

use super::prefix::Prefix;
use crate::command::ledger::Seen;
use ohmesh_auction::{bid::Bid, intent::Intent, key::EpochKey, outcome::Outcome, release::Release};
use ohmesh_contract::Terms as ContractTerms;
use ohmesh_ledger::{Auction, Body, End, Header, Object, SignedTransaction, State};
use ohmesh_units::{AccountId, AuctionId, InCell, StationId, Timestamp};
use std::collections::BTreeMap;

/// A message, and the block that holds it.
pub(super) struct Ledgered<T> {
    pub(super) height: u64,
    pub(super) time: Timestamp,
    pub(super) message: T,
}

impl<T> Ledgered<T> {
    fn new(header: &Header, message: T) -> Self {
        Self { height: header.height, time: header.time, message }
    }
}

/// All of one auction.
pub(super) struct Trail {
    pub(super) id: AuctionId,
    pub(super) buyer: AccountId,
    pub(super) intent: Ledgered<Intent>,
    /// In ledger order, as are the next.
    pub(super) bids: Vec<Ledgered<Bid>>,
    pub(super) releases: Vec<Ledgered<Release>>,
    /// The newest.
    pub(super) outcome: Option<Ledgered<Outcome>>,
    /// Those before it: each named a winner that did not come.
    pub(super) earlier: Vec<Ledgered<Outcome>>,
    /// What buyer and winner agreed on.
    pub(super) contract: Option<ContractTerms>,
    /// The key that seals its bids.
    pub(super) key: Option<EpochKey>,
    /// The auction as the ledger last had it.
    pub(super) auction: Option<Auction>,
    /// Where the stations that have bid stand in its frame, as execution found it.
    pub(super) positions: BTreeMap<StationId, InCell>,
    /// How it ended, if it has.
    pub(super) end: Option<End>,
}

impl Trail {
    fn new(id: AuctionId, buyer: AccountId, intent: Ledgered<Intent>) -> Self {
        let (bids, releases, earlier, positions) = Default::default();
        let (outcome, contract, key, auction, end) = (None, None, None, None, None);
        Self { id, buyer, intent, bids, releases, outcome, earlier, contract, key, auction, positions, end }
    }

    /// The winners that did not come, in order.
    pub(super) fn no_shows(&self) -> &[StationId] {
        self.auction.as_ref().map_or(&[], |auction| &auction.no_shows)
    }

    fn see(&mut self, header: &Header, body: &Body) {
        match body {
            Body::AuctionBid { bid, .. } if bid.auction == self.id => {
                self.bids.push(Ledgered::new(header, (**bid).clone()));
            }
            Body::AuctionRelease(release) if release.auction == self.id => {
                self.releases.push(Ledgered::new(header, (**release).clone()));
            }
            Body::AuctionOutcome(outcome) if outcome.auction == self.id => {
                let newest = Ledgered::new(header, (**outcome).clone());
                self.earlier.extend(self.outcome.replace(newest));
            }
            Body::ContractOpen(agreement) if agreement.offer.terms.auction == self.id => {
                self.contract = Some(agreement.offer.terms.clone());
            }
            _ => {}
        }
    }

    /// Keeps what the state has of it. A key is erased when nothing needs it any more, so it is taken while it is
    /// there.
    fn look(&mut self, state: &State) {
        if self.key.is_none() {
            self.key = state.epoch_key(self.intent.message.terms.key_epoch).cloned();
        }
        match state.object(&self.id.into()) {
            Some((_, Object::Auction(auction))) => {
                self.positions.extend(auction.bids.iter().map(|bid| (bid.station, bid.position)));
                self.auction = Some((**auction).clone());
            }
            Some((_, Object::Finished(finished))) => self.end = Some(finished.end),
            _ => {}
        }
    }
}

/// Looks for one auction in blocks as they are executed.
pub(super) struct Search {
    wanted: Prefix,
    pub(super) found: Option<Trail>,
    /// Others whose id begins alike, as many as are worth naming.
    pub(super) others: Vec<AuctionId>,
}

impl Search {
    pub(super) fn new(wanted: Prefix) -> Self {
        Self { wanted, found: None, others: Vec::new() }
    }

    /// Takes what a block holds.
    pub(super) fn see(&mut self, seen: &Seen<'_>) {
        self.look(seen.before);
        for SignedTransaction { transaction, .. } in &seen.block.transactions {
            if let Body::AuctionOpen(intent) = &transaction.body {
                self.open(&seen.block.header, transaction.sender, intent);
            } else if let Some(trail) = &mut self.found {
                trail.see(&seen.block.header, &transaction.body);
            }
        }
    }

    /// Takes what a state has.
    pub(super) fn look(&mut self, state: &State) {
        if let Some(trail) = &mut self.found
            && trail.end.is_none()
        {
            trail.look(state);
        }
    }

    fn open(&mut self, header: &Header, buyer: AccountId, intent: &Intent) {
        let id = intent.id();
        if !self.wanted.matches(id) {
            return;
        }
        if self.found.is_none() {
            self.found = Some(Trail::new(id, buyer, Ledgered::new(header, intent.clone())));
        } else if self.others.len() < NAMED_MAX {
            self.others.push(id);
        }
    }
}

/// Auctions whose ids begin alike that are named besides the first.
const NAMED_MAX: usize = 7;
