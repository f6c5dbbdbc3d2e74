//! One outlet and its charger. What it has said it does not say again, but whoever asks is told how it is and how its
//! transactions ended: as the agent's own chargers' journal, which is a store of its own, has it after a restart.

use ohmesh_ocpp::{
    ChargerName,
    session::{Command, Event, EvseState, Outcome, StopCause, TransactionKey},
};
use ohmesh_units::{Energy, Timestamp};
use station_agent::seller::{Input, OpenTransaction, OutletStatus};

/// A charger with one outlet.
#[derive(Clone)]
pub(super) struct Charger {
    pub(super) name: ChargerName,
    register: Energy,
    car: Option<Car>,
    open: Option<Open>,
    ended: Vec<Ended>,
    transactions: u32,
}

/// A car that is plugged in.
#[derive(Clone)]
struct Car {
    customer: u8,
    wants: Energy,
}

#[derive(Clone)]
struct Open {
    key: TransactionKey,
    token: String,
    energy: Energy,
    began: Timestamp,
    metered: Timestamp,
}

#[derive(Clone)]
struct Ended {
    customer: u8,
    key: TransactionKey,
    energy: Energy,
    register: Energy,
    at: Timestamp,
}

impl Charger {
    pub(super) fn new(name: ChargerName) -> Self {
        let register = Energy::from_wh(910_000);
        Self { name, register, car: None, open: None, ended: Vec::new(), transactions: 0 }
    }

    /// What has flowed into a customer's cars, if a transaction has ended.
    pub(super) fn counted(&self, customer: u8) -> Option<Energy> {
        let own = self.ended.iter().filter(|ended| ended.customer == customer);
        own.map(|ended| ended.energy).reduce(|sum, energy| sum.checked_add(energy).expect("a few kWh"))
    }

    /// Whether energy flows.
    pub(super) fn is_on(&self) -> bool {
        self.open.is_some()
    }

    pub(super) fn is_plugged(&self) -> bool {
        self.car.is_some()
    }

    pub(super) fn plug_in(&mut self, now: Timestamp, customer: u8, wants: Energy) -> Vec<Event> {
        self.car = Some(Car { customer, wants });
        vec![self.state(), Event::PluggedIn { evse: EVSE, at: now }]
    }

    pub(super) fn unplug(&mut self, now: Timestamp) -> Vec<Event> {
        let mut events = self.stop(now, "EVDisconnected");
        self.car = None;
        events.push(self.state());
        events
    }

    /// Time passes: energy flows, readings are due, the car is full.
    pub(super) fn tick(&mut self, now: Timestamp) -> Vec<Event> {
        let (Some(open), Some(car)) = (&mut self.open, &self.car) else { return Vec::new() };
        open.energy = FLOW.times(now.since(open.began).unwrap_or_default()).min(car.wants);
        if open.energy == car.wants {
            return self.stop(now, "Local");
        }
        if now.since(open.metered).is_none_or(|since| since < METER_EVERY) {
            return Vec::new();
        }
        open.metered = now;
        let (transaction, energy) = (open.key.clone(), open.energy);
        let register = self.register.checked_add(energy);
        let (power, soc_percent, signed) = (Some(FLOW), None, Vec::new());
        vec![Event::Metered {
            evse: EVSE,
            transaction,
            energy,
            register,
            power,
            soc_percent,
            at: now,
            signed,
        }]
    }

    /// Does what it is told, if it can.
    pub(super) fn obey(&mut self, now: Timestamp, command: &Command) -> (Outcome, Vec<Event>) {
        match command {
            Command::Start { token, .. } if self.car.is_some() && self.open.is_none() => {
                self.transactions += 1;
                let key = TransactionKey(format!("{}-{}", self.name, self.transactions));
                let (transaction, token) = (key.clone(), token.clone());
                let (energy, began, metered) = (Energy::ZERO, now, now);
                self.open = Some(Open { key, token: token.clone(), energy, began, metered });
                let started = Event::TransactionStarted {
                    evse: EVSE,
                    transaction,
                    token: Some(token),
                    authorized: true,
                    reservation: None,
                    meter_start: Some(self.register),
                    at: now,
                };
                (Outcome::Accepted, vec![started])
            }
            Command::Stop { transaction }
                if self.open.as_ref().is_some_and(|open| open.key == *transaction) =>
            {
                (Outcome::Accepted, self.stop(now, "Remote"))
            }
            Command::Reserve { .. } | Command::CancelReservation { .. } => (Outcome::Accepted, Vec::new()),
            _ => (Outcome::Refused("Rejected".into()), Vec::new()),
        }
    }

    /// What an agent hears that has just started: how the newest transactions ended, then how the outlet is.
    pub(super) fn whole_state(&self) -> Vec<Input<'static>> {
        let ended = self.ended.iter().map(|ended| Input::Charger(self.name.clone(), ended.event("Other")));
        let status = OutletStatus {
            online: true,
            state: self.evse_state(),
            register: Some(self.register),
            open: self.open.as_ref().map(|open| OpenTransaction {
                key: open.key.clone(),
                token: Some(open.token.clone()),
                energy: open.energy,
            }),
        };
        let outlet = Input::Outlet { charger: self.name.clone(), evse: EVSE, status };
        ended.chain([outlet]).collect()
    }

    fn stop(&mut self, now: Timestamp, why: &'static str) -> Vec<Event> {
        let (Some(open), Some(car)) = (self.open.take(), &self.car) else { return Vec::new() };
        self.register = self.register.checked_add(open.energy).expect("a few kWh");
        let Open { key, energy, .. } = open;
        let ended = Ended { customer: car.customer, key, energy, register: self.register, at: now };
        let event = ended.event(why);
        self.ended.push(ended);
        vec![event]
    }

    fn evse_state(&self) -> EvseState {
        if self.car.is_some() { EvseState::Occupied } else { EvseState::Available }
    }

    fn state(&self) -> Event {
        Event::State { evse: EVSE, state: self.evse_state(), error: None }
    }
}

impl Ended {
    fn event(&self, why: &'static str) -> Event {
        Event::TransactionStopped {
            evse: EVSE,
            transaction: self.key.clone(),
            energy: self.energy,
            register: Some(self.register),
            at: self.at,
            reason: StopCause::Charger(why),
            signed: Vec::new(),
        }
    }
}

/// The number of its outlet.
pub(super) const EVSE: u16 = 1;
/// What flows.
const FLOW: ohmesh_units::Power = ohmesh_units::Power::from_w(18_000);
/// From one reading to the next.
const METER_EVERY: std::time::Duration = std::time::Duration::from_secs(60);
