//! Auctions: what was asked and bid in time, and who must win (I8).

use super::{Books, Breach, Read, breach, must, unknown};
use ohmesh_auction::{
    bid::LedgeredBid,
    intent::VerifiedIntent,
    key::EpochKey,
    outcome::{Outcome, Verdict},
    release::{Opening, Release, ReleaseError, VerifiedRelease},
};
use ohmesh_ledger::{Body, End, Object, State};
use ohmesh_units::{AccountId, AuctionId, Hash, InCell, Price, PriceTick, StationId, Timestamp};
use std::{collections::BTreeMap, time::Duration};

/// What somebody hides behind a commitment.
#[derive(Clone, Copy, Debug)]
pub enum Secret {
    /// Where the buyer is, and what it would pay at most.
    Intent {
        /// The auction.
        auction: AuctionId,
        /// The place in the frame of the auction's area.
        place: InCell,
        /// The highest score that it takes.
        reserve: u32,
    },
    /// What a station asks.
    Bid {
        /// The auction.
        auction: AuctionId,
        /// The station.
        station: StationId,
        /// Its price.
        price: PriceTick,
    },
}

/// The secrets of one auction.
#[derive(Default)]
pub(super) struct Sealed {
    buyer: Option<(InCell, u32)>,
    pub(super) prices: BTreeMap<StationId, PriceTick>,
}

/// One auction.
pub(super) struct AuctionBook {
    intent: VerifiedIntent,
    pub(super) buyer: AccountId,
    height: u64,
    bids: Vec<LedgeredBid>,
    releases: Vec<VerifiedRelease>,
    opening: Option<Opening>,
    pub(super) award: Option<AwardBook>,
    /// Winners that did not come.
    no_shows: usize,
    /// When its step is over, and how long the chain had stood still when the step began.
    deadline: Timestamp,
    halted: Duration,
    /// How it ended.
    pub(super) end: Option<End>,
}

pub(super) struct AwardBook {
    pub(super) station: StationId,
    pub(super) seller: AccountId,
    pub(super) price: Price,
    outcome: Hash,
    pub(super) is_accepted: bool,
}

impl AuctionBook {
    /// The time of a step is over: it goes on for as long as the chain stood still in it, else somebody has failed. A winner
    /// that did not come leaves the others; nobody deposits anything here.
    fn time_over(&mut self, now: Timestamp, halted: Duration) {
        self.deadline = later(self.deadline, halted - self.halted);
        self.halted = halted;
        if self.deadline > now {
            return;
        }
        let award = self.award.take_if(|award| !award.is_accepted);
        let Some(award) = award else {
            self.end = Some(if self.opening.is_some() { End::BuyerFailed } else { End::TimedOut });
            return;
        };
        let at = self.bids.iter().position(|bid| bid.station == award.station).expect("it won with a bid");
        self.bids.remove(at);
        self.opening = self.opening.take().map(|opening| opening.without(at));
        self.no_shows += 1;
        if self.bids.is_empty() || self.no_shows == 3 {
            self.end = Some(End::NobodyCame);
        } else {
            self.deadline = later(now, DECIDE);
        }
    }

    pub(super) fn intent(&self) -> &VerifiedIntent {
        &self.intent
    }
}

impl Books {
    /// Somebody tells what it hides.
    pub fn learn(&mut self, secret: Secret) {
        match secret {
            Secret::Intent { auction, place, reserve } => {
                self.secrets.entry(auction).or_default().buyer = Some((place, reserve));
            }
            Secret::Bid { auction, station, price } => {
                self.secrets.entry(auction).or_default().prices.insert(station, price);
            }
        }
    }

    pub(super) fn auction(&mut self, sender: AccountId, body: &Body, state: &State) -> Read {
        match body {
            Body::AuctionOpen(intent) => {
                let key = key(state, intent.terms.key_epoch)?;
                let intent = intent.verify(key).map_err(|error| unproven("intent", &error))?;
                let (height, deadline) = (self.height, later(intent.terms().deadline, RELEASE));
                let halted = self.halted;
                let book = AuctionBook {
                    intent,
                    buyer: sender,
                    height,
                    bids: Vec::new(),
                    releases: Vec::new(),
                    opening: None,
                    award: None,
                    no_shows: 0,
                    deadline,
                    halted,
                    end: None,
                };
                let id = book.intent.id();
                let before = self.auctions.insert(id, book);
                must(before.is_none(), "I8", || format!("{id} is opened twice"))
            }
            Body::AuctionBid { bid, .. } => {
                let (owner, place) =
                    *self.stations.get(&bid.station).ok_or_else(|| unknown("station", &bid.station))?;
                must(owner == sender, "I8", || format!("{sender} bids for a station of {owner}"))?;
                let (now, height) = (self.now, self.height);
                let zone = self.zone.clone();
                let auction = self.running(bid.auction)?;
                let terms = auction.intent.terms();
                let in_time = now < terms.deadline && !terms.is_due(now, height - auction.height);
                must(in_time, "I8", || format!("a bid at {now}, after the deadline {}", terms.deadline))?;
                let twice = auction.bids.iter().any(|other| other.station == bid.station);
                must(!twice, "I8", || format!("{} bids twice", bid.station))?;
                let frame = zone.frame(terms.area).and_then(|frame| frame.locate(place));
                let place = frame.ok_or_else(|| unknown("place of station", &bid.station))?;
                let key = key(state, terms.key_epoch)?;
                let ledgered = bid.verify(&auction.intent, key, place);
                auction.bids.push(ledgered.map_err(|error| unproven("bid", &error))?);
                Ok(())
            }
            Body::AuctionRelease(release) => self.release(release, state),
            Body::AuctionOutcome(outcome) => self.outcome(sender, outcome, state),
            Body::AuctionAccept(accept) => {
                let (deadline, halted) = (later(self.now, CONTRACT), self.halted);
                let auction = self.running(accept.auction)?;
                let id = accept.auction;
                let award = auction.award.as_mut().filter(|award| {
                    award.seller == sender
                        && award.station == accept.station
                        && award.outcome == accept.outcome
                        && !award.is_accepted
                });
                let award = award.ok_or_else(|| unknown("award to be accepted of", &id))?;
                award.is_accepted = true;
                (auction.deadline, auction.halted) = (deadline, halted);
                Ok(())
            }
            other => breach("books", format!("{other:?} is no part of an auction")),
        }
    }

    /// The auction that has not ended.
    pub(super) fn running(&mut self, id: AuctionId) -> Read<&mut AuctionBook> {
        let now = self.now;
        let auction = self.auctions.get_mut(&id);
        let auction = auction.filter(|auction| auction.end.is_none() && now < auction.deadline);
        auction.ok_or_else(|| unknown("running auction", &id))
    }

    fn release(&mut self, release: &Release, state: &State) -> Read {
        let (now, height, halted) = (self.now, self.height, self.halted);
        let auction = self.running(release.auction)?;
        let terms = auction.intent.terms();
        let is_due = terms.is_due(now, height - auction.height) && auction.opening.is_none();
        must(is_due, "I8", || format!("{} releases at {now}, out of turn", release.validator.0))?;
        let key = key(state, terms.key_epoch)?;
        let verified = release.verify(key, &auction.intent, &auction.bids);
        auction.releases.push(verified.map_err(|error| unproven("release", &error))?);
        match Opening::combine(key, &auction.intent, &auction.bids, &auction.releases) {
            Ok(opening) => {
                auction.opening = Some(opening);
                (auction.deadline, auction.halted) = (later(now, DECIDE), halted);
                Ok(())
            }
            Err(ReleaseError::TooFewShares { .. }) => Ok(()),
            Err(error) => Err(unproven("opening", &error)),
        }
    }

    /// I8: the winner follows from the blocks' bytes, and is who the hidden numbers say; every bid was in time.
    fn outcome(&mut self, sender: AccountId, outcome: &Outcome, state: &State) -> Read {
        let id = outcome.auction;
        let expected = self.winner(id)?;
        let (now, height) = (self.now, self.height);
        let auction = self.running(id)?;
        let is_due = auction.intent.terms().is_due(now, height - auction.height);
        must(is_due && auction.buyer == sender && auction.award.is_none(), "I8", || {
            format!("{sender} ends {id} before its time, twice, or for another")
        })?;
        let key = key(state, auction.intent.terms().key_epoch)?;
        let opening = match &auction.opening {
            Some(opening) => opening.clone(),
            None => Opening::combine(key, &auction.intent, &auction.bids, &[])
                .map_err(|error| unproven("opening", &error))?,
        };
        let verdict = outcome.verify(key, &auction.intent, &auction.bids, &opening);
        let found = match verdict.map_err(|error| unproven("outcome", &error))? {
            Verdict::Won { station, price, .. } => Some((station, price)),
            Verdict::NoEligibleBid => None,
        };
        must(found == expected, "I8", || format!("{id}: {found:?} wins, the lowest is {expected:?}"))?;
        let halted = self.halted;
        let seller = found.and_then(|(station, _)| self.stations.get(&station)).map(|(owner, _)| *owner);
        let auction = self.running(id)?;
        match (found, seller) {
            (Some((station, price)), Some(seller)) => {
                (auction.deadline, auction.halted) = (later(now, ACCEPT), halted);
                let outcome = outcome.hash();
                auction.award = Some(AwardBook { station, seller, price, outcome, is_accepted: false });
                self.counts.won += 1;
            }
            _ => {
                auction.end = Some(End::NobodyEligible);
                self.counts.unsold += 1;
            }
        }
        Ok(())
    }

    /// Who must win, and the price, by what buyer and bidders hide: the lowest score of those in the blocks, the
    /// earlier one if two are equal; nobody if all are above the reserve.
    fn winner(&self, id: AuctionId) -> Read<Option<(StationId, Price)>> {
        let auction = self.auctions.get(&id).ok_or_else(|| unknown("auction", &id))?;
        let sealed = self.secrets.get(&id).ok_or_else(|| unknown("secret of auction", &id))?;
        let (place, reserve) = sealed.buyer.ok_or_else(|| unknown("buyer of auction", &id))?;
        let terms = auction.intent.terms();
        let mut best: Option<(u64, StationId, PriceTick)> = None;
        for bid in &auction.bids {
            let price = sealed.prices.get(&bid.station).ok_or_else(|| unknown("price of", &bid.station))?;
            let apart = |a: i32, b: i32| u64::from(a.abs_diff(b)).pow(2);
            let detour = apart(place.x, bid.position.x) + apart(place.y, bid.position.y);
            let cost = u64::from(price.0) * u64::from(terms.energy.as_kwh());
            let score = cost + u64::from(terms.kappa.weight()) * detour;
            if best.is_none_or(|(least, ..)| score < least) {
                best = Some((score, bid.station, *price));
            }
        }
        let best = best.filter(|(score, ..)| *score <= u64::from(reserve));
        Ok(best.map(|(_, station, price)| (station, terms.tick.price(price))))
    }

    pub(super) fn end_auctions(&mut self) {
        let (now, halted) = (self.now, self.halted);
        for auction in self.auctions.values_mut() {
            if auction.end.is_none() && auction.deadline <= now {
                auction.time_over(now, halted);
                self.counts.unsold += u64::from(auction.end.is_some());
                self.counts.no_shows +=
                    u64::from(auction.end.is_none() && auction.deadline == later(now, DECIDE));
            }
        }
    }

    pub(super) fn compare_auctions(&self, state: &State) -> Read {
        for (id, book) in &self.auctions {
            let same = match (state.object(&Hash::from(*id)), book.end) {
                (Some((_, Object::Finished(finished))), Some(end)) => finished.end == end,
                (Some((_, Object::Auction(auction))), None) => {
                    let award = auction.award.as_ref();
                    let award = award.map(|award| (award.station, award.price, award.is_accepted));
                    auction.bids == book.bids
                        && auction.deadline == book.deadline
                        && auction.opening == book.opening
                        && award == book.award.as_ref().map(|a| (a.station, a.price, a.is_accepted))
                }
                _ => false,
            };
            must(same, "I8", || {
                format!("an agent's auction {id} is not that of the blocks, {:?}", book.end)
            })?;
        }
        Ok(())
    }
}

fn key(state: &State, epoch: u64) -> Read<&EpochKey> {
    state.epoch_key(epoch).ok_or_else(|| unknown("auction key of epoch", &epoch))
}

fn unproven(what: &str, error: &dyn std::error::Error) -> Breach {
    Breach { rule: "I8", seen: format!("a block holds an {what} that is not proven: {error}") }
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).expect("a time of this century")
}

/// How long each step of an auction may take, by the table of the ledger.
const RELEASE: Duration = Duration::from_secs(120);
const DECIDE: Duration = Duration::from_secs(300);
const ACCEPT: Duration = Duration::from_secs(120);
const CONTRACT: Duration = Duration::from_secs(600);
