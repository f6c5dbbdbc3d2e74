//! What was submitted and has had no effect yet. It goes again, at growing distances, until the ledger shows the effect
//! or it can have none any more; it survives a restart.

use super::{Effect, Seller, SellerEvent};
use ohmesh_contract::State as ContractState;
use ohmesh_ledger::{Body, Demand, Object, State};
use ohmesh_units::{AuctionId, ContractId, StationId};
use serde::{Deserialize, Serialize};

/// A transaction's content and what it is to bring about.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outgoing {
    pub(super) auction: AuctionId,
    pub(super) goal: Goal,
    body: Body,
    /// The height at which it was submitted last.
    sent: u64,
    tries: u32,
}

/// What a submission is to bring about.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Goal {
    Bid(StationId),
    Accept,
    Settle(ContractId),
    Waive(ContractId),
    Unreadable,
    Offer,
}

impl Goal {
    /// Whether it is reached, or cannot be reached any more.
    fn is_over(self, auction: AuctionId, state: &State) -> bool {
        match self {
            Self::Bid(station) => super::bidding::running(state, auction).is_none_or(|auction| {
                let is_late = state.head().time >= auction.intent.terms().deadline;
                is_late || auction.bids.iter().any(|bid| bid.station == station)
            }),
            Self::Accept => super::bidding::running(state, auction)
                .is_none_or(|auction| auction.award.as_ref().is_none_or(|award| award.is_accepted)),
            Self::Settle(contract) => match state.object(&contract.into()) {
                Some((_, Object::Contract(contract))) => {
                    contract.state().rank() >= ContractState::Submitted.rank()
                }
                _ => true,
            },
            Self::Unreadable => super::bidding::running(state, auction).is_none(),
            Self::Offer => super::bidding::running(state, auction).is_none_or(|auction| {
                let award = auction.award.as_ref();
                !award.is_some_and(|award| matches!(award.demand, Some(Demand::Asked(_))))
            }),
            Self::Waive(contract) => {
                !matches!(state.object(&contract.into()), Some((_, Object::Contract(_))))
            }
        }
    }
}

impl Seller {
    /// Submits, and again until it has had its effect.
    pub(super) fn submit(&mut self, auction: AuctionId, goal: Goal, body: Body) {
        let submitted = |other: &Outgoing| other.auction == auction && other.goal == goal;
        if self.outbox.iter().any(|other| submitted(other) && other.body == body) {
            return;
        }
        self.outbox.retain(|other| !submitted(other));
        self.outbox.push(Outgoing { auction, goal, body: body.clone(), sent: self.height, tries: 1 });
        self.effects.push(Effect::Submit(Box::new(body)));
    }

    /// After a start: everything whose effect the ledger does not show may have been lost.
    pub(super) fn submit_again(&mut self, state: &State) {
        self.outbox.retain(|outgoing| !outgoing.goal.is_over(outgoing.auction, state));
        for outgoing in &mut self.outbox {
            outgoing.sent = self.height;
            self.effects.push(Effect::Submit(Box::new(outgoing.body.clone())));
        }
    }

    /// After a block.
    pub(super) fn retry(&mut self, state: &State) {
        let height = self.height;
        self.outbox.retain(|outgoing| !outgoing.goal.is_over(outgoing.auction, state));
        let mut given_up = Vec::new();
        for outgoing in &mut self.outbox {
            // After 2, 4, 8, 16, then every 32 blocks.
            let wait = 1u64 << outgoing.tries.min(5);
            if height < outgoing.sent.saturating_add(wait) {
                continue;
            }
            if outgoing.tries >= TRIES_MAX {
                given_up.push((outgoing.auction, outgoing.goal));
                continue;
            }
            outgoing.sent = height;
            outgoing.tries += 1;
            self.effects.push(Effect::Submit(Box::new(outgoing.body.clone())));
        }
        for (auction, goal) in given_up {
            self.outbox.retain(|outgoing| outgoing.auction != auction || outgoing.goal != goal);
            self.note(SellerEvent::GaveUp(auction));
        }
    }
}

/// The kind of a transaction that a seller sends.
pub(super) fn name(body: &Body) -> &'static str {
    match body {
        Body::AuctionBid { .. } => "AuctionBid",
        Body::AuctionAccept(_) => "AuctionAccept",
        Body::AuctionUnreadable(_) => "AuctionUnreadable",
        Body::AuctionOffer(_) => "AuctionOffer",
        Body::ContractSettle { .. } => "ContractSettle",
        Body::ContractWaive(_) => "ContractWaive",
        _ => "other",
    }
}

/// How often one transaction is submitted: at a block a second more than three days, as long as a contract may last.
const TRIES_MAX: u32 = 8_192;
