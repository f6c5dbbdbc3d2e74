//! The model: registry, auctions, contracts, bonds and decisions in plain maps, written from the table on the crate's front
//! page. It keeps no running sums: what is held is added up over open contracts and bonds each time it is asked.

use crate::{auctions::SELLERS, model::sell, town::*};
use ohmesh_ledger::*;
use ohmesh_units::*;
use std::collections::{BTreeMap, BTreeSet};

pub const SECOND: u64 = 1_000;
pub const HOUR: u64 = 3_600 * SECOND;
pub const DAY: u64 = 24 * HOUR;

/// The name of a variant of [`TransactionError`].
pub type Refusal = &'static str;

fn ensure(holds: bool, refusal: Refusal) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(refusal) }
}

/// Price a kWh times Wh, halves away from zero.
fn cost(price: Price, wh: i128) -> i128 {
    (i128::from(price.as_micro_per_kwh()) * wh + 500) / 1000
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outlet {
    pub owner: AccountId,
    pub station: StationId,
    pub connectors: u16,
    pub power: u32,
    pub meter: PublicKey,
    pub before: Option<PublicKey>,
}

#[derive(Clone, Debug)]
pub struct Auctioned {
    pub buyer: AccountId,
    pub opened: u64,
    pub terms: ohmesh_auction::intent::Terms,
    pub deadline: u64,
    pub bids: Vec<StationId>,
    /// Of the buyer, and with each bid.
    pub deposits: [i128; 2],
    pub no_shows: usize,
    /// What the model's count of still time was when the step began.
    pub halted: u64,
    pub releases: BTreeSet<u16>,
    pub is_open: bool,
    /// Station, seller, outcome, price, accepted.
    pub award: Option<(StationId, AccountId, Hash, Price, bool)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stands {
    Agreed,
    Charging,
    Submitted,
    Disputed,
}

#[derive(Clone, Debug)]
pub struct Sale {
    pub terms: ohmesh_contract::Terms,
    pub stands: Stands,
    pub deadline: u64,
    pub started: Option<u64>,
    pub claim: Option<i128>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bonded {
    pub bonded: i128,
    pub leaving: Vec<(u64, i128)>,
    pub convicted: Option<u64>,
}

impl Bonded {
    fn held(&self) -> i128 {
        self.bonded + self.leaving.iter().map(|(_, amount)| amount).sum::<i128>()
    }
}

#[derive(Clone, Debug)]
pub struct PastEpoch {
    pub validators: Vec<Validator>,
    pub ended: Option<u64>,
    pub convicted: BTreeSet<u16>,
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    pub now: u64,
    /// How long nothing happened, all gaps of more than 30 s together.
    pub halted: u64,
    pub height: u64,
    pub zone: Option<Zone>,
    /// What was applied when, for a day.
    pub ids: BTreeMap<TransactionId, u64>,
    pub owners: BTreeMap<AccountId, PublicKey>,
    pub posted: BTreeMap<(AccountId, Journal), i128>,
    /// Wh bought and sold.
    pub energy: BTreeMap<AccountId, [i128; 2]>,
    pub burned: i128,
    /// Owner and circuit.
    pub stations: BTreeMap<StationId, (AccountId, Position, Option<u32>)>,
    pub outlets: BTreeMap<EvseId, Outlet>,
    pub bound: BTreeSet<PublicKey>,
    pub sold: BTreeMap<PublicKey, Vec<[i128; 2]>>,
    pub auctions: BTreeMap<AuctionId, Auctioned>,
    pub contracts: BTreeMap<ContractId, Sale>,
    /// How auctions and contracts ended.
    pub ended: BTreeMap<Hash, End>,
    pub epoch: u64,
    pub began: u64,
    pub epochs: BTreeMap<u64, PastEpoch>,
    pub next_validators: Option<Vec<Validator>>,
    pub next_votes: BTreeMap<AccountId, (PublicKey, u8)>,
    pub used_votes: BTreeSet<PublicKey>,
    pub rules: Rules,
    pub next_rules: Option<Rules>,
    /// Who holds the auction key of which epoch; the newest four.
    pub holders: Vec<(u64, Vec<AccountId>)>,
    pub bonds: BTreeMap<AccountId, Bonded>,
    pub tariffs: Vec<Tariff>,
    pub caps: Vec<PriceCap>,
    pub audit_key: Option<PublicKey>,
}

impl Model {
    pub fn validators(&self) -> &[Validator] {
        &self.epochs[&self.epoch].validators
    }

    fn zone(&self) -> &Zone {
        self.zone.as_ref().expect("set when the run begins")
    }

    /// Time passes: what is over ends, before the block's transactions.
    pub fn begin(&mut self, now: u64) {
        let gap = now - self.now;
        self.halted += if gap > 30 * SECOND { gap } else { 0 };
        self.now = now;
        self.height += 1;
        for (id, sale) in self.contracts.clone() {
            if sale.deadline > now {
                continue;
            }
            self.contracts.remove(&id);
            let end = match sale.claim {
                Some(wh) => {
                    self.pay(&sale.terms, wh);
                    End::Posted
                }
                None => End::Expired,
            };
            self.ended.insert(id.into(), end);
        }
        for (id, auction) in self.auctions.clone() {
            if auction.deadline <= now {
                self.auction_over(id, auction);
            }
        }
        self.bonds.values_mut().for_each(|bond| bond.leaving.retain(|(free, _)| *free > now));
        self.epochs.retain(|_, epoch| epoch.ended.is_none_or(|ended| ended + 28 * DAY > now));
    }

    /// The time of an auction's step is over: somebody has failed, unless nothing happened meanwhile.
    fn auction_over(&mut self, id: AuctionId, mut auction: Auctioned) {
        auction.deadline += self.halted - auction.halted;
        auction.halted = self.halted;
        if auction.deadline > self.now {
            self.auctions.insert(id, auction);
            return;
        }
        self.auctions.remove(&id);
        let end = match auction.award {
            None if !auction.is_open => End::TimedOut,
            Some((station, seller, .., false)) => {
                self.burn(seller, auction.deposits[1]);
                auction.bids.retain(|bid| *bid != station);
                auction.no_shows += 1;
                if !auction.bids.is_empty() && auction.no_shows < 3 {
                    (auction.award, auction.deadline) = (None, self.now + 300 * SECOND);
                    self.auctions.insert(id, auction);
                    return;
                }
                End::NobodyCame
            }
            _ => {
                self.burn(auction.buyer, auction.deposits[0]);
                End::BuyerFailed
            }
        };
        self.ended.insert(id.into(), end);
    }

    /// The block is full: the epoch may be over.
    pub fn close(&mut self) {
        let now = self.now;
        self.ids.retain(|_, at| *at + DAY > now);
        if self.now < self.began + self.rules.epoch_ms && self.next_validators.is_none() {
            return;
        }
        let before = self.validators().to_vec();
        let mut next = self.next_validators.take().unwrap_or(before.clone());
        for validator in &mut next {
            if let Some((vote, _)) = self.next_votes.get(&validator.account()) {
                validator.vote = *vote;
            }
        }
        let hands = |all: &[Validator]| all.iter().map(|one| (one.account(), one.stake)).collect::<Vec<_>>();
        if hands(&before) != hands(&next) {
            self.holders.push((self.epoch + 1, next.iter().map(Validator::account).collect()));
            let many = self.holders.len().saturating_sub(4);
            self.holders.drain(..many);
        }
        self.used_votes.extend(next.iter().map(|validator| validator.vote));
        self.epochs.get_mut(&self.epoch).expect("it runs").ended = Some(self.now);
        self.epoch += 1;
        self.began = self.now;
        let convicted = BTreeSet::new();
        self.epochs.insert(self.epoch, PastEpoch { validators: next, ended: None, convicted });
        self.rules = self.next_rules.take().unwrap_or(self.rules);
        self.next_votes.clear();
    }

    /// One transaction: done, or refused with nothing changed.
    pub fn run(&mut self, signed: &SignedTransaction) -> Result<(), Refusal> {
        let mut next = self.clone();
        next.admit(signed)?;
        next.ids.insert(signed.transaction.id(), self.now);
        *self = next;
        Ok(())
    }

    fn admit(&mut self, signed: &SignedTransaction) -> Result<(), Refusal> {
        let transaction = &signed.transaction;
        ensure(!self.ids.contains_key(&transaction.id()), "AlreadyApplied")?;
        ensure(self.now < transaction.valid_until.as_millis(), "Expired")?;
        let signers: Vec<PublicKey> = signed.signatures.iter().map(|one| one.key).collect();
        let owner = self.owners.get(&transaction.sender).ok_or("NoAccount")?;
        ensure(signers.contains(owner), "NotSigned")?;
        let weight = transaction.body.paid_weight(signers.len());
        let fee = i128::from(weight) * i128::from(self.rules.fee.as_micro());
        ensure(self.available(transaction.sender) >= fee, "Fee")?;
        self.burn(transaction.sender, fee);
        self.perform(transaction.sender, &transaction.body, &signers)
    }

    fn perform(&mut self, sender: AccountId, body: &Body, signers: &[PublicKey]) -> Result<(), Refusal> {
        match body {
            Body::Transfer { legs } => legs.iter().try_for_each(|leg| self.leg(sender, leg)),
            Body::RegisterStation { number, position, .. } => {
                let id = StationId::of(&sender, *number);
                let circuit = match self.stations.get(&id) {
                    Some((_, before, circuit)) if before == position => *circuit,
                    _ => None,
                };
                self.stations.insert(id, (sender, *position, circuit));
                Ok(())
            }
            Body::RegisterEvse { .. } => self.outlet(sender, body),
            Body::AuctionOpen(intent) => self.open(sender, intent),
            Body::AuctionBid { bid, evse } => self.bid(sender, (bid.auction, bid.station), *evse),
            Body::AuctionRelease(release) => self.release(sender, release.auction, release.validator.0),
            Body::AuctionOutcome(outcome) => self.outcome(sender, outcome),
            Body::AuctionAccept(accept) => {
                let auction = self.auctions.get_mut(&accept.auction).ok_or("NoAuction")?;
                let award = auction.award.as_mut().ok_or("NotTheAward")?;
                let is_it =
                    (award.0, award.1, award.2, award.4) == (accept.station, sender, accept.outcome, false);
                ensure(is_it, "NotTheAward")?;
                award.4 = true;
                (auction.deadline, auction.halted) = (self.now + 600 * SECOND, self.halted);
                Ok(())
            }
            Body::ContractOpen(agreement) => {
                self.agree(sender, &agreement.offer.terms, agreement.offer.valid_until)
            }
            Body::ContractStart(start) => {
                let now = self.now;
                start_sale(self.sale(&start.body.contract)?, start.body.at.as_millis(), now)
            }
            Body::ContractSettle { record, start, checkpoint } => {
                let start = start.as_ref().map(|start| start.body.at.as_millis());
                self.settle(sender, &record.body, start, checkpoint.is_some())
            }
            Body::ContractWaive(waiver) => {
                let id = waiver.body.contract;
                let sale = self.sale(&id)?;
                ensure(sale.terms.seller == sender, "NotThePayee")?;
                ensure(sale.stands == Stands::Agreed, "Contract")?;
                self.end(id, End::Voided);
                Ok(())
            }
            Body::ContractDispute { contract } => {
                let until = self.now + 7 * DAY;
                let sale = self.sale(contract)?;
                ensure(sale.stands == Stands::Submitted && sale.terms.buyer == sender, "Contract")?;
                (sale.stands, sale.deadline) = (Stands::Disputed, until);
                Ok(())
            }
            Body::ContractLower { contract, energy } => {
                let sale = self.sale(contract)?;
                let wh = i128::from(energy.as_wh());
                ensure(sale.terms.seller == sender && sale.claim.is_some_and(|most| wh < most), "Contract")?;
                sale.claim = Some(wh);
                Ok(())
            }
            Body::ContractResolve { contract, energy } => self.resolve(*contract, *energy, signers),
            Body::SetValidators { .. } | Body::Upgrade { .. } => self.decide(body, signers),
            Body::VoteKey { epoch, key } => self.vote_key(sender, (*epoch, *key), signers),
            Body::Bond { amount } => {
                let amount = positive(*amount)?;
                ensure(self.available(sender) >= amount, "Insufficient")?;
                self.bonds.entry(sender).or_default().bonded += amount;
                Ok(())
            }
            Body::Unbond { amount } => self.unbond(sender, *amount),
            Body::Convict { epoch, evidence } => self.convict(*epoch, evidence.validator()),
            Body::SetTariff { price, from } => {
                ensure(sender == account(DISTRIBUTOR), "NotTheDistributor")?;
                ensure(price.as_micro_per_kwh() >= 0, "NotPositive")?;
                let is_one_to_come = self.tariffs.last().is_some_and(|last| last.from.as_millis() > self.now);
                ensure(from.as_millis() >= self.now + DAY && !is_one_to_come, "Notice")?;
                let version = self.tariff().version + 1;
                self.tariffs.push(Tariff { version, price: *price, from: *from });
                Ok(())
            }
            Body::SetPriceCap { cap, from } => {
                ensure(regulated(signers), "Regulators")?;
                ensure(cap.is_none_or(|cap| cap.as_micro_per_kwh() > 0), "NotPositive")?;
                let is_one_to_come = self.caps.last().is_some_and(|last| last.from.as_millis() > self.now);
                ensure(from.as_millis() >= self.now + DAY && !is_one_to_come, "Notice")?;
                self.caps.push(PriceCap { cap: *cap, from: *from });
                Ok(())
            }
            Body::SetAuditKey { key } => {
                ensure(regulated(signers), "Regulators")?;
                self.audit_key = *key;
                Ok(())
            }
            Body::SetCircuit { station, circuit } => {
                ensure(sender == account(DISTRIBUTOR), "NotTheDistributor")?;
                self.stations.get_mut(station).ok_or("NoStation")?.2 = *circuit;
                Ok(())
            }
            other => panic!("the traffic sends no {other:?}"),
        }
    }

    fn leg(&mut self, sender: AccountId, leg: &Leg) -> Result<(), Refusal> {
        let Leg::Move { journal: Journal::Energy, asset: Asset::Currency, from, to, amount } = leg else {
            panic!("the traffic sends no {leg:?}")
        };
        ensure(*from == sender, "NotThePayer")?;
        let amount = positive(*amount)?;
        ensure(from != to, "ToItself")?;
        ensure(self.available(*from) >= amount, "Insufficient")?;
        self.put(*from, Journal::Energy, -amount);
        self.put(*to, Journal::Energy, amount);
        Ok(())
    }

    fn outlet(&mut self, owner: AccountId, body: &Body) -> Result<(), Refusal> {
        let Body::RegisterEvse { station, number, connectors, power, meter, installed } = body else {
            unreachable!("the caller has looked")
        };
        let found = self.stations.get(station).ok_or("NoStation")?;
        ensure(found.0 == owner, "NotTheOwner")?;
        ensure(*connectors != 0 && power.as_w() != 0, "EmptyEvse")?;
        let evse = EvseId::of(station, *number);
        let installation = Installation { zone: self.zone().id(), evse, owner, meter: *meter };
        ensure(installation.is_signed(installed), "MeterNotInstalled")?;
        let before = match self.outlets.get(&evse) {
            Some(now) if now.meter == *meter => now.before,
            now => {
                let before = now.map(|now| now.meter);
                ensure(self.bound.insert(*meter), "MeterBound")?;
                before
            }
        };
        let (station, connectors, power, meter) = (*station, *connectors, power.as_w(), *meter);
        self.outlets.insert(evse, Outlet { owner, station, connectors, power, meter, before });
        Ok(())
    }

    fn open(&mut self, buyer: AccountId, intent: &ohmesh_auction::intent::Intent) -> Result<(), Refusal> {
        let (id, terms) = (intent.id(), intent.terms.clone());
        let voters = self.validators().iter().map(|one| Voter { key: one.vote, stake: one.stake }).collect();
        let needed = blocks_needed(&Voters::new(voters).expect("they vote"), self.height);
        let deadline = terms.deadline.as_millis();
        let in_time = self.now < deadline && deadline <= self.now + HOUR;
        ensure(in_time && (needed..=1_000).contains(&terms.blocks_min), "Deadline")?;
        ensure(self.cap().is_none_or(|cap| terms.price_cap() <= cap), "AboveCap")?;
        let is_known = self.auctions.contains_key(&id) || self.ended.contains_key(&Hash::from(id));
        ensure(!is_known, "AuctionExists")?;
        let deposits = self.rules.deposits;
        let deposits = [deposits.buyer, deposits.bid].map(|amount| i128::from(amount.as_micro()));
        ensure(self.available(buyer) >= deposits[0], "Insufficient")?;
        let auction = Auctioned {
            buyer,
            opened: self.height,
            terms,
            deadline: deadline + 120 * SECOND,
            bids: Vec::new(),
            deposits,
            no_shows: 0,
            halted: self.halted,
            releases: BTreeSet::new(),
            is_open: false,
            award: None,
        };
        self.auctions.insert(id, auction);
        Ok(())
    }

    fn bid(
        &mut self,
        sender: AccountId,
        (auction, station): (AuctionId, StationId),
        evse: EvseId,
    ) -> Result<(), Refusal> {
        let found = self.auctions.get(&auction).ok_or("NoAuction")?;
        ensure(self.stations.get(&station).ok_or("NoStation")?.0 == sender, "NotTheOwner")?;
        let outlet = self.outlets.get(&evse).ok_or("NoEvse")?;
        ensure(outlet.station == station && fits(outlet, &found.terms), "UnfitEvse")?;
        ensure(self.now < found.terms.deadline.as_millis(), "AuctionStep")?;
        ensure(!found.bids.contains(&station), "BidTwice")?;
        ensure(self.available(sender) >= found.deposits[1], "Insufficient")?;
        self.auctions.get_mut(&auction).expect("found just now").bids.push(station);
        Ok(())
    }

    /// Bidding is over: the deadline has passed, and enough proposers have had their turn.
    fn is_due(&self, auction: &Auctioned) -> bool {
        let blocks = self.height - auction.opened;
        self.now >= auction.terms.deadline.as_millis() && blocks >= u64::from(auction.terms.blocks_min)
    }

    fn release(&mut self, sender: AccountId, id: AuctionId, named: u16) -> Result<(), Refusal> {
        let auction = self.auctions.get(&id).ok_or("NoAuction")?;
        let holders = self.holders.iter().find(|(epoch, _)| *epoch == auction.terms.key_epoch);
        let holder = holders.and_then(|(_, accounts)| accounts.get(usize::from(named)));
        ensure(holder == Some(&sender), "NotTheValidator")?;
        let is_time = self.is_due(auction) && !auction.is_open && auction.award.is_none();
        ensure(is_time && !auction.releases.contains(&named), "AuctionStep")?;
        let (decide_until, halted) = (self.now + 300 * SECOND, self.halted);
        let auction = self.auctions.get_mut(&id).expect("found just now");
        auction.releases.insert(named);
        // More than two thirds of four equal shares.
        if auction.releases.len() == 3 {
            auction.releases.clear();
            (auction.is_open, auction.deadline, auction.halted) = (true, decide_until, halted);
        }
        Ok(())
    }

    fn outcome(
        &mut self,
        sender: AccountId,
        outcome: &ohmesh_auction::outcome::Outcome,
    ) -> Result<(), Refusal> {
        let auction = self.auctions.get(&outcome.auction).ok_or("NoAuction")?;
        ensure(auction.buyer == sender, "NotTheBuyer")?;
        let may = self.is_due(auction) && auction.award.is_none();
        ensure(may && (auction.is_open || auction.bids.is_empty()), "AuctionStep")?;
        // Everybody's price and place are known here: the second seller is the cheaper one.
        let best =
            SELLERS[..2].iter().rev().find(|n| auction.bids.contains(&StationId::of(&account(**n), 1)));
        let Some(winner) = best else {
            self.auctions.remove(&outcome.auction);
            self.ended.insert(outcome.auction.into(), End::NobodyEligible);
            return Ok(());
        };
        let price = auction.terms.tick.price(PriceTick(super::ticks_of(*winner)));
        let station = StationId::of(&account(*winner), 1);
        let (accept_until, halted) = (self.now + 120 * SECOND, self.halted);
        let auction = self.auctions.get_mut(&outcome.auction).expect("found just now");
        auction.award = Some((station, account(*winner), outcome.hash(), price, false));
        (auction.deadline, auction.halted) = (accept_until, halted);
        Ok(())
    }

    fn agree(
        &mut self,
        sender: AccountId,
        terms: &ohmesh_contract::Terms,
        valid_until: Timestamp,
    ) -> Result<(), Refusal> {
        let id = terms.id();
        ensure(terms.price >= terms.grid.price, "Contract")?;
        let is_known = self.contracts.contains_key(&id) || self.ended.contains_key(&Hash::from(id));
        ensure(!is_known, "ContractExists")?;
        let auction = self.auctions.get(&terms.auction).ok_or("NoAuction")?;
        let (station, seller, _, price, _) = auction.award.filter(|award| award.4).ok_or("AuctionStep")?;
        let asked = &auction.terms;
        let as_awarded = sender == auction.buyer
            && (terms.buyer, terms.buyer_key) == (auction.buyer, asked.buyer)
            && (terms.seller, terms.price) == (seller, price)
            && terms.energy_max <= asked.energy.energy();
        ensure(as_awarded, "ContractTerms")?;
        let outlet = self.outlets.get(&terms.evse).ok_or("NoEvse")?;
        let tariff = self.tariff();
        let as_registered = outlet.station == station
            && fits(outlet, asked)
            && (outlet.meter, outlet.power) == (terms.meter_key, terms.power_rated.as_w())
            && self.owners.get(&seller) == Some(&terms.seller_key)
            && (terms.grid.version, terms.grid.price) == (tariff.version, tariff.price);
        ensure(as_registered, "ContractTerms")?;
        let charge_until = terms.expiry.as_millis() - 15 * 60 * SECOND;
        let is_far = terms.not_before.as_millis() > self.now + DAY;
        ensure(self.now < valid_until.as_millis() && !is_far && self.now < charge_until, "Contract")?;
        // The deposit comes back first, and may be part of the escrow.
        self.auctions.remove(&terms.auction);
        ensure(self.available(sender) >= i128::from(terms.escrow.as_micro()), "Insufficient")?;
        self.ended.insert(terms.auction.into(), End::Contracted(id));
        let (deadline, terms) = (terms.expiry.as_millis(), terms.clone());
        let sale = Sale { terms, stands: Stands::Agreed, deadline, started: None, claim: None };
        self.contracts.insert(id, sale);
        Ok(())
    }

    fn settle(
        &mut self,
        sender: AccountId,
        record: &ohmesh_contract::MeterRecord,
        start: Option<u64>,
        is_closed: bool,
    ) -> Result<(), Refusal> {
        let (id, now) = (record.contract, self.now);
        let sale = self.sale(&id)?;
        if let Some(at) = start.filter(|_| sale.started.is_none()) {
            start_sale(sale, at, now)?;
        }
        let sale = sale.clone();
        let (terms, wh) = (&sale.terms, i128::from(record.energy.as_wh()));
        let outlet = self.outlets.get(&terms.evse).ok_or("NoEvse")?;
        let is_its_meter = outlet.meter == terms.meter_key || outlet.before == Some(terms.meter_key);
        ensure(is_its_meter, "MeterGone")?;
        let from = i128::from(record.register_start.as_wh());
        sell(self.sold.entry(terms.meter_key).or_default(), from, wh)?;
        ensure(sender == terms.seller || is_closed && record.is_final, "Contract")?;
        let started = sale.started.filter(|_| sale.stands == Stands::Charging).ok_or("Contract")?;
        if is_closed {
            self.pay(terms, wh);
            self.end(id, End::Posted);
            return Ok(());
        }
        let ms = record.at.as_millis().min(now).saturating_sub(started);
        let flowed = i128::from(terms.power_rated.as_w()) * i128::from(ms) / 3_600_000;
        let claim = wh.min(flowed).min(i128::from(terms.energy_max.as_wh()));
        let sale = self.sale(&id)?;
        (sale.stands, sale.deadline, sale.claim) = (Stands::Submitted, now + DAY, Some(claim));
        Ok(())
    }

    fn resolve(&mut self, id: ContractId, energy: Energy, signers: &[PublicKey]) -> Result<(), Refusal> {
        let sale = self.sale(&id)?.clone();
        let parties = [sale.terms.buyer, sale.terms.seller];
        let agreed = parties.iter().all(|who| self.owners.get(who).is_some_and(|key| signers.contains(key)));
        let is_submitted = sale.stands == Stands::Submitted;
        ensure(agreed || !is_submitted && regulated(signers), "NotResolved")?;
        let wh = i128::from(energy.as_wh());
        let is_claim = is_submitted || sale.stands == Stands::Disputed;
        ensure(is_claim && sale.claim.is_some_and(|most| wh <= most), "Contract")?;
        self.pay(&sale.terms, wh);
        self.end(id, End::Posted);
        Ok(())
    }

    fn end(&mut self, id: ContractId, end: End) {
        self.contracts.remove(&id);
        self.ended.insert(id.into(), end);
    }

    /// Price to the seller in one book, the fee of it to the distributor in the other.
    fn pay(&mut self, terms: &ohmesh_contract::Terms, wh: i128) {
        let wh = wh.min(i128::from(terms.energy_max.as_wh()));
        let due = cost(terms.price, wh).min(i128::from(terms.escrow.as_micro()));
        let fee = cost(terms.grid.price, wh).min(due);
        self.put(terms.buyer, Journal::Energy, -due);
        self.put(terms.seller, Journal::Energy, due - fee);
        self.put(account(DISTRIBUTOR), Journal::Grid, fee);
        self.energy.entry(terms.buyer).or_default()[0] += wh;
        self.energy.entry(terms.seller).or_default()[1] += wh;
    }

    /// More than two thirds of the stake decide on the validators or the rules.
    fn decide(&mut self, body: &Body, signers: &[PublicKey]) -> Result<(), Refusal> {
        let (Body::SetValidators { epoch, .. } | Body::Upgrade { epoch, .. }) = body else {
            unreachable!("the caller has looked")
        };
        ensure(*epoch == self.epoch, "OtherEpoch")?;
        let stake = |which: &dyn Fn(&Validator) -> bool| -> u64 {
            self.validators().iter().filter(|one| which(one)).map(|one| one.stake).sum()
        };
        ensure(3 * stake(&|one| signers.contains(&one.key)) > 2 * stake(&|_| true), "Stake")?;
        match body {
            Body::Upgrade { rules, .. } => {
                let fee = (0..=1_000_000).contains(&rules.fee.as_micro());
                let epochs = (10 * SECOND..=7 * DAY).contains(&rules.epoch_ms);
                let is_whole = fee && epochs && rules.bond.as_micro() >= 0;
                ensure(is_whole && rules.version >= self.rules.version, "Rules")?;
                self.next_rules = Some(*rules);
                Ok(())
            }
            Body::SetValidators { validators, .. } => {
                for validator in validators.all() {
                    let account = validator.account();
                    ensure(self.owners.contains_key(&account), "NoAccount")?;
                    let bonded = self.bonds.get(&account).map_or(0, |bond| bond.bonded);
                    ensure(bonded >= self.bond_needed(account, validator.stake), "BondTooSmall")?;
                    self.may_vote_with(account, validator.vote)?;
                }
                self.next_validators = Some(validators.all().to_vec());
                self.forget_votes_of_others();
                Ok(())
            }
            _ => unreachable!("one of the two"),
        }
    }

    /// A key of now, unless it has just contradicted itself; or one that nobody has or will have.
    fn may_vote_with(&self, account: AccountId, key: PublicKey) -> Result<(), Refusal> {
        let is_tainted = self.bonds.get(&account).is_some_and(|bond| bond.convicted == Some(self.epoch));
        let is_mine = self.validators().iter().any(|one| one.account() == account && one.vote == key);
        let is_anothers = self.next_votes.iter().any(|(who, (vote, _))| *vote == key && *who != account);
        let is_free = !is_anothers && !self.used_votes.contains(&key);
        ensure(is_mine && !is_tainted || is_free, "VoteKeyUsed")
    }

    fn forget_votes_of_others(&mut self) {
        if let Some(next) = &self.next_validators {
            self.next_votes.retain(|who, _| next.iter().any(|one| one.account() == *who));
        }
    }

    fn vote_key(
        &mut self,
        sender: AccountId,
        (epoch, key): (u64, PublicKey),
        signers: &[PublicKey],
    ) -> Result<(), Refusal> {
        ensure(epoch == self.epoch + 1, "OtherEpoch")?;
        ensure(signers.contains(&key), "NotSigned")?;
        let next = self.next_validators.as_deref().unwrap_or(self.validators());
        ensure(next.iter().any(|one| one.account() == sender), "NoValidator")?;
        let is_taken = next.iter().any(|one| one.vote == key)
            || self.used_votes.contains(&key)
            || self.next_votes.values().any(|(vote, _)| *vote == key);
        ensure(!is_taken, "VoteKeyUsed")?;
        let mine = self.next_votes.entry(sender).or_insert((key, 0));
        ensure(mine.1 < 4, "VoteKeys")?;
        *mine = (key, mine.1 + 1);
        Ok(())
    }

    /// What the genesis gave is free until a conviction.
    fn bond_needed(&self, who: AccountId, stake: u64) -> i128 {
        let is_convicted = self.bonds.get(&who).is_some_and(|bond| bond.convicted.is_some());
        let given = self.zone().validators.all().iter().find(|one| one.account() == who);
        let free = given.filter(|_| !is_convicted).map_or(0, |one| one.stake);
        let next = self.next_rules.map_or(0, |next| next.bond.as_micro());
        i128::from(stake.saturating_sub(free)) * i128::from(self.rules.bond.as_micro().max(next))
    }

    fn unbond(&mut self, sender: AccountId, amount: i64) -> Result<(), Refusal> {
        let amount = positive(amount)?;
        let bond = self.bonds.get(&sender).cloned().ok_or("NoBond")?;
        ensure(bond.bonded >= amount, "NoBond")?;
        ensure(bond.leaving.len() < 16, "Full")?;
        let stake =
            |all: &[Validator]| all.iter().find(|one| one.account() == sender).map_or(0, |one| one.stake);
        let most = stake(self.validators()).max(self.next_validators.as_deref().map_or(0, stake));
        ensure(bond.bonded - amount >= self.bond_needed(sender, most), "BondTooSmall")?;
        let free = self.now + 28 * DAY;
        let bond = self.bonds.get_mut(&sender).expect("found just now");
        bond.bonded -= amount;
        bond.leaving.push((free, amount));
        Ok(())
    }

    fn convict(&mut self, epoch: u64, index: u16) -> Result<(), Refusal> {
        let found = self.epochs.get_mut(&epoch).ok_or("NoEpoch")?;
        ensure(found.convicted.insert(index), "ConvictedAlready")?;
        let culprit = found.validators[usize::from(index)].account();
        let bond = self.bonds.entry(culprit).or_default();
        let burned = bond.held();
        *bond = Bonded { convicted: Some(self.epoch), ..Bonded::default() };
        self.burn(culprit, burned);
        let mut next = self.next_validators.clone().unwrap_or(self.validators().to_vec());
        let before = next.len();
        next.retain(|one| one.account() != culprit);
        if next.len() < before && !next.is_empty() {
            self.next_validators = Some(next);
            self.forget_votes_of_others();
        }
        Ok(())
    }

    fn sale(&mut self, id: &ContractId) -> Result<&mut Sale, Refusal> {
        self.contracts.get_mut(id).ok_or("NoContract")
    }

    pub fn tariff(&self) -> Tariff {
        let mut known = self.tariffs.iter().filter(|tariff| tariff.from.as_millis() <= self.now);
        *known.next_back().expect("the genesis has one")
    }

    pub fn cap(&self) -> Option<Price> {
        let mut known = self.caps.iter().filter(|cap| cap.from.as_millis() <= self.now);
        known.next_back().and_then(|cap| cap.cap)
    }

    fn burn(&mut self, who: AccountId, amount: i128) {
        self.burned += amount;
        self.put(who, Journal::Energy, -amount);
    }

    fn put(&mut self, who: AccountId, journal: Journal, amount: i128) {
        *self.posted.entry((who, journal)).or_default() += amount;
    }

    pub fn posted(&self, who: AccountId, journal: Journal) -> i128 {
        self.posted.get(&(who, journal)).copied().unwrap_or(0)
    }

    pub fn held(&self, who: AccountId) -> i128 {
        let mine = self.contracts.values().filter(|sale| sale.terms.buyer == who);
        let escrows: i128 = mine.map(|sale| i128::from(sale.terms.escrow.as_micro())).sum();
        let deposited = self.auctions.values().map(|auction| {
            let bids = auction.bids.iter().filter(|bid| self.stations[*bid].0 == who).count();
            let own = if auction.buyer == who { auction.deposits[0] } else { 0 };
            own + i128::try_from(bids).expect("few bid") * auction.deposits[1]
        });
        escrows + deposited.sum::<i128>() + self.bonds.get(&who).map_or(0, Bonded::held)
    }

    fn available(&self, who: AccountId) -> i128 {
        self.posted(who, Journal::Energy) - self.held(who)
    }
}

/// The buyer's start: once, not before the contract, not far ahead, not when it is too late to charge.
fn start_sale(sale: &mut Sale, at: u64, now: u64) -> Result<(), Refusal> {
    let charge_until = sale.terms.expiry.as_millis() - 15 * 60 * SECOND;
    let in_time = sale.terms.not_before.as_millis() <= at && at <= now + 30 * SECOND && at < charge_until;
    ensure(sale.stands == Stands::Agreed && in_time, "Contract")?;
    (sale.stands, sale.started) = (Stands::Charging, Some(at));
    Ok(())
}

fn fits(outlet: &Outlet, terms: &ohmesh_auction::intent::Terms) -> bool {
    outlet.connectors & terms.connectors.bits() != 0 && outlet.power >= terms.power_min.as_w()
}

fn positive(amount: i64) -> Result<i128, Refusal> {
    ensure(amount > 0, "NotPositive")?;
    Ok(i128::from(amount))
}

/// Two of the three regulators.
fn regulated(signers: &[PublicKey]) -> bool {
    REGULATORS.iter().filter(|n| signers.contains(&key(**n).public())).count() >= 2
}
