//! Bonds: money behind votes, given back late, burned when a validator contradicts itself.

use super::{governance, money};
use crate::{
    Amount, Asset, Bond, End, Epoch, Evidence, Object, Rules, TransactionError, ValidatorSet, state::Draft,
};
use ohmesh_units::{AccountId, Timestamp};

/// Puts the sender's money behind its votes.
pub(super) fn bond(draft: &mut Draft<'_>, owner: AccountId, amount: Amount) -> Result<(), TransactionError> {
    money::hold(draft, Asset::Currency, owner, amount)?;
    let (slot, mut bond) = match draft.object(&Bond::id(&owner)) {
        Some((slot, Object::Bond(bond))) => (slot, (**bond).clone()),
        _ => {
            let bond = Bond { owner, bonded: 0, leaving: Vec::new(), convicted: None };
            (draft.add_object(Object::Bond(Box::new(bond.clone())))?, bond)
        }
    };
    if bond.held() == 0 {
        draft.totals.pendings_opened += 1;
    }
    bond.held().checked_add(amount).ok_or(TransactionError::Overflow(owner))?;
    bond.bonded += amount;
    draft.set_object(slot, Object::Bond(Box::new(bond)));
    Ok(())
}

/// Asks a part back: what the stake of this epoch or the next needs stays.
pub(super) fn unbond(
    draft: &mut Draft<'_>,
    owner: AccountId,
    amount: Amount,
) -> Result<(), TransactionError> {
    if amount <= 0 {
        return Err(TransactionError::NotPositive(amount));
    }
    let none = TransactionError::NoBond { account: owner, bonded: 0, asked: amount };
    let Some((slot, Object::Bond(bond))) = draft.object(&Bond::id(&owner)) else { return Err(none) };
    let mut bond = (**bond).clone();
    if bond.bonded < amount {
        return Err(TransactionError::NoBond { account: owner, bonded: bond.bonded, asked: amount });
    }
    if bond.leaving.len() == Bond::LEAVING_MAX {
        return Err(TransactionError::Full);
    }
    let (bonded, needed) = (bond.bonded - amount, still_needed(draft, &owner));
    if bonded < needed {
        return Err(TransactionError::BondTooSmall { account: owner, bonded, needed });
    }
    bond.bonded = bonded;
    let free = draft.now.checked_add(Rules::UNBONDING).unwrap_or(Timestamp::from_millis(u64::MAX));
    bond.leaving.push((free, amount));
    draft.set_object(slot, Object::Bond(Box::new(bond)));
    Ok(())
}

/// What has left long enough ago is its owner's again.
pub(super) fn time_over(draft: &mut Draft<'_>, slot: u32, mut bond: Bond) {
    let now = draft.now;
    let free: Amount = bond.leaving.iter().filter(|(free, _)| *free <= now).map(|(_, amount)| amount).sum();
    bond.leaving.retain(|(free, _)| *free > now);
    money::release(draft, Asset::Currency, bond.owner, free).expect("whoever holds has a balance");
    if bond.held() == 0 {
        draft.totals.hold_ended(End::Voided);
    }
    draft.set_object(slot, Object::Bond(Box::new(bond)));
}

/// Convicts a validator: its whole bond is burned, what leaves included, and the next block is made without it.
pub(super) fn convict(
    draft: &mut Draft<'_>,
    epoch: u64,
    evidence: &Evidence,
) -> Result<(), TransactionError> {
    let validator = evidence.validator();
    let Some((slot, Object::Epoch(found))) = draft.object(&Epoch::id(epoch)) else {
        return Err(TransactionError::NoEpoch(epoch));
    };
    let mut found = (**found).clone();
    if !evidence.proves(draft.state.zone_id(), epoch, found.validators.voters()) {
        return Err(TransactionError::NoContradiction { validator, epoch });
    }
    let Err(at) = found.convicted.binary_search(&validator) else {
        return Err(TransactionError::ConvictedAlready { validator, epoch });
    };
    found.convicted.insert(at, validator);
    let culprit = found.validators.at(validator).expect("the evidence proves against it").account();
    draft.set_object(slot, Object::Epoch(Box::new(found)));
    burn(draft, culprit)?;
    expel(draft, culprit);
    Ok(())
}

/// Burns what the culprit has bonded, and remembers the conviction where its bond is or would be.
fn burn(draft: &mut Draft<'_>, culprit: AccountId) -> Result<(), TransactionError> {
    let convicted = Some(draft.governance().epoch);
    let after = Object::Bond(Box::new(Bond { owner: culprit, bonded: 0, leaving: Vec::new(), convicted }));
    let Some((slot, Object::Bond(bond))) = draft.object(&Bond::id(&culprit)) else {
        draft.add_own_object(after);
        return Ok(());
    };
    let held = bond.held();
    if held > 0 {
        money::release(draft, Asset::Currency, culprit, held)?;
        money::burn(draft, Asset::Currency, culprit, held)?;
        draft.totals.hold_ended(End::Slashed);
    }
    draft.set_object(slot, after);
    Ok(())
}

/// The next validators are those of now, or those decided for, without `culprit`; unless nobody would be left.
fn expel(draft: &mut Draft<'_>, culprit: AccountId) {
    let current = &draft.epoch().validators;
    let next = draft.governance().next_validators.as_ref().unwrap_or(current);
    let left =
        next.all().iter().filter(|validator| validator.account() != culprit).cloned().collect::<Vec<_>>();
    if left.len() == next.all().len() || left.is_empty() {
        return;
    }
    let left = ValidatorSet::new(left).expect("some of a checked list");
    let mut changed = draft.governance().clone();
    changed.next_validators = Some(left);
    governance::keep_next_votes(&mut changed);
    draft.set_governance(changed);
}

/// The bond that the stake of `owner` needs, in this epoch and the next.
fn still_needed(draft: &Draft<'_>, owner: &AccountId) -> Amount {
    let stake_in = |set: &ValidatorSet| {
        set.all().iter().find(|validator| validator.account() == *owner).map_or(0, |found| found.stake)
    };
    let next = draft.governance().next_validators.as_ref().map_or(0, stake_in);
    let stake = stake_in(&draft.epoch().validators).max(next);
    governance::bond_needed(draft, owner, stake).unwrap_or(Amount::MAX)
}
