//! Holds: pend, post, void, expire; and the sale, whose energy legs and grid legs are posted as one group (I7).

use super::{add_child, money, signed_by};
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
    let tariff = draft.state.zone().distributor.tariff;
    if price < tariff {
        return Err(TransactionError::BelowTariff {
            price: price.as_micro_per_kwh(),
            tariff: tariff.as_micro_per_kwh(),
        });
    }
    let from = transaction.sender;
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

/// Pays a sale by the meter: the buyer pays the seller in the energy journal, the seller pays the distributor in the
/// grid journal, and the rest of the hold is released; all of it or none.
pub(super) fn post_sale(
    draft: &mut Draft<'_>,
    verified: &Verified,
    id: Hash,
    energy: Energy,
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
    let Pending { asset, from, to, amount, .. } = pending;
    let overflow = || TransactionError::Overflow(to);
    let price = sale.price.times(energy).ok_or_else(overflow)?.as_micro();
    let fee = sale.tariff.times(energy).ok_or_else(overflow)?.as_micro();
    assert!(
        fee <= price && price <= amount,
        "a price of at least the tariff, for at most the energy held for"
    );
    money::release(draft, asset, from, amount)?;
    money::count_energy(draft, from, to, energy)?;
    if price > 0 {
        money::post_leg(draft, &Leg::Move { journal: Journal::Energy, asset, from, to, amount: price })?;
    }
    let distributor = AccountId::of(&draft.state.zone().distributor.key);
    if fee > 0 && to != distributor {
        money::post_leg(draft, &Leg::Cross { asset, account: to, from: Journal::Energy, amount: fee })?;
        money::post_leg(
            draft,
            &Leg::Move { journal: Journal::Grid, asset, from: to, to: distributor, amount: fee },
        )?;
    }
    check_group(draft, to, distributor, price, fee);
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

/// Releases the holds whose time is over, before the block's transactions, [`EXPIRIES_MAX`] at most; the others wait for
/// the next block.
pub(super) fn expire(draft: &mut Draft<'_>) {
    let due: Vec<u32> = draft
        .state
        .timeouts
        .iter()
        .take_while(|(timeout, _)| *timeout <= draft.now)
        .take(EXPIRIES_MAX)
        .map(|(_, slot)| *slot)
        .collect();
    for slot in due {
        let Object::Pending(pending) = draft.object_at(slot).clone() else {
            unreachable!("only holds have timeouts")
        };
        draft.expired.push(pending.id);
        money::release(draft, pending.asset, pending.from, pending.amount)
            .expect("whoever holds has a balance");
        end(draft, slot, pending, End::Expired);
    }
    draft.keep(None);
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
    draft.totals.pendings_ended[end as usize] += 1;
}

/// I7: the group that has just been posted pays the seller the price and the distributor the tariff, in both books.
fn check_group(draft: &Draft<'_>, seller: AccountId, distributor: AccountId, price: Amount, fee: Amount) {
    let paid = |journal: Journal, to: AccountId| -> Amount {
        draft.postings[journal as usize]
            .iter()
            .rev()
            .take_while(|posting| posting.group == draft.group)
            .filter(|posting| posting.to == to && posting.from != to)
            .map(|posting| posting.amount)
            .sum()
    };
    assert_eq!(paid(Journal::Energy, seller), price, "I7 the energy legs are the price");
    if seller != distributor {
        assert_eq!(paid(Journal::Grid, distributor), fee, "I7 the grid legs are the tariff");
    }
}

/// How far ahead a hold may end.
const HOLD_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Holds that one block releases by timeout at most: as much work as its transactions.
const EXPIRIES_MAX: usize = 5_000;
