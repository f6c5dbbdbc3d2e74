//! A dense Merkle tree over slots `0..count`: no keys, no empty branches, as many levels as the count needs.
//!
//! A node is the hash of its two children; where the right child lies past the end it is [`Hash::ZERO`], and a proof does
//! not carry it. The root says nothing without its count, so both always travel together ([`TreeRoot`]).
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
}

/// The tree itself, all nodes in memory.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// `levels[0]` are the leaves; each level has half the width of the one below it, rounded up.
    levels: Vec<Vec<Hash>>,
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
    /// The number of leaves.
    pub fn count(&self) -> u32 {
        let leaves = self.levels.first().map_or(0, Vec::len);
        u32::try_from(leaves).expect("slots are u32, so there are at most as many leaves")
    }

    /// The root as it is now.
    pub fn root(&self) -> TreeRoot {
        let hash = self.levels.last().and_then(|top| top.first()).copied().unwrap_or(Hash::ZERO);
        TreeRoot { hash, count: self.count() }
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
                self.levels.push(Vec::new());
            }
            let level = &mut self.levels[depth];
            level.resize(width, Hash::ZERO);
            for (index, hash) in changes {
                level[index as usize] = hash;
            }
            width = width.div_ceil(2);
        }
        assert_eq!(self.root(), plan.root, "a plan is applied to the tree it was made on");
    }

    /// The sibling hashes from the leaf at `slot` up to the root; `None` past the end.
    pub fn path(&self, slot: u32) -> Option<Vec<Hash>> {
        if slot >= self.count() {
            return None;
        }
        let mut at = slot as usize;
        let mut path = Vec::with_capacity(self.levels.len());
        for level in &self.levels[..self.levels.len() - 1] {
            path.extend(level.get(at ^ 1));
            at /= 2;
        }
        Some(path)
    }

    fn node(&self, depth: usize, index: u32) -> Hash {
        self.levels[depth][index as usize]
    }
}

/// The root over `leaves` at once, for trees that live no longer than a block.
pub fn root_of(leaves: &[Hash]) -> Hash {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level =
            level.chunks(2).map(|pair| node(pair[0], pair.get(1).copied().unwrap_or(Hash::ZERO))).collect();
    }
    level.first().copied().unwrap_or(Hash::ZERO)
}

fn node(left: Hash, right: Hash) -> Hash {
    NODE.hash(&[&left.0, &right.0])
}

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
    }
}
