//! Auctions: which to bid in, at what price, and which awards to take.

use super::{BIDS_PER_EVSE, Effect, Goal, SALES_MAX, Sale, Seller, SellerEvent, sale::Kept};
use ohmesh_auction::{
    award::{Accept, Award},
    outcome::{Outcome, Verdict},
    role::{BidderAction, Site},
    strategy::{Ask, CostPlus, Strategy},
};
use ohmesh_ledger::{Auction, Block, Body, Object, State};
use ohmesh_ocpp::session::Command;
use ohmesh_units::{AuctionId, EvseId, Money, Power, Price, PublicKey, StationId, Timestamp, to_hex};
use rand_chacha::rand_core::Rng as _;
use std::time::Duration;

/// A strategy that never asks for less than a floor: the grid tariff, which a contract's price must cover.
pub struct Floored {
    /// What would be asked for.
    pub strategy: CostPlus,
    /// The least price.
    pub floor: Price,
}

impl Strategy for Floored {
    fn price(&self, ask: &Ask) -> Option<Price> {
        self.strategy.price(ask).map(|price| price.max(self.floor)).filter(|price| *price <= ask.price_cap)
    }
}

impl Seller {
    /// A decided block.
    pub(super) fn on_block(&mut self, now: Timestamp, block: &Block, state: &State) {
        if block.header.height <= self.height {
            return;
        }
        self.height = block.header.height;
        self.read_registry(state);
        let at = block.header.time;
        self.read_tariff(state);
        for signed in &block.transactions {
            let transaction = &signed.transaction;
            match &transaction.body {
                Body::AuctionOpen(intent) => self.consider(now, intent.id(), state),
                Body::AuctionOutcome(outcome) => self.on_outcome(now, outcome, state),
                Body::ContractOpen(agreement) => self.on_opened(now, agreement, at),
                Body::ContractStart(start) => self.on_started(start, at),
                Body::ContractSettle { record, start, checkpoint } => {
                    let start = start.as_deref();
                    self.on_settled(now, transaction.sender, record, start, checkpoint.as_deref(), at);
                }
                _ => {}
            }
        }
        self.close_bids(state);
        self.look_at_ends(now, at, state);
        self.retry(state);
    }

    /// The grid tariff that a contract must name now, and that no bid may be below.
    fn read_tariff(&mut self, state: &State) {
        let tariff = state.governance().tariff(state.head().time);
        if self.tariff != tariff {
            self.tariff = tariff;
            for desk in self.desks.values_mut() {
                desk.bidder.strategy_mut().floor = tariff.price;
            }
        }
    }

    /// Bids in a new auction, with every station that can serve it.
    fn consider(&mut self, now: Timestamp, id: AuctionId, state: &State) {
        let Some(auction) = running(state, id) else { return };
        let terms = auction.intent.terms();
        let Some(key) = state.epoch_key(terms.key_epoch) else { return };
        if auction.award.is_some() || state.head().time >= terms.deadline {
            return;
        }
        let stations: Vec<StationId> = self.desks.keys().copied().collect();
        for station in stations {
            let is_in = auction.bids.iter().any(|bid| bid.station == station);
            if is_in || self.bids.contains_key(&(id, station)) || !self.may_bid(station, auction, state) {
                continue;
            }
            let Some(evse) = self.free_outlet(station, terms.connectors.bits(), terms.power_min) else {
                continue;
            };
            let power = self.outlets[&evse].set.power;
            let site = Site { start: now, power, load_permille: self.load_permille(station) };
            let Some(desk) = self.desks.get_mut(&station) else { continue };
            match desk.bidder.on_intent(&auction.intent, key, &site, &mut self.rng) {
                Ok(actions) => {
                    for action in actions {
                        match action {
                            BidderAction::Bid(bid) => {
                                self.bids.insert((id, station), evse);
                                self.submit(id, Goal::Bid(station), Body::AuctionBid { bid, evse });
                                self.note(SellerEvent::Bid { auction: id, station });
                            }
                            BidderAction::Pass(reason) => {
                                self.note(SellerEvent::Passed { auction: id, station, reason });
                            }
                            _ => {}
                        }
                    }
                }
                Err(reason) => {
                    self.note(SellerEvent::Failed { auction: id, station, reason: Some(reason) });
                }
            }
        }
    }

    /// Whether the ledger would take a bid of the station, and it could read the award.
    fn may_bid(&self, station: StationId, auction: &Auction, state: &State) -> bool {
        let Some(desk) = self.desks.get(&station) else { return false };
        let may_win = |id: AuctionId| {
            let award = running(state, id).map(|auction| auction.award.as_ref());
            award.is_some_and(|award| award.is_none_or(|award| !award.is_accepted))
        };
        let open = self.bids.keys().filter(|(id, bidder)| *bidder == station && may_win(*id)).count();
        // Most bids lose. But where a winner without an outlet loses its deposit, no more are made than can be served.
        let most = if auction.deposits.bid > Money::ZERO { 1 } else { BIDS_PER_EVSE };
        let Some((_, Object::Station(found))) = state.object(&station.into()) else { return false };
        let frame = state.zone().frame(auction.intent.terms().area);
        open < most * desk.evses.len()
            && self.sales.len() < SALES_MAX
            && found.owner == self.account
            && found.award_key == desk.seal
            && frame.and_then(|frame| frame.locate(found.position)).is_some_and(|at| at.is_eligible())
    }

    /// The free outlet of least power that fits.
    pub(super) fn free_outlet(
        &self,
        station: StationId,
        connectors: u16,
        power_min: Power,
    ) -> Option<EvseId> {
        let evses = &self.desks.get(&station)?.evses;
        let fits = |evse: &&EvseId| {
            self.is_free(evse)
                && self.outlets.get(*evse).is_some_and(|outlet| outlet.fits(connectors, power_min))
        };
        evses.iter().filter(fits).min_by_key(|evse| (self.outlets[*evse].set.power, **evse)).copied()
    }

    /// Outlets that are not free, in thousandths.
    fn load_permille(&self, station: StationId) -> u16 {
        let Some(desk) = self.desks.get(&station) else { return 0 };
        let busy = desk.evses.iter().filter(|evse| !self.is_free(evse)).count();
        u16::try_from(busy * 1000 / desk.evses.len().max(1)).unwrap_or(1000)
    }

    /// An auction is decided: our stations hear whether they won.
    fn on_outcome(&mut self, now: Timestamp, outcome: &Outcome, state: &State) {
        let id = outcome.auction;
        let stations: Vec<StationId> =
            self.bids.keys().filter(|(auction, _)| *auction == id).map(|(_, station)| *station).collect();
        let Some(auction) = running(state, id).filter(|_| !stations.is_empty()) else { return };
        let Some(award) = auction.award.as_ref().filter(|award| award.outcome == outcome.hash()) else {
            return;
        };
        let verdict = Verdict::Won {
            bid: award.bid.into(),
            station: award.station,
            price: award.price,
            proven_best: award.is_proven_best,
        };
        for station in stations {
            let Some(evse) = self.bids.get(&(id, station)).copied() else { continue };
            let Some(desk) = self.desks.get_mut(&station) else { continue };
            match desk.bidder.on_outcome(&auction.intent, outcome, &verdict).as_deref() {
                Ok([BidderAction::Accept(accept), BidderAction::Meet(meet)]) => {
                    self.bids.remove(&(id, station));
                    self.on_won(now, auction, (station, evse), *accept, meet);
                }
                // Another has won. It may not come, and then this bid counts still.
                Ok(_) => {}
                Err(reason) => {
                    let reason = Some(*reason);
                    let shown = desk.bidder.unreadable(&auction.intent, outcome, &mut self.rng);
                    let _ = desk.bidder.on_void(&id);
                    self.bids.remove(&(id, station));
                    if let Ok(shown) = shown {
                        self.submit(id, Goal::Unreadable, Body::AuctionUnreadable(shown));
                    }
                    self.note(SellerEvent::Failed { auction: id, station, reason });
                }
            }
        }
    }

    /// Takes an award if an outlet is free: the one that the bid named, or another that fits.
    fn on_won(
        &mut self,
        now: Timestamp,
        auction: &Auction,
        (station, bid_for): (StationId, EvseId),
        accept: Accept,
        meet: &Award,
    ) {
        let (id, terms) = (auction.intent.id(), auction.intent.terms());
        // A buyer that says nonsense is nobody's peer: it is accepted, and fails to open the contract.
        let peer = <[u8; 32]>::try_from(meet.rendezvous()).ok().map(PublicKey::from_bytes);
        let (connectors, power_min) = (terms.connectors.bits(), terms.power_min);
        let free = Some(bid_for).filter(|evse| self.is_free(evse));
        let free = free.or_else(|| self.free_outlet(station, connectors, power_min));
        let free = free.or_else(|| Some(bid_for).filter(|evse| self.is_unheard(evse)));
        let (Some(evse), Some(award)) = (free.filter(|_| self.sales.len() < SALES_MAX), &auction.award)
        else {
            return self.note(SellerEvent::Unserved { auction: id, station });
        };
        let kept = Kept {
            auction: id,
            station,
            peer,
            buyer_key: terms.buyer,
            price: award.price,
            energy: terms.energy.energy(),
            connectors,
            power_min,
            evse,
            token: self.new_token(),
            // Positive, as some chargers demand.
            reservation: i32::try_from(self.rng.next_u32() >> 1).unwrap_or(1).max(1),
            is_reserved: true,
            plugged: None,
            flow: None,
            is_halted: false,
            contract: None,
            receipt: None,
        };
        let reserve = self.reserve(&kept, later(now, CONTRACT_WITHIN));
        self.sales.insert(id, Sale::new(kept));
        self.submit(id, Goal::Accept, Body::AuctionAccept(accept));
        self.command(&evse, reserve);
        self.note(SellerEvent::Won { auction: id, evse, price: award.price });
    }

    pub(super) fn reserve(&self, kept: &Kept, until: Timestamp) -> Command {
        let evse = self.outlets.get(&kept.evse).map_or(0, |outlet| outlet.set.charger_evse);
        Command::Reserve { evse, reservation: kept.reservation, token: kept.token.clone(), until }
    }

    /// A token that nobody can guess and every charger can take: 20 characters.
    fn new_token(&mut self) -> String {
        let mut bytes = [0; TOKEN_BYTES];
        self.rng.fill_bytes(&mut bytes);
        format!("{TOKEN_PREFIX}{}", to_hex(&bytes))
    }

    /// Forgets bids whose auction is over.
    fn close_bids(&mut self, state: &State) {
        let over: Vec<_> =
            self.bids.keys().filter(|(auction, _)| running(state, *auction).is_none()).copied().collect();
        for (auction, station) in over {
            self.bids.remove(&(auction, station));
            if let Some(desk) = self.desks.get_mut(&station) {
                let _ = desk.bidder.on_void(&auction);
            }
            self.effects.push(Effect::Note(SellerEvent::Lost { auction, station }));
        }
    }
}

/// The auction, while it runs.
pub(super) fn running(state: &State, id: AuctionId) -> Option<&Auction> {
    match state.object(&id.into()) {
        Some((_, Object::Auction(auction))) => Some(auction),
        _ => None,
    }
}

pub(super) fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::from_millis(u64::MAX))
}

/// Whether a token is one of a seller's: one that nobody waits for any more is still known as ours.
pub(super) fn is_own_token(token: &str) -> bool {
    let prefix = token.get(..TOKEN_PREFIX.len());
    token.len() == TOKEN_PREFIX.len() + 2 * TOKEN_BYTES
        && prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(TOKEN_PREFIX))
        && token[TOKEN_PREFIX.len()..].chars().all(|digit| digit.is_ascii_hexdigit())
}

/// What our tokens begin with.
const TOKEN_PREFIX: &str = "OM";

/// Random bytes of a token, two digits each.
const TOKEN_BYTES: usize = 9;

/// How long after the award its contract is open at the latest: the ledger's 120 s to accept, then 600 s.
pub(super) const CONTRACT_WITHIN: Duration = Duration::from_secs(720);
