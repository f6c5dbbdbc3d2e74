//! A small zone with known keys, and the shortest way to run transactions on it.

use ohmesh_ledger::*;
use ohmesh_units::*;
use std::time::Duration;

pub fn key(n: u8) -> SigningKey {
    SigningKey::from_seed([n; 32])
}

pub fn account(n: u8) -> AccountId {
    AccountId::of(&key(n).public())
}

pub const TREASURERS: [u8; 3] = [50, 51, 52];
pub const DISTRIBUTOR: u8 = 60;
pub const REGULATORS: [u8; 3] = [40, 41, 42];
pub const BUYER: u8 = 70;
pub const SELLER: u8 = 80;
pub const METER: u8 = 90;
/// 0.08 a kWh.
pub const TARIFF: i64 = 80_000;

/// The key with which validator `n` votes in epoch 0.
pub fn vote_key(n: u8) -> SigningKey {
    SigningKey::from_seed([n + 200; 32])
}

pub fn validator(n: u8, stake: u64) -> Validator {
    let (key, vote) = (key(n).public(), vote_key(n).public());
    Validator { name: format!("v{n}"), key, vote, stake, address: String::new() }
}

pub fn zone() -> Zone {
    let validators = (1u8..=4).map(|n| validator(n, 10)).collect();
    Zone {
        name: "testville".into(),
        currency: "EUR".parse().unwrap(),
        created: Timestamp::from_millis(1_800_000_000_000),
        polygon: [(525, 134), (526, 134), (526, 135)]
            .map(|(lat, lon)| Position::from_e7(lat * 1_000_000, lon * 1_000_000).unwrap())
            .to_vec(),
        treasury: KeyGroup { threshold: 2, keys: TREASURERS.map(|n| key(n).public()).to_vec() },
        distributor: Distributor {
            key: key(DISTRIBUTOR).public(),
            tariff: Price::from_micro_per_kwh(TARIFF),
        },
        areas: Vec::new(),
        regulators: Some(KeyGroup { threshold: 2, keys: REGULATORS.map(|n| key(n).public()).to_vec() }),
        rules: Rules::default(),
        validators: ValidatorSet::new(validators).unwrap(),
    }
}

/// A proposer and a follower that must agree on everything.
pub struct Town {
    pub state: State,
    pub follower: State,
    pub now: Timestamp,
    pub numbers: u128,
    pub blocks: Vec<Vec<u8>>,
    pub sales: Vec<SaleRecord>,
}

impl Town {
    /// A zone in which buyer and seller have accounts and 100 EUR each, and the seller an outlet.
    pub fn new() -> Self {
        Self::in_zone(zone())
    }

    pub fn in_zone(zone: Zone) -> Self {
        let mut town = Self {
            now: zone.created,
            state: State::genesis(zone.clone()),
            follower: State::genesis(zone),
            numbers: 0,
            blocks: Vec::new(),
            sales: Vec::new(),
        };
        for who in [BUYER, SELLER] {
            town.ok(who, Body::OpenAccount { owner: key(who).public() }, &[]);
            town.ok(TREASURERS[0], issue(who, 100_000_000), &TREASURERS[..2]);
        }
        let position = Position::from_e7(525_200_000, 134_050_000).unwrap();
        let (number, name, award_key) = (1, "Station".to_owned(), Hash([9; 32]));
        town.ok(SELLER, Body::RegisterStation { number, name, position, award_key }, &[]);
        let outlet = town.outlet(SELLER, 1, 1, METER);
        town.ok(SELLER, outlet, &[]);
        town
    }

    /// An outlet of 22 kW at the first station of `owner`, with the meter's word.
    pub fn outlet(&self, owner: u8, number: u16, connectors: u16, meter: u8) -> Body {
        let (at, plugs) = ((StationId::of(&account(owner), 1), number), (connectors, Power::from_w(22_000)));
        Body::register_evse(self.state.zone_id(), &account(owner), at, plugs, &key(meter))
    }

    /// The outlet that sells as the ledger has it.
    pub fn evse(&self) -> Evse {
        match self.state.object(&evse().into()) {
            Some((_, Object::Evse(outlet))) => outlet.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// The sale of a hold is paid, by a meter that has counted on from where it was last sold.
    pub fn post_sale(&self, pending: Hash, wh: u64) -> Body {
        Body::PostSale { pending, energy: Energy::from_wh(wh), register_start: self.evse().register }
    }

    pub fn transaction(&mut self, sender: u8, body: Body) -> Transaction {
        self.numbers += 1;
        Transaction {
            zone: *self.state.zone_id(),
            sender: account(sender),
            number: self.numbers,
            valid_until: self.now.checked_add(Duration::from_secs(3600)).unwrap(),
            body,
        }
    }

    /// Signed by the sender and by `also`.
    pub fn signed(&mut self, sender: u8, body: Body, also: &[u8]) -> SignedTransaction {
        let mut keys = vec![key(sender)];
        keys.extend(also.iter().filter(|n| **n != sender).map(|n| key(*n)));
        self.transaction(sender, body).sign(&keys.iter().collect::<Vec<_>>())
    }

    /// One block of `transactions`, executed by the follower from its bytes; gives what was refused.
    pub fn block(&mut self, transactions: Vec<SignedTransaction>) -> Vec<TransactionError> {
        self.block_at(Duration::from_secs(1), transactions)
    }

    pub fn block_at(
        &mut self,
        later: Duration,
        transactions: Vec<SignedTransaction>,
    ) -> Vec<TransactionError> {
        self.now = self.now.checked_add(later).unwrap();
        let candidates = Verified::all(self.state.zone_id(), transactions).unwrap();
        let Proposed { block, bytes, applied, refused } = self.state.propose(self.now, 0, &candidates);
        let sales = applied.sales.clone();
        self.state.apply(applied);
        assert_eq!(bytes, block.encode(), "what is sent is the block");
        let (block, transactions) = open_block(&self.follower, &bytes).unwrap();
        let applied = self.follower.execute(&block, &transactions).unwrap();
        assert_eq!(applied.sales, sales, "everybody exports the same");
        self.sales.extend(sales);
        self.follower.apply(applied);
        self.state.audit();
        self.follower.audit();
        assert_eq!(self.state.roots(), self.follower.roots(), "I9");
        self.blocks.push(bytes);
        refused.into_iter().map(|(_, reason)| reason).collect()
    }

    /// Time passes, with an empty block every ten seconds, as when nobody has anything to say.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now.checked_add(time).unwrap();
        while self.now < until {
            let left = until.since(self.now).unwrap();
            self.block_at(left.min(Duration::from_secs(10)), Vec::new());
        }
    }

    pub fn try_one(&mut self, sender: u8, body: Body, also: &[u8]) -> Result<(), TransactionError> {
        let signed = self.signed(sender, body, also);
        match self.block(vec![signed]).pop() {
            None => Ok(()),
            Some(reason) => Err(reason),
        }
    }

    pub fn ok(&mut self, sender: u8, body: Body, also: &[u8]) {
        self.try_one(sender, body, also).unwrap();
    }

    pub fn holding(&self, journal: Journal, who: u8) -> Holding {
        self.state
            .balance(journal, &account(who))
            .map_or(Holding::default(), |(_, balance)| *balance.of(Asset::Currency))
    }
}

pub fn issue(to: u8, amount: i64) -> Body {
    Body::Issue { asset: Asset::Currency, to: account(to), amount, reference: "bank 1".into() }
}

pub fn pay(from: u8, to: u8, amount: i64) -> Body {
    let (journal, asset) = (Journal::Energy, Asset::Currency);
    Body::Transfer { legs: vec![Leg::Move { journal, asset, from: account(from), to: account(to), amount }] }
}

pub fn station() -> StationId {
    StationId::of(&account(SELLER), 1)
}

pub fn evse() -> EvseId {
    EvseId::of(&station(), 1)
}
