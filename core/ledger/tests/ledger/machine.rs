//! The ledger beyond money as a state machine: registry, auctions, contracts, bonds, epochs and decisions, in sequences with
//! wrong, repeated, early and late steps, against a model that anybody can check by eye. After every block both have taken
//! the same transactions, refused the others for the same reason, and hold the same.
//!
//! Proofs are made once: every run begins where four auctions are won and two intents are ready to be opened, and what the
//! validators and the buyer make of the bids that came in is kept for the next run with the same bids.

#[path = "machine/model.rs"]
mod model;
#[path = "machine/traffic.rs"]
mod traffic;

use crate::{auctions::*, model::left_out, town::*};
use model::{Auctioned, Bonded, Model, Outlet, PastEpoch, Refusal, Sale, Stands};
use ohmesh_auction::{
    award::{Accept, Award as Rendezvous},
    bid::{Bid, LedgeredBid},
    intent::{BuyerSecret, Intent, VerifiedIntent},
    key::EpochKey,
    outcome::Outcome,
    release::Release,
    role::{Buyer, BuyerAction, Candidate},
};
use ohmesh_contract::{Checkpoint, GridTariff, MeterRecord, Offer, Release as Waiver, Signed, Start};
use ohmesh_ledger::*;
use ohmesh_units::*;
use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};
use traffic::{CANDIDATES, Later, METERS, Pick, Plan, Reading, Step, Terms, VOTES, Who, plan};

/// What a seller bids: the second is the cheaper.
pub fn ticks_of(seller: u8) -> u16 {
    if seller == 80 { 40_000 } else { 30_000 }
}

/// An intent that is ready to be opened, and what may be bid on it.
struct Asked {
    intent: Intent,
    verified: VerifiedIntent,
    secret: BuyerSecret,
    bids: BTreeMap<u8, Bid>,
}

/// Where every run begins.
struct Base {
    market: Market,
    awards: Vec<AuctionId>,
    pool: Vec<Asked>,
    key: EpochKey,
}

static BASE: LazyLock<Base> = LazyLock::new(|| {
    let mut market = Market::with_key();
    market.town.ok(5, Body::OpenAccount { owner: key(5).public() }, &[]);
    for who in [1, 2, 3, 4, 5, 81, DISTRIBUTOR] {
        market.town.ok(TREASURERS[0], issue(who, 10_000_000), &TREASURERS);
    }
    let awards = (0..4).map(|_| market.awarded().0).collect();
    let pool = [30u64, 2_400].map(|seconds| {
        let deadline = market.town.now.checked_add(Duration::from_secs(seconds)).unwrap();
        let (buyer, intent) = market.ask(ohmesh_auction::intent::Terms { deadline, ..market.terms() });
        let verified = buyer.intent().clone();
        let bids = SELLERS[..2].iter().map(|n| (*n, market.bid(&verified, *n, ticks_of(*n)))).collect();
        Asked { intent: *intent, verified, secret: buyer.secret().unwrap().clone(), bids }
    });
    let key = market.town.state.epoch_key(0).unwrap().clone();
    Base { market, awards, pool: pool.into(), key }
});

/// What validators release of some bids, and what the buyer decides.
struct Made {
    releases: Vec<Release>,
    outcome: Outcome,
}

/// An intent and the stations that bid, in order.
type Bidding = (usize, Vec<StationId>);

static MADE: Mutex<BTreeMap<Bidding, Arc<Made>>> = Mutex::new(BTreeMap::new());

fn made(pool: usize, bids: &[LedgeredBid]) -> Arc<Made> {
    let stations = bids.iter().map(|bid| bid.station).collect();
    let mut all = MADE.lock().unwrap();
    all.entry((pool, stations)).or_insert_with(|| Arc::new(make(&BASE.pool[pool], bids))).clone()
}

fn make(asked: &Asked, bids: &[LedgeredBid]) -> Made {
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let release = |shares| Release::create(shares, &BASE.key, &asked.verified, bids, &mut rng).unwrap();
    let releases: Vec<Release> =
        if bids.is_empty() { Vec::new() } else { BASE.market.shares.iter().map(release).collect() };
    let mut buyer = Buyer::resume(asked.verified.clone(), asked.secret.clone(), BASE.key.clone());
    let seal_of = |bid: &LedgeredBid| {
        let n = SELLERS.into_iter().find(|n| station_of(*n) == bid.station).unwrap();
        Candidate { bid: bid.clone(), seal: seal_secret(n).public() }
    };
    let mut actions = buyer.on_closed(bids.iter().map(seal_of).collect(), &mut rng).unwrap();
    for release in releases.iter().take(3) {
        actions.extend(buyer.on_release(release, &mut rng).unwrap());
    }
    if !bids.is_empty() {
        let rendezvous = Rendezvous::new(b"meet", &mut rng).unwrap();
        actions.extend(buyer.on_decide(None, rendezvous, &mut rng).unwrap());
    }
    let outcome = actions.into_iter().find_map(|action| match action {
        BuyerAction::PublishOutcome(outcome) => Some(*outcome),
        _ => None,
    });
    Made { releases, outcome: outcome.unwrap() }
}

/// Kind of transaction, and what became of it.
type Seen = BTreeSet<(String, String)>;

struct Run {
    state: State,
    now: Timestamp,
    model: Model,
    numbers: u128,
    history: Vec<SignedTransaction>,
    /// Contracts that somebody has asked for.
    sales: Vec<ohmesh_contract::Terms>,
    /// How far the meters' registers were said to have run.
    counted: u64,
    seen: Seen,
}

impl Run {
    fn new() -> Self {
        let town = &BASE.market.town;
        Self {
            state: town.state.clone(),
            now: town.now,
            model: model_of(&town.state),
            numbers: 1_000_000,
            history: Vec::new(),
            sales: Vec::new(),
            counted: 1_000,
            seen: Seen::new(),
        }
    }

    fn block(&mut self, plan: Plan) {
        let time = self.time(plan.later);
        let transactions: Vec<SignedTransaction> =
            plan.steps.into_iter().filter_map(|step| self.transaction(time, step)).collect();
        self.model.begin(time.as_millis());
        let verdicts: Vec<Result<(), Refusal>> =
            transactions.iter().map(|signed| self.model.run(signed)).collect();
        self.model.close();
        let candidates = Verified::all(self.state.zone_id(), transactions.clone()).unwrap();
        let Proposed { block, applied, refused, .. } = self.state.propose(time, 0, &candidates);
        self.state.apply(applied);
        self.now = time;
        self.state.audit();
        let mut taken = block.transactions.iter().peekable();
        let mut refused = refused.into_iter().map(|(_, reason)| name_of(&reason));
        for (signed, expected) in transactions.iter().zip(&verdicts) {
            let kind = name_of(&signed.transaction.body);
            let found = match taken.next_if(|one| expected.is_ok() && *one == signed) {
                Some(_) => Ok(()),
                None => Err(refused.next()),
            };
            match (expected, found) {
                (Ok(()), Ok(())) => drop(self.seen.insert((kind, "taken".into()))),
                (Err(refusal), Err(Some(reason))) if *refusal == reason => {
                    self.seen.insert((kind, reason));
                }
                (expected, found) => {
                    panic!("the model says {expected:?}, the ledger {found:?}, of {signed:?}")
                }
            }
        }
        assert_eq!((taken.next(), refused.next()), (None, None));
        self.compare();
    }

    fn time(&self, later: Later) -> Timestamp {
        let now = self.now.as_millis();
        let next = match later {
            Later::Ms(ms) => now + ms,
            Later::Deadline(off) => {
                let auctions = self.model.auctions.values().map(|one| one.terms.deadline.as_millis());
                let ends = self.model.contracts.values().map(|one| one.deadline);
                let next = ends.chain(auctions).filter(|at| *at > now + 1).min().unwrap_or(now + 1_000);
                next.saturating_add_signed(i64::from(off))
            }
        };
        Timestamp::from_millis(next)
    }

    fn transaction(&mut self, time: Timestamp, step: Step) -> Option<SignedTransaction> {
        if let Step::Replay(at) = step {
            return (!self.history.is_empty()).then(|| at.get(&self.history).clone());
        }
        let (sender, body, also) = self.body(time, step)?;
        self.numbers += 1;
        let transaction = Transaction {
            zone: *self.state.zone_id(),
            sender: account(sender),
            number: self.numbers,
            valid_until: time.checked_add(Duration::from_secs(3600)).unwrap(),
            body,
        };
        let mut signers = vec![sender];
        signers.extend(also.into_iter().filter(|n| *n != sender));
        let keys: Vec<SigningKey> = signers.into_iter().map(key).collect();
        let signed = transaction.sign(&keys.iter().collect::<Vec<_>>());
        self.history.push(signed.clone());
        Some(signed)
    }

    /// Sender, body, and who signs too; none if there is nothing yet that it could be about.
    fn body(&mut self, time: Timestamp, step: Step) -> Option<(u8, Body, Vec<u8>)> {
        match step {
            Step::Forward { which, part } => {
                let all = self.forward(part);
                let step = (!all.is_empty()).then(|| which.get(&all).clone());
                step.and_then(|step| self.body(time, step))
            }
            Step::Pay(from, to, amount) => Some((from, pay(from, to, amount), vec![])),
            Step::Station { .. } | Step::Outlet { .. } => Some(self.registration(step)),
            Step::Open(_)
            | Step::Bid { .. }
            | Step::Release { .. }
            | Step::Outcome { .. }
            | Step::Accept { .. } => self.auction_step(step),
            Step::Contract { auction, wh, terms } => self.agreement(time, auction, wh, terms),
            Step::Start { .. }
            | Step::Settle { .. }
            | Step::Waive(..)
            | Step::Dispute(..)
            | Step::Lower(..)
            | Step::Resolve { .. } => self.sale_step(time, step),
            other => self.decision(time, other),
        }
    }

    /// What open auctions and contracts wait for, as of the block before.
    fn forward(&self, part: u64) -> Vec<Step> {
        let mut steps = Vec::new();
        for (pool, asked) in BASE.pool.iter().enumerate() {
            let id = asked.verified.id();
            let Some(auction) = self.model.auctions.get(&id) else {
                if !self.model.ended.contains_key(&Hash::from(id)) {
                    steps.push(Step::Open(pool));
                }
                continue;
            };
            let is_over = auction.terms.deadline.as_millis() <= self.model.now;
            let winner = if auction.bids.contains(&station_of(81)) { 81 } else { 80 };
            let next = match &auction.award {
                Some(_) => Step::Accept { pool, seller: winner },
                None if auction.is_open => Step::Outcome { pool, sender: BUYER },
                None if is_over => {
                    let index = (0..4).find(|index| !auction.releases.contains(index)).unwrap_or(0);
                    Step::Release { pool, index, sender: 0 }
                }
                None => Step::Bid {
                    pool,
                    station: if part.is_multiple_of(3) { 80 } else { 81 },
                    sender: 0,
                    outlet: 0,
                },
            };
            steps.extend([next.clone(), next]);
        }
        let ids = BASE.awards.iter().copied().chain(BASE.pool.iter().map(|asked| asked.verified.id()));
        for (auction, id) in ids.enumerate() {
            let won = self.model.auctions.get(&id).and_then(|found| found.award);
            if won.is_some_and(|award| award.4) {
                steps.push(Step::Contract { auction, wh: 30_000, terms: Terms::Good });
            }
        }
        for (id, sale) in &self.model.contracts {
            let (sale, claim) = (Pick::This(*id), sale.claim.unwrap_or(0));
            let less = u64::try_from(claim).unwrap() * (part % 100) / 100;
            let (buyer, seller) = (Who::Buyer, Who::Seller);
            steps.extend(match self.model.contracts[id].stands {
                Stands::Agreed => vec![Step::Start { sale, ahead: 0, is_forged: false }],
                Stands::Charging => {
                    let reading =
                        if part.is_multiple_of(5) { Reading::Back(1_000) } else { Reading::On(part % 3) };
                    let (wh, who) = (part % 31_000, seller);
                    let is_closed = part.is_multiple_of(2);
                    vec![Step::Settle { sale, wh, reading, is_closed, who, with_start: false }]
                }
                Stands::Submitted => vec![
                    Step::Dispute(sale, buyer),
                    Step::Lower(sale, seller, less),
                    Step::Resolve { sale, wh: less, parties: 2, regulators: 0 },
                ],
                Stands::Disputed => vec![
                    Step::Lower(sale, seller, less),
                    Step::Resolve { sale, wh: less, parties: 0, regulators: 2 },
                ],
            });
        }
        steps
    }

    fn registration(&self, step: Step) -> (u8, Body, Vec<u8>) {
        match step {
            Step::Station { who, moved } => {
                let position =
                    Position::from_e7(if moved { 525_610_000 } else { 525_600_000 }, 134_050_000).unwrap();
                let award_key = Hash(seal_secret(who).public().to_bytes());
                let name = format!("Station {who}");
                (who, Body::RegisterStation { number: 1, name, position, award_key }, vec![])
            }
            Step::Outlet { owner, number, connectors, power, meter, is_forged } => {
                let (zone, at) = (self.state.zone_id(), (StationId::of(&account(owner), 1), number));
                let whose = account(if is_forged { 83 } else { owner });
                let plugs = (connectors, Power::from_w(power));
                (owner, Body::register_evse(zone, &whose, at, plugs, &key(meter)), vec![])
            }
            other => unreachable!("{other:?}"),
        }
    }

    fn auction_step(&self, step: Step) -> Option<(u8, Body, Vec<u8>)> {
        let id = |pool: usize| BASE.pool[pool].verified.id();
        let bids = |pool: usize| match self.state.object(&id(pool).into()) {
            Some((_, Object::Auction(auction))) => auction.bids.clone(),
            _ => Vec::new(),
        };
        Some(match step {
            Step::Open(pool) => (BUYER, Body::AuctionOpen(Box::new(BASE.pool[pool].intent.clone())), vec![]),
            Step::Bid { pool, station, sender, outlet } => {
                let bid = Box::new(BASE.pool[pool].bids[&station].clone());
                let evse = EvseId::of(&station_of(station), 1 + u16::from(outlet));
                (if sender == 0 { station } else { 82 }, Body::AuctionBid { bid, evse }, vec![])
            }
            Step::Release { pool, index, sender } => {
                let made = made(pool, &bids(pool));
                let release = Box::new(made.releases.get(usize::from(index))?.clone());
                let sender = if sender == 0 { u8::try_from(index).unwrap() + 1 } else { 5 };
                (sender, Body::AuctionRelease(release), vec![])
            }
            Step::Outcome { pool, sender } => {
                let outcome = Box::new(made(pool, &bids(pool)).outcome.clone());
                (sender, Body::AuctionOutcome(outcome), vec![])
            }
            Step::Accept { pool, seller } => {
                let outcome = &made(pool, &bids(pool)).outcome;
                (seller, Body::AuctionAccept(Accept::of(outcome, station_of(seller))), vec![])
            }
            other => unreachable!("{other:?}"),
        })
    }

    fn agreement(
        &mut self,
        time: Timestamp,
        auction: usize,
        wh: u64,
        twist: Terms,
    ) -> Option<(u8, Body, Vec<u8>)> {
        let all: Vec<AuctionId> =
            BASE.awards.iter().copied().chain(BASE.pool.iter().map(|asked| asked.verified.id())).collect();
        let auction = all[auction];
        let won = self.model.auctions.get(&auction).and_then(|found| found.award);
        let price = Price::from_micro_per_kwh(300_000);
        let (_, seller, _, price, _) = won.unwrap_or((station_of(81), account(81), Hash::ZERO, price, false));
        let n = SELLERS.into_iter().find(|n| account(*n) == seller).unwrap();
        let outlet = &self.model.outlets[&evse_of(n)];
        let (energy_max, tariff) = (Energy::from_wh(wh), self.model.tariff());
        let mut terms = ohmesh_contract::Terms {
            zone: *self.state.zone_id(),
            auction,
            buyer: account(BUYER),
            buyer_key: key(71).public(),
            seller,
            seller_key: key(n).public(),
            evse: evse_of(n),
            meter_key: outlet.meter,
            price,
            energy_max,
            power_rated: Power::from_w(outlet.power.max(1)),
            grid: GridTariff { version: tariff.version, price: tariff.price },
            escrow: Money::ZERO,
            not_before: time,
            expiry: time.checked_add(Duration::from_secs(4 * 3600)).unwrap(),
            number: self.numbers,
        };
        let mut valid_until = time.checked_add(Duration::from_secs(60)).unwrap();
        match twist {
            Terms::Dearer => terms.price = Price::from_micro_per_kwh(price.as_micro_per_kwh() + 1),
            Terms::OtherTariff => terms.grid.version += 1,
            Terms::OtherMeter => terms.meter_key = key(99).public(),
            Terms::Late => valid_until = time,
            // Too short to charge by the time that it is opened.
            Terms::TooShort => {
                terms.not_before = Timestamp::from_millis(time.as_millis() - 1_000);
                terms.expiry = time.checked_add(Duration::from_secs(15 * 60)).unwrap();
            }
            Terms::Again if !self.sales.is_empty() => terms = self.sales.last().unwrap().clone(),
            Terms::Good | Terms::BySeller | Terms::Again => {}
        }
        terms.escrow = terms.price.times(terms.energy_max).unwrap();
        // What cannot be signed by an honest seller is no traffic for the ledger.
        let offer = Offer::sign(terms.clone(), [5; 32], valid_until, &key(n)).verify().ok()?;
        self.sales.push(terms);
        let sender = if twist == Terms::BySeller { n } else { BUYER };
        Some((sender, Body::ContractOpen(Box::new(offer.agree(&key(71)))), vec![]))
    }

    fn sale(&self, pick: Pick) -> Option<ohmesh_contract::Terms> {
        let at = match pick {
            Pick::Newest(at) => at,
            Pick::This(id) => return Some(self.model.contracts[&id].terms.clone()),
        };
        let newest = &self.sales[self.sales.len().saturating_sub(6)..];
        (!newest.is_empty()).then(|| at.get(newest).clone())
    }

    fn sale_step(&mut self, time: Timestamp, step: Step) -> Option<(u8, Body, Vec<u8>)> {
        let of = |who, terms: &ohmesh_contract::Terms| match who {
            Who::Buyer => BUYER,
            Who::Seller => SELLERS.into_iter().find(|n| account(*n) == terms.seller).unwrap(),
            Who::Stranger => DISTRIBUTOR,
        };
        let start = |terms: &ohmesh_contract::Terms, ahead: i64, by: u8| {
            let (contract, evse) = (terms.id(), terms.evse);
            let at = Timestamp::from_millis(time.as_millis().saturating_add_signed(ahead));
            Box::new(Signed::new(Start { contract, evse, exporter: [5; 32], at }, &key(by)))
        };
        Some(match step {
            Step::Start { sale, ahead, is_forged } => {
                let terms = self.sale(sale)?;
                // A start that the buyer has not signed is refused as it is read: `Contract`, as one at a wrong time.
                let ahead = if is_forged { i64::from(u32::MAX) } else { ahead };
                let by = if is_forged { 72 } else { 71 };
                (of(Who::Seller, &terms), Body::ContractStart(start(&terms, ahead, by)), vec![])
            }
            Step::Settle { sale, wh, reading, is_closed, who, with_start } => {
                let terms = self.sale(sale)?;
                let from = match reading {
                    Reading::On(further) => self.counted + further,
                    Reading::Back(less) => self.counted.saturating_sub(less),
                };
                self.counted = self.counted.max(from + wh);
                let meter = METERS.into_iter().find(|n| key(*n).public() == terms.meter_key)?;
                let record = MeterRecord {
                    contract: terms.id(),
                    evse: terms.evse,
                    sequence: 1,
                    register_start: Energy::from_wh(from),
                    energy: Energy::from_wh(wh),
                    at: time,
                    is_final: true,
                };
                let record = Signed::new(record, &key(meter));
                let checkpoint = is_closed
                    .then(|| Box::new(Checkpoint::sign(&record.clone().verify(&terms).unwrap(), &key(71))));
                let start = with_start.then(|| start(&terms, 0, 71));
                let body = Body::ContractSettle { record: Box::new(record), start, checkpoint };
                (of(who, &terms), body, vec![])
            }
            Step::Waive(sale, who) => {
                let terms = self.sale(sale)?;
                let seller = of(Who::Seller, &terms);
                let waiver = Signed::new(Waiver { contract: terms.id(), at: time }, &key(seller));
                (of(who, &terms), Body::ContractWaive(Box::new(waiver)), vec![])
            }
            Step::Dispute(sale, who) => {
                let terms = self.sale(sale)?;
                (of(who, &terms), Body::ContractDispute { contract: terms.id() }, vec![])
            }
            Step::Lower(sale, who, wh) => {
                let terms = self.sale(sale)?;
                let (contract, energy) = (terms.id(), Energy::from_wh(wh));
                (of(who, &terms), Body::ContractLower { contract, energy }, vec![])
            }
            Step::Resolve { sale, wh, parties, regulators } => {
                let terms = self.sale(sale)?;
                let (contract, energy) = (terms.id(), Energy::from_wh(wh));
                let both = [of(Who::Buyer, &terms), of(Who::Seller, &terms)];
                let mut also: Vec<u8> = both.into_iter().take(usize::from(parties)).collect();
                also.extend(REGULATORS.iter().take(regulators));
                (1, Body::ContractResolve { contract, energy }, also)
            }
            other => unreachable!("{other:?}"),
        })
    }

    fn decision(&self, time: Timestamp, step: Step) -> Option<(u8, Body, Vec<u8>)> {
        let epoch = |behind: u64| self.model.epoch.checked_sub(behind);
        let ahead = |ms: u64| time.checked_add(Duration::from_millis(ms)).unwrap();
        let voting = |count: usize| -> Vec<u8> {
            let all = self.model.validators();
            let one = |n: &u8| all.iter().any(|one| one.key == key(*n).public());
            CANDIDATES.into_iter().filter(one).take(count).collect()
        };
        Some(match step {
            Step::Validators { behind, listed, signers } => {
                let mut all: Vec<Validator> = Vec::new();
                for (at, stake, vote) in listed {
                    let mut one = validator(CANDIDATES[at], stake);
                    let now = self.model.validators().iter().find(|now| now.key == one.key);
                    one.vote = vote
                        .map(|vote| key(VOTES[vote]).public())
                        .or(now.map(|now| now.vote))
                        .unwrap_or(one.vote);
                    all.push(one);
                }
                // Lists that do not hold together do not even decode.
                let validators = Box::new(ValidatorSet::new(all).ok()?);
                (1, Body::SetValidators { epoch: epoch(behind)?, validators }, voting(signers))
            }
            Step::Upgrade { behind, rules, signers } => {
                (1, Body::Upgrade { epoch: epoch(behind)?, rules }, voting(signers))
            }
            Step::VoteKey { who, behind, vote, is_signed } => {
                let epoch = self.model.epoch + 1 - behind.min(1);
                let also = if is_signed { vec![VOTES[vote]] } else { vec![] };
                (who, Body::VoteKey { epoch, key: key(VOTES[vote]).public() }, also)
            }
            Step::Bond(who, amount) => (who, Body::Bond { amount }, vec![]),
            Step::Unbond(who, amount) => (who, Body::Unbond { amount }, vec![]),
            Step::Convict { behind, index } => {
                let epoch = epoch(behind)?;
                let past = self.model.epochs.get(&epoch)?;
                let culprit = past.validators.get(usize::from(index))?;
                let secrets = (1..=6).map(vote_key).chain(VOTES.map(key));
                let secret = secrets.into_iter().find(|one| one.public() == culprit.vote)?;
                let votes = [1, 2].map(|block| {
                    let (kind, block) = (VoteKind::Precommit, Some(BlockId([block; 32])));
                    let vote = Vote { kind, height: 3, round: 0, block, validator: index };
                    (vote, vote.sign(self.state.zone_id(), epoch, &secret))
                });
                (BUYER, Body::Convict { epoch, evidence: Box::new(Evidence::Votes(votes)) }, vec![])
            }
            Step::Tariff { sender, micro, ahead: ms } => {
                let price = Price::from_micro_per_kwh(micro);
                (sender, Body::SetTariff { price, from: ahead(ms) }, vec![])
            }
            Step::Cap { micro, ahead: ms, regulators } => {
                let cap = micro.map(Price::from_micro_per_kwh);
                (BUYER, Body::SetPriceCap { cap, from: ahead(ms) }, REGULATORS[..regulators].to_vec())
            }
            Step::AuditKey { key: n, regulators } => {
                let key = n.map(|n| key(n).public());
                (BUYER, Body::SetAuditKey { key }, REGULATORS[..regulators].to_vec())
            }
            Step::Circuit { sender, owner, circuit } => {
                (sender, Body::SetCircuit { station: station_of(owner), circuit }, vec![])
            }
            other => unreachable!("{other:?}"),
        })
    }

    /// The ledger holds what the model holds, and nothing else.
    fn compare(&self) {
        let (model, state) = (&self.model, &self.state);
        for who in model.owners.keys() {
            for journal in Journal::ALL {
                let balance = state.balance(journal, who).map_or(Balance::empty(*who), |(_, found)| *found);
                let found = balance.of(Asset::Currency);
                let found = (i128::from(found.posted), i128::from(found.held));
                let held = if journal == Journal::Energy { model.held(*who) } else { 0 };
                assert_eq!(found, (model.posted(*who, journal), held), "{who} {journal:?}");
                if journal == Journal::Energy {
                    let wh = [balance.bought, balance.sold].map(|energy| i128::from(energy.as_wh()));
                    assert_eq!(wh, model.energy.get(who).copied().unwrap_or_default(), "{who} Wh");
                }
            }
        }
        assert_eq!(i128::from(state.totals().flows[0][0].burned), model.burned);
        let mut counts = [0; 4];
        for object in state.objects() {
            match object {
                Object::Station(found) => {
                    let known = (found.owner, found.position, found.circuit);
                    assert_eq!(model.stations.get(&found.id()), Some(&known));
                }
                Object::Evse(found) => self.compare_outlet(found),
                Object::Auction(found) => {
                    counts[0] += 1;
                    compare_auction(found, &model.auctions[&found.intent.id()]);
                }
                Object::Contract(found) => {
                    counts[1] += 1;
                    compare_contract(found, &model.contracts[&found.id()]);
                }
                Object::Bond(found) => {
                    counts[2] += 1;
                    let leaving =
                        found.leaving.iter().map(|(at, amount)| (at.as_millis(), i128::from(*amount)));
                    let (bonded, convicted) = (i128::from(found.bonded), found.convicted);
                    let found_bond = Bonded { bonded, leaving: leaving.collect(), convicted };
                    assert_eq!(found_bond, model.bonds[&found.owner]);
                }
                Object::Epoch(found) => {
                    counts[3] += 1;
                    let known = &model.epochs[&found.number];
                    let ended = found.ended.map(|(_, time)| time.as_millis());
                    assert_eq!((found.validators.all(), ended), (&known.validators[..], known.ended));
                    assert_eq!(found.convicted, known.convicted.iter().copied().collect::<Vec<_>>());
                }
                _ => {}
            }
        }
        let open = [model.auctions.len(), model.contracts.len(), model.bonds.len(), model.epochs.len()];
        assert_eq!(counts, open, "auctions, contracts, bonds, epochs");
        for (id, end) in &model.ended {
            match state.object(id) {
                Some((_, Object::Finished(found))) => assert_eq!(found.end, *end, "{id}"),
                other => panic!("{id} has ended by {end:?}, the ledger has {other:?}"),
            }
        }
        self.compare_governance(state.governance());
    }

    fn compare_outlet(&self, found: &Evse) {
        let before = found.before.as_ref();
        let known = Outlet {
            owner: found.owner,
            station: found.station,
            connectors: found.connectors,
            power: found.power.as_w(),
            meter: found.meter,
            before: before.map(|old| old.meter),
        };
        assert_eq!(self.model.outlets.get(&found.id()), Some(&known));
        let meters = [(found.meter, found.register, &found.gaps)];
        let old = before.map(|old| (old.meter, old.register, &old.gaps));
        for (meter, register, gaps) in meters.into_iter().chain(old) {
            let sold = self.model.sold.get(&meter).cloned().unwrap_or_default();
            let end = sold.last().map_or(0, |last| last[1]);
            let gaps: Vec<[i128; 2]> =
                gaps.iter().map(|gap| [gap.from, gap.to].map(|wh| i128::from(wh.as_wh()))).collect();
            assert_eq!((i128::from(register.as_wh()), gaps), (end, left_out(&sold)), "{meter}");
        }
    }

    fn compare_governance(&self, found: &Governance) {
        let model = &self.model;
        assert_eq!(
            (found.epoch, found.rules, found.next_rules),
            (model.epoch, model.rules, model.next_rules)
        );
        assert_eq!(found.next_validators, None, "the epoch ends with the block that decides on others");
        assert_eq!(self.state.epoch().began.as_millis(), model.began);
        let votes: BTreeMap<AccountId, (PublicKey, u8)> =
            found.next_votes.iter().map(|next| (next.account, (next.key, next.count))).collect();
        assert_eq!(votes, model.next_votes);
        let holders: Vec<(u64, Vec<AccountId>)> =
            found.keys.iter().map(|keys| (keys.epoch, keys.accounts.clone())).collect();
        assert_eq!(holders, model.holders);
        assert_eq!((found.tariff(self.now), found.cap(self.now)), (model.tariff(), model.cap()));
        assert_eq!(found.tariffs.last(), model.tariffs.last());
        assert_eq!(found.caps.last(), model.caps.last());
        assert_eq!(found.audit_key, model.audit_key);
    }
}

fn compare_auction(found: &Auction, known: &Auctioned) {
    let bids: Vec<StationId> = found.bids.iter().map(|bid| bid.station).collect();
    let releases: BTreeSet<u16> = found.releases.iter().map(|(validator, _)| validator.0).collect();
    let award = found
        .award
        .as_ref()
        .map(|award| (award.station, award.seller, award.outcome, award.price, award.is_accepted));
    assert_eq!(
        (found.buyer, found.height, found.deadline.as_millis()),
        (known.buyer, known.opened, known.deadline)
    );
    assert_eq!(
        (bids, releases, found.opening.is_some(), award),
        (known.bids.clone(), known.releases.clone(), known.is_open, known.award)
    );
}

fn compare_contract(found: &ohmesh_contract::Contract, known: &Sale) {
    let stands = match known.stands {
        Stands::Agreed => ohmesh_contract::State::Agreed,
        Stands::Charging => ohmesh_contract::State::Charging,
        Stands::Submitted => ohmesh_contract::State::Submitted,
        Stands::Disputed => ohmesh_contract::State::Disputed,
    };
    assert_eq!((found.terms(), found.state()), (&known.terms, stands));
    assert_eq!(found.deadline().as_millis(), known.deadline);
    assert_eq!(found.started().map(Timestamp::as_millis), known.started);
    assert_eq!(found.claim().map(|claim| i128::from(claim.energy.as_wh())), known.claim);
}

/// The model of where every run begins.
fn model_of(state: &State) -> Model {
    let governance = state.governance();
    let epoch = state.epoch();
    let first =
        PastEpoch { validators: epoch.validators.all().to_vec(), ended: None, convicted: BTreeSet::new() };
    let mut model = Model {
        now: state.head().time.as_millis(),
        halted: state.totals().halted_ms,
        height: state.head().height,
        zone: Some(state.zone().clone()),
        began: epoch.began.as_millis(),
        epochs: BTreeMap::from([(0, first)]),
        used_votes: epoch.validators.all().iter().map(|one| one.vote).collect(),
        rules: governance.rules,
        holders: governance.keys.iter().map(|keys| (keys.epoch, keys.accounts.clone())).collect(),
        tariffs: governance.tariffs.clone(),
        caps: governance.caps.clone(),
        ..Model::default()
    };
    for object in state.objects() {
        match object {
            Object::Account(found) => drop(model.owners.insert(found.id(), found.owner)),
            Object::Station(found) => {
                model.stations.insert(found.id(), (found.owner, found.position, found.circuit));
            }
            Object::Evse(found) => {
                let (connectors, power, meter) = (found.connectors, found.power.as_w(), found.meter);
                let (owner, station, before) = (found.owner, found.station, None);
                model.bound.insert(meter);
                model.outlets.insert(found.id(), Outlet { owner, station, connectors, power, meter, before });
            }
            Object::Auction(found) => {
                let award = found.award.as_ref().unwrap();
                let auctioned = Auctioned {
                    buyer: found.buyer,
                    opened: found.height,
                    terms: found.intent.terms().clone(),
                    deadline: found.deadline.as_millis(),
                    bids: found.bids.iter().map(|bid| bid.station).collect(),
                    deposits: [found.deposits.buyer, found.deposits.bid].map(|m| i128::from(m.as_micro())),
                    no_shows: found.no_shows.len(),
                    halted: found.halted_ms,
                    releases: BTreeSet::new(),
                    is_open: true,
                    award: Some((award.station, award.seller, award.outcome, award.price, award.is_accepted)),
                };
                model.auctions.insert(found.intent.id(), auctioned);
            }
            _ => {}
        }
    }
    for who in model.owners.keys() {
        for journal in Journal::ALL {
            if let Some((_, found)) = state.balance(journal, who) {
                model.posted.insert((*who, journal), i128::from(found.of(Asset::Currency).posted));
            }
        }
    }
    model
}

/// The name of a variant.
fn name_of(variant: &impl std::fmt::Debug) -> String {
    format!("{variant:?}").chars().take_while(char::is_ascii_alphanumeric).collect()
}

fn play(plans: Vec<Plan>) -> Seen {
    let mut run = Run::new();
    for plan in plans {
        run.block(plan);
    }
    run.seen
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_ledger_does_what_the_model_does(plans in proptest::collection::vec(plan(), 1..40)) {
        play(plans);
    }
}

/// The traffic above is not idle: the same cases in every run take every kind of transaction, and refuse each for every
/// reason of its row that is reached without weak keys and broken proofs.
#[test]
fn the_machine_reaches_every_step() {
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let seen = RefCell::new(Seen::new());
    let outcome = runner.run(&proptest::collection::vec(plan(), 36..40), |plans| {
        seen.borrow_mut().extend(play(plans));
        Ok(())
    });
    outcome.unwrap();
    let seen = seen.into_inner();
    let reached = |kind: &str, name: &str| seen.contains(&(kind.to_owned(), name.to_owned()));
    let missing: Vec<(&str, &str)> = ROWS
        .iter()
        .flat_map(|(kind, names)| names.iter().chain(&["taken"]).map(|name| (*kind, *name)))
        .filter(|(kind, name)| !reached(kind, name))
        .collect();
    assert_eq!(missing, []);
    for name in ["AlreadyApplied", "Expired", "Fee"] {
        assert!(ROWS.iter().any(|(kind, _)| reached(kind, name)), "nothing was {name}");
    }
}

/// What the traffic reaches of each row of the table; what is left is among the attacks.
const ROWS: [(&str, &[&str]); 25] = [
    ("Transfer", &["ToItself", "NotPositive", "Insufficient"]),
    ("RegisterStation", &[]),
    ("RegisterEvse", &["NoStation", "MeterNotInstalled", "MeterBound", "EmptyEvse"]),
    ("AuctionOpen", &["Deadline", "AuctionExists"]),
    ("AuctionBid", &["NoAuction", "AuctionStep", "BidTwice"]),
    ("AuctionRelease", &["NoAuction", "AuctionStep"]),
    ("AuctionOutcome", &["NoAuction", "AuctionStep"]),
    ("AuctionAccept", &["NoAuction", "NotTheAward"]),
    ("ContractOpen", &["NoAuction", "AuctionStep", "ContractTerms", "ContractExists", "Contract"]),
    ("ContractStart", &["NoContract", "Contract"]),
    ("ContractSettle", &["NoContract", "MeterRegister", "Contract"]),
    ("ContractWaive", &["NoContract", "NotThePayee"]),
    ("ContractDispute", &["NoContract", "Contract"]),
    ("ContractLower", &["NoContract", "Contract"]),
    ("ContractResolve", &["NoContract", "NotResolved", "Contract"]),
    ("SetValidators", &["OtherEpoch", "Stake", "BondTooSmall", "VoteKeyUsed", "NoAccount"]),
    ("Upgrade", &["OtherEpoch", "Stake", "Rules"]),
    ("VoteKey", &["OtherEpoch", "NotSigned", "NoValidator", "VoteKeyUsed"]),
    ("Bond", &["NotPositive", "Insufficient"]),
    ("Unbond", &["NotPositive", "NoBond"]),
    ("Convict", &[]),
    ("SetTariff", &["NotTheDistributor", "NotPositive", "Notice"]),
    ("SetPriceCap", &["Regulators", "NotPositive", "Notice"]),
    ("SetAuditKey", &["Regulators"]),
    ("SetCircuit", &["NotTheDistributor", "NoStation"]),
];
