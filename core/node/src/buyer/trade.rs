//! One purchase as a pure state machine: what has been proven, said or tapped comes in, steps go out in order. The
//! driver performs them and decides nothing.
//!
//! ```text
//!   Asked: bidding -> closed -> (choosing) --Outcome--> Decided --accepted--> Sale: outlets -> session
//!      '- NotOnLedger, NobodyBid,       ^                    |                     |     '- no offer: demanded on the ledger
//!         NobodyEligible, NotReleased   '- the winner does not come: the next best ---'- SellerSilent, NotOpened
//!   Sale: session --Opened--> charging --Finished--> the outlet's register --> Receipt
//! ```
//!
//! Every state ends by itself: each waits for an object of the ledger that has a deadline in block time.

mod sale;
mod saved;
#[cfg(test)]
mod tests;

pub(crate) use saved::Saved;

use super::{BuyError, Ended, OpenedBid, PurchaseNews, PurchaseReceipt, Settings, Timings, drive::Absence};
use ohmesh_auction::{
    award::Award as Rendezvous,
    intent::{Choice, Reserve, Terms},
    key::EpochKey,
    outcome::{Offer, Outcome},
    release::Opening,
    role::{Buyer, BuyerAction, Candidate, RoleError},
};
use ohmesh_contract::{BuyerSession, Exporter, Message, Refused, Timer};
use ohmesh_ledger::{Auction, Body, End, Finished, Object, Tariff};
use ohmesh_units::{
    AccountId, AuctionId, EvseId, Hash, InCell, Price, PublicKey, SigningKey, StationId, Timestamp, ZoneId,
};
use rand_core::CryptoRng;
use saved::{Open, Phase, SavedSale, Secret};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// What an agent has proven of one object: against which header, and the object. `None`: nobody proves one.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) height: u64,
    pub(crate) time: Timestamp,
    pub(crate) object: Option<Object>,
}

/// What of its zone and its node a purchase needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) zone: ZoneId,
    pub(crate) buyer: AccountId,
    /// The grid tariffs in the order of their times, as last proven: those of now and of the next day.
    pub(crate) tariffs: Vec<Tariff>,
    /// The agents, by place: a seller is spoken with through the one that has its key.
    pub(crate) agents: Vec<PublicKey>,
    /// The key that agents see: where the winner meets the buyer.
    pub(crate) transport: PublicKey,
}

impl Facts {
    fn agent_of(&self, account: &AccountId) -> Option<usize> {
        self.agents.iter().position(|key| AccountId::of(key) == *account)
    }

    /// The grid tariff in force at `now`.
    fn tariff(&self, now: Timestamp) -> Option<Tariff> {
        let mut in_force = self.tariffs.iter().filter(|tariff| tariff.from <= now);
        in_force.next_back().or(self.tariffs.first()).copied()
    }
}

/// What the driver does, in order.
#[derive(Debug)]
pub(crate) enum Step {
    /// Make [`Trade::saved`] durable; what follows waits for that.
    Save,
    /// Sign it and offer it to agents.
    Submit(Box<Body>),
    /// Tell the app.
    Tell(PurchaseNews),
    /// The seller's agent said what does not hold; it was dropped.
    Fault(Box<Refused>),
}

/// What the driver brings next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Want {
    /// The auction, by [`Trade::on_auction`].
    Auction,
    /// The outlets of this station, by [`Trade::on_outlets`].
    Outlets(StationId),
    /// Messages over the connection to this agent, and the auction or the open contract.
    Sale {
        /// Its place in [`Facts::agents`].
        agent: usize,
        /// The contract to look at instead of the auction, once it is open.
        contract: Option<Hash>,
        /// Whether something is about to happen on the ledger.
        is_urgent: bool,
    },
    /// The meter's register as the ledger has it, by [`Trade::on_register`].
    Register(EvseId),
    /// It is over.
    Nothing,
}

/// One purchase.
pub(crate) struct Trade {
    saved: Saved,
    auction: AuctionId,
    facts: Facts,
    settings: Settings,
    bidding: Bidding,
    role: Option<Buyer>,
    /// Who owns the stations that have bid.
    owners: BTreeMap<StationId, AccountId>,
    offers: Vec<Offer>,
    session: Option<BuyerSession>,
    exporter: Option<Exporter>,
    /// When the draft was last said.
    drafted: Option<Timestamp>,
    timers: BTreeMap<Timer, Timestamp>,
    outbox: VecDeque<Message>,
    /// The end of the contract on the ledger, until the register says how much was sold.
    posted: Option<Finished>,
    /// When what the current state waits for was last submitted.
    submitted: Option<Timestamp>,
    refused: Option<String>,
    is_on_ledger: bool,
    steps: VecDeque<Step>,
}

/// How far an auction is before it is decided.
enum Bidding {
    Running,
    Closed,
    Choosing,
}

impl Trade {
    /// Asks for energy: makes the intent. Nothing is submitted before [`Trade::start`].
    #[allow(clippy::too_many_arguments, reason = "each is one fact, drawn once")]
    pub(crate) fn ask(
        terms: Terms,
        (position, reserve): (InCell, Reserve),
        epoch_key: EpochKey,
        key: SigningKey,
        facts: Facts,
        settings: Settings,
        now: Timestamp,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, BuyError> {
        let (role, action) = Buyer::ask(terms, position, reserve, epoch_key.clone(), rng)?;
        let BuyerAction::PublishIntent(intent) = action else {
            unreachable!("a buyer that asks publishes its intent");
        };
        let secret = role.secret().expect("a buyer that has asked holds its secret");
        let phase = Phase::Asked { secret: Secret::new(&*secret.to_bytes()) };
        let timings = Timings { asked: now, ..Timings::default() };
        let open = Open { intent: *intent, epoch_key, seed: Secret::new(&*key.seed()), timings, phase };
        let mut trade = Self::new(Saved::Open(Box::new(open)), facts, settings);
        trade.role = Some(role);
        trade.steps.push_back(Step::Save);
        Ok(trade)
    }

    /// Goes on after a restart from what was saved.
    pub(crate) fn resume(
        saved: Saved,
        facts: Facts,
        settings: Settings,
        now: Timestamp,
    ) -> Result<Self, BuyError> {
        let mut trade = Self::new(saved, facts, settings);
        let Saved::Open(open) = &trade.saved else { return Ok(trade) };
        match &open.phase {
            Phase::Asked { secret } => {
                let intent = open.intent.verify(&open.epoch_key).map_err(RoleError::from)?;
                let secret = secret.buyer()?;
                trade.role = Some(Buyer::resume(intent, secret, open.epoch_key.clone()));
            }
            Phase::Decided { .. } => {}
            Phase::Sale(sale) => {
                if let Some(snapshot) = sale.session.clone() {
                    let (session, actions) = BuyerSession::resume(open.signing_key()?, snapshot);
                    trade.session = Some(session);
                    trade.perform(actions, now);
                }
            }
        }
        Ok(trade)
    }

    fn new(saved: Saved, facts: Facts, settings: Settings) -> Self {
        Self {
            auction: saved.id(),
            saved,
            facts,
            settings,
            bidding: Bidding::Running,
            role: None,
            owners: BTreeMap::new(),
            offers: Vec::new(),
            session: None,
            exporter: None,
            drafted: None,
            timers: BTreeMap::new(),
            outbox: VecDeque::new(),
            posted: None,
            submitted: None,
            refused: None,
            is_on_ledger: false,
            steps: VecDeque::new(),
        }
    }

    /// What has to be durable at every [`Step::Save`].
    pub(crate) fn saved(&self) -> &Saved {
        &self.saved
    }

    /// The auction's id, which is the purchase's.
    pub(crate) fn id(&self) -> AuctionId {
        self.auction
    }

    /// How it ended, once it has.
    pub(crate) fn result(&self) -> Option<Result<PurchaseReceipt, Ended>> {
        match &self.saved {
            Saved::Open(_) => None,
            Saved::Ended { end, .. } => Some(Err(end.clone())),
            Saved::Settled(receipt) => Some(Ok((**receipt).clone())),
        }
    }

    /// When it came how far.
    pub(crate) fn timings(&self) -> Timings {
        match &self.saved {
            Saved::Open(open) => open.timings,
            Saved::Ended { timings, .. } => *timings,
            Saved::Settled(receipt) => receipt.timings,
        }
    }

    /// What it means that an agent does not prove the auction.
    pub(crate) fn absence(&self) -> Absence {
        match &self.saved {
            _ if self.is_on_ledger => Absence::Withheld,
            Saved::Open(open) if matches!(open.phase, Phase::Asked { .. }) => {
                Absence::BelievedUntil(open.intent.terms.deadline)
            }
            _ => Absence::Withheld,
        }
    }

    /// The opened bids, best first, while the purchase waits for a choice.
    pub(crate) fn choices(&self) -> Option<Vec<OpenedBid>> {
        matches!(self.bidding, Bidding::Choosing).then(|| self.opened_bids())
    }

    /// The next step to perform.
    pub(crate) fn take_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// What the driver brings next.
    pub(crate) fn want(&self) -> Want {
        let Saved::Open(open) = &self.saved else { return Want::Nothing };
        match &open.phase {
            Phase::Asked { .. } | Phase::Decided { .. } => Want::Auction,
            Phase::Sale(sale) => self.want_of_sale(sale),
        }
    }

    /// Submits what the current state waits for: at the beginning, and after a restart.
    pub(crate) fn start(&mut self, now: Timestamp) {
        if let Saved::Open(open) = &self.saved
            && matches!(open.phase, Phase::Asked { .. } | Phase::Decided { .. })
        {
            self.submit(now);
        }
    }

    /// An agent's reason not to take what was submitted, or not to speak; the newest is told when the time is over.
    pub(crate) fn on_refused(&mut self, reason: String) {
        self.refused = Some(reason);
    }

    /// The auction as an agent has proven it, or as nobody does.
    pub(crate) fn on_auction(
        &mut self,
        seen: Seen,
        now: Timestamp,
        rng: &mut impl CryptoRng,
    ) -> Result<(), BuyError> {
        let Saved::Open(open) = &self.saved else { return Ok(()) };
        match seen.object {
            None => {
                if matches!(open.phase, Phase::Asked { .. }) && seen.time >= open.intent.terms.deadline {
                    let refused = self.refused.take();
                    self.end(Ended::NotOnLedger { refused }, now);
                } else {
                    self.submit(now);
                }
                Ok(())
            }
            Some(Object::Auction(auction)) => {
                let is_asked = matches!(open.phase, Phase::Asked { .. });
                if !std::mem::replace(&mut self.is_on_ledger, true) && is_asked {
                    self.refused = None;
                    self.tell(PurchaseNews::IntentOpen);
                }
                self.on_running(*auction, seen.height, seen.time, now, rng)
            }
            Some(Object::Finished(finished)) => {
                self.is_on_ledger = true;
                self.on_ended(finished.end, seen.time, now);
                Ok(())
            }
            Some(_) => Ok(()),
        }
    }

    /// The driver's own choice among the opened bids.
    pub(crate) fn on_choice(
        &mut self,
        bid: usize,
        now: Timestamp,
        rng: &mut impl CryptoRng,
    ) -> Result<(), BuyError> {
        let auction = self.id();
        let is_there = self.offers.iter().any(|offer| offer.bid == bid);
        if !matches!(self.bidding, Bidding::Choosing) || !is_there {
            return Err(BuyError::NoSuchBid { auction, bid });
        }
        self.decide(Some(bid), now, rng)
    }

    fn on_running(
        &mut self,
        auction: Auction,
        height: u64,
        time: Timestamp,
        now: Timestamp,
        rng: &mut impl CryptoRng,
    ) -> Result<(), BuyError> {
        let Saved::Open(open) = &self.saved else { return Ok(()) };
        match (&open.phase, &self.bidding) {
            (Phase::Asked { .. }, Bidding::Running) => {
                // From here on no block takes a bid: what is there is all there is.
                if !open.intent.terms.is_due(time, height.saturating_sub(auction.height)) {
                    return Ok(());
                }
                self.on_closed(auction, now, rng)
            }
            (Phase::Asked { .. }, Bidding::Closed) => match auction.opening {
                Some(opening) => self.on_opening(opening, now, rng),
                None => Ok(()),
            },
            (Phase::Asked { .. }, _) => Ok(()),
            (Phase::Decided { outcome, secret, .. }, _) if has_stayed_away(&auction, winner_of(outcome)) => {
                let secret = secret.clone();
                self.decide_again(auction, secret, now, rng)
            }
            (Phase::Decided { outcome, is_told, .. }, _) => {
                let Some(award) = auction.award.filter(|award| award.outcome == outcome.hash()) else {
                    self.submit(now);
                    return Ok(());
                };
                if !is_told {
                    self.decided_told();
                    self.tell(PurchaseNews::Awarded { station: award.station, price: award.price });
                }
                if award.is_accepted {
                    self.begin_sale(award.station, award.seller, award.price, now);
                }
                Ok(())
            }
            (Phase::Sale(sale), _) if has_stayed_away(&auction, Some(sale.station)) => {
                let Some(secret) = sale.secret.clone() else { return Ok(()) };
                self.decide_again(auction, secret, now, rng)
            }
            (Phase::Sale(sale), _) if sale.demand.is_some() && sale.agreement.is_none() => {
                self.on_demand(auction.award.and_then(|award| award.demand), now)
            }
            (Phase::Sale(_), _) => {
                self.on_not_contracted_yet(time, now);
                Ok(())
            }
        }
    }

    /// The bids that count, with the keys that their stations had for awards when they bid.
    fn on_closed(
        &mut self,
        auction: Auction,
        now: Timestamp,
        rng: &mut impl CryptoRng,
    ) -> Result<(), BuyError> {
        let Auction { bids, bidders, opening, .. } = auction;
        self.owners = bids.iter().zip(&bidders).map(|(bid, bidder)| (bid.station, bidder.account)).collect();
        let seals = bidders.into_iter().map(|bidder| bidder.award_key);
        let candidates = bids.into_iter().zip(seals).map(|(bid, seal)| Candidate { bid, seal }).collect();
        self.bidding = Bidding::Closed;
        let actions = self.role()?.on_closed(candidates, rng)?;
        let is_decided = !actions.is_empty();
        self.act(actions, now, rng)?;
        match opening.filter(|_| !is_decided) {
            Some(opening) => self.on_opening(opening, now, rng),
            None => Ok(()),
        }
    }

    /// The winner did not come, and its bid no longer counts: the next best of those that are left, by the opening that is
    /// there.
    fn decide_again(
        &mut self,
        auction: Auction,
        secret: Secret,
        now: Timestamp,
        rng: &mut impl CryptoRng,
    ) -> Result<(), BuyError> {
        let Saved::Open(open) = &mut self.saved else { return Ok(()) };
        let intent = open.intent.verify(&open.epoch_key).map_err(RoleError::from)?;
        self.role = Some(Buyer::resume(intent, secret.buyer()?, open.epoch_key.clone()));
        open.phase = Phase::Asked { secret };
        (self.session, self.exporter, self.submitted, self.refused) = (None, None, None, None);
        self.timers.clear();
        self.outbox.clear();
        self.steps.push_back(Step::Save);
        if let Some(station) = auction.no_shows.last() {
            self.tell(PurchaseNews::NoShow { station: *station });
        }
        self.on_closed(auction, now, rng)
    }

    fn on_opening(
        &mut self,
        opening: Opening,
        now: Timestamp,
        rng: &mut impl CryptoRng,
    ) -> Result<(), BuyError> {
        let actions = self.role()?.on_opening(opening, rng)?;
        self.act(actions, now, rng)
    }

    /// What the auction's role asks for.
    fn act(
        &mut self,
        actions: Vec<BuyerAction>,
        now: Timestamp,
        rng: &mut impl CryptoRng,
    ) -> Result<(), BuyError> {
        for action in actions {
            match action {
                BuyerAction::Offers(offers) => {
                    self.offers = offers;
                    let is_choice = self.terms()?.choice == Choice::OwnChoice;
                    self.tell(PurchaseNews::Offers { offers: self.opened_bids(), is_choice });
                    self.bidding = Bidding::Choosing;
                    if !is_choice {
                        self.decide(None, now, rng)?;
                    }
                }
                BuyerAction::PublishOutcome(outcome) => {
                    let Saved::Open(open) = &mut self.saved else { return Ok(()) };
                    let Phase::Asked { secret } = &open.phase else { return Ok(()) };
                    // Kept: should the winner not come, the next best has to be proven.
                    let (secret, has_bids) = (secret.clone(), !self.owners.is_empty());
                    open.phase = Phase::Decided { outcome, has_bids, is_told: false, secret };
                    (self.role, self.submitted) = (None, None);
                    self.steps.push_back(Step::Save);
                    self.submit(now);
                }
                // The intent was made by `ask`; the ledger says who accepts, and how the auction ends.
                BuyerAction::PublishIntent(_) | BuyerAction::Meet(..) | BuyerAction::Ended => {}
            }
        }
        Ok(())
    }

    /// Decides for the best bid, or the chosen one; not for a winner that nobody could speak with.
    fn decide(
        &mut self,
        choice: Option<usize>,
        now: Timestamp,
        rng: &mut impl CryptoRng,
    ) -> Result<(), BuyError> {
        let winner = match choice {
            Some(bid) => self.offers.iter().find(|offer| offer.bid == bid),
            None => self.offers.first(),
        };
        let station = winner.map(|offer| offer.station);
        let owner = station.and_then(|station| self.owners.get(&station));
        if let Some(station) = station
            && owner.is_none_or(|owner| self.facts.agent_of(owner).is_none())
        {
            self.end(Ended::NoSellerAgent(station), now);
            return Ok(());
        }
        let rendezvous = Rendezvous::new(&self.facts.transport.to_bytes(), rng).map_err(RoleError::from)?;
        let actions = self.role()?.on_decide(choice, rendezvous, rng)?;
        self.act(actions, now, rng)
    }

    /// The auction has ended on the ledger.
    fn on_ended(&mut self, end: End, time: Timestamp, now: Timestamp) {
        let Saved::Open(open) = &self.saved else { return };
        let ended = match (&open.phase, end) {
            (Phase::Sale(_), end) => return self.on_auction_over(end, time, now),
            (Phase::Decided { has_bids: false, .. }, End::NobodyEligible) => Ended::NobodyBid,
            (_, End::NobodyEligible) => Ended::NobodyEligible,
            (Phase::Decided { outcome, is_told: true, .. }, end) => match (winner_of(outcome), end) {
                (Some(winner), End::BuyerFailed) => Ended::NotContracted(winner),
                (Some(winner), _) => Ended::NotAccepted(winner),
                (None, _) => Ended::NotDecided,
            },
            (Phase::Decided { .. }, _) => Ended::NotDecided,
            (Phase::Asked { .. }, _) if matches!(self.bidding, Bidding::Choosing) => Ended::NotDecided,
            (Phase::Asked { .. }, _) => Ended::NotReleased,
        };
        self.end(ended, now);
    }

    /// Submits what the current state waits for, unless that was done just before.
    fn submit(&mut self, now: Timestamp) {
        let is_recent = self.submitted.and_then(|at| now.since(at)).is_some_and(|ago| ago < SUBMIT_AGAIN);
        let Saved::Open(open) = &self.saved else { return };
        let body = match &open.phase {
            _ if is_recent => return,
            Phase::Asked { .. } => Body::AuctionOpen(Box::new(open.intent.clone())),
            Phase::Decided { outcome, .. } => Body::AuctionOutcome(outcome.clone()),
            Phase::Sale(sale) => match &sale.agreement {
                Some(agreement) => Body::ContractOpen(Box::new(agreement.clone())),
                None => match &sale.demand {
                    Some(terms) => Body::AuctionDemand(terms.clone()),
                    None => return,
                },
            },
        };
        self.submitted = Some(now);
        self.steps.push_back(Step::Submit(Box::new(body)));
    }

    fn decided_told(&mut self) {
        if let Saved::Open(open) = &mut self.saved
            && let Phase::Decided { is_told, .. } = &mut open.phase
        {
            *is_told = true;
            self.steps.push_back(Step::Save);
        }
    }

    fn begin_sale(&mut self, station: StationId, seller: AccountId, price: Price, now: Timestamp) {
        let Some(agent) = self.facts.agent_of(&seller) else {
            return self.end(Ended::NoSellerAgent(station), now);
        };
        let Saved::Open(open) = &mut self.saved else { return };
        let Phase::Decided { secret, .. } = &open.phase else { return };
        open.timings.accepted = Some(now);
        let seller_key = self.facts.agents[agent];
        let sale = SavedSale::new(station, seller_key, price, secret.clone());
        open.phase = Phase::Sale(Box::new(sale));
        (self.submitted, self.refused) = (None, None);
        self.steps.push_back(Step::Save);
    }

    /// Ends the purchase without energy; its secrets go.
    fn end(&mut self, end: Ended, now: Timestamp) {
        let timings = Timings { ended: Some(now), ..self.timings() };
        self.over(Saved::Ended { auction: self.auction, timings, end: end.clone() });
        self.tell(PurchaseNews::Ended(end));
    }

    fn over(&mut self, saved: Saved) {
        self.saved = saved;
        (self.role, self.session, self.exporter, self.posted) = (None, None, None, None);
        self.timers.clear();
        self.outbox.clear();
        self.steps.push_back(Step::Save);
    }

    fn tell(&mut self, news: PurchaseNews) {
        self.steps.push_back(Step::Tell(news));
    }

    fn role(&mut self) -> Result<&mut Buyer, BuyError> {
        let auction = self.auction;
        self.role.as_mut().ok_or(BuyError::Auction(RoleError::WrongStep(auction)))
    }

    fn terms(&self) -> Result<&Terms, BuyError> {
        match &self.saved {
            Saved::Open(open) => Ok(&open.intent.terms),
            _ => Err(BuyError::Auction(RoleError::WrongStep(self.auction))),
        }
    }

    fn opened_bids(&self) -> Vec<OpenedBid> {
        let Ok(terms) = self.terms() else { return Vec::new() };
        let opened = |offer: &Offer| OpenedBid {
            bid: offer.bid,
            station: offer.station,
            price: terms.tick.price(offer.price),
            is_within_reserve: offer.within_reserve,
        };
        self.offers.iter().map(opened).collect()
    }
}

/// Whether `station` won and did not come.
fn has_stayed_away(auction: &Auction, station: Option<StationId>) -> bool {
    station.is_some_and(|station| auction.no_shows.contains(&station))
}

fn winner_of(outcome: &Outcome) -> Option<StationId> {
    outcome.decision.win().map(|win| win.station)
}

/// How long after a submission the same is submitted again if the ledger does not show it: ten blocks.
const SUBMIT_AGAIN: Duration = Duration::from_secs(10);
