//! Zone polygons: which rings are refused, and what is inside.
#![allow(clippy::unwrap_used)]

use ohmesh_geo::{ZONE_POINTS_MAX, ZoneError, ZonePolygon};
use ohmesh_units::Position;
use proptest::prelude::*;

fn ring(points: &[(i32, i32)]) -> Vec<Position> {
    let degree = 10_000_000;
    let mut ring: Vec<Position> =
        points.iter().map(|&(lat, lon)| Position::from_e7(lat * degree, lon * degree).unwrap()).collect();
    ring.push(ring[0]);
    ring
}

fn zone(points: &[(i32, i32)]) -> Result<ZonePolygon, ZoneError> {
    ZonePolygon::new(ring(points))
}

fn at(lat: f64, lon: f64) -> Position {
    #[allow(clippy::cast_possible_truncation)]
    Position::from_e7((lat * 1e7).round() as i32, (lon * 1e7).round() as i32).unwrap()
}

#[test]
fn a_ring_that_encloses_nothing_clear_is_refused() {
    let mut open = ring(&[(52, 13), (52, 14), (53, 14)]);
    open.pop();
    assert_eq!(ZonePolygon::new(open), Err(ZoneError::NotClosed));
    assert_eq!(ZonePolygon::new(vec![]), Err(ZoneError::NotClosed));
    assert_eq!(zone(&[(52, 13)]), Err(ZoneError::TooFewPoints(1)));
    assert_eq!(zone(&[(52, 13), (53, 13)]), Err(ZoneError::TooFewPoints(2)));
    assert_eq!(zone(&[(52, 13), (53, 13), (52, 13), (53, 13)]), Err(ZoneError::TooFewPoints(2)));
    let eight = [(52, 13), (53, 14), (54, 13), (54, 15), (53, 14), (52, 15)];
    assert_eq!(zone(&eight), Err(ZoneError::Repeated { first: 1, second: 4 }));
    let bow = [(52, 13), (53, 14), (53, 13), (52, 14)];
    assert_eq!(zone(&bow), Err(ZoneError::Crossing { first: 0, second: 2 }));
    let line = [(52, 13), (53, 14), (54, 15)];
    assert!(matches!(zone(&line), Err(ZoneError::Crossing { .. })), "no inside");
    let spike = [(52, 13), (52, 15), (53, 15), (53, 17), (53, 13)];
    assert!(matches!(zone(&spike), Err(ZoneError::Crossing { .. })), "out and back on one line");
    let touching = [(50, 10), (50, 14), (54, 14), (50, 12), (54, 10)];
    assert!(matches!(zone(&touching), Err(ZoneError::Crossing { .. })), "a corner on another side");
    assert_eq!(zone(&[(0, 0), (0, -180), (10, 90)]), Err(ZoneError::LongSide { side: 0 }));
    assert_eq!(zone(&[(80, 0), (80, 120), (80, -120)]), Err(ZoneError::AroundPole));
}

#[test]
fn the_number_of_points_is_bounded() {
    let circle = |count: usize| -> Vec<Position> {
        let step = std::f64::consts::TAU / count as f64;
        let mut ring: Vec<Position> =
            (0..count).map(|n| at((n as f64 * step).sin(), (n as f64 * step).cos())).collect();
        ring.push(ring[0]);
        ring
    };
    assert!(ZonePolygon::new(circle(ZONE_POINTS_MAX)).unwrap().contains(at(0.0, 0.0)));
    assert_eq!(
        ZonePolygon::new(circle(ZONE_POINTS_MAX + 1)),
        Err(ZoneError::TooManyPoints(ZONE_POINTS_MAX + 1))
    );
}

#[test]
fn a_bay_is_outside_and_the_border_inside() {
    let horseshoe =
        zone(&[(50, 10), (50, 16), (54, 16), (54, 14), (52, 14), (52, 12), (54, 12), (54, 10)]).unwrap();
    assert!(horseshoe.contains(at(51.0, 13.0)) && horseshoe.contains(at(53.0, 11.0)));
    assert!(!horseshoe.contains(at(53.0, 13.0)), "the bay");
    assert!(horseshoe.contains(at(50.0, 13.0)) && horseshoe.contains(at(54.0, 16.0)));
    assert!(!horseshoe.contains(at(49.999_999_9, 13.0)));
    assert_eq!(horseshoe.ring().len(), 9);
    let straight_on = zone(&[(50, 10), (50, 11), (50, 12), (52, 12), (52, 10)]).unwrap();
    assert!(straight_on.contains(at(50.0, 11.5)), "a point on a straight side is no spike");
}

#[test]
fn a_zone_may_cross_180_degrees() {
    for shift in 0..4 {
        let mut fiji = [(-20, 176), (-20, -178), (-15, -178), (-15, 176)];
        fiji.rotate_left(shift);
        let fiji = zone(&fiji).unwrap();
        for inside in [at(-17.0, 179.0), at(-17.0, -179.0), at(-17.0, 180.0), at(-17.0, -180.0)] {
            assert!(fiji.contains(inside), "{shift}: {inside}");
        }
        for outside in [at(-17.0, 175.0), at(-17.0, -177.0), at(-17.0, 0.0), at(17.0, 180.0)] {
            assert!(!fiji.contains(outside), "{shift}: {outside}");
        }
    }
}

proptest! {
    /// A star around its middle is simple; a position is inside if it is nearer to the middle than the side in its
    /// direction, computed here in integers.
    #[test]
    fn contains_agrees_with_another_rule(
        reach in prop::collection::vec(1_000i64..9_000, 8),
        middle_lon in prop_oneof![Just(0i32), Just(1_799_999_000), Just(-1_799_998_000)],
        probe in (-9_000i64..9_000, -9_000i64..9_000),
    ) {
        const DIRECTIONS: [(i64, i64); 8] = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)];
        let place = |x: i64, y: i64| {
            let lon = (i64::from(middle_lon) + x + 1_800_000_000).rem_euclid(3_600_000_000) - 1_800_000_000;
            Position::from_e7(i32::try_from(y).unwrap(), i32::try_from(lon).unwrap()).unwrap()
        };
        let corners: Vec<(i64, i64)> =
            DIRECTIONS.iter().zip(&reach).map(|((x, y), reach)| (x * reach, y * reach)).collect();
        let mut ring: Vec<Position> = corners.iter().map(|&(x, y)| place(x, y)).collect();
        ring.push(ring[0]);
        let zone = ZonePolygon::new(ring.clone()).unwrap();
        let cross = |a: (i64, i64), b: (i64, i64)| a.0 * b.1 - a.1 * b.0;
        let inside = (0..8).any(|n| {
            let (a, b) = (corners[n], corners[(n + 1) % 8]);
            let side = (b.0 - a.0, b.1 - a.1);
            cross(a, probe) >= 0 && cross(probe, b) >= 0 && cross(side, (probe.0 - a.0, probe.1 - a.1)) >= 0
        });
        prop_assert_eq!(zone.contains(place(probe.0, probe.1)), inside);
        ring.reverse();
        prop_assert_eq!(ZonePolygon::new(ring).unwrap().contains(place(probe.0, probe.1)), inside);
    }
}
