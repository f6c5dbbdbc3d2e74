//! A simulated charger's side in OCPP 2.0.1.

use super::plug::{Running, Stopped, Why};
use super::v16_side::{limit_w, number, wh};
use super::{About, ChargePoint, Doing, Outgoing, strictly};
use crate::frame::ErrorCode;
use crate::json::Json;
use crate::v201;
use crate::wire::{Decimal, Request, Text, Unfit, Wire};
use ohmesh_units::{Energy, Power, Timestamp};

/// Variables it knows: component, variable, and whether it is the heartbeat's.
const VARIABLES: [(&str, &str, bool); 2] =
    [("OCPPCommCtrlr", "HeartbeatInterval", true), ("SampledDataCtrlr", "TxUpdatedInterval", false)];

impl ChargePoint {
    pub(super) fn boot_v201(&self) -> Result<Outgoing, Unfit> {
        let boot = v201::BootNotification {
            reason: v201::BootReason::PowerUp.into(),
            station: v201::ChargingStation {
                vendor: Text::from(self.model.vendor.as_str()).into(),
                model: Text::from(self.model.model.as_str()).into(),
                serial: Some(self.model.serial.as_str().into()),
                firmware: None,
            }
            .into(),
        };
        Outgoing::of(&boot, About::Boot)
    }

    pub(super) fn state_v201(&self, evse: u16, now: Timestamp) -> Result<Outgoing, Unfit> {
        let status = match self.plugs.get(&evse) {
            Some(plug) if plug.car.is_some() => v201::ConnectorStatus::Occupied,
            Some(plug) if !plug.operative => v201::ConnectorStatus::Unavailable,
            Some(plug) if plug.reserved.is_some() => v201::ConnectorStatus::Reserved,
            _ => v201::ConnectorStatus::Available,
        };
        let notification = v201::StatusNotification {
            at: now.into(),
            status: status.into(),
            evse: i64::from(evse).into(),
            connector: 1.into(),
        };
        Outgoing::of(&notification, About::Report)
    }

    pub(super) fn start_v201(&self, evse: u16, now: Timestamp) -> Result<Outgoing, Unfit> {
        let running = self.running(evse)?;
        let trigger = match running.remote_start {
            Some(_) => v201::TriggerReason::RemoteStart,
            None => v201::TriggerReason::Authorized,
        };
        let mut event = self.event_v201(evse, now, v201::EventKind::Started, trigger, running)?;
        event.token = Some(token(&running.token));
        event.reservation = running.reservation;
        event.readings = Some(vec![reading(now, "Transaction.Begin", running.start, None)?]);
        Outgoing::of(&event, About::Start { evse })
    }

    pub(super) fn meter_v201(&mut self, evse: u16, now: Timestamp) -> Result<Outgoing, Unfit> {
        let plug = self.plugs.get_mut(&evse).ok_or_else(|| Unfit::new("no such outlet"))?;
        let values = vec![reading(now, "Sample.Periodic", plug.register(), Some(plug.power_w()))?];
        let Some(running) = &mut plug.running else {
            let values = v201::MeterValues { evse: i64::from(evse).into(), readings: values.into() };
            return Outgoing::of(&values, About::Report);
        };
        running.sequence += 1;
        let running = running.clone();
        let trigger = v201::TriggerReason::MeterValuePeriodic;
        let mut event = self.event_v201(evse, now, v201::EventKind::Updated, trigger, &running)?;
        event.readings = Some(values);
        Outgoing::of(&event, About::Money)
    }

    pub(super) fn stop_v201(&self, evse: u16, stopped: &Stopped) -> Result<Outgoing, Unfit> {
        let (trigger, reason) = match stopped.why {
            Why::Local => (v201::TriggerReason::StopAuthorized, v201::StoppedReason::Local),
            Why::Remote => (v201::TriggerReason::RemoteStop, v201::StoppedReason::Remote),
            Why::Unplugged => (v201::TriggerReason::EvDeparted, v201::StoppedReason::EvDisconnected),
            Why::Full => (v201::TriggerReason::ChargingStateChanged, v201::StoppedReason::StoppedByEv),
            Why::Refused => (v201::TriggerReason::Deauthorized, v201::StoppedReason::DeAuthorized),
            Why::Reset => (v201::TriggerReason::ResetCommand, v201::StoppedReason::ImmediateReset),
        };
        let mut running = stopped.running.clone();
        running.sequence += 1;
        let mut event = self.event_v201(evse, stopped.at, v201::EventKind::Ended, trigger, &running)?;
        if let Some(transaction) = &mut event.transaction.0 {
            transaction.stopped = Some(reason);
            transaction.state = Some(v201::ChargingState::Idle);
        }
        event.readings = Some(vec![
            reading(stopped.at, "Transaction.Begin", running.start, None)?,
            reading(stopped.at, "Transaction.End", stopped.register, None)?,
        ]);
        Outgoing::of(&event, About::Stop { evse })
    }

    fn event_v201(
        &self,
        evse: u16,
        at: Timestamp,
        kind: v201::EventKind,
        trigger: v201::TriggerReason,
        running: &Running,
    ) -> Result<v201::TransactionEvent, Unfit> {
        Ok(v201::TransactionEvent {
            kind: kind.into(),
            at: at.into(),
            trigger: trigger.into(),
            sequence: running.sequence.into(),
            offline: Some(!self.online),
            transaction: v201::Transaction {
                id: self.key_v201(running).into(),
                state: Some(v201::ChargingState::Charging),
                stopped: None,
                remote_start: running.remote_start,
            }
            .into(),
            evse: Some(v201::Evse { id: evse.into(), connector: Some(1) }),
            token: None,
            reservation: None,
            readings: None,
        })
    }

    /// The charger names its transactions itself: its serial's end and a count.
    fn key_v201(&self, running: &Running) -> String {
        let tail: String = self.model.serial.chars().rev().take(24).collect();
        format!("{}-{:08x}", tail.chars().rev().collect::<String>(), running.number)
    }

    fn running(&self, evse: u16) -> Result<&Running, Unfit> {
        let running = self.plugs.get(&evse).and_then(|plug| plug.running.as_ref());
        running.ok_or_else(|| Unfit::new("no transaction runs"))
    }

    fn running_v201(&self, key: &str) -> Option<u16> {
        let runs =
            |plug: &super::Plug| plug.running.as_ref().is_some_and(|running| self.key_v201(running) == key);
        self.plugs.iter().find(|(_, plug)| runs(plug)).map(|(&evse, _)| evse)
    }

    pub(super) fn on_call_v201(
        &mut self,
        action: &str,
        payload: &Json,
        doing: &mut Doing,
    ) -> Result<Json, ErrorCode> {
        use v201::CommandStatus::{Accepted, NotImplemented, Rejected, UnknownConnector, Unlocked};
        let verdict = |accepted: bool| if accepted { Accepted } else { Rejected };
        let status = match action {
            v201::RequestStartTransaction::ACTION => {
                let start: v201::RequestStartTransaction = strictly(payload)?;
                let evse = start.evse.map_or_else(|| self.idle(), number);
                let limit = start.profile.as_ref().and_then(limit);
                let token = start.token.token.into_string();
                let remote_start = Some(start.remote_start);
                verdict(evse.is_some_and(|evse| self.want(evse, token, remote_start, limit, doing)))
            }
            v201::RequestStopTransaction::ACTION => {
                let stop: v201::RequestStopTransaction = strictly(payload)?;
                let evse = self.running_v201(stop.transaction.as_str());
                if let Some(evse) = evse {
                    self.stop(evse, Why::Remote, doing);
                }
                verdict(evse.is_some())
            }
            v201::ReserveNow::ACTION => {
                let reserve: v201::ReserveNow = strictly(payload)?;
                let (id, token) = (reserve.reservation, reserve.token.token.into_string());
                let word = reserve
                    .evse
                    .map_or_else(|| self.idle(), number)
                    .map_or("Rejected", |evse| self.reserve(evse, id, token, reserve.until, doing));
                return Ok(Json::object([("status", word.into())]));
            }
            v201::CancelReservation::ACTION => {
                verdict(self.cancel(strictly::<v201::CancelReservation>(payload)?.reservation, doing))
            }
            v201::ChangeAvailability::ACTION => {
                let change: v201::ChangeAvailability = strictly(payload)?;
                let evse = change.evse.and_then(|evse| number(evse.id));
                let word = self.set_operative(evse, change.to == v201::Availability::Operative, doing);
                return Ok(Json::object([("status", word.into())]));
            }
            v201::UnlockConnector::ACTION => {
                let evse = number(strictly::<v201::UnlockConnector>(payload)?.evse);
                if evse.is_some_and(|evse| self.unlock(evse, doing)) { Unlocked } else { UnknownConnector }
            }
            v201::TriggerMessage::ACTION => {
                let trigger: v201::TriggerMessage = strictly(payload)?;
                let evses: Vec<u16> = match trigger.evse.map(|evse| number(evse.id)) {
                    Some(evse) => evse.into_iter().filter(|evse| self.plugs.contains_key(evse)).collect(),
                    None => self.plugs.keys().copied().collect(),
                };
                match trigger.requested {
                    _ if evses.is_empty() => Rejected,
                    v201::TriggeredMessage::StatusNotification => {
                        evses.into_iter().for_each(|evse| self.tell_state(evse, doing));
                        Accepted
                    }
                    v201::TriggeredMessage::MeterValues | v201::TriggeredMessage::TransactionEvent => {
                        evses.into_iter().for_each(|evse| self.tell_meter(evse, doing));
                        Accepted
                    }
                    v201::TriggeredMessage::Heartbeat => {
                        self.heartbeat_at = Some(doing.now);
                        Accepted
                    }
                    v201::TriggeredMessage::BootNotification => NotImplemented,
                }
            }
            v201::GetVariables::ACTION => {
                let wanted = strictly::<v201::GetVariables>(payload)?.wanted;
                let results = wanted.into_iter().map(|name| self.read_v201(name)).collect();
                return v201::GetVariablesAnswer { results }.write().map_err(|_| ErrorCode::InternalError);
            }
            v201::SetVariables::ACTION => {
                let wanted = strictly::<v201::SetVariables>(payload)?.wanted;
                let results = wanted.into_iter().map(|write| self.write_v201(write, doing.now)).collect();
                return v201::SetVariablesAnswer { results }.write().map_err(|_| ErrorCode::InternalError);
            }
            v201::GetTransactionStatus::ACTION => {
                let asked = strictly::<v201::GetTransactionStatus>(payload)?.transaction;
                let ongoing = asked.map(|key| self.running_v201(key.as_str()).is_some());
                let queued = self.waiting.iter().any(|outgoing| outgoing.about.is_money()).into();
                let answer = v201::TransactionStatusAnswer { ongoing, queued };
                return answer.write().map_err(|_| ErrorCode::InternalError);
            }
            v201::SetChargingProfile::ACTION => {
                let set: v201::SetChargingProfile = strictly(payload)?;
                let of_transaction = set.profile.purpose == v201::ProfilePurpose::Tx;
                let limit = number(set.evse).zip(limit(&set.profile));
                verdict(limit.is_some_and(|(evse, limit)| self.set_limit(evse, of_transaction, limit)))
            }
            v201::Reset::ACTION => {
                strictly::<v201::Reset>(payload)?;
                self.reset(doing);
                Accepted
            }
            _ => return Err(ErrorCode::NotImplemented),
        };
        v201::CommandAnswer { status }.write().map_err(|_| ErrorCode::InternalError)
    }

    fn read_v201(&self, name: v201::VariableName) -> v201::VariableRead {
        let v201::VariableName { component, variable } = name;
        match known(&component, &variable) {
            Ok(heartbeat) => v201::VariableRead {
                status: v201::VariableStatus::Accepted,
                value: Some(self.interval(heartbeat).into()),
                component,
                variable,
            },
            Err(status) => v201::VariableRead { status, value: None, component, variable },
        }
    }

    fn write_v201(&mut self, write: v201::VariableWrite, now: Timestamp) -> v201::VariableWritten {
        let v201::VariableWrite { value, component, variable } = write;
        let status = match known(&component, &variable) {
            Ok(heartbeat) if self.set_interval(heartbeat, value.as_str(), now) => {
                v201::VariableStatus::Accepted
            }
            Ok(_) => v201::VariableStatus::Rejected,
            Err(status) => status,
        };
        v201::VariableWritten { status, component, variable }
    }
}

/// A token as the schema has it.
pub(super) fn token(token: &str) -> v201::IdToken {
    v201::IdToken { token: token.into(), kind: v201::TokenKind::Central.into() }
}

fn known(component: &v201::Component, variable: &v201::Variable) -> Result<bool, v201::VariableStatus> {
    let component = component.name.as_str();
    if !VARIABLES.iter().any(|(name, ..)| name.eq_ignore_ascii_case(component)) {
        return Err(v201::VariableStatus::UnknownComponent);
    }
    let matches = |(of, name, _): &&(&str, &str, bool)| {
        of.eq_ignore_ascii_case(component) && name.eq_ignore_ascii_case(variable.name.as_str())
    };
    VARIABLES
        .iter()
        .find(matches)
        .map(|(.., heartbeat)| *heartbeat)
        .ok_or(v201::VariableStatus::UnknownVariable)
}

fn reading(
    at: Timestamp,
    context: &str,
    register: Energy,
    power_w: Option<i64>,
) -> Result<v201::MeterValue, Unfit> {
    let sample = |measurand: &str, unit: &str, value: i64| v201::Sample {
        value: Decimal::from(value).into(),
        context: Some(context.into()),
        measurand: Some(measurand.into()),
        phase: None,
        location: Some("Outlet".into()),
        unit: Some(v201::Unit { unit: Some(unit.into()), multiplier: None }),
        signed: None,
    };
    let mut samples = vec![sample("Energy.Active.Import.Register", "Wh", wh(register)?)];
    samples.extend(power_w.map(|power_w| sample("Power.Active.Import", "W", power_w)));
    Ok(v201::MeterValue { at: at.into(), samples })
}

/// The first period's limit in watts.
fn limit(profile: &v201::ChargingProfile) -> Option<Power> {
    let schedule = profile.schedules.first()?;
    limit_w(schedule.unit, schedule.periods.first()?)
}
