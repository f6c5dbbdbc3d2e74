//! One charger: the agent's session for it, and the charger itself, a genuine OCPP client, on virtual time.

use ohmesh_ocpp::client::{Car, ChargePoint, ClientAction, ClientEvent, CurveStep, Model};
use ohmesh_ocpp::session::{
    Action, Charger, Command, CommandError, CommandId, Deviation, Epoch, Event, EvseState, Outlet, Settings,
};
use ohmesh_ocpp::{ChargerName, Version};
use ohmesh_units::{Energy, Power, Timestamp};
use station_agent::seller::{OpenTransaction, OutletStatus};
use std::collections::VecDeque;
use std::time::Duration;

pub struct Line {
    pub name: ChargerName,
    charger: Charger,
    point: ChargePoint,
    epoch: Epoch,
    is_up: bool,
    /// Events that the seller has not heard yet.
    pub events: VecDeque<Event>,
    deviations: Vec<Deviation>,
    faults: Vec<String>,
    /// What the charger says flowed in each transaction.
    pub stopped: Vec<Energy>,
    charger_timer: Option<Timestamp>,
    point_timer: Option<Timestamp>,
    to_point: VecDeque<String>,
    to_charger: VecDeque<String>,
    reconnects: bool,
}

impl Line {
    pub fn new(name: ChargerName, version: Version, rated: Power, register: Energy, now: Timestamp) -> Self {
        let outlet = Outlet { evse: 1, rated };
        let charger = Charger::new(name.clone(), &[outlet], Settings::default(), [7; 32]).unwrap();
        let model = Model {
            vendor: "Ohm".into(),
            model: "Sim".into(),
            serial: "SIM-0001".into(),
            outlets: vec![(1, rated, register)],
            meter_every: Duration::from_secs(30),
        };
        let mut line = Self {
            name,
            charger,
            point: ChargePoint::new(model, version).unwrap(),
            epoch: Epoch(0),
            is_up: false,
            events: VecDeque::new(),
            deviations: vec![],
            faults: vec![],
            stopped: vec![],
            charger_timer: None,
            point_timer: None,
            to_point: VecDeque::new(),
            to_charger: VecDeque::new(),
            reconnects: false,
        };
        line.connect(now);
        line
    }

    pub fn connect(&mut self, now: Timestamp) {
        let (epoch, actions) = self.charger.reconnect(now, self.point.version());
        self.epoch = epoch;
        self.is_up = true;
        self.take(actions);
        let actions = self.point.on_connected(now);
        self.point_takes(actions);
        self.settle(now);
    }

    /// The connection breaks; what was on its way is lost.
    pub fn cut(&mut self, now: Timestamp) {
        self.is_up = false;
        self.to_point.clear();
        self.to_charger.clear();
        let actions = self.charger.on_closed(now, self.epoch);
        self.take(actions);
        let actions = self.point.on_disconnected(now);
        self.point_takes(actions);
    }

    pub fn command(&mut self, now: Timestamp, command: Command) -> Result<CommandId, CommandError> {
        let (id, actions) = self.charger.command(now, command)?;
        self.take(actions);
        self.settle(now);
        Ok(id)
    }

    /// A car that takes all it is given for half an hour, and less after.
    pub fn plug_in(&mut self, now: Timestamp) {
        let step = |minutes: u64, watts| CurveStep {
            lasts: Duration::from_secs(minutes * 60),
            power: Power::from_w(watts),
        };
        let car = Car { curve: vec![step(30, 20_000), step(600, 5000)], wants: Energy::from_wh(15_000) };
        let actions = self.point.plug_in(now, 1, car).unwrap();
        self.point_takes(actions);
        self.settle(now);
    }

    pub fn unplug(&mut self, now: Timestamp) {
        let actions = self.point.unplug(now, 1).unwrap();
        self.point_takes(actions);
        self.settle(now);
    }

    pub fn tick(&mut self, now: Timestamp) {
        for _ in 0..1000 {
            let is_due = |timer: Option<Timestamp>| timer.is_some_and(|timer| timer <= now);
            if is_due(self.charger_timer) {
                self.charger_timer = None;
                let actions = self.charger.on_timer(now);
                self.take(actions);
            } else if is_due(self.point_timer) {
                self.point_timer = None;
                let actions = self.point.on_timer(now);
                self.point_takes(actions);
            } else {
                return;
            }
            self.settle(now);
        }
        panic!("{} never rests", self.name.as_str());
    }

    pub fn status(&self) -> OutletStatus {
        let (_, state, register) = self.charger.evses().next().unwrap();
        let open = self.charger.transactions().next().map(|open| OpenTransaction {
            key: open.key.clone(),
            token: open.token.clone(),
            energy: open.energy,
        });
        OutletStatus { online: self.charger.connection().is_some(), state, register, open }
    }

    pub fn is_charging(&self) -> bool {
        self.charger.transactions().next().is_some()
    }

    pub fn reserved(&self) -> bool {
        self.charger.evses().any(|(_, state, _)| state == EvseState::Reserved)
    }

    pub fn assert_clean(&self) {
        assert_eq!(self.deviations, []);
        assert_eq!(self.faults, Vec::<String>::new());
    }

    fn settle(&mut self, now: Timestamp) {
        loop {
            if let Some(text) = self.to_charger.pop_front() {
                let actions = self.charger.on_text(now, self.epoch, &text);
                self.take(actions);
            } else if let Some(text) = self.to_point.pop_front() {
                let actions = self.point.on_text(now, &text);
                self.point_takes(actions);
            } else if std::mem::take(&mut self.reconnects) {
                self.cut(now);
                self.connect(now);
            } else {
                return;
            }
        }
    }

    fn take(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(text) if self.is_up => self.to_point.push_back(text),
                Action::Send(_) | Action::Close(_) => {}
                Action::Event(event) => self.events.push_back(event),
                Action::Deviation(deviation) => self.deviations.push(deviation),
                Action::SetTimer(at) => self.charger_timer = Some(at),
            }
        }
    }

    fn point_takes(&mut self, actions: Vec<ClientAction>) {
        for action in actions {
            match action {
                ClientAction::Send(text) if self.is_up => self.to_charger.push_back(text),
                ClientAction::Send(_) => {}
                ClientAction::Event(ClientEvent::Stopped { energy, .. }) => self.stopped.push(energy),
                ClientAction::Event(ClientEvent::Fault(fault)) => self.faults.push(fault),
                ClientAction::Event(_) => {}
                ClientAction::SetTimer(at) => self.point_timer = Some(at),
                ClientAction::Reconnect => self.reconnects = true,
            }
        }
    }
}
