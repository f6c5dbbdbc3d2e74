//! An agent that sells: customers ask, award, agree and charge at two stations, while everything that has left the agent is
//! out: bids and settlements on the ledger, messages on phones, energy in cars. None of that forgets.

mod charger;
mod customer;

use crate::{Committee, account, key};
use charger::{Charger, EVSE};
use customer::{Customer, Habit, Move, Sight};
use ohmesh_auction::{seal::SealSecret, strategy::CostPlus};
use ohmesh_committee::{Pace, Timeouts};
use ohmesh_contract::Message;
use ohmesh_ledger::{
    Answer, Asset, Block, Body, Journal, Object, Query, State, Transaction, ZoneFile, epoch_key_id,
};
use ohmesh_ocpp::{
    ChargerName,
    session::{Command, Event as ChargerEvent},
};
use ohmesh_units::{
    AuctionId, Canonical, ContractId, Domain, Energy, EvseId, Hash, Position, Power, Price, SigningKey,
    StationId, Timestamp,
};
use station_agent::{
    agent::{Agent, AgentError, AgentTimer, Asker, Effect, Event, Keep, Settings},
    disk::Disk,
    seller::{CommandTag, Input, SellerEvent, SellerEvse, SellerStation, Setup},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// One agent alone that sells at two stations, and everybody outside it, on virtual time.
pub struct Sales<D> {
    agent: Agent<D>,
    timers: BTreeMap<AgentTimer, Timestamp>,
    outside: Outside,
    telling: Box<dyn FnMut(&Outside)>,
    zone: ZoneFile,
}

/// All that has left the agent, as it has changed the world: customers and their phones, chargers and their cars.
#[derive(Clone)]
pub struct Outside {
    now: Timestamp,
    began: Timestamp,
    customers: Vec<Customer>,
    chargers: Vec<Charger>,
    /// The newest block that was called final.
    height: u64,
    /// What the seller has said that it bids for, and with which station.
    bids: BTreeSet<(AuctionId, StationId)>,
    numbers: u128,
    complaint: Option<String>,
}

impl Outside {
    /// The world of a day that begins when the zone is made.
    pub fn new(zone: &ZoneFile) -> Self {
        let began = zone.zone.created;
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let customers = vec![
            Customer::new(60, 0, Habit::Stops, minutes(0)),
            Customer::new(61, 1, Habit::Waits, minutes(0)),
            Customer::new(62, 0, Habit::Sleeps, minutes(10)),
        ];
        let chargers = (0..STATIONS).map(|at| Charger::new(charger_of(at))).collect();
        Self {
            now: began,
            began,
            customers,
            chargers,
            height: 0,
            bids: BTreeSet::new(),
            numbers: 0,
            complaint: None,
        }
    }

    /// The power has failed and is back a moment later: connections are gone, and nobody new comes.
    pub fn after_a_cut(mut self) -> Self {
        self.now = later(self.now, Duration::from_secs(2));
        self.customers.retain(Customer::has_begun);
        self.customers.iter_mut().for_each(Customer::reconnect);
        self
    }

    /// How many customers have asked for energy.
    pub fn customers(&self) -> usize {
        self.customers.iter().filter(|customer| customer.has_begun()).count()
    }

    /// How many customers have signed a checkpoint that the seller has taken.
    pub fn credited(&self) -> usize {
        self.customers.iter().filter(|customer| customer.credited.is_some()).count()
    }

    /// What the seller has broken, if anything.
    fn complaint(&self) -> Option<String> {
        let customers =
            self.customers.iter().filter_map(|customer| Some((customer, customer.complaint.as_ref()?)));
        let said = customers.map(|(customer, what)| format!("customer {}: {what}", customer.n));
        self.complaint.iter().cloned().chain(said).next()
    }
}

impl<D: Disk> Sales<D> {
    /// Opens the agent in its `life`-th life. `telling` is called whenever something may have left it.
    ///
    /// Errors: the agent's.
    pub fn open(
        zone: &ZoneFile,
        disk: D,
        outside: Outside,
        (seed, life): (u64, u64),
        telling: impl FnMut(&Outside) + 'static,
    ) -> Result<Self, AgentError> {
        let random = |what: &[u8]| {
            Domain::new("ohmesh/1 power cut sales").hash(&[&seed.to_be_bytes(), &life.to_be_bytes(), what]).0
        };
        let settings = Settings {
            key: key(SELLER),
            pace: Pace { idle_ms: IDLE_MS, ..Pace::default() },
            timeouts: Timeouts::default(),
            seed: random(b"agent"),
            keep: Keep { snapshot_blocks: 5, blocks_for: Duration::from_secs(3_600) },
            seller: Some(setup(random(b"seller"))),
        };
        let (agent, effects) = Agent::open(zone.zone.clone(), settings, disk, outside.now)?;
        let (timers, telling, zone) = (BTreeMap::new(), Box::new(telling), zone.clone());
        let mut sales = Self { agent, timers, outside, telling, zone };
        sales.perform(effects)?;
        for at in 0..STATIONS {
            for input in sales.outside.chargers[at].whole_state() {
                sales.handle(Event::Seller(input))?;
            }
        }
        Ok(sales)
    }

    /// Accounts, money, stations and outlets, and the key of auctions: what there is before anything is sold.
    ///
    /// Errors: the agent's.
    pub fn furnish(&mut self) -> Result<(), AgentError> {
        let customers: Vec<u8> = self.outside.customers.iter().map(|customer| customer.n).collect();
        self.submit(SELLER, Body::OpenAccount { owner: key(SELLER).public() })?;
        for n in &customers {
            self.submit(*n, Body::OpenAccount { owner: key(*n).public() })?;
        }
        for at in 0..STATIONS {
            let number = number_of(at);
            let north = i32::try_from(number).expect("two stations") * 200_000;
            let position = Position::from_e7(525_200_000 + north, 134_050_000).expect("a place in Berlin");
            let (name, award_key) = (format!("station {at}"), Hash(seal_of(at).public().to_bytes()));
            self.submit(SELLER, Body::RegisterStation { number, name, position, award_key })?;
        }
        self.until(|state| customers.iter().all(|n| state.account(&account(*n)).is_some()))?;
        for n in customers {
            let (asset, to, amount, reference) = (Asset::Currency, account(n), FUNDS, format!("money {n}"));
            self.submit(Committee::TREASURER, Body::Issue { asset, to, amount, reference })?;
        }
        let zone = self.zone.zone.id();
        for at in 0..STATIONS {
            let place = (station_of(at), EVSE);
            let body =
                Body::register_evse(&zone, &account(SELLER), place, (CONNECTORS, RATED), &meter_of(at));
            self.submit(SELLER, body)?;
        }
        let is_there = |state: &State, id: Hash| state.object(&id).is_some();
        self.until(|state| (0..STATIONS).all(|at| is_there(state, evse_of(at).into())))?;
        self.until(|state| matches!(state.object(&epoch_key_id(0)), Some((_, Object::EpochKey(_)))))?;
        self.outside.began = self.outside.now;
        Ok(())
    }

    /// Goes on until all who came have what they came for; what was lost on the way, if anything was.
    ///
    /// Errors: the agent's.
    pub fn until_over(&mut self) -> Result<Result<(), String>, AgentError> {
        let found = self.agent.state().head().height;
        if found < self.outside.height {
            return Ok(Err(format!("block {} was final, and {found} is the newest", self.outside.height)));
        }
        for _ in 0..SECONDS_MAX {
            if let Some(complaint) = self.outside.complaint() {
                return Ok(Err(complaint));
            }
            let state = self.agent.state();
            if self.outside.customers.iter().all(|customer| customer.is_over(state)) {
                return self.settled();
            }
            self.second()?;
        }
        let waits = |customer: &&Customer| !customer.is_over(self.agent.state());
        let waiting: Vec<u8> =
            self.outside.customers.iter().filter(waits).map(|customer| customer.n).collect();
        Ok(Err(format!("customers {waiting:?} wait for ever")))
    }

    /// Each is billed for exactly what its charger has counted, and on no less than it had signed for.
    fn settled(&mut self) -> Result<Result<(), String>, AgentError> {
        let settled = self.settlements()?;
        let state = self.agent.state();
        state.audit();
        for customer in &self.outside.customers {
            let n = customer.n;
            if let Some(unserved) = customer.unserved() {
                if self.outside.bids.contains(&(unserved, station_of(customer.at))) {
                    return Ok(Err(format!("customer {n}: a bid is not on the ledger")));
                }
                continue;
            }
            let found = customer.contract().and_then(|id| settled.get(&id));
            let Some((energy, checkpoint)) = found else {
                return Ok(Err(format!("customer {n}: nothing was settled")));
            };
            let counted = self.outside.chargers[customer.at].counted(n);
            if counted != Some(*energy) {
                return Ok(Err(format!("customer {n}: {counted:?} has flowed, {energy} is billed")));
            }
            if *checkpoint < customer.credited {
                let taken = customer.credited;
                return Ok(Err(format!(
                    "customer {n}: it had taken {taken:?}, it settles on {checkpoint:?}"
                )));
            }
            let balance = state.balance(Journal::Energy, &account(n));
            let left = balance.map_or(0, |(_, balance)| balance.of(Asset::Currency).posted);
            let paid = if customer.is_paid { customer.due(*energy) } else { Some(0) };
            if paid != Some(FUNDS - left) {
                return Ok(Err(format!("customer {n}: {left} of {FUNDS} are left after {paid:?}")));
            }
        }
        Ok(Ok(()))
    }

    /// What each contract was settled on first, from the blocks: its energy, and the number of the checkpoint.
    fn settlements(&mut self) -> Result<BTreeMap<ContractId, (Energy, Option<u32>)>, AgentError> {
        let mut settled = BTreeMap::new();
        let mut from = 1;
        while from <= self.agent.state().head().height {
            let Answer::Blocks(blocks) = self.ask(key(SELLER).public(), [0; 32], Query::Blocks { from })?
            else {
                unreachable!("asked for blocks")
            };
            for (bytes, _) in blocks {
                let block = Block::decode(&bytes).expect("it was decided");
                from = block.header.height + 1;
                for signed in block.transactions {
                    if let Body::ContractSettle { record, checkpoint, .. } = signed.transaction.body {
                        let checkpoint = checkpoint.map(|checkpoint| checkpoint.record.body.sequence);
                        let entry = settled.entry(record.body.contract);
                        entry.or_insert((record.body.energy, checkpoint));
                    }
                }
            }
        }
        Ok(settled)
    }

    fn until(&mut self, is_there: impl Fn(&State) -> bool) -> Result<(), AgentError> {
        for _ in 0..SECONDS_MAX {
            if is_there(self.agent.state()) {
                return Ok(());
            }
            self.pass_a_second()?;
        }
        panic!("the zone is not furnished after {SECONDS_MAX} s");
    }

    /// One second for everybody.
    fn second(&mut self) -> Result<(), AgentError> {
        self.pass_a_second()?;
        let now = self.outside.now;
        for at in 0..STATIONS {
            let events = self.outside.chargers[at].tick(now);
            self.charger_says(at, events)?;
        }
        for at in 0..self.outside.customers.len() {
            if now >= later(self.outside.began, self.outside.customers[at].comes) {
                self.serve(at)?;
            }
        }
        Ok(())
    }

    fn pass_a_second(&mut self) -> Result<(), AgentError> {
        self.outside.now = later(self.outside.now, Duration::from_secs(1));
        let due = |timers: &BTreeMap<AgentTimer, Timestamp>, now| {
            timers.iter().find(|(_, at)| **at <= now).map(|(timer, _)| *timer)
        };
        let until = self.outside.now;
        while let Some(timer) = due(&self.timers, until) {
            self.timers.remove(&timer);
            self.handle(Event::Elapsed(timer))?;
        }
        Ok(())
    }

    /// What one customer does now.
    fn serve(&mut self, at: usize) -> Result<(), AgentError> {
        let Outside { customers, chargers, now, .. } = &mut self.outside;
        let (customer, now) = (&mut customers[at], *now);
        let (n, station) = (customer.n, customer.at);
        let charger = &chargers[station];
        let sight = Sight { is_plugged: charger.is_plugged(), is_on: charger.is_on() };
        let steps = customer.step(self.agent.state(), now, &sight);
        if !steps.is_empty() {
            // What a phone says it has written down before.
            (self.telling)(&self.outside);
        }
        for step in steps {
            match step {
                Move::Submit(body) => self.submit(n, body)?,
                Move::PlugIn => {
                    let events = self.outside.chargers[station].plug_in(now, n, CAR_WANTS);
                    self.charger_says(station, events)?;
                }
                Move::Unplug => {
                    let events = self.outside.chargers[station].unplug(now);
                    self.charger_says(station, events)?;
                }
                Move::Say(auction, messages) => self.exchange(at, auction, messages)?,
            }
        }
        Ok(())
    }

    fn exchange(&mut self, at: usize, auction: AuctionId, messages: Vec<Message>) -> Result<(), AgentError> {
        let customer = &self.outside.customers[at];
        let (from, exporter) = (customer.transport(), customer.exporter());
        let query = Query::Sale { auction, messages: messages.clone() };
        let asker = Asker { key: from, exporter };
        let (answer, effects) = self.agent.answer(self.outside.now, asker, query)?;
        let Answer::Sale(answer) = answer else { unreachable!("asked for a sale: {answer:?}") };
        let now = self.outside.now;
        self.outside.customers[at].hear(&messages, answer, now);
        self.perform(effects)
    }

    fn submit(&mut self, n: u8, body: Body) -> Result<(), AgentError> {
        self.outside.numbers += 1;
        let transaction = Transaction {
            zone: self.zone.zone.id(),
            sender: account(n),
            number: self.outside.numbers,
            valid_until: later(self.outside.now, Duration::from_secs(3_600)),
            body,
        };
        let query = Query::Submit(Box::new(transaction.sign(&[&key(n)])));
        self.ask(key(n).public(), [n; 32], query).map(drop)
    }

    fn ask(
        &mut self,
        key: ohmesh_units::PublicKey,
        exporter: [u8; 32],
        query: Query,
    ) -> Result<Answer, AgentError> {
        let (answer, effects) = self.agent.answer(self.outside.now, Asker { key, exporter }, query)?;
        self.perform(effects)?;
        Ok(answer)
    }

    /// A charger has said something and was told that it was heard; now the seller hears it.
    fn charger_says(&mut self, at: usize, events: Vec<ChargerEvent>) -> Result<(), AgentError> {
        if !events.is_empty() {
            (self.telling)(&self.outside);
        }
        for event in events {
            self.handle(Event::Seller(Input::Charger(charger_of(at), event)))?;
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Result<(), AgentError> {
        let effects = self.agent.handle(self.outside.now, event)?;
        self.perform(effects)
    }

    fn perform(&mut self, effects: Vec<Effect>) -> Result<(), AgentError> {
        let mut commands = Vec::new();
        for effect in effects {
            match effect {
                Effect::SetTimer(timer, wait) => {
                    self.timers.insert(timer, later(self.outside.now, wait));
                }
                Effect::CancelTimer(timer) => drop(self.timers.remove(&timer)),
                Effect::CancelCommitteeTimers => {
                    self.timers.retain(|timer, _| !matches!(timer, AgentTimer::Committee(_)));
                }
                Effect::Charger { charger, command, tag } => commands.push((charger, command, tag)),
                Effect::Decided(decided) => self.outside.height = decided.header.height,
                Effect::Sale(event) => self.hear(&event),
                Effect::Equivocation(_) | Effect::Forgetful { .. } | Effect::Warning(_) => {
                    self.outside.complaint.get_or_insert("the agent has contradicted itself".into());
                }
                _ => {}
            }
        }
        (self.telling)(&self.outside);
        self.obey(commands)
    }

    fn hear(&mut self, event: &SellerEvent) {
        match event {
            SellerEvent::Bid { auction, station } => drop(self.outside.bids.insert((*auction, *station))),
            event if is_a_loss(event) => drop(self.outside.complaint.get_or_insert(format!("{event:?}"))),
            _ => {}
        }
    }

    fn obey(&mut self, commands: Vec<(ChargerName, Box<Command>, CommandTag)>) -> Result<(), AgentError> {
        for (charger, command, tag) in commands {
            let at = (0..STATIONS).find(|at| charger_of(*at) == charger).expect("one of ours");
            let (outcome, events) = self.outside.chargers[at].obey(self.outside.now, &command);
            self.charger_says(at, events)?;
            let done = Input::CommandDone { command: tag, outcome: Some(outcome) };
            self.handle(Event::Seller(done))?;
        }
        Ok(())
    }
}

/// What no seller says that has lost nothing: both stations can always bid, win and serve.
fn is_a_loss(event: &SellerEvent) -> bool {
    matches!(
        event,
        SellerEvent::UnknownContract(_)
            | SellerEvent::GaveUp(_)
            | SellerEvent::DoesNotStop(_)
            | SellerEvent::Stranger { .. }
            | SellerEvent::Failed { .. }
            | SellerEvent::Unserved { .. }
    )
}

fn setup(seed: [u8; 32]) -> Setup {
    let nothing = Price::from_micro_per_kwh(0);
    let cost = [Price::from_micro_per_kwh(300_000); 24];
    let station = |at: usize| SellerStation {
        id: station_of(at),
        seal: seal_of(at),
        evses: vec![SellerEvse {
            id: evse_of(at),
            number: EVSE,
            charger: charger_of(at),
            charger_evse: EVSE,
            power: RATED,
            connectors: CONNECTORS,
            meter: meter_of(at),
        }],
        strategy: CostPlus { cost, margin: nothing, full_load: nothing },
    };
    Setup { key: key(SELLER), stations: (0..STATIONS).map(station).collect(), seed }
}

fn charger_of(at: usize) -> ChargerName {
    ChargerName::new(&format!("CP{at}")).expect("a name")
}

fn station_of(at: usize) -> StationId {
    StationId::of(&account(SELLER), number_of(at))
}

fn number_of(at: usize) -> u32 {
    u32::try_from(at).expect("two stations") + 1
}

fn evse_of(at: usize) -> EvseId {
    EvseId::of(&station_of(at), EVSE)
}

fn meter_of(at: usize) -> SigningKey {
    key(50 + u8::try_from(at).expect("two stations"))
}

fn seal_of(at: usize) -> SealSecret {
    SealSecret::from_seed(&[40 + u8::try_from(at).expect("two stations"); 32])
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).expect("a time of this century")
}

/// The agent, which is the operator.
const SELLER: u8 = 1;
const STATIONS: usize = 2;
const RATED: Power = Power::from_w(22_000);
const CONNECTORS: u16 = 2;
const FUNDS: i64 = 100_000_000;
/// What flows into a car that nobody stops.
const CAR_WANTS: Energy = Energy::from_wh(1_200);
/// From one empty block to the next.
const IDLE_MS: u64 = 20_000;
/// Longer than the whole day.
const SECONDS_MAX: usize = 3_000;
