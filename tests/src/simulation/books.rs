//! The zone's books, kept by somebody who reads its blocks and nothing else: money, holds, auctions and contracts
//! by the rules of the design, in plain maps, by other code than the ledger's. After every block they must agree
//! with what the header states (the root over the postings, I7) and with what an honest agent holds.
//!
//! Who keeps them has no proofs to believe: it is told what bidders and buyers hide ([`Secret`]), and so knows who
//! must win.

mod auctions;
mod contracts;
mod money;
#[cfg(test)]
mod tests;

pub use auctions::Secret;

use auctions::AuctionBook;
use contracts::ContractBook;
use money::{BondBook, HoldBook, Purses};
use ohmesh_ledger::{Block, Body, Journal, Object, Posting, SignedTransaction, State, Zone, postings_root};
use ohmesh_units::{
    AccountId, AuctionId, ContractId, Energy, EvseId, Hash, Position, Price, PublicKey, StationId, Timestamp,
};
use std::{collections::BTreeMap, time::Duration};

/// The books of one zone.
pub struct Books {
    zone: Zone,
    /// Time and height of the newest block, and how long there was none: all gaps of more than 30 s together.
    now: Timestamp,
    halted: Duration,
    height: u64,
    /// Its postings so far, by journal, and the group that is being posted.
    postings: [Vec<Posting>; 2],
    group: u32,
    /// Tariffs as they were decided: from when, and what a kWh costs.
    tariffs: Vec<(Timestamp, Price)>,
    owners: BTreeMap<AccountId, PublicKey>,
    stations: BTreeMap<StationId, (AccountId, Position)>,
    outlets: BTreeMap<EvseId, OutletBook>,
    purses: Purses,
    holds: BTreeMap<Hash, HoldBook>,
    bonds: BTreeMap<AccountId, BondBook>,
    auctions: BTreeMap<AuctionId, AuctionBook>,
    contracts: BTreeMap<ContractId, ContractBook>,
    secrets: BTreeMap<AuctionId, auctions::Sealed>,
    /// What has come to an end.
    pub counts: BookCounts,
}

/// What the people of a zone have brought to its end.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct BookCounts {
    /// Auctions with a proven winner.
    pub won: u64,
    /// Auctions that led to no contract: nobody was eligible, or the time of a step was over.
    pub unsold: u64,
    /// Winners that did not come, after which the next best could be proven.
    pub no_shows: u64,
    /// Contracts that were paid, for whatever reason.
    pub paid: u64,
    /// Claims that the buyer disputed.
    pub disputed: u64,
    /// Disputes that somebody decided.
    pub resolved: u64,
    /// Contracts that were waived or expired.
    pub lapsed: u64,
}

/// A rule that does not hold, and what was seen.
#[derive(Debug)]
pub struct Breach {
    /// The rule's name.
    pub rule: &'static str,
    /// What was seen.
    pub seen: String,
}

type Read<T = ()> = Result<T, Breach>;

/// An outlet, and what its meters have sold.
struct OutletBook {
    owner: AccountId,
    meter: PublicKey,
    /// Parts of lifetime registers that were sold, by meter: none may touch another (I10).
    sold: Vec<(PublicKey, u64, u64)>,
}

impl Books {
    /// Nothing has happened yet.
    pub fn new(zone: Zone) -> Self {
        let mut owners = vec![zone.distributor.key];
        owners.extend(&zone.treasury.keys);
        owners.extend(zone.validators.all().iter().map(|validator| validator.key));
        Self {
            now: zone.created,
            halted: Duration::ZERO,
            height: 0,
            postings: Default::default(),
            group: Posting::BY_TIMEOUT,
            tariffs: vec![(zone.created, zone.distributor.tariff)],
            owners: owners.into_iter().map(|owner| (AccountId::of(&owner), owner)).collect(),
            stations: BTreeMap::new(),
            outlets: BTreeMap::new(),
            purses: Purses::default(),
            holds: BTreeMap::new(),
            bonds: BTreeMap::new(),
            auctions: BTreeMap::new(),
            contracts: BTreeMap::new(),
            secrets: BTreeMap::new(),
            counts: BookCounts::default(),
            zone,
        }
    }

    /// The height of the newest block that was read.
    pub fn height(&self) -> u64 {
        self.height
    }

    /// Reads the next decided block. Of the agent's `state` it takes the public auction keys.
    pub fn read(&mut self, block: &Block, state: &State) -> Read {
        let next = self.height + 1;
        must(block.header.height == next, "books", || {
            format!("block {} is read as {next}", block.header.height)
        })?;
        let gap = block.header.time.since(self.now).unwrap_or_default();
        self.halted += if gap > Duration::from_secs(30) { gap } else { Duration::ZERO };
        (self.now, self.height) = (block.header.time, block.header.height);
        self.postings = Default::default();
        self.group = Posting::BY_TIMEOUT;
        self.time_passes()?;
        for (group, signed) in (0u32..).zip(&block.transactions) {
            self.group = group;
            self.transaction(signed, state)?;
        }
        for journal in Journal::ALL {
            let expected = postings_root(journal, &self.postings[journal as usize]);
            let stated = block.header.state.journal(journal).postings;
            let height = self.height;
            must(expected == stated, "I7", || {
                format!(
                    "the {journal:?} journal of block {height} posts other legs than its transactions call for"
                )
            })?;
        }
        Ok(())
    }

    /// What happens by block time alone, before a block's transactions.
    fn time_passes(&mut self) -> Read {
        self.end_holds()?;
        self.end_bonds()?;
        self.end_auctions();
        self.end_contracts()
    }

    fn transaction(&mut self, signed: &SignedTransaction, state: &State) -> Read {
        let transaction = &signed.transaction;
        let sender = transaction.sender;
        match &transaction.body {
            Body::OpenAccount { owner } | Body::OpenAccountFor { owner } => {
                self.owners.insert(AccountId::of(owner), *owner);
                Ok(())
            }
            Body::RegisterStation { number, position, .. } => {
                self.stations.insert(StationId::of(&sender, *number), (sender, *position));
                Ok(())
            }
            Body::RegisterEvse { station, number, meter, .. } => {
                self.register(sender, EvseId::of(station, *number), *meter);
                Ok(())
            }
            Body::SetTariff { price, from } => {
                self.tariffs.push((*from, *price));
                Ok(())
            }
            Body::Issue { .. }
            | Body::Burn { .. }
            | Body::Transfer { .. }
            | Body::Bond { .. }
            | Body::Unbond { .. } => self.money(sender, &transaction.body),
            Body::Pend { .. } | Body::PendSale { .. } => self.hold(transaction),
            Body::Post { .. } | Body::PostSale { .. } | Body::Void { .. } => {
                self.end_hold(sender, &transaction.body)
            }
            Body::AuctionOpen(_)
            | Body::AuctionBid { .. }
            | Body::AuctionRelease(_)
            | Body::AuctionOutcome(_)
            | Body::AuctionAccept(_) => self.auction(sender, &transaction.body, state),
            Body::ContractOpen(_)
            | Body::ContractStart(_)
            | Body::ContractSettle { .. }
            | Body::ContractWaive(_)
            | Body::ContractDispute { .. }
            | Body::ContractLower { .. }
            | Body::ContractResolve { .. } => self.contract(signed),
            // They move no money: validators of simulated zones have no bonds that a conviction could burn.
            Body::KeyDeal(_)
            | Body::KeyHandout(_)
            | Body::KeyBlinding(_)
            | Body::KeyComplaint(_)
            | Body::KeySolo(_)
            | Body::VoteKey { .. }
            | Body::Convict { .. }
            | Body::SetValidators { .. } => Ok(()),
            other => breach("books", format!("nobody in this zone sends {other:?}")),
        }
    }

    fn register(&mut self, owner: AccountId, evse: EvseId, meter: PublicKey) {
        let sold = self.outlets.remove(&evse).map(|before| before.sold).unwrap_or_default();
        self.outlets.insert(evse, OutletBook { owner, meter, sold });
    }

    /// What a kWh costs by the tariff in force.
    fn tariff(&self) -> Price {
        let in_force = self.tariffs.iter().filter(|(from, _)| *from <= self.now);
        in_force.max_by_key(|(from, _)| *from).unwrap_or(&self.tariffs[0]).1
    }

    /// I10: no Wh that a meter has counted is sold twice.
    fn sell_register(&mut self, evse: &EvseId, meter: PublicKey, from: Energy, energy: Energy) -> Read {
        let outlet = self.outlets.get_mut(evse).ok_or_else(|| unknown("outlet", evse))?;
        let (from, to) = (from.as_wh(), from.as_wh() + energy.as_wh());
        let twice = outlet.sold.iter().find(|(by, a, b)| *by == meter && from < *b && *a < to);
        must(twice.is_none(), "I10", || format!("{evse} sells {from} to {to} Wh, and has sold {twice:?}"))?;
        outlet.sold.push((meter, from, to));
        Ok(())
    }

    /// Compares what an agent holds, if it is where the books are.
    pub fn compare(&self, state: &State) -> Read {
        if state.head().height != self.height() {
            return Ok(());
        }
        self.purses.compare(self.owners.keys(), state)?;
        self.compare_auctions(state)?;
        self.compare_contracts(state)?;
        let open = |object: &&Object| matches!(object, Object::Pending(_));
        let found = state.objects().filter(open).count();
        must(found == self.holds.len(), "I4", || {
            format!("{found} open holds, the books have {}", self.holds.len())
        })
    }
}

fn breach<T>(rule: &'static str, seen: String) -> Read<T> {
    Err(Breach { rule, seen })
}

fn must(holds: bool, rule: &'static str, seen: impl FnOnce() -> String) -> Read {
    if holds { Ok(()) } else { breach(rule, seen()) }
}

fn unknown(what: &str, id: &impl std::fmt::Display) -> Breach {
    Breach { rule: "books", seen: format!("no {what} {id} is in any block before") }
}

/// What `energy` costs: thousandths, rounded half up, of positive numbers.
fn cost(price: Price, energy: Energy) -> i64 {
    let thousandths = i128::from(price.as_micro_per_kwh()) * i128::from(energy.as_wh());
    i64::try_from((thousandths + 500) / 1000).expect("far below 2^63")
}
