//! The zone file: the genesis of one ledger, signed by every validator and pinned by its hash.

use crate::{LedgerError, Rules, ValidatorSet};
use ohmesh_units::{
    Area, Canonical, Currency, Domain, Frame, Hash, Position, Price, PublicKey, Signature, SignatureCheck,
    SigningKey, Timestamp, ZoneId, verify_batch,
};
use serde::{Deserialize, Serialize};

/// Keys that decide together: any `threshold` of `keys`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyGroup {
    /// How many must sign; 1 to the number of keys.
    pub threshold: u8,
    /// 1 to [`KeyGroup::MAX`], distinct.
    pub keys: Vec<PublicKey>,
}

impl KeyGroup {
    /// Keys at most.
    pub const MAX: usize = 15;

    fn check(&self, whose: &str) -> Result<(), LedgerError> {
        let bad = |reason: String| Err(LedgerError::Zone { reason });
        let Self { threshold, keys } = self;
        if keys.is_empty() || keys.len() > Self::MAX || !(1..=keys.len()).contains(&usize::from(*threshold)) {
            return bad(format!(
                "{threshold} of {} {whose}s: 1 to {} keys are allowed, and a threshold of 1 to all of them",
                keys.len(),
                Self::MAX
            ));
        }
        for (index, key) in keys.iter().enumerate() {
            if let Err(error) = key.is_registrable() {
                return bad(format!("{whose} {index}: {error}"));
            }
            if keys[..index].contains(key) {
                return bad(format!("{whose} {key} is listed twice"));
            }
        }
        Ok(())
    }
}

/// Who is paid for the grid, and how much.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distributor {
    /// The key of its account.
    pub key: PublicKey,
    /// The grid fee a kWh at first; not negative.
    pub tariff: Price,
}

/// An area in which auctions are held, and the grid of integers that scores count on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZoneArea {
    /// The H3 cell.
    pub area: Area,
    /// Its frame.
    pub frame: Frame,
}

/// What a zone starts from. Nothing here changes without a transaction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// What people call it, 1 to 64 bytes.
    pub name: String,
    /// The currency of its money.
    pub currency: Currency,
    /// When it was made; the first block is later.
    pub created: Timestamp,
    /// The corners of the land it serves, in order, without repeating the first; 3 to [`Zone::CORNERS_MAX`].
    pub polygon: Vec<Position>,
    /// Who brings money into the zone and takes it out again.
    pub treasury: KeyGroup,
    /// Who is paid for the grid.
    pub distributor: Distributor,
    /// The areas of its auctions; at most [`Zone::AREAS_MAX`], ascending by area.
    pub areas: Vec<ZoneArea>,
    /// Who sets price caps, names the audit key and settles disputes; none: nobody does.
    pub regulators: Option<KeyGroup>,
    /// The rules of its first epoch.
    pub rules: Rules,
    /// Who orders its transactions in its first epoch.
    pub validators: ValidatorSet,
}

impl Zone {
    /// Corners of the polygon at most.
    pub const CORNERS_MAX: usize = 256;
    /// Areas at most.
    pub const AREAS_MAX: usize = 4_096;

    /// Checks everything that the ledger relies on.
    pub fn check(&self) -> Result<(), LedgerError> {
        let bad = |reason: String| Err(LedgerError::Zone { reason });
        if self.name.is_empty() || self.name.len() > 64 {
            return bad(format!("its name has {} bytes, 1 to 64 are allowed", self.name.len()));
        }
        if !(3..=Self::CORNERS_MAX).contains(&self.polygon.len()) {
            return bad(format!("{} corners, 3 to {} are allowed", self.polygon.len(), Self::CORNERS_MAX));
        }
        self.treasury.check("treasurer")?;
        self.regulators.iter().try_for_each(|group| group.check("regulator"))?;
        self.rules.check()?;
        if let Err(error) = self.distributor.key.is_registrable() {
            return bad(format!("distributor: {error}"));
        }
        if self.distributor.tariff.as_micro_per_kwh() < 0 {
            return bad(format!("the grid tariff {} is negative", self.distributor.tariff));
        }
        if self.areas.len() > Self::AREAS_MAX || !self.areas.is_sorted_by(|a, b| a.area < b.area) {
            return bad(format!(
                "{} areas: at most {}, ascending, each once",
                self.areas.len(),
                Self::AREAS_MAX
            ));
        }
        if let Some(invalid) = self.areas.iter().find(|area| !area.frame.is_valid()) {
            return bad(format!("the frame of area {} has no step or no cosine", invalid.area));
        }
        Ok(())
    }

    /// The zone's id: the hash of everything above. Everybody who takes part pins it.
    pub fn id(&self) -> ZoneId {
        const ZONE: Domain = Domain::new("ohmesh/1 zone");
        ZONE.hash(&[&self.encode()]).into()
    }

    /// The frame of `area`, if auctions are held there.
    pub fn frame(&self, area: Area) -> Option<Frame> {
        self.areas.binary_search_by_key(&area, |entry| entry.area).ok().map(|at| self.areas[at].frame)
    }
}

impl Canonical for Zone {
    const NAME: &'static str = "zone";
    const MAX_BYTES: usize = 256 << 10;
}

/// A zone and the signatures of its validators. It may run when every one has signed: who is bound by a genesis has
/// seen it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZoneFile {
    /// The zone.
    pub zone: Zone,
    /// Signatures over the zone's id, by validator index, ascending.
    pub signatures: Vec<(u16, Signature)>,
}

impl ZoneFile {
    const DOMAIN: Domain = Domain::new("ohmesh/1 zone signature");

    /// A zone that nobody has signed yet.
    pub fn new(zone: Zone) -> Result<Self, LedgerError> {
        zone.check()?;
        Ok(Self { zone, signatures: Vec::new() })
    }

    /// Adds the signature of the validator with `key`.
    pub fn sign(&mut self, key: &SigningKey) -> Result<(), LedgerError> {
        let index = self.zone.validators.index_of(&key.public()).ok_or_else(|| LedgerError::Zone {
            reason: format!("key {} is not one of its validators", key.public()),
        })?;
        let signature = key.sign(Self::DOMAIN, &self.zone.id().0);
        self.signatures.retain(|(other, _)| *other != index);
        self.signatures.push((index, signature));
        self.signatures.sort_unstable();
        Ok(())
    }

    /// The validators that have not signed, by index.
    pub fn unsigned(&self) -> Vec<u16> {
        (0u16..)
            .zip(self.zone.validators.all())
            .map(|(index, _)| index)
            .filter(|index| !self.signatures.iter().any(|(signer, _)| signer == index))
            .collect()
    }

    /// Checks the zone and the signatures that are there; some may be missing.
    pub fn check(&self) -> Result<(), LedgerError> {
        self.zone.check()?;
        let bad = |reason: String| LedgerError::Zone { reason };
        if !self.signatures.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(bad("its signatures are not in ascending order, each once".into()));
        }
        let id = Hash::from(self.zone.id());
        let mut checks = Vec::with_capacity(self.signatures.len());
        for (index, signature) in &self.signatures {
            let validator = self.zone.validators.at(*index);
            let key = validator
                .ok_or_else(|| bad(format!("signature of validator {index}, who is not there")))?
                .key;
            checks.push(SignatureCheck { key, domain: Self::DOMAIN, message: &id.0, signature: *signature });
        }
        verify_batch(&checks).map_err(|wrong| {
            bad(format!("the signature of validator {} is not over this zone", self.signatures[wrong[0]].0))
        })
    }

    /// Checks that the zone is whole and signed by every validator, and gives it out.
    pub fn sealed(&self) -> Result<&Zone, LedgerError> {
        self.check()?;
        match self.unsigned().as_slice() {
            [] => Ok(&self.zone),
            missing => {
                Err(LedgerError::Zone { reason: format!("validators {missing:?} have not signed it yet") })
            }
        }
    }
}

impl Canonical for ZoneFile {
    const NAME: &'static str = "zone file";
    const MAX_BYTES: usize = Zone::MAX_BYTES + ValidatorSet::MAX * 67 + 8;
}
