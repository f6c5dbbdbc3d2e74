//! The catalogue: stations in memory, found by place and by what they offer. A phone searches its own copy, so its
//! position never leaves it.

use crate::{Availability, Entry, Filter, Hit, Index, Station, TooManyEntries};
use ohmesh_units::Position;

/// Stations and the index over them. A station's *slot* is its place in [`Catalogue::stations`].
#[derive(Clone, Debug)]
pub struct Catalogue {
    stations: Vec<Station>,
    index: Index,
}

/// A station that a search found.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Its place in [`Catalogue::stations`].
    pub slot: u32,
    /// The station.
    pub station: &'a Station,
    /// Great-circle distance in metres; [`geodesic_m`](crate::geodesic_m) is what a person is shown.
    pub distance_m: f64,
}

impl Catalogue {
    /// A catalogue of `stations`, which it puts into an order of its own: near ones next to each other.
    pub fn new(stations: Vec<Station>) -> Result<Self, TooManyEntries> {
        let entries: Vec<Entry> = stations.iter().map(Entry::from).collect();
        let (index, order) = Index::build(&entries)?;
        let mut unsorted: Vec<Option<Station>> = stations.into_iter().map(Some).collect();
        let stations = order
            .into_iter()
            .map(|at| unsorted[at as usize].take().expect("the order of an index names each entry once"))
            .collect();
        Ok(Self { stations, index })
    }

    /// All stations, by slot.
    pub fn stations(&self) -> &[Station] {
        &self.stations
    }

    /// The index over the stations, with the same slots.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The nearest stations with an outlet that passes `filter`, nearest first.
    ///
    /// At most `count`, at most [`NEAREST_MAX`](crate::NEAREST_MAX), and fewer only if no more pass. Connector and
    /// power must be on one outlet, not on two of the same station; what is free is known only of whole stations.
    pub fn nearest(&self, count: usize, from: Position, filter: &Filter) -> Vec<Found<'_>> {
        self.found(self.index.nearest_if(count, from, filter, |slot| self.passes(slot, filter)))
    }

    /// All stations within `radius_m` metres (great circle) with an outlet that passes `filter`, nearest first.
    pub fn within(&self, radius_m: u32, from: Position, filter: &Filter) -> Vec<Found<'_>> {
        self.found(self.index.within_if(radius_m, from, filter, |slot| self.passes(slot, filter)))
    }

    /// Sets what is known of a station's availability; `None` if there is no such slot.
    pub fn set_availability(&mut self, slot: u32, availability: Availability) -> Option<()> {
        self.index.set_free(slot, availability == Availability::Free)?;
        self.stations[slot as usize].availability = availability;
        Some(())
    }

    fn passes(&self, slot: u32, filter: &Filter) -> bool {
        let outlets = &self.stations[slot as usize].outlets;
        // A station of one outlet is its own summary, which the index has checked.
        outlets.len() == 1 || outlets.iter().any(|outlet| filter.admits(outlet.connectors, outlet.power))
    }

    fn found(&self, hits: Vec<Hit>) -> Vec<Found<'_>> {
        let found = |hit: Hit| Found {
            slot: hit.slot,
            station: &self.stations[hit.slot as usize],
            distance_m: hit.distance_m,
        };
        hits.into_iter().map(found).collect()
    }
}
