//! OCPP 2.0.1 requests of the charger.

use super::inbound::{Refusal, Standing, Start, answer, read, summary, unknown};
use super::reading::{Reading, readings_v201};
use super::{Charger, Command, Event, EvseState, Oddity, TransactionKey, Turn};
use crate::json::Json;
use crate::v201;
use crate::wire::{Request, Text};

impl Charger {
    pub(super) fn on_call_v201(
        &mut self,
        action: &str,
        payload: &Json,
        turn: &mut Turn,
    ) -> Result<Json, Refusal> {
        match action {
            v201::BootNotification::ACTION => {
                let boot: v201::BootNotification = read(payload, turn)?;
                let (vendor, model, serial, firmware) = match boot.station.0 {
                    Some(station) => (station.vendor.0, station.model.0, station.serial, station.firmware),
                    None => (None, None, None, None),
                };
                turn.event(Event::Booted {
                    vendor: vendor.unwrap_or_default().into_string(),
                    model: model.unwrap_or_default().into_string(),
                    serial: serial.map(Text::into_string),
                    firmware: firmware.map(Text::into_string),
                });
                answer(&v201::BootAnswer {
                    status: v201::BootStatus::Accepted,
                    current_time: turn.now.into(),
                    interval_s: self.settings.heartbeat_s.into(),
                })
            }
            v201::Heartbeat::ACTION => {
                read::<v201::Heartbeat>(payload, turn)?;
                answer(&v201::HeartbeatAnswer { current_time: turn.now.into() })
            }
            v201::StatusNotification::ACTION => {
                let status = read(payload, turn)?;
                self.on_status_v201(&status, turn);
                answer(&v201::Empty {})
            }
            v201::Authorize::ACTION => {
                let asked: v201::Authorize = read(payload, turn)?;
                let status = token_status(self.standing(asked.token.token.as_str(), None, None, turn.now));
                let accepted = status == v201::TokenStatus::Accepted;
                turn.event(Event::Authorize { token: asked.token.token.into_string(), accepted });
                answer(&v201::AuthorizeAnswer { info: v201::TokenInfo { status } })
            }
            v201::TransactionEvent::ACTION => {
                let event = read(payload, turn)?;
                let info = self.on_transaction_v201(event, turn).map(|status| v201::TokenInfo { status });
                answer(&v201::TransactionAnswer { info })
            }
            v201::MeterValues::ACTION => {
                let values: v201::MeterValues = read(payload, turn)?;
                let readings = readings_v201(values.readings.0.unwrap_or_default(), &mut turn.odd);
                let main_meter = values.evse.0 == Some(0);
                if let Some(evse) = (!main_meter).then(|| self.outlet(values.evse.0, turn)).flatten() {
                    let open = self.transactions.values().any(|open| open.evse == evse);
                    for reading in readings.iter().filter(|_| !open) {
                        self.note_register(evse, reading);
                    }
                }
                answer(&v201::Empty {})
            }
            v201::NotifyReport::ACTION => {
                read::<v201::NotifyReport>(payload, turn)?;
                answer(&v201::Empty {})
            }
            v201::NotifyEvent::ACTION => {
                read::<v201::NotifyEvent>(payload, turn)?;
                answer(&v201::Empty {})
            }
            v201::DataTransfer::ACTION => {
                let data: v201::DataTransfer = read(payload, turn)?;
                turn.event(Event::VendorData {
                    vendor: data.vendor.0.unwrap_or_default().into_string(),
                    message: data.message.map(Text::into_string),
                });
                answer(&v201::DataAnswer { status: v201::DataStatus::UnknownVendorId })
            }
            v201::SecurityEventNotification::ACTION => {
                let event: v201::SecurityEventNotification = read(payload, turn)?;
                turn.event(Event::Security {
                    kind: event.kind.0.unwrap_or_default().into_string(),
                    info: event.info.map(Text::into_string),
                });
                answer(&v201::Empty {})
            }
            // Reports that nothing here depends on; noted by whoever keeps the frames.
            "FirmwareStatusNotification" | "LogStatusNotification" | "ReservationStatusUpdate" => {
                answer(&v201::Empty {})
            }
            _ => Err(unknown(action, turn)),
        }
    }

    fn on_status_v201(&mut self, status: &v201::StatusNotification, turn: &mut Turn) {
        let Some(evse) = self.outlet(status.evse.0, turn) else { return };
        let Some(word) = status.status.0 else { return };
        let state = match word {
            v201::ConnectorStatus::Available => EvseState::Available,
            v201::ConnectorStatus::Occupied => EvseState::Occupied,
            v201::ConnectorStatus::Reserved => EvseState::Reserved,
            v201::ConnectorStatus::Unavailable => EvseState::Unavailable,
            v201::ConnectorStatus::Faulted => EvseState::Faulted,
        };
        self.set_state(evse, status.connector.0.unwrap_or(1), state, None, turn);
    }

    /// Returns the verdict on the message's token, if it has one.
    fn on_transaction_v201(
        &mut self,
        event: v201::TransactionEvent,
        turn: &mut Turn,
    ) -> Option<v201::TokenStatus> {
        let readings = readings_v201(event.readings.unwrap_or_default(), &mut turn.odd);
        let token = event.token.map(|token| token.token.into_string());
        let Some(info) = event.transaction.0 else {
            turn.odd.push(Oddity::ForeignTransaction(None));
            return token.map(|_| v201::TokenStatus::Invalid);
        };
        let key = TransactionKey(info.id.into_string());
        let named = event.evse.as_ref().map(|evse| evse.id);
        let claimed = event.at.0;
        let kind = event.kind.0.unwrap_or(v201::EventKind::Updated);
        if let Some(ended) = self.ended.iter().find(|ended| ended.transaction.key == key) {
            let authorized = ended.transaction.authorized;
            if kind == v201::EventKind::Ended {
                let last = Reading { at: claimed, ..summary(readings) };
                self.stop_again(&key, &last, turn);
            } else {
                turn.odd.push(Oddity::Replayed(key));
            }
            return token.map(|_| verdict(authorized));
        }
        if let Some(open) = self.transactions.get_mut(&key) {
            if let Some(named) = named.filter(|named| *named != i64::from(open.evse)) {
                turn.odd.push(Oddity::WrongEvse { transaction: key, at: open.evse, named });
                return token.map(|_| v201::TokenStatus::Invalid);
            }
            if !in_sequence(open.sequence, event.sequence.0, &key, turn) {
                return token.map(|_| verdict(open.authorized));
            }
            open.sequence = event.sequence.0.or(open.sequence);
            let status = token.map(|token| self.on_token_v201(&key, token, claimed, turn));
            self.go_on_v201(&key, kind, &info.stopped, claimed, readings, turn);
            return status;
        }
        let Some(evse) = self.outlet(named, turn) else {
            turn.odd.push(Oddity::ForeignTransaction(Some(key.0)));
            return token.map(|_| v201::TokenStatus::Invalid);
        };
        if kind != v201::EventKind::Started {
            turn.odd.push(Oddity::NoStart(key.clone()));
        }
        let mut readings = readings.into_iter();
        // The first reading of the first message is the start; what follows in it is measured.
        let first = readings.next().unwrap_or_default();
        let register = first.register.filter(|_| kind == v201::EventKind::Started);
        let plugged = event.trigger.0 == Some(v201::TriggerReason::CablePluggedIn);
        if plugged {
            self.set_state(
                evse,
                event.evse.and_then(|evse| evse.connector).unwrap_or(1),
                EvseState::Occupied,
                None,
                turn,
            );
        }
        let status =
            token.as_deref().map(|token| token_status(self.standing(token, Some(evse), claimed, turn.now)));
        let reservation = event.reservation;
        let sequence = event.sequence.0;
        self.begin(Start { key: key.clone(), evse, token, register, reservation, claimed, sequence }, turn);
        let rest = if kind == v201::EventKind::Started && first.signed.is_empty() {
            readings.collect()
        } else {
            std::iter::once(first).chain(readings).collect()
        };
        self.go_on_v201(&key, kind, &info.stopped, claimed, rest, turn);
        status
    }

    /// A token in a transaction: its first may authorize it; any may stop it.
    fn on_token_v201(
        &mut self,
        key: &TransactionKey,
        token: String,
        claimed: Option<ohmesh_units::Timestamp>,
        turn: &mut Turn,
    ) -> v201::TokenStatus {
        let Some(open) = self.transactions.get(key) else { return v201::TokenStatus::Invalid };
        if open.token.as_ref().is_some_and(|known| known.eq_ignore_ascii_case(&token)) {
            return verdict(open.authorized);
        }
        let evse = open.evse;
        let standing = self.standing(&token, Some(evse), claimed, turn.now);
        let accepted = matches!(standing, Standing::Accepted { .. });
        let Some(open) = self.transactions.get_mut(key) else { return v201::TokenStatus::Invalid };
        if open.token.is_none() {
            open.token = Some(token.chars().take(255).collect());
            open.authorized = accepted;
            if !accepted {
                turn.odd.push(Oddity::NotGranted(key.clone()));
            }
        }
        let stop = !open.authorized;
        turn.event(Event::Authorize { token, accepted });
        if stop {
            self.enqueue_own(&Command::Stop { transaction: key.clone() }, turn);
        }
        token_status(standing)
    }

    fn go_on_v201(
        &mut self,
        key: &TransactionKey,
        kind: v201::EventKind,
        stopped: &Option<v201::StoppedReason>,
        claimed: Option<ohmesh_units::Timestamp>,
        readings: Vec<Reading>,
        turn: &mut Turn,
    ) {
        if kind == v201::EventKind::Ended {
            // The last message repeats the readings of the whole transaction, its first among them.
            let last = summary(readings);
            let reason = stopped.unwrap_or(v201::StoppedReason::Local).as_str();
            return self.finish(key, reason, Reading { at: claimed.or(last.at), ..last }, turn);
        }
        for reading in readings.into_iter().filter(|reading| !reading.is_empty()) {
            self.measure(key, reading, turn);
        }
    }
}

/// Whether a message is new; notes replays and gaps.
fn in_sequence(last: Option<i64>, found: Option<i64>, key: &TransactionKey, turn: &mut Turn) -> bool {
    let Some((last, found)) = last.zip(found) else { return true };
    if found <= last {
        turn.odd.push(Oddity::Replayed(key.clone()));
        return false;
    }
    let expected = last.saturating_add(1);
    if found != expected {
        turn.odd.push(Oddity::SequenceGap { transaction: key.clone(), expected, found });
    }
    true
}

fn verdict(authorized: bool) -> v201::TokenStatus {
    if authorized { v201::TokenStatus::Accepted } else { v201::TokenStatus::Invalid }
}

fn token_status(standing: Standing) -> v201::TokenStatus {
    match standing {
        Standing::Accepted { .. } => v201::TokenStatus::Accepted,
        Standing::Invalid => v201::TokenStatus::Invalid,
        Standing::Concurrent => v201::TokenStatus::ConcurrentTx,
    }
}
