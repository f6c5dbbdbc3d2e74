//! The packed index against brute force and against an R*-tree, everywhere on the globe.
#![allow(clippy::unwrap_used)]

mod common;

use ohmesh_geo::{
    Availability, Catalogue, Connector, Connectors, Entry, Filter, Index, Outlet, Peers, Station,
    TooManyPeers,
};
use ohmesh_units::{Position, Power};
use proptest::prelude::*;
use rstar::{RTree, primitives::GeomWithData};
use std::collections::BTreeMap;

const EARTH_RADIUS_M: f64 = 6_371_008.8;

fn at(lat: f64, lon: f64) -> Position {
    #[allow(clippy::cast_possible_truncation)]
    Position::from_e7((lat * 1e7).round() as i32, (lon * 1e7).round() as i32).unwrap()
}

/// A unit vector in floats: not the index's arithmetic.
fn axes(position: Position) -> [f64; 3] {
    let [lat, lon] = [position.lat_e7(), position.lon_e7()].map(|e7| (f64::from(e7) * 1e-7).to_radians());
    [lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()]
}

/// Metres along the surface, by the angle between the vectors.
fn metres(a: Position, b: Position) -> f64 {
    let (a, b) = (axes(a), axes(b));
    let chord: f64 = (0..3).map(|axis| (a[axis] - b[axis]).powi(2)).sum::<f64>().sqrt();
    2.0 * EARTH_RADIUS_M * (chord / 2.0).min(1.0).asin()
}

fn passes(entry: &Entry, filter: &Filter) -> bool {
    (filter.connectors.is_empty() || filter.connectors.intersects(entry.connectors))
        && entry.power_max.unwrap_or_default() >= filter.power_min
        && (!filter.free || entry.free)
}

/// Distances of the `count` nearest that pass, by looking at all.
fn by_looking(entries: &[Entry], count: usize, from: Position, filter: &Filter) -> Vec<f64> {
    let mut all: Vec<f64> = entries
        .iter()
        .filter(|entry| passes(entry, filter))
        .map(|entry| metres(entry.position, from))
        .collect();
    all.sort_by(f64::total_cmp);
    all.truncate(count);
    all
}

fn by_rstar(entries: &[Entry], count: usize, from: Position, filter: &Filter) -> Vec<f64> {
    let located = entries.iter().enumerate().map(|(at, entry)| GeomWithData::new(axes(entry.position), at));
    let tree = RTree::bulk_load(located.collect());
    tree.nearest_neighbor_iter(axes(from))
        .map(|found| &entries[found.data])
        .filter(|entry| passes(entry, filter))
        .take(count)
        .map(|entry| metres(entry.position, from))
        .collect()
}

/// Two centimetres near by; beyond half the globe a step of the grid is worth more, as arcs flatten at the antipode.
fn same(found: &[f64], expected: &[f64]) -> bool {
    found.len() == expected.len()
        && found
            .iter()
            .zip(expected)
            .all(|(a, b)| (a - b).abs() < if *b > 1.9e7 { 2_000.0 } else { 0.02 + b * 1e-8 })
}

fn check(entries: &[Entry], index: &Index, order: &[u32], count: usize, from: Position, filter: &Filter) {
    let hits = index.nearest(count, from, filter);
    let distances: Vec<f64> = hits.iter().map(|hit| hit.distance_m).collect();
    let entry = |slot: u32| &entries[order[slot as usize] as usize];
    for hit in &hits {
        assert!(passes(entry(hit.slot), filter));
        assert!(same(&[hit.distance_m], &[metres(entry(hit.slot).position, from)]));
    }
    let mut slots: Vec<u32> = hits.iter().map(|hit| hit.slot).collect();
    slots.sort_unstable();
    slots.dedup();
    assert_eq!(slots.len(), hits.len(), "an entry comes once");
    assert!(hits.is_sorted_by(|a, b| (a.distance_m, a.slot) < (b.distance_m, b.slot)));
    assert!(same(&distances, &by_looking(entries, count, from, filter)), "{from} {filter:?}");
    assert!(same(&distances, &by_rstar(entries, count, from, filter)), "{from} {filter:?}");
}

fn check_within(
    entries: &[Entry],
    index: &Index,
    order: &[u32],
    radius_m: u32,
    from: Position,
    filter: &Filter,
) {
    let hits = index.within(radius_m, from, filter);
    assert!(hits.is_sorted_by(|a, b| (a.distance_m, a.slot) < (b.distance_m, b.slot)));
    let mut found: Vec<u32> = hits.iter().map(|hit| order[hit.slot as usize]).collect();
    found.sort_unstable();
    for (number, entry) in (0u32..).zip(entries) {
        let distance = metres(entry.position, from);
        let slack = if distance > 1.9e7 { 2_000.0 } else { 0.02 + distance * 1e-8 };
        let is_in = found.binary_search(&number).is_ok();
        if !passes(entry, filter) || distance > f64::from(radius_m) + slack {
            assert!(!is_in, "{distance} > {radius_m} or filtered");
        } else if distance < f64::from(radius_m) - slack {
            assert!(is_in, "{distance} < {radius_m}");
        }
    }
}

/// Anywhere, at the seams, and stacked on a few spots.
fn position() -> impl Strategy<Value = Position> {
    let e7 = |lat: i32, lon: i32| Position::from_e7(lat, lon).unwrap();
    prop_oneof![
        (-900_000_000..=900_000_000i32, -1_800_000_000..=1_800_000_000i32)
            .prop_map(move |(lat, lon)| e7(lat, lon)),
        (-700_000_000..700_000_000i32, -3_000_000..3_000_000i32, any::<bool>()).prop_map(
            move |(lat, lon, west)| {
                e7(lat, if west { -1_800_000_000 + lon.abs() } else { 1_800_000_000 - lon.abs() })
            }
        ),
        (0..5_000_000i32, -1_800_000_000..=1_800_000_000i32, any::<bool>()).prop_map(
            move |(below, lon, south)| {
                e7(if south { below - 900_000_000 } else { 900_000_000 - below }, lon)
            }
        ),
        (525_000_000..525_200_000i32, 134_000_000..134_200_000i32).prop_map(move |(lat, lon)| e7(lat, lon)),
        (0..3i32).prop_map(move |spot| e7(488_965_230 + spot, 22_985_710)),
        Just(e7(900_000_000, 0)),
        Just(e7(0, -1_800_000_000)),
    ]
}

fn connectors() -> impl Strategy<Value = Connectors> {
    prop::collection::vec(prop::sample::select(&Connector::ALL[..4]), 0..3)
        .prop_map(|connectors| connectors.into_iter().collect())
}

fn entry() -> impl Strategy<Value = Entry> {
    let power = prop_oneof![Just(None), (1..350u32).prop_map(|kw| Some(Power::from_w(kw * 1000)))];
    (position(), connectors(), power, prop::bool::weighted(0.3))
        .prop_map(|(position, connectors, power_max, free)| Entry { position, connectors, power_max, free })
}

fn filter() -> impl Strategy<Value = Filter> {
    (connectors(), prop_oneof![Just(0), 1_000..300_000u32], any::<bool>())
        .prop_map(|(connectors, w, free)| Filter { connectors, power_min: Power::from_w(w), free })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nearest_and_within_agree_with_brute_force_and_rstar(
        entries in prop::collection::vec(entry(), 0..300),
        from in position(),
        filter in filter(),
        count in 0usize..40,
        radius_m in prop_oneof![0u32..5_000, 0u32..21_000_000],
    ) {
        let (index, order) = Index::build(&entries).unwrap();
        check(&entries, &index, &order, count, from, &filter);
        check(&entries, &index, &order, count, from, &Filter::ANY);
        check_within(&entries, &index, &order, radius_m, from, &filter);
    }

    #[test]
    fn changes_leave_no_summary_behind(
        mut entries in prop::collection::vec(entry(), 1..300),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 1..100),
        from in position(),
        mut filter in filter(),
    ) {
        filter.free = true;
        let (mut index, order) = Index::build(&entries).unwrap();
        for (slot, free) in changes {
            let slot = slot.index(entries.len());
            entries[order[slot] as usize].free = free;
            index.set_free(u32::try_from(slot).unwrap(), free).unwrap();
            prop_assert_eq!(index.is_free(u32::try_from(slot).unwrap()), Some(free));
        }
        check(&entries, &index, &order, 10, from, &filter);
        // Repaired summaries are those of an index that is built anew.
        let (fresh, _) = Index::build(&entries).unwrap();
        prop_assert_eq!(format!("{index:?}"), format!("{fresh:?}"));
        for slot in 0..index.len() {
            index.set_free(slot, false);
        }
        prop_assert!(index.nearest(10, from, &filter).is_empty());
    }

    #[test]
    fn peers_move_and_agree_with_brute_force(
        moves in prop::collection::vec((0u8..40, prop::option::weighted(0.8, position())), 1..200),
        from in position(),
        count in 0usize..20,
    ) {
        let mut peers = Peers::new();
        let mut model = BTreeMap::new();
        for (id, to) in moves {
            match to {
                Some(to) => {
                    peers.set(id, to).unwrap();
                    model.insert(id, to);
                }
                None => prop_assert_eq!(peers.remove(id), model.remove(&id).is_some()),
            }
            prop_assert_eq!(peers.len(), model.len());
        }
        let found = peers.nearest(count, from);
        for (id, distance) in &found {
            prop_assert!(same(&[*distance], &[metres(model[id], from)]));
        }
        let mut all: Vec<f64> = model.values().map(|&position| metres(position, from)).collect();
        all.sort_by(f64::total_cmp);
        all.truncate(count);
        prop_assert!(same(&found.iter().map(|(_, distance)| *distance).collect::<Vec<_>>(), &all));
    }
}

fn entry_at(position: Position) -> Entry {
    Entry { position, connectors: Connector::Type2.into(), power_max: None, free: false }
}

#[test]
fn the_seam_and_the_poles_are_nothing_special() {
    // Fiji: the nearest lies across 180 degrees, though its longitude differs by 359.
    let entries = [at(-16.5, 179.0), at(-16.5, -179.9), at(-16.5, 170.0)].map(entry_at);
    let (index, order) = Index::build(&entries).unwrap();
    let first = index.nearest(1, at(-16.5, 179.9), &Filter::ANY)[0];
    assert_eq!(order[first.slot as usize], 1);
    assert!((first.distance_m - 21_323.0).abs() < 5.0, "{}", first.distance_m);
    assert_eq!(index.within(30_000, at(-16.5, 179.9), &Filter::ANY).len(), 1);

    // Near the pole the opposite meridian is a short walk over the top.
    let entries = [at(89.9, 0.0), at(89.0, 180.0), at(89.95, -90.0)].map(entry_at);
    let (index, order) = Index::build(&entries).unwrap();
    let hits = index.nearest(3, at(89.99, 180.0), &Filter::ANY);
    assert_eq!(hits.iter().map(|hit| order[hit.slot as usize]).collect::<Vec<_>>(), [2, 0, 1]);
    assert_eq!(index.within(20_100_000, at(-90.0, 0.0), &Filter::ANY).len(), 3, "all of the globe");
}

#[test]
fn few_entries_and_none() {
    for count in [0, 1, 15, 16, 17, 31, 32, 33, 48, 49, 257] {
        let east = |n: u32| Position::from_e7(0, i32::try_from(n * 1000).unwrap()).unwrap();
        let entries: Vec<Entry> = (0..count).map(|n| entry_at(east(n))).collect();
        let (index, order) = Index::build(&entries).unwrap();
        assert_eq!(index.len(), count);
        let all = index.nearest(1000, at(0.0, 0.0), &Filter::ANY);
        let found: Vec<u32> = all.iter().map(|hit| order[hit.slot as usize]).collect();
        assert_eq!(found, Vec::from_iter(0..count));
        assert_eq!(index.within(u32::MAX, at(0.0, 0.0), &Filter::ANY).len(), found.len());
        assert!(index.nearest(0, at(0.0, 0.0), &Filter::ANY).is_empty());
        assert_eq!(index.is_free(index.len()), None);
    }
    let (mut empty, _) = Index::build(&[]).unwrap();
    assert_eq!(empty.set_free(0, true), None);
    assert!(empty.is_empty());
}

#[test]
fn an_unknown_power_passes_only_a_filter_that_asks_for_none() {
    let (index, _) = Index::build(&[entry_at(at(0.0, 0.0))]).unwrap();
    let asks = |w| Filter { power_min: Power::from_w(w), ..Filter::ANY };
    assert_eq!(index.nearest(1, at(0.0, 0.0), &asks(0)).len(), 1);
    assert!(index.nearest(1, at(0.0, 0.0), &asks(1)).is_empty());
}

fn station(position: Position, outlets: &[(Connector, u32)]) -> Station {
    let outlet = |&(connector, w): &(Connector, u32)| Outlet {
        count: 1,
        connectors: connector.into(),
        power: Some(Power::from_w(w)),
        meter_key: None,
    };
    Station {
        reference: None,
        name: String::new(),
        operator: format!("operator {position}"),
        address: String::new(),
        position,
        outlets: outlets.iter().map(outlet).collect(),
        in_service_since: None,
        availability: Availability::Unknown,
    }
}

#[test]
fn connector_and_power_must_be_on_one_outlet() {
    let split = station(at(52.5, 13.4), &[(Connector::Type2, 22_000), (Connector::Ccs, 150_000)]);
    let whole = station(at(52.6, 13.4), &[(Connector::Type2, 43_000)]);
    let catalogue = Catalogue::new(vec![split, whole.clone()]).unwrap();
    let asks = Filter { connectors: Connector::Type2.into(), power_min: Power::from_w(43_000), free: false };
    let found = catalogue.nearest(10, at(52.5, 13.4), &asks);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].station, &whole);
    assert_eq!(catalogue.within(50_000, at(52.5, 13.4), &asks).len(), 1);
}

#[test]
fn only_stations_known_to_be_free_pass_for_free() {
    let mut catalogue = Catalogue::new(vec![station(at(1.0, 1.0), &[(Connector::Ccs, 1)])]).unwrap();
    let free = Filter { free: true, ..Filter::ANY };
    for (availability, found) in
        [(Availability::Unknown, 0), (Availability::Free, 1), (Availability::Busy, 0)]
    {
        catalogue.set_availability(0, availability).unwrap();
        assert_eq!(catalogue.stations()[0].availability, availability);
        assert_eq!(catalogue.nearest(1, at(1.0, 1.0), &free).len(), found, "{availability:?}");
    }
    assert_eq!(catalogue.set_availability(1, Availability::Free), None);
}

#[test]
fn peers_are_bounded() {
    let mut peers = Peers::new();
    for id in 0..65_536 {
        peers.set(id, Position::from_e7(id, 0).unwrap()).unwrap();
    }
    assert_eq!(peers.set(65_536, at(1.0, 1.0)), Err(TooManyPeers));
    peers.set(7, at(1.0, 1.0)).unwrap();
    assert!(peers.remove(8));
    peers.set(65_536, at(1.0, 1.0)).unwrap();
    let ids: Vec<i32> = peers.nearest(2, at(1.0, 1.0)).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [7, 65_536]);
}

#[test]
fn equally_near_peers_come_by_id() {
    let mut peers = Peers::new();
    for id in (0..50).rev() {
        peers.set(id, at(52.5, 13.4)).unwrap();
    }
    let ids: Vec<i32> = peers.nearest(3, at(52.5, 13.5)).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [0, 1, 2]);
}

#[test]
fn the_whole_registers_agree_with_rstar() {
    let (Some(german), Some(french)) = (common::register(common::DE_FILE), common::register(common::FR_FILE))
    else {
        return;
    };
    let mut stations = ohmesh_geo::german_register(german.as_slice()).unwrap().stations;
    stations.extend(ohmesh_geo::french_irve(french.as_slice()).unwrap().stations);
    let entries: Vec<Entry> = stations.iter().map(Entry::from).collect();
    let (index, order) = Index::build(&entries).unwrap();
    let asks = Filter { connectors: Connector::Ccs.into(), power_min: Power::from_w(150_000), free: false };
    for station in stations.iter().step_by(997) {
        for filter in [Filter::ANY, asks] {
            check(&entries, &index, &order, 10, station.position, &filter);
        }
    }
}
