//! A dense Merkle tree over slots `0..count`: no keys, no empty branches, as many levels as the count needs.
//!
//! A node is the hash of its two children; where the right child lies past the end it is [`Hash::ZERO`], and a proof does
//! not carry it. The root says nothing without its count, so both always travel together ([`TreeRoot`]).
//!
//! A run of neighbouring leaves proves itself with the siblings at its two ends ([`TreeRoot::proves_run`]): at most two
//! hashes a level, however long the run is. Leaves that never change again may be forgotten from the left
//! ([`Tree::forget_before`]); what is left appends as before, and can be built from the newer leaves and the left siblings
//! of the first of them ([`Tree::from_run`]).
//!
//! Cost: one 32-byte hash a level and proof step (20 levels at a million slots), 64 bytes of memory a leaf.

use ohmesh_units::{Domain, Hash};
use serde::{Deserialize, Serialize};

const NODE: Domain = Domain::new("ohmesh/1 tree node");

/// The root of a dense tree and the number of leaves below it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TreeRoot {
    /// The topmost hash; [`Hash::ZERO`] over no leaves.
    pub hash: Hash,
    /// Leaves below it.
    pub count: u32,
}

impl TreeRoot {
    /// Whether `leaf` stands at `slot` below this root, `path` being the sibling hashes from the bottom up.
    pub fn proves(&self, slot: u32, leaf: Hash, path: &[Hash]) -> bool {
        if slot >= self.count {
            return false;
        }
        let (mut at, mut width, mut hash) = (slot, self.count, leaf);
        let mut path = path.iter();
        while width > 1 {
            let sibling = at ^ 1;
            let sibling = if sibling < width { path.next().copied() } else { Some(Hash::ZERO) };
            let Some(sibling) = sibling else { return false };
            hash = if at % 2 == 0 { node(hash, sibling) } else { node(sibling, hash) };
            at /= 2;
            width = width.div_ceil(2);
        }
        path.next().is_none() && hash == self.hash
    }

    /// Whether `leaves` stand at `first` and the slots after it below this root. No leaves prove nothing.
    pub fn proves_run(&self, first: u32, leaves: &[Hash], siblings: &Siblings) -> bool {
        let Some(past) = u32::try_from(leaves.len()).ok().and_then(|n| first.checked_add(n)) else {
            return false;
        };
        if leaves.is_empty() || past > self.count {
            return false;
        }
        let (mut low, mut high, mut width) = (first, past - 1, self.count);
        let mut run = leaves.to_vec();
        let (mut left, mut right) = (siblings.left.iter(), siblings.right.iter());
        while width > 1 {
            if low % 2 == 1 {
                let Some(sibling) = left.next() else { return false };
                run.insert(0, *sibling);
            }
            if high % 2 == 0 && high + 1 < width {
                let Some(sibling) = right.next() else { return false };
                run.push(*sibling);
            }
            run = parents(&run);
            (low, high, width) = (low / 2, high / 2, width.div_ceil(2));
        }
        left.next().is_none() && right.next().is_none() && run.first() == Some(&self.hash)
    }
}

/// The hashes beside a run of leaves that lead from it to the root, each list from the bottom up; at most 32 each.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Siblings {
    /// Left of the run, at each level on which it begins with a right child.
    pub left: Vec<Hash>,
    /// Right of it, at each level on which it ends with a left child that is not the last of its level.
    pub right: Vec<Hash>,
}

/// The tree itself, all nodes in memory but those that were forgotten.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// `levels[0]` are the leaves; each level has half the width of the one below it, rounded up.
    levels: Vec<Level>,
}

/// The nodes of one level from some index on; that index is even.
#[derive(Clone, Debug, Default)]
struct Level {
    from: u32,
    nodes: Vec<Hash>,
}

impl Level {
    fn width(&self) -> u32 {
        let nodes = u32::try_from(self.nodes.len()).expect("slots are u32, so there are at most as many");
        self.from + nodes
    }

    fn at(&self, index: u32) -> Option<Hash> {
        self.nodes.get(index.checked_sub(self.from)? as usize).copied()
    }
}

/// A change to a tree that has been hashed but not yet made.
#[derive(Clone, Debug)]
pub struct TreePlan {
    levels: Vec<Vec<(u32, Hash)>>,
    root: TreeRoot,
}

impl TreePlan {
    /// The root that the tree will have.
    pub fn root(&self) -> TreeRoot {
        self.root
    }
}

impl Tree {
    /// The tree whose leaves from `first` on are these, `left` being the left siblings of the run that they are. All
    /// before `first` is forgotten.
    pub fn from_run(first: u32, leaves: Vec<Hash>, left: &[Hash]) -> Self {
        if leaves.is_empty() {
            return Self::default();
        }
        let (mut low, mut nodes, mut left) = (first, leaves, left.iter());
        let mut levels = Vec::new();
        loop {
            let from = low & !1;
            if from < low {
                nodes.insert(0, left.next().copied().unwrap_or(Hash::ZERO));
            }
            let above = parents(&nodes);
            let level = Level { from, nodes };
            let is_top = level.width() == 1;
            levels.push(level);
            if is_top {
                return Self { levels };
            }
            (low, nodes) = (low / 2, above);
        }
    }

    /// The number of leaves.
    pub fn count(&self) -> u32 {
        self.levels.first().map_or(0, Level::width)
    }

    /// The root as it is now.
    pub fn root(&self) -> TreeRoot {
        let hash = self.levels.last().and_then(|top| top.at(0)).unwrap_or(Hash::ZERO);
        TreeRoot { hash, count: self.count() }
    }

    /// Forgets every node that neither appending nor a proof of a leaf from `slot` on needs. The root stays.
    pub fn forget_before(&mut self, slot: u32) {
        let slot = slot.min(self.count().saturating_sub(1));
        for (depth, level) in self.levels.iter_mut().enumerate() {
            let from = (slot >> depth) & !1;
            // In steps, because what is behind has to move up.
            if from.saturating_sub(level.from) >= FORGET_STEP {
                level.nodes.drain(..(from - level.from) as usize);
                level.from = from;
            }
        }
    }

    /// Hashes what the tree becomes when `changes` (ascending by slot, each slot once) are made and it then has `count`
    /// leaves; every slot from the old count up to `count` must be among them. The tree itself does not change, so a
    /// block can be tried and dropped.
    pub fn plan(&self, changes: Vec<(u32, Hash)>, count: u32) -> TreePlan {
        debug_assert!(changes.is_sorted_by(|a, b| a.0 < b.0), "ascending, each slot once");
        debug_assert!(
            changes.iter().filter(|(slot, _)| *slot >= self.count()).count()
                == (count - self.count()) as usize
        );
        let mut levels = vec![changes];
        let mut width = count;
        while width > 1 {
            let below = levels.last().expect("there is the level of the leaves");
            let depth = levels.len() - 1;
            let mut level: Vec<(u32, Hash)> = Vec::with_capacity(below.len() / 2 + 1);
            let mut at = 0;
            while at < below.len() {
                let (index, hash) = below[at];
                at += 1;
                let (left, right) = if index % 2 == 1 {
                    (self.node(depth, index - 1), hash)
                } else if let Some((_, right)) = below.get(at).filter(|(next, _)| *next == index + 1) {
                    at += 1;
                    (hash, *right)
                } else if index + 1 < width {
                    (hash, self.node(depth, index + 1))
                } else {
                    (hash, Hash::ZERO)
                };
                level.push((index / 2, node(left, right)));
            }
            levels.push(level);
            width = width.div_ceil(2);
        }
        let hash = levels.last().and_then(|top| top.first()).map(|(_, hash)| *hash);
        let root = TreeRoot { hash: hash.unwrap_or(self.root().hash), count };
        TreePlan { levels, root }
    }

    /// Makes a planned change. The plan must have been made on this very tree.
    pub fn apply(&mut self, plan: TreePlan) {
        let mut width = plan.root.count as usize;
        for (depth, changes) in plan.levels.into_iter().enumerate() {
            if self.levels.len() == depth {
                self.levels.push(Level::default());
            }
            let Level { from, nodes } = &mut self.levels[depth];
            nodes.resize(width - *from as usize, Hash::ZERO);
            for (index, hash) in changes {
                nodes[(index - *from) as usize] = hash;
            }
            width = width.div_ceil(2);
        }
        assert_eq!(self.root(), plan.root, "a plan is applied to the tree it was made on");
    }

    /// The sibling hashes from the leaf at `slot` up to the root; `None` past the end, or if they are forgotten.
    pub fn path(&self, slot: u32) -> Option<Vec<Hash>> {
        if slot >= self.count() || slot < self.levels.first()?.from {
            return None;
        }
        let mut at = slot;
        let mut path = Vec::with_capacity(self.levels.len());
        for level in &self.levels[..self.levels.len() - 1] {
            path.extend(level.at(at ^ 1));
            at /= 2;
        }
        Some(path)
    }

    /// What leads from the `length` leaves at `first` to the root; `None` if they are not all there.
    pub fn siblings(&self, first: u32, length: u32) -> Option<Siblings> {
        let past = first.checked_add(length)?;
        if length == 0 || past > self.count() || first < self.levels.first()?.from {
            return None;
        }
        let (mut low, mut high) = (first, past - 1);
        let mut siblings = Siblings::default();
        for level in &self.levels[..self.levels.len() - 1] {
            if low % 2 == 1 {
                siblings.left.extend(level.at(low - 1));
            }
            if high % 2 == 0 {
                siblings.right.extend(level.at(high + 1));
            }
            (low, high) = (low / 2, high / 2);
        }
        Some(siblings)
    }

    fn node(&self, depth: usize, index: u32) -> Hash {
        self.levels[depth].at(index).expect("nodes beside leaves that may change are never forgotten")
    }
}

/// The root over `leaves` at once, for trees that live no longer than a block.
pub fn root_of(leaves: &[Hash]) -> Hash {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = parents(&level);
    }
    level.first().copied().unwrap_or(Hash::ZERO)
}

/// The nodes above a run of nodes that begins with a left child.
fn parents(nodes: &[Hash]) -> Vec<Hash> {
    nodes.chunks(2).map(|pair| node(pair[0], pair.get(1).copied().unwrap_or(Hash::ZERO))).collect()
}

fn node(left: Hash, right: Hash) -> Hash {
    NODE.hash(&[&left.0, &right.0])
}

/// Nodes of a level that are forgotten at a time at least.
const FORGET_STEP: u32 = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn leaf(n: u64) -> Hash {
        Domain::new("ohmesh/1 test").hash(&[&n.to_be_bytes()])
    }

    proptest! {
        /// Any sequence of changes gives the root of the plain list, and every leaf proves itself and nothing else.
        #[test]
        fn agrees_with_the_plain_list(
            steps in proptest::collection::vec((0u32..40, proptest::collection::vec((0u32..300, any::<u64>()), 0..20)), 1..8)
        ) {
            let mut tree = Tree::default();
            let mut list: Vec<Hash> = Vec::new();
            for (grow, edits) in steps {
                let mut changes = BTreeMap::new();
                for n in 0..grow {
                    changes.insert(tree.count() + n, leaf(u64::from(n)));
                }
                for (slot, value) in edits {
                    if slot < tree.count() + grow {
                        changes.insert(slot, leaf(value));
                    }
                }
                let count = tree.count() + grow;
                list.resize(count as usize, Hash::ZERO);
                for (slot, hash) in &changes {
                    list[*slot as usize] = *hash;
                }
                let plan = tree.plan(changes.into_iter().collect(), count);
                let planned = plan.root();
                tree.apply(plan);
                prop_assert_eq!(tree.root(), planned);
                prop_assert_eq!(planned.hash, root_of(&list));
            }
            let root = tree.root();
            for (slot, hash) in (0..).zip(&list) {
                let path = tree.path(slot).unwrap();
                prop_assert!(root.proves(slot, *hash, &path));
                prop_assert!(!root.proves(slot, leaf(u64::MAX), &path));
                prop_assert!(!root.proves(slot ^ 1, *hash, &path) || list.get((slot ^ 1) as usize) == Some(hash));
                let longer = [&path[..], &[Hash::ZERO]].concat();
                prop_assert!(!root.proves(slot, *hash, &longer));
                if let Some((_, shorter)) = path.split_last() {
                    prop_assert!(!root.proves(slot, *hash, shorter));
                }
            }
            prop_assert!(!root.proves(root.count, Hash::ZERO, &[]));
        }

        /// Any run proves itself and nothing else, and a tree built from the last one goes on like the whole tree.
        #[test]
        fn runs_prove_themselves_and_grow(
            count in 1u32..200, first in any::<u32>(), length in any::<u32>(), more in 1u32..40, bad in any::<u32>()
        ) {
            let first = first % count;
            let length = 1 + length % (count - first);
            let leaves: Vec<Hash> = (0..count).map(|n| leaf(u64::from(n))).collect();
            let mut whole = Tree::from_run(0, leaves.clone(), &[]);
            let root = whole.root();
            prop_assert_eq!(root.hash, root_of(&leaves));
            let run = &leaves[first as usize..(first + length) as usize];
            let siblings = whole.siblings(first, length).unwrap();
            prop_assert!(root.proves_run(first, run, &siblings));
            prop_assert!(!root.proves_run(first + 1, run, &siblings));
            prop_assert!(!root.proves_run(first.wrapping_sub(1), run, &siblings));
            prop_assert!(run.len() == 1 || !root.proves_run(first, &run[1..], &siblings));
            prop_assert!(!root.proves_run(first, &[], &siblings) && !root.proves_run(u32::MAX, run, &siblings));
            let mut altered = run.to_vec();
            altered[(bad % length) as usize] = leaf(u64::MAX);
            prop_assert!(!root.proves_run(first, &altered, &siblings));
            let mut longer = siblings.clone();
            if bad % 2 == 0 { longer.left.push(Hash::ZERO) } else { longer.right.push(Hash::ZERO) }
            prop_assert!(!root.proves_run(first, run, &longer));

            let rest = leaves[first as usize..].to_vec();
            let left = whole.siblings(first, count - first).unwrap().left;
            let mut part = Tree::from_run(first, rest, &left);
            prop_assert_eq!(part.root(), root);
            for n in count..count + more {
                let change = vec![(n, leaf(u64::from(n)))];
                part.apply(part.plan(change.clone(), n + 1));
                whole.apply(whole.plan(change, n + 1));
                prop_assert_eq!(part.root(), whole.root());
            }
            prop_assert_eq!(part.path(count), whole.path(count));
            prop_assert_eq!(part.siblings(first, length), whole.siblings(first, length));
            prop_assert_eq!(first.checked_sub(2).and_then(|forgotten| part.path(forgotten)), None);
        }
    }

    #[test]
    fn forgetting_keeps_what_appending_needs() {
        let leaves: Vec<Hash> = (0..5_000).map(leaf).collect();
        let mut whole = Tree::from_run(0, leaves, &[]);
        let mut short = whole.clone();
        for n in 5_000..9_000 {
            short.forget_before(n - 700);
            let change = vec![(n, leaf(u64::from(n)))];
            short.apply(short.plan(change.clone(), n + 1));
            whole.apply(whole.plan(change, n + 1));
            assert_eq!(short.root(), whole.root());
        }
        let kept: usize = short.levels.iter().map(|level| level.nodes.len()).sum();
        assert!(kept < 2 * (700 + 2 * FORGET_STEP as usize) + 16 * FORGET_STEP as usize, "{kept} nodes");
        assert_eq!(short.path(8_999 - 700), whole.path(8_999 - 700));
        assert_eq!(short.path(0), None);
    }
}
