//! The charger's own side, for simulated chargers: they speak genuine OCPP, both versions, strictly.
//!
//! ```text
//!   plug_in, unplug, present --\                      /--> Send(text)
//!   on_connected, on_text ------> ChargePoint: meters -----> SetTimer
//!   on_timer ------------------/                      \--> Event(..)
//! ```
//!
//! Energy flows by the car's curve, cut to the outlet's rating and to the limit that was commanded, in integer
//! watt-milliseconds; a register shows the whole watt-hours of it. Whatever is asked of it in a form that is not exactly
//! the schema's is refused, so a test against it also tests the other side's strictness.

mod answers;
mod plug;
mod v16_side;
mod v201_side;

use crate::frame::{ErrorCode, Frame};
use crate::json::Json;
use crate::upgrade::Version;
use crate::wire::{Reader, Request, Unfit};
use ohmesh_units::{Energy, Power, Timestamp};
use plug::Plug;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use thiserror::Error;

pub use plug::{Car, CurveStep};

/// The most messages that wait to be sent. Beyond, the oldest that carries no money is dropped.
pub const MAX_WAITING: usize = 256;

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// How long a remote start waits for a car (OCPP 1.6 `ConnectionTimeOut`).
const PLUG_WITHIN: Duration = Duration::from_secs(120);

/// What a simulated charger is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Model {
    /// Who made it, at most 20 characters.
    pub vendor: String,
    /// Its model, at most 20 characters.
    pub model: String,
    /// Its serial number, at most 25 characters.
    pub serial: String,
    /// Its outlets: number, rating, register.
    pub outlets: Vec<(u16, Power, Energy)>,
    /// How often it sends meter values while it charges.
    pub meter_every: Duration,
}

/// What to do for a simulated charger, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClientAction {
    /// Send this text.
    Send(String),
    /// Call [`ChargePoint::on_timer`] at this time; replaces the timer set before.
    SetTimer(Timestamp),
    /// Close the connection, and connect again.
    Reconnect,
    /// Something happened.
    Event(ClientEvent),
}

/// What happened at a simulated charger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClientEvent {
    /// The other side took the charger on.
    Accepted,
    /// A transaction began.
    Started {
        /// Where.
        evse: u16,
    },
    /// A transaction ended.
    Stopped {
        /// Where.
        evse: u16,
        /// What flowed, by the register's whole watt-hours.
        energy: Energy,
    },
    /// A transaction's last message was acknowledged.
    Acknowledged {
        /// Where.
        evse: u16,
    },
    /// The other side departed from the standard.
    Fault(String),
}

/// Why an input was not taken.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ClientError {
    /// No such outlet.
    #[error("no EVSE {0}")]
    UnknownEvse(u16),
    /// There is a car already.
    #[error("EVSE {0} has a car")]
    Taken(u16),
    /// There is no car.
    #[error("EVSE {0} has no car")]
    NoCar(u16),
    /// The model breaks the schema.
    #[error("unfit: {0}")]
    Unfit(#[from] Unfit),
}

/// A simulated charger.
pub struct ChargePoint {
    model: Model,
    version: Version,
    plugs: BTreeMap<u16, Plug>,
    waiting: VecDeque<Outgoing>,
    under_way: Option<(String, Outgoing, Option<Timestamp>)>,
    online: bool,
    accepted: bool,
    sent: u64,
    transactions: u64,
    heartbeat: Duration,
    heartbeat_at: Option<Timestamp>,
    timer: Option<Timestamp>,
}

/// A request that waits, and what its answer is about.
#[derive(Clone, Debug)]
struct Outgoing {
    action: &'static str,
    payload: Json,
    about: About,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum About {
    Boot,
    Heartbeat,
    Report,
    /// Tells money, and is sent again until answered.
    Money,
    /// The first of a transaction.
    Start {
        evse: u16,
    },
    /// The last of a transaction.
    Stop {
        evse: u16,
    },
    /// Asks for a token that was presented here.
    Token {
        evse: u16,
        token: String,
    },
}

impl About {
    fn is_money(&self) -> bool {
        matches!(self, Self::Money | Self::Start { .. } | Self::Stop { .. })
    }
}

/// What one input brings about, collected.
struct Doing {
    now: Timestamp,
    actions: Vec<ClientAction>,
    /// After all that was sent.
    reconnect: bool,
}

impl Doing {
    fn event(&mut self, event: ClientEvent) {
        self.actions.push(ClientAction::Event(event));
    }

    fn fault(&mut self, what: impl Into<String>) {
        self.event(ClientEvent::Fault(what.into()));
    }
}

impl ChargePoint {
    /// A charger that speaks `version`. Checks that its boot message fits the schema.
    pub fn new(model: Model, version: Version) -> Result<Self, ClientError> {
        let plugs =
            model.outlets.iter().map(|&(evse, rated, register)| (evse, Plug::new(rated, register))).collect();
        let charge_point = Self {
            model,
            version,
            plugs,
            waiting: VecDeque::new(),
            under_way: None,
            online: false,
            accepted: false,
            sent: 0,
            transactions: 0,
            heartbeat: Duration::from_secs(300),
            heartbeat_at: None,
            timer: None,
        };
        charge_point.boot()?;
        Ok(charge_point)
    }

    /// The connection is up, in the version it was made for: boots, tells the state of each outlet, and then whatever was
    /// kept while it was down.
    pub fn on_connected(&mut self, now: Timestamp) -> Vec<ClientAction> {
        let mut doing = self.advance(now);
        self.online = true;
        self.recall();
        let kept = std::mem::take(&mut self.waiting);
        match self.boot() {
            Ok(boot) => self.waiting.push_back(boot),
            Err(unfit) => doing.fault(unfit.to_string()),
        }
        let evses: Vec<u16> = self.plugs.keys().copied().collect();
        for evse in evses {
            self.tell_state(evse, &mut doing);
        }
        self.waiting.extend(kept.into_iter().filter(|outgoing| outgoing.about.is_money()));
        self.end(doing)
    }

    /// The connection is down. Charging goes on; what carries money is kept.
    pub fn on_disconnected(&mut self, now: Timestamp) -> Vec<ClientAction> {
        let doing = self.advance(now);
        self.online = false;
        self.recall();
        self.end(doing)
    }

    /// Text arrived.
    pub fn on_text(&mut self, now: Timestamp, text: &str) -> Vec<ClientAction> {
        let mut doing = self.advance(now);
        match Frame::parse(text) {
            Ok((_, flaws)) if !flaws.is_empty() => doing.fault(format!("{}: {text}", flaws[0])),
            Ok((Frame::Call { id, action, payload }, _)) => self.on_call(id, &action, &payload, &mut doing),
            Ok((Frame::Result { id, payload }, _)) => {
                match self.under_way.take_if(|(sent, ..)| *sent == id) {
                    Some((_, outgoing, _)) => self.on_answer(&outgoing, &payload, &mut doing),
                    None => doing.fault(format!("answer to unknown message {id}")),
                }
            }
            Ok((Frame::Error { id, code, description, .. }, _)) => {
                let refused =
                    self.under_way.take_if(|(sent, ..)| *sent == id).map(|(_, outgoing, _)| outgoing);
                let action = refused.as_ref().map_or("nothing", |outgoing| outgoing.action);
                doing.fault(format!("{action} refused: {code} {description}"));
                if let Some(Outgoing { about: About::Start { evse }, .. }) = refused {
                    self.give_up(evse);
                }
            }
            Err(error) => doing.fault(error.to_string()),
        }
        self.end(doing)
    }

    /// The time of [`ClientAction::SetTimer`] has come. Too early or too often does no harm.
    pub fn on_timer(&mut self, now: Timestamp) -> Vec<ClientAction> {
        self.timer = None;
        let mut doing = self.advance(now);
        if self
            .under_way
            .as_ref()
            .is_some_and(|(.., deadline)| deadline.is_some_and(|deadline| deadline <= now))
        {
            doing.fault("no answer in time");
            self.recall();
        }
        if self.accepted && self.heartbeat_at.is_some_and(|at| at <= now) {
            self.heartbeat_at = now.checked_add(self.heartbeat);
            let heartbeat = Outgoing {
                action: crate::v16::Heartbeat::ACTION,
                payload: Json::Object(vec![]),
                about: About::Heartbeat,
            };
            self.push(heartbeat);
        }
        self.end(doing)
    }

    /// A car is plugged in; a remote start that waits for it begins.
    pub fn plug_in(&mut self, now: Timestamp, evse: u16, car: Car) -> Result<Vec<ClientAction>, ClientError> {
        let mut doing = self.advance(now);
        let plug = self.plugs.get_mut(&evse).ok_or(ClientError::UnknownEvse(evse))?;
        if plug.car.is_some() {
            return Err(ClientError::Taken(evse));
        }
        plug.car = Some(plug::Charge::new(car));
        let wanted = plug.wanted.take();
        self.tell_state(evse, &mut doing);
        if let Some(wanted) = wanted {
            self.begin(evse, wanted.token, wanted.remote_start, wanted.limit, &mut doing);
        }
        Ok(self.end(doing))
    }

    /// The car is unplugged; a transaction ends.
    pub fn unplug(&mut self, now: Timestamp, evse: u16) -> Result<Vec<ClientAction>, ClientError> {
        let mut doing = self.advance(now);
        if self.plugs.get(&evse).ok_or(ClientError::UnknownEvse(evse))?.car.is_none() {
            return Err(ClientError::NoCar(evse));
        }
        self.stop(evse, plug::Why::Unplugged, &mut doing);
        if let Some(plug) = self.plugs.get_mut(&evse) {
            plug.car = None;
            plug.ended = false;
        }
        self.tell_state(evse, &mut doing);
        Ok(self.end(doing))
    }

    /// A card is held to the reader of an outlet: asks, and begins if it may; ends the transaction that it began.
    pub fn present(
        &mut self,
        now: Timestamp,
        evse: u16,
        token: &str,
    ) -> Result<Vec<ClientAction>, ClientError> {
        let mut doing = self.advance(now);
        let plug = self.plugs.get(&evse).ok_or(ClientError::UnknownEvse(evse))?;
        match &plug.running {
            Some(running) if running.token.eq_ignore_ascii_case(token) => {
                self.stop(evse, plug::Why::Local, &mut doing)
            }
            Some(_) => (),
            None => {
                let ask = self.authorize(evse, token)?;
                self.push(ask);
            }
        }
        Ok(self.end(doing))
    }

    /// What an outlet's register shows at `now`.
    pub fn register(&mut self, now: Timestamp, evse: u16) -> Option<Energy> {
        self.plugs.get_mut(&evse).map(|plug| {
            plug.flow(now);
            plug.register()
        })
    }

    /// The version it speaks.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether nothing waits to be sent or answered.
    pub fn is_quiet(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_none()
    }

    /// Brings all outlets to `now`: energy flows, full cars stop, meter values fall due, waiting lapses.
    fn advance(&mut self, now: Timestamp) -> Doing {
        let mut doing = Doing { now, actions: Vec::new(), reconnect: false };
        let evses: Vec<u16> = self.plugs.keys().copied().collect();
        for evse in evses {
            let Some(plug) = self.plugs.get_mut(&evse) else { continue };
            plug.flow(now);
            plug.wanted.take_if(|wanted| wanted.until <= now);
            let lapsed = plug.reserved.take_if(|reserved| reserved.until <= now).is_some();
            let full = plug.running.is_some() && plug.car.as_ref().is_none_or(|car| car.is_full());
            let due =
                plug.running.as_mut().is_some_and(|running| running.meter_due(now, self.model.meter_every));
            if due && !full {
                self.tell_meter(evse, &mut doing);
            }
            if full {
                self.stop(evse, plug::Why::Full, &mut doing);
            }
            if lapsed {
                self.tell_state(evse, &mut doing);
            }
        }
        doing
    }

    /// Begins a transaction, if a car is there and none runs.
    fn begin(
        &mut self,
        evse: u16,
        token: String,
        remote_start: Option<i64>,
        limit: Option<Power>,
        doing: &mut Doing,
    ) {
        let number = self.transactions + 1;
        let Some(plug) =
            self.plugs.get_mut(&evse).filter(|plug| plug.car.is_some() && plug.running.is_none())
        else {
            return;
        };
        self.transactions = number;
        plug.start(doing.now, number, token, remote_start, limit, self.model.meter_every);
        doing.event(ClientEvent::Started { evse });
        match self.start_message(evse, doing.now) {
            Ok(message) => self.push(message),
            Err(unfit) => doing.fault(unfit.to_string()),
        }
        self.tell_state(evse, doing);
    }

    /// Ends the transaction of an outlet, if one runs. In 1.6 its number may still be on the way: then the stop waits for it.
    fn stop(&mut self, evse: u16, why: plug::Why, doing: &mut Doing) {
        let Some(plug) = self.plugs.get_mut(&evse) else { return };
        let Some(running) = plug.running.take() else { return };
        let energy = plug.register().checked_sub(running.start).unwrap_or_default();
        plug.ended = true;
        plug.limit = None;
        doing.event(ClientEvent::Stopped { evse, energy });
        let stopped = plug::Stopped { running, register: plug.register(), at: doing.now, why };
        if self.version == Version::V16 && stopped.running.key.is_none() {
            plug.unsent = Some(stopped);
        } else {
            self.tell_stop(evse, &stopped, doing);
        }
        self.tell_state(evse, doing);
    }

    /// A transaction whose start was refused has no number, so nothing more can be told of it.
    fn give_up(&mut self, evse: u16) {
        if let Some(plug) = self.plugs.get_mut(&evse) {
            plug.running = None;
            plug.unsent = None;
            plug.ended = true;
        }
    }

    fn tell_stop(&mut self, evse: u16, stopped: &plug::Stopped, doing: &mut Doing) {
        match self.stop_message(evse, stopped) {
            Ok(message) => self.push(message),
            Err(unfit) => doing.fault(unfit.to_string()),
        }
    }

    fn tell_meter(&mut self, evse: u16, doing: &mut Doing) {
        match self.meter_message(evse, doing.now) {
            Ok(message) => self.push(message),
            Err(unfit) => doing.fault(unfit.to_string()),
        }
    }

    fn tell_state(&mut self, evse: u16, doing: &mut Doing) {
        match self.state_message(evse, doing.now) {
            Ok(message) => self.push(message),
            Err(unfit) => doing.fault(unfit.to_string()),
        }
    }

    fn push(&mut self, outgoing: Outgoing) {
        if !self.online && !outgoing.about.is_money() {
            return;
        }
        if self.waiting.len() >= MAX_WAITING {
            let idle = self.waiting.iter().position(|waiting| !waiting.about.is_money()).unwrap_or(0);
            self.waiting.remove(idle);
        }
        self.waiting.push_back(outgoing);
    }

    /// Puts the request under way back to the front if it carries money; forgets it otherwise.
    fn recall(&mut self) {
        if let Some((_, outgoing, _)) = self.under_way.take()
            && (outgoing.about.is_money() || outgoing.about == About::Boot)
        {
            self.waiting.push_front(outgoing);
        }
    }

    /// Sends the next request if none is under way, and sets the timer.
    fn end(&mut self, mut doing: Doing) -> Vec<ClientAction> {
        let idle = self.online && self.under_way.is_none();
        if let Some(outgoing) = idle.then(|| self.waiting.pop_front()).flatten() {
            self.sent += 1;
            let id = format!("{:08x}", self.sent);
            let (action, payload) = (outgoing.action.to_owned(), outgoing.payload.clone());
            doing.actions.push(ClientAction::Send(Frame::Call { id: id.clone(), action, payload }.emit()));
            self.under_way = Some((id, outgoing, doing.now.checked_add(ANSWER_WITHIN)));
        }
        let answer = self.under_way.as_ref().and_then(|(.., deadline)| *deadline);
        let heartbeat = self.heartbeat_at.filter(|_| self.online && self.accepted);
        let plugs = self.plugs.values().filter_map(|plug| plug.next(doing.now)).min();
        let next = [answer, heartbeat, plugs].into_iter().flatten().min();
        if next != self.timer {
            self.timer = next;
            doing.actions.extend(next.map(ClientAction::SetTimer));
        }
        if doing.reconnect {
            doing.actions.push(ClientAction::Reconnect);
        }
        doing.actions
    }

    fn on_call(&mut self, id: String, action: &str, payload: &Json, doing: &mut Doing) {
        let answer = match self.version {
            Version::V16 => self.on_call_v16(action, payload, doing),
            Version::V201 => self.on_call_v201(action, payload, doing),
        };
        let frame = match answer {
            Ok(payload) => Frame::Result { id, payload },
            Err(code) => {
                doing.fault(format!("{action}: {code:?} {payload}"));
                let (code, details) = (code.as_str(self.version).to_owned(), Json::Object(vec![]));
                Frame::Error { id, code, description: String::new(), details }
            }
        };
        // The answer goes out before what it brings about.
        doing.actions.push(ClientAction::Send(frame.emit()));
    }
}

/// Reads a request that has to be exactly as the schema says.
fn strictly<R: Request>(payload: &Json) -> Result<R, ErrorCode> {
    match Reader::message(payload) {
        (Some(request), flaws) if flaws.is_empty() => Ok(request),
        _ => Err(ErrorCode::FormatViolation),
    }
}
