//! A zone of four agents, two of which own a station: the ledger, the validators and the sellers, driven by hand.

use ohmesh_auction::{
    award::{Accept, Award as Rendezvous},
    bid::Bid,
    key::{
        KeyShares, ValidatorIndex,
        generation::{Action as KeyAction, Dealer},
    },
    outcome::Outcome,
    release::Release,
    seal::SealSecret,
};
use ohmesh_contract::{
    Action, GridTariff, Message, MeterRecord, OnLedger, Reading, Sale, SellerInput, SellerKeys,
    SellerSession, Settlement, Signed, Start,
};
use ohmesh_geo::{Availability, Catalogue, Connector, Outlet, choose_area, frame};
use ohmesh_ledger::*;
use ohmesh_node::Certified;
use ohmesh_units::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::{collections::BTreeMap, time::Duration};

pub const VALIDATORS: [u8; 4] = [1, 2, 3, 4];
/// The agents that own a station each, and what they ask, in ticks.
pub const SELLERS: [(u8, u16); 2] = [(2, 40_000), (3, 30_000)];
pub const TREASURER: u8 = 50;
pub const DISTRIBUTOR: u8 = 60;
pub const BUYER: u8 = 70;
pub const TARIFF: i64 = 80_000;

pub fn key(n: u8) -> SigningKey {
    SigningKey::from_seed([n; 32])
}

pub fn account(n: u8) -> AccountId {
    AccountId::of(&key(n).public())
}

pub fn station_of(n: u8) -> StationId {
    StationId::of(&account(n), 1)
}

pub fn evse_of(n: u8) -> EvseId {
    EvseId::of(&station_of(n), 1)
}

fn meter_of(n: u8) -> SigningKey {
    key(n + 90)
}

fn seal_of(n: u8) -> SealSecret {
    SealSecret::from_seed(&[n; 32])
}

/// Where the phone is.
pub fn here() -> Position {
    Position::from_e7(525_200_000, 134_050_000).unwrap()
}

/// Twenty-five stations on a small grid around the phone: enough to hide it.
pub fn catalogue() -> Catalogue {
    let at = |n: i32| Position::from_e7(525_190_000 + n / 5 * 5_000, 134_040_000 + n % 5 * 5_000).unwrap();
    let station = |n: i32| ohmesh_geo::Station {
        reference: None,
        name: format!("Station {n}"),
        operator: "Stadtwerke".into(),
        address: "Am Markt".into(),
        position: at(n),
        outlets: vec![Outlet {
            count: 1,
            connectors: Connector::Type2.into(),
            power: Some(Power::from_w(60_000)),
            meter_key: None,
        }],
        in_service_since: None,
        availability: Availability::Unknown,
    };
    Catalogue::new((0..25).map(station).collect()).unwrap()
}

/// The zone file, with the area around the phone.
pub fn zone_file() -> ZoneFile {
    let validators = VALIDATORS
        .map(|n| Validator {
            name: format!("v{n}"),
            key: key(n).public(),
            vote: key(n).public(),
            stake: 10,
            address: format!("10.0.0.{n}:4433"),
        })
        .to_vec();
    let area = choose_area(here(), &catalogue()).unwrap();
    let listed = ZoneArea { area, frame: frame(area).unwrap() };
    let zone = Zone {
        name: "testville".into(),
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
            tariff: Price::from_micro_per_kwh(TARIFF),
        },
        areas: vec![listed],
        validators: ValidatorSet::new(validators).unwrap(),
    };
    let mut file = ZoneFile::new(zone).unwrap();
    VALIDATORS.iter().for_each(|n| file.sign(&key(*n)).unwrap());
    file
}

/// What the sellers and validators leave undone.
#[derive(Clone, Copy, Default)]
pub struct Sloth {
    pub bids: bool,
    pub releases: bool,
    pub accepts: bool,
    pub sells: bool,
}

pub struct Market {
    pub state: State,
    pub now: Timestamp,
    pub head: Certified,
    pub waiting: Vec<SignedTransaction>,
    pub sloth: Sloth,
    pub auctions: Vec<AuctionId>,
    pub refused: Vec<TransactionError>,
    /// What was sealed to the winner, opened by it.
    pub rendezvous: Vec<Vec<u8>>,
    shares: Vec<KeyShares>,
    outcomes: BTreeMap<AuctionId, Outcome>,
    sales: BTreeMap<AuctionId, Selling>,
    number: u128,
    rng: ChaCha20Rng,
}

/// The seller's side of one sale.
struct Selling {
    seller: u8,
    session: Option<SellerSession>,
    exporter: Option<[u8; 32]>,
    /// The key that the award names.
    peer: Vec<u8>,
    /// Whether a draft has been lost: the first always is.
    has_lost: bool,
    outbox: Vec<Message>,
    is_on: bool,
    is_plugged: bool,
    register: Energy,
    metered: Timestamp,
    /// The buyer's newest order to start.
    start: Option<Signed<Start>>,
}

impl Selling {
    /// What the meter shows: it has counted 54 kW since the last look.
    fn read(&mut self, now: Timestamp) -> Reading {
        let more = Power::from_w(54_000).times(now.since(self.metered).unwrap_or_default());
        self.register = self.register.checked_add(more).unwrap();
        self.metered = now;
        Reading { register: self.register, at: now }
    }
}

impl Market {
    pub fn new() -> Self {
        let zone = zone_file().sealed().unwrap().clone();
        let (now, state) = (zone.created, State::genesis(zone));
        let rng = ChaCha20Rng::seed_from_u64(1);
        let proposed = state.propose(now.checked_add(Duration::from_secs(1)).unwrap(), 0, &[]);
        let mut market = Self {
            head: certified(&proposed.block.header),
            state,
            now,
            waiting: Vec::new(),
            sloth: Sloth::default(),
            auctions: Vec::new(),
            refused: Vec::new(),
            rendezvous: Vec::new(),
            shares: Vec::new(),
            outcomes: BTreeMap::new(),
            sales: BTreeMap::new(),
            number: 0,
            rng,
        };
        market.ok(BUYER, Body::OpenAccount { owner: key(BUYER).public() });
        let reference = "bank 1".to_owned();
        let (asset, amount) = (Asset::Currency, 100_000_000);
        market.ok(BUYER, Body::Issue { asset, to: account(BUYER), amount, reference });
        for (at, (n, _)) in (0i32..).zip(SELLERS) {
            let position = Position::from_e7(525_205_000 + at * 1_000, 134_055_000).unwrap();
            let award_key = Hash(seal_of(n).public().to_bytes());
            let (number, name) = (1, format!("Station {n}"));
            market.ok(n, Body::RegisterStation { number, name, position, award_key });
            let plugs = (ohmesh_geo::Connectors::from(Connector::Type2).bits(), Power::from_w(60_000));
            let (zone, outlet) = (*market.state.zone_id(), (station_of(n), 1));
            market.ok(n, Body::register_evse(&zone, &account(n), outlet, plugs, &meter_of(n)));
        }
        market.make_key();
        market
    }

    /// Every validator runs the generation over the ledger.
    fn make_key(&mut self) {
        let generation = match self.state.object(&epoch_key_id(0)) {
            Some((_, Object::Generation(generation))) => generation.generation.clone(),
            other => panic!("{other:?}"),
        };
        let sender = |validator: ValidatorIndex| VALIDATORS[usize::from(validator.0)];
        let (mut dealers, mut handouts, mut last) = (Vec::new(), Vec::new(), Vec::new());
        let mut deals = Vec::new();
        for validator in generation.holding.validators() {
            let (dealer, action) = Dealer::start(generation.clone(), validator, &mut self.rng).unwrap();
            let KeyAction::Deal(deal) = action else { panic!("{action:?}") };
            dealers.push(dealer);
            deals.push(deal);
        }
        for deal in deals {
            self.ok(sender(deal.validator), Body::KeyDeal(Box::new(deal.clone())));
            for dealer in &mut dealers {
                handouts.extend(dealer.on_deal(deal.clone(), &mut self.rng).unwrap());
            }
        }
        for action in handouts {
            let KeyAction::Handout(handout) = action else { panic!("{action:?}") };
            self.ok(sender(handout.validator), Body::KeyHandout(Box::new(handout.clone())));
            for dealer in &mut dealers {
                last.extend(dealer.on_handout(handout.clone(), &mut self.rng).unwrap());
            }
        }
        for action in last {
            let KeyAction::Keep(shares, blinding) = action else { panic!("{action:?}") };
            self.ok(sender(shares.validator()), Body::KeyBlinding(Box::new(blinding)));
            self.shares.push(*shares);
        }
    }

    fn signed(&mut self, sender: u8, body: Body) -> SignedTransaction {
        self.number += 1;
        let transaction = Transaction {
            zone: *self.state.zone_id(),
            sender: account(sender),
            number: self.number,
            valid_until: self.now.checked_add(Duration::from_secs(3600)).unwrap(),
            body,
        };
        transaction.sign(&[&key(sender), &key(TREASURER)])
    }

    fn ok(&mut self, sender: u8, body: Body) {
        let signed = self.signed(sender, body);
        self.waiting.push(signed);
        let time = self.now.checked_add(Duration::from_secs(1)).unwrap();
        self.block(time);
        assert_eq!(self.refused, vec![]);
    }

    /// A block of everything that waits, at `time`.
    pub fn block(&mut self, time: Timestamp) {
        let waiting = std::mem::take(&mut self.waiting);
        for signed in &waiting {
            match &signed.transaction.body {
                Body::AuctionOpen(intent) if !self.auctions.contains(&intent.id()) => {
                    self.auctions.push(intent.id());
                }
                Body::AuctionOutcome(outcome) => {
                    self.outcomes.insert(outcome.auction, (**outcome).clone());
                }
                _ => {}
            }
        }
        let candidates = Verified::all(self.state.zone_id(), waiting).unwrap();
        let proposed = self.state.propose(time, 0, &candidates);
        self.refused.extend(proposed.refused.into_iter().map(|(_, reason)| reason));
        self.now = proposed.block.header.time;
        self.head = certified(&proposed.block.header);
        self.state.apply(proposed.applied);
        self.state.audit();
    }

    /// What validators and sellers do after a block.
    pub fn work(&mut self) {
        for id in self.auctions.clone() {
            match self.state.object(&id.into()) {
                Some((_, Object::Auction(auction))) => {
                    let auction = (**auction).clone();
                    self.work_on(id, &auction);
                }
                Some((_, Object::Finished(Finished { end: End::Contracted(contract), .. }))) => {
                    let contract = *contract;
                    self.sell(id, contract);
                }
                _ => {}
            }
        }
    }

    fn work_on(&mut self, id: AuctionId, auction: &Auction) {
        let epoch_key = self.state.epoch_key(0).unwrap().clone();
        let terms = auction.intent.terms();
        if auction.bids.is_empty() && !self.sloth.bids && self.now < terms.deadline {
            for (n, ticks) in SELLERS {
                let (station, price) = (station_of(n), PriceTick(ticks));
                let bid = Bid::create(&auction.intent, &epoch_key, station, price, &mut self.rng).unwrap();
                let bid = self.signed(n, Body::AuctionBid { bid: Box::new(bid), evse: evse_of(n) });
                self.waiting.push(bid);
            }
        }
        let is_due = terms.is_due(self.now, self.head.0.height - auction.height);
        let is_closed = is_due && !auction.bids.is_empty() && auction.opening.is_none();
        if is_closed && auction.releases.is_empty() && auction.award.is_none() && !self.sloth.releases {
            for shares in &self.shares[..3] {
                let release =
                    Release::create(shares, &epoch_key, &auction.intent, &auction.bids, &mut self.rng);
                let sender = VALIDATORS[usize::from(shares.validator().0)];
                self.number += 1;
                let transaction = Transaction {
                    zone: *self.state.zone_id(),
                    sender: account(sender),
                    number: self.number,
                    valid_until: self.now.checked_add(Duration::from_secs(60)).unwrap(),
                    body: Body::AuctionRelease(Box::new(release.unwrap())),
                };
                self.waiting.push(transaction.sign(&[&key(sender)]));
            }
        }
        let Some(award) = auction.award.as_ref().filter(|award| !award.is_accepted) else { return };
        if self.sloth.accepts {
            return;
        }
        let seller = SELLERS.iter().find(|(n, _)| station_of(*n) == award.station).unwrap().0;
        let sealed = &self.outcomes[&id].decision.win().unwrap().award;
        let opened = Rendezvous::open(sealed, &auction.intent, award.station, &seal_of(seller)).unwrap();
        self.rendezvous.push(opened.rendezvous().to_vec());
        let accept = Accept { auction: id, station: award.station, outcome: award.outcome };
        let accept = self.signed(seller, Body::AuctionAccept(accept));
        self.waiting.push(accept);
        let selling = Selling {
            seller,
            session: None,
            exporter: None,
            peer: opened.rendezvous().to_vec(),
            has_lost: false,
            outbox: Vec::new(),
            is_on: false,
            is_plugged: false,
            register: Energy::from_wh(1_000_000),
            metered: self.now,
            start: None,
        };
        self.sales.insert(id, selling);
    }

    /// A buyer speaks with the agent of `seller`.
    pub fn on_sale(
        &mut self,
        seller: u8,
        id: AuctionId,
        mut messages: Vec<Message>,
        (from, exporter): (PublicKey, [u8; 32]),
        now: Timestamp,
    ) -> Answer {
        let Some(mut selling) = self.sales.remove(&id).filter(|selling| selling.seller == seller) else {
            return Answer::Refused("no such sale here".into());
        };
        if selling.peer != from.to_bytes() {
            self.sales.insert(id, selling);
            return Answer::Sale(Vec::new());
        }
        if selling.session.is_none() && !messages.is_empty() && !selling.has_lost {
            selling.has_lost = true;
            messages.clear();
        }
        if self.sloth.sells {
            self.sales.insert(id, selling);
            return Answer::Sale(Vec::new());
        }
        if selling.exporter.replace(exporter) != Some(exporter)
            && let Some(session) = &mut selling.session
        {
            let actions = session.handle(SellerInput::Linked(exporter), now).unwrap();
            self.perform(&mut selling, actions, now);
        }
        for message in messages {
            if let Message::Start(start) = &message {
                selling.start = Some(start.clone());
            }
            let actions = match (&mut selling.session, message) {
                (None, Message::Draft(draft)) => {
                    let sale = self.sale(seller, id);
                    let keys = SellerKeys { seller: key(seller), meter: meter_of(seller) };
                    let (session, actions) =
                        SellerSession::offer(keys, &sale, *draft, exporter, now).unwrap();
                    selling.session = Some(session);
                    actions
                }
                (None, other) => panic!("{other:?} before a draft"),
                // A repeated draft or agreement after a break is answered again.
                (Some(session), message) => {
                    session.handle(SellerInput::Message(message), now).unwrap_or_default()
                }
            };
            self.perform(&mut selling, actions, now);
        }
        let said = std::mem::take(&mut selling.outbox);
        self.sales.insert(id, selling);
        Answer::Sale(said)
    }

    fn sale(&self, seller: u8, id: AuctionId) -> Sale {
        let Some((_, Object::Auction(auction))) = self.state.object(&id.into()) else { panic!("it runs") };
        let award = auction.award.as_ref().unwrap();
        Sale {
            zone: *self.state.zone_id(),
            auction: id,
            buyer_key: auction.intent.terms().buyer,
            seller: account(seller),
            evse: evse_of(seller),
            price: award.price,
            energy_max: auction.intent.terms().energy.energy(),
            power_rated: Power::from_w(60_000),
            grid: GridTariff { version: 0, price: Price::from_micro_per_kwh(TARIFF) },
        }
    }

    fn perform(&mut self, selling: &mut Selling, actions: Vec<Action>, now: Timestamp) {
        for action in actions {
            match action {
                Action::Send(message) => selling.outbox.push(message),
                Action::StartCharging(_) => (selling.is_on, selling.metered) = (true, now),
                Action::StopCharging(_) if selling.is_on => {
                    selling.is_on = false;
                    let reading = selling.read(now);
                    let session = selling.session.as_mut().unwrap();
                    let actions = session.handle(SellerInput::LastReading(reading), now).unwrap();
                    self.perform(selling, actions, now);
                }
                Action::Settle(evidence) => {
                    let body = Body::ContractSettle {
                        record: Box::new(evidence.record),
                        start: Some(Box::new(evidence.start)),
                        checkpoint: evidence.checkpoint.map(Box::new),
                    };
                    let settle = self.signed(selling.seller, body);
                    self.waiting.push(settle);
                }
                _ => {}
            }
        }
    }

    /// A car comes as soon as the contract is open, and takes 900 Wh a minute.
    fn sell(&mut self, id: AuctionId, contract: ContractId) {
        let Some(mut selling) = self.sales.remove(&id) else { return };
        let now = self.now;
        let Some(session) = &mut selling.session else { panic!("a contract without a session") };
        let mut inputs = Vec::new();
        match self.state.object(&contract.into()) {
            Some((_, Object::Contract(_))) if !selling.is_plugged => {
                selling.is_plugged = true;
                let reading = Reading { register: selling.register, at: now };
                let evse = session.terms().evse;
                inputs.push(SellerInput::OnLedger(OnLedger::Opened { at: now }));
                inputs.push(SellerInput::Plugged { evse, reading });
            }
            Some((_, Object::Finished(_))) => {
                let bill = ohmesh_contract::Bill::of(session.terms(), Energy::ZERO).unwrap();
                inputs.push(SellerInput::OnLedger(OnLedger::Settled(Settlement::Paid(bill))));
            }
            _ => {}
        }
        let mut actions = Vec::new();
        for input in inputs {
            actions.extend(session.handle(input, now).unwrap());
        }
        if selling.is_on {
            let reading = selling.read(now);
            let session = selling.session.as_mut().unwrap();
            actions.extend(session.handle(SellerInput::Reading(reading), now).unwrap());
        }
        self.perform(&mut selling, actions, now);
        self.sales.insert(id, selling);
    }

    /// The seller of the only auction claims what its meter shows without the buyer's word; gives the contract.
    pub fn claim(&mut self) -> ContractId {
        let selling = self.sales.values().next().expect("something was sold");
        let (seller, start) = (selling.seller, selling.start.clone().expect("the buyer has started"));
        let terms = selling.session.as_ref().expect("it was agreed").terms().clone();
        let record = MeterRecord {
            contract: terms.id(),
            evse: terms.evse,
            sequence: 1_000,
            register_start: Energy::from_wh(1_000_000),
            energy: Energy::from_wh(300),
            at: self.now,
            is_final: true,
        };
        let record = Box::new(Signed::new(record, &meter_of(seller)));
        self.apply(seller, Body::ContractSettle { record, start: Some(Box::new(start)), checkpoint: None });
        terms.id()
    }

    /// A block of this alone, which must be in it.
    pub fn apply(&mut self, who: u8, body: Body) {
        self.waiting.clear();
        let signed = self.signed(who, body);
        self.waiting.push(signed);
        self.block(self.now.checked_add(Duration::from_secs(60)).unwrap());
        assert_eq!(self.refused, vec![]);
    }

    /// Whether something charges: then a block a minute is enough.
    pub fn is_charging(&self) -> bool {
        self.sales.values().any(|selling| selling.is_on)
    }

    pub fn balance(&self, who: u8) -> Balance {
        let balance = self.state.balance(Journal::Energy, &account(who));
        balance.map_or(Balance::empty(account(who)), |(_, balance)| *balance)
    }
}

/// `header` with a certificate by three of the four.
fn certified(header: &Header) -> Certified {
    let (height, block) = (header.height, header.id());
    let vote = |validator: u16| {
        let vote = Vote { kind: VoteKind::Precommit, height, round: 0, block: Some(block), validator };
        (validator, vote.sign(&header.zone, header.epoch, &key(VALIDATORS[usize::from(validator)])))
    };
    let signatures = (0..3).map(vote).collect();
    (header.clone(), Certificate { height, round: 0, epoch: header.epoch, block, signatures })
}
