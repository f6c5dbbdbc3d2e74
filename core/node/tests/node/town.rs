//! A small zone with known keys: a ledger to talk to.

use ohmesh_ledger::*;
use ohmesh_node::{Certified, Place, Store};
use ohmesh_units::*;
use std::{sync::Arc, time::Duration};

pub fn key(n: u8) -> SigningKey {
    SigningKey::from_seed([n; 32])
}

pub fn account(n: u8) -> AccountId {
    AccountId::of(&key(n).public())
}

pub const VALIDATORS: [u8; 4] = [1, 2, 3, 4];
pub const TREASURER: u8 = 50;
pub const DISTRIBUTOR: u8 = 60;
pub const BUYER: u8 = 70;
pub const SELLER: u8 = 80;

pub fn zone_named(name: &str) -> ZoneFile {
    let validators = VALIDATORS
        .map(|n| Validator {
            name: format!("v{n}"),
            key: key(n).public(),
            vote: key(n).public(),
            stake: 10,
            address: format!("10.0.0.{n}:4433"),
        })
        .to_vec();
    let zone = Zone {
        name: name.into(),
        currency: "EUR".parse().unwrap(),
        created: Timestamp::from_millis(1_800_000_000_000),
        polygon: [(525, 134), (526, 134), (526, 135)]
            .map(|(lat, lon)| Position::from_e7(lat * 1_000_000, lon * 1_000_000).unwrap())
            .to_vec(),
        regulators: None,
        rules: Rules::default(),
        treasury: KeyGroup { threshold: 1, keys: vec![key(TREASURER).public()] },
        distributor: Distributor {
            key: key(DISTRIBUTOR).public(),
            tariff: Price::from_micro_per_kwh(80_000),
        },
        areas: Vec::new(),
        validators: ValidatorSet::new(validators).unwrap(),
    };
    let mut file = ZoneFile::new(zone).unwrap();
    for n in VALIDATORS {
        file.sign(&key(n)).unwrap();
    }
    file
}

pub fn zone_file() -> ZoneFile {
    zone_named("testville")
}

pub fn memory() -> Arc<Store> {
    Store::open(&Place::Memory, &zone_file()).unwrap()
}

pub struct Town {
    pub state: State,
    pub now: Timestamp,
    pub numbers: u128,
    pub head: Option<Certified>,
    pub waiting: Vec<SignedTransaction>,
}

impl Town {
    /// A zone in which buyer and seller have accounts and 100 EUR each; three blocks.
    pub fn new() -> Self {
        let mut town = Self::empty();
        town.open(BUYER);
        town.open(SELLER);
        town.issue(BUYER, 100_000_000);
        town.issue(SELLER, 100_000_000);
        town
    }

    /// A zone with one block and no accounts but the distributor's.
    pub fn empty() -> Self {
        let zone = zone_file().sealed().unwrap().clone();
        let now = zone.created;
        let mut town = Self { state: State::genesis(zone), now, numbers: 0, head: None, waiting: Vec::new() };
        town.block(vec![]);
        town
    }

    pub fn open(&mut self, who: u8) {
        let open = self.signed(who, Body::OpenAccount { owner: key(who).public() });
        self.block(vec![open]);
    }

    pub fn issue(&mut self, to: u8, amount: i64) {
        let (asset, to, reference) = (Asset::Currency, account(to), "bank 1".into());
        self.numbers += 1;
        let body = Body::Issue { asset, to, amount, reference };
        let transaction = self.transaction(SELLER, body);
        let signed = transaction.sign(&[&key(SELLER), &key(TREASURER)]);
        self.block(vec![signed]);
    }

    pub fn pay(&mut self, from: u8, to: u8, amount: i64) {
        let signed = self.signed(from, pay(from, to, amount));
        self.block(vec![signed]);
    }

    fn transaction(&mut self, sender: u8, body: Body) -> Transaction {
        self.numbers += 1;
        Transaction {
            zone: *self.state.zone_id(),
            sender: account(sender),
            number: self.numbers,
            valid_until: self.now.checked_add(Duration::from_secs(3600)).unwrap(),
            body,
        }
    }

    pub fn signed(&mut self, sender: u8, body: Body) -> SignedTransaction {
        self.transaction(sender, body).sign(&[&key(sender)])
    }

    /// The next block, in which each of `transactions` must apply.
    pub fn block(&mut self, transactions: Vec<SignedTransaction>) {
        self.block_at(Duration::from_secs(1), transactions);
    }

    pub fn block_at(&mut self, later: Duration, transactions: Vec<SignedTransaction>) {
        let proposed = self.propose(later, transactions);
        assert_eq!(proposed.refused, vec![]);
        self.now = proposed.block.header.time;
        self.head = Some(certified(&proposed.block.header, &VALIDATORS[..3]));
        self.state.apply(proposed.applied);
    }

    /// A block that could be next.
    pub fn propose(&self, later: Duration, transactions: Vec<SignedTransaction>) -> Proposed {
        let candidates = Verified::all(self.state.zone_id(), transactions).unwrap();
        self.state.propose(self.now.checked_add(later).unwrap(), 0, &candidates)
    }

    /// Another header that could be next, certified by `signers`.
    pub fn other_next(&self, later: Duration, signers: &[u8]) -> Certified {
        certified(&self.propose(later, vec![]).block.header, signers)
    }

    pub fn head(&self) -> Certified {
        self.head.clone().unwrap()
    }

    pub fn height(&self) -> u64 {
        self.head().0.height
    }

    pub fn proofs(&self, who: u8) -> Vec<Proof> {
        self.state.prove_account(&account(who)).unwrap_or_default()
    }

    pub fn posted(&self, who: u8) -> i64 {
        let balance = self.state.balance(Journal::Energy, &account(who));
        balance.map_or(0, |(_, balance)| balance.of(Asset::Currency).posted)
    }
}

pub fn pay(from: u8, to: u8, amount: i64) -> Body {
    let (journal, asset) = (Journal::Energy, Asset::Currency);
    Body::Transfer { legs: vec![Leg::Move { journal, asset, from: account(from), to: account(to), amount }] }
}

/// `header` with a certificate by the validators with these keys.
pub fn certified(header: &Header, signers: &[u8]) -> Certified {
    let mut signatures: Vec<(u16, Signature)> = signers
        .iter()
        .map(|n| {
            let validator = zone_file().zone.validators.index_of(&key(*n).public()).unwrap();
            let (height, block) = (header.height, Some(header.id()));
            let vote = Vote { kind: VoteKind::Precommit, height, round: 0, block, validator };
            (validator, vote.sign(&header.zone, header.epoch, &key(*n)))
        })
        .collect();
    signatures.sort_unstable();
    let (height, epoch, block) = (header.height, header.epoch, header.id());
    (header.clone(), Certificate { height, round: 0, epoch, block, signatures })
}
