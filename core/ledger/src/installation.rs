//! A meter's word that it serves at an outlet, so that nobody registers somebody else's meter at an outlet of his own: a
//! key is bound to its first outlet for ever, and its owner could never register it.

use crate::Body;
use ohmesh_units::{
    AccountId, Canonical, Domain, EvseId, Power, PublicKey, Signature, SigningKey, StationId, ZoneId,
};
use serde::{Deserialize, Serialize};

/// What a meter's key signs when the meter is put in. It says nothing of plugs and power, which may change later without
/// the meter; and it is of no use to anybody else, nor for another outlet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Installation {
    /// The zone.
    pub zone: ZoneId,
    /// The outlet.
    pub evse: EvseId,
    /// Whose outlet it is.
    pub owner: AccountId,
    /// The meter's key.
    pub meter: PublicKey,
}

impl Installation {
    /// The domain of the meter's signature.
    pub const DOMAIN: Domain = Domain::new("ohmesh/1 meter installation");

    /// The meter's signature; `meter` is the key that is named here.
    pub fn sign(&self, meter: &SigningKey) -> Signature {
        meter.sign(Self::DOMAIN, &self.encode())
    }

    /// Whether the meter that is named here made `signature`.
    pub fn is_signed(&self, signature: &Signature) -> bool {
        self.meter.verify(Self::DOMAIN, &self.encode(), signature)
    }
}

impl Canonical for Installation {
    const NAME: &'static str = "meter installation";
    const MAX_BYTES: usize = 160;
}

impl Body {
    /// Registers outlet `number` of `owner`'s `station` with its connectors (one bit each) and its rated power, `meter`
    /// signing that it serves there.
    pub fn register_evse(
        zone: &ZoneId,
        owner: &AccountId,
        (station, number): (StationId, u16),
        (connectors, power): (u16, Power),
        meter: &SigningKey,
    ) -> Self {
        let evse = EvseId::of(&station, number);
        let installation = Installation { zone: *zone, evse, owner: *owner, meter: meter.public() };
        let installed = installation.sign(meter);
        Self::RegisterEvse { station, number, connectors, power, meter: installation.meter, installed }
    }
}
