//! Commands to chargers: what a sale wants is told again until it is so.

use super::{CommandTag, Effect, Seller, SellerEvent, SellerTimer, bidding::later};
use ohmesh_ocpp::session::{Command, Outcome};
use ohmesh_units::{AuctionId, EvseId, Timestamp};
use std::time::Duration;

impl Seller {
    /// Tells the charger of an outlet.
    pub(super) fn command(&mut self, evse: &EvseId, command: Command) -> Option<CommandTag> {
        let charger = self.outlets.get(evse)?.set.charger.clone();
        self.commands += 1;
        let tag = CommandTag(self.commands);
        self.effects.push(Effect::Command { charger, command, tag });
        Some(tag)
    }

    /// Starts or stops the outlet of a sale, if it is not as the session wants it and no command is under way.
    pub(super) fn drive(&mut self, now: Timestamp, auction: AuctionId) {
        let Some(sale) = self.sales.get_mut(&auction) else { return };
        let (evse, flow) = (sale.kept.evse, sale.kept.flow.clone().filter(|flow| !flow.has_ended));
        let Some(outlet) = self.outlets.get(&evse).filter(|outlet| outlet.online) else { return };
        if sale.commanded.is_some() {
            return;
        }
        let command = match flow {
            _ if sale.wants_flow() && !sale.is_start_taken => Command::Start {
                evse: outlet.set.charger_evse,
                token: sale.kept.token.clone(),
                limit: Some(outlet.set.power),
            },
            Some(_) if !sale.wants_flow() && sale.stops >= STOPS_MAX => {
                if let Some(flow) = &mut sale.kept.flow {
                    flow.has_ended = true;
                }
                self.stop_flow(now, auction);
                return self.note(SellerEvent::DoesNotStop(evse));
            }
            Some(flow) if !sale.wants_flow() => {
                sale.stops += 1;
                Command::Stop { transaction: flow.transaction }
            }
            _ => return,
        };
        let tag = self.command(&evse, command);
        if let Some(sale) = self.sales.get_mut(&auction) {
            sale.commanded = tag;
        }
        // If the end of the command is never heard, it is tried again all the same.
        self.set_timer(now, SellerTimer::Command(auction), later(now, ANSWER_WITHIN));
    }

    pub(super) fn drive_at(&mut self, now: Timestamp, evse: EvseId) {
        if let Some(auction) = self.sale_at(&evse) {
            if let Some(sale) = self.sales.get_mut(&auction) {
                // A new connection: commands of the older one have ended, and a charger that lost power has forgotten.
                sale.commanded = None;
                sale.is_start_taken &= sale.kept.flow.is_some();
            }
            self.drive(now, auction);
        }
    }

    pub(super) fn on_command_done(&mut self, now: Timestamp, tag: CommandTag, outcome: Option<Outcome>) {
        let Some(sale) = self.sales.values_mut().find(|sale| sale.commanded == Some(tag)) else { return };
        let auction = sale.kept.auction;
        let was_taken = matches!(outcome, Some(Outcome::Accepted | Outcome::Scheduled));
        if sale.wants_flow() {
            sale.is_start_taken = was_taken;
        }
        sale.commanded = None;
        self.set_timer(now, SellerTimer::Command(auction), later(now, AGAIN_AFTER));
    }

    /// Ends reservations that keep an outlet for nobody. A flow has used its own.
    pub(super) fn give_back_reservations(&mut self) {
        let mut over = Vec::new();
        for sale in self.sales.values_mut().filter(|sale| sale.kept.is_reserved) {
            if sale.kept.flow.is_some() {
                sale.kept.is_reserved = false;
            } else if !sale.holds() {
                sale.kept.is_reserved = false;
                over.push((sale.kept.evse, sale.kept.reservation));
            }
        }
        for (evse, reservation) in over {
            self.command(&evse, Command::CancelReservation { reservation });
        }
    }
}

/// The kind of a command: its fields hold tokens.
pub(super) fn name(command: &Command) -> &'static str {
    match command {
        Command::Start { .. } => "Start",
        Command::Stop { .. } => "Stop",
        Command::Reserve { .. } => "Reserve",
        Command::CancelReservation { .. } => "CancelReservation",
        _ => "other",
    }
}

/// How long after a command ended it is looked at whether it did what it should.
const AGAIN_AFTER: Duration = Duration::from_secs(15);

/// How long to wait for the end of a command: the chargers' sessions give up after 90 s, behind at most 16 others.
const ANSWER_WITHIN: Duration = Duration::from_secs(30 * 60);

/// How often a charger is told to stop one transaction.
const STOPS_MAX: u8 = 40;
