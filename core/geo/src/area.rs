//! Private areas: what a driver says instead of a position, and the integer grid inside one.
//!
//! An area is an H3 cell with at least [`AREA_STATIONS_MIN`] stations in it. A fixed resolution would hide nobody in
//! the countryside, where a cell of a fine resolution holds one station or none.
//!
//! Floats choose an area and compute its frame, once; the frame itself is integers, and
//! [`Frame::locate`](ohmesh_units::Frame::locate) computes with nothing else.

use crate::Catalogue;
use crate::index::Filter;
use crate::sphere::{DEGREE_E7, EARTH_RADIUS_M, radians};
use h3o::{CellIndex, LatLng, Resolution};
use ohmesh_units::{Area, Frame, Position};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Why there is no area, or no frame for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AreaChoiceError {
    /// Even the largest cell around the position holds too few stations.
    #[error("only {stations} stations in {area}, the largest area there is: {AREA_STATIONS_MIN} are needed")]
    TooFewStations {
        /// The cell of resolution 0.
        area: Area,
        /// Places with a station in it.
        stations: usize,
    },
    /// The number has the form of a cell, but the grid has no such cell: it would lie in the missing sector of a
    /// pentagon.
    #[error("the H3 grid has no cell {0}")]
    NoSuchCell(Area),
    /// The cell holds a pole or reaches over more than [`FRAME_SPAN_DEGREES_MAX`] of longitude: no flat grid fits.
    #[error("{0} lies at a pole, where no flat frame fits")]
    Polar(Area),
}

/// The finest area that holds `position` and at least [`AREA_STATIONS_MIN`] stations: from
/// [`AREA_RESOLUTION_FINEST`] it grows by one resolution at a time.
///
/// Stations at the very same position count once: forty chargers in one car park hide nobody. At each resolution it
/// is the cell that the position itself falls into; a parent by number does not always hold all of its child.
///
/// # Errors
/// [`AreaChoiceError::TooFewStations`] when even resolution 0 holds too few, and [`AreaChoiceError::Polar`] when the
/// area has no [`frame`].
pub fn choose_area(position: Position, catalogue: &Catalogue) -> Result<Area, AreaChoiceError> {
    let mut held = 0;
    let mut cell = cell_of(position, Resolution::Zero);
    for resolution in
        (0..=AREA_RESOLUTION_FINEST).rev().filter_map(|number| Resolution::try_from(number).ok())
    {
        cell = cell_of(position, resolution);
        held = places_in(cell, catalogue);
        if held >= AREA_STATIONS_MIN {
            let area = area_of(cell);
            return frame(area).map(|_| area);
        }
    }
    Err(AreaChoiceError::TooFewStations { area: area_of(cell), stations: held })
}

/// The area of `resolution` (0 to 15) that holds `position`; `None` for another resolution.
pub fn area_at(position: Position, resolution: u8) -> Option<Area> {
    let resolution = Resolution::try_from(resolution).ok()?;
    Some(area_of(cell_of(position, resolution)))
}

/// The flat grid of `area`: the south-west corner of the rectangle of latitudes and longitudes around the cell, and
/// a step such that every position in the cell lies in `0..256` both ways.
///
/// The step is one number of 1e-7 degrees of latitude; eastward it is as many metres at the rectangle's middle
/// latitude, and fewer towards the pole. In a cell of resolution 0 that distortion is large; at resolution 4 and
/// finer it is below a hundredth up to 65 degrees of latitude.
///
/// # Errors
/// [`AreaChoiceError::Polar`] for a cell that holds a pole or is wide in longitude: the shorter way around the globe
/// would no longer be the way through the cell.
pub fn frame(area: Area) -> Result<Frame, AreaChoiceError> {
    let cell = CellIndex::try_from(area.as_u64()).map_err(|_| AreaChoiceError::NoSuchCell(area))?;
    let extent = Extent::of(cell).ok_or(AreaChoiceError::Polar(area))?;
    let polar = AreaChoiceError::Polar(area);
    let (high, wide) = (extent.north_e7 - extent.south_e7, extent.east_e7 - extent.west_e7);
    if wide > FRAME_SPAN_DEGREES_MAX * DEGREE {
        return Err(polar);
    }
    #[allow(clippy::cast_precision_loss)]
    let middle = ((extent.south_e7 + extent.north_e7) as f64 / 2.0 / DEGREE_E7).to_radians();
    // Between 0 and 65,536; a cast from float saturates, never wraps.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let cos_q16 = ((middle.cos() * 65_536.0).round() as u32).clamp(1, 65_536);
    // The largest coordinate is floor(length / step): below 256 exactly if step > length / 256.
    let wide_scaled = (wide * i64::from(cos_q16)) >> 16;
    let step_e7 = u32::try_from(high.max(wide_scaled) / 256 + 1).map_err(|_| polar)?;
    let turn = 360 * DEGREE;
    let west_e7 = (extent.west_e7 + turn / 2).rem_euclid(turn) - turn / 2;
    let corner = i32::try_from(extent.south_e7).ok().zip(i32::try_from(west_e7).ok());
    let origin = corner.and_then(|(lat, lon)| Position::from_e7(lat, lon).ok()).ok_or(polar)?;
    Ok(Frame { origin, step_e7, cos_q16 })
}

/// The rectangle of latitudes and longitudes around a cell, 1e-7 degrees; `west < east`, which may pass 180 degrees.
struct Extent {
    south_e7: i64,
    north_e7: i64,
    west_e7: i64,
    east_e7: i64,
}

impl Extent {
    /// `None` if the cell holds a pole. The sides of a cell are great circles, which bulge towards the pole between
    /// their ends; longitude runs one way along them, so its extremes are at corners.
    fn of(cell: CellIndex) -> Option<Self> {
        let pole_within = [-90.0, 90.0].into_iter().any(|lat| {
            let pole = LatLng::new(lat, 0.0).expect("a pole is a place");
            pole.to_cell(cell.resolution()) == cell
        });
        if pole_within {
            return None;
        }
        let corners: Vec<[f64; 2]> =
            cell.boundary().iter().map(|corner| [corner.lat_radians(), corner.lng_radians()]).collect();
        let middle = LatLng::from(cell).lng_radians();
        let (mut south, mut north) = (f64::MAX, f64::MIN);
        let (mut west, mut east) = (f64::MAX, f64::MIN);
        for (at, &corner) in corners.iter().enumerate() {
            let next = corners[(at + 1) % corners.len()];
            for lat in [corner[0]].into_iter().chain(apexes(corner, next)) {
                (south, north) = (south.min(lat), north.max(lat));
            }
            let lon = middle + turn_to(corner[1] - middle);
            (west, east) = (west.min(lon), east.max(lon));
        }
        // Rounding, and the last digits in which the grid's own arithmetic differs from its drawn corners.
        let slack = MARGIN_RADIANS.max((north - south) * MARGIN_SHARE);
        let wide_slack = MARGIN_RADIANS.max((east - west) * MARGIN_SHARE);
        Some(Self {
            south_e7: e7(south - slack).max(-90 * DEGREE),
            north_e7: e7(north + slack).min(90 * DEGREE),
            west_e7: e7(west - wide_slack),
            east_e7: e7(east + wide_slack),
        })
    }
}

/// The northernmost and southernmost points of the great circle through `a` and `b` that lie between the two, as
/// latitudes in radians.
fn apexes(a: [f64; 2], b: [f64; 2]) -> impl Iterator<Item = f64> {
    let axis = |[lat, lon]: [f64; 2]| [lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()];
    let cross = |a: [f64; 3], b: [f64; 3]| {
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    };
    let dot = |a: [f64; 3], b: [f64; 3]| a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    let (a, b) = (axis(a), axis(b));
    let normal = cross(a, b);
    // The direction of the circle's northernmost point: north, less its part along the normal.
    let squared = dot(normal, normal);
    let north = [-normal[2] * normal[0], -normal[2] * normal[1], squared - normal[2] * normal[2]];
    [1.0, -1.0].into_iter().filter_map(move |sign| {
        let apex = north.map(|axis| sign * axis);
        let between = dot(cross(a, apex), normal) > 0.0 && dot(cross(apex, b), normal) > 0.0;
        between.then(|| (apex[2] / dot(apex, apex).sqrt()).clamp(-1.0, 1.0).asin())
    })
}

/// How many places in `cell` have a station; counting ends at [`AREA_STATIONS_MIN`].
fn places_in(cell: CellIndex, catalogue: &Catalogue) -> usize {
    let centre = LatLng::from(cell);
    let reach = cell.boundary().iter().map(|corner| centre.distance_rads(*corner)).fold(0.0, f64::max);
    // A little more than the farthest corner: what is not in the cell is left out below.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let radius_m = (reach * EARTH_RADIUS_M * 1.01 + 1.0).ceil() as u32;
    let mut places = BTreeSet::new();
    let _ = catalogue.index().visit_within(radius_m, position_of(centre), &Filter::ANY, |_, slot| {
        let position = catalogue.stations()[slot as usize].position;
        if cell_of(position, cell.resolution()) == cell {
            places.insert(position);
        }
        if places.len() < AREA_STATIONS_MIN { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    places.len()
}

fn cell_of(position: Position, resolution: Resolution) -> CellIndex {
    let [lat, lon] = radians(position);
    LatLng::from_radians(lat, lon).expect("a position is finite").to_cell(resolution)
}

fn area_of(cell: CellIndex) -> Area {
    Area::try_from(u64::from(cell)).expect("a cell of the grid has the form of one")
}

fn position_of(point: LatLng) -> Position {
    let limit =
        |degrees: f64, most: i64| i32::try_from(e7(degrees.to_radians()).clamp(-most, most)).unwrap_or(0);
    Position::from_e7(limit(point.lat(), 90 * DEGREE), limit(point.lng(), 180 * DEGREE))
        .expect("clamped to the globe")
}

/// Radians as 1e-7 degrees, rounded. A cast from float saturates, never wraps.
#[allow(clippy::cast_possible_truncation)]
fn e7(radians: f64) -> i64 {
    (radians.to_degrees() * DEGREE_E7).round() as i64
}

/// The same angle in `-pi..pi`.
fn turn_to(radians: f64) -> f64 {
    use std::f64::consts::{PI, TAU};
    (radians + PI).rem_euclid(TAU) - PI
}

/// The fewest stations in an area: fewer would say too much about where a driver is.
pub const AREA_STATIONS_MIN: usize = 20;

/// The finest resolution of an area: hexagons of about 0.1 square kilometres. A finer one would name a car park,
/// however many stations somebody registers in it.
pub const AREA_RESOLUTION_FINEST: u8 = 9;

/// The widest area with a frame, degrees of longitude: twice that and the shorter way around the globe is still
/// the way that an eligible station lies.
pub const FRAME_SPAN_DEGREES_MAX: i64 = 90;

/// Slack on each side of a frame: about half a metre.
const MARGIN_RADIANS: f64 = 1e-7;

/// Slack on each side as a share of the cell: a quarter of a step of 256.
const MARGIN_SHARE: f64 = 1e-3;

const DEGREE: i64 = 10_000_000;
