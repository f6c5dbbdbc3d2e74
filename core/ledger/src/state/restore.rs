//! A state from a snapshot: chunk by chunk, each checked before anything of it is kept.

use super::{BlockIds, Head, State};
use crate::{
    Balance, Chunk, Epoch, Governance, Manifest, Object, Part, SnapshotError, Voters, Zone, tree::Tree,
};
use ohmesh_units::{Canonical, Hash};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    mem,
};

/// A state in the making. It holds what has been added and nothing else; chunks come in order, so that no more than one of
/// them is ever in memory beside it.
#[derive(Debug)]
pub struct Restore {
    manifest: Manifest,
    state: State,
    /// The chunk that is due; none when all are there.
    wanted: Option<(Part, u32)>,
    /// Hashes of the leaves of the part that is being added, and the left siblings of its first.
    hashes: Vec<Hash>,
    left: Vec<Hash>,
}

impl Restore {
    /// Begins with a manifest that the voters of its epoch have certified.
    pub fn begin(zone: Zone, voters: &Voters, manifest: Manifest) -> Result<Self, SnapshotError> {
        let id = zone.id();
        manifest.verify(&id, voters)?;
        let header = &manifest.header;
        let state = State {
            head: Head { height: header.height, block: header.id().into(), time: header.time },
            zone,
            id,
            objects: Vec::new(),
            slots: HashMap::new(),
            timeouts: BTreeSet::new(),
            balances: [Vec::new(), Vec::new()],
            ids: HashMap::new(),
            recent: VecDeque::new(),
            ids_from: header.state.ids_from,
            totals: manifest.totals.clone(),
            keys: BTreeMap::new(),
            governance_slot: 0,
            epoch_slot: 0,
            object_tree: Tree::default(),
            balance_trees: [Tree::default(), Tree::default()],
            id_tree: Tree::default(),
            roots: header.state,
        };
        let mut restore = Self { manifest, state, wanted: None, hashes: Vec::new(), left: Vec::new() };
        restore.want_from(&Part::ALL);
        Ok(restore)
    }

    /// What the snapshot is of.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The part and first slot of the chunk that is due; none when all are there.
    pub fn wanted(&self) -> Option<(Part, u32)> {
        self.wanted
    }

    /// Adds the chunk that is due. A chunk that is refused leaves everything as it was.
    pub fn add(&mut self, chunk: Chunk) -> Result<(), SnapshotError> {
        let (part, from) = (chunk.part, chunk.from);
        if self.wanted != Some((part, from)) {
            return Err(SnapshotError::OutOfOrder { part, from, wanted: self.wanted });
        }
        let hashes = chunk.hashes(&self.manifest.header)?;
        self.keep(&chunk)?;
        if self.hashes.is_empty() {
            self.left = chunk.siblings.left;
        }
        let past = from + u32::try_from(hashes.len()).expect("at most LEAVES_MAX");
        self.hashes.extend(hashes);
        if past < part.root(&self.state.roots).count {
            self.wanted = Some((part, past));
        } else {
            self.end_part(part);
        }
        Ok(())
    }

    /// The state, once all chunks are there. Its roots are the header's, and every invariant holds
    /// ([`State::audit`], which panics with its name if the zone has certified a state in which one does not).
    pub fn finish(self) -> Result<State, SnapshotError> {
        if let Some((part, from)) = self.wanted {
            return Err(SnapshotError::Missing { part, from });
        }
        let mut state = self.state;
        let missing = |what: &str| SnapshotError::Content {
            part: Part::Objects,
            slot: 0,
            reason: format!("there is no {what}"),
        };
        let governance = state.slots.get(&Governance::id()).copied();
        state.governance_slot = governance.ok_or_else(|| missing("governance"))?;
        let Object::Governance(governance) = &state.objects[state.governance_slot as usize] else {
            return Err(missing("governance"));
        };
        let epoch = state.slots.get(&Epoch::id(governance.epoch)).copied();
        state.epoch_slot = epoch.ok_or_else(|| missing("running epoch"))?;
        if !matches!(state.objects[state.epoch_slot as usize], Object::Epoch(_)) {
            return Err(missing("running epoch"));
        }
        for part in Part::ALL {
            assert_eq!(
                state.tree(part).root(),
                part.root(&state.roots),
                "I9: chunks that each lead to the root, all of them, are what it is the root of"
            );
        }
        state.audit();
        Ok(state)
    }

    /// Keeps the leaves of a chunk that has been checked: all of them or none.
    fn keep(&mut self, chunk: &Chunk) -> Result<(), SnapshotError> {
        let part = chunk.part;
        match part {
            Part::Objects => {
                let objects = decoded(chunk, Object::decode)?;
                for (slot, object) in (chunk.from..).zip(objects) {
                    self.state.keep_object(slot, object);
                }
            }
            Part::EnergyBalances | Part::GridBalances => {
                let balances = decoded(chunk, Balance::decode)?;
                self.state.balances[usize::from(part == Part::GridBalances)].extend(balances);
            }
            Part::Ids => {
                for block in decoded(chunk, BlockIds::from_content)? {
                    self.state.ids.extend(block.ids.iter().copied());
                    self.state.recent.push_back(block);
                }
            }
        }
        Ok(())
    }

    /// All leaves of a part are there: its tree stands.
    fn end_part(&mut self, part: Part) {
        let first = part.first(&self.state.roots);
        let tree = Tree::from_run(first, mem::take(&mut self.hashes), &mem::take(&mut self.left));
        match part {
            Part::Objects => self.state.object_tree = tree,
            Part::EnergyBalances => self.state.balance_trees[0] = tree,
            Part::GridBalances => self.state.balance_trees[1] = tree,
            Part::Ids => self.state.id_tree = tree,
        }
        let after = Part::ALL.iter().position(|other| *other == part).map_or(Part::ALL.len(), |at| at + 1);
        self.want_from(&Part::ALL[after..]);
    }

    /// The first chunk of the first of `parts` that is not empty is due.
    fn want_from(&mut self, parts: &[Part]) {
        let roots = &self.state.roots;
        let mut first = parts.iter().map(|part| (*part, part.first(roots)));
        self.wanted = first.find(|(part, from)| *from < part.root(roots).count);
    }
}

impl State {
    fn keep_object(&mut self, slot: u32, object: Object) {
        if let Some(timeout) = object.timeout() {
            self.timeouts.insert((timeout, slot));
        }
        if let Object::EpochKey(key) = &object {
            self.keys.insert(key.epoch(), (**key).clone());
        }
        self.slots.insert(object.id(), slot);
        self.objects.push(object);
    }
}

/// Every leaf of a chunk as what it is.
fn decoded<T, E: ToString>(
    chunk: &Chunk,
    decode: impl Fn(&[u8]) -> Result<T, E>,
) -> Result<Vec<T>, SnapshotError> {
    let part = chunk.part;
    let one = |(slot, content): (u32, &Vec<u8>)| {
        decode(content).map_err(|error| SnapshotError::Content { part, slot, reason: error.to_string() })
    };
    (chunk.from..).zip(&chunk.leaves).map(one).collect()
}
