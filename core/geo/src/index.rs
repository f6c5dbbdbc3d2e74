//! The packed index: which entries are nearest, or within a radius, and can serve me.
//!
//! ```text
//!   nodes, depth first     [box | all: connectors, max power | free: connectors, max power]  40 bytes
//!         root             a search never enters a node whose box is too far
//!        /    \            or whose summary shows that nothing below can pass the filter
//!     left    right        left child = next node; right child = behind the left subtree
//!      ...
//!   leaves                 16 entries each, one array a coordinate; only the last is not full
//! ```
//!
//! The tree halves the entries along the widest axis of their box in space, so that a leaf is a patch of ground
//! wherever it lies: there is no seam at 180 degrees and no pole. An entry is known by its *slot*, its place in the
//! leaves; [`Index::build`] says which entry went where.
//!
//! Cost at a million entries: about 23 bytes an entry; a search for 10 reads 3 to 5 leaves.
//!
//! One writer: [`Index::set_free`] takes `&mut self` and repairs the summaries on the way to the root, so no reader
//! ever meets a summary that hides a free entry.

mod query;

pub use query::{Filter, Hit, NEAREST_MAX};

use crate::sphere::Point;
use crate::{Connectors, Station};
use ohmesh_units::{Position, Power};

/// What the index has to know of a station.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Where it is.
    pub position: Position,
    /// Every connector that it has.
    pub connectors: Connectors,
    /// The most power that it gives; `None`, and 0, are unknown.
    pub power_max: Option<Power>,
    /// Whether it is known to be free.
    pub free: bool,
}

impl From<&Station> for Entry {
    fn from(station: &Station) -> Self {
        Self {
            position: station.position,
            connectors: station.connectors(),
            power_max: station.power_max(),
            free: station.availability == crate::Availability::Free,
        }
    }
}

/// More entries than [`ENTRIES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} entries are more than the index holds ({ENTRIES_MAX})")]
pub struct TooManyEntries(pub usize);

/// A packed static tree over entries; their positions are fixed, whether they are free can change.
#[derive(Clone, Debug)]
pub struct Index {
    nodes: Vec<Node>,
    leaves: Vec<Leaf>,
    len: u32,
}

impl Index {
    /// Builds the index, and says where the entries went: slot `s` holds `entries[order[s]]`.
    ///
    /// The same entries in the same order give the same index.
    pub fn build(entries: &[Entry]) -> Result<(Self, Vec<u32>), TooManyEntries> {
        let len = u32::try_from(entries.len()).ok().filter(|&len| len <= ENTRIES_MAX);
        let len = len.ok_or(TooManyEntries(entries.len()))?;
        let points: Vec<Point> = entries.iter().map(|entry| Point::of(entry.position)).collect();
        let mut order: Vec<u32> = (0..len).collect();
        let leaves = entries.len().div_ceil(LEAF_ENTRIES);
        let mut index = Self {
            nodes: Vec::with_capacity((2 * leaves).saturating_sub(1)),
            leaves: Vec::with_capacity(leaves),
            len,
        };
        if !entries.is_empty() {
            index.build_node(&mut order, &points, entries);
        }
        Ok((index, order))
    }

    /// How many entries there are: slots are `0..len`.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that the index holds, its own header aside.
    pub fn bytes(&self) -> usize {
        self.nodes.len() * size_of::<Node>() + self.leaves.len() * size_of::<Leaf>()
    }

    /// Whether the entry in `slot` is known to be free; `None` if there is no such slot.
    pub fn is_free(&self, slot: u32) -> Option<bool> {
        let (leaf, at) = self.place(slot)?;
        Some(self.leaves[leaf].free & 1 << at != 0)
    }

    /// Says that the entry in `slot` is free, or that it is not known to be; `None` if there is no such slot.
    ///
    /// Costs one leaf and at most one node a level.
    pub fn set_free(&mut self, slot: u32, free: bool) -> Option<()> {
        let (leaf, at) = self.place(slot)?;
        let bit = 1u16 << at;
        let bits = &mut self.leaves[leaf].free;
        *bits = if free { *bits | bit } else { *bits & !bit };

        let mut path = [(0, 0); DEPTH_MAX];
        let mut depth = 0;
        let (mut node, mut first, mut count) = (0, 0, self.leaves.len());
        while count > 1 {
            let right = node + 2 * (count / 2);
            path[depth] = (node, right);
            depth += 1;
            if leaf < first + count / 2 {
                (node, count) = (node + 1, count / 2);
            } else {
                (node, first, count) = (right, first + count / 2, count - count / 2);
            }
        }
        self.nodes[node].free = self.leaves[leaf].summary(true);
        for &(parent, right) in path[..depth].iter().rev() {
            let free = self.nodes[parent + 1].free.union(self.nodes[right].free);
            if self.nodes[parent].free == free {
                break;
            }
            self.nodes[parent].free = free;
        }
        Some(())
    }

    fn place(&self, slot: u32) -> Option<(usize, usize)> {
        let slot = usize::try_from(slot).ok().filter(|_| slot < self.len)?;
        Some((slot / LEAF_ENTRIES, slot % LEAF_ENTRIES))
    }

    /// Appends the subtree over `order` and sorts `order` into slots. `order` is not empty.
    fn build_node(&mut self, order: &mut [u32], points: &[Point], entries: &[Entry]) {
        let point = |at: u32| points[slot_index(at)];
        let (mut low, mut high) = ([u32::MAX; 3], [0; 3]);
        for &at in order.iter() {
            for axis in 0..3 {
                low[axis] = low[axis].min(point(at).0[axis]);
                high[axis] = high[axis].max(point(at).0[axis]);
            }
        }
        let node = self.nodes.len();
        self.nodes.push(Node { low, high, all: Summary::NONE, free: Summary::NONE });
        let leaves = order.len().div_ceil(LEAF_ENTRIES);
        if leaves == 1 {
            order.sort_unstable();
            let leaf = Leaf::of(order, points, entries);
            (self.nodes[node].all, self.nodes[node].free) = (leaf.summary(false), leaf.summary(true));
            self.leaves.push(leaf);
            return;
        }
        let widest = (0..3).max_by_key(|&axis| high[axis] - low[axis]).unwrap_or(0);
        let middle = leaves / 2 * LEAF_ENTRIES;
        order.select_nth_unstable_by_key(middle, |&at| (point(at).0[widest], at));
        let (left, right) = order.split_at_mut(middle);
        self.build_node(left, points, entries);
        let right_child = self.nodes.len();
        self.build_node(right, points, entries);
        let (left, right) = (self.nodes[node + 1], self.nodes[right_child]);
        self.nodes[node].all = left.all.union(right.all);
        self.nodes[node].free = left.free.union(right.free);
    }
}

/// A box in space, and what the entries in it have to offer.
#[derive(Clone, Copy, Debug)]
struct Node {
    low: [u32; 3],
    high: [u32; 3],
    all: Summary,
    free: Summary,
}

impl Node {
    /// The square of the distance from `from` to the box: no entry in it is nearer.
    fn distance_squared(&self, from: Point) -> u64 {
        let square = |axis: usize| {
            let [low, high, at] = [self.low[axis], self.high[axis], from.0[axis]];
            let gap = u64::from(low.saturating_sub(at).max(at.saturating_sub(high)));
            gap.wrapping_mul(gap)
        };
        // At most 3 * 2^62, as for points: nothing wraps.
        square(0).wrapping_add(square(1)).wrapping_add(square(2))
    }
}

/// What some entries have to offer together: a bound, since one may have the connector and another the power.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Summary {
    power_w_max: u32,
    connectors: Connectors,
    some: bool,
}

impl Summary {
    const NONE: Self = Self { power_w_max: 0, connectors: Connectors::NONE, some: false };

    fn union(self, other: Self) -> Self {
        Self {
            power_w_max: self.power_w_max.max(other.power_w_max),
            connectors: self.connectors | other.connectors,
            some: self.some | other.some,
        }
    }
}

/// Up to 16 entries, one array a field, so that a compiler can compute all distances side by side.
#[derive(Clone, Debug)]
struct Leaf {
    axes: [[u32; LEAF_ENTRIES]; 3],
    power_w_max: [u32; LEAF_ENTRIES],
    connectors: [Connectors; LEAF_ENTRIES],
    free: u16,
    count: u16,
}

impl Leaf {
    fn of(order: &[u32], points: &[Point], entries: &[Entry]) -> Self {
        let mut leaf = Self {
            axes: [[0; LEAF_ENTRIES]; 3],
            power_w_max: [0; LEAF_ENTRIES],
            connectors: [Connectors::NONE; LEAF_ENTRIES],
            free: 0,
            count: 0,
        };
        for (at, &entry) in order.iter().enumerate() {
            let (point, entry) = (points[slot_index(entry)], &entries[slot_index(entry)]);
            for axis in 0..3 {
                leaf.axes[axis][at] = point.0[axis];
            }
            leaf.power_w_max[at] = entry.power_max.map_or(0, Power::as_w);
            leaf.connectors[at] = entry.connectors;
            leaf.free |= u16::from(entry.free) << at;
            leaf.count += 1;
        }
        leaf
    }

    fn summary(&self, free_only: bool) -> Summary {
        (0..usize::from(self.count))
            .filter(|at| !free_only || self.free & 1 << at != 0)
            .map(|at| Summary {
                power_w_max: self.power_w_max[at],
                connectors: self.connectors[at],
                some: true,
            })
            .fold(Summary::NONE, Summary::union)
    }
}

/// A slot or entry number as an index: `ENTRIES_MAX` fits in a `usize` on every target.
fn slot_index(at: u32) -> usize {
    at as usize
}

/// The most entries of one index: a hundred times the charging stations of the world in 2025.
pub const ENTRIES_MAX: u32 = 1 << 26;

/// Entries of a full leaf.
const LEAF_ENTRIES: usize = 16;

/// Levels above the leaves: a node's leaves halve (rounded up) at each, and there are at most 2^22.
const DEPTH_MAX: usize = 22;
