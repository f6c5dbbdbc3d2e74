//! The end of an epoch: after the last transaction of a block, the zone may pass to other validators, keys and rules.

use super::key;
use crate::{
    End, Epoch, Finished, Governance, KeyHolders, Object, ValidatorSet, Voters, epoch_key_id,
    governance::used_vote_key, state::Draft,
};

/// Ends the running epoch if its time is over or its validators change, and begins the next one with the next block.
/// Gives the voters to whom the zone passes.
pub(super) fn close(draft: &mut Draft<'_>, height: u64) -> Option<Voters> {
    let governance = draft.governance();
    let is_over = draft.now >= governance.rules.epoch_end(draft.epoch().began);
    if !is_over && governance.next_validators.is_none() {
        return None;
    }
    let mut governance = governance.clone();
    let mut ending = draft.epoch().clone();
    let validators = governance.next_epoch(&ending.validators).expect("every decision left them whole");
    let voters = validators.voters().clone();
    governance.epoch += 1;
    governance.rules = governance.next_rules.take().unwrap_or(governance.rules);
    governance.next_validators = None;
    governance.next_votes.clear();
    if !same_holders(&ending.validators, &validators) {
        new_auction_key(draft, &mut governance, &validators);
    }
    mark_vote_keys(draft, &voters);
    let beginning = Epoch {
        number: governance.epoch,
        first_height: height + 1,
        began: draft.now,
        ended: None,
        validators,
        convicted: Vec::new(),
    };
    ending.ended = Some((height, draft.now));
    let slot = draft.object(&Epoch::id(ending.number)).expect("the running epoch is in the state").0;
    draft.set_object(slot, Object::Epoch(Box::new(ending)));
    draft.add_own_object(Object::Epoch(Box::new(beginning)));
    draft.set_governance(governance);
    draft.keep(None);
    Some(voters)
}

/// Nothing that was signed in it can be punished any more.
pub(super) fn time_over(draft: &mut Draft<'_>, slot: u32, epoch: Epoch) {
    let finished = Finished::of(&Object::Epoch(Box::new(epoch)), End::Past);
    draft.set_object(slot, Object::Finished(finished));
}

/// Whether the shares of the auction key are held by the same hands in the same parts.
fn same_holders(before: &ValidatorSet, after: &ValidatorSet) -> bool {
    let holders = |set: &ValidatorSet| set.all().iter().map(|one| (one.key, one.stake)).collect::<Vec<_>>();
    holders(before) == holders(after)
}

/// Leaves the mark of every vote key that is used from now on.
fn mark_vote_keys(draft: &mut Draft<'_>, voters: &Voters) {
    for voter in voters.all() {
        let mark = used_vote_key(&voter.key);
        if draft.object(&mark.id).is_none() {
            draft.add_own_object(Object::Finished(mark));
        }
    }
}

/// Begins the making of an auction key for the new validators. One that is still in the making is given up; keys that
/// are made serve on until their auctions have ended.
fn new_auction_key(draft: &mut Draft<'_>, governance: &mut Governance, validators: &ValidatorSet) {
    let latest = epoch_key_id(governance.key_epoch());
    if let Some((slot, unmade @ Object::Generation(_))) = draft.object(&latest) {
        let finished = Finished::of(unmade, End::Past);
        draft.set_object(slot, Object::Finished(finished));
    }
    governance.begin_key(KeyHolders::of(governance.epoch, validators));
    let zone = *draft.state.zone_id();
    let generation = key::first_generation(zone, governance.epoch, validators, draft.now);
    draft.add_own_object(Object::Generation(Box::new(generation)));
}
