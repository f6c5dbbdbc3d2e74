//! A zone of one validator, an operator with two stations, and a host that performs the seller's effects on virtual time.

use crate::{line::Line, phone::Phone};
use ohmesh_auction::{
    key::{EpochKey, KeyShares, ValidatorIndex, solo},
    seal::SealSecret,
    strategy::CostPlus,
};
use ohmesh_contract::{Message, Receipt};
use ohmesh_ledger::*;
use ohmesh_ocpp::{
    ChargerName, Version,
    session::{Command, CommandId, Event, Outcome},
};
use ohmesh_units::*;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use station_agent::seller::*;
use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

pub const CELL: &str = "861f1d48fffffff";
pub const VALIDATOR: u8 = 1;
const TREASURER: u8 = 50;
const DISTRIBUTOR: u8 = 60;
pub const OPERATOR: u8 = 80;
/// 0.08 a kWh.
pub const TARIFF: i64 = 80_000;
pub const FUNDS: i64 = 100_000_000;
pub const RATED: Power = Power::from_w(22_000);
pub const REGISTER: Energy = Energy::from_wh(910_000);

pub fn key(n: u8) -> SigningKey {
    SigningKey::from_seed([n; 32])
}

pub fn account(n: u8) -> AccountId {
    AccountId::of(&key(n).public())
}

pub fn meter(station: usize) -> SigningKey {
    key(90 + u8::try_from(station).unwrap())
}

pub fn seal(station: usize) -> SealSecret {
    SealSecret::from_seed(&[100 + u8::try_from(station).unwrap(); 32])
}

pub fn station_of(station: usize) -> StationId {
    StationId::of(&account(OPERATOR), u32::try_from(station).unwrap() + 1)
}

pub fn evse_of(station: usize) -> EvseId {
    EvseId::of(&station_of(station), 1)
}

fn charger_of(station: usize) -> ChargerName {
    ChargerName::new(&format!("CP{station}")).unwrap()
}

pub fn flat(cost: Price) -> CostPlus {
    let nothing = Price::from_micro_per_kwh(0);
    CostPlus { cost: [cost; 24], margin: nothing, full_load: nothing }
}

pub fn setup(strategy: &CostPlus, seed: u8) -> Setup {
    let station = |n: usize| SellerStation {
        id: station_of(n),
        seal: seal(n),
        evses: vec![SellerEvse {
            id: evse_of(n),
            number: 1,
            charger: charger_of(n),
            charger_evse: 1,
            power: RATED,
            connectors: 0b10,
            meter: meter(n),
        }],
        strategy: strategy.clone(),
    };
    Setup { key: key(OPERATOR), stations: vec![station(0), station(1)], seed: [seed; 32] }
}

fn zone() -> Zone {
    let (key_of, vote) = (key(VALIDATOR).public(), key(VALIDATOR).public());
    let validator = Validator { name: "v".into(), key: key_of, vote, stake: 10, address: String::new() };
    let origin = Position::from_e7(525_000_000, 133_500_000).unwrap();
    let frame = Frame { origin, step_e7: 4_000, cos_q16: 40_000 };
    Zone {
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
        areas: vec![ZoneArea { area: CELL.parse().unwrap(), frame }],
        validators: ValidatorSet::new(vec![validator]).unwrap(),
    }
}

enum Queued {
    Charger(ChargerName, Event),
    Done(CommandTag, Option<Outcome>),
}

pub struct World {
    pub state: State,
    pub now: Timestamp,
    pub key: EpochKey,
    pub shares: KeyShares,
    pub rng: ChaCha20Rng,
    pub lines: Vec<Line>,
    pub notes: Vec<SellerEvent>,
    /// Every effect as `Debug` shows it, and every token that went to a charger.
    pub shown: Vec<String>,
    pub tokens: Vec<String>,
    pub snapshot: Option<Vec<u8>>,
    pub persisted: usize,
    /// Kills the seller after this many snapshots, and how often it was.
    pub kill_at: Option<usize>,
    pub kills: usize,
    /// Loses the first submission of each kind, which are these.
    pub lose_first: bool,
    pub lost: Vec<String>,
    seller: Option<Seller>,
    strategy: CostPlus,
    seeds: u8,
    blocks: Vec<Block>,
    mempool: Vec<SignedTransaction>,
    /// What phones submit while the world is lent to them.
    waiting: RefCell<Vec<(u8, Body)>>,
    numbers: u128,
    timers: BTreeMap<SellerTimer, Timestamp>,
    commands: BTreeMap<(ChargerName, CommandId), CommandTag>,
    queue: VecDeque<Queued>,
    reply: Option<Vec<Message>>,
    links: BTreeMap<u8, [u8; 32]>,
    reconnect: bool,
}

impl World {
    pub fn new() -> Self {
        Self::with(Price::from_micro_per_kwh(300_000), [Version::V16, Version::V201])
    }

    pub fn with(cost: Price, versions: [Version; 2]) -> Self {
        let zone = zone();
        let now = zone.created;
        let state = State::genesis(zone);
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (epoch_key, shares) = solo(*state.zone_id(), 0, ValidatorIndex(0), &mut rng);
        let mut world = Self {
            state,
            now,
            key: epoch_key.clone(),
            shares,
            rng,
            lines: Vec::new(),
            notes: Vec::new(),
            shown: Vec::new(),
            tokens: Vec::new(),
            snapshot: None,
            persisted: 0,
            kill_at: None,
            kills: 0,
            lose_first: false,
            lost: Vec::new(),
            seller: None,
            strategy: flat(cost),
            seeds: 0,
            blocks: Vec::new(),
            mempool: Vec::new(),
            waiting: RefCell::new(Vec::new()),
            numbers: 0,
            timers: BTreeMap::new(),
            commands: BTreeMap::new(),
            queue: VecDeque::new(),
            reply: None,
            links: BTreeMap::new(),
            reconnect: false,
        };
        world.submit(VALIDATOR, Body::KeySolo(Box::new(epoch_key)));
        world.submit(OPERATOR, Body::OpenAccount { owner: key(OPERATOR).public() });
        for n in 70..74 {
            world.submit(n, Body::OpenAccount { owner: key(n).public() });
            let (asset, to, amount, reference) = (Asset::Currency, account(n), FUNDS, "bank".to_owned());
            world.submit(TREASURER, Body::Issue { asset, to, amount, reference });
        }
        for n in 0..2usize {
            let lat = 525_200_000 + i32::try_from(n).unwrap() * 200_000;
            let position = Position::from_e7(lat, 134_050_000).unwrap();
            let award_key = Hash(seal(n).public().to_bytes());
            let (number, name) = (u32::try_from(n).unwrap() + 1, format!("Station {n}"));
            world.submit(OPERATOR, Body::RegisterStation { number, name, position, award_key });
            let (at, plugs) = ((station_of(n), 1), (0b10, RATED));
            let outlet = Body::register_evse(world.state.zone_id(), &account(OPERATOR), at, plugs, &meter(n));
            world.submit(OPERATOR, outlet);
        }
        world.block();
        assert!(world.state.epoch_key(0).is_some());
        for (n, version) in versions.into_iter().enumerate() {
            world.lines.push(Line::new(charger_of(n), version, RATED, REGISTER, world.now));
        }
        world.restart();
        world.pass_without_phones(40);
        world
    }

    pub fn seller(&self) -> &Seller {
        self.seller.as_ref().unwrap()
    }

    pub fn object(&self, id: Hash) -> Object {
        self.state.object(&id).unwrap().1.clone()
    }

    pub fn auction(&self, id: AuctionId) -> Auction {
        match self.object(id.into()) {
            Object::Auction(auction) => *auction,
            other => panic!("{other:?}"),
        }
    }

    pub fn money(&self, n: u8) -> Holding {
        let balance = self.state.balance(Journal::Energy, &account(n));
        balance.map_or(Holding::default(), |(_, balance)| *balance.of(Asset::Currency))
    }

    /// The seller's receipt of an auction's sale.
    pub fn receipt(&self, of: AuctionId) -> Receipt {
        let receipts: Vec<_> = self
            .notes
            .iter()
            .filter_map(|note| match note {
                SellerEvent::Over { auction, receipt: Some(receipt) } if *auction == of => Some(receipt),
                _ => None,
            })
            .collect();
        assert!(
            !receipts.is_empty() && receipts.len() <= 1 + self.kills,
            "once, and again after a crash: {receipts:?}"
        );
        assert!(receipts.iter().all(|receipt| receipt.bill == receipts[0].bill), "{receipts:?}");
        (**receipts[0]).clone()
    }

    pub fn submit(&mut self, sender: u8, body: Body) {
        self.numbers += 1;
        let transaction = Transaction {
            zone: *self.state.zone_id(),
            sender: account(sender),
            number: self.numbers,
            valid_until: self.now.checked_add(Duration::from_secs(3600)).unwrap(),
            body,
        };
        self.mempool.push(transaction.sign(&[&key(sender)]));
    }

    pub fn later(&self, sender: u8, body: Body) {
        self.waiting.borrow_mut().push((sender, body));
    }

    /// One block of everything that waits; what does not apply is dropped.
    pub fn block(&mut self) {
        for (sender, body) in self.waiting.take() {
            self.submit(sender, body);
        }
        let time = self.now.max(self.state.head().time.checked_add(Duration::from_millis(1)).unwrap());
        let candidates = Verified::all(self.state.zone_id(), std::mem::take(&mut self.mempool)).unwrap();
        let Proposed { block, applied, .. } = self.state.propose(time, 0, &candidates);
        self.state.apply(applied);
        self.blocks.push(block);
        self.hear_blocks();
    }

    /// The seller hears every block that it has not seen.
    fn hear_blocks(&mut self) {
        while let Some(seller) = &mut self.seller {
            let next = usize::try_from(seller.height()).unwrap();
            let Some(block) = self.blocks.get(next) else { return };
            let effects = seller.handle(self.now, Input::Block { block, state: &self.state });
            self.perform(effects);
        }
    }

    pub fn hand_in(&mut self, input: Input<'_>) {
        if let Some(seller) = &mut self.seller {
            let effects = seller.handle(self.now, input);
            self.perform(effects);
        }
    }

    pub fn exchange(
        &mut self,
        auction: AuctionId,
        from: PublicKey,
        exporter: [u8; 32],
        messages: Vec<Message>,
    ) -> Vec<Message> {
        let kills = self.kills;
        self.reply = None;
        self.hand_in(Input::Sale { auction, from, exporter, messages });
        let reply = self.reply.take();
        assert!(reply.is_some() || self.seller.is_none() || kills != self.kills, "each question is answered");
        reply.unwrap_or_default()
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            self.shown.push(format!("{effect:?}"));
            match effect {
                Effect::Persist(bytes) => {
                    self.snapshot = Some(bytes);
                    self.persisted += 1;
                    if self.kill_at == Some(self.persisted) {
                        self.kill_at = None;
                        self.kill();
                        self.restart();
                        return;
                    }
                }
                Effect::Submit(body) => {
                    let kind = format!("{:?}", Effect::Submit(body.clone()));
                    if self.lose_first && !self.lost.contains(&kind) {
                        self.lost.push(kind);
                    } else {
                        self.submit(OPERATOR, *body);
                    }
                }
                Effect::Reply(messages) => assert!(self.reply.replace(messages).is_none(), "answered once"),
                Effect::Command { charger, command, tag } => self.command(charger, command, tag),
                Effect::SetTimer(timer, wait) => {
                    self.timers.insert(timer, self.now.checked_add(wait).unwrap());
                }
                Effect::Note(note) => self.notes.push(note),
            }
        }
    }

    fn command(&mut self, charger: ChargerName, command: Command, tag: CommandTag) {
        if let Command::Start { token, .. } | Command::Reserve { token, .. } = &command {
            self.tokens.push(token.clone());
        }
        let line = self.lines.iter_mut().find(|line| line.name == charger).unwrap();
        match line.command(self.now, command) {
            Ok(id) => {
                self.commands.insert((charger, id), tag);
            }
            Err(_) => self.queue.push_back(Queued::Done(tag, None)),
        }
    }

    /// The process ends: its memory, its timers and what it had submitted are gone, connections of phones break.
    pub fn kill(&mut self) {
        self.seller = None;
        self.timers.clear();
        self.commands.clear();
        self.queue.retain(|queued| matches!(queued, Queued::Charger(..)));
        self.mempool.retain(|signed| signed.transaction.sender != account(OPERATOR));
        self.kills += 1;
        self.reconnect = true;
    }

    pub fn restart(&mut self) {
        self.seeds += 1;
        let setup = setup(&self.strategy, self.seeds);
        let (seller, effects) = Seller::open(setup, &self.state, self.snapshot.as_deref(), self.now).unwrap();
        self.seller = Some(seller);
        self.reconnect = true;
        self.perform(effects);
        self.hear_blocks();
        self.hear_chargers();
        for n in 0..self.lines.len() {
            let (charger, status) = (charger_of(n), self.lines[n].status());
            self.hand_in(Input::Outlet { charger, evse: 1, status });
        }
    }

    fn hear_chargers(&mut self) {
        for _ in 0..10_000 {
            for line in &mut self.lines {
                let name = line.name.clone();
                self.queue.extend(line.events.drain(..).map(|event| Queued::Charger(name.clone(), event)));
            }
            if self.seller.is_none() {
                return;
            }
            match self.queue.pop_front() {
                None => return,
                Some(Queued::Done(command, outcome)) => self.hand_in(Input::CommandDone { command, outcome }),
                Some(Queued::Charger(name, Event::CommandResult { command, outcome })) => {
                    if let Some(command) = self.commands.remove(&(name, command)) {
                        self.hand_in(Input::CommandDone { command, outcome: Some(outcome) });
                    }
                }
                Some(Queued::Charger(name, event)) => self.hand_in(Input::Charger(name, event)),
            }
        }
        panic!("the seller and its chargers never rest");
    }

    fn hear_timers(&mut self) {
        let due: Vec<SellerTimer> =
            self.timers.iter().filter(|(_, at)| **at <= self.now).map(|(timer, _)| *timer).collect();
        for timer in due {
            self.timers.remove(&timer);
            self.hand_in(Input::Timer(timer));
        }
    }

    /// One second for everybody; a block every second second.
    fn second(&mut self, phones: &mut [Phone]) {
        self.now = self.now.checked_add(Duration::from_secs(1)).unwrap();
        for line in &mut self.lines {
            line.tick(self.now);
        }
        self.hear_chargers();
        self.hear_timers();
        if std::mem::take(&mut self.reconnect) {
            phones.iter_mut().for_each(Phone::reconnect);
        }
        for phone in phones {
            let mut link = self.links.get(&phone.n).copied().unwrap_or_default();
            phone.step(self, &mut link);
            self.links.insert(phone.n, link);
            self.hear_chargers();
        }
        if (self.now.as_millis() / 1000).is_multiple_of(2) {
            self.block();
            self.hear_chargers();
        }
    }

    pub fn pass(&mut self, phones: &mut [Phone], seconds: u64) {
        (0..seconds).for_each(|_| self.second(phones));
    }

    pub fn pass_without_phones(&mut self, seconds: u64) {
        self.pass(&mut [], seconds);
    }

    /// Time passes while the seller is down; phones get no answer.
    pub fn pass_without_seller(&mut self, phones: &mut [Phone], seconds: u64) {
        assert!(self.seller.is_none());
        self.pass(phones, seconds);
    }

    /// Sparse blocks, when nothing else happens.
    pub fn blocks_until(&mut self, later: Duration) {
        let end = self.now.checked_add(later).unwrap();
        while self.now < end {
            self.now = self.now.checked_add(Duration::from_secs(600)).unwrap();
            self.block();
        }
    }

    /// Until every buyer has its receipt and the seller has closed its books.
    pub fn until_over(&mut self, phones: &mut [Phone]) {
        for _ in 0..3 * 3600 {
            let is_sold = phones.iter().all(|phone| phone.receipt.is_some());
            if is_sold && self.seller.as_ref().is_some_and(|seller| seller.sales().count() == 0) {
                return;
            }
            self.second(phones);
        }
        let states: Vec<_> =
            phones.iter().map(|phone| phone.session.as_ref().map(|session| session.state())).collect();
        let notes = &self.notes[self.notes.len().saturating_sub(12)..];
        panic!("not over: {states:?} {:?} {notes:#?}", self.seller);
    }
}
