//! Chargers' events: plug-ins, readings, ends of transactions. They become inputs of the session of whoever holds the
//! outlet.

use super::{
    OpenTransaction, OutletStatus, Seller, SellerTimer,
    bidding::{is_own_token, later},
};
use ohmesh_contract::{Reading, SellerInput, State as ContractState};
use ohmesh_ocpp::{
    ChargerName,
    session::{Command, Event, EvseState, StopCause, TransactionKey},
};
use ohmesh_units::{AuctionId, Energy, EvseId, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The transaction through which a sale's energy flows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Flow {
    pub(super) transaction: TransactionKey,
    /// What the transaction had delivered before the sale's start.
    before: Energy,
    /// What it has delivered to the sale; never falls.
    pub(super) delivered: Energy,
    /// When that was read.
    at: Timestamp,
    pub(super) has_ended: bool,
}

impl Seller {
    pub(super) fn on_charger(&mut self, now: Timestamp, charger: &ChargerName, event: Event) {
        match event {
            Event::Online { .. } => self.on_link(now, charger, true),
            Event::Offline { .. } => self.on_link(now, charger, false),
            Event::State { evse, state, .. } => {
                if let Some(evse) = self.outlet_of(charger, evse) {
                    self.on_state(now, evse, state);
                }
            }
            Event::PluggedIn { evse, at } => {
                if let Some(evse) = self.outlet_of(charger, evse) {
                    self.on_plugged(now, evse, at);
                }
            }
            Event::TransactionStarted { evse, transaction, token, meter_start, at, .. } => {
                if let Some(evse) = self.outlet_of(charger, evse) {
                    self.hear_register(evse, meter_start);
                    let open = OpenTransaction { key: transaction, token, energy: Energy::ZERO };
                    self.on_transaction(now, evse, open, at);
                }
            }
            Event::Metered { evse, transaction, energy, register, at, .. } => {
                if let Some(evse) = self.outlet_of(charger, evse) {
                    self.hear_register(evse, register);
                    self.on_metered(now, evse, &transaction, energy, at);
                }
            }
            Event::TransactionStopped { evse, transaction, energy, register, at, reason, .. } => {
                if let Some(evse) = self.outlet_of(charger, evse) {
                    self.hear_register(evse, register);
                    let is_unplugged = reason == StopCause::Charger("EVDisconnected");
                    self.on_stopped(now, evse, &transaction, energy, at, is_unplugged);
                }
            }
            _ => {}
        }
    }

    /// The whole state of an outlet: what differs from what was known is taken as if its event had come.
    pub(super) fn on_outlet(
        &mut self,
        now: Timestamp,
        charger: &ChargerName,
        evse: u16,
        status: OutletStatus,
    ) {
        let Some(evse) = self.outlet_of(charger, evse) else { return };
        self.hear_register(evse, status.register);
        let flow = self.sale_at(&evse).and_then(|auction| self.sales[&auction].kept.flow.clone());
        let still_open = status.open.as_ref().map(|open| &open.key);
        if let Some(flow) = flow.filter(|flow| !flow.has_ended && still_open != Some(&flow.transaction)) {
            let energy = flow.before.checked_add(flow.delivered).unwrap_or(flow.delivered);
            self.on_stopped(now, evse, &flow.transaction, energy, flow.at, false);
        }
        if let Some(outlet) = self.outlets.get_mut(&evse) {
            outlet.running = None;
            outlet.online = status.online;
        }
        if let Some(open) = status.open {
            let (key, energy) = (open.key.clone(), open.energy);
            self.on_transaction(now, evse, open, now);
            self.on_metered(now, evse, &key, energy, now);
        }
        self.on_state(now, evse, status.state);
        self.drive_at(now, evse);
    }

    fn on_link(&mut self, now: Timestamp, charger: &ChargerName, online: bool) {
        let of_charger = |outlet: &&mut super::Outlet| outlet.set.charger == *charger;
        let mut evses = Vec::new();
        for outlet in self.outlets.values_mut().filter(of_charger) {
            outlet.online = online;
            evses.push(outlet.set.id);
        }
        if online {
            evses.into_iter().for_each(|evse| self.drive_at(now, evse));
        }
    }

    fn on_state(&mut self, now: Timestamp, evse: EvseId, state: EvseState) {
        let Some(outlet) = self.outlets.get_mut(&evse) else { return };
        outlet.state = state;
        let Some(auction) = self.sale_at(&evse) else { return };
        match state {
            // While energy flows, the end of the transaction says it, with the last reading.
            EvseState::Available | EvseState::Reserved if !self.sales[&auction].is_flowing() => {
                if self.tell(now, auction, SellerInput::Unplugged)
                    && let Some(sale) = self.sales.get_mut(&auction)
                    && sale.state().is_some_and(|state| state.rank() < ContractState::Charging.rank())
                {
                    sale.kept.plugged = None;
                }
            }
            EvseState::Faulted => {
                self.tell(now, auction, SellerInput::Stop);
            }
            _ => {}
        }
    }

    /// A car was plugged in. The session counts from the newest register known, and never from below what was sold.
    fn on_plugged(&mut self, now: Timestamp, evse: EvseId, at: Timestamp) {
        let Some(auction) = self.sale_at(&evse) else { return };
        let Some(outlet) = self.outlets.get(&evse) else { return };
        let sold = self.sales.values().filter(|sale| sale.kept.evse == evse).filter_map(|sale| {
            let delivered = sale.kept.flow.as_ref().map_or(Energy::ZERO, |flow| flow.delivered);
            sale.kept.plugged?.checked_add(delivered)
        });
        let known = [outlet.register, outlet.registered].into_iter().flatten();
        let register = known.chain(sold).max().unwrap_or_default();
        let reading = Reading { register, at };
        if self.tell(now, auction, SellerInput::Plugged { evse, reading })
            && let Some(sale) = self.sales.get_mut(&auction)
        {
            sale.kept.plugged = Some(register);
        }
    }

    /// A transaction is open: the sale's own, somebody else's, or one of ours that nobody waits for.
    fn on_transaction(&mut self, now: Timestamp, evse: EvseId, open: OpenTransaction, at: Timestamp) {
        let Some(outlet) = self.outlets.get_mut(&evse) else { return };
        outlet.running = Some(open.clone());
        let auction = self.sale_at(&evse);
        let sale = auction.and_then(|auction| self.sales.get_mut(&auction));
        let is_ours = |token: &str| open.token.as_ref().is_some_and(|open| open.eq_ignore_ascii_case(token));
        if let Some(sale) = sale
            && (open.token.is_none() || is_ours(&sale.kept.token))
            && sale.wants_flow()
        {
            if sale.kept.flow.is_none() {
                sale.is_start_taken |= open.token.is_some();
                let before = if open.token.is_none() { open.energy } else { Energy::ZERO };
                let (delivered, transaction) = (Energy::ZERO, open.key);
                sale.kept.flow = Some(Flow { transaction, before, delivered, at, has_ended: false });
            }
            return;
        }
        let is_flow = auction.is_some_and(|auction| {
            self.sales[&auction].kept.flow.as_ref().is_some_and(|flow| flow.transaction == open.key)
        });
        if !is_flow && open.token.as_deref().is_some_and(is_own_token) {
            self.command(&evse, Command::Stop { transaction: open.key });
        }
        if is_flow {
            self.drive_at(now, evse);
        }
    }

    fn on_metered(
        &mut self,
        now: Timestamp,
        evse: EvseId,
        transaction: &TransactionKey,
        energy: Energy,
        at: Timestamp,
    ) {
        let running = self.outlets.get_mut(&evse).and_then(|outlet| outlet.running.as_mut());
        if let Some(running) = running.filter(|running| running.key == *transaction) {
            running.energy = energy;
        }
        if let Some((auction, reading)) = self.deliver(evse, transaction, energy, at, false) {
            self.tell(now, auction, SellerInput::Reading(reading));
        }
    }

    fn on_stopped(
        &mut self,
        now: Timestamp,
        evse: EvseId,
        transaction: &TransactionKey,
        energy: Energy,
        at: Timestamp,
        is_unplugged: bool,
    ) {
        let Some(outlet) = self.outlets.get_mut(&evse) else { return };
        if outlet.running.as_ref().is_some_and(|running| running.key == *transaction) {
            outlet.running = None;
        }
        let Some((auction, reading)) = self.deliver(evse, transaction, energy, at, true) else { return };
        if is_unplugged {
            self.tell(now, auction, SellerInput::Unplugged);
        }
        self.tell(now, auction, SellerInput::LastReading(reading));
    }

    /// Counts energy of a sale's own transaction: the sale, and the meter as its session sees it.
    fn deliver(
        &mut self,
        evse: EvseId,
        transaction: &TransactionKey,
        energy: Energy,
        at: Timestamp,
        ends: bool,
    ) -> Option<(AuctionId, Reading)> {
        let of = |sale: &&mut super::Sale| {
            let flow = sale.kept.flow.as_ref();
            sale.kept.evse == evse
                && flow.is_some_and(|flow| flow.transaction == *transaction && !flow.has_ended)
        };
        let sale = self.sales.values_mut().find(of)?;
        let (plugged, flow) = (sale.kept.plugged?, sale.kept.flow.as_mut()?);
        flow.delivered = flow.delivered.max(energy.checked_sub(flow.before).unwrap_or_default());
        flow.at = flow.at.max(at);
        flow.has_ended = ends;
        let register = plugged.checked_add(flow.delivered)?;
        Some((sale.kept.auction, Reading { register, at: flow.at }))
    }

    /// The session wants energy to flow.
    pub(super) fn start_flow(&mut self, now: Timestamp, auction: AuctionId) {
        let Some(sale) = self.sales.get_mut(&auction) else { return };
        let running = self.outlets.get(&sale.kept.evse).and_then(|outlet| outlet.running.clone());
        if sale.kept.flow.is_none() {
            // Some chargers begin the transaction when the cable is plugged in, and authorise it later.
            if let Some(open) = running.filter(|open| open.token.is_none()) {
                let (transaction, before) = (open.key, open.energy);
                let delivered = Energy::ZERO;
                sale.kept.flow = Some(Flow { transaction, before, delivered, at: now, has_ended: false });
            }
            self.set_timer(now, SellerTimer::Start(auction), later(now, START_TIMEOUT));
        }
        self.drive(now, auction);
    }

    /// The session wants the outlet off, and then the last reading.
    pub(super) fn stop_flow(&mut self, now: Timestamp, auction: AuctionId) {
        let Some(sale) = self.sales.get_mut(&auction) else { return };
        sale.kept.is_halted = true;
        if sale.is_flowing() {
            return self.drive(now, auction);
        }
        // Nothing flows, or no longer: the last reading is known.
        let Some(plugged) = sale.kept.plugged else { return };
        let last = sale.kept.flow.as_ref().map_or((Energy::ZERO, now), |flow| (flow.delivered, flow.at));
        if let Some(register) = plugged.checked_add(last.0) {
            self.tell(now, auction, SellerInput::LastReading(Reading { register, at: last.1 }));
        }
    }

    /// The charger was to start and has not: the sale ends with nothing charged.
    pub(super) fn on_start_late(&mut self, now: Timestamp, auction: AuctionId) {
        let waits = |sale: &super::Sale| sale.wants_flow() && sale.kept.flow.is_none();
        if self.sales.get(&auction).is_some_and(waits) {
            self.tell(now, auction, SellerInput::Stop);
        }
    }

    /// A register as a charger said it; one that no outlet reaches in its life is not believed.
    fn hear_register(&mut self, evse: EvseId, register: Option<Energy>) {
        if let (Some(outlet), Some(register)) = (self.outlets.get_mut(&evse), register)
            && register <= REGISTER_MAX
        {
            outlet.register = Some(register);
        }
    }

    fn outlet_of(&self, charger: &ChargerName, evse: u16) -> Option<EvseId> {
        let is_it =
            |outlet: &&super::Outlet| outlet.set.charger == *charger && outlet.set.charger_evse == evse;
        self.outlets.values().find(is_it).map(|outlet| outlet.set.id)
    }
}

/// How long a charger that was told to start may take: a car that sleeps, a connection that is down.
const START_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// 10 GWh: a megawatt for more than a year without a pause.
const REGISTER_MAX: Energy = Energy::from_wh(10_000_000_000);
