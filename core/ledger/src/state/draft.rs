//! The draft of a block: a state with changes on top, of which those of one transaction can be taken back.

use super::{
    Applied, BlockIds, Head, JournalRoots, Plans, Posting, State, StateRoots, Totals, TreeName, postings_root,
};
use crate::{
    Account, Asset, Balance, Block, Epoch, Governance, Journal, Object, SaleRecord, TransactionError,
};
use ohmesh_units::{AccountId, Canonical, Energy, Hash, Timestamp, TransactionId};
use std::collections::{BTreeMap, HashMap};

/// A list with changes on top: reads fall through, writes stay above, and those of one transaction can be taken back.
struct Overlay<'s, T> {
    base: &'s [T],
    changed: BTreeMap<u32, T>,
    len: u32,
    /// What the slots held above before the running transaction, oldest first.
    undo: Vec<(u32, Option<T>)>,
    len_before: u32,
}

impl<'s, T: Clone> Overlay<'s, T> {
    fn new(base: &'s [T]) -> Self {
        let len = u32::try_from(base.len()).expect("slots are u32");
        Self { base, changed: BTreeMap::new(), len, undo: Vec::new(), len_before: len }
    }

    fn get(&self, slot: u32) -> &T {
        self.changed.get(&slot).unwrap_or_else(|| &self.base[slot as usize])
    }

    fn set(&mut self, slot: u32, value: T) {
        let before = self.changed.insert(slot, value);
        self.undo.push((slot, before));
    }

    fn push(&mut self, value: T) -> Result<u32, TransactionError> {
        self.push_to(value, SLOTS_MAX)
    }

    fn push_to(&mut self, value: T, most: u32) -> Result<u32, TransactionError> {
        let slot = self.len;
        self.len = slot.checked_add(1).filter(|len| *len <= most).ok_or(TransactionError::Full)?;
        self.set(slot, value);
        Ok(slot)
    }

    fn keep(&mut self) {
        self.undo.clear();
        self.len_before = self.len;
    }

    fn take_back(&mut self) {
        for (slot, before) in self.undo.drain(..).rev() {
            match before {
                Some(value) => self.changed.insert(slot, value),
                None => self.changed.remove(&slot),
            };
        }
        self.len = self.len_before;
    }
}

/// A state with the changes of a block in the making.
pub(crate) struct Draft<'s> {
    pub(crate) state: &'s State,
    /// The block's time.
    pub(crate) now: Timestamp,
    objects: Overlay<'s, Object>,
    balances: [Overlay<'s, Balance>; 2],
    new_slots: HashMap<Hash, u32>,
    /// Ids added to `new_slots` by the running transaction.
    new_slots_undo: Vec<Hash>,
    ids: Vec<(TransactionId, Hash)>,
    new_ids: HashMap<TransactionId, Hash>,
    pub(crate) totals: Totals,
    totals_before: Totals,
    pub(crate) postings: [Vec<Posting>; 2],
    postings_before: [usize; 2],
    /// The position of the running transaction.
    pub(crate) group: u32,
    pub(crate) expired: Vec<Hash>,
    pub(crate) sales: Vec<SaleRecord>,
    sales_before: usize,
    /// What the block's transactions weigh so far.
    weight: u32,
    /// Accounts opened for nothing so far.
    free_accounts: u32,
    /// Both before the running transaction.
    counted_before: (u32, u32),
}

impl<'s> Draft<'s> {
    pub(crate) fn new(state: &'s State, now: Timestamp) -> Self {
        let mut totals = state.totals.clone();
        totals.count_gap(state.head.time, now);
        Self {
            now,
            objects: Overlay::new(&state.objects),
            balances: [Overlay::new(&state.balances[0]), Overlay::new(&state.balances[1])],
            new_slots: HashMap::new(),
            new_slots_undo: Vec::new(),
            ids: Vec::new(),
            new_ids: HashMap::new(),
            totals_before: totals.clone(),
            totals,
            postings: [Vec::new(), Vec::new()],
            postings_before: [0, 0],
            group: 0,
            expired: Vec::new(),
            sales: Vec::new(),
            sales_before: 0,
            weight: 0,
            free_accounts: 0,
            counted_before: (0, 0),
            state,
        }
    }

    pub(crate) fn object(&self, id: &Hash) -> Option<(u32, &Object)> {
        let slot = self.new_slots.get(id).or_else(|| self.state.slots.get(id))?;
        Some((*slot, self.objects.get(*slot)))
    }

    pub(crate) fn object_at(&self, slot: u32) -> &Object {
        self.objects.get(slot)
    }

    pub(crate) fn set_object(&mut self, slot: u32, object: Object) {
        self.objects.set(slot, object);
    }

    pub(crate) fn add_object(&mut self, object: Object) -> Result<u32, TransactionError> {
        let id = object.id();
        let slot = self.objects.push(object)?;
        self.new_slots.insert(id, slot);
        self.new_slots_undo.push(id);
        Ok(slot)
    }

    /// Adds an object of the ledger itself, for which transactions leave room.
    pub(crate) fn add_own_object(&mut self, object: Object) {
        let id = object.id();
        let slot = self
            .objects
            .push_to(object, u32::MAX)
            .expect("an epoch adds a few dozen, and the room is for thousands of epochs");
        self.new_slots.insert(id, slot);
        self.new_slots_undo.push(id);
    }

    /// What holds now, and what has been decided for later.
    pub(crate) fn governance(&self) -> &Governance {
        match self.objects.get(self.state.governance_slot) {
            Object::Governance(governance) => governance,
            other => unreachable!("{:?} is where the governance is", other.id()),
        }
    }

    pub(crate) fn set_governance(&mut self, governance: Governance) {
        self.objects.set(self.state.governance_slot, Object::Governance(Box::new(governance)));
    }

    /// The running epoch.
    pub(crate) fn epoch(&self) -> &Epoch {
        match self.object(&Epoch::id(self.governance().epoch)) {
            Some((_, Object::Epoch(epoch))) => epoch,
            _ => unreachable!("the running epoch is in the state"),
        }
    }

    /// Counts what a transaction weighs, if the block has room for it.
    pub(crate) fn weigh(&mut self, weight: u32) -> Result<(), TransactionError> {
        let left = Block::WEIGHT_MAX - self.weight;
        if weight > left {
            return Err(TransactionError::Weight { weight, left });
        }
        self.weight += weight;
        Ok(())
    }

    /// Counts an account that is opened for nothing.
    pub(crate) fn open_for_nothing(&mut self) -> Result<(), TransactionError> {
        if self.free_accounts == Block::FREE_ACCOUNTS_MAX {
            return Err(TransactionError::FreeAccounts);
        }
        self.free_accounts += 1;
        Ok(())
    }

    pub(crate) fn account(&self, id: &AccountId) -> Result<(u32, &Account), TransactionError> {
        match self.object(&Hash::from(*id)) {
            Some((slot, Object::Account(account))) => Ok((slot, account)),
            _ => Err(TransactionError::NoAccount(*id)),
        }
    }

    /// The slot and balance of an account in a journal; opened there if this is its first use.
    pub(crate) fn balance(
        &mut self,
        journal: Journal,
        id: &AccountId,
    ) -> Result<(u32, Balance), TransactionError> {
        let (slot, account) = self.account(id)?;
        let overlay = &self.balances[journal as usize];
        if let Some(at) = account.balances[journal as usize] {
            return Ok((at, *overlay.get(at)));
        }
        let mut account = account.clone();
        let at = self.balances[journal as usize].push(Balance::empty(*id))?;
        account.balances[journal as usize] = Some(at);
        self.objects.set(slot, Object::Account(account));
        Ok((at, Balance::empty(*id)))
    }

    pub(crate) fn set_balance(&mut self, journal: Journal, slot: u32, balance: Balance) {
        self.balances[journal as usize].set(slot, balance);
    }

    pub(crate) fn post(&mut self, journal: Journal, posting: Posting) {
        self.postings[journal as usize].push(posting);
    }

    /// Where the postings of the running transaction begin.
    pub(crate) fn group_start(&self, journal: Journal) -> usize {
        self.postings_before[journal as usize]
    }

    /// The content applied under `id`, in this block or within the last 24 hours.
    pub(crate) fn applied(&self, id: &TransactionId) -> Option<Hash> {
        self.new_ids.get(id).copied().or_else(|| self.state.applied(id))
    }

    /// The running transaction holds: its changes stay.
    pub(crate) fn keep(&mut self, applied: Option<(TransactionId, Hash)>) {
        self.objects.keep();
        self.balances.iter_mut().for_each(Overlay::keep);
        self.new_slots_undo.clear();
        self.counted_before = (self.weight, self.free_accounts);
        self.totals_before = self.totals.clone();
        self.postings_before = [self.postings[0].len(), self.postings[1].len()];
        self.sales_before = self.sales.len();
        if let Some((id, content)) = applied {
            self.ids.push((id, content));
            self.new_ids.insert(id, content);
            self.group += 1;
        }
    }

    /// The running transaction fails: as if it had never been.
    pub(crate) fn take_back(&mut self) {
        self.objects.take_back();
        self.balances.iter_mut().for_each(Overlay::take_back);
        for id in self.new_slots_undo.drain(..) {
            self.new_slots.remove(&id);
        }
        (self.weight, self.free_accounts) = self.counted_before;
        self.totals = self.totals_before.clone();
        for (postings, length) in self.postings.iter_mut().zip(self.postings_before) {
            postings.truncate(length);
        }
        self.sales.truncate(self.sales_before);
    }

    /// Checks the block's invariants, hashes its changes, and hands them over. `block` is not known yet: the header that
    /// holds these roots comes after.
    pub(crate) fn finish(self, height: u64) -> Applied {
        self.check_invariants();
        let state = self.state;
        let leaves: Vec<(u32, Hash)> = self
            .objects
            .changed
            .iter()
            .map(|(slot, o)| (*slot, TreeName::Objects.leaf(*slot, &o.encode())))
            .collect();
        let objects = state.object_tree.plan(leaves, self.objects.len);
        let balances = Journal::ALL.map(|journal| {
            let overlay = &self.balances[journal as usize];
            let name = TreeName::balances(journal);
            let leaves =
                overlay.changed.iter().map(|(slot, b)| (*slot, name.leaf(*slot, &b.encode()))).collect();
            state.balance_trees[journal as usize].plan(leaves, overlay.len)
        });
        let ids = BlockIds { time: self.now, ids: self.ids };
        let leaf = state.id_tree.count();
        let id_plan = state.id_tree.plan(vec![(leaf, ids.leaf())], leaf + 1);
        let ids_from = forget_until(state, self.now);
        let journal = |which: Journal| JournalRoots {
            postings: postings_root(which, &self.postings[which as usize]),
            balances: balances[which as usize].root(),
        };
        let roots = StateRoots {
            energy: journal(Journal::Energy),
            grid: journal(Journal::Grid),
            objects: objects.root(),
            ids: id_plan.root(),
            ids_from,
            totals: self.totals.hash(),
        };
        let [energy, grid] = self.balances;
        Applied {
            head: Head { height, block: Hash::ZERO, time: self.now },
            objects: self.objects.changed,
            balances: [energy.changed, grid.changed],
            ids,
            ids_from,
            totals: self.totals,
            plans: Plans { objects, balances, ids: id_plan },
            roots,
            postings: self.postings,
            expired: self.expired,
            sales: self.sales,
        }
    }

    /// What must hold after every block, checked over what the block touched; in release builds too, because money
    /// depends on it.
    fn check_invariants(&self) {
        let (mut bought, mut sold) = (0u128, 0u128);
        for journal in Journal::ALL {
            let at = journal as usize;
            let mut sums = [0i128; 2];
            for (slot, balance) in &self.balances[at].changed {
                let before = self.balances[at].base.get(*slot as usize);
                for asset in Asset::ALL {
                    let holding = balance.of(asset);
                    assert!(
                        holding.held >= 0 && holding.available() >= 0,
                        "I2 no negative available balance: {balance:?}"
                    );
                    sums[asset as usize] +=
                        i128::from(holding.posted) - before.map_or(0, |b| i128::from(b.of(asset).posted));
                }
                bought +=
                    u128::from(balance.bought.as_wh()) - before.map_or(0, |b| u128::from(b.bought.as_wh()));
                sold += u128::from(balance.sold.as_wh()) - before.map_or(0, |b| u128::from(b.sold.as_wh()));
            }
            for asset in Asset::ALL {
                let (now, before) =
                    (self.totals.flows[at][asset as usize], self.state.totals.flows[at][asset as usize]);
                assert_eq!(
                    sums[asset as usize],
                    now.sum() - before.sum(),
                    "I1 sum of balances = issued - burned, {journal:?} {asset:?}"
                );
            }
        }
        for asset in Asset::ALL {
            let crossed: i128 =
                self.totals.flows.iter().map(|journal| i128::from(journal[asset as usize].crossed)).sum();
            assert_eq!(crossed, 0, "I1 what leaves one journal enters the other");
        }
        let delta = |now: Energy, before: Energy| u128::from(now.as_wh()) - u128::from(before.as_wh());
        assert_eq!(bought, delta(self.totals.bought, self.state.totals.bought), "I10 Wh bought");
        assert_eq!(sold, delta(self.totals.sold, self.state.totals.sold), "I10 Wh sold");
        assert_eq!(bought, sold, "I10 Wh sold = Wh bought");
        let ended = |totals: &Totals| totals.pendings_ended.iter().sum::<u64>();
        let opened_here = self.totals.pendings_opened - self.state.totals.pendings_opened;
        let ended_here = ended(&self.totals) - ended(&self.state.totals);
        let open_now = self.objects.changed.values().map(|o| o.held().len() as u64).sum::<u64>();
        let base = |slot: &u32| self.objects.base.get(*slot as usize).map_or(0, |o| o.held().len() as u64);
        let open_before = self.objects.changed.keys().map(base).sum::<u64>();
        assert_eq!(open_before + opened_here, open_now + ended_here, "I4 each hold ends exactly once");
        assert_eq!(self.ids.len(), self.new_ids.len(), "I3 each id applied once");
    }
}

/// The first block whose ids are still remembered at `now`.
fn forget_until(state: &State, now: Timestamp) -> u32 {
    let old = |block: &&BlockIds| {
        block.time.checked_add(crate::Transaction::VALID_MAX).is_some_and(|forgotten| forgotten <= now)
    };
    let gone = state.recent.iter().take(FORGET_MAX).take_while(old).count();
    state.ids_from + u32::try_from(gone).expect("at most FORGET_MAX")
}

/// Slots that transactions may fill; the rest is the ledger's own, for epochs and keys.
const SLOTS_MAX: u32 = u32::MAX - (1 << 20);
/// Blocks whose ids one block forgets at most: more than pass in the time that one takes, so that the rest catches up.
const FORGET_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_keeps_a_million_slots_for_itself() {
        assert_eq!(u32::MAX - SLOTS_MAX, 1_048_576);
        let mut overlay: Overlay<'_, u8> = Overlay::new(&[]);
        (overlay.len, overlay.len_before) = (4_293_918_718, 4_293_918_718);
        assert_eq!(overlay.push(1), Ok(4_293_918_718));
        assert_eq!(overlay.push(2), Err(TransactionError::Full));
    }
}
