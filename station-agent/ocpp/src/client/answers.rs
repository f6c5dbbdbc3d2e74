//! What a simulated charger does with answers and commands, whatever the version.

use super::plug::{Reserved, Stopped, Wanted, Why};
use super::{About, ChargePoint, ClientEvent, Doing, Outgoing, PLUG_WITHIN};
use crate::json::Json;
use crate::upgrade::Version;
use crate::wire::{Flaw, Reader, Unfit, Wire};
use crate::{v16, v201};
use ohmesh_units::{Power, Timestamp};
use std::time::Duration;

/// The shortest interval between heartbeats or meter values that is taken on.
const SHORTEST: Duration = Duration::from_secs(1);

impl ChargePoint {
    pub(super) fn boot(&self) -> Result<Outgoing, Unfit> {
        match self.version {
            Version::V16 => self.boot_v16(),
            Version::V201 => self.boot_v201(),
        }
    }

    pub(super) fn authorize(&self, evse: u16, token: &str) -> Result<Outgoing, Unfit> {
        let about = About::Token { evse, token: token.to_owned() };
        match self.version {
            Version::V16 => Outgoing::of(&v16::Authorize { token: token.into() }, about),
            Version::V201 => Outgoing::of(&v201::Authorize { token: super::v201_side::token(token) }, about),
        }
    }

    pub(super) fn state_message(&self, evse: u16, now: Timestamp) -> Result<Outgoing, Unfit> {
        match self.version {
            Version::V16 => self.state_v16(evse, now),
            Version::V201 => self.state_v201(evse, now),
        }
    }

    pub(super) fn start_message(&mut self, evse: u16, now: Timestamp) -> Result<Outgoing, Unfit> {
        match self.version {
            Version::V16 => self.start_v16(evse, now),
            Version::V201 => self.start_v201(evse, now),
        }
    }

    pub(super) fn meter_message(&mut self, evse: u16, now: Timestamp) -> Result<Outgoing, Unfit> {
        match self.version {
            Version::V16 => self.meter_v16(evse, now),
            Version::V201 => self.meter_v201(evse, now),
        }
    }

    pub(super) fn stop_message(&self, evse: u16, stopped: &Stopped) -> Result<Outgoing, Unfit> {
        match self.version {
            Version::V16 => self.stop_v16(evse, stopped),
            Version::V201 => self.stop_v201(evse, stopped),
        }
    }

    /// An answer to `outgoing` arrived.
    pub(super) fn on_answer(&mut self, outgoing: &Outgoing, payload: &Json, doing: &mut Doing) {
        let understood = match (&outgoing.about, self.version) {
            (About::Boot, _) => strict::<v16::BootAnswer>(payload).map(|boot| {
                let interval = Duration::from_secs(u64::try_from(boot.interval_s).unwrap_or(0)).max(SHORTEST);
                self.accepted = boot.status == v16::BootStatus::Accepted;
                self.heartbeat = interval;
                self.heartbeat_at = doing.now.checked_add(interval);
                if self.accepted {
                    doing.event(ClientEvent::Accepted);
                }
            }),
            (About::Heartbeat, _) => strict::<v16::HeartbeatAnswer>(payload).map(|_| ()),
            (About::Token { evse, token }, Version::V16) => strict::<v16::AuthorizeAnswer>(payload)
                .map(|verdict| (verdict.info.status == v16::TokenStatus::Accepted).then_some((*evse, token)))
                .map(|accepted| self.on_verdict(accepted, doing)),
            (About::Token { evse, token }, Version::V201) => strict::<v201::AuthorizeAnswer>(payload)
                .map(|verdict| (verdict.info.status == v201::TokenStatus::Accepted).then_some((*evse, token)))
                .map(|accepted| self.on_verdict(accepted, doing)),
            (About::Start { evse }, Version::V16) => strict::<v16::StartAnswer>(payload).map(|answer| {
                let accepted = answer.info.status == v16::TokenStatus::Accepted;
                self.on_number_v16(*evse, answer.transaction, accepted, doing);
            }),
            (About::Start { evse }, Version::V201) => {
                strict::<v201::TransactionAnswer>(payload).map(|answer| {
                    if answer.info.is_some_and(|info| info.status != v201::TokenStatus::Accepted) {
                        self.stop(*evse, Why::Refused, doing);
                    }
                })
            }
            (About::Stop { evse }, Version::V16) => strict::<v16::StopAnswer>(payload)
                .map(|_| doing.event(ClientEvent::Acknowledged { evse: *evse })),
            (About::Stop { evse }, Version::V201) => strict::<v201::TransactionAnswer>(payload)
                .map(|_| doing.event(ClientEvent::Acknowledged { evse: *evse })),
            (About::Money | About::Report, _) => strict::<v16::Empty>(payload).map(|_| ()),
        };
        if let Err(flaws) = understood {
            let first = flaws.first().map(Flaw::to_string).unwrap_or_default();
            doing.fault(format!("answer to {}: {first}", outgoing.action));
        }
    }

    fn on_verdict(&mut self, accepted: Option<(u16, &String)>, doing: &mut Doing) {
        if let Some((evse, token)) = accepted {
            self.want(evse, token.clone(), None, None, doing);
        }
    }

    /// 1.6: the transaction of this outlet has its number; a stop that waited for it goes out.
    fn on_number_v16(&mut self, evse: u16, number: i64, accepted: bool, doing: &mut Doing) {
        let Some(plug) = self.plugs.get_mut(&evse) else { return };
        if let Some(mut stopped) = plug.unsent.take() {
            stopped.running.key = Some(number);
            return self.tell_stop(evse, &stopped, doing);
        }
        if let Some(running) = &mut plug.running {
            running.key = Some(number);
        }
        if !accepted {
            self.stop(evse, Why::Refused, doing);
        }
    }

    /// A token may charge at an outlet: at once if a car is there, else when one comes.
    pub(super) fn want(
        &mut self,
        evse: u16,
        token: String,
        remote_start: Option<i64>,
        limit: Option<Power>,
        doing: &mut Doing,
    ) -> bool {
        let Some(plug) = self.plugs.get_mut(&evse) else { return false };
        let kept =
            plug.reserved.as_ref().is_some_and(|reserved| !reserved.token.eq_ignore_ascii_case(&token));
        if !plug.operative || kept || plug.running.is_some() || plug.unsent.is_some() {
            return false;
        }
        if plug.car.is_some() {
            self.begin(evse, token, remote_start, limit, doing);
        } else if let Some(until) = doing.now.checked_add(PLUG_WITHIN) {
            plug.wanted = Some(Wanted { token, remote_start, limit, until });
        }
        true
    }

    /// The outlet to start at when the command names none: the first that is idle.
    pub(super) fn idle(&self) -> Option<u16> {
        self.plugs.iter().find(|(_, plug)| plug.running.is_none() && plug.operative).map(|(&evse, _)| evse)
    }

    /// Keeps an outlet; returns the standard's word.
    pub(super) fn reserve(
        &mut self,
        evse: u16,
        number: i64,
        token: String,
        until: Timestamp,
        doing: &mut Doing,
    ) -> &'static str {
        let Some(plug) = self.plugs.get_mut(&evse) else { return "Rejected" };
        let others = plug.reserved.as_ref().is_some_and(|reserved| reserved.number != number);
        if !plug.operative {
            return "Unavailable";
        }
        if others || plug.running.is_some() || plug.car.is_some() || until <= doing.now {
            return "Occupied";
        }
        plug.reserved = Some(Reserved { number, token, until });
        self.tell_state(evse, doing);
        "Accepted"
    }

    pub(super) fn cancel(&mut self, number: i64, doing: &mut Doing) -> bool {
        let reserved =
            |plug: &super::Plug| plug.reserved.as_ref().is_some_and(|reserved| reserved.number == number);
        let Some(evse) = self.plugs.iter().find(|(_, plug)| reserved(plug)).map(|(&evse, _)| evse) else {
            return false;
        };
        if let Some(plug) = self.plugs.get_mut(&evse) {
            plug.reserved = None;
        }
        self.tell_state(evse, doing);
        true
    }

    /// In service or not; a transaction that runs ends first. `None` is every outlet.
    pub(super) fn set_operative(
        &mut self,
        evse: Option<u16>,
        operative: bool,
        doing: &mut Doing,
    ) -> &'static str {
        let evses: Vec<u16> =
            self.plugs.keys().copied().filter(|known| evse.is_none_or(|evse| evse == *known)).collect();
        if evses.is_empty() {
            return "Rejected";
        }
        let mut word = "Accepted";
        for evse in evses {
            let Some(plug) = self.plugs.get_mut(&evse) else { continue };
            plug.operative = operative;
            if plug.running.is_some() && !operative {
                word = "Scheduled";
            } else {
                self.tell_state(evse, doing);
            }
        }
        word
    }

    /// Limits an outlet, now if a transaction runs and it is meant, and in transactions to come.
    pub(super) fn set_limit(&mut self, evse: u16, this_transaction: bool, limit: Power) -> bool {
        let Some(plug) = self.plugs.get_mut(&evse) else { return false };
        if this_transaction {
            if plug.running.is_none() {
                return false;
            }
            plug.limit = Some(limit);
        } else {
            plug.default_limit = Some(limit);
        }
        true
    }

    pub(super) fn unlock(&mut self, evse: u16, doing: &mut Doing) -> bool {
        if !self.plugs.contains_key(&evse) {
            return false;
        }
        self.stop(evse, Why::Local, doing);
        true
    }

    /// Ends all transactions, and connects again.
    pub(super) fn reset(&mut self, doing: &mut Doing) {
        let evses: Vec<u16> = self.plugs.keys().copied().collect();
        for evse in evses {
            self.stop(evse, Why::Reset, doing);
        }
        doing.reconnect = true;
    }

    /// The two settings that it has, in seconds, by what they set.
    pub(super) fn interval(&self, heartbeat: bool) -> String {
        let interval = if heartbeat { self.heartbeat } else { self.model.meter_every };
        interval.as_secs().to_string()
    }

    /// Sets one of them.
    pub(super) fn set_interval(&mut self, heartbeat: bool, value: &str, now: Timestamp) -> bool {
        let Some(interval) =
            value.parse().ok().map(Duration::from_secs).filter(|interval| *interval >= SHORTEST)
        else {
            return false;
        };
        if heartbeat {
            self.heartbeat = interval;
            self.heartbeat_at = now.checked_add(interval);
        } else {
            self.model.meter_every = interval;
        }
        true
    }
}

impl Outgoing {
    /// A request, strictly written.
    pub(super) fn of<R: crate::wire::Request>(request: &R, about: About) -> Result<Self, Unfit> {
        let payload = request.write().map_err(|unfit| unfit.within(R::ACTION))?;
        Ok(Self { action: R::ACTION, payload, about })
    }
}

/// Reads an answer that has to be exactly as the schema says.
fn strict<A: Wire>(payload: &Json) -> Result<A, Vec<Flaw>> {
    let (answer, flaws) = Reader::message(payload);
    answer.filter(|_| flaws.is_empty()).ok_or(flaws)
}
