//! Commands: into each version's request, and its answer back into an outcome.

use super::calls::{Answered, Call};
use super::{
    Action, Charger, Command, CommandError, CommandId, Oddity, Outcome, Rate, TransactionKey, Trigger, Turn,
};
use crate::json::Json;
use crate::upgrade::Version;
use crate::wire::{Decimal, Reader, Request, Text, Unfit, Wire, message};
use crate::{v16, v201};
use ohmesh_units::{Power, Timestamp};

/// A request ready to be queued.
type Ready = (&'static str, Json);

/// The stack level of all our profiles: there is one of each purpose.
const STACK_LEVEL: i64 = 0;

message!(
    /// What all verdicts have in common.
    AnyVerdict {
        /// The verdict.
        status: Text<50> = "status",
    }
);

impl Charger {
    /// Takes a command. It is sent now or after those before it; its end is an [`Event`](super::Event) with its id.
    pub fn command(
        &mut self,
        now: Timestamp,
        command: Command,
    ) -> Result<(CommandId, Vec<Action>), CommandError> {
        let (action, payload) = self.request(&command)?;
        let id = self.calls.push(action, payload)?;
        match &command {
            Command::Start { evse, token, .. } => {
                let until = now.checked_add(self.settings.start_window).unwrap_or(now);
                self.grant_longer(now, token, *evse, until);
            }
            Command::Reserve { evse, token, until, .. } => self.grant_longer(now, token, *evse, *until),
            _ => (),
        }
        let turn = Turn::new(now, self.epoch);
        Ok((id, self.end(turn)))
    }

    /// Queues a request of the session's own, if the charger can take it.
    pub(super) fn enqueue_own(&mut self, command: &Command, turn: &mut Turn) {
        match self.request(command) {
            Ok((action, payload)) => self.calls.push_own(action, payload),
            Err(CommandError::Unfit(unfit)) => {
                turn.odd.push(Oddity::UnreadableValue { measurand: unfit.at, value: unfit.why });
            }
            Err(_) => (),
        }
    }

    /// An answer, or CALLERROR's code and text, arrived.
    pub(super) fn on_answer(&mut self, id: &str, answer: Result<&Json, (String, String)>, turn: &mut Turn) {
        let short = || id.chars().take(64).collect();
        let call = match self.calls.answered(id) {
            Answered::Call(call) => call,
            Answered::Late => return turn.odd.push(Oddity::LateAnswer(short())),
            Answered::Unknown => return turn.odd.push(Oddity::UnknownAnswer(short())),
        };
        let outcome = match answer {
            Ok(payload) => outcome(&call, payload, turn),
            Err((code, description)) => Outcome::Error { code, description },
        };
        turn.outcome(call.command, outcome);
    }

    fn grant_longer(&mut self, now: Timestamp, token: &str, evse: u16, until: Timestamp) {
        let old = self.grants.get(&token.to_ascii_lowercase()).filter(|old| old.evse == Some(evse));
        let until = old.map_or(until, |old| old.until.max(until));
        self.grant(now, token, Some(evse), until);
    }

    fn request(&self, command: &Command) -> Result<Ready, CommandError> {
        let version = self.link.as_ref().ok_or(CommandError::NotConnected)?.version;
        self.check_names(command)?;
        match version {
            Version::V16 => self.request_v16(command),
            Version::V201 => self.request_v201(command),
        }
    }

    /// The EVSE and the transaction of a command must be this charger's.
    fn check_names(&self, command: &Command) -> Result<(), CommandError> {
        let (evse, transaction) = match command {
            Command::Start { evse, .. } | Command::Reserve { evse, .. } | Command::Unlock { evse } => {
                (Some(*evse), None)
            }
            Command::Limit { evse, transaction, .. } => (Some(*evse), transaction.as_ref()),
            Command::SetOperative { evse, .. } | Command::Trigger { evse, .. } => (*evse, None),
            Command::TransactionStatus { transaction } => (None, Some(transaction)),
            _ => (None, None),
        };
        if let Some(evse) = evse.filter(|evse| !self.outlets.contains_key(evse)) {
            return Err(CommandError::UnknownEvse(evse));
        }
        let runs = |key: &TransactionKey| {
            self.transactions.get(key).is_some_and(|open| evse.is_none_or(|evse| evse == open.evse))
        };
        match transaction.filter(|key| !runs(key)) {
            Some(key) => Err(CommandError::UnknownTransaction(key.clone())),
            None => Ok(()),
        }
    }

    fn request_v16(&self, command: &Command) -> Result<Ready, CommandError> {
        let number = |key: &TransactionKey| {
            key.0.parse::<i64>().map_err(|_| CommandError::UnknownTransaction(key.clone()))
        };
        match command {
            Command::Start { evse, token, limit } => ready(&v16::RemoteStartTransaction {
                connector: Some((*evse).into()),
                token: token.as_str().into(),
                profile: limit.map(|power| self.profile_v16(*evse, v16::ProfilePurpose::Tx, None, power)),
            }),
            Command::Stop { transaction } => {
                ready(&v16::RemoteStopTransaction { transaction: number(transaction)? })
            }
            Command::Reserve { evse, reservation, token, until } => ready(&v16::ReserveNow {
                connector: (*evse).into(),
                until: *until,
                token: token.as_str().into(),
                reservation: (*reservation).into(),
            }),
            Command::CancelReservation { reservation } => {
                ready(&v16::CancelReservation { reservation: (*reservation).into() })
            }
            Command::SetOperative { evse, operative } => ready(&v16::ChangeAvailability {
                connector: evse.unwrap_or(0).into(),
                to: availability(*operative),
            }),
            Command::Unlock { evse } => ready(&v16::UnlockConnector { connector: (*evse).into() }),
            Command::Trigger { what, evse } => ready(&v16::TriggerMessage {
                requested: match what {
                    Trigger::Boot => v16::TriggeredMessage::BootNotification,
                    Trigger::Heartbeat => v16::TriggeredMessage::Heartbeat,
                    Trigger::MeterValues => v16::TriggeredMessage::MeterValues,
                    Trigger::Status => v16::TriggeredMessage::StatusNotification,
                },
                connector: evse.map(i64::from),
            }),
            Command::ReadSettings { names } => {
                let keys = names.iter().map(|name| name.as_str().into()).collect::<Vec<_>>();
                ready(&v16::GetConfiguration { keys: Some(keys).filter(|keys| !keys.is_empty()) })
            }
            Command::WriteSetting { name, value } => {
                ready(&v16::ChangeConfiguration { key: name.as_str().into(), value: value.as_str().into() })
            }
            Command::Limit { evse, transaction, power } => {
                let purpose = if transaction.is_some() {
                    v16::ProfilePurpose::Tx
                } else {
                    v16::ProfilePurpose::TxDefault
                };
                let transaction = transaction.as_ref().map(number).transpose()?;
                let profile = self.profile_v16(*evse, purpose, transaction, *power);
                ready(&v16::SetChargingProfile { connector: (*evse).into(), profile })
            }
            Command::Reset { hard } => {
                ready(&v16::Reset { kind: if *hard { v16::ResetKind::Hard } else { v16::ResetKind::Soft } })
            }
            Command::TransactionStatus { .. } => Err(CommandError::NotInVersion(Version::V16)),
        }
    }

    fn request_v201(&self, command: &Command) -> Result<Ready, CommandError> {
        let outlet = |evse: u16| v201::Evse { id: evse.into(), connector: None };
        match command {
            Command::Start { evse, token, limit } => ready(&v201::RequestStartTransaction {
                evse: Some((*evse).into()),
                token: token_v201(token),
                remote_start: self.calls.newest() + 1,
                profile: limit.map(|power| self.profile_v201(*evse, v201::ProfilePurpose::Tx, None, power)),
            }),
            Command::Stop { transaction } => {
                ready(&v201::RequestStopTransaction { transaction: transaction.0.as_str().into() })
            }
            Command::Reserve { evse, reservation, token, until } => ready(&v201::ReserveNow {
                reservation: (*reservation).into(),
                until: *until,
                token: token_v201(token),
                evse: Some((*evse).into()),
            }),
            Command::CancelReservation { reservation } => {
                ready(&v201::CancelReservation { reservation: (*reservation).into() })
            }
            Command::SetOperative { evse, operative } => {
                ready(&v201::ChangeAvailability { evse: evse.map(outlet), to: availability(*operative) })
            }
            Command::Unlock { evse } => ready(&v201::UnlockConnector { evse: (*evse).into(), connector: 1 }),
            Command::Trigger { what, evse } => {
                let requested = match what {
                    Trigger::Boot => v201::TriggeredMessage::BootNotification,
                    Trigger::Heartbeat => v201::TriggeredMessage::Heartbeat,
                    Trigger::MeterValues => v201::TriggeredMessage::MeterValues,
                    Trigger::Status => v201::TriggeredMessage::StatusNotification,
                };
                // A state belongs to a plug, so asking for one has to name it (F06.FR.12).
                let connector = (*what == Trigger::Status).then_some(1);
                let evse = evse.map(|evse| v201::Evse { id: evse.into(), connector });
                ready(&v201::TriggerMessage { requested, evse })
            }
            Command::ReadSettings { names } => {
                let wanted = names.iter().map(|name| variable(name)).collect::<Result<Vec<_>, _>>()?;
                ready(&v201::GetVariables { wanted })
            }
            Command::WriteSetting { name, value } => {
                let v201::VariableName { component, variable } = variable(name)?;
                let wanted = vec![v201::VariableWrite { value: value.as_str().into(), component, variable }];
                ready(&v201::SetVariables { wanted })
            }
            Command::Limit { evse, transaction, power } => {
                let purpose = if transaction.is_some() {
                    v201::ProfilePurpose::Tx
                } else {
                    v201::ProfilePurpose::TxDefault
                };
                let profile = self.profile_v201(*evse, purpose, transaction.as_ref(), *power);
                ready(&v201::SetChargingProfile { evse: (*evse).into(), profile })
            }
            Command::Reset { hard } => {
                let kind = if *hard { v201::ResetKind::Immediate } else { v201::ResetKind::OnIdle };
                ready(&v201::Reset { kind, evse: None })
            }
            Command::TransactionStatus { transaction } => {
                ready(&v201::GetTransactionStatus { transaction: Some(transaction.0.as_str().into()) })
            }
        }
    }

    fn profile_v16(
        &self,
        evse: u16,
        purpose: v16::ProfilePurpose,
        transaction: Option<i64>,
        power: Power,
    ) -> v16::ChargingProfile {
        let (unit, period) = limit(self.settings.rate, power);
        v16::ChargingProfile {
            id: profile_id(evse, purpose == v16::ProfilePurpose::Tx),
            transaction,
            stack_level: STACK_LEVEL,
            purpose,
            kind: v16::ProfileKind::Relative,
            schedule: v16::ChargingSchedule { unit, periods: vec![period] },
        }
    }

    fn profile_v201(
        &self,
        evse: u16,
        purpose: v201::ProfilePurpose,
        transaction: Option<&TransactionKey>,
        power: Power,
    ) -> v201::ChargingProfile {
        let (unit, period) = limit(self.settings.rate, power);
        let id = profile_id(evse, purpose == v201::ProfilePurpose::Tx);
        v201::ChargingProfile {
            id,
            stack_level: STACK_LEVEL,
            purpose,
            kind: v201::ProfileKind::Relative,
            transaction: transaction.map(|key| key.0.as_str().into()),
            schedules: vec![v201::ChargingSchedule { id, unit, periods: vec![period] }],
        }
    }
}

fn ready<R: Request>(request: &R) -> Result<Ready, CommandError> {
    Ok((R::ACTION, request.write().map_err(|unfit: Unfit| unfit.within(R::ACTION))?))
}

/// A profile with an id replaces the one before it; each EVSE has one for a transaction and one for those to come.
fn profile_id(evse: u16, transaction: bool) -> i64 {
    i64::from(evse) * 2 + i64::from(transaction)
}

fn limit(rate: Rate, power: Power) -> (v16::RateUnit, v16::SchedulePeriod) {
    let watts = i64::from(power.as_w());
    let (unit, limit, phases) = match rate {
        Rate::Watts => (v16::RateUnit::Watts, Decimal::from(watts), None),
        Rate::Amperes { volts, phases } => {
            let volts_all = (i64::from(volts) * i64::from(phases)).max(1);
            (v16::RateUnit::Amperes, Decimal::new(watts * 10 / volts_all, -1), Some(i64::from(phases)))
        }
    };
    (unit, v16::SchedulePeriod { start_s: 0, limit, phases })
}

fn availability(operative: bool) -> v16::Availability {
    if operative { v16::Availability::Operative } else { v16::Availability::Inoperative }
}

fn token_v201(token: &str) -> v201::IdToken {
    v201::IdToken { token: token.into(), kind: v201::TokenKind::Central.into() }
}

fn variable(name: &str) -> Result<v201::VariableName, CommandError> {
    let (component, variable) = name.split_once('.').ok_or_else(|| CommandError::BadName(name.to_owned()))?;
    Ok(v201::VariableName {
        component: v201::Component { name: component.into(), instance: None, evse: None },
        variable: v201::Variable { name: variable.into(), instance: None },
    })
}

/// Reads the answer to `call`.
fn outcome(call: &Call, payload: &Json, turn: &mut Turn) -> Outcome {
    fn read<A: Wire>(payload: &Json, turn: &mut Turn) -> Option<A> {
        let (answer, flaws) = Reader::message(payload);
        turn.odd.extend(flaws.into_iter().map(Oddity::Flaw));
        answer
    }
    let full_name = |component: v201::Component, variable: v201::Variable| {
        format!("{}.{}", component.name.as_str(), variable.name.as_str())
    };
    let outcome = match call.action {
        v16::GetConfiguration::ACTION => read::<v16::ConfigurationAnswer>(payload, turn).map(|answer| {
            let known = answer.known.unwrap_or_default().into_iter();
            let unknown = answer.unknown.unwrap_or_default().into_iter();
            Outcome::Settings(
                known
                    .map(|setting| (setting.key.into_string(), setting.value.map(Text::into_string)))
                    .chain(unknown.map(|key| (key.into_string(), None)))
                    .collect(),
            )
        }),
        v201::GetVariables::ACTION => read::<v201::GetVariablesAnswer>(payload, turn).map(|answer| {
            let results = answer.results.into_iter();
            Outcome::Settings(
                results
                    .map(|read| (full_name(read.component, read.variable), read.value.map(Text::into_string)))
                    .collect(),
            )
        }),
        v201::SetVariables::ACTION => read::<v201::SetVariablesAnswer>(payload, turn)
            .and_then(|answer| answer.results.into_iter().next())
            .map(|written| verdict(written.status.as_str())),
        v201::GetTransactionStatus::ACTION => {
            read::<v201::TransactionStatusAnswer>(payload, turn).map(|answer| Outcome::Transaction {
                ongoing: answer.ongoing,
                queued: answer.queued.0.unwrap_or(false),
            })
        }
        _ => read::<AnyVerdict>(payload, turn).map(|answer| verdict(answer.status.as_str())),
    };
    outcome.unwrap_or_else(|| {
        if turn.odd.is_empty() {
            // An empty list of results: well-formed by the reader's leniency, yet no answer.
            turn.odd.push(Oddity::UnreadableValue { measurand: call.action.into(), value: String::new() });
        }
        Outcome::Unreadable
    })
}

fn verdict(word: &str) -> Outcome {
    match word {
        "Accepted" | "Unlocked" => Outcome::Accepted,
        "Scheduled" => Outcome::Scheduled,
        "RebootRequired" => Outcome::RebootRequired,
        refused => Outcome::Refused(refused.chars().take(64).collect()),
    }
}
