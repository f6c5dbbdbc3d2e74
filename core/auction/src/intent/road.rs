//! Detours by road: a commitment for each station the buyer knows, in place of the one formula for all.
//!
//! A table is what the buyer says, as its position is; it is fixed before the first bid, and every entry is proven to
//! have 16 bits, so that no station can be favoured by more than the detour weight allows.

use crate::{
    group::{Point, RangeBatch, RangeError, RangeProof, Width, commit, price_of_point},
    intent::BuyerSecret,
    key::EpochKey,
};
use curve25519_dalek::scalar::Scalar;
use ohmesh_units::{Domain, StationId, round_half_away};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use tari_merlin::Transcript;
use zeroize::{Zeroize, Zeroizing};

/// The most stations of a table: three times what an area needs to hold.
pub const ROADS_MAX: usize = 64;

/// Why a table of road detours is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoadError {
    /// A table where the intent does not choose by road, or none where it does.
    #[error("an intent has a table of roads if and only if it chooses by road")]
    Rule,
    /// More stations than a table may have.
    #[error("{found} stations in the table of roads, {ROADS_MAX} is the most")]
    TooMany {
        /// Stations that were given.
        found: usize,
    },
    /// Stations must be listed once each, in ascending order.
    #[error("station {0} is listed twice or out of order")]
    Order(StationId),
    /// An entry is not proven to have 16 bits.
    #[error("the table of roads: {0}")]
    Range(RangeError),
}

/// The square of a way by road in units of [`RoadDetour::SQUARES`] square steps of the area's frame, as the straight
/// line squared is what a detour counts otherwise. Secret: the intent holds a commitment to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoadDetour(pub u16);

impl RoadDetour {
    /// Square steps of one unit: with 16 bits the largest detour is below 2^19, as that of a straight line is.
    pub const SQUARES: u16 = 8;

    /// The detour of a way of so many steps, by the one rounding rule; ways of 725 steps or more count alike.
    pub fn of_steps(steps: u32) -> Self {
        let squares = i128::from(steps) * i128::from(steps);
        let units = round_half_away(squares, Self::SQUARES.into());
        Self(units.and_then(|units| u16::try_from(units).ok()).unwrap_or(u16::MAX))
    }

    /// Square steps.
    pub fn squares(self) -> u32 {
        u32::from(self.0) * u32::from(Self::SQUARES)
    }
}

impl std::fmt::Debug for RoadDetour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RoadDetour(..)")
    }
}

/// One station's commitment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct RoadEntry {
    pub(super) station: StationId,
    pub(super) detour: Point,
}

/// The table as it travels in an intent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct RoadTable {
    pub(super) entries: Vec<RoadEntry>,
    pub(super) ranges: RangeProof,
}

/// A table that was checked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Roads {
    /// The base of blindings, with which the buyer finds its entries again.
    h: Point,
    entries: Vec<RoadEntry>,
}

/// Bytes of an entry on the wire.
pub(super) const ENTRY_BYTES: usize = 64;

/// The entries of a table, stations ascending.
pub(super) fn commit_to(
    roads: &[(StationId, RoadDetour)],
    secret: &BuyerSecret,
    key: &EpochKey,
) -> Result<Vec<RoadEntry>, RoadError> {
    if roads.len() > ROADS_MAX {
        return Err(RoadError::TooMany { found: roads.len() });
    }
    let entry = |(station, detour): &(StationId, RoadDetour)| {
        let point = commit(detour.0.into(), &secret.road_blinding(*station), &key.h());
        let detour = Point::new(point).expect("a random blinding does not give the identity");
        RoadEntry { station: *station, detour }
    };
    let entries: Vec<RoadEntry> = roads.iter().map(entry).collect();
    check_order(&entries)?;
    Ok(entries)
}

impl RoadTable {
    /// Proves the ranges of a table that is in the transcript.
    pub(super) fn prove(
        entries: Vec<RoadEntry>,
        roads: &[(StationId, RoadDetour)],
        secret: &BuyerSecret,
        key: &EpochKey,
        transcript: &Transcript,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, RoadError> {
        let points: Vec<_> = entries.iter().map(|entry| entry.detour.point()).collect();
        let value = |(station, detour): &(StationId, RoadDetour)| {
            (u64::from(detour.0), secret.road_blinding(*station))
        };
        let values: Zeroizing<Vec<(u64, Scalar)>> = Zeroizing::new(roads.iter().map(value).collect());
        let ranges = RangeProof::prove(key.ranges(), Width::Road, &points, &values, transcript, rng)
            .map_err(RoadError::Range)?;
        Ok(Self { entries, ranges })
    }

    /// Checks a table against the transcript it is in.
    pub(super) fn verify(&self, key: &EpochKey, transcript: &Transcript) -> Result<Roads, RoadError> {
        check_order(&self.entries)?;
        let points: Vec<_> = self.entries.iter().map(|entry| entry.detour.point()).collect();
        let mut batch = RangeBatch::new(key.ranges(), Width::Road);
        let added = batch.add(&points, &self.ranges, transcript);
        added.and_then(|()| batch.verify()).map_err(RoadError::Range)?;
        Ok(Roads { h: key.h(), entries: self.entries.clone() })
    }
}

impl Roads {
    /// The commitment to the detour of a station, if the table has one.
    pub(super) fn of(&self, station: StationId) -> Option<Point> {
        let at = self.entries.binary_search_by_key(&station, |entry| entry.station).ok()?;
        Some(self.entries[at].detour)
    }

    /// What the buyer committed to for a station; `None` if the table has none, or `secret` is not its maker's.
    pub(super) fn open(&self, station: StationId, secret: &BuyerSecret) -> Option<RoadDetour> {
        let hidden = self.of(station)?.point() - secret.road_blinding(station) * self.h.point();
        price_of_point(&hidden).map(|number| RoadDetour(number.0))
    }
}

impl BuyerSecret {
    /// The blinding of a station's entry, derived from another that is as random, so that nothing more has to be
    /// stored.
    pub(crate) fn road_blinding(&self, station: StationId) -> Scalar {
        const ROAD_BLINDING: Domain = Domain::new("ohmesh/1 auction road blinding");
        let mut wide = Zeroizing::new([0; 64]);
        let mut seed = self.blind_q.to_bytes();
        ROAD_BLINDING.hasher().update(&seed).update(&station.0).fill(&mut *wide);
        seed.zeroize();
        Scalar::from_bytes_mod_order_wide(&wide)
    }
}

fn check_order(entries: &[RoadEntry]) -> Result<(), RoadError> {
    if entries.len() > ROADS_MAX {
        return Err(RoadError::TooMany { found: entries.len() });
    }
    match entries.windows(2).find(|pair| pair[0].station >= pair[1].station) {
        Some(pair) => Err(RoadError::Order(pair[1].station)),
        None => Ok(()),
    }
}
