//! Searching the index: nearest and within, with a filter that prunes whole subtrees.

use super::{DEPTH_MAX, Index, LEAF_ENTRIES, Leaf, Summary};
use crate::Connectors;
use crate::sphere::{Point, chord_squared_of_metres, metres_of_chord_squared};
use ohmesh_units::{Position, Power};
use std::ops::ControlFlow;

/// What a station must offer. The default asks for nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// At least one of these connectors; an empty set asks for none.
    pub connectors: Connectors,
    /// At least this power. An unknown power passes only a minimum of 0.
    pub power_min: Power,
    /// Known to be free.
    pub free: bool,
}

impl Filter {
    /// Asks for nothing.
    pub const ANY: Self = Self { connectors: Connectors::NONE, power_min: Power::from_w(0), free: false };

    /// Whether connectors and power pass; what is free is not looked at.
    pub fn admits(&self, connectors: Connectors, power: Option<Power>) -> bool {
        self.admits_w(connectors, power.map_or(0, Power::as_w))
    }

    fn admits_w(&self, connectors: Connectors, power_w_max: u32) -> bool {
        (self.connectors.is_empty() || self.connectors.intersects(connectors))
            && power_w_max >= self.power_min.as_w()
    }

    fn may_admit(&self, all: Summary, free: Summary) -> bool {
        let summary = if self.free { free } else { all };
        summary.some && self.admits_w(summary.connectors, summary.power_w_max)
    }
}

/// An entry that a search found.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Hit {
    /// Its slot in the index.
    pub slot: u32,
    /// Great-circle distance in metres, within a centimetre for the resolution of a position.
    pub distance_m: f64,
}

impl Index {
    /// The nearest entries that pass `filter`, nearest first; equally near ones by slot.
    ///
    /// At most `count`, at most [`NEAREST_MAX`](crate::NEAREST_MAX), and fewer only if no more pass.
    pub fn nearest(&self, count: usize, from: Position, filter: &Filter) -> Vec<Hit> {
        self.nearest_if(count, from, filter, |_| true)
    }

    /// As [`Index::nearest`], among the slots that `accept` takes as well. It is asked about few more than are found.
    pub fn nearest_if(
        &self,
        count: usize,
        from: Position,
        filter: &Filter,
        accept: impl FnMut(u32) -> bool,
    ) -> Vec<Hit> {
        let count = count.min(NEAREST_MAX).min(self.leaves.len() * LEAF_ENTRIES);
        if count == 0 {
            return Vec::new();
        }
        let mut best = Nearest { found: Vec::with_capacity(count), count, accept };
        let _ = self.search(Point::of(from), filter, &mut best);
        best.found.into_iter().map(Hit::from).collect()
    }

    /// All entries within `radius_m` metres that pass `filter`, nearest first; equally near ones by slot.
    pub fn within(&self, radius_m: u32, from: Position, filter: &Filter) -> Vec<Hit> {
        self.within_if(radius_m, from, filter, |_| true)
    }

    /// As [`Index::within`], among the slots that `accept` takes as well.
    pub fn within_if(
        &self,
        radius_m: u32,
        from: Position,
        filter: &Filter,
        mut accept: impl FnMut(u32) -> bool,
    ) -> Vec<Hit> {
        let mut found = Vec::new();
        let _ = self.visit_within(radius_m, from, filter, |chord_squared, slot| {
            if accept(slot) {
                found.push((chord_squared, slot));
            }
            ControlFlow::Continue(())
        });
        found.sort_unstable();
        found.into_iter().map(Hit::from).collect()
    }

    /// Shows `visit` each entry within the radius, in no particular order, until it breaks.
    pub(crate) fn visit_within(
        &self,
        radius_m: u32,
        from: Position,
        filter: &Filter,
        visit: impl FnMut(u64, u32) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut within = Within { limit: chord_squared_of_metres(radius_m), visit };
        self.search(Point::of(from), filter, &mut within)
    }

    /// Depth first, the nearer child first; a node is left out when it is too far or cannot pass the filter.
    fn search(&self, from: Point, filter: &Filter, visitor: &mut impl Visitor) -> ControlFlow<()> {
        let Some(root) = self.nodes.first() else { return ControlFlow::Continue(()) };
        if !filter.may_admit(root.all, root.free) {
            return ControlFlow::Continue(());
        }
        let mut waiting = [Subtree::default(); DEPTH_MAX + 1];
        waiting[0] = Subtree {
            distance_squared: root.distance_squared(from),
            node: 0,
            first: 0,
            count: self.leaves.len(),
        };
        let mut depth = 1;
        while depth > 0 {
            depth -= 1;
            let mut at = waiting[depth];
            while at.count > 1 && at.distance_squared <= visitor.limit() {
                let (left, right) = at.children();
                let [left, right] = [left, right].map(|child| {
                    let node = &self.nodes[child.node];
                    let passes = filter.may_admit(node.all, node.free);
                    passes.then(|| Subtree { distance_squared: node.distance_squared(from), ..child })
                });
                at = match (left, right) {
                    (Some(left), Some(right)) => {
                        let right_first = right.distance_squared < left.distance_squared;
                        let (near, far) = if right_first { (right, left) } else { (left, right) };
                        if far.distance_squared <= visitor.limit() {
                            // One waits a level, and a level halves the leaves: DEPTH_MAX are enough.
                            waiting[depth] = far;
                            depth += 1;
                        }
                        near
                    }
                    (Some(one), None) | (None, Some(one)) => one,
                    // A summary is a bound: the parent may pass and neither child.
                    (None, None) => break,
                };
            }
            if at.count == 1 && at.distance_squared <= visitor.limit() {
                visit_leaf(&self.leaves[at.first], at.first, from, filter, visitor)?;
            }
        }
        ControlFlow::Continue(())
    }
}

fn visit_leaf(
    leaf: &Leaf,
    number: usize,
    from: Point,
    filter: &Filter,
    visitor: &mut impl Visitor,
) -> ControlFlow<()> {
    let mut distances = [0u64; LEAF_ENTRIES];
    for (axis, coordinates) in leaf.axes.iter().enumerate() {
        for (distance, &coordinate) in distances.iter_mut().zip(coordinates) {
            let gap = u64::from(coordinate.abs_diff(from.0[axis]));
            *distance = distance.wrapping_add(gap.wrapping_mul(gap));
        }
    }
    for (at, &distance) in distances[..usize::from(leaf.count)].iter().enumerate() {
        if distance <= visitor.limit()
            && (!filter.free || leaf.free & 1 << at != 0)
            && filter.admits_w(leaf.connectors[at], leaf.power_w_max[at])
        {
            // Below ENTRIES_MAX by construction.
            #[allow(clippy::cast_possible_truncation)]
            let slot = (number * LEAF_ENTRIES + at) as u32;
            visitor.visit(distance, slot)?;
        }
    }
    ControlFlow::Continue(())
}

/// Part of the tree that a search has yet to enter: a node, and the leaves below it.
#[derive(Clone, Copy, Default)]
struct Subtree {
    distance_squared: u64,
    node: usize,
    first: usize,
    count: usize,
}

impl Subtree {
    /// The two halves, their distances not yet known. A subtree of n leaves has 2n - 1 nodes.
    fn children(self) -> (Self, Self) {
        let half = self.count / 2;
        let left = Self { node: self.node + 1, count: half, ..self };
        let right =
            Self { node: self.node + 2 * half, first: self.first + half, count: self.count - half, ..self };
        (left, right)
    }
}

/// What a search is for.
trait Visitor {
    /// The square of the chord beyond which nothing is of interest.
    fn limit(&self) -> u64;

    /// Takes an entry that passes the filter and is not beyond the limit.
    fn visit(&mut self, chord_squared: u64, slot: u32) -> ControlFlow<()>;
}

struct Nearest<A> {
    /// Sorted, at most `count`.
    found: Vec<(u64, u32)>,
    count: usize,
    accept: A,
}

impl<A: FnMut(u32) -> bool> Visitor for Nearest<A> {
    fn limit(&self) -> u64 {
        if self.found.len() < self.count {
            return u64::MAX;
        }
        self.found.last().map_or(u64::MAX, |&(farthest, _)| farthest)
    }

    fn visit(&mut self, chord_squared: u64, slot: u32) -> ControlFlow<()> {
        let candidate = (chord_squared, slot);
        let full = self.found.len() == self.count;
        let beyond = full && self.found.last().is_some_and(|&farthest| candidate >= farthest);
        if !beyond && (self.accept)(slot) {
            if full {
                self.found.pop();
            }
            let at = self.found.iter().rposition(|&found| found < candidate).map_or(0, |at| at + 1);
            self.found.insert(at, candidate);
        }
        ControlFlow::Continue(())
    }
}

struct Within<V> {
    limit: u64,
    visit: V,
}

impl<V: FnMut(u64, u32) -> ControlFlow<()>> Visitor for Within<V> {
    fn limit(&self) -> u64 {
        self.limit
    }

    fn visit(&mut self, chord_squared: u64, slot: u32) -> ControlFlow<()> {
        (self.visit)(chord_squared, slot)
    }
}

impl From<(u64, u32)> for Hit {
    fn from((chord_squared, slot): (u64, u32)) -> Self {
        Self { slot, distance_m: metres_of_chord_squared(chord_squared) }
    }
}

/// The most hits of one search for the nearest.
pub const NEAREST_MAX: usize = 1024;
