//! What a meter gives.

use ohmesh_units::{Energy, Timestamp};
use serde::{Deserialize, Serialize};

/// A meter, as a platform gives it: OCPP meter values, OCMF records, simulated, or typed in by both.
///
/// The sessions never call it; whoever runs a session reads the meter and hands in the [`Reading`].
pub trait Meter {
    /// Why the platform could not read it.
    type Error;

    /// The lifetime register at `now`. An honest meter never answers less than before.
    fn energy(&mut self, now: Timestamp) -> Result<Energy, Self::Error>;
}

/// One reading of a meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The lifetime register.
    pub register: Energy,
    /// When it was read.
    pub at: Timestamp,
}

impl Reading {
    /// Reads `meter` at `now`.
    pub fn of<M: Meter>(meter: &mut M, now: Timestamp) -> Result<Self, M::Error> {
        Ok(Self { register: meter.energy(now)?, at: now })
    }
}
