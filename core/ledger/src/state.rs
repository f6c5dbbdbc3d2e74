//! The state of one zone in memory, and the draft of what a block makes of it.
//!
//! A block is executed on a [`Draft`], which reads through to the state and keeps every change to itself. Only when the
//! block is decided are the changes made ([`State::apply`]); a block that loses its round is simply dropped.
//!
//! Everything that execution reads is under the roots: objects, both journals, the ids of the last 24 hours, and the
//! totals. The maps from id to slot are a function of the leaves, so a snapshot of the leaves restores them.

mod draft;
mod restore;

pub(crate) use draft::Draft;
pub use restore::Restore;

use ohmesh_auction::key::EpochKey;

use crate::{
    Account, Asset, Balance, End, Epoch, Governance, Journal, Object, SaleRecord, ValidatorSet,
    tree::{Tree, TreePlan, TreeRoot},
};
use ohmesh_units::{
    AccountId, Canonical, DecodeError, Domain, Energy, Hash, Timestamp, TransactionId, ZoneId, from_postcard,
    to_postcard,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::zone::Zone;

/// The roots of one journal after a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct JournalRoots {
    /// Over the postings of this block, in order.
    pub postings: TreeRoot,
    /// Over the balances.
    pub balances: TreeRoot,
}

/// What a header says of the state after its block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StateRoots {
    /// The energy journal.
    pub energy: JournalRoots,
    /// The grid journal.
    pub grid: JournalRoots,
    /// Accounts, stations, outlets, holds.
    pub objects: TreeRoot,
    /// The ids applied, one leaf a block.
    pub ids: TreeRoot,
    /// The first block whose ids still count; those before it are forgotten.
    pub ids_from: u32,
    /// Hash of the [`Totals`].
    pub totals: Hash,
}

impl StateRoots {
    /// The roots of `journal`.
    pub fn journal(&self, journal: Journal) -> &JournalRoots {
        match journal {
            Journal::Energy => &self.energy,
            Journal::Grid => &self.grid,
        }
    }
}

/// How much of one asset has entered and left one journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Flow {
    /// Issued by the treasury.
    pub issued: i64,
    /// Burned.
    pub burned: i64,
    /// Crossed over from the other journal, less what crossed over to it: a net amount, so that money going to and fro
    /// never fills a counter.
    pub crossed: i64,
}

impl Flow {
    /// What the balances must add up to (I1).
    pub fn sum(&self) -> i128 {
        i128::from(self.issued) - i128::from(self.burned) + i128::from(self.crossed)
    }
}

/// Sums over the whole state, kept as it changes; I1, I4 and I10 are checked against them after every block.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Totals {
    /// By journal, then asset.
    pub flows: [[Flow; 2]; 2],
    /// Holds opened, contracts' escrows included.
    pub pendings_opened: u64,
    /// Holds that were paid or burned, given up, timed out.
    pub pendings_ended: [u64; 3],
    /// All energy sold.
    pub sold: Energy,
    /// All energy bought.
    pub bought: Energy,
    /// How long the chain has stood still: all gaps between blocks longer than [`Totals::GAP_MS`].
    pub halted_ms: u64,
}

impl Totals {
    /// The longest time between two blocks in which nothing is amiss: empty blocks come every 10 s, and a round or two may
    /// fail.
    pub const GAP_MS: u64 = 30_000;

    /// Counts the gap before a block of time `now`.
    pub(crate) fn count_gap(&mut self, parent: Timestamp, now: Timestamp) {
        let gap_ms = now.as_millis().saturating_sub(parent.as_millis());
        if gap_ms > Self::GAP_MS {
            self.halted_ms = self.halted_ms.saturating_add(gap_ms);
        }
    }

    pub(crate) fn flow_mut(&mut self, journal: Journal, asset: Asset) -> &mut Flow {
        &mut self.flows[journal as usize][asset as usize]
    }

    /// Counts a hold that has ended.
    pub(crate) fn hold_ended(&mut self, end: End) {
        let at = match end {
            End::Voided => 1,
            End::Expired => 2,
            _ => 0,
        };
        self.pendings_ended[at] += 1;
    }

    pub(crate) fn hash(&self) -> Hash {
        const TOTALS: Domain = Domain::new("ohmesh/1 totals");
        TOTALS.hash(&[&to_postcard(self)])
    }
}

/// The newest block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Its height; 0 before the first.
    pub height: u64,
    /// Its id; [`Hash::ZERO`] before the first.
    pub block: Hash,
    /// Its time; the zone's creation before the first.
    pub time: Timestamp,
}

/// Which tree of the state a leaf or proof belongs to. Tags are never reused: append only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum TreeName {
    /// Accounts, stations, outlets, holds.
    Objects,
    /// Balances of the energy journal.
    EnergyBalances,
    /// Balances of the grid journal.
    GridBalances,
}

impl TreeName {
    /// The hash of a leaf in this tree: it binds tree, slot and content.
    pub fn leaf(self, slot: u32, content: &[u8]) -> Hash {
        const LEAF: Domain = Domain::new("ohmesh/1 leaf");
        LEAF.hash(&[&[self as u8], &slot.to_be_bytes(), content])
    }

    /// The balances of `journal`.
    pub fn balances(journal: Journal) -> Self {
        match journal {
            Journal::Energy => Self::EnergyBalances,
            Journal::Grid => Self::GridBalances,
        }
    }
}

/// One side-by-side entry of a journal: `amount` from one account to the other, as part of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Posting {
    /// The position in the block of the transaction whose group this belongs to; what happens by timeout belongs to
    /// none and has [`Posting::BY_TIMEOUT`].
    pub group: u32,
    /// What moved.
    pub asset: Asset,
    /// Who paid; the account itself where money enters from outside or the other journal.
    pub from: AccountId,
    /// Who was paid; the account itself where money leaves.
    pub to: AccountId,
    /// How much.
    pub amount: i64,
}

impl Posting {
    /// The group of what no transaction caused.
    pub const BY_TIMEOUT: u32 = u32::MAX;
}

/// The applied ids of one block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BlockIds {
    pub(crate) time: Timestamp,
    pub(crate) ids: Vec<(TransactionId, Hash)>,
}

impl BlockIds {
    fn leaf(&self) -> Hash {
        Self::leaf_of(&self.content())
    }

    pub(crate) fn leaf_of(content: &[u8]) -> Hash {
        const IDS: Domain = Domain::new("ohmesh/1 applied ids");
        IDS.hash(&[content])
    }

    pub(crate) fn content(&self) -> Vec<u8> {
        to_postcard(&(self.time, &self.ids))
    }

    pub(crate) fn from_content(content: &[u8]) -> Result<Self, DecodeError> {
        let (time, ids) = from_postcard("applied ids", content)?;
        Ok(Self { time, ids })
    }
}

/// The whole state of a zone after some block. It never does I/O; two states that executed the same blocks are equal.
#[derive(Clone, Debug)]
pub struct State {
    zone: Zone,
    id: ZoneId,
    pub(crate) head: Head,
    pub(crate) objects: Vec<Object>,
    pub(crate) slots: HashMap<Hash, u32>,
    pub(crate) timeouts: BTreeSet<(Timestamp, u32)>,
    pub(crate) balances: [Vec<Balance>; 2],
    pub(crate) ids: HashMap<TransactionId, Hash>,
    pub(crate) recent: VecDeque<BlockIds>,
    pub(crate) ids_from: u32,
    pub(crate) totals: Totals,
    /// Auction keys by epoch, decoded once: a function of the objects.
    pub(crate) keys: BTreeMap<u64, EpochKey>,
    /// Where the governance is.
    pub(crate) governance_slot: u32,
    /// The slot of the running epoch.
    epoch_slot: u32,
    pub(crate) object_tree: Tree,
    pub(crate) balance_trees: [Tree; 2],
    pub(crate) id_tree: Tree,
    roots: StateRoots,
}

/// What a block changes, hashed and ready to be made.
#[derive(Debug)]
pub struct Applied {
    pub(crate) head: Head,
    objects: BTreeMap<u32, Object>,
    balances: [BTreeMap<u32, Balance>; 2],
    ids: BlockIds,
    ids_from: u32,
    totals: Totals,
    plans: Plans,
    pub(crate) roots: StateRoots,
    /// The postings of the block, by journal.
    pub postings: [Vec<Posting>; 2],
    /// Holds that ended by their timeout.
    pub expired: Vec<Hash>,
    /// What was sold, in the order of the legs; not under any root.
    pub sales: Vec<SaleRecord>,
}

impl Applied {
    /// The roots that the state will have.
    pub fn roots(&self) -> &StateRoots {
        &self.roots
    }
}

#[derive(Debug)]
struct Plans {
    objects: TreePlan,
    balances: [TreePlan; 2],
    ids: TreePlan,
}

impl State {
    /// The state before the first block: the accounts of the distributor, the treasurers and the validators, with nothing
    /// in them.
    pub fn genesis(zone: Zone) -> Self {
        let id = zone.id();
        let mut keys = vec![zone.distributor.key];
        keys.extend(&zone.treasury.keys);
        keys.extend(zone.validators.all().iter().map(|validator| validator.key));
        let mut state = Self {
            head: Head { height: 0, block: Hash::ZERO, time: zone.created },
            zone,
            id,
            objects: Vec::new(),
            slots: HashMap::new(),
            timeouts: BTreeSet::new(),
            balances: [Vec::new(), Vec::new()],
            ids: HashMap::new(),
            recent: VecDeque::new(),
            ids_from: 0,
            totals: Totals::default(),
            keys: BTreeMap::new(),
            governance_slot: 0,
            epoch_slot: 0,
            object_tree: Tree::default(),
            balance_trees: [Tree::default(), Tree::default()],
            id_tree: Tree::default(),
            roots: StateRoots::default(),
        };
        for owner in keys {
            let account = Account { owner, balances: [None, None], children: Default::default() };
            if !state.slots.contains_key(&account.id().into()) {
                state.put_first(Object::Account(account));
            }
        }
        let (validators, created) = (state.zone.validators.clone(), state.zone.created);
        for validator in validators.all() {
            state.put_first(Object::Finished(crate::governance::used_vote_key(&validator.vote)));
        }
        let generation = crate::execute::first_generation(id, 0, &validators, created);
        state.put_first(Object::Generation(Box::new(generation)));
        state.epoch_slot = state.object_tree.count();
        state.put_first(Object::Epoch(Box::new(Epoch {
            number: 0,
            first_height: 1,
            began: created,
            ended: None,
            validators,
            convicted: Vec::new(),
        })));
        state.governance_slot = state.object_tree.count();
        state.put_first(Object::Governance(Box::new(Governance::first(&state.zone))));
        state.roots.objects = state.object_tree.root();
        state.roots.totals = state.totals.hash();
        state
    }

    /// Puts an object of the genesis into the next slot.
    fn put_first(&mut self, object: Object) {
        let slot = self.object_tree.count();
        self.slots.insert(object.id(), slot);
        if let Some(timeout) = object.timeout() {
            self.timeouts.insert((timeout, slot));
        }
        let leaf = TreeName::Objects.leaf(slot, &object.encode());
        self.object_tree.apply(self.object_tree.plan(vec![(slot, leaf)], slot + 1));
        self.objects.push(object);
    }

    /// The zone.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The zone's id.
    pub fn zone_id(&self) -> &ZoneId {
        &self.id
    }

    /// The newest block.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The roots after the newest block.
    pub fn roots(&self) -> &StateRoots {
        &self.roots
    }

    /// Sums over everything.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The slot and object with `id`.
    pub fn object(&self, id: &Hash) -> Option<(u32, &Object)> {
        let slot = *self.slots.get(id)?;
        Some((slot, &self.objects[slot as usize]))
    }

    /// The account with `id`.
    pub fn account(&self, id: &AccountId) -> Option<&Account> {
        match self.object(&Hash::from(*id)) {
            Some((_, Object::Account(account))) => Some(account),
            _ => None,
        }
    }

    /// The slot and balance of an account in a journal, if it has been used there.
    pub fn balance(&self, journal: Journal, account: &AccountId) -> Option<(u32, &Balance)> {
        let slot = self.account(account)?.balances[journal as usize]?;
        Some((slot, &self.balances[journal as usize][slot as usize]))
    }

    /// The running epoch: that of the next block.
    pub fn epoch(&self) -> &Epoch {
        match &self.objects[self.epoch_slot as usize] {
            Object::Epoch(epoch) => epoch,
            other => unreachable!("{:?} is where the running epoch is", other.id()),
        }
    }

    /// Who validates the next block.
    pub fn validators(&self) -> &ValidatorSet {
        &self.epoch().validators
    }

    /// What holds now, and what has been decided for later.
    pub fn governance(&self) -> &Governance {
        match &self.objects[self.governance_slot as usize] {
            Object::Governance(governance) => governance,
            other => unreachable!("{:?} is where the governance is", other.id()),
        }
    }

    /// The auction key of an epoch, once it has been made.
    pub fn epoch_key(&self, epoch: u64) -> Option<&EpochKey> {
        self.keys.get(&epoch)
    }

    /// Every object, by slot.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.objects.iter()
    }

    /// Whether the transaction has been applied and is still remembered: the hash of its content.
    pub fn applied(&self, id: &TransactionId) -> Option<Hash> {
        self.ids.get(id).copied()
    }

    /// The sibling hashes of a slot.
    pub(crate) fn path(&self, tree: TreeName, slot: u32) -> Option<Vec<Hash>> {
        match tree {
            TreeName::Objects => self.object_tree.path(slot),
            TreeName::EnergyBalances => self.balance_trees[0].path(slot),
            TreeName::GridBalances => self.balance_trees[1].path(slot),
        }
    }

    /// Makes the changes of a decided block. They must come from this very state.
    pub fn apply(&mut self, applied: Applied) {
        assert_eq!(applied.head.height, self.head.height + 1, "blocks are applied in order");
        for (slot, object) in applied.objects {
            let at = slot as usize;
            if let Some(timeout) = self.objects.get(at).and_then(Object::timeout) {
                self.timeouts.remove(&(timeout, slot));
            }
            if let Some(timeout) = object.timeout() {
                self.timeouts.insert((timeout, slot));
            }
            if let Object::EpochKey(key) = &object {
                self.keys.insert(key.epoch(), (**key).clone());
            }
            if at == self.objects.len() {
                self.slots.insert(object.id(), slot);
                self.objects.push(object);
            } else {
                self.objects[at] = object;
            }
        }
        for (own, changed) in self.balances.iter_mut().zip(applied.balances) {
            for (slot, balance) in changed {
                if slot as usize == own.len() { own.push(balance) } else { own[slot as usize] = balance }
            }
        }
        self.ids.extend(applied.ids.ids.iter().copied());
        self.recent.push_back(applied.ids);
        while self.ids_from < applied.ids_from {
            let forgotten = self.recent.pop_front().expect("only blocks that were applied are forgotten");
            for (id, content) in forgotten.ids {
                if self.ids.get(&id) == Some(&content) {
                    self.ids.remove(&id);
                }
            }
            self.ids_from += 1;
        }
        self.object_tree.apply(applied.plans.objects);
        for (tree, plan) in self.balance_trees.iter_mut().zip(applied.plans.balances) {
            tree.apply(plan);
        }
        self.id_tree.apply(applied.plans.ids);
        self.id_tree.forget_before(self.ids_from);
        let running = Epoch::id(self.governance().epoch);
        self.epoch_slot = *self.slots.get(&running).expect("the running epoch is in the state");
        self.totals = applied.totals;
        self.head = applied.head;
        self.roots = applied.roots;
    }

    /// Checks every invariant over the whole state, at a cost that grows with it; simulations call it after every block.
    /// Panics with the invariant's name.
    pub fn audit(&self) {
        for journal in Journal::ALL {
            let mut bought = 0u128;
            let mut sold = 0u128;
            for asset in Asset::ALL {
                let mut sum = 0i128;
                for balance in &self.balances[journal as usize] {
                    let holding = balance.of(asset);
                    sum += i128::from(holding.posted);
                    assert!(holding.held >= 0 && holding.available() >= 0, "I2: {balance:?}");
                }
                let flow = self.totals.flows[journal as usize][asset as usize];
                assert_eq!(sum, flow.sum(), "I1: {journal:?} {asset:?}");
            }
            for balance in &self.balances[journal as usize] {
                bought += u128::from(balance.bought.as_wh());
                sold += u128::from(balance.sold.as_wh());
            }
            if journal == Journal::Energy {
                assert_eq!(
                    (bought, sold),
                    (u128::from(self.totals.bought.as_wh()), u128::from(self.totals.sold.as_wh())),
                    "I10"
                );
                assert_eq!(bought, sold, "I10");
            }
        }
        let open: Vec<(AccountId, Asset, i64)> = self.objects.iter().flat_map(Object::held).collect();
        let ended: u64 = self.totals.pendings_ended.iter().sum();
        assert_eq!(self.totals.pendings_opened, ended + open.len() as u64, "I4: every hold ends once");
        for asset in Asset::ALL {
            let held: i128 = open.iter().filter(|held| held.1 == asset).map(|held| i128::from(held.2)).sum();
            let in_balances: i128 = self.balances[0].iter().map(|b| i128::from(b.of(asset).held)).sum();
            assert_eq!(held, in_balances, "I4: what is held is what the open holds hold");
        }
        let remembered: usize = self.recent.iter().map(|block| block.ids.len()).sum();
        assert_eq!(remembered, self.ids.len(), "I3: each id applied once");
        let expected: Vec<Hash> =
            (0u32..).zip(&self.objects).map(|(slot, o)| TreeName::Objects.leaf(slot, &o.encode())).collect();
        assert_eq!(
            crate::tree::root_of(&expected),
            self.roots.objects.hash,
            "I9: the root is of these objects"
        );
    }
}

/// Root over the postings of one journal in one block.
pub fn postings_root(journal: Journal, postings: &[Posting]) -> TreeRoot {
    const POSTING: Domain = Domain::new("ohmesh/1 posting");
    let leaves: Vec<Hash> =
        postings.iter().map(|posting| POSTING.hash(&[&[journal as u8], &to_postcard(posting)])).collect();
    TreeRoot { hash: crate::tree::root_of(&leaves), count: u32::try_from(leaves.len()).unwrap_or(u32::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Distributor, KeyGroup, Rules, Validator};
    use ohmesh_units::{Position, Price, PublicKey, SigningKey};

    fn key(n: u8) -> PublicKey {
        SigningKey::from_seed([n; 32]).public()
    }

    fn state() -> State {
        let [key_of_account, vote] = [key(1), key(2)];
        let (name, stake, address) = ("v".to_owned(), 1, String::new());
        let validator = Validator { name, key: key_of_account, vote, stake, address };
        State::genesis(Zone {
            name: "testville".into(),
            currency: "EUR".parse().unwrap(),
            created: Timestamp::from_millis(1_800_000_000_000),
            polygon: [(0, 0), (0, 1), (1, 0)].map(|(lat, lon)| Position::from_e7(lat, lon).unwrap()).to_vec(),
            treasury: KeyGroup { threshold: 1, keys: vec![key(3)] },
            distributor: Distributor { key: key(4), tariff: Price::from_micro_per_kwh(0) },
            areas: Vec::new(),
            regulators: None,
            rules: Rules::default(),
            validators: ValidatorSet::new(vec![validator]).unwrap(),
        })
    }

    /// The balance of the treasurer, after `damage` that no transaction does.
    fn damaged(damage: impl Fn(&mut Balance)) -> Balance {
        let mut balance = Balance::empty(AccountId::of(&key(3)));
        damage(&mut balance);
        balance
    }

    fn audit(damage: impl Fn(&mut Balance)) {
        let mut state = state();
        state.audit();
        state.balances[0].push(damaged(damage));
        state.audit();
    }

    #[test]
    #[should_panic(expected = "I1: Energy Currency")]
    fn an_audit_finds_money_from_nowhere() {
        audit(|balance| balance.holdings[0].posted = 1);
    }

    #[test]
    #[should_panic(expected = "I2: ")]
    fn an_audit_finds_a_debt() {
        audit(|balance| balance.holdings[0].posted = -1);
    }

    #[test]
    #[should_panic(expected = "I10")]
    fn an_audit_finds_energy_that_nobody_sold() {
        audit(|balance| balance.bought = Energy::from_wh(1));
    }

    /// A block that leaves this balance behind.
    fn finish(damage: impl Fn(&mut Balance)) {
        let state = state();
        let mut draft = Draft::new(&state, Timestamp::from_millis(1_800_000_000_001));
        let (slot, _) = draft.balance(Journal::Grid, &AccountId::of(&key(3))).unwrap();
        draft.set_balance(Journal::Grid, slot, damaged(damage));
        draft.finish(1);
    }

    #[test]
    fn a_block_that_opens_an_empty_balance_is_finished() {
        finish(|_| ());
    }

    #[test]
    #[should_panic(expected = "I1 sum of balances = issued - burned, Grid EnergyCoin")]
    fn no_block_is_finished_with_money_from_nowhere() {
        finish(|balance| balance.holdings[1].posted = 1);
    }

    #[test]
    #[should_panic(expected = "I2 no negative available balance")]
    fn no_block_is_finished_with_more_held_than_there_is() {
        finish(|balance| balance.holdings[0].held = 1);
    }

    #[test]
    #[should_panic(expected = "I10 Wh sold")]
    fn no_block_is_finished_with_energy_that_nobody_bought() {
        finish(|balance| balance.sold = Energy::from_wh(1));
    }
}
