//! Place: positions as integers of 1e-7 degree, areas as H3 cells, and the frame that gives a position its
//! coordinates inside an area. All of it integers, because the ledger executes it.

use crate::Canonical;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

const DEGREE: i32 = 10_000_000;

/// A place on Earth in 1e-7 degrees (WGS 84): about one centimetre.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "(i32, i32)", into = "(i32, i32)")]
pub struct Position {
    lat_e7: i32,
    lon_e7: i32,
}

/// A coordinate lies outside the globe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "latitude {lat_e7}e-7, longitude {lon_e7}e-7 is no position: latitude is -90 to 90, longitude -180 to 180 degrees"
)]
pub struct PositionError {
    lat_e7: i32,
    lon_e7: i32,
}

impl Position {
    /// A position from 1e-7 degrees: latitude within 90 degrees, longitude within 180 of zero.
    /// Longitude +180 is written as -180, so that one place has one encoding.
    pub fn from_e7(lat_e7: i32, lon_e7: i32) -> Result<Self, PositionError> {
        if lat_e7.unsigned_abs() > (90 * DEGREE).unsigned_abs()
            || lon_e7.unsigned_abs() > (180 * DEGREE).unsigned_abs()
        {
            return Err(PositionError { lat_e7, lon_e7 });
        }
        let lon_e7 = if lon_e7 == 180 * DEGREE { -180 * DEGREE } else { lon_e7 };
        Ok(Self { lat_e7, lon_e7 })
    }

    /// Latitude, 1e-7 degrees north.
    pub fn lat_e7(self) -> i32 {
        self.lat_e7
    }

    /// Longitude, 1e-7 degrees east, from -180 degrees (included) to +180 (excluded).
    pub fn lon_e7(self) -> i32 {
        self.lon_e7
    }
}

impl TryFrom<(i32, i32)> for Position {
    type Error = PositionError;

    fn try_from((lat_e7, lon_e7): (i32, i32)) -> Result<Self, Self::Error> {
        let position = Self::from_e7(lat_e7, lon_e7)?;
        if position.lon_e7 != lon_e7 {
            return Err(PositionError { lat_e7, lon_e7 });
        }
        Ok(position)
    }
}

impl From<Position> for (i32, i32) {
    fn from(position: Position) -> Self {
        (position.lat_e7, position.lon_e7)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let degrees = |e7: i32| {
            let sign = if e7 < 0 { "-" } else { "" };
            let e7 = e7.unsigned_abs();
            format!("{sign}{}.{:07}", e7 / DEGREE.unsigned_abs(), e7 % DEGREE.unsigned_abs())
        };
        write!(f, "{},{}", degrees(self.lat_e7), degrees(self.lon_e7))
    }
}

impl Canonical for Position {
    const NAME: &'static str = "position";
    const MAX_BYTES: usize = 11;
}

/// An H3 cell (Uber's hexagonal grid), by its 64-bit index. `ohmesh-geo` chooses it; here only its form is checked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Area(u64);

/// The number or text is not the index of an H3 cell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not the index of an H3 cell")]
pub struct AreaError(String);

impl Area {
    /// The 64-bit H3 index.
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// The H3 resolution, 0 (continents) to 15 (square metres).
    pub fn resolution(self) -> u8 {
        (self.0 >> 52 & 0xf) as u8
    }
}

impl TryFrom<u64> for Area {
    type Error = AreaError;

    /// Checks the H3 bit layout: mode 1, no reserved bit, base cell below 122, digits 0 to 6 up to the
    /// resolution and 7 below it.
    fn try_from(index: u64) -> Result<Self, Self::Error> {
        let resolution = index >> 52 & 0xf;
        let digits = (1..=15u64).all(|at| {
            let digit = index >> (3 * (15 - at)) & 7;
            if at <= resolution { digit <= 6 } else { digit == 7 }
        });
        let base_cell = index >> 45 & 0x7f;
        if index >> 63 != 0 || index >> 59 & 0xf != 1 || index >> 56 & 7 != 0 || base_cell >= 122 || !digits {
            return Err(AreaError(format!("{index:#x}")));
        }
        Ok(Self(index))
    }
}

impl From<Area> for u64 {
    fn from(area: Area) -> Self {
        area.0
    }
}

impl FromStr for Area {
    type Err = AreaError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16)
            .map_err(|_| AreaError(format!("{:?}", text.chars().take(20).collect::<String>())))?
            .try_into()
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Debug for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Area({self})")
    }
}

/// A position inside an area's [`Frame`], in the frame's steps; the area itself spans 0 to 255 both ways.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct InCell {
    /// Steps east of the frame's origin.
    pub x: i32,
    /// Steps north of the frame's origin.
    pub y: i32,
}

impl InCell {
    /// The square of the straight distance to `other`, in square steps.
    pub fn distance_squared(self, other: Self) -> u64 {
        let (dx, dy) = (i64::from(self.x) - i64::from(other.x), i64::from(self.y) - i64::from(other.y));
        // Each difference has 33 bits at most and its square 66: computed wide, then bounded.
        let sum = i128::from(dx) * i128::from(dx) + i128::from(dy) * i128::from(dy);
        u64::try_from(sum).unwrap_or(u64::MAX)
    }

    /// Whether both coordinates lie in `0..256`: inside the area itself.
    pub fn is_inside(self) -> bool {
        (0..256).contains(&self.x) && (0..256).contains(&self.y)
    }

    /// Whether both coordinates lie in `-256..512`: near enough to sell into the area.
    pub fn is_eligible(self) -> bool {
        (-256..512).contains(&self.x) && (-256..512).contains(&self.y)
    }
}

/// The flat grid of one area: the same number of metres a step in both directions, as integers.
///
/// `y = floor((lat - lat0) / step)`, `x = floor((lon - lon0) * cos / 2^16 / step)`, longitudes taken the short
/// way around the globe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Frame {
    /// The south-west corner, where both coordinates are 0.
    pub origin: Position,
    /// Latitude of one step, 1e-7 degrees; at least 1.
    pub step_e7: u32,
    /// Cosine of the area's middle latitude, times 2^16; 1 to 65,536.
    pub cos_q16: u32,
}

impl Frame {
    /// Whether the step and the cosine are in range.
    pub fn is_valid(&self) -> bool {
        self.step_e7 >= 1 && (1..=65_536).contains(&self.cos_q16)
    }

    /// The coordinates of `position`; `None` if the frame is not valid.
    pub fn locate(&self, position: Position) -> Option<InCell> {
        if !self.is_valid() {
            return None;
        }
        let step = i64::from(self.step_e7);
        let turn = 360 * i64::from(DEGREE);
        let east = i64::from(position.lon_e7) - i64::from(self.origin.lon_e7);
        let east = (east + turn / 2).rem_euclid(turn) - turn / 2;
        let north = i64::from(position.lat_e7) - i64::from(self.origin.lat_e7);
        Some(InCell {
            x: i32::try_from((east * i64::from(self.cos_q16)).div_euclid(step << 16)).ok()?,
            y: i32::try_from(north.div_euclid(step)).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_has_one_encoding() {
        let west = Position::from_e7(0, 180 * DEGREE).unwrap();
        assert_eq!(west, Position::from_e7(0, -180 * DEGREE).unwrap());
        assert!(Position::from_e7(90 * DEGREE + 1, 0).is_err());
        assert!(Position::from_e7(0, 180 * DEGREE + 1).is_err());
        let mut plus = vec![1];
        plus.extend(crate::to_postcard(&(0, 180 * DEGREE)));
        assert!(Position::decode(&plus).is_err(), "+180 degrees is not canonical");
    }

    #[test]
    fn areas_have_the_form_of_cells() {
        // From the H3 documentation: a cell of resolution 5 in San Francisco.
        let area: Area = "85283473fffffff".parse().unwrap();
        assert_eq!(area.resolution(), 5);
        assert_eq!(area.to_string(), "85283473fffffff");
        for bad in ["0", "85283473ffffff0", "95283473fffffff", "ffffffffffffffff", "x"] {
            assert!(bad.parse::<Area>().is_err(), "{bad}");
        }
    }

    #[test]
    fn frames_cross_the_antimeridian() {
        let origin = Position::from_e7(0, 1_799_999_000).unwrap();
        let frame = Frame { origin, step_e7: 100, cos_q16: 65_536 };
        let east = Position::from_e7(250, -1_799_999_000).unwrap();
        assert_eq!(frame.locate(east), Some(InCell { x: 20, y: 2 }));
        let south_west = Position::from_e7(-1, 1_799_998_999).unwrap();
        assert_eq!(frame.locate(south_west), Some(InCell { x: -1, y: -1 }));
        assert_eq!(Frame { step_e7: 0, ..frame }.locate(east), None);
    }
}
