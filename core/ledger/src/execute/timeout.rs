//! What happens by block time alone, before a block's transactions.

use super::{auction, bond, contract, epoch, hold, key};
use crate::{Object, Posting, state::Draft};

/// Handles the objects whose time is over, [`DUE_MAX`] at most, each counted as often as it holds money; the others wait
/// for the next block.
pub(super) fn run(draft: &mut Draft<'_>) {
    let mut parts = 0;
    let due: Vec<u32> = draft
        .state
        .timeouts
        .iter()
        .take_while(|(timeout, _)| *timeout <= draft.now)
        .map(|(_, slot)| *slot)
        .take_while(|slot| {
            let is_within = parts < DUE_MAX;
            parts += draft.object_at(*slot).held().len().max(1);
            is_within
        })
        .collect();
    let first_group = std::mem::replace(&mut draft.group, Posting::BY_TIMEOUT);
    for slot in due {
        match draft.object_at(slot).clone() {
            Object::Pending(pending) => hold::expire(draft, slot, pending),
            Object::Generation(generation) => key::time_over(draft, slot, *generation),
            Object::Auction(auction) => auction::time_over(draft, slot, *auction),
            Object::Contract(contract) => contract::time_over(draft, slot, *contract),
            Object::Epoch(past) => epoch::time_over(draft, slot, *past),
            Object::Bond(part) => bond::time_over(draft, slot, *part),
            other => unreachable!("{:?} has no timeout", other.id()),
        }
        draft.keep(None);
    }
    draft.group = first_group;
}

/// Objects that one block handles by timeout at most: as much work as its transactions.
const DUE_MAX: usize = 5_000;
