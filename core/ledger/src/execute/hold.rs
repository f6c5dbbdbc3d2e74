//! Holds: pend, post, void, expire; and the sale, whose energy legs and grid legs are posted as one group (I7).

use super::{add_child, governance::within_cap, money, registry, signed_by};
use crate::{
    Amount, Asset, End, Finished, Journal, Leg, Object, Pending, Sale, Transaction, TransactionError,
    Verified, state::Draft,
};
use ohmesh_units::{AccountId, Energy, EvseId, Hash, Price, Timestamp};
use std::time::Duration;

/// Opens a plain hold.
pub(super) fn pend(
    draft: &mut Draft<'_>,
    transaction: &Transaction,
    to: AccountId,
    (asset, amount): (Asset, Amount),
    timeout: Timestamp,
) -> Result<(), TransactionError> {
    let pending = Pending {
        id: transaction.pending_id(),
        from: transaction.sender,
        to,
        asset,
        amount,
        timeout,
        sale: None,
    };
    open(draft, pending)
}

/// Opens the hold of a sale: the whole price of the most energy.
pub(super) fn pend_sale(
    draft: &mut Draft<'_>,
    transaction: &Transaction,
    evse: EvseId,
    price: Price,
    energy: Energy,
    timeout: Timestamp,
) -> Result<(), TransactionError> {
    let Some((_, Object::Evse(outlet))) = draft.object(&evse.into()) else {
        return Err(TransactionError::NoEvse(evse));
    };
    let (to, meter) = (outlet.owner, outlet.meter);
    let tariff = draft.governance().tariff(draft.now).price;
    within_cap(draft, price)?;
    if price < tariff {
        return Err(TransactionError::BelowTariff {
            price: price.as_micro_per_kwh(),
            tariff: tariff.as_micro_per_kwh(),
        });
    }
    let from = transaction.sender;
    if energy > SALE_MAX {
        return Err(TransactionError::TooMuchEnergy { asked: energy, most: SALE_MAX });
    }
    let amount = price.times(energy).ok_or(TransactionError::Overflow(from))?.as_micro();
    let sale = Some(Sale { evse, meter, price, tariff, energy });
    let asset = Asset::Currency;
    open(draft, Pending { id: transaction.pending_id(), from, to, asset, amount, timeout, sale })
}

/// Pays a plain hold, in whole or in part.
pub(super) fn post(
    draft: &mut Draft<'_>,
    sender: AccountId,
    id: Hash,
    amount: Amount,
) -> Result<(), TransactionError> {
    let (slot, pending) = find(draft, sender, id)?;
    if pending.sale.is_some() {
        return Err(TransactionError::OtherKind(id));
    }
    if amount > pending.amount {
        let unsigned = |amount: Amount| u64::try_from(amount).unwrap_or(0);
        return Err(TransactionError::MoreThanHeld {
            pending: id,
            asked: unsigned(amount),
            held: unsigned(pending.amount),
        });
    }
    money::release(draft, pending.asset, pending.from, pending.amount)?;
    let Pending { asset, from, to, .. } = pending;
    money::post_leg(draft, &Leg::Move { journal: Journal::Energy, asset, from, to, amount })?;
    end(draft, slot, pending, End::Posted);
    Ok(())
}

/// Pays a sale by the meter, for `energy` from `register_start` on: the buyer pays the seller in the energy journal,
/// the seller pays the distributor in the grid journal, and the rest of the hold is released; all of it or none.
pub(super) fn post_sale(
    draft: &mut Draft<'_>,
    verified: &Verified,
    id: Hash,
    (register_start, energy): (Energy, Energy),
) -> Result<(), TransactionError> {
    let (slot, pending) = find(draft, verified.transaction().sender, id)?;
    let sale = pending.sale.clone().ok_or(TransactionError::OtherKind(id))?;
    signed_by(verified, &sale.meter)?;
    if energy > sale.energy {
        return Err(TransactionError::MoreThanHeld {
            pending: id,
            asked: energy.as_wh(),
            held: sale.energy.as_wh(),
        });
    }
    registry::sell_register(draft, sale.evse, sale.meter, (register_start, energy))?;
    let Pending { asset, from, to, amount, .. } = pending;
    let overflow = || TransactionError::Overflow(to);
    let price = sale.price.times(energy).ok_or_else(overflow)?.as_micro();
    let fee = sale.tariff.times(energy).ok_or_else(overflow)?.as_micro();
    assert!(
        fee <= price && price <= amount,
        "a price of at least the tariff, for at most the energy held for"
    );
    money::release(draft, asset, from, amount)?;
    let (evse, started) = (sale.evse, None);
    money::sell(draft, &money::SaleLegs { id, evse, started, buyer: from, seller: to, energy, price, fee })?;
    end(draft, slot, pending, End::Posted);
    Ok(())
}

/// Releases a hold; only who would have been paid may.
pub(super) fn void(draft: &mut Draft<'_>, sender: AccountId, id: Hash) -> Result<(), TransactionError> {
    let (slot, pending) = find(draft, sender, id)?;
    money::release(draft, pending.asset, pending.from, pending.amount)?;
    end(draft, slot, pending, End::Voided);
    Ok(())
}

/// Releases a hold whose time is over.
pub(super) fn expire(draft: &mut Draft<'_>, slot: u32, pending: Pending) {
    draft.expired.push(pending.id);
    money::release(draft, pending.asset, pending.from, pending.amount).expect("whoever holds has a balance");
    end(draft, slot, pending, End::Expired);
}

fn open(draft: &mut Draft<'_>, pending: Pending) -> Result<(), TransactionError> {
    let (now, timeout) = (draft.now, pending.timeout);
    if timeout <= now || now.checked_add(HOLD_MAX).is_none_or(|limit| timeout > limit) {
        return Err(TransactionError::Timeout { timeout, now });
    }
    if pending.from == pending.to {
        return Err(TransactionError::ToItself(pending.from));
    }
    if draft.object(&pending.id).is_some() {
        return Err(TransactionError::PendingExists(pending.id));
    }
    draft.account(&pending.to)?;
    money::hold(draft, pending.asset, pending.from, pending.amount)?;
    add_child(draft, &pending.from, pending.id)?;
    add_child(draft, &pending.to, pending.id)?;
    draft.totals.pendings_opened += 1;
    draft.add_object(Object::Pending(pending))?;
    Ok(())
}

fn find(draft: &Draft<'_>, sender: AccountId, id: Hash) -> Result<(u32, Pending), TransactionError> {
    let Some((slot, Object::Pending(pending))) = draft.object(&id) else {
        return Err(TransactionError::NoPending(id));
    };
    // One whose time is over is released when this or a later block begins; nobody may be paid from it any more.
    if pending.timeout <= draft.now {
        return Err(TransactionError::NoPending(id));
    }
    if pending.to != sender {
        return Err(TransactionError::NotThePayee(id));
    }
    Ok((slot, pending.clone()))
}

fn end(draft: &mut Draft<'_>, slot: u32, pending: Pending, end: End) {
    let finished = Finished::of(&Object::Pending(pending), end);
    draft.set_object(slot, Object::Finished(finished));
    draft.totals.hold_ended(end);
}

/// How far ahead a hold may end.
const HOLD_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// The most energy of one sale: as much as an auction may ask for. So the counters of all energy never fill up.
const SALE_MAX: Energy = Energy::from_wh(16_383_000);
