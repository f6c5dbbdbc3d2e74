//! OCPP 1.6 requests of the charger.

use super::inbound::{Refusal, Standing, Start, answer, read, register, summary, unknown};
use super::reading::{Reading, readings_v16};
use super::{Charger, Event, EvseState, Oddity, TransactionKey, Turn};
use crate::json::Json;
use crate::v16;
use crate::wire::{Request, Text};
use ohmesh_units::Energy;

impl Charger {
    pub(super) fn on_call_v16(
        &mut self,
        action: &str,
        payload: &Json,
        turn: &mut Turn,
    ) -> Result<Json, Refusal> {
        match action {
            v16::BootNotification::ACTION => {
                let boot: v16::BootNotification = read(payload, turn)?;
                turn.event(Event::Booted {
                    vendor: boot.vendor.0.unwrap_or_default().into_string(),
                    model: boot.model.0.unwrap_or_default().into_string(),
                    serial: boot.serial.or(boot.box_serial).map(Text::into_string),
                    firmware: boot.firmware.map(Text::into_string),
                });
                answer(&v16::BootAnswer {
                    status: v16::BootStatus::Accepted,
                    current_time: turn.now.into(),
                    interval_s: self.settings.heartbeat_s.into(),
                })
            }
            v16::Heartbeat::ACTION => {
                read::<v16::Heartbeat>(payload, turn)?;
                answer(&v16::HeartbeatAnswer { current_time: turn.now.into() })
            }
            v16::StatusNotification::ACTION => {
                let status = read(payload, turn)?;
                self.on_status_v16(status, turn);
                answer(&v16::Empty {})
            }
            v16::Authorize::ACTION => {
                let asked: v16::Authorize = read(payload, turn)?;
                let status = token_status(self.standing(asked.token.as_str(), None, None, turn.now));
                let accepted = status == v16::TokenStatus::Accepted;
                turn.event(Event::Authorize { token: asked.token.into_string(), accepted });
                answer(&v16::AuthorizeAnswer { info: v16::TokenInfo { status } })
            }
            v16::StartTransaction::ACTION => {
                let start = read(payload, turn)?;
                answer(&self.on_start_v16(start, turn))
            }
            v16::StopTransaction::ACTION => {
                let stop = read(payload, turn)?;
                self.on_stop_v16(stop, turn);
                answer(&v16::StopAnswer { info: None })
            }
            v16::MeterValues::ACTION => {
                let values = read(payload, turn)?;
                self.on_meter_values_v16(values, turn);
                answer(&v16::Empty {})
            }
            v16::DataTransfer::ACTION => {
                let data: v16::DataTransfer = read(payload, turn)?;
                turn.event(Event::VendorData {
                    vendor: data.vendor.0.unwrap_or_default().into_string(),
                    message: data.message.map(Text::into_string),
                });
                answer(&v16::DataAnswer { status: v16::DataStatus::UnknownVendorId })
            }
            v16::SecurityEventNotification::ACTION => {
                let event: v16::SecurityEventNotification = read(payload, turn)?;
                turn.event(Event::Security {
                    kind: event.kind.0.unwrap_or_default().into_string(),
                    info: event.info.map(Text::into_string),
                });
                answer(&v16::Empty {})
            }
            // Progress reports that nothing here started; noted by whoever keeps the frames.
            "FirmwareStatusNotification"
            | "DiagnosticsStatusNotification"
            | "LogStatusNotification"
            | "SignedFirmwareStatusNotification" => answer(&v16::Empty {}),
            _ => Err(unknown(action, turn)),
        }
    }

    fn on_status_v16(&mut self, status: v16::StatusNotification, turn: &mut Turn) {
        if status.connector.0 == Some(0) {
            // The charger as a whole; its outlets tell their own states.
            return;
        }
        let Some(evse) = self.outlet(status.connector.0, turn) else { return };
        let Some(word) = status.status.0 else { return };
        let state = match word {
            v16::Status::Available => EvseState::Available,
            v16::Status::Reserved => EvseState::Reserved,
            v16::Status::Unavailable => EvseState::Unavailable,
            v16::Status::Faulted => EvseState::Faulted,
            v16::Status::Preparing
            | v16::Status::Charging
            | v16::Status::SuspendedEv
            | v16::Status::SuspendedEvse
            | v16::Status::Finishing => EvseState::Occupied,
        };
        let error = status.error_code.0.map(Text::into_string).filter(|code| code != "NoError");
        self.set_state(evse, 1, state, error, turn);
    }

    /// Always answers a transaction number: a charger that gets none keeps asking, or charges without one.
    fn on_start_v16(&mut self, start: v16::StartTransaction, turn: &mut Turn) -> v16::StartAnswer {
        let register = register("meterStart", start.meter_start_wh.0, turn);
        let claimed = start.at.0;
        let token = start.token.0.map(Text::into_string);
        let Some(evse) = self.outlet(start.connector.0, turn) else {
            let status = v16::TokenStatus::Invalid;
            return v16::StartAnswer { info: v16::TokenInfo { status }, transaction: self.ids.transaction() };
        };
        if let Some((key, authorized)) = self.same_start(evse, register, claimed) {
            let status = if authorized { v16::TokenStatus::Accepted } else { v16::TokenStatus::Invalid };
            let transaction = key.0.parse().unwrap_or_else(|_| self.ids.transaction());
            turn.odd.push(Oddity::Replayed(key));
            return v16::StartAnswer { info: v16::TokenInfo { status }, transaction };
        }
        let transaction = self.fresh_number();
        let standing = token
            .as_deref()
            .map_or(Standing::Invalid, |token| self.standing(token, Some(evse), claimed, turn.now));
        let reservation = start.reservation;
        let key = TransactionKey(transaction.to_string());
        // A start without a token has no payer either.
        let token = Some(token.unwrap_or_default());
        self.begin(Start { key, evse, token, register, reservation, claimed, sequence: None }, turn);
        v16::StartAnswer { info: v16::TokenInfo { status: token_status(standing) }, transaction }
    }

    /// A transaction, open or over, that began at the same outlet, time and register: the same start again. Without a time
    /// only an open one counts: a car that took nothing leaves the same register to the next.
    fn same_start(
        &self,
        evse: u16,
        register: Option<Energy>,
        claimed: Option<ohmesh_units::Timestamp>,
    ) -> Option<(TransactionKey, bool)> {
        let over = self.ended.iter().map(|ended| &ended.transaction).filter(|_| claimed.is_some());
        self.transactions
            .values()
            .chain(over)
            .find(|known| {
                known.evse == evse && known.reported_start == register && known.claimed_start == claimed
            })
            .map(|known| (known.key.clone(), known.authorized))
    }

    /// A number that no transaction known here has.
    fn fresh_number(&mut self) -> i64 {
        loop {
            let number = self.ids.transaction();
            let key = TransactionKey(number.to_string());
            let taken = self.ended.iter().any(|ended| ended.transaction.key == key);
            if !taken && !self.transactions.contains_key(&key) {
                return number;
            }
        }
    }

    fn on_stop_v16(&mut self, stop: v16::StopTransaction, turn: &mut Turn) {
        let in_record = summary(readings_v16(stop.readings.unwrap_or_default(), &mut turn.odd));
        let last = Reading {
            at: stop.at.0.or(in_record.at),
            register: register("meterStop", stop.meter_stop_wh.0, turn).or(in_record.register),
            ..in_record
        };
        let Some(number) = stop.transaction.0 else {
            return turn.odd.push(Oddity::ForeignTransaction(None));
        };
        let key = TransactionKey(number.to_string());
        if self.transactions.contains_key(&key) {
            self.finish(&key, stop.reason.unwrap_or(v16::StopReason::Local).as_str(), last, turn);
        } else if !self.stop_again(&key, &last, turn) {
            turn.odd.push(Oddity::ForeignTransaction(Some(key.0)));
        }
    }

    fn on_meter_values_v16(&mut self, values: v16::MeterValues, turn: &mut Turn) {
        let readings = readings_v16(values.readings.0.unwrap_or_default(), &mut turn.odd);
        let named = values.connector.0;
        let here = if named == Some(0) && self.outlets.len() > 1 { None } else { self.outlet(named, turn) };
        let open_here =
            self.transactions.values().find(|open| Some(open.evse) == here).map(|open| open.key.clone());
        let key = match values.transaction {
            Some(number) => {
                let key = TransactionKey(number.to_string());
                let over = self.ended.iter().any(|ended| ended.transaction.key == key);
                match self.transactions.get(&key).map(|open| open.evse) {
                    // A message that names no outlet of ours is believed by its transaction.
                    Some(at) if here.is_none_or(|here| here == at) => Some(key),
                    Some(at) => {
                        let named = named.unwrap_or_default();
                        return turn.odd.push(Oddity::WrongEvse { transaction: key, at, named });
                    }
                    None if over => return turn.odd.push(Oddity::Replayed(key)),
                    None => return turn.odd.push(Oddity::ForeignTransaction(Some(key.0))),
                }
            }
            None => open_here,
        };
        for reading in readings.into_iter().filter(|reading| !reading.is_empty()) {
            match (&key, here) {
                (Some(key), _) => self.measure(key, reading, turn),
                (None, Some(evse)) => self.note_register(evse, &reading),
                (None, None) => (),
            }
        }
    }
}

fn token_status(standing: Standing) -> v16::TokenStatus {
    match standing {
        Standing::Accepted { .. } => v16::TokenStatus::Accepted,
        Standing::Invalid => v16::TokenStatus::Invalid,
        Standing::Concurrent => v16::TokenStatus::ConcurrentTx,
    }
}
