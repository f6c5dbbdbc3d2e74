//! Points on the unit sphere in fixed point, and the distances between them.
//!
//! A coordinate is a `u32`: 0 is -1, 2^31 is +1, so a step is 6 mm on the Earth's surface. That is as small
//! as `f32` and a hundred times as exact, and squares of distances are integers: every search gives the same answer
//! in the same order on every machine that agrees on the point. The straight line through the Earth (the chord) grows
//! with the way along the surface, so searches compare chords and never call a trigonometric function.

use geo::{Distance, Geodesic, Point as LonLat};
use ohmesh_units::Position;

/// A position as a point in space. North is the third axis.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Point(pub(crate) [u32; 3]);

impl Point {
    pub(crate) fn of(position: Position) -> Self {
        let [lat, lon] = radians(position);
        let axes = [lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()];
        // Between 0 and 2^31 by the range of sine and cosine; a cast from float saturates, never wraps.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Self(axes.map(|axis| ((axis + 1.0) * RADIUS_STEPS).round() as u32))
    }

    /// The square of the chord to `other`, in square steps: at most 3 * 2^62, so nothing wraps.
    pub(crate) fn chord_squared(self, other: Self) -> u64 {
        let square = |axis: usize| {
            let gap = u64::from(self.0[axis].abs_diff(other.0[axis]));
            gap.wrapping_mul(gap)
        };
        square(0).wrapping_add(square(1)).wrapping_add(square(2))
    }
}

/// The great-circle distance that belongs to the square of a chord, metres.
pub(crate) fn metres_of_chord_squared(chord_squared: u64) -> f64 {
    // The rounding of this cast is far below a step.
    #[allow(clippy::cast_precision_loss)]
    let half_chord = (chord_squared as f64).sqrt() / (2.0 * RADIUS_STEPS);
    2.0 * EARTH_RADIUS_M * half_chord.min(1.0).asin()
}

/// The square of the longest chord whose great-circle distance is at most `metres`.
pub(crate) fn chord_squared_of_metres(metres: u32) -> u64 {
    let angle = f64::from(metres) / EARTH_RADIUS_M;
    if angle >= std::f64::consts::PI {
        return u64::MAX;
    }
    let chord = 2.0 * RADIUS_STEPS * (angle / 2.0).sin();
    // Positive and at most 2^62; a cast from float saturates, never wraps.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let squared = (chord * chord) as u64;
    squared
}

/// The shortest way on the WGS 84 ellipsoid between two positions in metres: what a person is shown.
///
/// Searches rank by great-circle distance instead, which is off by half a percent at most. Source: Karney, "Algorithms for
/// geodesics", 2013.
pub fn geodesic_m(from: Position, to: Position) -> f64 {
    let point = |position: Position| {
        LonLat::new(f64::from(position.lon_e7()) / DEGREE_E7, f64::from(position.lat_e7()) / DEGREE_E7)
    };
    Geodesic.distance(point(from), point(to))
}

/// Latitude and longitude in radians.
pub(crate) fn radians(position: Position) -> [f64; 2] {
    [position.lat_e7(), position.lon_e7()].map(|e7| (f64::from(e7) / DEGREE_E7).to_radians())
}

/// 1e-7 degrees in a degree.
pub(crate) const DEGREE_E7: f64 = 1e7;

/// Steps from the middle of the Earth to its surface: 2^30.
const RADIUS_STEPS: f64 = 1_073_741_824.0;

/// Mean radius of the WGS 84 ellipsoid (IUGG R1).
pub(crate) const EARTH_RADIUS_M: f64 = 6_371_008.8;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn at(lat: f64, lon: f64) -> Position {
        #[allow(clippy::cast_possible_truncation)]
        Position::from_e7((lat * DEGREE_E7).round() as i32, (lon * DEGREE_E7).round() as i32).unwrap()
    }

    /// Haversine on the same sphere: another formula for the same thing.
    fn haversine_m(a: Position, b: Position) -> f64 {
        let ([lat_a, lon_a], [lat_b, lon_b]) = (radians(a), radians(b));
        let h = ((lat_b - lat_a) / 2.0).sin().powi(2)
            + lat_a.cos() * lat_b.cos() * ((lon_b - lon_a) / 2.0).sin().powi(2);
        2.0 * EARTH_RADIUS_M * h.sqrt().min(1.0).asin()
    }

    #[test]
    fn geodesics_have_known_answers() {
        // A quarter of the meridian is 10,001,965.729 m on WGS 84; a degree of the equator 111,319.491 m.
        assert!((geodesic_m(at(0.0, 0.0), at(90.0, 0.0)) - 10_001_965.729).abs() < 0.001);
        assert!((geodesic_m(at(0.0, 179.5), at(0.0, -179.5)) - 111_319.491).abs() < 0.001);
    }

    #[test]
    fn one_pole_is_one_point() {
        assert_eq!(Point::of(at(90.0, 0.0)), Point::of(at(90.0, 123.0)));
        assert_eq!(Point::of(at(-90.0, 0.0)).0, [1 << 30, 1 << 30, 0]);
    }

    proptest! {
        #[test]
        fn chords_give_great_circle_distances(
            a in (-900_000_000..=900_000_000i32, -1_800_000_000..=1_800_000_000i32),
            near in (-200_000..200_000i32, -200_000..200_000i32),
            far in (-900_000_000..=900_000_000i32, -1_800_000_000..=1_800_000_000i32),
        ) {
            let from = Position::from_e7(a.0, a.1).unwrap();
            let near = Position::from_e7(
                (a.0 + near.0).clamp(-900_000_000, 900_000_000),
                (a.1 + near.1).clamp(-1_800_000_000, 1_800_000_000),
            )
            .unwrap();
            let metres = |to| metres_of_chord_squared(Point::of(from).chord_squared(Point::of(to)));
            prop_assert!((metres(near) - haversine_m(from, near)).abs() < 0.02);
            let far = Position::from_e7(far.0, far.1).unwrap();
            // Chords of antipodes differ by little for ways that differ by much.
            prop_assert!((metres(far) - haversine_m(from, far)).abs() < 2_000.0);
        }

        #[test]
        fn radii_and_chords_are_inverse(metres in 0u32..20_000_000) {
            let back = metres_of_chord_squared(chord_squared_of_metres(metres));
            prop_assert!((back - f64::from(metres)).abs() < 0.5, "{} {}", metres, back);
        }
    }
}
