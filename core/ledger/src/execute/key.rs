//! The generation of the auction key over the ledger: deals, handouts, blinding shares, complaints; and what happens when
//! somebody stays silent.

use crate::{KeyGeneration, Object, TransactionError, ValidatorSet, epoch_key_id, state::Draft};
use ohmesh_auction::key::{
    Blinding, EpochKey, Shareholding, ValidatorIndex,
    generation::{Board, Complaint, Deal, Generation, GenerationError, Handout, Step},
};
use ohmesh_units::{AccountId, Timestamp, ZoneId};
use std::time::Duration;

/// The first attempt at the key that `validators` make from `epoch` on.
pub(crate) fn first_generation(
    zone: ZoneId,
    epoch: u64,
    validators: &ValidatorSet,
    now: Timestamp,
) -> KeyGeneration {
    let holding = holding(validators, &[]).expect("a zone has validators with stake");
    empty(Generation { zone, epoch, attempt: 0, holding }, Vec::new(), after(now))
}

/// A validator's deal.
pub(super) fn deal(draft: &mut Draft<'_>, sender: AccountId, deal: &Deal) -> Result<(), TransactionError> {
    let (slot, mut generation, mut board) = running(draft)?;
    validator(draft, sender, deal.validator, generation.generation.epoch)?;
    board.on_deal(deal.clone())?;
    generation.deals.push(deal.clone());
    go_on(draft, slot, generation, &board);
    Ok(())
}

/// A validator's handout.
pub(super) fn handout(
    draft: &mut Draft<'_>,
    sender: AccountId,
    handout: &Handout,
) -> Result<(), TransactionError> {
    let (slot, mut generation, mut board) = running(draft)?;
    validator(draft, sender, handout.validator, generation.generation.epoch)?;
    board.on_handout(handout.clone())?;
    generation.handouts.push(handout.clone());
    go_on(draft, slot, generation, &board);
    Ok(())
}

/// A validator's blinding shares; the last ones make the key.
pub(super) fn blinding(
    draft: &mut Draft<'_>,
    sender: AccountId,
    blinding: &Blinding,
) -> Result<(), TransactionError> {
    let (slot, mut generation, mut board) = running(draft)?;
    validator(draft, sender, blinding.validator, generation.generation.epoch)?;
    board.on_blinding(blinding.clone())?;
    generation.blindings.push(blinding.clone());
    if board.step() == Step::Complete {
        let key = board.finish()?;
        finish(draft, slot, key);
    } else {
        go_on(draft, slot, generation, &board);
    }
    Ok(())
}

/// A complaint: the attempt is void, and the next one is without the culprit.
pub(super) fn complaint(
    draft: &mut Draft<'_>,
    sender: AccountId,
    complaint: &Complaint,
) -> Result<(), TransactionError> {
    let (slot, generation, mut board) = running(draft)?;
    validator(draft, sender, complaint.validator, generation.generation.epoch)?;
    let culprit = board.on_complaint(complaint)?;
    again(draft, slot, &generation, &[culprit]);
    Ok(())
}

/// The key of a validator that holds the only share: it is alone, or next to it the others' stake is nothing.
pub(super) fn solo(draft: &mut Draft<'_>, sender: AccountId, key: &EpochKey) -> Result<(), TransactionError> {
    let (slot, generation, _) = running(draft)?;
    let holding = &generation.generation.holding;
    let owner = holding.owner(1).filter(|_| holding.shares() == 1);
    let same = key.zone() == *draft.state.zone_id()
        && key.epoch() == generation.generation.epoch
        && key.holding() == holding;
    let Some(owner) = owner.filter(|_| same) else {
        return Err(TransactionError::NotAlone(key.epoch()));
    };
    validator(draft, sender, owner, key.epoch())?;
    finish(draft, slot, key.clone());
    Ok(())
}

/// The time of a step is over: blinding shares of a threshold suffice; else the next attempt is without the silent.
pub(super) fn time_over(draft: &mut Draft<'_>, slot: u32, generation: KeyGeneration) {
    let board = generation.board().expect("every message was accepted once");
    match board.finish() {
        Ok(key) => finish(draft, slot, key),
        Err(_) => again(draft, slot, &generation, &board.missing()),
    }
}

/// The key is made: from now on auctions are opened under it.
fn finish(draft: &mut Draft<'_>, slot: u32, key: EpochKey) {
    let mut governance = draft.governance().clone();
    let holders = governance.keys.iter_mut().find(|holders| holders.epoch == key.epoch());
    holders.expect("a key in the making is the newest").made = Some(draft.now);
    draft.set_governance(governance);
    draft.set_object(slot, Object::EpochKey(Box::new(key)));
}

/// The next attempt, without `culprits` as long as the others have more than two thirds of the stake; otherwise with all.
fn again(draft: &mut Draft<'_>, slot: u32, before: &KeyGeneration, culprits: &[ValidatorIndex]) {
    let validators = &draft.epoch().validators;
    let mut excluded = before.excluded.clone();
    excluded.extend(culprits);
    excluded.sort_unstable();
    excluded.dedup();
    let left = stakes(validators, &excluded).iter().map(|(_, stake)| stake).sum();
    if !validators.is_quorum(left) {
        excluded.clear();
    }
    let Generation { zone: id, epoch, attempt, .. } = before.generation;
    let holding = holding(validators, &excluded).expect("those left have a quorum of the stake");
    let generation = Generation { zone: id, epoch, attempt: attempt.saturating_add(1), holding };
    let next = empty(generation, excluded, after(draft.now));
    draft.set_object(slot, Object::Generation(Box::new(next)));
}

/// Stores the generation; a new step has its own time.
fn go_on(draft: &mut Draft<'_>, slot: u32, mut generation: KeyGeneration, board: &Board) {
    let first_of_step = match board.step() {
        Step::Handouts => generation.handouts.is_empty(),
        Step::Blindings => generation.blindings.is_empty(),
        _ => false,
    };
    if first_of_step {
        generation.deadline = after(draft.now);
    }
    draft.set_object(slot, Object::Generation(Box::new(generation)));
}

fn running(draft: &Draft<'_>) -> Result<(u32, KeyGeneration, Board), TransactionError> {
    let epoch = draft.governance().key_epoch();
    match draft.object(&epoch_key_id(epoch)) {
        Some((slot, Object::Generation(generation))) => {
            Ok((slot, (**generation).clone(), generation.board().map_err(TransactionError::Generation)?))
        }
        _ => Err(TransactionError::NoGeneration(epoch)),
    }
}

/// Checks that `sender` is the account of the validator that a message names, among the holders of the key of `epoch`.
pub(super) fn validator(
    draft: &Draft<'_>,
    sender: AccountId,
    named: ValidatorIndex,
    epoch: u64,
) -> Result<(), TransactionError> {
    let holders = draft.governance().holders(epoch);
    match holders.and_then(|holders| holders.accounts.get(usize::from(named.0))) {
        Some(account) if *account == sender => Ok(()),
        _ => Err(TransactionError::NotTheValidator(named.0)),
    }
}

/// The newest key's holders are the running epoch's validators, index by index: any change begins a new key.
fn stakes(validators: &ValidatorSet, excluded: &[ValidatorIndex]) -> Vec<(ValidatorIndex, u64)> {
    (0u16..)
        .map(ValidatorIndex)
        .zip(validators.all())
        .filter(|(index, _)| !excluded.contains(index))
        .map(|(index, validator)| (index, validator.stake))
        .collect()
}

fn holding(validators: &ValidatorSet, excluded: &[ValidatorIndex]) -> Result<Shareholding, GenerationError> {
    Ok(Shareholding::by_stake(&stakes(validators, excluded))?)
}

fn empty(generation: Generation, excluded: Vec<ValidatorIndex>, deadline: Timestamp) -> KeyGeneration {
    let (deals, handouts, blindings) = Default::default();
    KeyGeneration { generation, excluded, deals, handouts, blindings, deadline }
}

fn after(now: Timestamp) -> Timestamp {
    now.checked_add(STEP_TIME).unwrap_or(Timestamp::from_millis(u64::MAX))
}

/// How long a step of the generation waits for everybody.
const STEP_TIME: Duration = Duration::from_secs(60);
