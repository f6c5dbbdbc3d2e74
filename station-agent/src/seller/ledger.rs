//! Contracts as the ledger has them. A copy of each is moved by the block's own transactions, so that a replay of blocks
//! after a restart learns exactly what the ledger did; that it ended, and how, the state says.

use super::{ARRIVAL_TIMEOUT, Seller, SellerEvent, bidding::later};
use ohmesh_contract::{
    Agreement, Checkpoint, Contract, MeterRecord, OnLedger, SellerInput, Settlement, Signed, Start,
    State as ContractState,
};
use ohmesh_ledger::{End, Object, State};
use ohmesh_units::{AccountId, AuctionId, ContractId, Timestamp};

impl Seller {
    /// The ledger has opened a contract.
    pub(super) fn on_opened(&mut self, now: Timestamp, agreement: &Agreement, at: Timestamp) {
        let terms = &agreement.offer.terms;
        if terms.seller != self.account {
            return;
        }
        let (auction, contract) = (terms.auction, terms.id());
        let session = self.sales.get(&auction).and_then(|sale| sale.session.as_ref());
        // The block's signatures were checked when it was executed.
        let opened =
            agreement.clone().verify_after_batch().and_then(|verified| Contract::open(&verified, at));
        let (Some(_), Ok(opened)) = (session.filter(|session| session.id() == contract), opened) else {
            return self.note(SellerEvent::UnknownContract(contract));
        };
        let until = later(now.max(terms.not_before), ARRIVAL_TIMEOUT);
        let Some(sale) = self.sales.get_mut(&auction) else { return };
        sale.kept.contract = Some(Box::new(opened));
        let kept = sale.kept.clone();
        self.note(SellerEvent::Opened { auction, contract });
        self.tell(now, auction, SellerInput::OnLedger(OnLedger::Opened { at }));
        if kept.is_reserved {
            let reserve = self.reserve(&kept, until);
            self.command(&kept.evse, reserve);
        }
    }

    /// The ledger has taken a start.
    pub(super) fn on_started(&mut self, start: &Signed<Start>, at: Timestamp) {
        let Some(contract) = self.contract_mut(start.body.contract) else { return };
        if let Ok(start) = start.clone().verify_after_batch(contract.terms()) {
            // What the ledger has executed, its copy takes too.
            let _ = contract.start(&start, at);
        }
    }

    /// The ledger has taken a settlement, of ours or of the buyer.
    pub(super) fn on_settled(
        &mut self,
        now: Timestamp,
        sender: AccountId,
        record: &Signed<MeterRecord>,
        start: Option<&Signed<Start>>,
        checkpoint: Option<&Checkpoint>,
        at: Timestamp,
    ) {
        if let Some(start) = start
            && self.contract_mut(start.body.contract).is_some_and(|contract| contract.started().is_none())
        {
            self.on_started(start, at);
        }
        let Some(contract) = self.contract_mut(record.body.contract) else { return };
        let (auction, terms) = (contract.terms().auction, contract.terms().clone());
        let Ok(record) = record.clone().verify_after_batch(&terms) else { return };
        let checkpoint = checkpoint.and_then(|checkpoint| checkpoint.clone().verify_after_batch(&terms).ok());
        if let Ok(settlement) = contract.settle(sender, &record, checkpoint.as_ref(), at) {
            self.tell(now, auction, SellerInput::OnLedger(OnLedger::Settled(settlement)));
        }
    }

    /// How a contract ended, if it did and the session has not heard yet; whether the sale is over.
    pub(super) fn look_at_contract(&mut self, now: Timestamp, auction: AuctionId, state: &State) -> bool {
        let Some(sale) = self.sales.get(&auction) else { return false };
        let (Some(contract), Some(session)) = (&sale.kept.contract, &sale.session) else { return false };
        let Some((_, Object::Finished(finished))) = state.object(&contract.id().into()) else { return false };
        if session.state().is_terminal() {
            return true;
        }
        let news = match finished.end {
            End::Expired => OnLedger::Expired,
            End::Voided => OnLedger::Released,
            // A claim that nobody disputed. If it is not one yet, the block that settled is still to come.
            _ => match contract.claim() {
                Some(bill) if contract.state() == ContractState::Submitted => {
                    OnLedger::Settled(Settlement::Paid(*bill))
                }
                _ => return false,
            },
        };
        self.tell(now, auction, SellerInput::OnLedger(news));
        self.sales.get(&auction).and_then(|sale| sale.state()).is_some_and(ContractState::is_terminal)
    }

    fn contract_mut(&mut self, id: ContractId) -> Option<&mut Contract> {
        let of =
            |sale: &&mut super::Sale| sale.kept.contract.as_ref().is_some_and(|contract| contract.id() == id);
        self.sales.values_mut().find(of)?.kept.contract.as_deref_mut()
    }
}
