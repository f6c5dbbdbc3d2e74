//! The contract part of a purchase: the session with the seller's agent, and what the ledger makes of the contract.

use super::{Phase, SavedSale, Seen, Step, Trade, Want, saved};
use crate::buyer::{BuyError, Ended, PurchaseNews, PurchaseReceipt, Timings};
use ohmesh_contract::{
    AbortReason, Action, Agreement, BuyerInput, BuyerSession, Checkpoint, Contract, Exporter, GridTariff,
    Message, OnLedger, Receipt, Refused, Settlement, Signed, Start, State, Terms,
};
use ohmesh_ledger::{Demand, End, Evse, Finished, Object};
use ohmesh_units::{Energy, EvseId, Hash, Timestamp};
use rand_core::CryptoRng;
use std::time::Duration;

impl Trade {
    pub(super) fn want_of_sale(&self, sale: &SavedSale) -> Want {
        if self.posted.is_some() {
            return Want::Register(sale.outlets[sale.outlet].id());
        }
        if sale.outlets.is_empty() {
            return Want::Outlets(sale.station);
        }
        if sale.demand.is_some() && sale.agreement.is_none() {
            return Want::Auction;
        }
        let Some(agent) = self.facts.agents.iter().position(|key| *key == sale.seller_key) else {
            return Want::Auction;
        };
        let session = self.session.as_ref();
        let contract = session.filter(|_| sale.is_open).map(|session| Hash::from(session.id()));
        let is_calm = matches!(
            session.map(BuyerSession::state),
            None | Some(State::Draft | State::Agreed | State::Armed | State::Charging | State::Submitted)
        );
        Want::Sale { agent, contract, is_urgent: !is_calm }
    }

    /// The outlets of the winning station, as the registry has them.
    pub(crate) fn on_outlets(&mut self, outlets: Vec<Evse>, now: Timestamp) {
        let super::Saved::Open(open) = &mut self.saved else { return };
        let (connectors, power_min) = (open.intent.terms.connectors.bits(), open.intent.terms.power_min);
        let Phase::Sale(sale) = &mut open.phase else { return };
        let station = sale.station;
        let fits = |outlet: &Evse| {
            outlet.station == station && outlet.connectors & connectors != 0 && outlet.power >= power_min
        };
        sale.outlets = outlets.into_iter().filter(fits).take(saved::OUTLETS_MAX).collect();
        if sale.outlets.is_empty() {
            return self.end(Ended::NoOutlet(station), now);
        }
        self.steps.push_back(Step::Save);
    }

    /// The connection to the seller's agent is up, with this keying material. What waited for another is dropped: the
    /// session says again what matters.
    pub(crate) fn on_linked(
        &mut self,
        exporter: Exporter,
        now: Timestamp,
        rng: &mut impl CryptoRng,
    ) -> Result<(), BuyError> {
        if self.exporter == Some(exporter) {
            return Ok(());
        }
        self.outbox.clear();
        (self.exporter, self.drafted) = (Some(exporter), Some(now));
        if self.session.is_some() {
            self.hear(BuyerInput::Linked(exporter), now);
            return Ok(());
        }
        let super::Saved::Open(open) = &self.saved else { return Ok(()) };
        let Phase::Sale(sale) = &open.phase else { return Ok(()) };
        let terms = self.contract_terms(sale, open.intent.terms.buyer, now, rng)?;
        let (session, actions) = BuyerSession::draft(open.signing_key()?, terms, exporter, now)?;
        self.session = Some(session);
        self.perform(actions, now);
        Ok(())
    }

    /// The agent did not take what was said: on the next exchange the session says again what matters.
    pub(crate) fn on_unheard(&mut self) {
        self.exporter = None;
    }

    /// Whether something waits to be said.
    pub(crate) fn has_messages(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// What waits to be said to the seller's agent, at most `count` messages.
    pub(crate) fn take_messages(&mut self, count: usize) -> Vec<Message> {
        let count = count.min(self.outbox.len());
        self.outbox.drain(..count).collect()
    }

    /// What the seller's agent says.
    pub(crate) fn on_messages(&mut self, messages: Vec<Message>, now: Timestamp) {
        for message in messages {
            let is_armed = matches!(message, Message::Armed { .. });
            let is_record = matches!(message, Message::Record(_));
            if !self.hear(BuyerInput::Message(message), now) {
                continue;
            }
            if let Some(evse) = self.evse().filter(|_| is_armed && self.settings.auto_confirm) {
                self.hear(BuyerInput::Confirmed(evse), now);
            }
            let energy = self.session.as_ref().and_then(BuyerSession::record).map(|record| record.energy);
            if let Some(energy) = energy.filter(|_| is_record) {
                self.tell(PurchaseNews::Charging { energy });
            }
        }
    }

    /// What the user says: the code of an outlet, the car's meter, stop.
    pub(crate) fn on_user(&mut self, input: BuyerInput, now: Timestamp) -> Result<(), BuyError> {
        let session = self.session.as_mut().ok_or(BuyError::NoContract(self.auction))?;
        let actions = session.handle(input, now)?;
        self.perform(actions, now);
        Ok(())
    }

    /// The outlet whose code the user has to confirm, once there is a contract to sign.
    pub(crate) fn evse(&self) -> Option<EvseId> {
        self.session.as_ref().map(|session| session.terms().evse)
    }

    /// Hands in the timers that are due.
    pub(crate) fn on_time(&mut self, now: Timestamp) {
        // The seller's agent may not have seen its own acceptance when the draft came, and then has dropped it.
        let is_draft = self.session.as_ref().is_some_and(|session| session.state() == State::Draft);
        let is_old = self.drafted.and_then(|at| now.since(at)).is_some_and(|ago| ago >= DRAFT_AGAIN);
        if is_draft && is_old {
            self.exporter = None;
        }
        let due: Vec<_> = self.timers.iter().filter(|(_, at)| **at <= now).map(|(timer, _)| *timer).collect();
        for timer in due {
            self.timers.remove(&timer);
            self.hear(BuyerInput::Timer(timer), now);
        }
    }

    /// The auction still runs: the contract is not open yet.
    pub(super) fn on_not_contracted_yet(&mut self, time: Timestamp, now: Timestamp) {
        let Some(session) = self.session.as_ref().filter(|session| session.state() == State::Offered) else {
            return;
        };
        if session.valid_until().is_some_and(|until| time >= until) {
            self.hear(BuyerInput::OnLedger(OnLedger::NotOpened { at: time }), now);
        } else {
            self.submit(now);
        }
    }

    /// The auction ended after its winner accepted: in the contract, or in nothing.
    pub(super) fn on_auction_over(&mut self, end: End, time: Timestamp, now: Timestamp) {
        let own = self.session.as_ref().map(|session| (session.id(), session.state(), session.valid_until()));
        match (end, own) {
            (End::Contracted(id), Some((own, state, until))) if id == own => {
                self.opened(state, until, time, now);
            }
            (_, Some((own, State::Offered, _))) => self.end(Ended::NotOpened(own), now),
            _ => {
                let refused = self.refused.take();
                if let Some(station) = self.sale().map(|sale| sale.station) {
                    self.end(Ended::SellerSilent { station, refused }, now);
                }
            }
        }
    }

    /// The contract as an agent has proven it.
    pub(crate) fn on_contract(&mut self, seen: Seen, now: Timestamp) {
        match seen.object {
            Some(Object::Contract(contract)) => self.on_claim(*contract, now),
            Some(Object::Finished(finished)) => match finished.end {
                End::Posted => self.posted = Some(finished),
                End::Expired => drop(self.hear(BuyerInput::OnLedger(OnLedger::Expired), now)),
                _ => drop(self.hear(BuyerInput::OnLedger(OnLedger::Released), now)),
            },
            _ => {}
        }
    }

    /// The contract while something is claimed of it. The newest is kept: what is paid in the end is told from it.
    fn on_claim(&mut self, contract: Contract, now: Timestamp) {
        let (Some(bill), until) = (contract.claim().copied(), contract.deadline()) else { return };
        let Some(sale) = self.sale_mut() else { return };
        let before = sale.claimed.replace(contract.clone());
        let news = match before {
            None => PurchaseNews::Claimed { bill, until },
            Some(before) if before == contract => return,
            Some(before) if before.state() != contract.state() => PurchaseNews::Disputed { bill, until },
            Some(_) => PurchaseNews::ClaimLowered { bill, until },
        };
        let is_first = matches!(news, PurchaseNews::Claimed { .. });
        self.steps.push_back(Step::Save);
        self.tell(news);
        if is_first {
            self.hear(BuyerInput::OnLedger(OnLedger::Settled(Settlement::Claimed { bill, until })), now);
        }
        if is_first && contract.state() == State::Disputed {
            self.tell(PurchaseNews::Disputed { bill, until });
        }
    }

    /// The outlet after the contract was paid: what of its meter's register was sold tells which of the records that this
    /// side signed was settled.
    pub(crate) fn on_register(&mut self, outlet: &Evse, now: Timestamp) {
        let (Some(finished), Some(sale)) = (&self.posted, self.sale()) else { return };
        let settlement = claim_paid(sale, finished).or_else(|| checkpoint_paid(sale, finished, outlet));
        match (settlement, sale.agreement.as_ref().map(|agreement| agreement.offer.terms.id())) {
            (Some(paid), _) => drop(self.hear(BuyerInput::OnLedger(OnLedger::Settled(paid)), now)),
            (None, Some(contract)) => self.end(Ended::Unexplained(contract), now),
            (None, None) => {}
        }
    }

    fn opened(&mut self, state: State, until: Option<Timestamp>, time: Timestamp, now: Timestamp) {
        // The block that opened it was in time; the header it is proven against may be younger.
        let latest = until.map_or(time, |until| Timestamp::from_millis(until.as_millis().saturating_sub(1)));
        let opened = OnLedger::Opened { at: time.min(latest) };
        let Some(sale) = self.sale_mut() else { return };
        if std::mem::replace(&mut sale.is_open, true) {
            return;
        }
        (sale.secret, sale.demand) = (None, None);
        let agreed = sale.agreement.as_ref().map(|agreement| agreement.offer.terms.clone());
        if state == State::Offered {
            self.hear(BuyerInput::OnLedger(opened), now);
        }
        let super::Saved::Open(open) = &mut self.saved else { return };
        open.timings.contract_open = Some(now);
        self.steps.push_back(Step::Save);
        if let Some(terms) = agreed {
            let (contract, evse, escrow) = (terms.id(), terms.evse, terms.escrow);
            self.tell(PurchaseNews::ContractOpen { contract, evse, escrow });
        }
    }

    /// Hands the session what others say; gives whether it was taken.
    fn hear(&mut self, input: BuyerInput, now: Timestamp) -> bool {
        let Some(session) = &mut self.session else { return false };
        match session.handle(input, now) {
            Ok(actions) => {
                self.perform(actions, now);
                true
            }
            // Repeated by an agent that did not hear the answer; or a timer that is no longer set.
            Err(Refused::StaleRecord { .. } | Refused::TimerNotDue(_)) => false,
            Err(refused) => {
                self.steps.push_back(Step::Fault(Box::new(refused)));
                false
            }
        }
    }

    /// What the session asks for. Its snapshot is durable before any of it is done.
    pub(super) fn perform(&mut self, actions: Vec<Action>, now: Timestamp) {
        self.steps.push_back(Step::Save);
        if let (Some(session), Some(sale)) = (&self.session, sale_of(&mut self.saved)) {
            sale.session = Some(session.snapshot().clone());
        }
        for action in actions {
            match action {
                Action::Send(message) => self.send(message),
                Action::Open(agreement) => {
                    self.keep_agreement(*agreement);
                    self.submitted = None;
                    self.submit(now);
                }
                Action::SetTimer { timer, at } => {
                    self.timers.insert(timer, at);
                }
                Action::Done(receipt) => self.done(*receipt, now),
                Action::Abort(reason) => self.aborted(reason, now),
                // The ledger gives an expired escrow back by itself, and takes a waiver from the seller alone; the rest
                // is a seller's.
                Action::Expire(_)
                | Action::Release(_)
                | Action::StartCharging(_)
                | Action::StopCharging(_)
                | Action::Settle(_) => {}
            }
        }
    }

    fn send(&mut self, message: Message) {
        if let Some(sale) = self.sale_mut() {
            match &message {
                Message::Start(start) => saved::keep(&mut sale.starts, start.clone()),
                Message::Checkpoint(checkpoint) if sale.checkpoints.last() != Some(checkpoint) => {
                    saved::keep(&mut sale.checkpoints, checkpoint.clone());
                }
                _ => {}
            }
        }
        // The session says again what matters when the connection is new.
        if self.outbox.len() == OUTBOX_MAX {
            self.outbox.pop_front();
        }
        self.outbox.push_back(message);
    }

    fn keep_agreement(&mut self, agreement: Agreement) {
        if let Some(sale) = self.sale_mut() {
            sale.agreement = Some(agreement);
        }
    }

    fn done(&mut self, receipt: Receipt, now: Timestamp) {
        let Some(station) = self.sale().map(|sale| sale.station) else { return };
        match receipt.end {
            State::Settled => {
                let timings = Timings { ended: Some(now), ..self.timings() };
                let receipt = Box::new(PurchaseReceipt { sale: receipt, station, timings });
                self.over(super::Saved::Settled(receipt.clone()));
                self.tell(PurchaseNews::Receipt(receipt));
            }
            State::Void => self.end(Ended::Waived(receipt.contract), now),
            _ => self.end(Ended::Expired(receipt.contract), now),
        }
    }

    /// Nothing is locked: without an offer for one outlet the next is asked for, as the seller may have bid with that.
    fn aborted(&mut self, reason: AbortReason, now: Timestamp) {
        let own = self.session.as_ref().map(BuyerSession::id);
        match (reason, own) {
            (AbortReason::NotOpened, Some(id)) => self.end(Ended::NotOpened(id), now),
            (AbortReason::Released, Some(id)) => self.end(Ended::Waived(id), now),
            _ => {
                let accepted = self.timings().accepted.unwrap_or(now);
                let is_late = now.since(accepted).is_some_and(|ago| ago >= DEMAND_AFTER);
                let drafted = self.session.take().map(|session| Box::new(session.terms().clone()));
                self.exporter = None;
                self.timers.clear();
                let Some(sale) = self.sale_mut() else { return };
                sale.session = None;
                if sale.outlet + 1 < sale.outlets.len() && !is_late {
                    sale.outlet += 1;
                } else {
                    sale.demand = drafted;
                    self.steps.push_back(Step::Save);
                    self.submitted = None;
                    self.submit(now);
                }
            }
        }
    }

    /// What the ledger shows of the demand: the winner's answer is all that is needed to open the contract.
    pub(super) fn on_demand(&mut self, demand: Option<Demand>, now: Timestamp) -> Result<(), BuyError> {
        let offer = match demand {
            Some(Demand::Answered(offer)) => *offer,
            Some(Demand::Asked(_)) => return Ok(()),
            None => {
                self.submit(now);
                return Ok(());
            }
        };
        let super::Saved::Open(open) = &mut self.saved else { return Ok(()) };
        let key = open.signing_key()?;
        let Phase::Sale(sale) = &mut open.phase else { return Ok(()) };
        let answered = sale.outlets.iter().position(|outlet| outlet.id() == offer.terms.evse);
        // The ledger has checked that it is an outlet of this station; one that was never fetched is no use here.
        let Some(outlet) = answered else { return Ok(()) };
        sale.outlet = outlet;
        let (mut session, _) = BuyerSession::draft(key, offer.terms.clone(), offer.exporter, now)?;
        let actions = session.handle(BuyerInput::Message(Message::Offer(Box::new(offer))), now)?;
        self.session = Some(session);
        self.perform(actions, now);
        Ok(())
    }

    fn contract_terms(
        &self,
        sale: &SavedSale,
        buyer_key: ohmesh_units::PublicKey,
        now: Timestamp,
        rng: &mut impl CryptoRng,
    ) -> Result<Terms, BuyError> {
        let outlet = &sale.outlets[sale.outlet];
        let energy_max = self.terms()?.energy.energy();
        let tariff = self.facts.tariff(now).ok_or(BuyError::Clock)?;
        let mut number = [0; 16];
        rng.fill_bytes(&mut number);
        Ok(Terms {
            zone: self.facts.zone,
            auction: self.auction,
            buyer: self.facts.buyer,
            buyer_key,
            seller: outlet.owner,
            seller_key: sale.seller_key,
            evse: outlet.id(),
            meter_key: outlet.meter,
            price: sale.price,
            energy_max,
            power_rated: outlet.power,
            grid: GridTariff { version: tariff.version, price: tariff.price },
            escrow: sale.price.times(energy_max).ok_or(BuyError::PriceCap(sale.price))?,
            not_before: now,
            expiry: now.checked_add(self.settings.contract_for).ok_or(BuyError::Clock)?,
            number: u128::from_be_bytes(number),
        })
    }

    fn sale(&self) -> Option<&SavedSale> {
        match &self.saved {
            super::Saved::Open(open) => match &open.phase {
                Phase::Sale(sale) => Some(sale),
                _ => None,
            },
            _ => None,
        }
    }

    fn sale_mut(&mut self) -> Option<&mut SavedSale> {
        sale_of(&mut self.saved)
    }
}

fn sale_of(saved: &mut super::Saved) -> Option<&mut SavedSale> {
    match saved {
        super::Saved::Open(open) => match &mut open.phase {
            Phase::Sale(sale) => Some(sale),
            _ => None,
        },
        _ => None,
    }
}

/// The claim that the ledger has shown, if it is what was paid, or what it was lowered to: by the seller since this node
/// last looked, or by whoever decided a dispute. What is left of a contract is the hash of its end, and no two amounts of
/// energy have the same.
fn claim_paid(sale: &SavedSale, finished: &Finished) -> Option<Settlement> {
    let claimed = sale.claimed.as_ref()?;
    let energy = claimed.claim()?.energy.as_wh();
    let least = energy.saturating_sub(LOWERED_BY_MAX_WH);
    let paid = |energy| paid_as(claimed.clone(), Energy::from_wh(energy), finished);
    (least..=energy).rev().find_map(paid)
}

/// The bill of `contract` if it was paid for this much energy.
fn paid_as(mut contract: Contract, energy: Energy, finished: &Finished) -> Option<Settlement> {
    if energy < contract.claim()?.energy {
        contract.lower(contract.terms().seller, energy, Timestamp::EPOCH).ok()?;
    }
    let bill = contract.conclude(contract.deadline()).ok()?;
    is_what_is_left(contract, finished).then_some(Settlement::Paid(bill))
}

/// The newest checkpoint of which the outlet's register has sold all, if what is left of the contract is that of one that
/// a checkpoint settled.
fn checkpoint_paid(sale: &SavedSale, finished: &Finished, outlet: &Evse) -> Option<Settlement> {
    let agreement = sale.agreement.as_ref()?;
    let meter = agreement.offer.terms.meter_key;
    let settled = |checkpoint: &Checkpoint| {
        let record = &checkpoint.record.body;
        let end = record.register_end();
        let is_counted = end.is_some_and(|end| outlet.has_sold(&meter, record.register_start, end));
        let starts = sale.starts.iter().rev().filter(|_| is_counted);
        starts
            .filter_map(|start| settle(agreement, start, checkpoint))
            .find_map(|(contract, settlement)| is_what_is_left(contract, finished).then_some(settlement))
    };
    sale.checkpoints.iter().rev().find_map(settled)
}

/// The contract as the ledger holds it after `start` and a settlement by `checkpoint`.
fn settle(
    agreement: &Agreement,
    start: &Signed<Start>,
    checkpoint: &Checkpoint,
) -> Option<(Contract, Settlement)> {
    let (agreement, at) = (agreement.clone().verify().ok()?, start.body.at);
    let terms = agreement.terms().clone();
    let mut contract = Contract::open(&agreement, terms.not_before).ok()?;
    contract.start(&start.clone().verify(&terms).ok()?, at).ok()?;
    let (record, checkpoint) =
        (checkpoint.record.clone().verify(&terms).ok()?, checkpoint.clone().verify(&terms).ok()?);
    let settlement = contract.settle(terms.seller, &record, Some(&checkpoint), at).ok()?;
    Some((contract, settlement))
}

fn is_what_is_left(contract: Contract, finished: &Finished) -> bool {
    Finished::of(&Object::Contract(Box::new(contract)), End::Posted) == *finished
}

/// By how much less than the newest claim seen a sale may have been paid for this node to find out: 1 MWh, more than a
/// lorry takes; so many hashes are about a second.
const LOWERED_BY_MAX_WH: u64 = 1_000_000;
/// How long after the acceptance a winner that made no offer is asked for one on the ledger, even if it has more outlets:
/// the ledger gives it two minutes then, of the ten that the buyer has for the contract.
const DEMAND_AFTER: Duration = Duration::from_secs(180);
/// How long an unanswered draft waits until it is said again: two blocks.
const DRAFT_AGAIN: Duration = Duration::from_secs(2);
/// Messages that wait for the seller's agent.
const OUTBOX_MAX: usize = 64;
