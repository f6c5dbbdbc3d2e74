//! A state in pieces: what an agent that has lost its disk asks of peers that it need not trust.
//!
//! A snapshot is a manifest and chunks. The manifest is the certified header of some block and the totals that the header
//! holds the hash of. A chunk is a run of neighbouring leaves of one tree and the sibling hashes that lead from them to the
//! header's root, so each is right or refused by itself, whoever sent it.
//!
//! ```text
//!  Manifest --Restore::begin: certificate, totals--> Restore
//!  Chunk .. --Restore::add: root, content--------->  Restore --finish--> State, whose roots are the header's
//! ```
//!
//! Cut by one rule: a chunk holds as many leaves as fit [`Chunk::CONTENT_MAX`] bytes, and no more than
//! [`Chunk::LEAVES_MAX`]; so agents that have snapshots of the same height cut them alike, and the chunks of one
//! continue those of another. Whoever restores need not rely on it: it asks for the chunk that begins where the last one
//! ended.
//!
//! Cost: a chunk carries at most two hashes a level beside its leaves. Of forgotten transaction ids there is nothing but
//! the left siblings of the oldest that count.

use crate::{
    Certificate, Header, LedgerError, Object, State, StateRoots, Totals, TreeName, Voters,
    state::BlockIds,
    tree::{Siblings, Tree, TreeRoot},
};
use ohmesh_units::{Canonical, DecodeError, Hash, ZoneId};
use serde::{Deserialize, Serialize};

/// Why a snapshot or a part of it is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The bytes are not what they should be.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The manifest's header is not final.
    #[error("snapshot: {0}")]
    Header(#[from] LedgerError),
    /// The manifest's totals are not those of its header.
    #[error("snapshot of height {height}: the header binds other totals")]
    Totals {
        /// The height it claims.
        height: u64,
    },
    /// A chunk does not lead to the root.
    #[error("the chunk of {part:?} from slot {from} does not lead to the root of height {height}")]
    Root {
        /// The tree it claims to be of.
        part: Part,
        /// Its first slot.
        from: u32,
        /// The height of the header it was checked against.
        height: u64,
    },
    /// A chunk is right, but another one is due.
    #[error("the chunk of {part:?} from slot {from} came where {wanted:?} is due")]
    OutOfOrder {
        /// The tree it is of.
        part: Part,
        /// Its first slot.
        from: u32,
        /// Which is due; none if the snapshot is whole.
        wanted: Option<(Part, u32)>,
    },
    /// Not all chunks are there.
    #[error("the snapshot is not whole: {part:?} from slot {from} is missing")]
    Missing {
        /// The tree of the first missing one.
        part: Part,
        /// Its first slot.
        from: u32,
    },
    /// A leaf that the zone has certified is not one that this program knows.
    #[error("{part:?} slot {slot}: {reason}")]
    Content {
        /// Its tree.
        part: Part,
        /// Its slot.
        slot: u32,
        /// What is wrong.
        reason: String,
    },
}

/// The trees of a state. Tags are never reused: append only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Part {
    /// Accounts, stations, outlets, holds.
    Objects,
    /// Balances of the energy journal.
    EnergyBalances,
    /// Balances of the grid journal.
    GridBalances,
    /// The applied ids that still count, a leaf a block.
    Ids,
}

impl Part {
    /// All parts, in the order in which they are restored.
    pub const ALL: [Self; 4] = [Self::Objects, Self::EnergyBalances, Self::GridBalances, Self::Ids];

    /// The root of this part.
    pub fn root(self, roots: &StateRoots) -> TreeRoot {
        match self {
            Self::Objects => roots.objects,
            Self::EnergyBalances => roots.energy.balances,
            Self::GridBalances => roots.grid.balances,
            Self::Ids => roots.ids,
        }
    }

    /// The first slot that a snapshot holds.
    pub fn first(self, roots: &StateRoots) -> u32 {
        if self == Self::Ids { roots.ids_from } else { 0 }
    }

    /// The hash of a leaf of this part.
    pub(crate) fn leaf(self, slot: u32, content: &[u8]) -> Hash {
        match self {
            Self::Objects => TreeName::Objects.leaf(slot, content),
            Self::EnergyBalances => TreeName::EnergyBalances.leaf(slot, content),
            Self::GridBalances => TreeName::GridBalances.leaf(slot, content),
            Self::Ids => BlockIds::leaf_of(content),
        }
    }
}

/// What a snapshot is of. All of it follows from the certificate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The header whose state it is.
    pub header: Header,
    /// Its certificate.
    pub certificate: Certificate,
    /// The totals after that block.
    pub totals: Totals,
}

impl Manifest {
    /// Checks it against the voters of its epoch.
    pub fn verify(&self, zone: &ZoneId, voters: &Voters) -> Result<(), SnapshotError> {
        self.certificate.verify_header(&self.header, zone, voters)?;
        if self.totals.hash() != self.header.state.totals {
            return Err(SnapshotError::Totals { height: self.header.height });
        }
        Ok(())
    }

    /// Leaves that the snapshot holds, in all parts.
    pub fn leaves(&self) -> u64 {
        let roots = &self.header.state;
        let of = |part: &Part| part.root(roots).count.saturating_sub(part.first(roots));
        Part::ALL.iter().map(|part| u64::from(of(part))).sum()
    }
}

impl Canonical for Manifest {
    const NAME: &'static str = "snapshot manifest";
    const MAX_BYTES: usize = Header::MAX_BYTES + Certificate::MAX_BYTES + 512;
}

/// A run of neighbouring leaves, and the way from them to the root.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chunk {
    /// Which tree.
    pub part: Part,
    /// The slot of the first leaf.
    pub from: u32,
    /// The canonical bytes of what is there, at least one leaf and at most [`Chunk::LEAVES_MAX`].
    pub leaves: Vec<Vec<u8>>,
    /// The hashes beside them.
    pub siblings: Siblings,
}

impl Chunk {
    /// Leaves at most.
    pub const LEAVES_MAX: usize = 4_096;
    /// Bytes of all leaves at most: twice the longest leaf, and few enough that a phone's line can carry one in a second.
    pub const CONTENT_MAX: usize = 2 * Object::MAX_BYTES;

    /// Checks that the leaves stand below the header's root.
    pub fn verify(&self, header: &Header) -> Result<(), SnapshotError> {
        self.hashes(header).map(drop)
    }

    /// As [`Chunk::verify`]; gives the hashes of the leaves.
    pub(crate) fn hashes(&self, header: &Header) -> Result<Vec<Hash>, SnapshotError> {
        let Self { part, from, leaves, siblings } = self;
        let wrong = SnapshotError::Root { part: *part, from: *from, height: header.height };
        let slots = (0..leaves.len()).map(|n| u32::try_from(n).ok().and_then(|n| from.checked_add(n)));
        let hashes: Option<Vec<Hash>> =
            slots.zip(leaves).map(|(slot, content)| Some(part.leaf(slot?, content))).collect();
        match hashes {
            Some(hashes)
                if hashes.len() <= Self::LEAVES_MAX
                    && part.root(&header.state).proves_run(*from, &hashes, siblings) =>
            {
                Ok(hashes)
            }
            _ => Err(wrong),
        }
    }
}

impl Canonical for Chunk {
    const NAME: &'static str = "snapshot chunk";
    const MAX_BYTES: usize = Self::CONTENT_MAX + 3 * Self::LEAVES_MAX + 64 * 33 + 32;
}

impl State {
    /// The manifest of this state. `header` must be the newest block's.
    pub fn manifest(&self, header: &Header, certificate: &Certificate) -> Manifest {
        assert_eq!(Hash::from(header.id()), self.head().block, "a snapshot is of the newest block");
        Manifest { header: header.clone(), certificate: certificate.clone(), totals: self.totals.clone() }
    }

    /// The chunk of `part` that begins at `from`, of at most `length` leaves ([`Chunk::LEAVES_MAX`] for those of a
    /// snapshot); none past the end, or where ids are forgotten. The chunks of a part begin at [`Part::first`]; each next
    /// one begins where the one before it ended.
    pub fn chunk(&self, part: Part, from: u32, length: usize) -> Option<Chunk> {
        if from < part.first(self.roots()) {
            return None;
        }
        let (mut leaves, mut bytes) = (Vec::new(), 0);
        let mut slot = from;
        while leaves.len() < length.min(Chunk::LEAVES_MAX) {
            let Some(content) = self.content(part, slot) else { break };
            bytes += content.len();
            if bytes > Chunk::CONTENT_MAX {
                break;
            }
            leaves.push(content);
            slot += 1;
        }
        let siblings = self.tree(part).siblings(from, slot - from)?;
        Some(Chunk { part, from, leaves, siblings })
    }

    /// The canonical bytes of a leaf.
    fn content(&self, part: Part, slot: u32) -> Option<Vec<u8>> {
        let at = slot as usize;
        match part {
            Part::Objects => self.objects.get(at).map(Canonical::encode),
            Part::EnergyBalances => self.balances[0].get(at).map(Canonical::encode),
            Part::GridBalances => self.balances[1].get(at).map(Canonical::encode),
            Part::Ids => self.recent.get(at.checked_sub(self.ids_from as usize)?).map(BlockIds::content),
        }
    }

    pub(crate) fn tree(&self, part: Part) -> &Tree {
        match part {
            Part::Objects => &self.object_tree,
            Part::EnergyBalances => &self.balance_trees[0],
            Part::GridBalances => &self.balance_trees[1],
            Part::Ids => &self.id_tree,
        }
    }
}
