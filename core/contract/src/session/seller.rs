//! The seller's side: signs first, delivers, keeps the evidence, settles.

use super::{
    AbortReason, Action, OnLedger, SNAPSHOT_BYTES_MAX, Sale, SellerKeys, Timer, Timers, after, end_of,
};
use crate::{
    ARRIVAL_TIMEOUT, Agreement, CLOCK_SKEW, CLOSE_TIMEOUT, Checkpoint, Evidence, Exporter, Message,
    MeterRecord, NO_EXPORTER, OFFER_VALIDITY, OPEN_AHEAD_MAX, Offer, PAUSE_TIMEOUT, Reading, Receipt,
    Refused, Release, Signed, Start, State, Stop, StopReason, Terms, Trigger, statement::same_evse,
};
use ohmesh_units::{Canonical, ContractId, Energy, EvseId, Timestamp};
use serde::{Deserialize, Serialize};

/// What a seller's session takes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SellerInput {
    /// The buyer is connected, over a connection with this keying material.
    Linked(Exporter),
    /// A message of the buyer.
    Message(Message),
    /// The ledger has moved the contract.
    OnLedger(OnLedger),
    /// A car was plugged in just now.
    Plugged {
        /// At which outlet.
        evse: EvseId,
        /// The meter at that moment.
        reading: Reading,
    },
    /// The cable was unplugged.
    Unplugged,
    /// A meter reading.
    Reading(Reading),
    /// The meter after the outlet was switched off.
    LastReading(Reading),
    /// The car or the charger suspends the flow.
    Suspended,
    /// The flow goes on.
    Resumed,
    /// The operator stops, or the charger reports a fault.
    Stop,
    /// A timer that was set.
    Timer(Timer),
}

/// One sale, as the seller runs it.
#[derive(Clone, Debug)]
pub struct SellerSession {
    keys: SellerKeys,
    data: SellerSnapshot,
    /// Resumed, and not yet waited for the last reading since: while the seller was away nobody heard the meter.
    is_back: bool,
}

/// All of a seller's session but its keys: made durable after every input, before the actions are performed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SellerSnapshot {
    state: State,
    offer: Offer,
    exporter: Option<Exporter>,
    agreement: Option<Agreement>,
    plugged: Option<Reading>,
    start: Option<Signed<Start>>,
    record: Option<Signed<MeterRecord>>,
    checkpoint: Option<Checkpoint>,
    stop: Option<StopReason>,
    timers: Timers,
}

impl SellerSession {
    /// Answers a buyer's draft with a signed offer, valid for [`OFFER_VALIDITY`] and on this connection.
    ///
    /// Refuses a draft that differs from the sale, one that cannot be a contract, and one whose time is wrong.
    pub fn offer(
        keys: SellerKeys,
        sale: &Sale,
        draft: Terms,
        exporter: Exporter,
        now: Timestamp,
    ) -> Result<(Self, Vec<Action>), Refused> {
        Self::offer_until(keys, sale, draft, exporter, after(now, OFFER_VALIDITY), now)
    }

    /// Answers a buyer's demand on the ledger with a signed offer of no connection ([`NO_EXPORTER`]); it is in the only
    /// action. Refuses what [`SellerSession::offer`] refuses.
    pub fn answer(
        keys: SellerKeys,
        sale: &Sale,
        demanded: Terms,
        valid_until: Timestamp,
        now: Timestamp,
    ) -> Result<(Self, Vec<Action>), Refused> {
        Self::offer_until(keys, sale, demanded, NO_EXPORTER, valid_until, now)
    }

    fn offer_until(
        keys: SellerKeys,
        sale: &Sale,
        draft: Terms,
        exporter: Exporter,
        valid_until: Timestamp,
        now: Timestamp,
    ) -> Result<(Self, Vec<Action>), Refused> {
        sale.matches(&keys, &draft)?;
        let (contract, not_before, expiry) = (draft.id(), draft.not_before, draft.expiry);
        if not_before.since(now).is_some_and(|ahead| ahead > OPEN_AHEAD_MAX) {
            return Err(Refused::TooFarAhead { contract, not_before, now });
        }
        if now >= draft.charge_until() {
            return Err(Refused::TooLate { contract, expiry });
        }
        let offer = Offer::sign(draft, exporter, valid_until, &keys.seller);
        let offer = offer.verify_after_batch()?.offer().clone();
        let session = Self {
            keys,
            is_back: false,
            data: SellerSnapshot {
                state: State::Offered,
                offer,
                exporter: Some(exporter),
                agreement: None,
                plugged: None,
                start: None,
                record: None,
                checkpoint: None,
                stop: None,
                timers: Timers::default(),
            },
        };
        let send = session.data.send_offer();
        Ok((session, vec![send]))
    }

    /// A session that goes on from its snapshot, with the actions that a crash may have left undone: each of them may
    /// be performed twice. The wait for a last reading that has not come begins anew.
    pub fn resume(keys: SellerKeys, mut snapshot: SellerSnapshot) -> (Self, Vec<Action>) {
        snapshot.exporter = None;
        let mut actions = snapshot.timers.again();
        let session = Self { keys, data: snapshot, is_back: true };
        match session.data.state {
            State::Charging | State::Paused => actions.push(Action::StartCharging(session.terms().evse)),
            State::Stopped => actions.push(Action::StopCharging(session.terms().evse)),
            State::Closed | State::Submitted => actions.push(session.settle()),
            _ => {}
        }
        (session, actions)
    }

    /// What has to be durable before the actions of the last input are performed.
    pub fn snapshot(&self) -> &SellerSnapshot {
        &self.data
    }

    /// The contract's id.
    pub fn id(&self) -> ContractId {
        self.terms().id()
    }

    /// What was offered.
    pub fn terms(&self) -> &Terms {
        &self.data.offer.terms
    }

    /// Until when the ledger may open the offer: see [`OnLedger::NotOpened`].
    pub fn valid_until(&self) -> Timestamp {
        self.data.offer.valid_until
    }

    /// Where the sale stands.
    pub fn state(&self) -> State {
        self.data.state
    }

    /// Takes one input at `now`. What is refused has changed nothing.
    pub fn handle(&mut self, input: SellerInput, now: Timestamp) -> Result<Vec<Action>, Refused> {
        let before = self.data.clone();
        let result = match input {
            SellerInput::Linked(exporter) => Ok(self.on_linked(exporter)),
            SellerInput::Message(message) => self.on_message(message, now),
            SellerInput::OnLedger(OnLedger::Opened { at }) => self.on_opened(at, now),
            SellerInput::OnLedger(news) => self.on_ledger(news, now),
            SellerInput::Plugged { evse, reading } => self.on_plugged(evse, reading, now),
            SellerInput::Unplugged => self.on_unplugged(now),
            SellerInput::Reading(reading) => self.on_reading(reading, now),
            SellerInput::LastReading(reading) => self.on_last_reading(reading, now),
            SellerInput::Suspended => self.on_suspended(now),
            SellerInput::Resumed => self.on_resumed(now),
            SellerInput::Stop => self.on_stop(StopReason::Operator, now),
            SellerInput::Timer(timer) => self.on_timer(timer, now),
        };
        if result.is_err() {
            self.data = before;
        }
        result
    }

    fn on_linked(&mut self, exporter: Exporter) -> Vec<Action> {
        self.data.exporter = Some(exporter);
        match self.data.state {
            State::Offered => {
                // The offer names the connection, so a new one needs a new signature; the contract is the same.
                let Offer { terms, valid_until, .. } = self.data.offer.clone();
                self.data.offer = Offer::sign(terms, exporter, valid_until, &self.keys.seller);
                vec![self.data.send_offer()]
            }
            State::Armed if self.data.plugged.is_some() => vec![self.say_armed()],
            State::Charging | State::Paused | State::Stopped | State::Submitted => {
                self.data.record.iter().map(|record| Action::Send(Message::Record(record.clone()))).collect()
            }
            _ => Vec::new(),
        }
    }

    fn on_message(&mut self, message: Message, now: Timestamp) -> Result<Vec<Action>, Refused> {
        match message {
            Message::Draft(terms) if self.data.state == State::Offered && *terms == *self.terms() => {
                Ok(vec![self.data.send_offer()])
            }
            Message::Agreement(agreement) => self.on_agreement(*agreement),
            Message::Start(start) => self.on_start(start, now),
            Message::Checkpoint(checkpoint) => self.on_checkpoint(checkpoint, now),
            Message::Stop(stop) => {
                stop.check(self.terms(), self.terms().buyer_key)?;
                self.on_stop(stop.body.reason, now)
            }
            other => Err(self.unexpected(other.name())),
        }
    }

    fn on_agreement(&mut self, agreement: Agreement) -> Result<Vec<Action>, Refused> {
        let verified = agreement.verify()?;
        let (expected, found) = (self.id(), verified.id());
        if expected != found {
            return Err(Refused::AnotherContract { expected, found });
        }
        if self.data.state == State::Offered && self.data.agreement.is_none() {
            self.data.agreement = Some(verified.agreement().clone());
        }
        Ok(Vec::new())
    }

    fn on_opened(&mut self, at: Timestamp, now: Timestamp) -> Result<Vec<Action>, Refused> {
        match self.data.state {
            State::Offered => {}
            // Too late for us: the buyer shall not wait for its money until the expiry.
            State::Void => return Ok(vec![Action::Release(self.sign_release(now))]),
            _ => return Ok(Vec::new()),
        }
        self.step(Trigger::Agree, at)?;
        let patience = after(now.max(self.terms().not_before), ARRIVAL_TIMEOUT);
        let mut actions = vec![self.data.timers.set(Timer::Arrival, patience)];
        if self.data.plugged.is_some() {
            actions.extend(self.arm(now)?);
        }
        Ok(actions)
    }

    fn on_plugged(&mut self, evse: EvseId, reading: Reading, now: Timestamp) -> Result<Vec<Action>, Refused> {
        same_evse(self.terms(), evse)?;
        match self.data.state {
            // A car that was there before the buyer agreed is not the buyer's.
            State::Offered if self.data.agreement.is_some() => {
                self.data.plugged = Some(reading);
                Ok(Vec::new())
            }
            State::Agreed => {
                self.data.plugged = Some(reading);
                self.arm(now)
            }
            State::Armed => {
                self.data.plugged = Some(reading);
                Ok(vec![self.say_armed()])
            }
            _ => Err(self.unexpected("plug-in")),
        }
    }

    fn on_unplugged(&mut self, now: Timestamp) -> Result<Vec<Action>, Refused> {
        match self.data.state {
            State::Charging | State::Paused => self.stop(StopReason::Unplugged, now),
            State::Offered | State::Agreed | State::Armed => {
                self.data.plugged = None;
                Ok(Vec::new())
            }
            _ => Ok(Vec::new()),
        }
    }

    fn on_start(&mut self, start: Signed<Start>, now: Timestamp) -> Result<Vec<Action>, Refused> {
        if self.data.state.rank() >= State::Charging.rank() {
            return Ok(Vec::new());
        }
        let start = start.verify(self.terms())?.signed().clone();
        if Some(start.body.exporter) != self.data.exporter {
            return Err(Refused::AnotherConnection(self.id()));
        }
        let (contract, at, terms) = (self.id(), start.body.at, self.terms());
        let off = at.since(now).or(now.since(at)).unwrap_or_default();
        if off > CLOCK_SKEW || at < terms.not_before || at.max(now) >= terms.charge_until() {
            return Err(Refused::StartTime { contract, at, now });
        }
        if self.data.plugged.is_none() {
            return Err(self.unexpected("start"));
        }
        self.step(Trigger::Start, now)?;
        self.data.start = Some(start);
        self.data.timers.clear(Timer::Arrival);
        let until = self.terms().charge_until();
        Ok(vec![self.data.timers.set(Timer::ChargeUntil, until), Action::StartCharging(self.terms().evse)])
    }

    fn on_reading(&mut self, reading: Reading, now: Timestamp) -> Result<Vec<Action>, Refused> {
        if !matches!(self.data.state, State::Charging | State::Paused) {
            return Ok(Vec::new());
        }
        let Some(record) = self.record(Some(reading), false) else {
            return self.stop(StopReason::MeterRanBackwards, now);
        };
        let is_all = record.body.energy >= self.terms().energy_max;
        self.data.record = Some(record.clone());
        let mut actions = vec![Action::Send(Message::Record(record))];
        if is_all {
            actions.extend(self.stop(StopReason::EnergyMax, now)?);
        }
        Ok(actions)
    }

    fn on_last_reading(&mut self, reading: Reading, now: Timestamp) -> Result<Vec<Action>, Refused> {
        let mut actions = match self.data.state {
            State::Charging | State::Paused => self.stop(StopReason::Operator, now)?,
            State::Stopped if !self.has_final() => Vec::new(),
            _ => return Ok(Vec::new()),
        };
        actions.extend(self.finish_record(Some(reading), now));
        Ok(actions)
    }

    fn on_suspended(&mut self, now: Timestamp) -> Result<Vec<Action>, Refused> {
        if self.data.state != State::Charging {
            return Ok(Vec::new());
        }
        self.step(Trigger::Pause, now)?;
        Ok(vec![self.data.timers.set(Timer::Pause, after(now, PAUSE_TIMEOUT))])
    }

    fn on_resumed(&mut self, now: Timestamp) -> Result<Vec<Action>, Refused> {
        if self.data.state != State::Paused {
            return Ok(Vec::new());
        }
        self.step(Trigger::Resume, now)?;
        self.data.timers.clear(Timer::Pause);
        Ok(Vec::new())
    }

    fn on_checkpoint(&mut self, checkpoint: Checkpoint, now: Timestamp) -> Result<Vec<Action>, Refused> {
        let verified = checkpoint.verify(self.terms())?;
        let newest = self.data.checkpoint.as_ref().map_or(0, |held| held.record.body.sequence);
        let is_taking = matches!(self.data.state, State::Charging | State::Paused | State::Stopped);
        if !is_taking || verified.record().sequence <= newest {
            return Ok(Vec::new());
        }
        let signed = verified.signed();
        let is_last = signed.record.body.is_final && Some(&signed.record) == self.data.record.as_ref();
        self.data.checkpoint = Some(signed);
        if self.data.state != State::Stopped || !is_last {
            return Ok(Vec::new());
        }
        self.step(Trigger::Close, now)?;
        self.data.timers.clear(Timer::Close);
        Ok(vec![self.settle()])
    }

    /// A stop before the start is a waiver: nothing was charged, so nothing is owed.
    fn on_stop(&mut self, reason: StopReason, now: Timestamp) -> Result<Vec<Action>, Refused> {
        match self.data.state {
            State::Charging | State::Paused => self.stop(reason, now),
            State::Offered | State::Agreed | State::Armed => self.release(now),
            _ => Ok(Vec::new()),
        }
    }

    fn on_timer(&mut self, timer: Timer, now: Timestamp) -> Result<Vec<Action>, Refused> {
        self.data.timers.fire(timer, self.id(), now)?;
        match (timer, self.data.state) {
            (Timer::Arrival, State::Agreed | State::Armed) => self.release(now),
            (Timer::Pause, State::Paused) => self.stop(StopReason::Pause, now),
            (Timer::ChargeUntil, State::Charging | State::Paused) => self.stop(StopReason::ChargeUntil, now),
            (Timer::Close, State::Stopped) if !self.has_final() && std::mem::take(&mut self.is_back) => {
                Ok(vec![self.data.timers.set(Timer::Close, after(now, CLOSE_TIMEOUT))])
            }
            (Timer::Close, State::Stopped) if !self.has_final() => Ok(self.finish_record(None, now)),
            (Timer::Close, State::Stopped) => {
                self.step(Trigger::Submit, now)?;
                Ok(vec![self.settle()])
            }
            _ => Ok(Vec::new()),
        }
    }

    fn on_ledger(&mut self, news: OnLedger, now: Timestamp) -> Result<Vec<Action>, Refused> {
        if self.data.state.is_terminal() {
            return Ok(Vec::new());
        }
        if let (OnLedger::NotOpened { at }, State::Offered) = (news, self.data.state) {
            self.step(Trigger::Timeout, at)?;
            return Ok(vec![Action::Abort(AbortReason::NotOpened)]);
        }
        let Some((end, bill)) = end_of(self.terms(), news)? else { return Ok(Vec::new()) };
        // The ledger's word is final, whatever this side has seen; the outlet must not be left on.
        let is_on = matches!(self.data.state, State::Charging | State::Paused);
        self.data.state = end;
        let mut actions = Vec::new();
        if is_on {
            actions.push(Action::StopCharging(self.terms().evse));
        }
        actions.push(Action::Done(Box::new(self.receipt(end, bill, now))));
        Ok(actions)
    }

    fn arm(&mut self, now: Timestamp) -> Result<Vec<Action>, Refused> {
        self.step(Trigger::Arm, now)?;
        Ok(vec![self.say_armed()])
    }

    fn stop(&mut self, reason: StopReason, now: Timestamp) -> Result<Vec<Action>, Refused> {
        if now >= self.data.deadline() {
            // Too late to settle, as after a long outage: what matters is that nothing flows for free any longer.
            return Ok(vec![Action::StopCharging(self.terms().evse), Action::Expire(self.id())]);
        }
        self.step(Trigger::Stop, now)?;
        self.data.stop = Some(reason);
        self.data.timers.clear(Timer::ChargeUntil);
        self.data.timers.clear(Timer::Pause);
        let stop = Signed::new(Stop { contract: self.id(), reason, at: now }, &self.keys.seller);
        Ok(vec![
            Action::StopCharging(self.terms().evse),
            Action::Send(Message::Stop(stop)),
            self.data.timers.set(Timer::Close, after(now, CLOSE_TIMEOUT)),
        ])
    }

    fn release(&mut self, now: Timestamp) -> Result<Vec<Action>, Refused> {
        let is_open = self.data.state != State::Offered;
        self.step(Trigger::Release, now)?;
        let release = self.sign_release(now);
        let mut actions = vec![Action::Send(Message::Release(release.clone()))];
        if is_open {
            actions.push(Action::Release(release));
            let (end, bill) = end_of(self.terms(), OnLedger::Released)?.expect("a release is an end");
            actions.push(Action::Done(Box::new(self.receipt(end, bill, now))));
        } else {
            actions.push(Action::Abort(AbortReason::Released));
        }
        Ok(actions)
    }

    /// The last record, from `reading` or, if there is none or it cannot be, from the newest record.
    fn finish_record(&mut self, reading: Option<Reading>, now: Timestamp) -> Vec<Action> {
        let record = self.record(reading, true).or_else(|| {
            self.data.stop = Some(StopReason::MeterRanBackwards);
            self.record(None, true)
        });
        let record = record.expect("without a new reading the newest record is repeated, which always fits");
        self.data.record = Some(record.clone());
        let timer = self.data.timers.set(Timer::Close, after(now, CLOSE_TIMEOUT));
        vec![Action::Send(Message::Record(record)), timer]
    }

    /// The next record, signed by the meter; `None` if the register went down. Its time never goes back.
    fn record(&self, reading: Option<Reading>, is_final: bool) -> Option<Signed<MeterRecord>> {
        let plugged = self.data.plugged.expect("records begin with a start, which needs a plug-in");
        let last = self.data.record.as_ref().map(|record| &record.body);
        let (last_energy, last_at) = last.map_or((Energy::ZERO, plugged.at), |r| (r.energy, r.at));
        let (energy, at) = match reading {
            Some(reading) => (reading.register.checked_sub(plugged.register)?, reading.at.max(last_at)),
            None => (last_energy, last_at),
        };
        if energy < last_energy {
            return None;
        }
        let record = MeterRecord {
            contract: self.id(),
            evse: self.terms().evse,
            sequence: last.map_or(0, |r| r.sequence).checked_add(1)?,
            register_start: plugged.register,
            energy,
            at,
            is_final,
        };
        Some(Signed::new(record, &self.keys.meter))
    }

    fn settle(&self) -> Action {
        Action::Settle(Box::new(Evidence {
            start: self.data.start.clone().expect("only a started contract stops"),
            record: self.data.record.clone().expect("a stopped contract settles with its final record"),
            checkpoint: self.data.checkpoint.clone(),
        }))
    }

    fn has_final(&self) -> bool {
        self.data.record.as_ref().is_some_and(|record| record.body.is_final)
    }

    fn say_armed(&self) -> Action {
        Action::Send(Message::Armed { contract: self.id(), evse: self.terms().evse })
    }

    fn sign_release(&self, now: Timestamp) -> Signed<Release> {
        Signed::new(Release { contract: self.id(), at: now }, &self.keys.seller)
    }

    fn receipt(&self, end: State, bill: crate::Bill, now: Timestamp) -> Receipt {
        Receipt {
            stop: self.data.stop,
            energy_metered: self.data.record.as_ref().map_or(Energy::ZERO, |record| record.body.energy),
            started: self.data.start.as_ref().map(|start| start.body.at),
            ..Receipt::new(self.terms(), end, bill, now)
        }
    }

    fn unexpected(&self, what: &'static str) -> Refused {
        Refused::Unexpected { contract: self.id(), what, state: self.data.state }
    }

    fn step(&mut self, trigger: Trigger, now: Timestamp) -> Result<(), Refused> {
        self.data.state = self.data.state.next(trigger, self.id(), self.data.deadline(), now)?;
        Ok(())
    }
}

impl SellerSnapshot {
    /// When the state ends by itself.
    fn deadline(&self) -> Timestamp {
        match self.state {
            State::Offered => self.offer.valid_until,
            _ => self.offer.terms.expiry,
        }
    }

    fn send_offer(&self) -> Action {
        Action::Send(Message::Offer(Box::new(self.offer.clone())))
    }
}

impl Canonical for SellerSnapshot {
    const NAME: &'static str = "seller's session";
    const MAX_BYTES: usize = SNAPSHOT_BYTES_MAX;
}
