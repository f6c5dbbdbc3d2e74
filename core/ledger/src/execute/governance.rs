//! Decisions of the zone's people: validators and rules by stake, tariffs by the distributor, caps and the audit key by
//! the regulators.

use super::signed_by;
use crate::{
    Amount, Bond, Governance, LedgerError, NextVote, Object, PriceCap, Rules, Tariff, TransactionError,
    Validator, ValidatorSet, Verified, governance::used_vote_key, state::Draft,
};
use ohmesh_units::{AccountId, Price, PublicKey, StationId, Timestamp};

/// The validators from the next block on.
pub(super) fn set_validators(
    draft: &mut Draft<'_>,
    verified: &Verified,
    epoch: u64,
    validators: &ValidatorSet,
) -> Result<(), TransactionError> {
    by_stake(draft, verified, epoch)?;
    for validator in validators.all() {
        let account = validator.account();
        let owner = draft.account(&account)?.1.owner;
        assert_eq!(owner, validator.key, "an account's id is its owner's hash");
        let needed =
            bond_needed(draft, &account, validator.stake).ok_or(TransactionError::Overflow(account))?;
        let bonded = bond_of(draft, &account).map_or(0, |bond| bond.bonded);
        if bonded < needed {
            return Err(TransactionError::BondTooSmall { account, bonded, needed });
        }
        check_vote_key(draft, validator)?;
    }
    let mut governance = draft.governance().clone();
    governance.next_validators = Some(validators.clone());
    keep_next_votes(&mut governance);
    let current = &draft.epoch().validators;
    governance.next_epoch(current).map_err(|error| TransactionError::Validators(error.to_string()))?;
    draft.set_governance(governance);
    Ok(())
}

/// The rules of the next epoch.
pub(super) fn upgrade(
    draft: &mut Draft<'_>,
    verified: &Verified,
    epoch: u64,
    rules: Rules,
) -> Result<(), TransactionError> {
    by_stake(draft, verified, epoch)?;
    // A later version is what an upgrade is for: agents that do not know it stop when it begins.
    let known = Rules { version: Rules::VERSION, ..rules };
    if let Err(LedgerError::Rules { reason }) = known.check() {
        return Err(TransactionError::Rules(reason));
    }
    if rules.version < draft.governance().rules.version {
        return Err(TransactionError::Rules(format!("version {} would be a step back", rules.version)));
    }
    let mut governance = draft.governance().clone();
    governance.next_rules = Some(rules);
    draft.set_governance(governance);
    Ok(())
}

/// The key with which the sender will vote in the next epoch.
pub(super) fn vote_key(
    draft: &mut Draft<'_>,
    verified: &Verified,
    epoch: u64,
    key: PublicKey,
) -> Result<(), TransactionError> {
    let sender = verified.transaction().sender;
    let running = draft.governance().epoch;
    if epoch != running + 1 {
        return Err(TransactionError::OtherEpoch { named: epoch, running: running + 1 });
    }
    key.is_registrable()?;
    signed_by(verified, &key)?;
    let current = &draft.epoch().validators;
    let next = draft.governance().next_validators.as_ref().unwrap_or(current);
    let me = next.all().iter().find(|validator| validator.account() == sender);
    me.ok_or(TransactionError::NoValidator(sender))?;
    let mut governance = draft.governance().clone();
    let is_named = next.voter_index(&key).is_some();
    if is_named || is_used(draft, &key) || governance.next_votes.iter().any(|other| other.key == key) {
        return Err(TransactionError::VoteKeyUsed(key));
    }
    match governance.next_votes.binary_search_by_key(&sender, |next| next.account) {
        Ok(at) => {
            let (mine, most) = (&mut governance.next_votes[at], Governance::VOTE_KEYS_MAX);
            if mine.count >= most {
                return Err(TransactionError::VoteKeys { account: sender, most });
            }
            *mine = NextVote { key, count: mine.count + 1, ..*mine };
        }
        Err(at) => governance.next_votes.insert(at, NextVote { account: sender, key, count: 1 }),
    }
    draft.set_governance(governance);
    Ok(())
}

/// The grid fee from some time on.
pub(super) fn set_tariff(
    draft: &mut Draft<'_>,
    sender: AccountId,
    price: Price,
    from: Timestamp,
) -> Result<(), TransactionError> {
    distributor(draft, sender)?;
    if price.as_micro_per_kwh() < 0 {
        return Err(TransactionError::NotPositive(price.as_micro_per_kwh()));
    }
    let mut governance = draft.governance().clone();
    let now = draft.now;
    governance.tariffs.retain(|tariff| tariff.from > now || *tariff == draft.governance().tariff(now));
    let to_come = governance.tariffs.iter().any(|tariff| tariff.from > now);
    notice(now, from, to_come)?;
    let version = governance.tariff(now).version.checked_add(1).ok_or(TransactionError::Full)?;
    governance.tariffs.push(Tariff { version, price, from });
    draft.set_governance(governance);
    Ok(())
}

/// The highest price from some time on.
pub(super) fn set_price_cap(
    draft: &mut Draft<'_>,
    verified: &Verified,
    cap: Option<Price>,
    from: Timestamp,
) -> Result<(), TransactionError> {
    regulators(draft, verified)?;
    if let Some(cap) = cap.filter(|cap| cap.as_micro_per_kwh() <= 0) {
        return Err(TransactionError::NotPositive(cap.as_micro_per_kwh()));
    }
    let mut governance = draft.governance().clone();
    let now = draft.now;
    let in_force = governance.caps.iter().rposition(|cap| cap.from <= now).unwrap_or(0);
    governance.caps.drain(..in_force);
    notice(now, from, governance.caps.len() > 1)?;
    governance.caps.push(PriceCap { cap, from });
    draft.set_governance(governance);
    Ok(())
}

/// The key whose word lets totals be exported.
pub(super) fn set_audit_key(
    draft: &mut Draft<'_>,
    verified: &Verified,
    key: Option<PublicKey>,
) -> Result<(), TransactionError> {
    regulators(draft, verified)?;
    key.iter().try_for_each(PublicKey::is_registrable)?;
    let mut governance = draft.governance().clone();
    governance.audit_key = key;
    draft.set_governance(governance);
    Ok(())
}

/// The circuit that feeds a station.
pub(super) fn set_circuit(
    draft: &mut Draft<'_>,
    sender: AccountId,
    station: StationId,
    circuit: Option<u32>,
) -> Result<(), TransactionError> {
    distributor(draft, sender)?;
    let Some((slot, Object::Station(found))) = draft.object(&station.into()) else {
        return Err(TransactionError::NoStation(station));
    };
    let mut found = found.clone();
    found.circuit = circuit;
    draft.set_object(slot, Object::Station(found));
    Ok(())
}

/// At least as many distinct regulators signed as the zone demands.
pub(super) fn regulators(draft: &Draft<'_>, verified: &Verified) -> Result<(), TransactionError> {
    let Some(group) = &draft.state.zone().regulators else {
        return Err(TransactionError::Regulators { found: 0, needed: 0 });
    };
    let found = group.keys.iter().filter(|key| verified.is_signed_by(key)).count();
    if found < usize::from(group.threshold) {
        return Err(TransactionError::Regulators { found, needed: group.threshold });
    }
    Ok(())
}

/// A price that the regulators' cap allows now.
pub(super) fn within_cap(draft: &Draft<'_>, price: Price) -> Result<(), TransactionError> {
    match draft.governance().cap(draft.now) {
        Some(cap) if price > cap => {
            Err(TransactionError::AboveCap { price: price.as_micro_per_kwh(), cap: cap.as_micro_per_kwh() })
        }
        _ => Ok(()),
    }
}

/// The bond of `account`, if it has ever had one.
pub(super) fn bond_of<'d>(draft: &'d Draft<'_>, account: &AccountId) -> Option<&'d Bond> {
    match draft.object(&Bond::id(account)) {
        Some((_, Object::Bond(bond))) => Some(bond),
        _ => None,
    }
}

/// What `account` must have bonded for `stake`: by the rules of now or those decided for, whichever ask for more. What
/// the genesis gave is free, until it is forfeited by a conviction. None: more than there can be.
pub(super) fn bond_needed(draft: &Draft<'_>, account: &AccountId, stake: u64) -> Option<Amount> {
    let genesis = draft.state.zone().validators.all();
    let is_convicted = bond_of(draft, account).is_some_and(|bond| bond.convicted.is_some());
    let given = genesis.iter().find(|one| one.account() == *account && !is_convicted);
    let owed = stake.saturating_sub(given.map_or(0, |given| given.stake));
    let governance = draft.governance();
    let each =
        governance.next_rules.map_or(governance.rules.bond, |next| next.bond.max(governance.rules.bond));
    i64::try_from(owed).ok()?.checked_mul(each.as_micro())
}

/// Checks the vote key that a decision names for a validator: its own of now, unless it has just been convicted, or one
/// with which nobody has ever voted nor is about to.
fn check_vote_key(draft: &Draft<'_>, validator: &Validator) -> Result<(), TransactionError> {
    let (account, key) = (validator.account(), validator.vote);
    let governance = draft.governance();
    let now = draft.epoch().validators.all();
    let is_tainted = bond_of(draft, &account).is_some_and(|bond| bond.convicted == Some(governance.epoch));
    if !is_tainted && now.iter().any(|one| one.vote == key && one.account() == account) {
        return Ok(());
    }
    let is_anothers = governance.next_votes.iter().any(|next| next.key == key && next.account != account);
    if is_anothers || is_used(draft, &key) {
        return Err(TransactionError::VoteKeyUsed(key));
    }
    Ok(())
}

/// Whether anybody votes or has ever voted with `key`.
fn is_used(draft: &Draft<'_>, key: &PublicKey) -> bool {
    draft.object(&used_vote_key(key).id).is_some()
}

/// Forgets vote keys of those who will not be validators.
pub(super) fn keep_next_votes(governance: &mut Governance) {
    if let Some(next) = &governance.next_validators {
        let accounts: Vec<AccountId> = next.all().iter().map(Validator::account).collect();
        governance.next_votes.retain(|next| accounts.contains(&next.account));
    }
}

/// Validators with more than two thirds of the running epoch's stake signed, and for this epoch.
fn by_stake(draft: &Draft<'_>, verified: &Verified, epoch: u64) -> Result<(), TransactionError> {
    let running = draft.governance().epoch;
    if epoch != running {
        return Err(TransactionError::OtherEpoch { named: epoch, running });
    }
    let validators = &draft.epoch().validators;
    let signers = validators.all().iter().filter(|validator| verified.is_signed_by(&validator.key));
    let found = signers.map(|validator| validator.stake).sum();
    if !validators.is_quorum(found) {
        return Err(TransactionError::Stake { found, whole: validators.stake() });
    }
    Ok(())
}

fn distributor(draft: &Draft<'_>, sender: AccountId) -> Result<(), TransactionError> {
    if sender != AccountId::of(&draft.state.zone().distributor.key) {
        return Err(TransactionError::NotTheDistributor(sender));
    }
    Ok(())
}

fn notice(now: Timestamp, from: Timestamp, is_one_to_come: bool) -> Result<(), TransactionError> {
    let earliest = now.checked_add(Governance::NOTICE).ok_or(TransactionError::Full)?;
    if from < earliest || is_one_to_come {
        return Err(TransactionError::Notice { from, earliest });
    }
    Ok(())
}
