//! A charger's session to test against, and a street that joins it to a simulated charger on virtual time.
#![allow(dead_code, reason = "each test uses its part")]

use ohmesh_ocpp::client::{Car, ChargePoint, ClientAction, ClientEvent, CurveStep, Model};
use ohmesh_ocpp::session::{
    Action, Charger, Command, CommandId, Deviation, Epoch, Event, Oddity, Outcome, Outlet, Settings,
    TransactionKey,
};
use ohmesh_ocpp::{ChargerName, Version};
use ohmesh_units::{Energy, Power, Timestamp};
use std::collections::VecDeque;
use std::time::Duration;

/// 2026-11-21T22:34:56.789Z.
pub const NOON: u64 = 1_795_300_496_789;

pub fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(NOON + seconds * 1000)
}

pub fn rated() -> Power {
    Power::from_w(11_000)
}

/// A session with outlets 1 and 2 of 11 kW, on a fresh connection.
pub fn session(version: Version) -> (Charger, Epoch) {
    let outlets = [1, 2].map(|evse| Outlet { evse, rated: rated() });
    let mut charger =
        Charger::new(ChargerName::new("CP1").unwrap(), &outlets, Settings::default(), [7; 32]).unwrap();
    let (epoch, _) = charger.reconnect(at(0), version);
    (charger, epoch)
}

pub fn events(actions: &[Action]) -> Vec<Event> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Event(event) => Some(event.clone()),
            _ => None,
        })
        .collect()
}

pub fn sent(actions: &[Action]) -> Vec<String> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Send(text) => Some(text.clone()),
            _ => None,
        })
        .collect()
}

pub fn oddities(actions: &[Action]) -> Vec<Oddity> {
    actions
        .iter()
        .flat_map(|action| match action {
            Action::Deviation(Deviation { oddities, .. }) => oddities.clone(),
            _ => Vec::new(),
        })
        .collect()
}

/// The deviations of a text, as text.
pub fn complaints(actions: &[Action]) -> Vec<String> {
    oddities(actions).iter().map(Oddity::to_string).collect()
}

/// The payload of the first answer, as serde_json reads it.
pub fn answer(actions: &[Action]) -> serde_json::Value {
    let frame: serde_json::Value = serde_json::from_str(&sent(actions)[0]).unwrap();
    assert_eq!(frame[0], 3, "{frame}");
    frame[2].clone()
}

pub fn model() -> Model {
    Model {
        vendor: "Ohm".into(),
        model: "Sim".into(),
        serial: "SIM-0001".into(),
        outlets: vec![(1, rated(), Energy::from_wh(910_000)), (2, rated(), Energy::from_wh(5))],
        meter_every: Duration::from_secs(60),
    }
}

/// Takes 11 kW for half an hour, then 5 kW; wants `wh`.
pub fn car(wh: u64) -> Car {
    let step = |minutes: u64, watts| CurveStep {
        lasts: Duration::from_secs(minutes * 60),
        power: Power::from_w(watts),
    };
    Car { curve: vec![step(30, 11_000), step(600, 5000)], wants: Energy::from_wh(wh) }
}

/// Both ends of one charger's connection, on virtual time.
pub struct Street {
    pub now: Timestamp,
    pub charger: Charger,
    pub point: ChargePoint,
    pub epoch: Epoch,
    pub up: bool,
    pub events: Vec<Event>,
    pub deviations: Vec<Deviation>,
    pub point_events: Vec<ClientEvent>,
    /// Every text, with who sent it: true is the agent.
    pub wire: Vec<(bool, String)>,
    charger_timer: Option<Timestamp>,
    point_timer: Option<Timestamp>,
    to_point: VecDeque<String>,
    to_charger: VecDeque<String>,
    reconnects: bool,
}

impl Street {
    pub fn new(version: Version) -> Self {
        let (charger, _) = session(version);
        let point = ChargePoint::new(model(), version).unwrap();
        let mut street = Self {
            now: at(0),
            charger,
            point,
            epoch: Epoch(0),
            up: false,
            events: vec![],
            deviations: vec![],
            point_events: vec![],
            wire: vec![],
            charger_timer: None,
            point_timer: None,
            to_point: VecDeque::new(),
            to_charger: VecDeque::new(),
            reconnects: false,
        };
        street.connect();
        street
    }

    pub fn connect(&mut self) {
        let (epoch, actions) = self.charger.reconnect(self.now, self.point.version());
        self.epoch = epoch;
        self.up = true;
        self.take(actions);
        let actions = self.point.on_connected(self.now);
        self.point_takes(actions);
        self.settle();
    }

    /// The connection breaks; what was on its way is lost.
    pub fn cut(&mut self) {
        self.up = false;
        self.to_point.clear();
        self.to_charger.clear();
        let actions = self.charger.on_closed(self.now, self.epoch);
        self.take(actions);
        let actions = self.point.on_disconnected(self.now);
        self.point_takes(actions);
    }

    pub fn command(&mut self, command: Command) -> CommandId {
        let (id, actions) = self.charger.command(self.now, command).unwrap();
        self.take(actions);
        self.settle();
        id
    }

    pub fn point<E: std::fmt::Debug>(
        &mut self,
        input: impl FnOnce(&mut ChargePoint, Timestamp) -> Result<Vec<ClientAction>, E>,
    ) {
        let actions = input(&mut self.point, self.now).unwrap();
        self.point_takes(actions);
        self.settle();
    }

    pub fn outcome(&self, id: CommandId) -> Option<Outcome> {
        self.events.iter().find_map(|event| match event {
            Event::CommandResult { command, outcome } if *command == id => Some(outcome.clone()),
            _ => None,
        })
    }

    /// Lets virtual time pass, timers included.
    pub fn pass(&mut self, seconds: u64) {
        let end = self.now.checked_add(Duration::from_secs(seconds)).unwrap();
        for _ in 0..100_000 {
            let next = [self.charger_timer, self.point_timer]
                .into_iter()
                .flatten()
                .min()
                .filter(|next| *next <= end);
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            if self.charger_timer.is_some_and(|timer| timer <= self.now) {
                self.charger_timer = None;
                let actions = self.charger.on_timer(self.now);
                self.take(actions);
            }
            if self.point_timer.is_some_and(|timer| timer <= self.now) {
                self.point_timer = None;
                let actions = self.point.on_timer(self.now);
                self.point_takes(actions);
            }
            self.settle();
        }
        self.now = end;
    }

    pub fn transaction(&self) -> TransactionKey {
        self.charger.transactions().next().unwrap().key.clone()
    }

    /// The energies of all metered and stopped events, Wh.
    pub fn energies(&self) -> Vec<u64> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::Metered { energy, .. } | Event::TransactionStopped { energy, .. } => {
                    Some(energy.as_wh())
                }
                _ => None,
            })
            .collect()
    }

    /// What the simulated charger says flowed.
    pub fn stopped(&self) -> Vec<u64> {
        self.point_events
            .iter()
            .filter_map(|event| match event {
                ClientEvent::Stopped { energy, .. } => Some(energy.as_wh()),
                _ => None,
            })
            .collect()
    }

    pub fn assert_clean(&self) {
        assert_eq!(self.deviations, []);
        let faults: Vec<_> =
            self.point_events.iter().filter(|event| matches!(event, ClientEvent::Fault(_))).collect();
        assert!(faults.is_empty(), "{faults:?}");
    }

    fn settle(&mut self) {
        loop {
            if let Some(text) = self.to_charger.pop_front() {
                let actions = self.charger.on_text(self.now, self.epoch, &text);
                self.take(actions);
            } else if let Some(text) = self.to_point.pop_front() {
                let actions = self.point.on_text(self.now, &text);
                self.point_takes(actions);
            } else if std::mem::take(&mut self.reconnects) {
                self.cut();
                self.connect();
            } else {
                return;
            }
        }
    }

    fn take(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(text) => {
                    self.wire.push((true, text.clone()));
                    if self.up {
                        self.to_point.push_back(text);
                    }
                }
                Action::Event(event) => self.events.push(event),
                Action::Deviation(deviation) => self.deviations.push(deviation),
                Action::SetTimer(at) => self.charger_timer = Some(at),
                Action::Close(epoch) => assert!(epoch <= self.epoch),
            }
        }
    }

    fn point_takes(&mut self, actions: Vec<ClientAction>) {
        for action in actions {
            match action {
                ClientAction::Send(text) => {
                    self.wire.push((false, text.clone()));
                    if self.up {
                        self.to_charger.push_back(text);
                    }
                }
                ClientAction::Event(event) => self.point_events.push(event),
                ClientAction::SetTimer(at) => self.point_timer = Some(at),
                ClientAction::Reconnect => self.reconnects = true,
            }
        }
    }
}
