//! Private areas: enough stations in each, and an integer grid that fits its cell, all over the globe.
#![allow(clippy::unwrap_used)]

mod common;

use h3o::{CellIndex, LatLng, Resolution};
use ohmesh_geo::{
    AREA_RESOLUTION_FINEST, AREA_STATIONS_MIN, AreaChoiceError, Availability, Catalogue, Connectors, Outlet,
    Station, area_at, choose_area, frame,
};
use ohmesh_units::{Area, Frame, InCell, Position};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn e7(degrees: f64) -> i32 {
    #[allow(clippy::cast_possible_truncation)]
    let e7 = (degrees * 1e7).round() as i32;
    e7
}

fn at(lat: f64, lon: f64) -> Position {
    Position::from_e7(e7(lat), e7(lon)).unwrap()
}

fn cell(position: Position, resolution: u8) -> CellIndex {
    let [lat, lon] = [position.lat_e7(), position.lon_e7()].map(|e7| f64::from(e7) / 1e7);
    LatLng::new(lat, lon).unwrap().to_cell(Resolution::try_from(resolution).unwrap())
}

fn area(cell: CellIndex) -> Area {
    Area::try_from(u64::from(cell)).unwrap()
}

fn station(position: Position) -> Station {
    Station {
        reference: None,
        name: String::new(),
        operator: String::new(),
        address: String::new(),
        position,
        outlets: vec![Outlet { count: 1, connectors: Connectors::NONE, power: None, meter_key: None }],
        in_service_since: None,
        availability: Availability::Unknown,
    }
}

/// Places with a station in the same cell as `position`, by looking at all.
fn places(position: Position, resolution: u8, stations: &[Station]) -> usize {
    let here = cell(position, resolution);
    let inside = stations.iter().map(|station| station.position).filter(|&at| cell(at, resolution) == here);
    inside.collect::<BTreeSet<_>>().len()
}

/// `count` stations on a spiral around `middle`, the farthest about `reach` degrees away.
fn spiral(middle: (f64, f64), count: u32, reach: f64) -> Vec<Station> {
    let place = |n: u32| {
        let (turn, out) = (f64::from(n) * 2.4, reach * (f64::from(n) / f64::from(count)).sqrt());
        let lat = (middle.0 + out * turn.sin()).clamp(-89.0, 89.0);
        let lon = middle.1 + out * turn.cos();
        station(at(lat, (lon + 540.0).rem_euclid(360.0) - 180.0))
    };
    (0..count).map(place).collect()
}

fn check_choice(position: Position, stations: &[Station], catalogue: &Catalogue) {
    match choose_area(position, catalogue) {
        Ok(chosen) => {
            let resolution = chosen.resolution();
            assert_eq!(chosen, area(cell(position, resolution)), "the cell that the position falls into");
            assert!(places(position, resolution, stations) >= AREA_STATIONS_MIN);
            for finer in resolution + 1..=AREA_RESOLUTION_FINEST {
                assert!(
                    places(position, finer, stations) < AREA_STATIONS_MIN,
                    "{finer} would have been enough"
                );
            }
            assert!(frame(chosen).unwrap().locate(position).unwrap().is_inside());
        }
        Err(AreaChoiceError::TooFewStations { area: largest, stations: held }) => {
            assert_eq!(largest, area(cell(position, 0)));
            assert_eq!(held, places(position, 0, stations));
            assert!(held < AREA_STATIONS_MIN);
        }
        Err(other) => panic!("{other}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn the_finest_area_with_enough_stations_is_chosen(
        middle in prop_oneof![(40.0..60.0, -10.0..30.0), (-30.0..30.0, 175.0..185.0), (-60.0..70.0, -180.0..180.0)],
        count in 0u32..200,
        reach in prop_oneof![0.001..0.1, 0.1..5.0, 5.0..20.0],
        off in (-0.5..0.5, -0.5..0.5),
    ) {
        let stations = spiral(middle, count, reach);
        let catalogue = Catalogue::new(stations.clone()).unwrap();
        let lon: f64 = middle.1 + off.1 * reach;
        let position = at(middle.0 + off.0 * reach, (lon + 540.0).rem_euclid(360.0) - 180.0);
        check_choice(position, &stations, &catalogue);
    }
}

#[test]
fn many_stations_on_one_spot_hide_nobody() {
    // An attack: forty registrations in one car park, so that the drivers in it name the car park.
    let here = at(48.896523, 2.298571);
    let mut stations = vec![station(here); 40];
    let catalogue = Catalogue::new(stations.clone()).unwrap();
    let error = choose_area(here, &catalogue).unwrap_err();
    assert_eq!(error, AreaChoiceError::TooFewStations { area: area_at(here, 0).unwrap(), stations: 1 });
    // With others further away, the area is as large as they need.
    stations.extend(spiral((48.9, 2.3), 19, 0.2));
    let catalogue = Catalogue::new(stations.clone()).unwrap();
    check_choice(here, &stations, &catalogue);
    assert!(choose_area(here, &catalogue).unwrap().resolution() <= 4);
}

#[test]
fn no_area_is_finer_than_a_neighbourhood() {
    // The same attack with a metre between the registrations.
    let stations = spiral((52.5, 13.4), 400, 0.0002);
    let catalogue = Catalogue::new(stations).unwrap();
    assert_eq!(choose_area(at(52.5, 13.4), &catalogue).unwrap().resolution(), AREA_RESOLUTION_FINEST);
}

#[test]
fn too_few_stations_are_an_error_with_their_number() {
    let stations = spiral((52.5, 13.4), 19, 0.1);
    let catalogue = Catalogue::new(stations).unwrap();
    let error = choose_area(at(52.5, 13.4), &catalogue).unwrap_err();
    assert!(matches!(error, AreaChoiceError::TooFewStations { stations: 19, .. }), "{error}");
    assert!(error.to_string().starts_with("only 19 stations in "), "{error}");
    let empty = Catalogue::new(vec![]).unwrap();
    assert!(matches!(
        choose_area(at(0.0, 0.0), &empty),
        Err(AreaChoiceError::TooFewStations { stations: 0, .. })
    ));
}

#[test]
fn the_frame_of_a_known_area_has_known_integers() {
    // San Francisco, from the H3 documentation. Frames are in zone files: these numbers must not drift.
    let frame = frame("85283473fffffff".parse().unwrap()).unwrap();
    let origin = Position::from_e7(372_630_328, -1_220_906_571).unwrap();
    assert_eq!(frame, Frame { origin, step_e7: 7_101, cos_q16: 52_100 });
    assert!(frame.is_valid());
}

/// Every position of the cell lies in `0..256` both ways, and the grid is not much larger than the cell.
fn check_frame(cell: CellIndex, inside: impl IntoIterator<Item = Position>) {
    let Ok(frame) = frame(area(cell)) else {
        panic!("{cell} at {:?} has no frame", LatLng::from(cell));
    };
    assert!(frame.is_valid());
    for position in inside {
        let place = frame.locate(position).unwrap();
        assert!(place.is_inside(), "{position} in {cell}: {place:?}");
    }
    let corners: Vec<InCell> = cell
        .boundary()
        .iter()
        .map(|corner| {
            frame.locate(at(corner.lat(), (corner.lng() + 540.0).rem_euclid(360.0) - 180.0)).unwrap()
        })
        .collect();
    let span = |axis: fn(&InCell) -> i32| {
        corners.iter().map(axis).max().unwrap() - corners.iter().map(axis).min().unwrap()
    };
    assert!(corners.iter().all(|corner| corner.is_inside()), "{cell}: {corners:?}");
    if cell.resolution() >= Resolution::Two && frame.step_e7 > 100 {
        assert!(
            span(|place| place.x).max(span(|place| place.y)) > 200,
            "{cell}: a grid that wastes no steps"
        );
    }
}

/// Positions of the cell: random ones of the rectangle around it, its children's centres, and points just inside
/// its sides.
fn positions_of(cell: CellIndex, shares: &[(f64, f64)]) -> Vec<Position> {
    let centre = LatLng::from(cell);
    let boundary = cell.boundary();
    let corners: Vec<LatLng> = boundary.iter().copied().collect();
    let axes = |point: &LatLng| {
        let (lat, lon) = (point.lat_radians(), point.lng_radians());
        [lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()]
    };
    let mut found = Vec::new();
    for (n, &(along, out)) in shares.iter().enumerate() {
        let (a, b) = (axes(&corners[n % corners.len()]), axes(&corners[(n + 1) % corners.len()]));
        let middle = axes(&centre);
        let [x, y, z]: [f64; 3] = std::array::from_fn(|axis| {
            middle[axis] + out * (a[axis] + along * (b[axis] - a[axis]) - middle[axis])
        });
        let position = at(z.atan2(x.hypot(y)).to_degrees(), y.atan2(x).to_degrees());
        if self::cell(position, u8::from(cell.resolution())) == cell {
            found.push(position);
        }
    }
    found
}

/// Along every side: right at it, and a little inside and outside; what is not of the cell is sorted out.
fn rim() -> Vec<(f64, f64)> {
    let mut shares = Vec::new();
    for step in 0..11 {
        for out in [0.3, 0.9, 0.999, 0.999_999, 1.0, 1.000_001, 1.001, 1.01] {
            for _ in 0..7 {
                shares.push((f64::from(step) / 10.0, out));
            }
        }
    }
    shares
}

#[test]
fn every_coarse_cell_has_a_frame_that_fits_or_lies_at_a_pole() {
    let rim = rim();
    let mut polar = Vec::new();
    for cell in (0..=2u8).flat_map(|resolution| {
        let resolution = Resolution::try_from(resolution).unwrap();
        CellIndex::base_cells().flat_map(move |base| base.children(resolution))
    }) {
        match frame(area(cell)) {
            Ok(_) => check_frame(cell, positions_of(cell, &rim)),
            Err(error) => {
                assert_eq!(error, AreaChoiceError::Polar(area(cell)));
                polar.push((u8::from(cell.resolution()), LatLng::from(cell).lat().abs()));
            }
        }
    }
    // What is refused lies around the two poles, where nobody charges a car.
    for (resolution, latitude) in [(0, 70.0), (1, 82.0), (2, 86.0)] {
        let refused: Vec<f64> = polar.iter().filter(|cell| cell.0 == resolution).map(|cell| cell.1).collect();
        assert!(
            !refused.is_empty() && refused.iter().all(|&found| found > latitude),
            "{resolution}: {refused:?}"
        );
    }
}

#[test]
fn pentagons_and_their_neighbours_have_frames_that_fit() {
    let rim = rim();
    for resolution in [1u8, 2, 3, 5, 7, 9, 12, 15] {
        let resolution = Resolution::try_from(resolution).unwrap();
        for pentagon in resolution.pentagons() {
            for near in pentagon.grid_disk_safe(2) {
                if frame(area(near)).is_ok() {
                    check_frame(near, positions_of(near, &rim));
                } else {
                    assert!(LatLng::from(near).lat().abs() > 80.0, "{near}");
                }
            }
        }
    }
}

#[test]
fn a_cell_that_holds_a_pole_has_no_frame() {
    for lat in [90.0, -90.0] {
        for resolution in 0..=15 {
            let pole = area_at(at(lat, 0.0), resolution).unwrap();
            assert_eq!(frame(pole), Err(AreaChoiceError::Polar(pole)));
        }
    }
    let stations = (0..30).map(|n| station(at(89.999, f64::from(n)))).collect();
    let catalogue = Catalogue::new(stations).unwrap();
    assert!(matches!(choose_area(at(90.0, 0.0), &catalogue), Err(AreaChoiceError::Polar(_))));
}

#[test]
fn a_number_that_only_looks_like_a_cell_has_no_frame() {
    // In the sector that a pentagon lacks: the form is right, the cell does not exist.
    let pentagon = Resolution::One.pentagons().next().unwrap();
    let missing = u64::from(pentagon) | 1 << 42;
    let area = Area::try_from(missing).unwrap();
    assert_eq!(frame(area), Err(AreaChoiceError::NoSuchCell(area)));
    assert_eq!(area_at(at(0.0, 0.0), 16), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_position_lies_inside_the_frame_of_its_cell(
        position in prop_oneof![
            (-850_000_000..850_000_000i32, -1_800_000_000..1_800_000_000i32),
            (-800_000_000..800_000_000i32, 1_799_900_000..1_800_100_000i32),
        ],
        resolution in 0u8..=15,
        seeds in prop::collection::vec((0.0..1.0, 0.0..1.02), 30),
    ) {
        let lon = if position.1 >= 1_800_000_000 { position.1 - 1_800_000_000 - 1_800_000_000 } else { position.1 };
        let position = Position::from_e7(position.0, lon).unwrap();
        let cell = cell(position, resolution);
        match frame(area(cell)) {
            Ok(_) => check_frame(cell, positions_of(cell, &seeds).into_iter().chain([position])),
            Err(error) => {
                prop_assert_eq!(error, AreaChoiceError::Polar(area(cell)));
                prop_assert!(resolution <= 1 && LatLng::from(cell).lat().abs() > 65.0, "{}", position);
            }
        }
    }
}

#[test]
fn real_stations_are_hidden_among_twenty() {
    let (Some(german), Some(french)) = (common::register(common::DE_FILE), common::register(common::FR_FILE))
    else {
        return;
    };
    let mut stations = ohmesh_geo::german_register(german.as_slice()).unwrap().stations;
    stations.extend(ohmesh_geo::french_irve(french.as_slice()).unwrap().stations);
    let catalogue = Catalogue::new(stations.clone()).unwrap();
    for station in stations.iter().step_by(199) {
        check_choice(station.position, &stations, &catalogue);
    }
    // The car park with the most stations of the file names a neighbourhood, not itself.
    check_choice(at(48.896523, 2.298571), &stations, &catalogue);
    // The station on La Réunion is alone on its side of the globe.
    let island = choose_area(at(-20.901617, 55.51791), &catalogue);
    assert!(matches!(island, Err(AreaChoiceError::TooFewStations { stations: 1, .. })), "{island:?}");
}
