//! Contracts between a buyer and a station: opened after an award, settled from the registered meter's record.

use super::{add_child, auction, governance, money, registry, signed_by};
use crate::{Asset, Demand, End, Finished, Object, TransactionError, Verified, state::Draft};
use ohmesh_contract::{
    Agreement, Bill, Checkpoint, Contract, MeterRecord, Offer, Refused, Release as Waiver, Settlement,
    Signed, Start, State, Terms,
};
use ohmesh_units::{AccountId, ContractId, Energy};
use std::time::Duration;

/// Opens the contract that an auction awarded and holds its escrow.
pub(super) fn open(
    draft: &mut Draft<'_>,
    sender: AccountId,
    agreement: &Agreement,
) -> Result<(), TransactionError> {
    let agreement = agreement.clone().verify()?;
    let id = agreement.id();
    let terms = agreement.terms().clone();
    if draft.object(&id.into()).is_some() {
        return Err(TransactionError::ContractExists(id));
    }
    let (slot, awarded) = auction::running(draft, terms.auction)?;
    check_award(&awarded, &terms, sender)?;
    check_registry(draft, &awarded, &terms)?;
    let contract = Contract::open(&agreement, draft.now)?;
    // The deposits come back first: the buyer's may be part of the escrow.
    auction::end(draft, slot, awarded, End::Contracted(id));
    money::hold(draft, Asset::Currency, terms.buyer, terms.escrow.as_micro())?;
    add_child(draft, &terms.buyer, id.into())?;
    add_child(draft, &terms.seller, id.into())?;
    draft.totals.pendings_opened += 1;
    draft.add_object(Object::Contract(Box::new(contract)))?;
    Ok(())
}

/// The buyer, who got no offer from the winner, demands it on the ledger: terms that the winner could sign at once.
pub(super) fn demand(
    draft: &mut Draft<'_>,
    sender: AccountId,
    terms: &Terms,
) -> Result<(), TransactionError> {
    let (slot, awarded) = auction::running(draft, terms.auction)?;
    check_award(&awarded, terms, sender)?;
    check_registry(draft, &awarded, terms)?;
    terms.check().map_err(|error| Refused::Terms { contract: terms.id(), error })?;
    if awarded.award.as_ref().is_some_and(|award| award.demand.is_some()) {
        return Err(TransactionError::AuctionStep(terms.auction));
    }
    // The winner holds an outlet from the award on, and for hours, not days.
    let limit = draft.now.checked_add(DEMAND_MAX);
    if terms.not_before > draft.now || limit.is_none_or(|limit| terms.expiry > limit) {
        return Err(TransactionError::ContractTerms { contract: terms.id(), what: "time" });
    }
    auction::demanded(draft, slot, awarded, Demand::Asked(Box::new(terms.clone())));
    Ok(())
}

/// The winner's answer: those terms, signed, so that the buyer needs nothing more from it. The outlet may be another one
/// of the station, as the one that was demanded may be broken.
pub(super) fn offer(draft: &mut Draft<'_>, sender: AccountId, offer: &Offer) -> Result<(), TransactionError> {
    let offered = &offer.terms;
    let (slot, awarded) = auction::running(draft, offered.auction)?;
    let award = awarded.award.as_ref().filter(|award| award.seller == sender);
    let award = award.ok_or(TransactionError::NotTheAward(offered.auction))?;
    let Some(Demand::Asked(asked)) = &award.demand else {
        return Err(TransactionError::AuctionStep(offered.auction));
    };
    let Terms { evse, meter_key, power_rated, .. } = *offered;
    let wrong = |what| Err(TransactionError::ContractTerms { contract: offered.id(), what });
    if *offered != (Terms { evse, meter_key, power_rated, ..(**asked).clone() }) {
        return wrong("not those that were demanded");
    }
    check_registry(draft, &awarded, offered)?;
    if draft.now.checked_add(auction::CONTRACT_TIME).is_none_or(|until| offer.valid_until < until) {
        return wrong("the offer is not valid for long enough");
    }
    offer.clone().verify()?;
    auction::demanded(draft, slot, awarded, Demand::Answered(Box::new(offer.clone())));
    Ok(())
}

/// Takes the buyer's start.
pub(super) fn start(draft: &mut Draft<'_>, start: &Signed<Start>) -> Result<(), TransactionError> {
    let (slot, mut contract) = running(draft, start.body.contract)?;
    let start = start.clone().verify(contract.terms())?;
    contract.start(&start, draft.now)?;
    put(draft, slot, contract);
    Ok(())
}

/// Settles by the meter's record; at once if the buyer has signed it too, else after the time to dispute it.
pub(super) fn settle(
    draft: &mut Draft<'_>,
    sender: AccountId,
    record: &Signed<MeterRecord>,
    start: Option<&Signed<Start>>,
    checkpoint: Option<&Checkpoint>,
) -> Result<(), TransactionError> {
    let (slot, mut contract) = running(draft, record.body.contract)?;
    let terms = contract.terms().clone();
    if contract.started().is_none()
        && let Some(start) = start
    {
        contract.start(&start.clone().verify(&terms)?, draft.now)?;
    }
    let record = record.clone().verify(&terms)?;
    let checkpoint = checkpoint.map(|checkpoint| checkpoint.clone().verify(&terms)).transpose()?;
    // It counts what flowed, also what is not paid for: above the contract's energy, or taken off the claim later.
    let sold = (record.record().register_start, record.record().energy);
    registry::sell_register(draft, terms.evse, terms.meter_key, sold)?;
    match contract.settle(sender, &record, checkpoint.as_ref(), draft.now)? {
        Settlement::Paid(bill) => pay(draft, slot, contract, bill),
        Settlement::Claimed { .. } => {
            put(draft, slot, contract);
            Ok(())
        }
    }
}

/// The seller waives the contract: the whole escrow goes back.
pub(super) fn waive(
    draft: &mut Draft<'_>,
    sender: AccountId,
    waiver: &Signed<Waiver>,
) -> Result<(), TransactionError> {
    let id = waiver.body.contract;
    let (slot, mut contract) = running(draft, id)?;
    if contract.terms().seller != sender {
        return Err(TransactionError::NotThePayee(id.into()));
    }
    let waiver = waiver.clone().verify(contract.terms())?;
    contract.release(&waiver, draft.now)?;
    let (buyer, escrow) = (contract.terms().buyer, contract.terms().escrow.as_micro());
    money::release(draft, Asset::Currency, buyer, escrow)?;
    end(draft, slot, contract, End::Voided);
    Ok(())
}

/// The buyer contests the seller's claim.
pub(super) fn dispute(
    draft: &mut Draft<'_>,
    sender: AccountId,
    id: ContractId,
) -> Result<(), TransactionError> {
    let (slot, mut contract) = running(draft, id)?;
    contract.dispute(sender, draft.now)?;
    put(draft, slot, contract);
    Ok(())
}

/// The seller takes something off its claim.
pub(super) fn lower(
    draft: &mut Draft<'_>,
    sender: AccountId,
    id: ContractId,
    energy: Energy,
) -> Result<(), TransactionError> {
    let (slot, mut contract) = running(draft, id)?;
    contract.lower(sender, energy, draft.now)?;
    put(draft, slot, contract);
    Ok(())
}

/// Ends a claim: both parties agree on the energy, or the regulators find it once the buyer has disputed the claim.
pub(super) fn resolve(
    draft: &mut Draft<'_>,
    verified: &Verified,
    id: ContractId,
    energy: Energy,
) -> Result<(), TransactionError> {
    let (slot, mut contract) = running(draft, id)?;
    let parties = [contract.terms().buyer, contract.terms().seller];
    let mut agreed = true;
    for party in parties {
        agreed &= signed_by(verified, &draft.account(&party)?.1.owner).is_ok();
    }
    let is_disputed = contract.state() != State::Submitted;
    let may_decide = agreed || is_disputed && governance::regulators(draft, verified).is_ok();
    if !may_decide {
        return Err(TransactionError::NotResolved(id));
    }
    // Whoever agrees on another number has disputed the claim: both steps in one.
    if !is_disputed {
        contract.dispute(parties[0], draft.now)?;
    }
    let bill = contract.resolve(energy, draft.now)?;
    pay(draft, slot, contract, bill)
}

/// The time of a state is over: a claim is paid, whether nobody disputed it or nobody decided the dispute; anything else
/// goes back to the buyer.
pub(super) fn time_over(draft: &mut Draft<'_>, slot: u32, mut contract: Contract) {
    if matches!(contract.state(), State::Submitted | State::Disputed) {
        let bill = contract.conclude(draft.now).expect("its deadline has come");
        let terms = contract.terms().clone();
        if pay(draft, slot, contract.clone(), bill).is_ok() {
            return;
        }
        // Only a counter that is full can be in the way. That must not stop the chain: the buyer gets the escrow back.
        draft.take_back();
        money::release(draft, Asset::Currency, terms.buyer, terms.escrow.as_micro())
            .expect("whoever holds has a balance");
        end(draft, slot, contract, End::Expired);
        return;
    }
    let refund = contract.expire(draft.now).expect("its deadline has come").as_micro();
    draft.expired.push(contract.id().into());
    money::release(draft, Asset::Currency, contract.terms().buyer, refund)
        .expect("whoever holds has a balance");
    end(draft, slot, contract, End::Expired);
}

/// Posts a bill: energy legs and grid legs as one group, the rest of the escrow back to the buyer.
fn pay(draft: &mut Draft<'_>, slot: u32, contract: Contract, bill: Bill) -> Result<(), TransactionError> {
    let Terms { buyer, seller, escrow, .. } = *contract.terms();
    money::release(draft, Asset::Currency, buyer, escrow.as_micro())?;
    let (energy, price, fee) = (bill.energy, bill.price_total.as_micro(), bill.grid_total.as_micro());
    let (id, evse, started) = (contract.id().into(), contract.terms().evse, contract.started());
    money::sell(draft, &money::SaleLegs { id, evse, started, buyer, seller, energy, price, fee })?;
    end(draft, slot, contract, End::Posted);
    Ok(())
}

/// Writes a contract that goes on.
fn put(draft: &mut Draft<'_>, slot: u32, contract: Contract) {
    if let Object::Contract(before) = draft.object_at(slot) {
        let (was, is) = (before.state(), contract.state());
        assert!(
            was.rank() <= is.rank() && !is.is_terminal(),
            "I5 contract states only move forward: {was:?}, {is:?}"
        );
    }
    draft.set_object(slot, Object::Contract(Box::new(contract)));
}

fn end(draft: &mut Draft<'_>, slot: u32, contract: Contract, end: End) {
    assert!(contract.state().is_terminal(), "I5 one terminal state: {:?}", contract.state());
    let finished = Finished::of(&Object::Contract(Box::new(contract)), end);
    draft.set_object(slot, Object::Finished(finished));
    draft.totals.hold_ended(end);
}

/// The contract with `id` whose time is not over.
fn running(draft: &Draft<'_>, id: ContractId) -> Result<(u32, Contract), TransactionError> {
    match draft.object(&id.into()) {
        Some((slot, Object::Contract(contract))) if contract.deadline() > draft.now => {
            Ok((slot, (**contract).clone()))
        }
        _ => Err(TransactionError::NoContract(id)),
    }
}

/// Checks that these terms are what the auction awarded.
fn check_award(auction: &crate::Auction, terms: &Terms, sender: AccountId) -> Result<(), TransactionError> {
    let award = auction.award.as_ref().filter(|award| award.is_accepted);
    let award = award.ok_or(TransactionError::AuctionStep(terms.auction))?;
    let wrong = |what| Err(TransactionError::ContractTerms { contract: terms.id(), what });
    if sender != auction.buyer || terms.buyer != auction.buyer {
        return wrong("buyer");
    }
    if terms.buyer_key != auction.intent.terms().buyer {
        return wrong("buyer's key");
    }
    if terms.seller != award.seller {
        return wrong("seller");
    }
    if terms.price != award.price {
        return wrong("price");
    }
    if terms.energy_max > auction.intent.terms().energy.energy() {
        return wrong("energy");
    }
    Ok(())
}

/// Checks that these terms are what the registry and the zone say.
fn check_registry(
    draft: &Draft<'_>,
    auction: &crate::Auction,
    terms: &Terms,
) -> Result<(), TransactionError> {
    let wrong = |what| Err(TransactionError::ContractTerms { contract: terms.id(), what });
    let Some((_, Object::Evse(outlet))) = draft.object(&terms.evse.into()) else {
        return Err(TransactionError::NoEvse(terms.evse));
    };
    let awarded = auction.award.as_ref().map(|award| award.station);
    let intent = auction.intent.terms();
    if Some(outlet.station) != awarded || outlet.connectors & intent.connectors.bits() == 0 {
        return wrong("outlet");
    }
    if outlet.meter != terms.meter_key {
        return wrong("meter key");
    }
    if outlet.power != terms.power_rated || outlet.power < intent.power_min {
        return wrong("rated power");
    }
    if terms.zone != *draft.state.zone_id() {
        return wrong("zone");
    }
    if terms.seller_key != draft.account(&terms.seller)?.1.owner {
        return wrong("seller's key");
    }
    let tariff = draft.governance().tariff(draft.now);
    if terms.grid.version != tariff.version || terms.grid.price != tariff.price {
        return wrong("grid tariff");
    }
    Ok(())
}

/// How far ahead the terms that a buyer demands may end.
const DEMAND_MAX: Duration = Duration::from_secs(24 * 3600);
