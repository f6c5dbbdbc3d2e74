//! What a charger's requests mean, whatever their version.

use super::reading::Reading;
use super::transaction::heard_live;
use super::{
    CLOCK_TOLERANCE_MS, Charger, Command, Ended, Event, EvseState, GRANT_KEPT, MAX_CONNECTORS, MAX_ENDED,
    MAX_OFFLINE, Oddity, SignedRecord, StopCause, Transaction, TransactionKey, Turn,
};
use crate::frame::{ErrorCode, Frame};
use crate::json::Json;
use crate::upgrade::Version;
use crate::wire::{FlawKind, Reader, Request, Wire};
use ohmesh_units::{Energy, Timestamp};

/// The most characters of a token that a transaction keeps.
const TOKEN_CHARS: usize = 255;

/// A request that is answered with CALLERROR.
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) description: String,
}

/// How a token stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    Accepted {
        from: Timestamp,
    },
    Invalid,
    /// Granted, and already charging elsewhere.
    Concurrent,
}

/// A transaction's start as a charger tells it.
pub(super) struct Start {
    pub(super) key: TransactionKey,
    pub(super) evse: u16,
    pub(super) token: Option<String>,
    pub(super) register: Option<Energy>,
    pub(super) reservation: Option<i64>,
    pub(super) claimed: Option<Timestamp>,
    pub(super) sequence: Option<i64>,
}

impl Charger {
    /// Answers a request.
    pub(super) fn on_call(
        &mut self,
        version: Version,
        id: String,
        action: &str,
        payload: &Json,
        turn: &mut Turn,
    ) -> Frame {
        let answer = match version {
            Version::V16 => self.on_call_v16(action, payload, turn),
            Version::V201 => self.on_call_v201(action, payload, turn),
        };
        match answer {
            Ok(payload) => Frame::Result { id, payload },
            Err(Refusal { code, description }) => Frame::Error {
                id,
                code: code.as_str(version).into(),
                description: description.chars().take(255).collect(),
                details: Json::Object(vec![]),
            },
        }
    }

    /// The outlet that a message names. With only one outlet a message that names none, or 0, means that one.
    pub(super) fn outlet(&self, named: Option<i64>, turn: &mut Turn) -> Option<u16> {
        let known =
            named.and_then(|named| u16::try_from(named).ok()).filter(|evse| self.outlets.contains_key(evse));
        if known.is_some() {
            return known;
        }
        turn.odd.push(Oddity::UnknownEvse(named));
        let only = self.outlets.keys().next().copied().filter(|_| self.outlets.len() == 1);
        only.filter(|_| named.is_none_or(|named| named == 0))
    }

    /// An EVSE's plug has a state.
    pub(super) fn set_state(
        &mut self,
        evse: u16,
        connector: i64,
        state: EvseState,
        error: Option<String>,
        turn: &mut Turn,
    ) {
        let Some(outlet) = self.outlets.get_mut(&evse) else { return };
        outlet.told = true;
        if outlet.connectors.len() < MAX_CONNECTORS || outlet.connectors.contains_key(&connector) {
            outlet.connectors.insert(connector, state);
        }
        // The outlet can serve one car, so its most engaged plug says how it is.
        let state = outlet.connectors.values().copied().max().unwrap_or(state);
        let before = std::mem::replace(&mut outlet.state, state);
        if before != state || error.is_some() {
            turn.event(Event::State { evse, state, error });
        }
        let was_free = matches!(before, EvseState::Available | EvseState::Reserved);
        if was_free && state == EvseState::Occupied {
            turn.event(Event::PluggedIn { evse, at: turn.now });
        }
        for open in self.transactions.values_mut().filter(|open| open.evse == evse) {
            match state {
                // Not odd yet: many chargers tell that the cable is gone before they tell the stop.
                EvseState::Available | EvseState::Reserved if open.free_since.is_none() => {
                    open.free_since = Some(turn.now);
                }
                EvseState::Occupied => open.free_since = None,
                _ => (),
            }
        }
    }

    /// How a token stands at an outlet, or anywhere, for a start at `claimed`.
    pub(super) fn standing(
        &self,
        token: &str,
        evse: Option<u16>,
        claimed: Option<Timestamp>,
        now: Timestamp,
    ) -> Standing {
        let Some(grant) = self.grants.get(&token.to_ascii_lowercase()) else { return Standing::Invalid };
        let elsewhere = evse.zip(grant.evse).is_some_and(|(here, granted)| here != granted);
        let at = claimed.unwrap_or(now).min(now).max(grant.from);
        if elsewhere || at > grant.until {
            return Standing::Invalid;
        }
        let charging = |open: &Transaction| {
            open.authorized
                && evse.is_some_and(|evse| evse != open.evse)
                && open.token.as_ref().is_some_and(|other| other.eq_ignore_ascii_case(token))
        };
        if self.transactions.values().any(charging) {
            return Standing::Concurrent;
        }
        Standing::Accepted { from: grant.from }
    }

    /// A transaction began. Ends one that was still open there.
    pub(super) fn begin(&mut self, start: Start, turn: &mut Turn) {
        let Start { key, evse, token, register, reservation, claimed, sequence } = start;
        let now = turn.now;
        self.forget_grants(now);
        clock_check(claimed, turn);
        let ghosts = self.transactions.values().find(|open| open.evse == evse).map(|open| open.key.clone());
        if let Some(ghost) = ghosts {
            turn.odd.push(Oddity::Superseded(ghost.clone()));
            self.close_transaction(&ghost, now, StopCause::Superseded, None, Vec::new(), turn);
        }
        let standing = token.as_deref().map(|token| self.standing(token, Some(evse), claimed, now));
        let oldest = Timestamp::from_millis(now.as_millis().saturating_sub(millis(MAX_OFFLINE)));
        let mut floor = claimed.unwrap_or(now).clamp(oldest, now);
        if let Some(Standing::Accepted { from }) = standing {
            floor = floor.max(from).min(now);
        }
        let known_before = self.outlets.get(&evse).and_then(|outlet| outlet.register);
        match (register, known_before) {
            (None, _) => turn.odd.push(Oddity::NoStartRegister),
            (Some(start), Some(known)) if start < known => {
                turn.odd.push(Oddity::StartBelowKnown { start, known });
            }
            _ => (),
        }
        let authorized = matches!(standing, Some(Standing::Accepted { .. }));
        if token.is_some() && !authorized {
            turn.odd.push(Oddity::NotGranted(key.clone()));
        }
        let transaction = Transaction {
            key: key.clone(),
            evse,
            token: token.as_ref().map(|token| token.chars().take(TOKEN_CHARS).collect()),
            authorized,
            claimed_start: claimed,
            heard_start: now,
            floor,
            reported_start: register,
            start: register,
            known_before,
            energy: Energy::ZERO,
            readings: 0,
            sequence,
            live: heard_live(now, claimed).then_some(turn.epoch),
            free_since: None,
        };
        self.transactions.insert(key.clone(), transaction);
        turn.event(Event::TransactionStarted {
            evse,
            transaction: key.clone(),
            token: token.clone(),
            authorized,
            reservation,
            meter_start: register,
            at: floor,
        });
        if token.is_some() && !authorized {
            self.enqueue_own(&Command::Stop { transaction: key }, turn);
        }
    }

    /// A reading within an open transaction.
    pub(super) fn measure(&mut self, key: &TransactionKey, reading: Reading, turn: &mut Turn) {
        let Some(open) = self.transactions.get_mut(key) else { return };
        let Some(outlet) = self.outlets.get_mut(&open.evse) else { return };
        clock_check(reading.at, turn);
        let energy = match reading.register {
            Some(register) => {
                let odd_before = turn.odd.len();
                let energy =
                    open.measure(register, outlet.rated, turn.now, reading.at, turn.epoch, &mut turn.odd);
                // The next start is compared with this, so only what could be is kept.
                if turn.odd.len() == odd_before {
                    outlet.register = Some(register);
                }
                energy
            }
            None => open.energy,
        };
        turn.event(Event::Metered {
            evse: open.evse,
            transaction: key.clone(),
            energy,
            register: reading.register,
            power: reading.power,
            soc_percent: reading.soc_percent,
            at: reading.at.unwrap_or(turn.now).min(turn.now),
            signed: reading.signed,
        });
    }

    /// A reading outside transactions: the register to compare the next start with.
    pub(super) fn note_register(&mut self, evse: u16, reading: &Reading) {
        if let (Some(outlet), Some(register)) = (self.outlets.get_mut(&evse), reading.register) {
            outlet.register = Some(register);
        }
    }

    /// A transaction ended, by its charger: `final_reading` has the last register, if there was one.
    pub(super) fn finish(
        &mut self,
        key: &TransactionKey,
        reason: &'static str,
        final_reading: Reading,
        turn: &mut Turn,
    ) {
        let Some(open) = self.transactions.get_mut(key) else { return };
        let Some(outlet) = self.outlets.get_mut(&open.evse) else { return };
        clock_check(final_reading.at, turn);
        match final_reading.register {
            Some(register) => {
                let at = final_reading.at;
                open.measure(register, outlet.rated, turn.now, at, turn.epoch, &mut turn.odd);
                if open.start.is_some_and(|start| register >= start) {
                    outlet.register = Some(register);
                }
            }
            None => turn.odd.push(Oddity::NoStopRegister),
        }
        let at = final_reading.at.unwrap_or(turn.now).min(turn.now);
        let cause = StopCause::Charger(reason);
        self.close_transaction(key, at, cause, final_reading.register, final_reading.signed, turn);
    }

    /// Moves a transaction to those that are over, and says so.
    pub(super) fn close_transaction(
        &mut self,
        key: &TransactionKey,
        at: Timestamp,
        reason: StopCause,
        register: Option<Energy>,
        signed: Vec<SignedRecord>,
        turn: &mut Turn,
    ) {
        let Some(transaction) = self.transactions.remove(key) else { return };
        turn.event(Event::TransactionStopped {
            evse: transaction.evse,
            transaction: key.clone(),
            energy: transaction.energy,
            register,
            at,
            reason: reason.clone(),
            signed,
        });
        if self.ended.len() >= MAX_ENDED {
            self.ended.pop_front();
        }
        self.ended.push_back(Ended { transaction, by_charger: matches!(reason, StopCause::Charger(_)) });
    }

    /// The charger's stop of a transaction that is over. Says once what its late reading adds.
    pub(super) fn stop_again(
        &mut self,
        key: &TransactionKey,
        final_reading: &Reading,
        turn: &mut Turn,
    ) -> bool {
        let Some(ended) = self.ended.iter_mut().find(|ended| ended.transaction.key == *key) else {
            return false;
        };
        if std::mem::replace(&mut ended.by_charger, true) {
            turn.odd.push(Oddity::Replayed(key.clone()));
            return true;
        }
        let rated = self.outlets.get(&ended.transaction.evse).map(|outlet| outlet.rated).unwrap_or_default();
        let energy = match final_reading.register {
            Some(register) => {
                let at = final_reading.at;
                ended.transaction.measure(register, rated, turn.now, at, turn.epoch, &mut turn.odd)
            }
            None => ended.transaction.energy,
        };
        turn.odd.push(Oddity::LateStop { transaction: key.clone(), energy });
        true
    }

    fn forget_grants(&mut self, now: Timestamp) {
        self.grants.retain(|_, grant| grant.until.checked_add(GRANT_KEPT).is_none_or(|until| now < until));
    }
}

/// Reads a request, or refuses it with the code that its first flaw deserves.
pub(super) fn read<R: Request>(payload: &Json, turn: &mut Turn) -> Result<R, Refusal> {
    let (request, flaws) = Reader::message::<R>(payload);
    let refusal = flaws.first().map(|flaw| Refusal {
        code: match flaw.kind {
            FlawKind::Missing | FlawKind::Null => ErrorCode::OccurrenceConstraintViolation,
            FlawKind::WrongType { .. } => ErrorCode::TypeConstraintViolation,
            _ => ErrorCode::PropertyConstraintViolation,
        },
        description: flaw.to_string(),
    });
    turn.odd.extend(flaws.into_iter().map(Oddity::Flaw));
    request.ok_or_else(|| {
        refusal.unwrap_or(Refusal { code: ErrorCode::FormatViolation, description: R::ACTION.into() })
    })
}

/// Writes an answer of ours.
pub(super) fn answer<A: Wire>(answer: &A) -> Result<Json, Refusal> {
    answer.write().map_err(|unfit| Refusal { code: ErrorCode::InternalError, description: unfit.to_string() })
}

/// Refuses an action that is not known.
pub(super) fn unknown(action: &str, turn: &mut Turn) -> Refusal {
    let short: String = action.chars().take(64).collect();
    turn.odd.push(Oddity::UnknownAction(short.clone()));
    Refusal { code: ErrorCode::NotImplemented, description: short }
}

/// A register as a request's own field has it; a negative one is odd and none.
pub(super) fn register(field: &str, wh: Option<i64>, turn: &mut Turn) -> Option<Energy> {
    let wh = wh?;
    let register = u64::try_from(wh).ok().map(Energy::from_wh);
    if register.is_none() {
        turn.odd.push(Oddity::UnreadableValue { measurand: field.into(), value: wh.to_string() });
    }
    register
}

/// Readings of a whole transaction as one: the last register and power, all signed records.
pub(super) fn summary(readings: Vec<Reading>) -> Reading {
    readings.into_iter().fold(Reading::default(), |mut sum, reading| {
        sum.at = reading.at.or(sum.at);
        sum.register = reading.register.or(sum.register);
        sum.power = reading.power.or(sum.power);
        sum.soc_percent = reading.soc_percent.or(sum.soc_percent);
        sum.signed.extend(reading.signed);
        sum
    })
}

fn clock_check(claimed: Option<Timestamp>, turn: &mut Turn) {
    let ahead = claimed.map_or(0, |claimed| claimed.as_millis().saturating_sub(turn.now.as_millis()));
    if ahead > CLOCK_TOLERANCE_MS {
        turn.odd.push(Oddity::ClockAhead { ms: ahead });
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
