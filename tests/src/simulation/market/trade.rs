//! One sale, from the intent to its end, on the course that it was born with.

use super::{
    CONNECTORS, RATED, REGULATOR, SELLERS, Step, Tools, evse_of, meter_of, newest_key, seal_of, station_of,
};
use crate::{
    simulation::{Dice, books::Secret, workload::DRIVERS},
    zone::{TREASURER, account, key},
};
use ohmesh_auction::{
    award::{Accept, Award as Rendezvous},
    bid::Bid,
    intent::{
        BuyerSecret, Choice, Connectors, EnergyKwh, Kappa, Percent, Pricing, Reserve, Terms, VerifiedIntent,
    },
    key::EpochKey,
    outcome::{Decision, Outcome},
    role::{Buyer, BuyerAction, Candidate},
};
use ohmesh_contract::{
    Checkpoint, Contract, GridTariff, MeterRecord, Offer, Release as Waiver, Signed, Start,
    State as ContractState, Terms as ContractTerms,
};
use ohmesh_ledger::{Asset, Auction, Body, End, Journal, Object, State};
use ohmesh_units::{
    AuctionId, ContractId, Energy, Hash, InCell, Power, Price, PriceTick, SigningKey, TickSize, Timestamp,
};
use std::{collections::BTreeMap, time::Duration};

/// One sale.
pub(super) struct Trade {
    at: usize,
    /// The account that pays, and the buyer's one-time key.
    driver: u8,
    buyer_key: SigningKey,
    course: Course,
    /// Who bids how much.
    prices: Vec<(u8, u16)>,
    place: InCell,
    reserve: u32,
    /// The auction that runs: the buyer's side, its intent, and the bids that were sealed.
    asked: Option<Asked>,
    /// The contracts that both have signed; the ledger took one of them.
    offered: BTreeMap<ContractId, ContractTerms>,
    /// What the meter said.
    record: Option<Signed<MeterRecord>>,
    /// Nobody wants anything more.
    is_over: bool,
}

struct Asked {
    id: AuctionId,
    deadline: Timestamp,
    open: Body,
    intent: VerifiedIntent,
    secret: BuyerSecret,
    key: EpochKey,
    bids: BTreeMap<u8, Box<Bid>>,
    /// The decision, and how many winners had not come when it was made.
    outcome: Option<(usize, Box<Outcome>)>,
}

impl Asked {
    /// The buyer before it has decided.
    fn buyer(&self) -> Buyer {
        Buyer::resume(self.intent.clone(), self.secret.clone(), self.key.clone())
    }
}

/// How it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Course {
    /// Both sign the last record.
    Paid,
    /// The seller claims without the buyer's word, and nobody says anything.
    Claimed,
    /// The seller claims, the buyer disputes, and both agree on less.
    Agreed,
    /// The seller claims and lowers it, the buyer disputes, and the regulator decides.
    Decided,
    /// The seller claims, the buyer disputes, and nobody decides.
    Undecided,
    /// The seller gives the contract up.
    Waived,
    /// The buyer never comes.
    NoShow,
    /// The winner does not accept.
    Refused,
}

impl Trade {
    /// Everything but what the ledger will say.
    pub(super) fn new(at: usize, dice: &mut Dice) -> Self {
        let course = *dice.pick(&COURSES);
        let mut prices: Vec<(u8, u16)> = Vec::new();
        for n in SELLERS {
            let price = u16::try_from(dice.between(20_000, 50_000)).expect("far below 2^16");
            if dice.chance(850) {
                prices.push((n, price));
            }
        }
        let coordinate = |dice: &mut Dice| i32::try_from(dice.below(256)).expect("below 256");
        Self {
            at,
            driver: DRIVERS[at],
            buyer_key: SigningKey::from_seed(dice.seed()),
            course,
            prices,
            place: InCell { x: coordinate(dice), y: coordinate(dice) },
            // Now and then nobody can be so cheap.
            reserve: if dice.chance(100) { 1_000 } else { u32::MAX },
            asked: None,
            offered: BTreeMap::new(),
            record: None,
            is_over: false,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// What somebody does next.
    pub(super) fn step(&mut self, tools: &mut Tools, state: &State, now: Timestamp) -> Option<Step> {
        if self.is_over {
            return None;
        }
        let Some(asked) = &self.asked else { return self.ask(tools, state, now) };
        match state.object(&Hash::from(asked.id)) {
            None if now < asked.deadline => {
                let open = asked.open.clone();
                tools.may_send(self.at, "open", 0, now).then(|| Step::of(self.driver, open))
            }
            // It may be in a block that this agent does not have yet.
            None if now.as_millis() < asked.deadline.as_millis() + LOST_MS => None,
            None => self.ask(tools, state, now),
            Some((_, Object::Auction(auction))) => self.bid_or_decide(tools, state, auction, now),
            Some((_, Object::Finished(finished))) => match finished.end {
                End::Contracted(id) => self.fulfil(tools, state, id, now),
                _ => {
                    self.is_over = true;
                    None
                }
            },
            Some((_, other)) => unreachable!("{:?} has the id of an auction", other.id()),
        }
    }

    /// The buyer asks, with another key if it has asked before.
    fn ask(&mut self, tools: &mut Tools, state: &State, now: Timestamp) -> Option<Step> {
        let epoch = newest_key(state)?;
        if let Some((what, sender, body)) = self.lacks(state) {
            return tools.may_send(self.at, what, 0, now).then(|| Step::of(sender, body));
        }
        if !tools.may_send(self.at, "ask", 0, now) {
            return None;
        }
        self.buyer_key = SigningKey::from_seed(tools.dice.seed());
        let terms = self.terms(tools, state, epoch, now);
        let (deadline, reserve) = (terms.deadline, Reserve(self.reserve));
        let key = state.epoch_key(epoch)?.clone();
        let asked = Buyer::ask(terms, self.place, reserve, key.clone(), &mut tools.random);
        let (buyer, action) = asked.expect("terms that fit");
        let BuyerAction::PublishIntent(intent) = action else { unreachable!("{action:?}") };
        let (id, open) = (intent.id(), Body::AuctionOpen(intent));
        let step = Step::of(self.driver, open.clone());
        let (intent, secret) = (buyer.intent().clone(), buyer.secret().expect("it has asked").clone());
        let bids = BTreeMap::new();
        self.asked = Some(Asked { id, deadline, open, intent, secret, key, bids, outcome: None });
        Some(step.hiding(Secret::Intent { auction: id, place: self.place, reserve: self.reserve }))
    }

    /// The driver's account, or the money in it.
    fn lacks(&self, state: &State) -> Option<(&'static str, u8, Body)> {
        let to = account(self.driver);
        if state.account(&to).is_none() {
            return Some(("account", self.driver, Body::OpenAccount { owner: key(self.driver).public() }));
        }
        let balance = state.balance(Journal::Energy, &to).map(|(_, balance)| *balance.of(Asset::Currency));
        if balance.unwrap_or_default().available() >= ESCROW_MAX {
            return None;
        }
        let (asset, amount, reference) = (Asset::Currency, 2 * ESCROW_MAX, "simulated".into());
        Some(("money", TREASURER, Body::Issue { asset, to, amount, reference }))
    }

    fn terms(&self, tools: &mut Tools, state: &State, epoch: u64, now: Timestamp) -> Terms {
        let voters = state.validators().voters();
        let height = state.head().height;
        let needed = (height..height + 8).map(|h| ohmesh_ledger::blocks_needed(voters, h)).max();
        let kappa = u8::try_from(tools.dice.below(4)).expect("below 4");
        Terms {
            zone: *state.zone_id(),
            key_epoch: epoch,
            area: state.zone().areas[0].area,
            energy: EnergyKwh::try_from(30).expect("30 kWh"),
            deadline: later(now, 6_000),
            blocks_min: needed.unwrap_or(1),
            kappa: Kappa::try_from(kappa).expect("below 8"),
            renewable_min: Percent::try_from(0).expect("none"),
            connectors: Connectors::try_from(CONNECTORS).expect("a plug"),
            power_min: Power::from_w(11_000),
            tick: TickSize::for_cap(Price::from_micro_per_kwh(650_000)).expect("a price"),
            pricing: Pricing::FirstPrice,
            choice: Choice::BestProvable,
            buyer: self.buyer_key.public(),
        }
    }

    fn bid_or_decide(
        &mut self,
        tools: &mut Tools,
        state: &State,
        auction: &Auction,
        now: Timestamp,
    ) -> Option<Step> {
        let head = state.head();
        let terms = auction.intent.terms();
        let is_due = terms.is_due(head.time, head.height - auction.height);
        match &auction.award {
            None if now < terms.deadline && !is_due => self.bid(tools, state, auction, now),
            None if auction.opening.is_some() || (is_due && auction.bids.is_empty()) => {
                self.decide(tools, auction, now)
            }
            None => None,
            Some(award) if award.is_accepted => self.agree(tools, state, auction, now),
            // The first winner does not come; the next does.
            Some(_) if self.course == Course::Refused && auction.no_shows.is_empty() => None,
            Some(award) => {
                let winner = SELLERS.into_iter().find(|n| station_of(*n) == award.station)?;
                let (_, outcome) = self.asked.as_ref()?.outcome.as_ref()?;
                let accept = Accept::of(outcome, award.station);
                if tools.dice.chance(CHEATS) {
                    let other = SELLERS.into_iter().find(|n| *n != winner)?;
                    return Some(Step::of(other, Body::AuctionAccept(accept)).bad());
                }
                let may = tools.may_send(self.at, "accept", winner, now);
                may.then(|| Step::of(winner, Body::AuctionAccept(accept)))
            }
        }
    }

    /// One of those who have not bid yet.
    fn bid(&mut self, tools: &mut Tools, state: &State, auction: &Auction, now: Timestamp) -> Option<Step> {
        let key = state.epoch_key(auction.intent.terms().key_epoch)?;
        let asked = self.asked.as_mut()?;
        for (n, price) in &self.prices {
            let (station, price) = (station_of(*n), PriceTick(*price));
            let has_bid = auction.bids.iter().any(|bid| bid.station == station);
            if has_bid || !tools.may_send(self.at, "bid", *n, now) {
                continue;
            }
            let random = &mut tools.random;
            let bid = asked.bids.entry(*n).or_insert_with(|| {
                Box::new(
                    Bid::create(&auction.intent, key, station, price, random).expect("a price of its key"),
                )
            });
            let step = Step::of(*n, Body::AuctionBid { bid: bid.clone(), evse: evse_of(*n) });
            return Some(step.hiding(Secret::Bid { auction: asked.id, station, price }));
        }
        None
    }

    /// The buyer decides, and tells; once more if its winner did not come.
    fn decide(&mut self, tools: &mut Tools, auction: &Auction, now: Timestamp) -> Option<Step> {
        let asked = self.asked.as_mut()?;
        let absent = auction.no_shows.len();
        if asked.outcome.as_ref().is_none_or(|(before, _)| *before < absent) {
            asked.outcome = Some((absent, outcome_of(asked.buyer(), tools, auction)));
        }
        let (_, outcome) = asked.outcome.clone()?;
        if tools.dice.chance(CHEATS)
            && let Some(forged) = forged(&outcome)
        {
            return Some(Step::of(self.driver, Body::AuctionOutcome(forged)).bad());
        }
        let may = tools.may_send(self.at, "outcome", 0, now);
        may.then(|| Step::of(self.driver, Body::AuctionOutcome(outcome)))
    }

    /// Both sign the contract.
    fn agree(&mut self, tools: &mut Tools, state: &State, auction: &Auction, now: Timestamp) -> Option<Step> {
        let award = auction.award.as_ref()?;
        let seller = SELLERS.into_iter().find(|n| station_of(*n) == award.station)?;
        let mut terms = self.contract_terms(state, (auction.intent.id(), award.price), seller, now);
        if tools.dice.chance(CHEATS) {
            terms.price = Price::from_micro_per_kwh(terms.price.as_micro_per_kwh() - 1);
            return Some(Step::of(self.driver, self.agreement(terms, seller, now)).bad());
        }
        if !tools.may_send(self.at, "agree", 0, now) {
            return None;
        }
        self.offered.insert(terms.id(), terms.clone());
        Some(Step::of(self.driver, self.agreement(terms, seller, now)))
    }

    fn contract_terms(
        &self,
        state: &State,
        (auction, price): (AuctionId, Price),
        seller: u8,
        now: Timestamp,
    ) -> ContractTerms {
        let energy_max = Energy::from_wh(30_000);
        let tariff = state.governance().tariff(now);
        ContractTerms {
            zone: *state.zone_id(),
            auction,
            buyer: account(self.driver),
            buyer_key: self.buyer_key.public(),
            seller: account(seller),
            seller_key: key(seller).public(),
            evse: evse_of(seller),
            meter_key: key(meter_of(seller)).public(),
            price,
            energy_max,
            power_rated: RATED,
            grid: GridTariff { version: tariff.version, price: tariff.price },
            escrow: price.times(energy_max).expect("some euros"),
            not_before: now,
            expiry: later(now, 40 * 60_000),
            number: self.at as u128,
        }
    }

    fn agreement(&self, terms: ContractTerms, seller: u8, now: Timestamp) -> Body {
        let offer = Offer::sign(terms, EXPORTER, later(now, 60_000), &key(seller));
        let offer = offer.verify().expect("terms that can be a contract");
        Body::ContractOpen(Box::new(offer.agree(&self.buyer_key)))
    }

    /// From the open contract to its end.
    fn fulfil(&mut self, tools: &mut Tools, state: &State, id: ContractId, now: Timestamp) -> Option<Step> {
        let Some((_, Object::Contract(contract))) = state.object(&Hash::from(id)) else {
            self.is_over = true;
            return None;
        };
        let terms = self.offered.get(&id)?.clone();
        let seller = SELLERS.into_iter().find(|n| account(*n) == terms.seller)?;
        match (contract.state(), self.course) {
            (_, Course::NoShow) | (ContractState::Submitted, Course::Claimed) => self.leave(),
            (ContractState::Disputed, Course::Undecided) => self.leave(),
            (ContractState::Agreed, Course::Waived) => {
                let waiver = Box::new(Signed::new(Waiver { contract: id, at: now }, &key(seller)));
                let may = tools.may_send(self.at, "waive", 0, now);
                may.then(|| Step::of(seller, Body::ContractWaive(waiver)))
            }
            (ContractState::Agreed, _) => {
                let (evse, exporter, at) = (terms.evse, EXPORTER, now);
                let start =
                    Box::new(Signed::new(Start { contract: id, evse, exporter, at }, &self.buyer_key));
                let may = tools.may_send(self.at, "start", 0, now);
                may.then(|| Step::of(seller, Body::ContractStart(start)))
            }
            (ContractState::Charging, _) => self.settle(tools, &terms, seller, now),
            _ => self.contest(tools, contract, seller, now),
        }
    }

    fn leave(&mut self) -> Option<Step> {
        self.is_over = true;
        None
    }

    /// The seller brings what the meter said, with the buyer's word or without.
    fn settle(
        &mut self,
        tools: &mut Tools,
        terms: &ContractTerms,
        seller: u8,
        now: Timestamp,
    ) -> Option<Step> {
        let is_cheat = tools.dice.chance(CHEATS);
        if !is_cheat && !tools.may_send(self.at, "settle", 0, now) {
            return None;
        }
        let record = match &self.record {
            Some(record) => record.clone(),
            None => {
                let energy = tools.dice.between(1, 30_000);
                let register = tools.registers.entry(seller).or_default();
                let register_start = Energy::from_wh(*register);
                *register += energy;
                let record = MeterRecord {
                    contract: terms.id(),
                    evse: terms.evse,
                    sequence: 1,
                    register_start,
                    energy: Energy::from_wh(energy),
                    at: now,
                    is_final: true,
                };
                self.record.insert(Signed::new(record, &key(meter_of(seller)))).clone()
            }
        };
        if is_cheat {
            // As much as there may be, by a meter that nobody has registered.
            let more = MeterRecord { energy: Energy::from_wh(30_000), ..record.body };
            let record = Box::new(Signed::new(more, &key(seller)));
            return Some(
                Step::of(seller, Body::ContractSettle { record, start: None, checkpoint: None }).bad(),
            );
        }
        let closed = matches!(self.course, Course::Paid);
        let checkpoint = closed.then(|| {
            let verified = record.clone().verify(terms).expect("its meter has signed it");
            Box::new(Checkpoint::sign(&verified, &self.buyer_key))
        });
        let record = Box::new(record);
        Some(Step::of(seller, Body::ContractSettle { record, start: None, checkpoint }))
    }

    /// What becomes of a claim.
    fn contest(
        &mut self,
        tools: &mut Tools,
        contract: &Contract,
        seller: u8,
        now: Timestamp,
    ) -> Option<Step> {
        let id = contract.id();
        let claim = contract.claim().map_or(0, |bill| bill.energy.as_wh());
        if tools.dice.chance(CHEATS) {
            // The buyer alone has nothing to decide.
            return Some(Step::of(self.driver, resolve(id, 0)).bad());
        }
        let is_disputed = contract.state() == ContractState::Disputed;
        let (what, step) = match (self.course, is_disputed) {
            (Course::Decided, false) if claim > 1 && !tools.sent.contains_key(&(self.at, "lower", 0)) => {
                let energy = Energy::from_wh(claim - 1);
                ("lower", Step::of(seller, Body::ContractLower { contract: id, energy }))
            }
            (Course::Agreed, false) if claim.is_multiple_of(2) => {
                ("resolve", Step::of(self.driver, resolve(id, claim / 2)).signed_by(&[seller]))
            }
            (_, false) => ("dispute", Step::of(self.driver, Body::ContractDispute { contract: id })),
            (Course::Decided, true) => {
                ("resolve", Step::of(self.driver, resolve(id, claim / 2)).signed_by(&[REGULATOR]))
            }
            (_, true) => ("resolve", Step::of(self.driver, resolve(id, claim / 3)).signed_by(&[seller])),
        };
        tools.may_send(self.at, what, 0, now).then_some(step)
    }
}

/// The buyer's decision on the bids of an auction that is open to it.
fn outcome_of(mut buyer: Buyer, tools: &mut Tools, auction: &Auction) -> Box<Outcome> {
    let seal = |bid: &ohmesh_auction::bid::LedgeredBid| {
        let n = SELLERS.into_iter().find(|n| station_of(*n) == bid.station);
        seal_of(n.expect("nobody else bids")).public()
    };
    let candidates = auction.bids.iter().map(|bid| Candidate { seal: seal(bid), bid: bid.clone() }).collect();
    let random = &mut tools.random;
    let mut actions = buyer.on_closed(candidates, random).expect("bidding is over");
    if let Some(opening) = &auction.opening {
        actions = buyer.on_opening(opening.clone(), random).expect("the ledger's own opening");
    }
    if matches!(actions[..], [BuyerAction::Offers(_)]) {
        let rendezvous = Rendezvous::new(b"meet", random).expect("short enough");
        actions = buyer.on_decide(None, rendezvous, random).expect("there are offers");
    }
    let mut outcomes = actions.into_iter().filter_map(|action| match action {
        BuyerAction::PublishOutcome(outcome) => Some(outcome),
        _ => None,
    });
    outcomes.next().expect("the buyer has decided")
}

/// The same decision at another price.
fn forged(outcome: &Outcome) -> Option<Box<Outcome>> {
    let mut forged = outcome.clone();
    let Decision::Best(win) = &mut forged.decision else { return None };
    win.price.0 ^= 1;
    Some(Box::new(forged))
}

fn resolve(contract: ContractId, wh: u64) -> Body {
    Body::ContractResolve { contract, energy: Energy::from_wh(wh) }
}

fn later(time: Timestamp, ms: u64) -> Timestamp {
    time.checked_add(Duration::from_millis(ms)).expect("a time of this century")
}

/// Each as often as it is to happen.
const COURSES: [Course; 13] = [
    Course::Paid,
    Course::Paid,
    Course::Paid,
    Course::Claimed,
    Course::Agreed,
    Course::Agreed,
    Course::Decided,
    Course::Decided,
    Course::Decided,
    Course::Undecided,
    Course::Waived,
    Course::NoShow,
    Course::Refused,
];
/// The connection that both name.
const EXPORTER: [u8; 32] = [5; 32];
/// How often, in a thousand steps, somebody cheats.
const CHEATS: u64 = 60;
/// What a sale costs at most.
const ESCROW_MAX: i64 = 20_000_000;
/// After how long an intent that no block has taken is given up.
const LOST_MS: u64 = 10_000;
