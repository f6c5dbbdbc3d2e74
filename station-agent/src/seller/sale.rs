//! One sale: who may speak for it, its session, and what waits for its buyer.

use super::{
    CommandTag, Effect, Goal, Seller, SellerEvent, SellerTimer,
    bidding::{later, running},
    metering::Flow,
    outbox::Outgoing,
};
use ohmesh_contract::{
    AbortReason, Action, Contract, Exporter, GridTariff, Message, Receipt, Refused, Sale as Deal,
    SellerInput, SellerKeys, SellerSession, State as ContractState, Terms,
};
use ohmesh_ledger::{Body, Demand, Query, State};
use ohmesh_ocpp::session::{Command, EvseState};
use ohmesh_units::{AuctionId, Energy, EvseId, Power, Price, PublicKey, StationId, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A sale from the accepted award to its end.
pub(super) struct Sale {
    pub(super) kept: Kept,
    pub(super) session: Option<SellerSession>,
    /// The connection that the session speaks over.
    exporter: Option<Exporter>,
    /// What waits for the buyer: of each kind the newest.
    outbound: Vec<Message>,
    /// The command under way, if it starts or stops.
    pub(super) commanded: Option<CommandTag>,
    /// Whether the charger has taken the start.
    pub(super) is_start_taken: bool,
    /// How often the charger was told to stop.
    pub(super) stops: u8,
}

/// What of a sale survives a restart, beside its session.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) auction: AuctionId,
    pub(super) station: StationId,
    /// The buyer's transport key, from the award; none: the award named no such key, and nobody can speak for it.
    pub(super) peer: Option<PublicKey>,
    pub(super) buyer_key: PublicKey,
    pub(super) price: Price,
    pub(super) energy: Energy,
    pub(super) connectors: u16,
    pub(super) power_min: Power,
    pub(super) evse: EvseId,
    pub(super) token: String,
    pub(super) reservation: i32,
    /// Whether the charger was told to keep the outlet, and not told otherwise since.
    pub(super) is_reserved: bool,
    /// The register at the plug-in that the session counts from.
    pub(super) plugged: Option<Energy>,
    pub(super) flow: Option<Flow>,
    /// Whether the session has switched the outlet off for good.
    pub(super) is_halted: bool,
    /// The contract as the ledger has it.
    pub(super) contract: Option<Box<Contract>>,
    pub(super) receipt: Option<Box<Receipt>>,
}

impl Sale {
    pub(super) fn new(kept: Kept) -> Self {
        Self {
            is_start_taken: kept.flow.is_some(),
            kept,
            session: None,
            exporter: None,
            outbound: Vec::new(),
            commanded: None,
            stops: 0,
        }
    }

    pub(super) fn state(&self) -> Option<ContractState> {
        self.session.as_ref().map(SellerSession::state)
    }

    /// Whether its outlet is nobody else's: until the flow has ended, or nothing can flow any more.
    pub(super) fn holds(&self) -> bool {
        let is_before_stop = self.state().is_none_or(|state| state.rank() < ContractState::Stopped.rank());
        is_before_stop || self.is_flowing()
    }

    pub(super) fn is_flowing(&self) -> bool {
        self.kept.flow.as_ref().is_some_and(|flow| !flow.has_ended)
    }

    /// Whether energy is to flow.
    pub(super) fn wants_flow(&self) -> bool {
        !self.kept.is_halted && matches!(self.state(), Some(ContractState::Charging | ContractState::Paused))
    }

    /// The newest of each kind waits: an older record or offer means nothing beside it.
    fn queue(&mut self, message: Message) {
        self.outbound.retain(|waiting| waiting.name() != message.name());
        self.outbound.push(message);
    }
}

impl Seller {
    /// A buyer's exchange: hands in its messages, answers what waits for it.
    pub(super) fn on_sale(
        &mut self,
        now: Timestamp,
        auction: AuctionId,
        from: PublicKey,
        exporter: Exporter,
        messages: Vec<Message>,
    ) {
        let sale = self.sales.get_mut(&auction).filter(|sale| sale.kept.peer == Some(from));
        let Some(sale) = sale.filter(|_| messages.len() <= Query::SALE_MESSAGES_MAX) else {
            self.effects.push(Effect::Reply(Vec::new()));
            return self.note(SellerEvent::Stranger { auction, from });
        };
        if sale.exporter.replace(exporter) != Some(exporter) {
            self.tell(now, auction, SellerInput::Linked(exporter));
        }
        for message in messages {
            let has_session = self.sales.get(&auction).is_some_and(|sale| sale.session.is_some());
            match message {
                Message::Draft(terms) if !has_session => self.on_draft(now, auction, *terms, exporter),
                message => {
                    self.tell(now, auction, SellerInput::Message(message));
                }
            }
        }
        let waiting = self.sales.get_mut(&auction).map(|sale| std::mem::take(&mut sale.outbound));
        self.effects.push(Effect::Reply(waiting.unwrap_or_default()));
    }

    /// A first draft. It may name another outlet of the station than the one held, if that is free and fits.
    fn on_draft(&mut self, now: Timestamp, auction: AuctionId, draft: Terms, exporter: Exporter) {
        let Some(sale) = self.sales.get(&auction) else { return };
        let (kept, evse) = (sale.kept.clone(), draft.evse);
        if !self.can_serve(&kept, &evse) {
            return self.note(SellerEvent::Unfit { auction, evse });
        }
        let Some((deal, keys)) = self.deal(&kept, evse) else { return };
        let offered = SellerSession::offer(keys, &deal, draft, exporter, now);
        if let Some(actions) = self.begin(now, auction, evse, offered) {
            self.act(now, auction, actions);
        }
    }

    /// The buyer, who got no offer, demands one on the ledger: it is answered there, for the outlet that is demanded or
    /// the one that is held.
    fn on_demand(&mut self, now: Timestamp, auction: AuctionId, demanded: &Terms) {
        let is_answered = |other: &Outgoing| other.auction == auction && other.goal == Goal::Offer;
        let Some(sale) = self.sales.get(&auction) else { return };
        if self.outbox.iter().any(is_answered) {
            return;
        }
        let kept = sale.kept.clone();
        let evse = if self.can_serve(&kept, &demanded.evse) { demanded.evse } else { kept.evse };
        let Some((deal, keys)) = self.deal(&kept, evse) else { return };
        let (meter_key, power_rated) = (keys.meter.public(), deal.power_rated);
        let terms = Terms { evse, meter_key, power_rated, ..demanded.clone() };
        let answered = SellerSession::answer(keys, &deal, terms, later(now, ANSWER_VALIDITY), now);
        for action in self.begin(now, auction, evse, answered).into_iter().flatten() {
            if let Action::Send(Message::Offer(offer)) = action {
                self.submit(auction, Goal::Offer, Body::AuctionOffer(offer));
            }
        }
    }

    /// Whether this outlet of the station can serve the sale: it is the one that is held, or free and fitting.
    fn can_serve(&self, kept: &Kept, evse: &EvseId) -> bool {
        let fits = self.outlets.get(evse).is_some_and(|outlet| {
            let is_broken = matches!(outlet.state, EvseState::Faulted | EvseState::Unavailable);
            outlet.registered.is_some() && !is_broken && outlet.fits(kept.connectors, kept.power_min)
        });
        let is_ours = self.desks.get(&kept.station).is_some_and(|desk| desk.evses.contains(evse));
        fits && is_ours && (*evse == kept.evse || self.is_free(evse))
    }

    /// What is sold at an outlet, and the keys that sign for it.
    fn deal(&self, kept: &Kept, evse: EvseId) -> Option<(Deal, SellerKeys)> {
        let outlet = self.outlets.get(&evse)?;
        let deal = Deal {
            zone: self.zone,
            auction: kept.auction,
            buyer_key: kept.buyer_key,
            seller: self.account,
            evse,
            price: kept.price,
            energy_max: kept.energy,
            power_rated: outlet.set.power,
            grid: GridTariff { version: self.tariff.version, price: self.tariff.price },
        };
        Some((deal, SellerKeys { seller: self.key.clone(), meter: outlet.set.meter.clone() }))
    }

    /// Takes up a session that has made its offer; gives what it asks for.
    fn begin(
        &mut self,
        now: Timestamp,
        auction: AuctionId,
        evse: EvseId,
        offered: Result<(SellerSession, Vec<Action>), Refused>,
    ) -> Option<Vec<Action>> {
        match offered {
            Ok((session, actions)) => {
                if self.sales.get(&auction).is_some_and(|sale| sale.kept.evse != evse) {
                    self.move_to(now, auction, evse);
                }
                self.sales.get_mut(&auction)?.session = Some(session);
                Some(actions)
            }
            Err(reason) => {
                self.note(SellerEvent::Refused { auction, reason: Box::new(reason) });
                None
            }
        }
    }

    /// Holds another outlet for the sale.
    fn move_to(&mut self, now: Timestamp, auction: AuctionId, evse: EvseId) {
        let Some(sale) = self.sales.get_mut(&auction) else { return };
        let before = std::mem::replace(&mut sale.kept.evse, evse);
        let (reservation, was_reserved) = (sale.kept.reservation, sale.kept.is_reserved);
        sale.kept.is_reserved = true;
        let kept = sale.kept.clone();
        if was_reserved {
            self.command(&before, Command::CancelReservation { reservation });
        }
        let reserve = self.reserve(&kept, later(now, super::bidding::CONTRACT_WITHIN));
        self.command(&evse, reserve);
    }

    /// Hands an input to a sale's session; whether it was taken.
    pub(super) fn tell(&mut self, now: Timestamp, auction: AuctionId, input: SellerInput) -> bool {
        let Some(session) = self.sales.get_mut(&auction).and_then(|sale| sale.session.as_mut()) else {
            return false;
        };
        match session.handle(input, now) {
            Ok(actions) => {
                self.act(now, auction, actions);
                true
            }
            Err(reason) => {
                self.note(SellerEvent::Refused { auction, reason: Box::new(reason) });
                false
            }
        }
    }

    /// Does what a session asks for.
    pub(super) fn act(&mut self, now: Timestamp, auction: AuctionId, actions: Vec<Action>) {
        for action in actions {
            let Some(sale) = self.sales.get_mut(&auction) else { return };
            match action {
                Action::Send(message) => sale.queue(message),
                Action::StartCharging(_) => self.start_flow(now, auction),
                Action::StopCharging(_) => self.stop_flow(now, auction),
                Action::Settle(evidence) => {
                    let contract = evidence.record.body.contract;
                    let body = Body::ContractSettle {
                        record: Box::new(evidence.record),
                        start: Some(Box::new(evidence.start)),
                        checkpoint: evidence.checkpoint.map(Box::new),
                    };
                    self.submit(auction, Goal::Settle(contract), body);
                }
                Action::Release(waiver) => {
                    let contract = waiver.body.contract;
                    self.submit(auction, Goal::Waive(contract), Body::ContractWaive(Box::new(waiver)));
                }
                Action::SetTimer { timer, at } => {
                    self.set_timer(now, SellerTimer::Session(auction, timer), at);
                }
                Action::Done(receipt) => sale.kept.receipt = Some(receipt),
                // The award is given up with the offer; one that was not used in time may be drafted again.
                Action::Abort(AbortReason::Released) => sale.kept.is_halted = true,
                // The ledger ends an expired contract by itself; a seller opens none.
                Action::Abort(_) | Action::Expire(_) | Action::Open(_) => {}
            }
        }
    }

    /// After a block of time `at`: what became of each sale.
    pub(super) fn look_at_ends(&mut self, now: Timestamp, at: Timestamp, state: &State) {
        let auctions: Vec<AuctionId> = self.sales.keys().copied().collect();
        for auction in auctions {
            let is_open = self.sales.get(&auction).is_some_and(|sale| sale.kept.contract.is_some());
            let is_over = if is_open {
                self.look_at_contract(now, auction, state)
            } else {
                self.look_at_offer(now, auction, at, state);
                let award = running(state, auction).and_then(|auction| auction.award.as_ref());
                if let Some(Demand::Asked(terms)) = award.and_then(|award| award.demand.as_ref()) {
                    self.on_demand(now, auction, terms);
                }
                let has_session = self.sales.get(&auction).is_some_and(|sale| sale.session.is_some());
                let is_given_up = self.sales.get(&auction).is_some_and(|sale| sale.kept.is_halted);
                !has_session && (is_given_up || running(state, auction).is_none())
            };
            if is_over && self.sales.get(&auction).is_some_and(|sale| !sale.is_flowing()) {
                self.remove(auction);
            }
        }
    }

    /// An offer that no block can open any more ends its session.
    fn look_at_offer(&mut self, now: Timestamp, auction: AuctionId, at: Timestamp, state: &State) {
        let Some(session) = self.sales.get(&auction).and_then(|sale| sale.session.as_ref()) else { return };
        if at < session.valid_until() || state.object(&session.id().into()).is_some() {
            return;
        }
        self.tell(now, auction, SellerInput::OnLedger(ohmesh_contract::OnLedger::NotOpened { at }));
        if let Some(sale) = self.sales.get_mut(&auction) {
            sale.session = None;
            sale.kept.plugged = None;
            sale.outbound.clear();
        }
    }

    fn remove(&mut self, auction: AuctionId) {
        let Some(sale) = self.sales.remove(&auction) else { return };
        let reservation = sale.kept.reservation;
        if sale.kept.is_reserved {
            self.command(&sale.kept.evse, Command::CancelReservation { reservation });
        }
        self.timers.retain(|timer, _| match timer {
            SellerTimer::Session(of, _) | SellerTimer::Start(of) | SellerTimer::Command(of) => *of != auction,
        });
        self.note(SellerEvent::Over { auction, receipt: sale.kept.receipt });
    }
}

/// Kinds of messages that a seller sends: offer, armed, record, stop, release.
pub(super) const KINDS: usize = 5;

/// How long an offer on the ledger is valid: longer than the ten minutes that the ledger gives the buyer then.
const ANSWER_VALIDITY: Duration = Duration::from_secs(900);
