//! A simulated charger's side in OCPP 1.6.

use super::plug::{Stopped, Why};
use super::{About, ChargePoint, Doing, Outgoing, strictly};
use crate::frame::ErrorCode;
use crate::json::Json;
use crate::v16;
use crate::wire::{Request, Text, Unfit, Wire};
use ohmesh_units::{Energy, Power, Timestamp};

/// Settings it knows: by key, and whether it is the heartbeat's.
const SETTINGS: [(&str, bool); 2] = [("HeartbeatInterval", true), ("MeterValueSampleInterval", false)];

/// Volts and phases by which limits in amperes are read.
const VOLTS: i64 = 230;

impl ChargePoint {
    pub(super) fn boot_v16(&self) -> Result<Outgoing, Unfit> {
        let boot = v16::BootNotification {
            vendor: Text::from(self.model.vendor.as_str()).into(),
            model: Text::from(self.model.model.as_str()).into(),
            serial: Some(self.model.serial.as_str().into()),
            box_serial: None,
            firmware: None,
            meter_serial: None,
            meter_type: None,
        };
        Outgoing::of(&boot, About::Boot)
    }

    pub(super) fn state_v16(&self, evse: u16, now: Timestamp) -> Result<Outgoing, Unfit> {
        let status = match self.plugs.get(&evse) {
            Some(plug) if plug.running.is_some() && plug.power_w() > 0 => v16::Status::Charging,
            Some(plug) if plug.running.is_some() => v16::Status::SuspendedEvse,
            Some(plug) if plug.car.is_some() && plug.ended => v16::Status::Finishing,
            Some(plug) if plug.car.is_some() => v16::Status::Preparing,
            Some(plug) if !plug.operative => v16::Status::Unavailable,
            Some(plug) if plug.reserved.is_some() => v16::Status::Reserved,
            _ => v16::Status::Available,
        };
        let notification = v16::StatusNotification {
            connector: i64::from(evse).into(),
            error_code: Text::from("NoError").into(),
            status: status.into(),
            info: None,
            at: Some(now),
            vendor_error: None,
        };
        Outgoing::of(&notification, About::Report)
    }

    pub(super) fn start_v16(&self, evse: u16, now: Timestamp) -> Result<Outgoing, Unfit> {
        let running = self.plugs.get(&evse).and_then(|plug| plug.running.as_ref());
        let running = running.ok_or_else(|| Unfit::new("no transaction runs"))?;
        let start = v16::StartTransaction {
            connector: i64::from(evse).into(),
            token: Text::from(running.token.as_str()).into(),
            meter_start_wh: wh(running.start)?.into(),
            reservation: running.reservation,
            at: now.into(),
        };
        Outgoing::of(&start, About::Start { evse })
    }

    pub(super) fn meter_v16(&self, evse: u16, now: Timestamp) -> Result<Outgoing, Unfit> {
        let plug = self.plugs.get(&evse).ok_or_else(|| Unfit::new("no such outlet"))?;
        let sample = |measurand: &str, unit: &str, value: String| v16::Sample {
            value: value.into(),
            context: Some("Sample.Periodic".into()),
            format: None,
            measurand: Some(measurand.into()),
            phase: None,
            location: Some("Outlet".into()),
            unit: Some(unit.into()),
        };
        let values = v16::MeterValues {
            connector: i64::from(evse).into(),
            transaction: plug.running.as_ref().and_then(|running| running.key),
            readings: vec![v16::MeterValue {
                at: now.into(),
                samples: vec![
                    sample("Energy.Active.Import.Register", "Wh", wh(plug.register())?.to_string()),
                    sample("Power.Active.Import", "W", plug.power_w().to_string()),
                ],
            }]
            .into(),
        };
        // Without its transaction a kept reading would be told to whichever runs by then.
        let about = if plug.running.as_ref().is_some_and(|running| running.key.is_some()) {
            About::Money
        } else {
            About::Report
        };
        Outgoing::of(&values, about)
    }

    pub(super) fn stop_v16(&self, evse: u16, stopped: &Stopped) -> Result<Outgoing, Unfit> {
        let stop = v16::StopTransaction {
            transaction: crate::wire::Due(stopped.running.key),
            token: (stopped.why == Why::Local).then(|| stopped.running.token.as_str().into()),
            meter_stop_wh: wh(stopped.register)?.into(),
            at: stopped.at.into(),
            reason: Some(match stopped.why {
                Why::Local | Why::Full => v16::StopReason::Local,
                Why::Remote => v16::StopReason::Remote,
                Why::Unplugged => v16::StopReason::EvDisconnected,
                Why::Refused => v16::StopReason::DeAuthorized,
                Why::Reset => v16::StopReason::SoftReset,
            }),
            readings: None,
        };
        Outgoing::of(&stop, About::Stop { evse })
    }

    pub(super) fn on_call_v16(
        &mut self,
        action: &str,
        payload: &Json,
        doing: &mut Doing,
    ) -> Result<Json, ErrorCode> {
        use v16::CommandStatus::{Accepted, NotImplemented, NotSupported, Rejected, Unlocked};
        let verdict = |accepted: bool| if accepted { Accepted } else { Rejected };
        let status = match action {
            v16::RemoteStartTransaction::ACTION => {
                let start: v16::RemoteStartTransaction = strictly(payload)?;
                let evse = start.connector.map_or_else(|| self.idle(), number);
                let limit = start.profile.as_ref().and_then(limit);
                let token = start.token.into_string();
                verdict(evse.is_some_and(|evse| self.want(evse, token, None, limit, doing)))
            }
            v16::RemoteStopTransaction::ACTION => {
                let stop: v16::RemoteStopTransaction = strictly(payload)?;
                let evse = self.running_v16(stop.transaction);
                if let Some(evse) = evse {
                    self.stop(evse, Why::Remote, doing);
                }
                verdict(evse.is_some())
            }
            v16::ReserveNow::ACTION => {
                let reserve: v16::ReserveNow = strictly(payload)?;
                let (id, token) = (reserve.reservation, reserve.token.into_string());
                let word = number(reserve.connector)
                    .map_or("Rejected", |evse| self.reserve(evse, id, token, reserve.until, doing));
                return Ok(Json::object([("status", word.into())]));
            }
            v16::CancelReservation::ACTION => {
                verdict(self.cancel(strictly::<v16::CancelReservation>(payload)?.reservation, doing))
            }
            v16::ChangeAvailability::ACTION => {
                let change: v16::ChangeAvailability = strictly(payload)?;
                let evse = number(change.connector).filter(|evse| *evse != 0);
                let word = self.set_operative(evse, change.to == v16::Availability::Operative, doing);
                return Ok(Json::object([("status", word.into())]));
            }
            v16::UnlockConnector::ACTION => {
                let evse = number(strictly::<v16::UnlockConnector>(payload)?.connector);
                if evse.is_some_and(|evse| self.unlock(evse, doing)) { Unlocked } else { NotSupported }
            }
            v16::TriggerMessage::ACTION => {
                let trigger: v16::TriggerMessage = strictly(payload)?;
                let evses: Vec<u16> = match trigger.connector.map(number) {
                    Some(evse) => evse.into_iter().filter(|evse| self.plugs.contains_key(evse)).collect(),
                    None => self.plugs.keys().copied().collect(),
                };
                match trigger.requested {
                    _ if evses.is_empty() => Rejected,
                    v16::TriggeredMessage::StatusNotification => {
                        evses.into_iter().for_each(|evse| self.tell_state(evse, doing));
                        Accepted
                    }
                    v16::TriggeredMessage::MeterValues => {
                        evses.into_iter().for_each(|evse| self.tell_meter(evse, doing));
                        Accepted
                    }
                    v16::TriggeredMessage::Heartbeat => {
                        self.heartbeat_at = Some(doing.now);
                        Accepted
                    }
                    v16::TriggeredMessage::BootNotification => NotImplemented,
                }
            }
            v16::GetConfiguration::ACTION => {
                let asked = strictly::<v16::GetConfiguration>(payload)?.keys;
                return self.settings_v16(asked).write().map_err(|_| ErrorCode::InternalError);
            }
            v16::ChangeConfiguration::ACTION => {
                let change: v16::ChangeConfiguration = strictly(payload)?;
                match SETTINGS.iter().find(|(key, _)| key.eq_ignore_ascii_case(change.key.as_str())) {
                    Some(&(_, heartbeat)) => {
                        verdict(self.set_interval(heartbeat, change.value.as_str(), doing.now))
                    }
                    None => NotSupported,
                }
            }
            v16::SetChargingProfile::ACTION => {
                let set: v16::SetChargingProfile = strictly(payload)?;
                let of_transaction = set.profile.purpose == v16::ProfilePurpose::Tx;
                let limit = number(set.connector).zip(limit(&set.profile));
                verdict(limit.is_some_and(|(evse, limit)| self.set_limit(evse, of_transaction, limit)))
            }
            v16::Reset::ACTION => {
                strictly::<v16::Reset>(payload)?;
                self.reset(doing);
                Accepted
            }
            _ => return Err(ErrorCode::NotImplemented),
        };
        v16::CommandAnswer { status }.write().map_err(|_| ErrorCode::InternalError)
    }

    fn running_v16(&self, transaction: i64) -> Option<u16> {
        let runs = |plug: &super::Plug| {
            plug.running.as_ref().is_some_and(|running| running.key == Some(transaction))
        };
        self.plugs.iter().find(|(_, plug)| runs(plug)).map(|(&evse, _)| evse)
    }

    fn settings_v16(&self, asked: Option<Vec<Text<50>>>) -> v16::ConfigurationAnswer {
        let is_asked = |key: &str| {
            asked
                .as_ref()
                .is_none_or(|asked| asked.iter().any(|name| name.as_str().eq_ignore_ascii_case(key)))
        };
        let known: Vec<_> = SETTINGS
            .iter()
            .filter(|(key, _)| is_asked(key))
            .map(|&(key, heartbeat)| v16::Setting {
                key: key.into(),
                read_only: false.into(),
                value: Some(self.interval(heartbeat).into()),
            })
            .collect();
        let is_known =
            |name: &Text<50>| SETTINGS.iter().any(|(key, _)| key.eq_ignore_ascii_case(name.as_str()));
        let unknown: Vec<_> = asked.iter().flatten().filter(|name| !is_known(name)).cloned().collect();
        v16::ConfigurationAnswer {
            known: Some(known).filter(|known| !known.is_empty()),
            unknown: Some(unknown).filter(|unknown| !unknown.is_empty()),
        }
    }
}

/// A register as the wire's integer.
pub(super) fn wh(energy: Energy) -> Result<i64, Unfit> {
    i64::try_from(energy.as_wh()).map_err(|_| Unfit::new("a register beyond all measure"))
}

/// An outlet's number from the wire.
pub(super) fn number(evse: i64) -> Option<u16> {
    u16::try_from(evse).ok()
}

/// The first period's limit in watts.
fn limit(profile: &v16::ChargingProfile) -> Option<Power> {
    limit_w(profile.schedule.unit, profile.schedule.periods.first()?)
}

/// A period's limit in watts.
pub(super) fn limit_w(unit: v16::RateUnit, period: &v16::SchedulePeriod) -> Option<Power> {
    let watts = match unit {
        v16::RateUnit::Watts => period.limit.scaled(0)?,
        v16::RateUnit::Amperes => {
            period.limit.scaled(1)?.checked_mul(VOLTS)?.checked_mul(period.phases.unwrap_or(3))? / 10
        }
    };
    u32::try_from(watts).ok().map(Power::from_w)
}
