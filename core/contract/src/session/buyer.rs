//! The buyer's side: signs second, confirms the outlet, checks every record, signs checkpoints.

use super::{AbortReason, Action, OnLedger, SNAPSHOT_BYTES_MAX, Timer, Timers, after, end_of};
use crate::{
    Agreement, Bill, Checkpoint, DRAFT_TIMEOUT, Exporter, Message, MeterRecord, Offer, Receipt, Refused,
    Settlement, Signed, Start, State, Stop, StopReason, Terms, Trigger, VerifiedRecord,
    billing::{exceeds_rated_power, tolerance_wh},
    statement::same_evse,
};
use ohmesh_units::{Canonical, ContractId, Energy, EvseId, SigningKey, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a buyer's session takes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuyerInput {
    /// The station is connected, over a connection with this keying material.
    Linked(Exporter),
    /// A message of the station.
    Message(Message),
    /// The ledger has moved the contract.
    OnLedger(OnLedger),
    /// The user has confirmed the code of this outlet (scanned or typed in), never guessed from nearness.
    Confirmed(EvseId),
    /// The car's own meter, since the start.
    CarMeter {
        /// What the car counted.
        energy: Energy,
        /// When.
        at: Timestamp,
    },
    /// The user stops.
    Stop,
    /// A timer that was set.
    Timer(Timer),
}

/// One sale, as the buyer runs it.
#[derive(Clone, Debug)]
pub struct BuyerSession {
    key: SigningKey,
    data: BuyerSnapshot,
}

/// All of a buyer's session but its key: made durable after every input, before the actions are performed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuyerSnapshot {
    state: State,
    terms: Terms,
    /// When an unanswered draft lapses.
    lapse: Timestamp,
    exporter: Option<Exporter>,
    agreement: Option<Agreement>,
    is_armed: bool,
    confirmed: Option<Timestamp>,
    /// When the first start was signed; a later one, for a new connection, does not move it.
    started: Option<Timestamp>,
    record: Option<Signed<MeterRecord>>,
    checkpoint: Option<Checkpoint>,
    car: Option<(Energy, Timestamp)>,
    /// Why this side stops.
    stop: Option<StopReason>,
    /// Why the seller says it stopped.
    told: Option<StopReason>,
    /// What this side's own check found wrong with a record: from then on it signs nothing.
    objection: Option<StopReason>,
    timers: Timers,
}

impl BuyerSession {
    /// Asks the seller to sign `terms`.
    ///
    /// Refuses terms that cannot be a contract, or that name another key than `key` as the buyer's.
    pub fn draft(
        key: SigningKey,
        terms: Terms,
        exporter: Exporter,
        now: Timestamp,
    ) -> Result<(Self, Vec<Action>), Refused> {
        let (contract, auction) = (terms.id(), terms.auction);
        terms.check().map_err(|error| Refused::Terms { contract, error })?;
        if terms.buyer_key != key.public() {
            return Err(Refused::AnotherDeal { auction, field: "buyer's key" });
        }
        if now >= terms.charge_until() {
            return Err(Refused::TooLate { contract, expiry: terms.expiry });
        }
        let lapse = after(now, DRAFT_TIMEOUT);
        let mut timers = Timers::default();
        let actions =
            vec![timers.set(Timer::Draft, lapse), Action::Send(Message::Draft(Box::new(terms.clone())))];
        let data = BuyerSnapshot {
            state: State::Draft,
            terms,
            lapse,
            exporter: Some(exporter),
            agreement: None,
            is_armed: false,
            confirmed: None,
            started: None,
            record: None,
            checkpoint: None,
            car: None,
            stop: None,
            told: None,
            objection: None,
            timers,
        };
        Ok((Self { key, data }, actions))
    }

    /// A session that goes on from its snapshot, with the actions that a crash may have left undone: each of them may
    /// be performed twice.
    pub fn resume(key: SigningKey, mut snapshot: BuyerSnapshot) -> (Self, Vec<Action>) {
        snapshot.exporter = None;
        let mut actions = snapshot.timers.again();
        if snapshot.state == State::Offered {
            actions.extend(snapshot.agreement.iter().map(|a| Action::Open(Box::new(a.clone()))));
        }
        (Self { key, data: snapshot }, actions)
    }

    /// What has to be durable before the actions of the last input are performed.
    pub fn snapshot(&self) -> &BuyerSnapshot {
        &self.data
    }

    /// The contract's id.
    pub fn id(&self) -> ContractId {
        self.data.terms.id()
    }

    /// What the buyer asked for.
    pub fn terms(&self) -> &Terms {
        &self.data.terms
    }

    /// Until when the ledger may open the signed offer, once there is one: see [`OnLedger::NotOpened`].
    pub fn valid_until(&self) -> Option<Timestamp> {
        self.data.agreement.as_ref().map(|agreement| agreement.offer.valid_until)
    }

    /// Where the sale stands, as far as the buyer knows.
    pub fn state(&self) -> State {
        self.data.state
    }

    /// The newest record of the station's meter, for the screen.
    pub fn record(&self) -> Option<&MeterRecord> {
        self.data.record.as_ref().map(|record| &record.body)
    }

    /// Why charging stops or stopped, once this side knows.
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.data.stop.or(self.data.told)
    }

    /// Takes one input at `now`. What is refused has changed nothing.
    pub fn handle(&mut self, input: BuyerInput, now: Timestamp) -> Result<Vec<Action>, Refused> {
        let before = self.data.clone();
        let result = match input {
            BuyerInput::Linked(exporter) => self.on_linked(exporter, now),
            BuyerInput::Message(message) => self.on_message(message, now),
            BuyerInput::OnLedger(news) => self.on_ledger(news, now),
            BuyerInput::Confirmed(evse) => self.on_confirmed(evse, now),
            BuyerInput::CarMeter { energy, at } => {
                self.data.car = Some((energy, at));
                Ok(Vec::new())
            }
            BuyerInput::Stop => Ok(self.on_stop(now)),
            BuyerInput::Timer(timer) => self.on_timer(timer, now),
        };
        if result.is_err() {
            self.data = before;
        }
        result
    }

    fn on_linked(&mut self, exporter: Exporter, now: Timestamp) -> Result<Vec<Action>, Refused> {
        self.data.exporter = Some(exporter);
        let message = match self.data.state {
            State::Draft => Some(Message::Draft(Box::new(self.data.terms.clone()))),
            State::Offered => self.data.agreement.clone().map(|a| Message::Agreement(Box::new(a))),
            _ => self.data.checkpoint.clone().map(Message::Checkpoint),
        };
        let mut actions: Vec<Action> = message.map(Action::Send).into_iter().collect();
        actions.extend(self.start(now)?);
        // A stop that was lost is said again, for as long as the outlet may be on.
        if let Some(reason) = self.data.stop.filter(|_| self.data.state.rank() < State::Stopped.rank()) {
            actions.push(self.say_stop(reason, now));
        }
        Ok(actions)
    }

    fn on_message(&mut self, message: Message, now: Timestamp) -> Result<Vec<Action>, Refused> {
        let terms = &self.data.terms;
        match message {
            Message::Offer(offer) => self.on_offer(*offer, now),
            Message::Armed { contract, evse } => {
                let expected = self.id();
                if contract != expected {
                    return Err(Refused::AnotherContract { expected, found: contract });
                }
                same_evse(terms, evse)?;
                self.data.is_armed = true;
                self.start(now)
            }
            Message::Record(record) => self.on_record(record.verify(terms)?, now),
            Message::Stop(stop) => {
                stop.check(terms, terms.seller_key)?;
                self.data.told.get_or_insert(stop.body.reason);
                Ok(Vec::new())
            }
            Message::Release(release) => {
                let release = release.verify(terms)?.signed().clone();
                match self.data.state {
                    // The ledger decides what became of the escrow; its word ends the session.
                    State::Offered | State::Agreed | State::Armed => Ok(vec![Action::Release(release)]),
                    _ => Err(self.unexpected("release")),
                }
            }
            other => Err(self.unexpected(other.name())),
        }
    }

    fn on_offer(&mut self, offer: Offer, now: Timestamp) -> Result<Vec<Action>, Refused> {
        let (contract, valid_until) = (self.id(), offer.valid_until);
        if offer.terms != self.data.terms {
            return Err(Refused::AnotherDeal { auction: self.data.terms.auction, field: "offer" });
        }
        if Some(offer.exporter) != self.data.exporter {
            return Err(Refused::AnotherConnection(contract));
        }
        let verified = offer.verify()?;
        if now >= valid_until {
            return Err(Refused::OfferExpired { contract, valid_until, now });
        }
        match (self.data.state, &self.data.agreement) {
            // The driver has changed their mind: the seller hears it again and the draft lapses.
            (State::Draft, _) if self.data.stop.is_some() => {
                return Ok(vec![self.say_stop(StopReason::Driver, now)]);
            }
            (State::Draft, _) => {}
            // The agreement was lost: signing another offer of the same terms would gain nothing.
            (State::Offered, Some(agreement)) => {
                return Ok(vec![Action::Send(Message::Agreement(Box::new(agreement.clone())))]);
            }
            _ => return Ok(Vec::new()),
        }
        self.step(Trigger::Offer, now)?;
        let agreement = verified.agree(&self.key);
        self.data.agreement = Some(agreement.clone());
        self.data.timers.clear(Timer::Draft);
        let expiry = self.data.terms.expiry;
        Ok(vec![
            self.data.timers.set(Timer::Expiry, expiry),
            Action::Open(Box::new(agreement.clone())),
            Action::Send(Message::Agreement(Box::new(agreement))),
        ])
    }

    fn on_confirmed(&mut self, evse: EvseId, now: Timestamp) -> Result<Vec<Action>, Refused> {
        same_evse(&self.data.terms, evse)?;
        self.data.confirmed = Some(now);
        self.start(now)
    }

    /// Signs the start once the escrow is locked, a car was plugged in and the user confirmed the outlet's code, not
    /// longer than [`CONFIRMATION_VALIDITY`] ago: a phone that wakes up later must not start somebody else's charge.
    fn start(&mut self, now: Timestamp) -> Result<Vec<Action>, Refused> {
        let is_waiting = matches!(self.data.state, State::Agreed | State::Armed) && self.data.stop.is_none();
        let is_confirmed =
            self.data.confirmed.and_then(|at| now.since(at)).is_some_and(|ago| ago <= CONFIRMATION_VALIDITY);
        let Some(exporter) = self.data.exporter else { return Ok(Vec::new()) };
        if !(is_waiting && self.data.is_armed && is_confirmed) {
            return Ok(Vec::new());
        }
        let not_before = self.data.terms.not_before;
        if now < not_before {
            return Ok(vec![self.data.timers.set(Timer::NotBefore, not_before)]);
        }
        if self.data.state == State::Agreed {
            self.step(Trigger::Arm, now)?;
        }
        let start = Start { contract: self.id(), evse: self.data.terms.evse, exporter, at: now };
        self.data.started.get_or_insert(now);
        Ok(vec![Action::Send(Message::Start(Signed::new(start, &self.key)))])
    }

    fn on_record(&mut self, verified: VerifiedRecord, now: Timestamp) -> Result<Vec<Action>, Refused> {
        let record = verified.record().clone();
        if !matches!(self.data.state, State::Armed | State::Charging) {
            return match &self.data.checkpoint {
                // The last checkpoint was lost: it is sent again, and signed only once.
                Some(held) if held.record == *verified.signed() => {
                    Ok(vec![Action::Send(Message::Checkpoint(held.clone()))])
                }
                _ => Err(self.unexpected("record")),
            };
        }
        let known = self.record().map_or(0, |known| known.sequence);
        if record.sequence <= known {
            return Err(Refused::StaleRecord { contract: self.id(), known, found: record.sequence });
        }
        if self.data.state == State::Armed {
            self.step(Trigger::Start, now)?;
        }
        if record.is_final {
            self.step(Trigger::Stop, now)?;
        }
        if let Some(reason) = self.objection(&record, now) {
            return Ok(self.object(reason, record.is_final, now));
        }
        self.data.record = Some(verified.signed().clone());
        if !self.is_checkpoint_due(&record) {
            return Ok(Vec::new());
        }
        if record.is_final {
            self.step(Trigger::Close, now)?;
        }
        let checkpoint = Checkpoint::sign(&verified, &self.key);
        self.data.checkpoint = Some(checkpoint.clone());
        Ok(vec![Action::Send(Message::Checkpoint(checkpoint))])
    }

    /// What is wrong with a record, if anything; once something was, nothing is signed any more.
    fn objection(&self, record: &MeterRecord, now: Timestamp) -> Option<StopReason> {
        if self.data.objection.is_some() {
            return self.data.objection;
        }
        if let Some(known) = self.record() {
            if record.register_start != known.register_start {
                return Some(StopReason::RegisterChanged);
            }
            if record.energy < known.energy || record.at < known.at {
                return Some(StopReason::MeterRanBackwards);
            }
        }
        let started = self.data.started.expect("the buyer arms by signing a start");
        if exceeds_rated_power(&self.data.terms, started, record, now) {
            return Some(StopReason::AboveRatedPower);
        }
        let (car, at) = self.data.car?;
        let between = record.at.since(at).or(at.since(record.at)).unwrap_or_default();
        let tolerance =
            tolerance_wh(record.energy).saturating_add(self.data.terms.power_rated.times(between).as_wh());
        (record.energy.as_wh().abs_diff(car.as_wh()) > tolerance).then_some(StopReason::MetersDiffer)
    }

    fn object(&mut self, reason: StopReason, is_final: bool, now: Timestamp) -> Vec<Action> {
        let is_new = self.data.objection.is_none();
        self.data.objection = Some(reason);
        self.data.stop = Some(reason);
        if is_new && !is_final { vec![self.say_stop(reason, now)] } else { Vec::new() }
    }

    fn is_checkpoint_due(&self, record: &MeterRecord) -> bool {
        let started = self.data.started.expect("the buyer arms by signing a start");
        let held = self.data.checkpoint.as_ref().map(|c| &c.record.body);
        let (energy, at) = held.map_or((Energy::ZERO, started), |held| (held.energy, held.at));
        record.is_final
            || record.at.since(at).is_some_and(|since| since >= CHECKPOINT_INTERVAL)
            || record.energy.checked_sub(energy).is_some_and(|more| more >= CHECKPOINT_ENERGY)
    }

    fn on_stop(&mut self, now: Timestamp) -> Vec<Action> {
        if self.data.state.rank() >= State::Stopped.rank() || self.data.stop.is_some() {
            return Vec::new();
        }
        self.data.stop = Some(StopReason::Driver);
        vec![self.say_stop(StopReason::Driver, now)]
    }

    fn on_timer(&mut self, timer: Timer, now: Timestamp) -> Result<Vec<Action>, Refused> {
        self.data.timers.fire(timer, self.id(), now)?;
        match (timer, self.data.state) {
            (Timer::Draft, State::Draft) => {
                self.step(Trigger::Timeout, now)?;
                Ok(vec![Action::Abort(AbortReason::NoOffer)])
            }
            (Timer::NotBefore, _) => self.start(now),
            (Timer::Expiry, state) if !state.is_terminal() && state != State::Submitted => {
                Ok(vec![Action::Expire(self.id())])
            }
            _ => Ok(Vec::new()),
        }
    }

    fn on_ledger(&mut self, news: OnLedger, now: Timestamp) -> Result<Vec<Action>, Refused> {
        if self.data.state.is_terminal() {
            return Ok(Vec::new());
        }
        if let Some((end, bill)) = end_of(&self.data.terms, news)? {
            self.data.state = end;
            return Ok(vec![Action::Done(Box::new(self.receipt(end, bill, now)))]);
        }
        match (news, self.data.state) {
            (OnLedger::Opened { at }, State::Offered) => {
                self.step(Trigger::Agree, at)?;
                self.start(now)
            }
            (OnLedger::NotOpened { at }, State::Offered) => {
                self.step(Trigger::Timeout, at)?;
                self.data.timers.clear(Timer::Expiry);
                Ok(vec![Action::Abort(AbortReason::NotOpened)])
            }
            (OnLedger::Settled(Settlement::Claimed { .. }), _) => {
                self.data.state = State::Submitted;
                Ok(Vec::new())
            }
            _ => Ok(Vec::new()),
        }
    }

    fn receipt(&self, end: State, bill: Bill, now: Timestamp) -> Receipt {
        Receipt {
            stop: self.stop_reason(),
            energy_metered: self.record().map_or(Energy::ZERO, |record| record.energy),
            started: self.data.started,
            ..Receipt::new(&self.data.terms, end, bill, now)
        }
    }

    fn say_stop(&self, reason: StopReason, now: Timestamp) -> Action {
        let stop = Stop { contract: self.id(), reason, at: now };
        Action::Send(Message::Stop(Signed::new(stop, &self.key)))
    }

    fn unexpected(&self, what: &'static str) -> Refused {
        Refused::Unexpected { contract: self.id(), what, state: self.data.state }
    }

    fn step(&mut self, trigger: Trigger, now: Timestamp) -> Result<(), Refused> {
        let deadline = match self.data.state {
            State::Draft => self.data.lapse,
            State::Offered => self.valid_until().expect("the buyer holds an offer once it is offered"),
            _ => self.data.terms.expiry,
        };
        self.data.state = self.data.state.next(trigger, self.id(), deadline, now)?;
        Ok(())
    }
}

impl Canonical for BuyerSnapshot {
    const NAME: &'static str = "buyer's session";
    const MAX_BYTES: usize = SNAPSHOT_BYTES_MAX;
}

/// How long after the last checkpoint (or the start) the buyer signs the next record.
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(60);

/// How much more energy than at the last checkpoint (or the start) makes the buyer sign the next record.
pub const CHECKPOINT_ENERGY: Energy = Energy::from_wh(1_000);

/// How long a user's confirmation of the outlet's code may wait for the start.
pub const CONFIRMATION_VALIDITY: Duration = Duration::from_secs(5 * 60);
