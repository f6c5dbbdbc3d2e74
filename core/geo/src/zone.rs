//! The polygon of a zone: which positions a committee of station agents serves.

use geo::line_intersection::line_intersection;
use geo::{Coord, Intersects, Line, LineString, Point, Polygon};
use ohmesh_units::Position;

/// A simple polygon of positions, checked when it is made. Sides are straight in latitude and longitude, as in
/// GeoJSON (RFC 7946, section 3.1.1), and go the shorter way around the globe.
#[derive(Clone, PartialEq, Debug)]
pub struct ZonePolygon {
    ring: Vec<Position>,
    polygon: Polygon<f64>,
}

/// Why a list of positions is no zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZoneError {
    /// More points than [`ZONE_POINTS_MAX`].
    #[error("{0} points: a zone has at most {ZONE_POINTS_MAX}")]
    TooManyPoints(usize),
    /// The last point is not the first.
    #[error("the ring is not closed: its last point is not its first")]
    NotClosed,
    /// Fewer than three different points.
    #[error("{0} different points: a zone has at least 3")]
    TooFewPoints(usize),
    /// A point comes twice.
    #[error("points {first} and {second} are the same")]
    Repeated {
        /// Number of the first of the two, from 0.
        first: usize,
        /// Number of the second.
        second: usize,
    },
    /// A side spans half the globe, so that its shorter way is not clear.
    #[error("side {side} spans 180 degrees of longitude or more")]
    LongSide {
        /// Number of the point at which it starts, from 0.
        side: usize,
    },
    /// The ring goes around a pole: its inside is not defined.
    #[error("the ring goes around a pole")]
    AroundPole,
    /// Two sides cross or touch.
    #[error("sides {first} and {second} cross or touch")]
    Crossing {
        /// Number of the point at which one starts, from 0.
        first: usize,
        /// Number of the point at which the other starts.
        second: usize,
    },
}

impl ZonePolygon {
    /// A zone from a closed ring: the last point is the first. The direction does not matter.
    pub fn new(ring: Vec<Position>) -> Result<Self, ZoneError> {
        if ring.len() > ZONE_POINTS_MAX + 1 {
            return Err(ZoneError::TooManyPoints(ring.len() - 1));
        }
        if ring.len() < 2 || ring.first() != ring.last() {
            return Err(ZoneError::NotClosed);
        }
        distinct(&ring[..ring.len() - 1])?;
        let coordinates = unroll(&ring)?;
        let sides: Vec<Line<f64>> = coordinates.windows(2).map(|ends| Line::new(ends[0], ends[1])).collect();
        simple(&sides)?;
        let polygon = Polygon::new(LineString::new(coordinates), vec![]);
        Ok(Self { ring, polygon })
    }

    /// The closed ring.
    pub fn ring(&self) -> &[Position] {
        &self.ring
    }

    /// Whether `position` is in the zone; its border belongs to it.
    pub fn contains(&self, position: Position) -> bool {
        let at = |turns: f64| {
            let lon = f64::from(position.lon_e7()) + turns * TURN_E7;
            Point::new(lon, f64::from(position.lat_e7()))
        };
        // An unrolled ring starts within 180 degrees and is less than a turn wide.
        [-1.0, 0.0, 1.0].into_iter().any(|turns| self.polygon.intersects(&at(turns)))
    }
}

fn distinct(points: &[Position]) -> Result<(), ZoneError> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_unstable_by_key(|&at| (points[at], at));
    let same = order.windows(2).find(|pair| points[pair[0]] == points[pair[1]]);
    let different = 1 + order.windows(2).filter(|pair| points[pair[0]] != points[pair[1]]).count();
    match same {
        _ if different < 3 => Err(ZoneError::TooFewPoints(different)),
        Some(pair) => Err(ZoneError::Repeated { first: pair[0], second: pair[1] }),
        None => Ok(()),
    }
}

/// The ring as plane coordinates in 1e-7 degrees (whole numbers, so a float holds them exactly), without a jump where
/// it crosses 180 degrees.
fn unroll(ring: &[Position]) -> Result<Vec<Coord<f64>>, ZoneError> {
    let coord = |position: Position, lon: f64| Coord { x: lon, y: f64::from(position.lat_e7()) };
    let first = ring[0];
    let mut lon = f64::from(first.lon_e7());
    let mut coordinates = vec![coord(first, lon)];
    for (side, ends) in ring.windows(2).enumerate() {
        let ahead = f64::from(ends[1].lon_e7()) - f64::from(ends[0].lon_e7());
        let ahead = (ahead + TURN_E7 / 2.0).rem_euclid(TURN_E7) - TURN_E7 / 2.0;
        if ahead == -TURN_E7 / 2.0 {
            return Err(ZoneError::LongSide { side });
        }
        lon += ahead;
        coordinates.push(coord(ends[1], lon));
    }
    if coordinates.first() != coordinates.last() {
        return Err(ZoneError::AroundPole);
    }
    Ok(coordinates)
}

/// Whether sides meet only where one ends and the next begins. At most 2^17 pairs.
fn simple(sides: &[Line<f64>]) -> Result<(), ZoneError> {
    for first in 0..sides.len() {
        for second in first + 1..sides.len() {
            let neighbours = second == first + 1 || (first == 0 && second + 1 == sides.len());
            let meet = line_intersection(sides[first], sides[second]);
            let apart = match meet {
                None => true,
                Some(geo::LineIntersection::SinglePoint { is_proper, .. }) => neighbours && !is_proper,
                // Neighbours on one line overlap, unless the second goes on in the direction of the first.
                Some(geo::LineIntersection::Collinear { intersection }) => {
                    neighbours && intersection.start == intersection.end
                }
            };
            if !apart {
                return Err(ZoneError::Crossing { first, second });
            }
        }
    }
    Ok(())
}

/// The most points of a zone: every pair of sides is checked.
pub const ZONE_POINTS_MAX: usize = 512;

/// 360 degrees in 1e-7 degrees.
const TURN_E7: f64 = 3_600_000_000.0;
