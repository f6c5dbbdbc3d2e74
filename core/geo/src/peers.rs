//! Peers that move: the nearest of them, in a tree that takes inserts and removals.

use crate::sphere::{Point, metres_of_chord_squared};
use ohmesh_units::Position;
use rstar::{RTree, primitives::GeomWithData};
use std::collections::BTreeMap;

/// Moving peers by id, each at its last known position.
#[derive(Clone, Debug)]
pub struct Peers<Id: Copy + Ord> {
    tree: RTree<GeomWithData<[f64; 3], Id>>,
    points: BTreeMap<Id, Point>,
}

/// There are [`PEERS_MAX`] peers already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are already {PEERS_MAX} peers")]
pub struct TooManyPeers;

impl<Id: Copy + Ord> Peers<Id> {
    /// No peers.
    pub fn new() -> Self {
        Self { tree: RTree::new(), points: BTreeMap::new() }
    }

    /// How many peers there are.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there is no peer.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Puts the peer at `position`, whether it is new or was elsewhere.
    pub fn set(&mut self, id: Id, position: Position) -> Result<(), TooManyPeers> {
        let point = Point::of(position);
        if self.points.get(&id) == Some(&point) {
            return Ok(());
        }
        self.remove(id);
        if self.points.len() == PEERS_MAX {
            return Err(TooManyPeers);
        }
        self.points.insert(id, point);
        self.tree.insert(located(point, id));
        Ok(())
    }

    /// Forgets the peer; whether it was known.
    pub fn remove(&mut self, id: Id) -> bool {
        let Some(point) = self.points.remove(&id) else { return false };
        let removed = self.tree.remove(&located(point, id));
        debug_assert!(removed.is_some(), "the map and the tree hold the same peers");
        true
    }

    /// The at most `count` nearest peers and their great-circle distances in metres, nearest first, equally near
    /// ones by id.
    pub fn nearest(&self, count: usize, from: Position) -> Vec<(Id, f64)> {
        let from = Point::of(from);
        let mut found: Vec<(u64, Id)> = Vec::new();
        for peer in self.tree.nearest_neighbor_iter(axes(from)) {
            let chord_squared = self.points[&peer.data].chord_squared(from);
            // The tree orders by rounded squares: those that may still tie with the last are looked at too.
            let beyond = found.last().is_none_or(|&(last, _)| chord_squared > last);
            if found.len() >= count && beyond {
                break;
            }
            found.push((chord_squared, peer.data));
        }
        found.sort_unstable();
        found.truncate(count);
        found.into_iter().map(|(chord_squared, id)| (id, metres_of_chord_squared(chord_squared))).collect()
    }
}

impl<Id: Copy + Ord> Default for Peers<Id> {
    fn default() -> Self {
        Self::new()
    }
}

fn located<Id>(point: Point, id: Id) -> GeomWithData<[f64; 3], Id> {
    GeomWithData::new(axes(point), id)
}

fn axes(point: Point) -> [f64; 3] {
    point.0.map(f64::from)
}

/// The most peers that one index follows: more than meet in one city.
pub const PEERS_MAX: usize = 65_536;
