//! A buyer: the auction's and the contract's own machines, and a driver who plugs in, confirms and stops.

use crate::world::*;
use ohmesh_auction::{
    award::Award,
    intent::{Choice, Connectors, EnergyKwh, Kappa, Percent, Pricing, Reserve, Terms},
    release::Release,
    role::{Buyer, BuyerAction, Candidate},
};
use ohmesh_contract::{
    Action, Bill, BuyerInput, BuyerSession, GridTariff, Message, OnLedger, Receipt, Settlement,
    State as ContractState, Terms as ContractTerms, Timer,
};
use ohmesh_ledger::{Body, End, Object};
use ohmesh_units::*;
use std::{collections::BTreeMap, time::Duration};

pub struct Phone {
    pub n: u8,
    /// Which station it buys from.
    pub station: usize,
    /// Which of the transactions there is its own.
    pub turn: usize,
    /// Makes its one-time key another one.
    pub number: u8,
    pub cap: Price,
    pub power_min: Power,
    pub connectors: u16,
    pub deadline: Duration,
    /// Says nothing any more.
    pub is_silent: bool,
    /// The driver comes and plugs in.
    pub comes: bool,
    pub confirms: bool,
    pub auction: Option<AuctionId>,
    pub contract: Option<ContractId>,
    pub exporter: [u8; 32],
    pub session: Option<BuyerSession>,
    pub receipt: Option<Receipt>,
    role: Option<Buyer>,
    opened_at: Option<Timestamp>,
    outbound: Vec<Message>,
    timers: BTreeMap<Timer, Timestamp>,
    plugged: bool,
    unplugged: bool,
    started: Option<Timestamp>,
}

impl Phone {
    pub fn new(n: u8, station: usize) -> Self {
        Self {
            n,
            station,
            turn: 0,
            number: 0,
            cap: Price::from_micro_per_kwh(650_000),
            power_min: Power::from_w(11_000),
            connectors: 0b10,
            deadline: Duration::from_secs(15),
            is_silent: false,
            comes: true,
            confirms: true,
            auction: None,
            contract: None,
            exporter: [n; 32],
            session: None,
            receipt: None,
            role: None,
            opened_at: None,
            outbound: Vec::new(),
            timers: BTreeMap::new(),
            plugged: false,
            unplugged: false,
            started: None,
        }
    }

    pub fn account(&self) -> AccountId {
        account(self.n)
    }

    pub fn one_time(&self) -> SigningKey {
        key(130 + self.n % 10 + 10 * self.number)
    }

    /// The key its connections are authenticated with.
    pub fn transport(&self) -> PublicKey {
        key(120 + self.n % 10).public()
    }

    pub fn ask(&mut self, world: &mut World) {
        let terms = Terms {
            zone: *world.state.zone_id(),
            key_epoch: 0,
            area: CELL.parse().unwrap(),
            energy: EnergyKwh::try_from(30).unwrap(),
            deadline: world.now.checked_add(self.deadline).unwrap(),
            blocks_min: 1,
            kappa: Kappa::try_from(2).unwrap(),
            renewable_min: Percent::try_from(0).unwrap(),
            connectors: Connectors::try_from(self.connectors).unwrap(),
            power_min: self.power_min,
            tick: TickSize::for_cap(self.cap).unwrap(),
            pricing: Pricing::FirstPrice,
            choice: Choice::OwnChoice,
            buyer: self.one_time().public(),
        };
        let (at, key) = (InCell { x: 80, y: 60 }, world.key.clone());
        let (role, action) = Buyer::ask(terms, at, Reserve(u32::MAX), key, &mut world.rng).unwrap();
        let BuyerAction::PublishIntent(intent) = action else { panic!("{action:?}") };
        self.auction = Some(intent.id());
        self.role = Some(role);
        world.submit(self.n, Body::AuctionOpen(intent));
    }

    /// After the deadline: the validator releases, the buyer chooses its station.
    pub fn award(&mut self, world: &mut World) {
        let (id, role) = (self.auction.unwrap(), self.role.as_mut().unwrap());
        let auction = world.auction(id);
        let release =
            Release::create(&world.shares, &world.key, &auction.intent, &auction.bids, &mut world.rng)
                .unwrap();
        let candidates = auction.bids.iter().cloned().map(|bid| {
            let station = (0..2).find(|n| station_of(*n) == bid.station).unwrap();
            Candidate { bid, seal: seal(station).public() }
        });
        let _ = role.on_closed(candidates.collect(), &mut world.rng).unwrap();
        world.submit(VALIDATOR, Body::AuctionRelease(Box::new(release.clone())));
        let offers = role.on_release(&release, &mut world.rng).unwrap();
        assert!(matches!(&offers[..], [BuyerAction::Offers(_)]));
        let choice = auction.bids.iter().position(|bid| bid.station == station_of(self.station));
        let transport = key(120 + self.n % 10).public();
        let award = Award::new(&transport.to_bytes(), &mut world.rng).unwrap();
        let decided = role.on_decide(choice, award, &mut world.rng).unwrap();
        let [BuyerAction::PublishOutcome(outcome)] = &decided[..] else { panic!("{decided:?}") };
        world.submit(self.n, Body::AuctionOutcome(outcome.clone()));
        world.block();
    }

    fn terms(&self, world: &World) -> Option<ContractTerms> {
        let Some((_, Object::Auction(auction))) = world.state.object(&self.auction?.into()) else {
            return None;
        };
        let award = auction.award.as_ref().filter(|award| award.is_accepted)?;
        let energy_max = Energy::from_wh(30_000);
        Some(ContractTerms {
            zone: *world.state.zone_id(),
            auction: self.auction?,
            buyer: self.account(),
            buyer_key: self.one_time().public(),
            seller: account(OPERATOR),
            seller_key: key(OPERATOR).public(),
            evse: evse_of(self.station),
            meter_key: meter(self.station).public(),
            price: award.price,
            energy_max,
            power_rated: RATED,
            grid: GridTariff { version: 0, price: Price::from_micro_per_kwh(TARIFF) },
            escrow: award.price.times(energy_max).unwrap(),
            not_before: world.now,
            expiry: world.now.checked_add(Duration::from_secs(4 * 3600)).unwrap(),
            number: 1,
        })
    }

    pub fn draft(&self, world: &World) -> Message {
        Message::Draft(Box::new(self.terms(world).unwrap()))
    }

    /// A new connection.
    pub fn reconnect(&mut self) {
        self.exporter[0] = self.exporter[0].wrapping_add(1);
        self.exporter[1] ^= 0x55;
        self.outbound.clear();
    }

    pub fn stop(&mut self, world: &World) {
        self.tell(world, BuyerInput::Stop);
    }

    /// What it does in one moment: the ledger's news, the driver's hands, one exchange with the seller.
    pub fn step(&mut self, world: &mut World, linked: &mut [u8; 32]) {
        if self.is_silent {
            if self.plugged && !self.unplugged && !world.lines[self.station].is_charging() {
                world.lines[self.station].unplug(world.now);
                self.unplugged = true;
            }
            return;
        }
        if self.session.is_none() && self.receipt.is_none() {
            let Some(terms) = self.terms(world) else { return };
            let drafted = BuyerSession::draft(self.one_time(), terms, self.exporter, world.now);
            let (session, actions) = drafted.unwrap();
            self.contract = Some(session.id());
            self.session = Some(session);
            *linked = self.exporter;
            self.act(world, actions);
        }
        if *linked != self.exporter && self.receipt.is_none() {
            *linked = self.exporter;
            self.tell(world, BuyerInput::Linked(self.exporter));
        }
        self.hear_ledger(world);
        self.move_hands(world);
        let due: Vec<Timer> =
            self.timers.iter().filter(|(_, at)| **at <= world.now).map(|(timer, _)| *timer).collect();
        for timer in due {
            self.timers.remove(&timer);
            self.tell(world, BuyerInput::Timer(timer));
        }
        if self.receipt.is_some() {
            return;
        }
        let messages = std::mem::take(&mut self.outbound);
        for message in world.exchange(self.auction.unwrap(), self.transport(), self.exporter, messages) {
            self.tell(world, BuyerInput::Message(message));
        }
    }

    fn hear_ledger(&mut self, world: &mut World) {
        let Some(contract) = self.contract else { return };
        match world.state.object(&contract.into()).map(|(_, object)| object.clone()) {
            Some(Object::Contract(_)) if self.opened_at.is_none() => {
                let at = world.state.head().time;
                self.opened_at = Some(at);
                self.tell(world, BuyerInput::OnLedger(OnLedger::Opened { at }));
            }
            Some(Object::Finished(finished)) if self.receipt.is_none() => {
                let session = self.session.as_ref().unwrap();
                let news = match finished.end {
                    End::Posted => {
                        let energy = session.record().map_or(Energy::ZERO, |record| record.energy);
                        OnLedger::Settled(Settlement::Paid(Bill::of(session.terms(), energy).unwrap()))
                    }
                    End::Voided => OnLedger::Released,
                    _ => OnLedger::Expired,
                };
                self.tell(world, BuyerInput::OnLedger(news));
            }
            _ => {}
        }
    }

    fn move_hands(&mut self, world: &mut World) {
        let state = self.session.as_ref().map(BuyerSession::state);
        let is_waiting = matches!(state, Some(ContractState::Agreed | ContractState::Armed));
        let now = world.now;
        if is_waiting && self.comes && !self.plugged {
            world.lines[self.station].plug_in(now);
            self.plugged = true;
        }
        if is_waiting && self.plugged && self.confirms {
            self.tell(world, BuyerInput::Confirmed(evse_of(self.station)));
        }
        if state == Some(ContractState::Charging) && self.started.is_none() {
            self.started = Some(now);
        }
        let long = Duration::from_secs(20 * 60);
        if self.started.and_then(|started| now.since(started)).is_some_and(|since| since >= long) {
            self.tell(world, BuyerInput::Stop);
        }
        let line = &mut world.lines[self.station];
        let is_over = state.is_some_and(|state| state.rank() >= ContractState::Stopped.rank());
        if self.plugged && !self.unplugged && is_over && !line.is_charging() {
            line.unplug(now);
            self.unplugged = true;
        }
    }

    fn tell(&mut self, world: &World, input: BuyerInput) {
        let Some(session) = &mut self.session else { return };
        if let Ok(actions) = session.handle(input, world.now) {
            self.act(world, actions);
        }
    }

    fn act(&mut self, world: &World, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(message) => self.outbound.push(message),
                Action::Open(agreement) => world.later(self.n, Body::ContractOpen(agreement)),
                Action::SetTimer { timer, at } => {
                    self.timers.insert(timer, at);
                }
                Action::Done(receipt) => self.receipt = Some(*receipt),
                Action::Release(waiver) => world.later(self.n, Body::ContractWaive(Box::new(waiver))),
                Action::Abort(reason) => panic!("{reason:?}"),
                _ => {}
            }
        }
    }
}
